//! Builds the page that the portal serves, from `src/web`, into this program: `page.rs` embeds what lies in `OUT_DIR/page`.
//!
//! Packages are installed as the lock file says (`npm ci`, no scripts) where they are missing. The bundler alone runs
//! (`src/web/build.mjs`); the same sources give the same bytes.

use std::path::Path;
use std::process::Command;

fn main() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names it");
    let web = Path::new(&manifest).join("../web");
    for part in ["crypto", "session", "video", "page", "engine.ts", "build.mjs", "package-lock.json"] {
        println!("cargo::rerun-if-changed={}", web.join(part).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    if !web.join("node_modules/esbuild").exists() {
        run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&web));
    }
    let out = Path::new(&std::env::var("OUT_DIR").expect("cargo names it")).join("page");
    run(Command::new("node").arg("build.mjs").arg("--page").arg(&out).current_dir(&web));
}

fn run(command: &mut Command) {
    let program = command.get_program().to_owned();
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{program:?} ended with {status}: the page could not be built"),
        Err(error) => panic!("{program:?}: {error}; scripts/setup installs what the page is built with"),
    }
}
