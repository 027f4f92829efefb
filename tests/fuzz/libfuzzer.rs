//! The long run: libFuzzer on one of the shared targets, which `PERI_FUZZ_TARGET` names. With `PERI_FUZZ_SEEDS` set to a
//! folder, writes the seed corpus of every target there instead.
#![no_main]
// The short run uses parts that this one does not, and the other way round.
#![allow(dead_code)]

mod targets;

use std::sync::LazyLock;
use targets::{TARGETS, Target, find, seeds};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    if let Some(folder) = std::env::var_os("PERI_FUZZ_SEEDS") {
        for target in TARGETS {
            let folder = std::path::Path::new(&folder).join(target.name);
            std::fs::create_dir_all(&folder).expect("the corpus can be written");
            for (at, seed) in seeds::seeds(target.name).iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{at:02}")), seed).expect("the corpus can be written");
            }
        }
        std::process::exit(0);
    }
    let name = std::env::var("PERI_FUZZ_TARGET").unwrap_or_default();
    find(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("PERI_FUZZ_TARGET={name:?} is no target; there are: {}", names.join(" "));
        std::process::exit(2);
    })
});

libfuzzer_sys::fuzz_target!(init: { LazyLock::force(&TARGET); }, |data: &[u8]| (TARGET.run)(data));
