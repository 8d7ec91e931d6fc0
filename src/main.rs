//! The program: hands the command line over.

use std::process::ExitCode;

/// What is stored lives long, and is allocated amid what lives for one request: the C library's
/// allocator leaves holes between the two that take as much memory again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    forebay::cli::run()
}
