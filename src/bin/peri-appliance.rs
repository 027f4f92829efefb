//! `peri-appliance`: the server side. A thin main; everything lies in the crate `peri-appliance`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    peri_appliance::cli::run()
}
