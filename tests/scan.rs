//! Independent scanners on the page's listener and its interface, with what they must find: testssl.sh and sslyze for
//! TLS, schemathesis for everything `/openapi.json` describes. Their findings are compared, not their exit codes.
//!
//! None of the three shares code with the appliance, or knows what we meant. What they cannot see: SecP256r1MLKEM768,
//! which neither scanner of TLS offers on Debian 12; and tickets as far as sslyze goes, which asks for them in TLS 1.2
//! alone. What does not belong: attacks of our own (`routes.rs`, `sessions.rs`, `portal_attacks.rs`). `scripts/setup`
//! installs testssl.sh from Debian, the others from `tests/scan/requirements.txt`.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peri_access::wire::Method;
use peri_appliance::routes::{Handler, ROUTES, Route};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use support::https::{Https, Page};
use support::*;

/// What the listener may agree on, by the names of IANA.
const SUITES: [&str; 2] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
/// A year of HTTPS alone (RFC 6797).
const HSTS_SECS: u64 = 365 * 24 * 3600;
/// Nobody waits for a scanner longer than this; `timeout` ends it then.
const PATIENCE_SECS: &str = "150";

/// One appliance for all scanners, at once: that they come together is no reason to say anything else.
struct House {
    app: Mutex<Appliance>,
    https: Https,
    authority: PathBuf,
    /// Of a session there is, for a request that was not sent.
    proof: String,
    roles: Vec<u32>,
}

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let app = Appliance::founded(AppConfig { page: true, ..AppConfig::default() });
        let https = Https::to(&app);
        let authority = app.dir().join("authority.pem");
        let der = STANDARD.encode(https.birth.tls.as_ref().unwrap().authority.as_slice());
        let lines: Vec<_> = der.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        std::fs::write(&authority, pem).unwrap();
        let proof = Page::open(&https, &raw::key(&app.home, "guard")).sign(Method::House, &()).proof;
        let roles = roles(&app);
        House { app: Mutex::new(app), https, authority, proof, roles }
    })
}

fn roles(app: &Appliance) -> Vec<u32> {
    ["portal", "scribe", "keeper"].iter().flat_map(|role| app.role_pids(role)).collect()
}

impl House {
    /// A directory for what a scanner says.
    fn place(&self, name: &str) -> PathBuf {
        let place = self.app.lock().unwrap().dir().join(name);
        std::fs::create_dir(&place).unwrap();
        place
    }

    /// No process ended under the scan, and the listener still answers.
    #[track_caller]
    fn stands(&self) {
        assert_eq!(roles(&self.app.lock().unwrap()), self.roles, "a role was started anew");
        assert_eq!(self.https.ask("GET", "/.well-known/peri", &[], b"").status, 200);
    }
}

/// Runs a scanner in `place`; returns everything it printed.
fn run(place: &Path, program: &Path, args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE_SECS).arg(program).args(args).current_dir(place).env("TERM", "dumb");
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_ne!(output.status.code(), Some(127), "{} is missing; scripts/setup installs it", program.display());
    String::from_utf8_lossy(&said).into_owned()
}

fn scanner(name: &str) -> PathBuf {
    root().join("target/tools/scan/bin").join(name)
}

#[track_caller]
fn document(path: &Path, said: &str) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}: {said}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}: {said}", path.display()))
}

/// What testssl.sh holds against every listener like ours, and why it stays.
const HELD_AGAINST_US: [(&str, &str); 3] = [
    ("engine_problem", "about the scanner's own OpenSSL, which has no GOST"),
    ("cert_revocation", "the appliance's own authority publishes no list; its certificates end after 90 days"),
    ("DNS_CAArecord", "names of a private network have no records for public authorities"),
];

