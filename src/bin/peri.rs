//! The command line for people. Everything is in `peri-client`; here is only the process.

fn main() -> std::process::ExitCode {
    peri_client::run()
}
