//! `TIME`, `ROLE` and `CONFIG`.

use super::{ConfigError, Reply, RoleReport, ServerView};
use crate::resp::{Args, glob};

/// `TIME`: seconds and microseconds.
pub(super) fn time(view: &dyn ServerView, out: &mut Reply<'_>) {
    let now_us = view.now_us();
    out.array(2);
    out.text(&(now_us / 1_000_000).to_string());
    out.text(&(now_us % 1_000_000).to_string());
}

/// `ROLE`, in the shape Redis gives it.
pub(super) fn role(view: &dyn ServerView, out: &mut Reply<'_>) {
    let report = view.role();
    match &report {
        RoleReport::Leader { offset, followers } => {
            out.array(3);
            out.text(report.word());
            out.count(*offset);
            out.array(followers.len());
            for (address, port, index) in followers {
                out.array(3);
                out.text(address);
                out.text(&port.to_string());
                out.text(&index.to_string());
            }
        }
        RoleReport::Follower { leader, port, is_connected, offset } => {
            out.array(5);
            out.text(report.word());
            out.text(leader);
            out.integer(i64::from(*port));
            out.text(if *is_connected { "connected" } else { "connect" });
            out.count(*offset);
        }
    }
}

/// `CONFIG GET pattern ...`: a map of the settings that match any of the patterns.
pub(super) fn config_get(args: Args<'_>, view: &dyn ServerView, out: &mut Reply<'_>) {
    let patterns = args.skip(2);
    let mut found = Vec::new();
    view.visit_settings(&mut |name, value| {
        if patterns.iter().any(|pattern| glob::matches_in_any_case(pattern, name.as_bytes())) {
            found.push((name.to_owned(), value.to_owned()));
        }
    });
    out.map(found.len());
    for (name, value) in &found {
        out.text(name);
        out.text(value);
    }
}

/// `CONFIG SET name value ...`: all or none.
pub(super) fn config_set(args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    let given = args.skip(2);
    if !given.len().is_multiple_of(2) {
        return out.error("ERR wrong number of arguments for 'config|set' command");
    }
    let names: Vec<String> = given
        .iter()
        .step_by(2)
        .map(|name| String::from_utf8_lossy(&name[..name.len().min(SETTING_BYTES_MAX)]).to_ascii_lowercase())
        .collect();
    let values = given.iter().skip(1).step_by(2);
    let settings: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(values).collect();
    match check_once(&names).and_then(|()| view.change_settings(&settings)) {
        Ok(()) => out.ok(),
        Err(error) => out.error_args(format_args!("{error}")),
    }
}

fn check_once(names: &[String]) -> Result<(), ConfigError> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ConfigError::Duplicate { name: pair[0].clone() }),
        None => Ok(()),
    }
}

/// No setting has a longer name.
const SETTING_BYTES_MAX: usize = 128;
