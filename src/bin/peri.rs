//! The command line for people. Everything is in `peri-client`; here is only the process.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    peri_client::run()
}
