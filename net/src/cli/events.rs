//! `quorate events`: what has happened in the cluster.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::door::Door;
use super::status::ask::{Asker, Reply};
use super::status::failure;
use super::{Exit, Failure};

/// Arguments of `quorate events`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    door: Door,
    /// Begin with the event of this index; the latest 4096 are kept
    #[arg(long, value_name = "INDEX", default_value_t = 1)]
    from: u64,
    /// Go on with what happens from now on, until interrupted
    #[arg(long)]
    follow: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// [`Exit::Unreachable`] if the node does not answer, [`Exit::Failed`] if it refuses.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut asker = arguments.door.open().map_err(failure)?;
    let mut out = io::stdout().lock();
    let mut next = arguments.from.max(1);
    loop {
        let events = page(&mut asker, next).map_err(failure)?;
        for event in &events {
            let index = event["index"].as_u64().unwrap_or(next);
            if index > next && next > 1 {
                writeln!(out, "{}", gap(next, index - 1, arguments.json))?;
            }
            writeln!(out, "{}", if arguments.json { event.to_string() } else { line(event) })?;
            next = index + 1;
        }
        out.flush()?;
        if events.is_empty() {
            if !arguments.follow {
                return Ok(Exit::Done);
            }
            std::thread::sleep(POLL_EVERY);
        }
    }
}

/// Returns the events from an index on, the first so many.
///
/// # Errors
/// See [`AskError`](super::status::ask::AskError).
pub fn page(asker: &mut Asker, from: u64) -> Result<Vec<Value>, super::status::ask::AskError> {
    let reply = asker.ask(&[b"CORE", b"EVENTS", b"FROM", from.to_string().as_bytes(), b"COUNT", b"512", b"JSON"])?;
    let Reply::Array(items) = reply else { return Ok(Vec::new()) };
    let read = |item: &Reply| match item {
        Reply::Bulk(text) => serde_json::from_slice(text).ok(),
        _ => None,
    };
    Ok(items.iter().filter_map(read).collect())
}

fn gap(first: u64, last: u64, is_json: bool) -> String {
    if is_json {
        serde_json::json!({ "event": "gap", "first": first, "last": last }).to_string()
    } else {
        format!("{first} to {last} are not kept any more")
    }
}

/// Writes an event for people: its index, when, what, and the rest as name=value.
fn line(event: &Value) -> String {
    let mut text = format!(
        "{:>6}  {}  {}",
        event["index"].as_u64().unwrap_or_default(),
        time(event["at_ms"].as_u64().unwrap_or_default()),
        event["event"].as_str().unwrap_or_default()
    );
    for (name, value) in event.as_object().into_iter().flatten() {
        if !["index", "at_ms", "event"].contains(&name.as_str()) {
            push_field(&mut text, name, value);
        }
    }
    text
}

fn push_field(text: &mut String, name: &str, value: &Value) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    let _ = match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| push_field(text, name, value));
            Ok(())
        }
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            write!(text, " {name}={}", items.join(","))
        }
        Value::String(value) => write!(text, " {name}={value}"),
        other => match name.strip_suffix("_us") {
            Some(name) => write!(text, " {name}={:.1}ms", other.as_f64().unwrap_or_default() / 1e3),
            None => write!(text, " {name}={other}"),
        },
    };
}

/// Writes a time of day, in UTC.
fn time(at_ms: u64) -> String {
    let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

const POLL_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_steps_in_milliseconds() {
        let event = serde_json::json!({
            "index": 12, "at_ms": 45_296_789_u64, "event": "took_over", "group": 3, "epoch": 2,
            "steps": { "adopted_us": 1_500, "held_us": 80_000, "activated_us": 3_250 },
        });
        let expected = "    12  12:34:56.789Z  took_over epoch=2 group=3 activated=3.2ms adopted=1.5ms held=80.0ms";
        assert_eq!(line(&event), expected);
        let loss = serde_json::json!({ "index": 1, "at_ms": 0, "event": "unavailable", "group": 0, "missing": ["1.4", "2.5"] });
        assert_eq!(line(&loss), "     1  00:00:00.000Z  unavailable group=0 missing=1.4,2.5");
    }
}
