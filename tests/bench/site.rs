//! An appliance to measure on, with as many cameras of the replayer as a measurement asks for.
//!
//! Statements of cameras are made by the client inside this process: it opens a key once per run of the program, and
//! hundreds of cameras need hundreds of statements. What does not belong: measuring.

use crate::replay::{PASSWORD, Replayer, USER};
use crate::support::{AppConfig, Appliance, secs};
use clap::Parser as _;
use peri_client::cli::{Cli, run};
use peri_client::context::Context;
use peri_client::password::Passwords;
use peri_client::ui::Ui;
use peri_client::vault::Vault;
use peri_sandbox::clock::SystemClock;
use serde_json::Value;

/// A claimed appliance; everything of it ends and vanishes with this value.
pub(crate) struct Site {
    pub(crate) appliance: Appliance,
    custodians: Context,
    cameras: usize,
}

impl Site {
    /// Starts and claims; with `core`, the whole appliance stays on that core.
    pub(crate) fn start(core: Option<usize>) -> Self {
        let wrapper = core.map_or(vec![], |core| vec!["taskset".into(), "-c".into(), core.to_string()]);
        let appliance = Appliance::founded(AppConfig { wrapper, ..AppConfig::default() });
        let home = &appliance.home;
        std::fs::write(home.path("camera-password"), PASSWORD).expect("a file");
        let custodians = Context::new(
            Ui::new(true),
            Vault::open(&home.keys()).expect("a home"),
            Passwords::from_lines(&[home.path("password").display().to_string()], Box::new(std::io::empty())),
            Box::new(SystemClock),
            Some(appliance.socket()),
            None,
        );
        home.grant("guard", "all", "live,playback,export");
        Self { appliance, custodians, cameras: 0 }
    }

    fn must(&mut self, line: &str) -> Value {
        let words = line.split(' ').chain(["--sign-as", "dpo", "--sign-as", "council"]);
        let cli = Cli::try_parse_from(std::iter::once("peri").chain(words)).expect("a command line");
        run(cli.command, &mut self.custodians).unwrap_or_else(|error| panic!("{line}: {error}")).json
    }

    /// Adds cameras up to `count` and waits until all record.
    pub(crate) fn record(&mut self, count: usize, replayer: &Replayer) {
        let password = self.appliance.home.path("camera-password").display().to_string();
        for number in self.cameras..count {
            let name = format!("camera{number}");
            self.must(&format!(
                "camera add --name {name} --url {} --user {USER} --camera-password-file {password} --plain-exception \
                 --serial {name}{}",
                replayer.url(&name),
                if number == 0 { "" } else { " --beside camera0" }
            ));
            self.must(&format!("camera register {name}"));
        }
        self.cameras = self.cameras.max(count);
        self.appliance.wait_until(&format!("{count} cameras record"), secs(90), |health| recording(health) >= count);
    }
}

/// How many cameras record.
pub(crate) fn recording(health: &Value) -> usize {
    let cameras = health["cameras"].as_array().map_or(&[][..], Vec::as_slice);
    cameras.iter().filter(|camera| camera["lost"] == "" && !camera["recorded_until"].is_null()).count()
}
