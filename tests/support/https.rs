//! The page's interface as a program sees it: TLS 1.3 under the appliance's own authority, HTTP/1.1, proofs in a header.
//!
//! What an attacker sends, not what our page would: nothing here refuses to be misused.

use super::{Appliance, now, raw, secs};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::Encode;
use peri_access::channel::{Outbox, Outcome};
use peri_access::proof::{BootEpoch, ChannelId, Proof, Seen};
use peri_access::session::{Opening, SessionKey, SignedCertificate};
use peri_access::wire::{Ask, BirthCertificate, Method, SessionOpened, decode_strict, request_line};
use peri_domain::{Nonce, VmId};
use peri_seal::keys::KeyPair;
use peri_seal::rng;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as a problem document.
    #[track_caller]
    pub fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A way to the listener.
#[derive(Clone)]
pub struct Https {
    config: Arc<ClientConfig>,
    /// Where it leads to.
    pub port: u16,
    /// Whom it leads to.
    pub birth: BirthCertificate,
}

impl Https {
    /// Trusts the authority that the birth certificate names, and nothing else.
    pub fn to(app: &Appliance) -> Self {
        let birth = raw::connect(&app.socket()).1;
        let mut roots = RootCertStore::empty();
        let authority = birth.tls.as_ref().expect("the appliance has a page").authority.to_vec();
        roots.add(CertificateDer::from(authority)).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config), port: app.page_port(), birth }
    }

    /// A connection after its handshake.
    pub fn connect(&self) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_read_timeout(Some(secs(35)))?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(self.config.clone(), name).map_err(std::io::Error::other)?;
        let mut tcp = tcp;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(StreamOwned::new(tls, tcp))
    }

    /// `localhost` with the port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// One request over a connection of its own.
    #[track_caller]
    pub fn ask(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect().unwrap();
        let mut head = format!("{verb} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {}\r\n", self.host()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        read_answer(stream).unwrap()
    }

    /// A question outside of sessions.
    #[track_caller]
    pub fn question(&self, path: &str, ask: &Ask) -> Answer {
        self.ask("POST", path, &[], &minicbor::to_vec(ask).unwrap())
    }
}

/// Reads an answer to the end of its body.
pub fn read_answer(stream: impl Read) -> std::io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| bad(&line))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Answer { status, headers, body })
}

/// A session as a page has one; its requests can be copied.
pub struct Page {
    /// The way.
    pub https: Https,
    vm: VmId,
    key: SessionKey,
    boot: BootEpoch,
    channel: ChannelId,
    outbox: Outbox,
}

/// A request ready to be sent, or sent again.
#[derive(Clone)]
pub struct Signed {
    /// Its path.
    pub path: &'static str,
    /// Its proof as it stands in the header.
    pub proof: String,
    /// Its body.
    pub body: Vec<u8>,
    /// Its number.
    pub counter: u64,
    /// The whole frame, for the socket.
    pub frame: Vec<u8>,
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

impl Page {
    /// Opens a session of this key.
    #[track_caller]
    pub fn open(https: &Https, who: &KeyPair) -> Self {
        Self::try_open(https, who).unwrap_or_else(|answer| panic!("{}", String::from_utf8_lossy(&answer.body)))
    }

    /// Opens a session of this key.
    ///
    /// # Errors
    /// The refusal.
    pub fn try_open(https: &Https, who: &KeyPair) -> Result<Self, Answer> {
        let vm = https.birth.vm;
        let key = SessionKey::generate(&mut rng::system());
        let issued = now();
        let certified = SignedCertificate::issue(vm, who, key.public(), issued, issued + secs(3600), 2);
        let nonce = https.question("/v1/nonce", &Ask::Nonce);
        let nonce: Nonce = decode_strict(&nonce.body).unwrap();
        let opening = Opening::new(&mut rng::system(), certified, nonce, &key);
        let opened = https.question("/v1/open-session", &Ask::Open(opening));
        if opened.status != 200 {
            return Err(opened);
        }
        let opened: SessionOpened = decode_strict(&opened.body).unwrap();
        let channel = ChannelId(Nonce(random()));
        Ok(Self { https: https.clone(), vm, key, boot: opened.boot, channel, outbox: Outbox::default() })
    }

    /// The next request as it travels.
    pub fn sign<B: Encode<()>>(&mut self, method: Method, body: &B) -> Signed {
        let body = minicbor::to_vec(body).unwrap();
        let (counter, progress) = self.outbox.begin().unwrap();
        let line = request_line(method, &body).unwrap();
        let proof =
            Proof::sign(&mut rng::system(), &self.key, self.vm, self.boot, self.channel, counter, progress, &line);
        let encoded = URL_SAFE_NO_PAD.encode(minicbor::to_vec(&proof).unwrap());
        let request = peri_access::wire::Request { method, body: body.clone().into(), proof };
        let frame = minicbor::to_vec(Ask::Request(request)).unwrap();
        Signed { path: method.path(), proof: encoded, body, counter, frame }
    }

    /// Sends it; nothing is noted of its outcome.
    #[track_caller]
    pub fn send(&self, signed: &Signed) -> Answer {
        self.https.ask("POST", signed.path, &[("peri-proof", &signed.proof)], &signed.body)
    }

    /// Notes what became of a request.
    pub fn settle(&mut self, signed: &Signed, answered: bool) {
        let outcome = if answered { Outcome::Answer } else { Outcome::Other(Seen::Failure) };
        self.outbox.finish(signed.counter, outcome).unwrap();
    }

    /// Asks, and notes that it was answered.
    #[track_caller]
    pub fn request<B: Encode<()>>(&mut self, method: Method, body: &B) -> Answer {
        let signed = self.sign(method, body);
        let answer = self.send(&signed);
        let taken = answer.status == 200 || answer.problem()["taken"] == true;
        self.settle(&signed, taken);
        answer
    }
}
