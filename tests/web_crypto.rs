//! The cryptography of the browser's code: the TypeScript twin gives and refuses what the vectors say, in Node and in
//! headless Chromium, and what it seals and signs there opens and verifies here.
//!
//! Packages come from the npm registry the first time (`npm ci`, pinned by hash, no scripts run); a stamp under
//! `target/web` spares it afterwards, so later runs need no network. `PERI_QUICK=1` leaves the browser out.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use minicbor::bytes::ByteVec;
use peri_access::invite::{Invitation, Invitations, Offer};
use peri_access::login::Means;
use peri_access::proof::{Progress, Report, Seen};
use peri_access::wire::{Ask, FetchBody, Method, decode_strict, request_line};
use peri_domain::{
    AccountId, Action, CameraId, EpochNo, Fingerprint, Nonce, Right, Rights, Role, UtcNanos, VmId, purpose,
};
use peri_open::open_share;
use peri_open::userkey::{open_stretched, open_with_password, open_with_recovery};
use peri_roster::body::{Body, Cameras, ChangedBy, Minutes, WeeklyHours};
use peri_roster::statement::{SIGN_CONTEXT, Statement};
use peri_seal::canonical;
use peri_seal::device::open_on_device;
use peri_seal::keys::{KeyPair, Signature, UserPublic};
use peri_seal::record::EpochContext;
use peri_seal::userkey::{DeviceSecret, Method as Stored, RecoveryCode, Stretched, WrappedUserKey};
use peri_seal::wrap::Wrap;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn web() -> PathBuf {
    root().join("src/web")
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Runs a program in `src/web`. Its standard input is a pipe that closes when this process ends, however that ends.
fn run(program: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(web())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup installs it"));
    let open = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(open);
    output
}

fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}\n{complained}", output.status);
    said
}

/// Packages as in the lock file, types checked, bundles built; once per test process.
fn prepared() {
    static READY: LazyLock<()> = LazyLock::new(|| {
        let out = root().join("target/web");
        std::fs::create_dir_all(&out).unwrap();
        let stamp = out.join("packages");
        let wanted = std::fs::read_to_string(web().join("package-lock.json")).unwrap();
        let there = web().join("node_modules").is_dir();
        if !there || std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
            let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
            // The registry may be busy for a moment.
            if !run("npm", &install).status.success() {
                std::thread::sleep(Duration::from_secs(2));
                must("npm", &install);
            }
            std::fs::write(&stamp, &wanted).unwrap();
        }
        must("node", &["node_modules/typescript/bin/tsc", "-p", "."]);
        must("node", &["build.mjs"]);
    });
    LazyLock::force(&READY);
}

/// `file: name` of every vector that is stored.
fn vector_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests/vectors")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        for case in read(&path)["cases"].as_array().unwrap() {
            names.insert(format!("{file}: {}", case["name"].as_str().unwrap()));
        }
    }
    assert!(names.len() > 100, "only {} vectors", names.len());
    names
}

/// The context of an epoch with two of three seats, as the vectors have it.
fn context() -> String {
    read(&root().join("tests/vectors/wraps.json"))["cases"][0]["inputs"]["context"].as_str().unwrap().to_owned()
}

fn order() -> String {
    json!({ "context": context() }).to_string()
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap()
}

