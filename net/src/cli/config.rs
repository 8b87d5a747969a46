//! `quorate config check | print | schema`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::start_flags::StartFlags;
use super::terminal::{Paint, Stream, Tone, write_output};
use super::{Exit, Failure};
use crate::config::print::{Origins, json_schema, reference, to_json, to_toml};
use crate::config::{ConfigError, ConfigErrors, Note, Origin};

/// Arguments of `quorate config`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a file, together with the environment, as `start` would
    Check {
        /// The file
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print what a node would run with: defaults, file, environment, flags
    Print {
        #[command(flatten)]
        start: StartFlags,
        /// Say behind each value where it comes from
        #[arg(long)]
        origin: bool,
        /// Print one JSON object; sizes in bytes, durations in nanoseconds
        #[arg(long)]
        json: bool,
    },
    /// Describe every key: what it does, what it takes, its default
    Schema {
        /// Print a JSON Schema, for editors
        #[arg(long)]
        json: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// [`Failure::Config`] if the configuration is wrong, [`Failure::Output`] if nobody reads the answer.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.verb {
        Verb::Check { file, json: false } => check(file.clone()),
        Verb::Check { file, json: true } => check_json(file.clone()),
        Verb::Print { start, origin, json } => {
            let origins = if *origin { Origins::Shown } else { Origins::Hidden };
            print(start, origins, *json)
        }
        Verb::Schema { json: false } => {
            write_output(&reference())?;
            Ok(Exit::Done)
        }
        Verb::Schema { json: true } => {
            write_output(&format!("{:#}", json_schema()))?;
            Ok(Exit::Done)
        }
    }
}

/// Writes all errors as `config check` shows them: message, line of the file with a mark, and the number of errors.
#[must_use]
pub fn render_errors(errors: &ConfigErrors, paint: Paint) -> String {
    let mut out = String::new();
    for error in errors.errors() {
        writeln!(out, "{} {error}", paint.text(Tone::Bad, "error:")).expect("writing to a string does not fail");
        if let Some(excerpt) = errors.excerpt(error) {
            writeln!(out, "{}", paint.text(Tone::Faint, &excerpt)).expect("writing to a string does not fail");
        }
    }
    let count = errors.count();
    if count > errors.errors().len() {
        writeln!(out, "and {} more errors", count - errors.errors().len()).expect("writing to a string does not fail");
    }
    out
}

/// Writes what is allowed and should be known, one line each.
#[must_use]
pub fn render_notes(notes: &[Note], paint: Paint) -> String {
    notes.iter().map(|note| format!("{} {note}\n", paint.text(Tone::Note, "note:"))).collect()
}

fn check(file: PathBuf) -> Result<Exit, Failure> {
    let name = file.display().to_string();
    let settings = StartFlags { file: Some(file), flags: Vec::new() }.load().build()?;
    let paint = Paint::of(Stream::Output);
    let node = settings.node().id;
    let text = format!(
        "{}{name}: {}: node {node} of cluster {}, {} replicas, write quorum {}\n",
        render_notes(settings.notes(), paint),
        paint.text(Tone::Good, "correct"),
        settings.cluster().id,
        settings.cluster().replicas,
        settings.cluster().write_quorum,
    );
    write_output(&text)?;
    Ok(Exit::Done)
}

fn check_json(file: PathBuf) -> Result<Exit, Failure> {
    let name = file.display().to_string();
    let checked = StartFlags { file: Some(file), flags: Vec::new() }.load().build();
    let (exit, object) = match checked {
        Ok(settings) => {
            let notes: Vec<String> = settings.notes().iter().map(ToString::to_string).collect();
            (Exit::Done, json!({"file": name, "correct": true, "errors": [], "error_count": 0, "notes": notes}))
        }
        Err(errors) => {
            let list: Vec<serde_json::Value> = errors.errors().iter().map(error_json).collect();
            let count = errors.count();
            (Exit::Failed, json!({"file": name, "correct": false, "errors": list, "error_count": count, "notes": []}))
        }
    };
    write_output(&object.to_string())?;
    Ok(exit)
}

fn error_json(error: &ConfigError) -> serde_json::Value {
    let (line, column) = match &error.origin {
        Origin::File(place) => (Some(place.line), Some(place.column)),
        Origin::Default | Origin::WholeFile(_) | Origin::Environment(_) | Origin::Flag(_) => (None, None),
    };
    json!({"line": line, "column": column, "origin": error.origin.to_string(), "message": error.problem.to_string()})
}

fn print(start: &StartFlags, origins: Origins, is_json: bool) -> Result<Exit, Failure> {
    let config = start.load();
    let text = if is_json { to_json(&config, origins).to_string() } else { to_toml(&config, origins) };
    // A configuration that is not yet complete is shown as far as it goes, and then refused.
    write_output(&text)?;
    let settings = config.build()?;
    eprint!("{}", render_notes(settings.notes(), Paint::of(Stream::Error)));
    Ok(Exit::Done)
}
