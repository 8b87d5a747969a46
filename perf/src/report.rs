//! What is said about a run: one result line, as JSON for programs or in a table for people, and the files that are kept.
//!
//! In JSON only result lines (and the ratios of `peers`) go to standard output; the fingerprint of the machine goes to
//! standard error and into every kept file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::histogram::{CurvePoint, Latencies};
use crate::load::{Arrival, Figures, Plan, Spacing};
use crate::machine::Fingerprint;

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    /// Name of the system.
    pub system: String,
    /// `closed`, `open` or `open-poisson`; with `-uncorrected` when latency counts from the real send time.
    pub mode: String,
    /// What is spoken between client and system.
    pub protocol: String,
    /// Requests in flight in a closed loop.
    pub window: Option<u32>,
    /// Requests per second asked for in an open loop.
    pub rate: Option<u64>,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Requests done.
    pub count: u64,
    /// Error replies.
    pub errors: u64,
    /// Requests done per second.
    pub per_second: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 90th percentile in microseconds.
    pub p90_us: f64,
    /// 99th percentile in microseconds.
    pub p99_us: f64,
    /// 99.9th percentile in microseconds.
    pub p999_us: f64,
    /// 99.99th percentile in microseconds.
    pub p9999_us: f64,
    /// Largest latency in microseconds.
    pub max_us: f64,
    /// Whether the run says anything about the system.
    pub valid: bool,
    /// What a reader must know: promises, set-up, why a run is invalid.
    pub note: String,
}

/// What was measured, as result lines name it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the system.
    pub system: &'static str,
    /// What is spoken between client and system.
    pub protocol: &'static str,
    /// Bytes of each value.
    pub value_bytes: usize,
}

impl ResultLine {
    /// Puts a run into one line.
    #[must_use]
    pub fn new(subject: &Subject, plan: &Plan, figures: &Figures, notes: &[&str]) -> Self {
        let (mode, window, rate) = match plan.arrival {
            Arrival::Window(window) => ("closed", Some(window), None),
            Arrival::Rate { per_second, spacing: Spacing::Even } => ("open", None, Some(per_second)),
            Arrival::Rate { per_second, spacing: Spacing::Poisson { .. } } => ("open-poisson", None, Some(per_second)),
        };
        let faults = figures.faults();
        let mut notes: Vec<String> = notes.iter().filter(|note| !note.is_empty()).map(ToString::to_string).collect();
        notes.extend(faults.iter().map(|fault| format!("invalid: {fault}")));
        if figures.count < P999_COUNT_MIN {
            notes.push(format!("p99.9 and beyond from fewer than {P999_COUNT_MIN} requests"));
        }
        let line = Self {
            system: subject.system.to_owned(),
            mode: mode.to_owned(),
            protocol: subject.protocol.to_owned(),
            window,
            rate,
            value_bytes: subject.value_bytes,
            count: figures.count,
            errors: figures.errors,
            per_second: round(figures.per_second()),
            p50_us: 0.0,
            p90_us: 0.0,
            p99_us: 0.0,
            p999_us: 0.0,
            p9999_us: 0.0,
            max_us: 0.0,
            valid: faults.is_empty(),
            note: notes.join("; "),
        };
        line.with_latencies(&figures.latencies)
    }

    /// Returns the same run with latency from the real send time, if it was an open loop.
    #[must_use]
    pub fn uncorrected(&self, figures: &Figures) -> Option<Self> {
        let from_send = figures.from_send.as_ref()?;
        let mut line = self.clone().with_latencies(from_send);
        line.mode.push_str("-uncorrected");
        line.note = "latency from the real send time, which hides stalls; for comparison only".to_owned();
        Some(line)
    }

    /// Returns the line with the percentiles of `latencies`.
    #[must_use]
    pub fn with_latencies(mut self, latencies: &Latencies) -> Self {
        self.p50_us = round(latencies.quantile_us(0.5));
        self.p90_us = round(latencies.quantile_us(0.9));
        self.p99_us = round(latencies.quantile_us(0.99));
        self.p999_us = round(latencies.quantile_us(0.999));
        self.p9999_us = round(latencies.quantile_us(0.9999));
        self.max_us = round(latencies.max_us());
        self
    }

    /// Name of the files that keep this line.
    fn file_stem(&self) -> String {
        let load = match (self.window, self.rate) {
            (Some(window), _) => format!("w{window}"),
            (None, Some(rate)) => format!("r{rate}"),
            (None, None) => "x".to_owned(),
        };
        format!("{}-{}-{}-{load}", self.system, self.protocol, self.mode)
    }
}

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One JSON object a line.
    Json,
    /// Aligned columns.
    Table,
}

/// Shows results and keeps what was asked for.
#[derive(Debug)]
pub struct Report {
    style: Style,
    folder: Option<PathBuf>,
    fingerprint: Fingerprint,
    kept: Vec<Kept>,
    rows: usize,
    notes: Footnotes,
    all_valid: bool,
}

/// A result that becomes two files at the end.
#[derive(Debug)]
struct Kept {
    stem: String,
    line: ResultLine,
    latencies: Latencies,
}