/// Opens and verifies everything that TypeScript made; gives who did the KEM.
fn take(made: &Value) -> String {
    let pair = KeyPair::from_secret_bytes(&fixed(&made["secret"])).unwrap();
    let public = UserPublic::from_bytes(&unhex(&made["public"])).unwrap();
    public.validate().unwrap();
    assert_eq!(*pair.public(), public, "both halves give the public ones");

    let device = DeviceSecret::from_bytes(fixed(&made["device_secret"]));
    let stored = WrappedUserKey::from_bytes(&unhex(&made["by_password"])).unwrap();
    let Stored::Password(parameters) = stored.method else { panic!("not stored under a password") };
    // It was given decomposed, and is stretched composed.
    let stretched = Stretched::new("Gr\u{fc}\u{df}e", &device, parameters).unwrap();
    assert_eq!(open_stretched(&stored, &stretched).unwrap().to_secret_bytes(), pair.to_secret_bytes());
    assert_eq!(stretched.auth_key().as_bytes()[..], unhex(&made["auth_key"]));
    assert!(open_with_password(&stored, "Gr\u{fc}sse", &device).is_err());

    let code = RecoveryCode::parse(made["recovery_code"].as_str().unwrap()).unwrap();
    let stored = WrappedUserKey::from_bytes(&unhex(&made["by_recovery"])).unwrap();
    assert_eq!(open_with_recovery(&stored, &code).unwrap().to_secret_bytes(), pair.to_secret_bytes());

    public.verify("vector", b"what is signed", &Signature(fixed(&made["signature"]))).unwrap();
    assert!(public.verify("other", b"what is signed", &Signature(fixed(&made["signature"]))).is_err());

    let bytes = unhex(&made["opening"]);
    let Ask::Open(opening) = decode_strict::<Ask>(&bytes).unwrap() else { panic!("no opening of a session") };
    let (vm, issued) = (VmId([1; 16]), UtcNanos::from_secs(1_795_563_000));
    let session = opening.verify(vm, &public, issued).unwrap();
    assert_eq!((opening.nonce, session.channels()), (Nonce([3; 16]), 3));
    assert_eq!(session.not_after(), issued + Duration::from_secs(3600));
    let bytes = unhex(&made["request"]);
    let Ask::Request(request) = decode_strict::<Ask>(&bytes).unwrap() else { panic!("not a request") };
    let line = request_line(request.method, &request.body).unwrap();
    let genuine = request.proof.clone().check(&session, &line, issued).unwrap();
    let reports =
        vec![Report { counter: 3, seen: Seen::Failure }, Report { counter: 5, seen: Seen::Nonce(Nonce([3; 16])) }];
    assert_eq!(genuine.proof().progress, Progress::new(4, [6, 14], reports));
    assert_eq!((request.method, request.proof.counter), (Method::Fetch, 15));
    let asked = FetchBody {
        camera: CameraId([2; 16]),
        epoch: EpochNo(5),
        offset: 1 << 33,
        length: None,
        follow: true,
        action: Action::Export,
    };
    assert_eq!(decode_strict::<FetchBody>(&request.body).unwrap(), asked);

    take_login(made, &public, &device, &code);
    take_invitation(made, &public);
    take_statements(made, &public);

    let context = unhex(&json!(context()));
    let context: EpochContext = canonical::decode("context", &context).unwrap();
    let kem = made["kem"].as_array().unwrap();
    let (wraps, passwords) = (made["wraps"].as_array().unwrap(), made["passwords"].as_array().unwrap());
    assert!(!kem.is_empty() && wraps.len() == kem.len() && passwords.len() == kem.len());
    for (wrap, password) in wraps.iter().zip(passwords) {
        let wrap = unhex(wrap);
        let wrap: Wrap = canonical::decode("wrap", &wrap).unwrap();
        let share = open_share(&pair, &context, &wrap).unwrap();
        assert_eq!((share.share().index(), share.share().value()), (2, &[7; 32]));
        let label = purpose::camera_password(CameraId([2; 16]));
        assert_eq!(open_on_device(&pair, &label, &unhex(password)).unwrap()[..], *b"user:secret");
    }
    kem.iter().map(|kem| kem.as_str().unwrap()).collect::<Vec<_>>().join(" and ")
}

/// What the appliance reads of a login and of its setting.
fn take_login(made: &Value, public: &UserPublic, device: &DeviceSecret, code: &RecoveryCode) {
    let logins: Vec<_> = made["logins"].as_array().unwrap().iter().map(unhex).collect();
    let keys = [
        (Means::Password, unhex(&made["auth_key"]), device.lane_key()),
        (Means::Recovery, code.auth_key().as_bytes().to_vec(), code.lane_key()),
    ];
    assert_eq!(logins.len(), keys.len());
    for (bytes, (means, auth, lane)) in logins.iter().zip(&keys) {
        let Ask::Login(login) = decode_strict::<Ask>(bytes).unwrap() else { panic!("no login") };
        assert_eq!((login.name.as_str(), login.means), ("anna", *means));
        assert_eq!((&login.auth_key[..], login.lane_key), (&auth[..], *lane.as_bytes()));
    }
    let issued = UtcNanos::from_secs(1_795_563_000);
    for (bytes, recovery) in made["settings"].as_array().unwrap().iter().map(unhex).zip([true, false]) {
        let Ask::Set(signed) = decode_strict::<Ask>(&bytes).unwrap() else { panic!("no setting") };
        signed.verify(VmId([1; 16]), public, issued).unwrap();
        assert!(signed.verify(VmId([2; 16]), public, issued).is_err());
        assert_eq!(signed.setting.password.lane, device.lane_key().commit());
        assert_eq!(signed.setting.recovery.is_some(), recovery);
        if let Some(way) = &signed.setting.recovery {
            assert_eq!((way.auth_key, way.lane), (*code.auth_key().as_bytes(), code.lane_key().commit()));
        }
    }
}

