//! The performance harness; see the library for what it does.
//!
//! Exit codes: 0 every result is valid, 1 a result is invalid or something failed, 2 usage.

use std::process::ExitCode;

use clap::Parser;
use quorate_perf::cli::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quorate-perf: {error:#}");
            ExitCode::FAILURE
        }
    }
}
