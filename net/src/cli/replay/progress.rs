//! What is seen while rows are sent: a line that changes in place on a terminal, lines one after the other elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use quorate_engine::time::Instant;

use super::sender::{Flow, Watcher};
use super::tally::{Tally, grouped};
use crate::cli::Failure;
use crate::cli::terminal::{Paint, Stream, write_output};
use crate::client::Token;

/// How progress is shown.
#[derive(Debug)]
pub enum Progress {
    /// In place.
    Live(ProgressBar),
    /// One line a second.
    Lines,
    /// One JSON object a line.
    Json,
}

impl Progress {
    /// Looks at what standard output and standard error are.
    #[must_use]
    pub fn new(is_json: bool) -> Self {
        if is_json {
            return Self::Json;
        }
        let is_terminal = [Stream::Output, Stream::Error].into_iter().all(|stream| Paint::of(stream).is_coloured());
        if !is_terminal {
            return Self::Lines;
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner:.green} {msg}").expect("a template that is constant"));
        Self::Live(bar)
    }

    /// As [`Progress::new`], and shows how many of `rows` are done, if that is known.
    #[must_use]
    pub fn with_rows(is_json: bool, rows: Option<u64>) -> Self {
        let progress = Self::new(is_json);
        if let (Self::Live(bar), Some(rows)) = (&progress, rows) {
            let template = "{bar:40.green} {human_pos} of {human_len} rows acknowledged\n{msg}";
            bar.set_style(ProgressStyle::with_template(template).expect("a template that is constant"));
            bar.set_length(rows);
        }
        progress
    }

    /// Shows how many rows are done.
    pub fn advance(&self, rows: u64) {
        if let Self::Live(bar) = self {
            bar.set_position(rows);
        }
    }

    /// Shows a line for good.
    ///
    /// # Errors
    /// Nobody reads it.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Live(bar) => {
                bar.println(text);
                Ok(())
            }
            Self::Lines | Self::Json => Ok(write_output(text)?),
        }
    }

    /// Shows a line in place of the last one, on a terminal.
    pub fn update(&self, text: impl FnOnce() -> String) {
        if let Self::Live(bar) = self {
            bar.set_message(text());
            bar.tick();
        }
    }

    /// Takes away what was in place.
    pub fn finish(&self) {
        if let Self::Live(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Two rhythms: of lines, and of what changes in place.
#[derive(Debug)]
pub struct Rhythm {
    line_at: Instant,
    update_at: Instant,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    None,
    /// What changes in place.
    Update,
    /// A line.
    Line,
}

impl Rhythm {
    /// Starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { line_at: now.saturating_add(LINE_INTERVAL), update_at: now }
    }

    /// Returns what is due at `now`.
    pub fn beat(&mut self, now: Instant) -> Beat {
        if now >= self.line_at {
            // From the time it was due, so that seconds stay seconds; after a long pause from now.
            self.line_at = self.line_at.saturating_add(LINE_INTERVAL).max(now);
            return Beat::Line;
        }
        if now >= self.update_at {
            self.update_at = now.saturating_add(UPDATE_INTERVAL);
            return Beat::Update;
        }
        Beat::None
    }
}

/// Watches `quorate replay`.
#[derive(Debug)]
pub(super) struct ReplayWatcher {
    progress: Progress,
    rhythm: Rhythm,
    is_interrupted: Arc<AtomicBool>,
}

impl ReplayWatcher {
    pub(super) fn new(progress: Progress, now: Instant, is_interrupted: Arc<AtomicBool>) -> Self {
        Self { progress, rhythm: Rhythm::new(now), is_interrupted }
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Watcher for ReplayWatcher {
    fn acknowledged(&mut self, _key: &[u8], _value: &[u8], _token: &Token) {}

    fn tick(&mut self, now: Instant, tally: &mut Tally, outstanding: usize) -> Result<Flow, Failure> {
        match self.rhythm.beat(now) {
            Beat::None => {}
            Beat::Update => self.progress.update(|| {
                format!(
                    "{} rows   {} writes acknowledged   {} under way   {} errors",
                    grouped(tally.rows),
                    grouped(tally.acknowledged),
                    grouped(outstanding as u64),
                    grouped(tally.errors + tally.unknown)
                )
            }),
            Beat::Line => {
                let interval = tally.take_interval(now);
                let text = match self.progress {
                    Progress::Json => interval.json(tally, outstanding).to_string(),
                    Progress::Live(_) | Progress::Lines => interval.line(),
                };
                self.progress.line(&text)?;
            }
        }
        Ok(if self.is_interrupted.load(Ordering::Relaxed) { Flow::Finish } else { Flow::Continue })
    }
}

const LINE_INTERVAL: Duration = Duration::from_secs(1);
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);