/// Contents of a kept JSON file.
#[derive(Debug, Serialize)]
struct KeptFile<'a> {
    result: &'a ResultLine,
    curve: Vec<CurvePoint>,
    machine: &'a Fingerprint,
}

/// The part of a kept JSON file that is read back.
#[derive(Debug, Deserialize)]
pub struct KeptCurve {
    /// The result line.
    pub result: ResultLine,
    /// The percentile curve.
    pub curve: Vec<CurvePoint>,
}

impl Report {
    /// Prints the fingerprint; files go to `folder`, if any, at the end.
    ///
    /// # Errors
    /// The folder cannot be made, or the output is closed.
    pub fn begin(style: Style, folder: Option<PathBuf>, fingerprint: Fingerprint) -> Result<Self> {
        if let Some(folder) = &folder {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        match style {
            Style::Json => writeln!(io::stderr(), "{}", serde_json::to_string(&fingerprint)?)?,
            Style::Table => writeln!(io::stdout(), "{fingerprint}\n")?,
        }
        Ok(Self { style, folder, fingerprint, kept: Vec::new(), rows: 0, notes: Footnotes::default(), all_valid: true })
    }

    /// Shows one line.
    ///
    /// # Errors
    /// The output is closed.
    pub fn show(&mut self, line: &ResultLine) -> Result<()> {
        self.all_valid &= line.valid;
        self.show_probe(line)
    }

    /// Shows a line that may well be invalid, since it looks for a limit.
    ///
    /// # Errors
    /// The output is closed.
    pub fn show_probe(&mut self, line: &ResultLine) -> Result<()> {
        let mut out = io::stdout().lock();
        match self.style {
            Style::Json => writeln!(out, "{}", serde_json::to_string(line)?)?,
            Style::Table => {
                if self.rows == 0 {
                    writeln!(out, "{}", table_heading())?;
                }
                let notes = self.notes.numbers_of(&line.note);
                writeln!(out, "{}", table_row(line, &notes))?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Shows text for people, or the object for programs.
    ///
    /// # Errors
    /// The output is closed.
    pub fn show_object(&self, object: &impl Serialize, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        match self.style {
            Style::Json => writeln!(out, "{}", serde_json::to_string(object)?)?,
            Style::Table => writeln!(out, "\n{text}")?,
        }
        Ok(())
    }

    /// Says something that is not a result, without disturbing programs that read the output.
    ///
    /// # Errors
    /// The output is closed.
    pub fn remark(&self, text: &str) -> Result<()> {
        match self.style {
            Style::Json => writeln!(io::stderr(), "{text}")?,
            Style::Table => writeln!(io::stdout(), "{text}")?,
        }
        Ok(())
    }

    /// Keeps a line and its histogram; `suffix` tells several of one kind apart.
    pub fn keep(&mut self, line: &ResultLine, latencies: &Latencies, suffix: &str) {
        if self.folder.is_some() {
            let stem = format!("{}{suffix}", line.file_stem());
            self.kept.push(Kept { stem, line: line.clone(), latencies: latencies.clone() });
        }
    }

    /// Shows and keeps a run, corrected and uncorrected.
    ///
    /// # Errors
    /// The output is closed.
    pub fn record(&mut self, line: &ResultLine, figures: &Figures, suffix: &str) -> Result<()> {
        self.show(line)?;
        self.keep(line, &figures.latencies, suffix);
        if let (Some(uncorrected), Some(from_send)) = (line.uncorrected(figures), &figures.from_send) {
            self.show(&uncorrected)?;
            self.keep(&uncorrected, from_send, suffix);
        }
        Ok(())
    }

    /// Writes the files, prints what is known only now, and says whether every line was valid.
    ///
    /// # Errors
    /// A file cannot be written, or the output is closed.
    pub fn finish(mut self) -> Result<bool> {
        self.fingerprint.finish();
        for (index, note) in self.notes.0.iter().enumerate() {
            self.remark(&format!("{:>8} {note}", format!("[{}]", index + 1)))?;
        }
        let steal = self.fingerprint.steal_percent.map_or("unknown".to_owned(), |percent| format!("{percent:.2} %"));
        self.remark(&format!("steal    {steal} of CPU time during this command"))?;
        if let Some(folder) = &self.folder {
            for kept in &self.kept {
                write_kept(folder, kept, &self.fingerprint)
                    .with_context(|| format!("cannot keep {} in {}", kept.stem, folder.display()))?;
            }
            self.remark(&format!("kept     {} histograms in {}", self.kept.len(), folder.display()))?;
        }
        Ok(self.all_valid)
    }
}

fn write_kept(folder: &Path, kept: &Kept, machine: &Fingerprint) -> Result<()> {
    let mut hgrm = BufWriter::new(File::create(folder.join(format!("{}.hgrm", kept.stem)))?);
    kept.latencies.write_hgrm(&mut hgrm)?;
    hgrm.flush()?;
    let file = KeptFile { result: &kept.line, curve: kept.latencies.curve(), machine };
    fs::write(folder.join(format!("{}.json", kept.stem)), serde_json::to_string_pretty(&file)?)?;
    Ok(())
}

/// Notes of a table: each different one is printed once, below.
#[derive(Debug, Default)]
struct Footnotes(Vec<String>);

impl Footnotes {
    /// Returns the numbers of the parts of a note, from 1.
    fn numbers_of(&mut self, note: &str) -> String {
        let mut numbers = String::new();
        for part in note.split("; ").filter(|part| !part.is_empty()) {
            let index = self.0.iter().position(|known| known == part).unwrap_or_else(|| {
                self.0.push(part.to_owned());
                self.0.len() - 1
            });
            numbers.push_str(&format!("[{}]", index + 1));
        }
        numbers
    }
}

fn table_heading() -> String {
    format!(
        "{:<18}{:<25}{:<9}{:>12}{:>10}{:>7}{:>12}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}  {:<7}notes",
        "system",
        "mode",
        "protocol",
        "load",
        "count",
        "errors",
        "per second",
        "p50 us",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
        "valid"
    )
}

fn table_row(line: &ResultLine, notes: &str) -> String {
    let load = match (line.window, line.rate) {
        (Some(window), _) => format!("window {window}"),
        (None, Some(rate)) => format!("{rate}/s"),
        (None, None) => String::new(),
    };
    format!(
        "{:<18}{:<25}{:<9}{:>12}{:>10}{:>7}{:>12.0}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>10.1}  {:<7}{}",
        line.system,
        line.mode,
        line.protocol,
        load,
        line.count,
        line.errors,
        line.per_second,
        line.p50_us,
        line.p90_us,
        line.p99_us,
        line.p999_us,
        line.p9999_us,
        line.max_us,
        if line.valid { "yes" } else { "NO" },
        notes
    )
}

/// Three decimals are all that three digits of nanoseconds hold.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Requests that a 99.9th percentile needs to mean something.
const P999_COUNT_MIN: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut latencies = Latencies::new();
        (1..=100_u64).for_each(|index| latencies.record(index * 10_000));
        Figures {
            sent: 110,
            count: 100,
            errors: 10,
            unexpected: 0,
            elapsed_ns: 1_000_000_000,
            offered_ns: 0,
            latencies,
            from_send: None,
            failure: None,
        }
    }

    const SUBJECT: Subject = Subject { system: "floor", protocol: "forward", value_bytes: 64 };
    const PLAN: Plan = Plan { arrival: Arrival::Window(4), count_max: 100, duration_ns_max: 1 };

    #[test]
    fn json_line_has_exactly_the_agreed_fields_in_order() {
        let line = ResultLine::new(&SUBJECT, &PLAN, &figures(), &["a note"]);
        let text = serde_json::to_string(&line).unwrap();
        let names = "system mode protocol window rate value_bytes count errors per_second p50_us p90_us p99_us p999_us \
                     p9999_us max_us valid note";
        let mut rest = text.as_str();
        for name in names.split_whitespace() {
            let at = rest.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} is missing or out of order"));
            rest = &rest[at..];
        }
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.as_object().unwrap().len(), names.split_whitespace().count());
        assert_eq!(value["window"], 4);
        assert!(value["rate"].is_null());
        assert_eq!(value["errors"], 10);
        assert_eq!(value["valid"], true);
    }

