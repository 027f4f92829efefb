//! An appliance to measure on, with as many cameras of the replayer as a measurement asks for.
//!
//! Statements of cameras are made in this process from one look at the roster: the client verifies the whole roster at
//! every command, which hundreds of commands need not. What does not belong: measuring.

use crate::replay::{PASSWORD, Replayer, USER};
use crate::support::{AppConfig, Appliance, now, secs};
use peri_client::context::{Context, Session};
use peri_client::password::Passwords;
use peri_client::ui::Ui;
use peri_client::vault::Vault;
use peri_domain::{CameraId, Nonce, purpose};
use peri_roster::body::{CameraAdd, CameraRegister, device_identity};
use peri_roster::{Body, CameraSetup, Proposal, Trust};
use peri_sandbox::clock::SystemClock;
use peri_seal::device::seal_to_device;
use peri_seal::keys::KeyPair;
use peri_seal::rng;
use serde_json::Value;
use std::rc::Rc;

/// A claimed appliance; everything of it ends and vanishes with this value.
pub(crate) struct Site {
    pub(crate) appliance: Appliance,
    session: Session,
    custodians: [Rc<KeyPair>; 2],
    seat_set: u32,
    cameras: usize,
    statements: u64,
}

impl Site {
    /// Starts and claims; with `core`, the whole appliance stays on that core.
    pub(crate) fn start(core: Option<usize>) -> Self {
        let wrapper = core.map_or(vec![], |core| vec!["taskset".into(), "-c".into(), core.to_string()]);
        let appliance = Appliance::founded(AppConfig { wrapper, ..AppConfig::default() });
        let home = &appliance.home;
        home.grant("guard", "all", "live,playback,export");
        let mut context = Context::new(
            Ui::new(true),
            Vault::open(&home.keys()).expect("a home"),
            Passwords::from_lines(&[home.path("password").display().to_string()], Box::new(std::io::empty())),
            Box::new(SystemClock),
            Some(appliance.socket()),
            None,
        );
        let custodians = ["dpo", "council"].map(|name| context.unlock(name).expect("a key of this home"));
        let mut session = context.session().expect("the appliance answers");
        let known = session.roster(&context, &custodians[0]).expect("a roster");
        let seat_set = known.roster.seat_set();
        Self { appliance, session, custodians, seat_set, cameras: 0, statements: 0 }
    }

    /// Adds cameras up to `count` and waits until all record.
    pub(crate) fn record(&mut self, count: usize, replayer: &Replayer) {
        for number in self.cameras..count {
            let name = format!("camera{number}");
            let camera = camera_id(number);
            let device = &self.session.profile.identity.device;
            let sealed_password =
                seal_to_device(&mut rng::system(), device, &purpose::camera_password(camera), PASSWORD.as_bytes())
                    .expect("the device key is a key");
            let setup = CameraSetup {
                device: device_identity("serial", &name),
                url: replayer.url(&name),
                name,
                trust: Trust::Plain,
                user: USER.into(),
                sealed_password,
            };
            // All share one address, which only custodians can want.
            let beside = (number > 0).then(|| camera_id(0));
            self.submit(Body::CameraAdd(Box::new(CameraAdd { camera, setup, set_up_by: None, beside })));
            self.submit(Body::CameraRegister(CameraRegister { camera }));
        }
        self.cameras = self.cameras.max(count);
        self.appliance.wait_until(&format!("{count} cameras record"), secs(90), |health| recording(health) >= count);
    }

    fn submit(&mut self, body: Body) {
        self.statements += 1;
        // Fresh, which is all that matters here.
        let mut nonce = [0; Nonce::LEN];
        nonce[..8].copy_from_slice(&self.statements.to_be_bytes());
        let proposal = Proposal::new(self.session.vm(), body, now() + secs(3600), Nonce(nonce), self.seat_set)
            .expect("a statement within the rules");
        let [one, other] = &self.custodians;
        let statement =
            proposal.sign(one.signing(), one.fingerprint()).sign(other.signing(), other.fingerprint()).to_bytes();
        self.session.conn.submit(&statement).expect("the appliance accepts it");
    }
}

fn camera_id(number: usize) -> CameraId {
    let mut id = [0xca; CameraId::LEN];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    CameraId(id)
}

/// How many cameras record.
pub(crate) fn recording(health: &Value) -> usize {
    let cameras = health["cameras"].as_array().map_or(&[][..], Vec::as_slice);
    cameras.iter().filter(|camera| camera["lost"] == "" && !camera["recorded_until"].is_null()).count()
}
