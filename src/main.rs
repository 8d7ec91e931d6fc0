//! The program: hands the command line over.

use std::process::ExitCode;

/// What is stored lives long, and is allocated amid what lives for one request: the C library's
/// allocator leaves holes between the two that take as much memory again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The system fills a huge page again of which the allocator has given back a part: after
    // minutes of churn it was 19 % above the memory that the store may have with them, and 7 %
    // without. Hits are as fast, misses faster. A system that knows no such pages has none.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    forebay::cli::run()
}
