//! The daemon and its command line: arguments, run, exit code.

use std::process::ExitCode;

/// Allocations of the daemon: sizes and lifetimes vary while it starts and while clients come and go, and mimalloc
/// keeps both the time and the memory of that low.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::cli::run(std::env::args_os()).into()
}
