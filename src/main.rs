//! The program: hands the command line over.

use std::process::ExitCode;

fn main() -> ExitCode {
    forebay::cli::run()
}
