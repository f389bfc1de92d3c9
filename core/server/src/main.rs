//! The program `veridical`.

fn main() -> std::process::ExitCode {
    veridical_server::run().into()
}