#[test]
fn testssl_finds_tls_1_3_with_two_suites_and_nothing_to_object_to() {
    if quick() {
        return;
    }
    let house = house();
    let place = house.place("testssl");
    let (report, host) = (place.join("report.json"), house.https.host());
    // Protocols, kinds of ciphers, defaults and certificate, forward secrecy (with TLS 1.3 alone that lists every
    // suite), headers, vulnerabilities. Nothing is asked of a name server.
    let said = run(
        &place,
        Path::new("testssl"),
        &[
            ["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1"].as_slice(),
            &["--add-ca", house.authority.to_str().unwrap(), "--jsonfile", report.to_str().unwrap()],
            &["-p", "-s", "-S", "-f", "-h", "-U", &host],
        ]
        .concat(),
        &[],
    );
    let findings: Vec<(String, String, String)> = document(&report, &said)
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let part = |name: &str| finding[name].as_str().unwrap().trim().to_owned();
            (part("id"), part("severity"), part("finding"))
        })
        .collect();
    let objections: Vec<_> = findings
        .iter()
        .filter(|(id, severity, _)| {
            !["OK", "INFO", "DEBUG"].contains(&severity.as_str()) && !HELD_AGAINST_US.iter().any(|(held, _)| held == id)
        })
        .collect();
    assert!(objections.is_empty(), "{objections:#?}");

    let found = |id: &str| {
        let by_id = |wanted: &str| findings.iter().find(|(found, ..)| found == wanted).map(|(.., text)| text.as_str());
        // Debian 13's version (3.2) names forward secrecy FS, Debian 12's (3.0) PFS.
        by_id(id).or_else(|| by_id(&format!("P{id}"))).unwrap_or_else(|| panic!("no finding {id}: {said}"))
    };
    for protocol in ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2"] {
        assert_eq!(found(protocol), "not offered", "{protocol}");
    }
    assert!(found("TLS1_3").starts_with("offered with final"), "{}", found("TLS1_3"));
    assert_eq!(found("ALPN"), "http/1.1");
    let words = |id| found(id).split_whitespace().collect::<BTreeSet<_>>();
    assert_eq!(words("FS_ciphers"), BTreeSet::from(SUITES));
    assert_eq!(words("FS_ECDHE_curves"), BTreeSet::from(["prime256v1", "secp384r1"]));
    if let Some((.., kems)) = findings.iter().find(|(id, ..)| id == "FS_KEMs") {
        assert_eq!(kems, "SecP256r1MLKEM768");
    }
    for kind in ["cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW", "cipherlist_3DES_IDEA"] {
        assert_eq!(found(kind), "not offered", "{kind}");
    }

    for (id, wanted) in [
        ("cert_signatureAlgorithm", "ECDSA with SHA384"),
        ("cert_keySize", "EC 384 bits"),
        ("cert_keyUsage", "Digital Signature"),
        ("cert_extKeyUsage", "TLS Web Server Authentication"),
        ("cert_subjectAltName", "localhost 127.0.0.1"),
        ("cert_chain_of_trust", "passed."),
        ("certs_list_ordering_problem", "no"),
        ("TLS_session_ticket", "no -- no lifetime advertised"),
        ("banner_application", "No application banner found"),
        ("cookie_count", "0 at '/'"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("HTTP_status_code", "200 OK ('/')"),
    ] {
        assert_eq!(found(id), wanted, "{id}");
    }
    for (id, begin) in [
        ("cert_trust", "Ok via SAN"),
        ("cert_caIssuers", "Peri: localhost"),
        ("sessionresumption_ticket", "not supported"),
        ("sessionresumption_ID", "No Session ID"),
        ("banner_server", "No Server banner"),
        ("HSTS_time", "365 days"),
        ("Content-Security-Policy", "default-src 'none';"),
    ] {
        assert!(found(id).starts_with(begin), "{id}: {}", found(id));
    }
    let days: u64 = found("cert_expirationStatus").split(' ').next().unwrap().parse().unwrap();
    assert!((60..=90).contains(&days), "{days} days");
    // Each was looked for: what is not looked for is not found either.
    for id in [
        ["heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego", "secure_client_renego", "CRIME_TLS"].as_slice(),
        &["BREACH", "POODLE_SSL", "fallback_SCSV", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4"],
    ]
    .concat()
    {
        let vulnerability = findings.iter().find(|(found, ..)| found == id);
        assert_eq!(vulnerability.map(|(_, severity, _)| severity.as_str()), Some("OK"), "{id}: {vulnerability:?}");
    }
    house.stands();
}

#[test]
fn sslyze_is_refused_everything_but_two_suites_and_two_curves_and_sees_the_certified_key() {
    if quick() {
        return;
    }
    let house = house();
    let place = house.place("sslyze");
    let (report, host) = (place.join("report.json"), house.https.host());
    let out = format!("--json_out={}", report.display());
    let said = run(
        &place,
        &scanner("sslyze"),
        &[
            ["--quiet", &out, "--certinfo", "--certinfo_ca_file", house.authority.to_str().unwrap()].as_slice(),
            &["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--elliptic_curves"],
            &["--compression", "--early_data", "--resum", "--reneg", "--heartbleed", "--openssl_ccs", "--robot"],
            &["--http_headers", &host],
        ]
        .concat(),
        &[],
    );
    let report = document(&report, &said);
    let server = &report["server_scan_results"][0];
    assert_eq!(server["scan_status"], "COMPLETED", "{said}");
    let found = |scan: &str| {
        let scan_result = &server["scan_result"][scan];
        assert_eq!(scan_result["status"], "COMPLETED", "{scan}: {scan_result}");
        &scan_result["result"]
    };
    let names = |list: &Value, name: &dyn Fn(&Value) -> Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|item| name(item).as_str().unwrap().to_owned()).collect()
    };
    let suite = |item: &Value| item["cipher_suite"]["name"].clone();

    for (protocol, at_least) in [("ssl_2_0", 5), ("ssl_3_0", 50), ("tls_1_0", 50), ("tls_1_1", 50), ("tls_1_2", 100)] {
        let result = found(&format!("{protocol}_cipher_suites"));
        assert_eq!(result["is_tls_version_supported"], false, "{protocol}");
        assert!(result["accepted_cipher_suites"].as_array().unwrap().is_empty(), "{protocol}");
        let refused = result["rejected_cipher_suites"].as_array().unwrap().len();
        assert!(refused >= at_least, "{protocol}: only {refused} suites were tried");
    }
    let tls13 = found("tls_1_3_cipher_suites");
    assert_eq!(names(&tls13["accepted_cipher_suites"], &suite), set(SUITES));
    assert!(names(&tls13["rejected_cipher_suites"], &suite).contains("TLS_CHACHA20_POLY1305_SHA256"));

    let curve = |item: &Value| item["name"].clone();
    let curves = found("elliptic_curves");
    assert_eq!(names(&curves["supported_curves"], &curve), set(["secp256r1", "secp384r1"]));
    let refused = names(&curves["rejected_curves"], &curve);
    assert!(refused.is_superset(&set(["X25519", "X448", "secp521r1"])), "{refused:?}");

    assert_eq!(found("tls_compression")["supports_compression"], false);
    assert_eq!(found("tls_1_3_early_data")["supports_early_data"], false);
    // Resumption is asked for in TLS 1.2 alone, which there is not.
    for kind in ["session_id_resumption_result", "tls_ticket_resumption_result"] {
        assert_eq!(found("session_resumption")[kind], "SERVER_IS_TLS_1_3_ONLY", "{kind}");
    }
    assert_eq!(found("session_renegotiation")["is_vulnerable_to_client_renegotiation_dos"], false);
    assert_eq!(found("heartbleed")["is_vulnerable_to_heartbleed"], false);
    assert_eq!(found("openssl_ccs_injection")["is_vulnerable_to_ccs_injection"], false);
    assert_eq!(found("robot")["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED");
    let hsts = &found("http_headers")["strict_transport_security_header"];
    assert_eq!(hsts["max_age"], HSTS_SECS);

    certificate(house, found("certificate_info"));
    house.stands();
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// The certificate as sslyze saw it is the one whose key the appliance was born with.
fn certificate(house: &House, info: &Value) {
    let deployments = info["certificate_deployments"].as_array().unwrap();
    assert_eq!(deployments.len(), 1, "one certificate, whatever is asked for");
    let deployment = &deployments[0];
    assert_eq!(deployment["received_chain_has_valid_order"], true);
    let validations = deployment["path_validation_results"].as_array().unwrap();
    let ours = house.authority.to_str().unwrap();
    let trusting: Vec<_> = validations
        .iter()
        .filter(|validation| validation["was_validation_successful"] == true)
        .map(|validation| validation["trust_store"]["path"].as_str().unwrap())
        .collect();
    assert_eq!(trusting, [ours], "the authority vouches for it, and none of the browsers' does");
    assert!(validations.len() > 1);

    let leaf = &deployment["received_certificate_chain"][0];
    let born = house.https.birth.tls.as_ref().unwrap();
    assert_eq!(leaf["hpkp_pin"], STANDARD.encode(born.key.0), "the key that the birth certificate names");
    let key = &leaf["public_key"];
    assert_eq!(key["algorithm"], "ECPublicKey");
    assert_eq!(key["ec_curve_name"], "secp384r1");
    assert_eq!(leaf["signature_algorithm_oid"]["name"], "ecdsa-with-SHA384");
    let names = &leaf["subject_alternative_name"];
    assert_eq!(names["dns_names"], serde_json::json!(["localhost"]));
    assert_eq!(names["ip_addresses"], serde_json::json!(["127.0.0.1"]));
    let shown = &deployment["received_certificate_chain"][1]["as_pem"];
    let base64: String = shown.as_str().unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(STANDARD.decode(base64).unwrap(), born.authority.to_vec(), "the chain ends in the authority");
}

/// What schemathesis checks. Left out: `positive_data_acceptance`, for it takes any CBOR for good (the description says
/// of bodies that they are CBOR; which of it fits stands in Rust types, not in JSON Schema), and three checks that
/// follow identifiers from answers to later requests (`use_after_free`, `ensure_resource_availability`,
/// `object_level_authorization`), for no path has parameters; `routes.rs` does that by hand.
const CHECKS: [&str; 10] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
];