/// An invitation that was made there is the one that is redeemed there.
fn take_invitation(made: &Value, public: &UserPublic) {
    let ends = UtcNanos::from_secs(1_795_566_600);
    let invitation = Invitation::parse(made["fragment"].as_str().unwrap()).unwrap();
    let bytes = unhex(&made["offer"]);
    let offer = decode_strict::<Offer>(&bytes).unwrap();
    assert_eq!(offer, invitation.offer(AccountId([8; 16]), ends));
    let bytes = unhex(&made["redemption"]);
    let Ask::Redeem(redemption) = decode_strict::<Ask>(&bytes).unwrap() else { panic!("no redemption") };
    let mut invitations = Invitations::default();
    let now = UtcNanos::from_secs(1_795_563_000);
    invitations.offer(offer, Fingerprint([7; 32]), now).unwrap();
    assert!(invitations.redeem(VmId([2; 16]), &redemption, now).is_err());
    let enrolled = invitations.redeem(VmId([1; 16]), &redemption, now).unwrap();
    assert_eq!((enrolled.account, enrolled.fingerprint), (AccountId([8; 16]), public.fingerprint()));
}

/// Statements of the roster say what was meant, in the one form, under a good signature.
fn take_statements(made: &Value, public: &UserPublic) {
    let (account, own) = (AccountId([8; 16]), public.fingerprint());
    let mut kinds = Vec::new();
    for bytes in made["statements"].as_array().unwrap().iter().map(unhex) {
        let statement = Statement::from_bytes(&bytes).unwrap();
        assert_eq!((statement.to_bytes(), statement.signers().collect::<Vec<_>>()), (bytes.clone(), vec![own]));
        let (signed, signatures): (ByteVec, Vec<(Fingerprint, Signature)>) = minicbor::decode(&bytes).unwrap();
        public.verify(SIGN_CONTEXT, &signed, &signatures[0].1).unwrap();
        let proposal = statement.proposal();
        assert_eq!((proposal.vm, proposal.nonce, proposal.seat_set), (VmId([1; 16]), Nonce([3; 16]), 2));
        assert_eq!(proposal.not_after, UtcNanos::from_secs(1_795_566_600));
        match &proposal.body {
            Body::Account(new) => {
                assert_eq!((new.id, new.role, new.name.as_str()), (account, Role::Viewer, "gate"));
                assert_eq!(new.key, *public);
            }
            Body::Grant(grant) => {
                assert_eq!((grant.recipient, grant.account), (own, account));
                assert_eq!(grant.rights, Rights::NONE.with(Right::Live).with(Right::Export));
                assert_eq!(grant.cameras, Cameras::List(vec![CameraId([2; 16]), CameraId([3; 16])]));
                assert_eq!((grant.from, grant.until), (UtcNanos(-1), UtcNanos(1 << 60)));
                let hours = WeeklyHours { zone: "Europe/Berlin".into(), spans: vec![Minutes { from: 60, until: 120 }] };
                assert_eq!(grant.weekly, Some(hours));
            }
            Body::AccountRemoval(end) => assert_eq!(end.account, account),
            Body::Revocation(end) => {
                assert_eq!((&end.keys[..], &end.grants[..], end.reason.as_str()), (&[own][..], &[][..], "lost"));
            }
            Body::Retention(kept) => assert_eq!((kept.serial, kept.secs), (3, 86_400)),
            Body::KeyChange(change) => {
                assert_eq!((change.account, change.old, change.by), (account, Fingerprint([9; 32]), ChangedBy::Reset));
                assert_eq!(change.new, *public);
            }
            other => panic!("{other:?}"),
        }
        kinds.push(proposal.body.kind());
    }
    assert_eq!(kinds, ["account", "grant", "account removal", "revocation", "retention", "key change"]);
}

#[test]
fn typescript_gives_and_refuses_what_the_vectors_say_in_node_and_rust_opens_what_it_seals() {
    prepared();
    let report = run("node", &["--test", "--test-reporter=tap", "test/node.mjs"]);
    let said = String::from_utf8_lossy(&report.stdout);
    let bad: Vec<_> = said.lines().filter(|line| line.contains("not ok ") || line.contains("error:")).collect();
    assert!(report.status.success() && bad.is_empty(), "{}\n{}", bad.join("\n"), said);
    let count = |what: &str| -> usize {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("# {what} "))).unwrap();
        line.trim().parse().unwrap()
    };
    let (vectors, passed) = (vector_names().len(), count("pass"));
    assert!(passed == count("tests") && passed >= vectors + 10, "{passed} passed of {vectors} vectors and more");
    let made: Value = serde_json::from_str(&must("node", &["test/make.mjs", &order()])).unwrap();
    let kem = take(&made);
    println!("node: {vectors} vectors and {} further cases passed, KEM by {kem}", passed - vectors);
}

