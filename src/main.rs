//! The binary: its allocator, and the command line.

use std::process::ExitCode;

/// Most of what a request allocates is freed by the same thread a moment later; mimalloc is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vestibule::cli::main()
}