    #[test]
    fn invalid_run_says_why() {
        let mut figures = figures();
        figures.sent = 111;
        let line = ResultLine::new(&SUBJECT, &PLAN, &figures, &[]);
        assert!(!line.valid);
        assert!(line.note.contains("sent 111 but received 110"), "{}", line.note);
    }

    #[test]
    fn open_loop_has_both_figures() {
        let mut figures = figures();
        let mut from_send = Latencies::new();
        from_send.record(1_000);
        figures.from_send = Some(from_send);
        let arrival = Arrival::Rate { per_second: 100, spacing: Spacing::Poisson { seed: 1 } };
        let line = ResultLine::new(&SUBJECT, &Plan { arrival, ..PLAN }, &figures, &[]);
        let uncorrected = line.uncorrected(&figures).unwrap();
        assert_eq!((line.mode.as_str(), line.rate), ("open-poisson", Some(100)));
        assert_eq!(uncorrected.mode, "open-poisson-uncorrected");
        assert!(uncorrected.p99_us < line.p99_us);
    }

    #[test]
    fn notes_are_numbered_once() {
        let mut notes = Footnotes::default();
        assert_eq!(notes.numbers_of("a; b"), "[1][2]");
        assert_eq!(notes.numbers_of("b; c"), "[2][3]");
        assert_eq!(notes.numbers_of(""), "");
        assert_eq!(notes.0, ["a", "b", "c"]);
    }

    #[test]
    fn rows_align_with_the_heading() {
        let line = ResultLine::new(&SUBJECT, &PLAN, &figures(), &["here"]);
        let row = table_row(&line, "here");
        assert_eq!(row.find("here").unwrap(), table_heading().find("notes").unwrap());
    }
}
