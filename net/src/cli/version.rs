//! `quorate version`.

use clap::Args;
use serde_json::json;

use super::terminal::write_output;
use super::{Exit, Failure};

/// Arguments of `quorate version`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit this was built from: what `QUORATE_COMMIT` said at build time.
pub const COMMIT: &str = match option_env!("QUORATE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Runs the verb.
///
/// # Errors
/// [`Failure::Output`] if nobody reads the answer.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let transports: &[&str] = if cfg!(target_os = "linux") { &["uring", "mio"] } else { &["mio"] };
    let text = if arguments.json {
        json!({"name": "quorate", "version": VERSION, "commit": COMMIT, "os": os, "arch": arch, "build": build,
               "transports": transports})
        .to_string()
    } else {
        format!(
            "quorate {VERSION} ({os} {arch}, {build} build, commit {COMMIT}, transports {})",
            transports.join(" and ")
        )
    };
    write_output(&text)?;
    Ok(Exit::Done)
}