#[test]
fn typescript_gives_and_refuses_the_same_in_chromium_under_the_policy_of_the_pages() {
    if std::env::var_os("PERI_QUICK").is_some() {
        eprintln!("left out: PERI_QUICK is set");
        return;
    }
    prepared();
    let page: Value = serde_json::from_str(&must("node", &["test/browser.mjs", &order()])).unwrap();
    let results = page["results"].as_array().unwrap();
    let bad: Vec<_> = results.iter().filter(|result| result.get("error").is_some()).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(page["violations"], json!([]), "the policy of the pages holds");
    let names: BTreeSet<_> = results.iter().map(|result| result["name"].as_str().unwrap().to_owned()).collect();
    let vectors = vector_names();
    let missing: Vec<_> = vectors.difference(&names).collect();
    assert!(missing.is_empty() && names.len() == results.len(), "not run: {missing:?}");
    let kem = take(&page["made"]);
    let further = names.len() - vectors.len();
    assert!(further >= 10);
    println!("chromium: {} vectors and {further} further cases passed, KEM by {kem}", vectors.len());
}

#[test]
fn the_parts_of_the_page_that_need_no_browser_do_what_their_cases_say() {
    prepared();
    let said = must("node", &["--test", "--test-reporter=tap", "test/units.mjs"]);
    let passed = said.lines().find_map(|line| line.strip_prefix("# pass ")).unwrap();
    assert!(passed.trim().parse::<usize>().unwrap() >= 15, "{said}");
}

#[test]
fn the_page_is_built_to_the_same_bytes_wherever_it_is_built() {
    prepared();
    let built = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()].map(|dir| {
        must("node", &["build.mjs", "--page", dir.path().to_str().unwrap()]);
        let paths = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let named = paths.map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(path).unwrap()));
        named.collect::<BTreeSet<_>>()
    });
    assert_eq!(built[0].len(), 6, "six files make the page");
    assert!(built[0] == built[1]);
    let text = built[0].iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect::<String>();
    assert!(
        !text.contains("sourceMappingURL") && !text.contains(env!("CARGO_MANIFEST_DIR")),
        "nothing of this machine"
    );
}

#[test]
fn every_package_is_pinned_by_version_and_hash_under_a_licence_that_the_readme_names() {
    let lock = read(&web().join("package-lock.json"));
    let readme = std::fs::read_to_string(web().join("README.md")).unwrap();
    let mut seen = 0;
    for (path, package) in lock["packages"].as_object().unwrap() {
        let Some((_, name)) = path.rsplit_once("node_modules/") else {
            for (name, version) in
                ["dependencies", "devDependencies"].iter().flat_map(|kind| package[kind].as_object().unwrap())
            {
                let exact = version.as_str().unwrap().chars().all(|c| c.is_ascii_digit() || c == '.');
                assert!(exact, "{name} {version} is a range");
            }
            continue;
        };
        seen += 1;
        assert!(package.get("resolved").is_none(), "{name} names a host");
        assert!(package["integrity"].as_str().unwrap().starts_with("sha512-"), "{name} has no hash");
        // Binaries for one platform each stand in one row, as `@esbuild/*`.
        let scope = name.split_once('/').map_or(name.to_owned(), |(scope, _)| format!("{scope}/*"));
        let row = readme.lines().find(|line| {
            line.starts_with("| `") && (line.contains(&format!("`{name}`")) || line.contains(&format!("`{scope}`")))
        });
        let row = row.unwrap_or_else(|| panic!("{name} is not in src/web/README.md"));
        let (version, licence) = (package["version"].as_str().unwrap(), package["license"].as_str().unwrap());
        assert!(row.contains(version), "{name} {version}: {row}");
        assert!(row.contains(&format!("| {licence} |")), "{name} is under {licence}: {row}");
        // Copyleft by file binds nobody who only tests with it.
        let tested_with = package["dev"] == true && licence == "MPL-2.0";
        assert!(["MIT", "Apache-2.0"].contains(&licence) || tested_with, "{name} is under {licence}");
    }
    assert!(seen >= 10, "only {seen} packages");
}