#[test]
fn schemathesis_finds_every_route_as_described_whatever_it_sends() {
    if quick() {
        return;
    }
    let house = house();
    let place = house.place("schemathesis");
    let (report, log) = (place.join("report.json"), place.join("log.har"));
    let described = format!("https://{}/openapi.json", house.https.host());
    let said = run(
        &place,
        &scanner("schemathesis"),
        &[
            ["--no-color", "run", &described, "--tls-verify", house.authority.to_str().unwrap()].as_slice(),
            &["--checks", &CHECKS.join(","), "--phases", "coverage,fuzzing", "--continue-on-failure", "--no-shrink"],
            // The same cases in every run, which stands for a seed.
            &["--max-examples", "30", "--generation-deterministic"],
            &["--report", "json,har", "--report-json-path", report.to_str().unwrap()],
            &["--report-har-path", log.to_str().unwrap()],
        ]
        .concat(),
        &[
            ("SCHEMATHESIS_HOOKS", "cbor"),
            ("PYTHONPATH", root().join("tests/scan").to_str().unwrap()),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PERI_PROOF", &house.proof),
        ],
    );
    let report = document(&report, &said);
    assert_eq!(report["failures"], serde_json::json!([]), "{said}");
    assert_eq!(report["errors"], serde_json::json!([]), "{said}");
    assert_eq!(report["complete"], true, "{said}");
    // All but the description itself, which it fetched to begin with.
    let tested = ROUTES.len() - 1;
    assert_eq!(report["operations"]["tested"], tested, "{}", report["operations"]);
    let cases = &report["test_cases"];
    assert!(cases["generated"].as_u64().unwrap() > 500, "{cases}");
    assert_eq!(cases["with_failures"], 0, "{cases}");
    assert_eq!(cases["errored"], 0, "{cases}");

    // It came as far as we think: bodies were read, proofs were judged by portal and by scribe, and nobody got in.
    let log = document(&log, &said);
    let mut answers: BTreeMap<(String, u64), usize> = BTreeMap::new();
    let mut causes: BTreeSet<(u64, String)> = BTreeSet::new();
    for entry in log["log"]["entries"].as_array().unwrap() {
        let (request, response) = (&entry["request"], &entry["response"]);
        let (verb, status) = (request["method"].as_str().unwrap(), response["status"].as_u64().unwrap());
        *answers.entry((verb.to_owned(), status)).or_default() += 1;
        let problem = response["content"]["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(detail) = problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
            causes.insert((status, detail.to_owned()));
        }
        let url = request["url"].as_str().unwrap();
        let in_session = |route: &Route| matches!(route.handler, Handler::Session(_)) && url.ends_with(route.path);
        let secured = ROUTES.iter().any(in_session);
        assert!(!secured || matches!(status, 401 | 405), "{verb} {url}: {status}");
    }
    for verb in ["TRACE", "PUT", "PATCH", "OPTIONS", "DELETE"] {
        let refused = answers.get(&(verb.to_owned(), 405)).copied().unwrap_or_default();
        assert!(refused >= tested, "{verb}: {answers:?}");
    }
    let of_portal = ["the request carries no proof; log in", "the proof is not base64url", "the proof cannot be read"]
        .map(str::to_owned);
    for cause in &of_portal {
        assert!(causes.contains(&(401, cause.clone())), "{cause}: {causes:#?}");
    }
    let of_scribe = causes.iter().filter(|(status, cause)| *status == 401 && !of_portal.contains(cause)).count();
    assert!(of_scribe > 0, "a proof in good form is judged by scribe: {causes:#?}");
    assert!(answers.contains_key(&("POST".to_owned(), 200)), "answers in CBOR are seen as well: {answers:?}");
    let unreadable = causes.iter().filter(|(status, _)| *status == 400).count();
    assert!(unreadable >= 10, "bodies were wrong in few ways: {causes:#?}");
    house.stands();
}
