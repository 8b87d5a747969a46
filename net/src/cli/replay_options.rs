//! The flags that say how a file is replayed, for every verb that takes a file.

use std::path::Path;

use clap::{Args, ValueEnum};
use thiserror::Error;

use super::{Exit, Failure};
use crate::feed::{FeedError, Format, Options, Reader, Speed, WriteText};

/// How a file is replayed. Without any of these a known recording is recognised and everything else is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ReplayOptions {
    /// The format of the file; told by its name or its first bytes if not given
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FormatName>,
    /// The key each row is stored under: a column, or text with columns in braces like 'tick:{update_id}'; {@line} is
    /// the number of the row. May be repeated: a row then makes several writes
    #[arg(long, value_name = "TEMPLATE")]
    key: Vec<String>,
    /// The value for the key of the same place: like '{bid},{ask}'; {@row} is the whole row, which is the default, and
    /// {@json} the row as a JSON object
    #[arg(long, value_name = "TEMPLATE")]
    value: Vec<String>,
    /// The column with the time of a row, with its unit if neither its name nor its size tells: COLUMN or COLUMN:UNIT,
    /// with ns, us, ms or s
    #[arg(long, value_name = "COLUMN[:UNIT]")]
    time: Option<String>,
    /// How fast: 1x is as recorded, 10x ten times as fast, max as fast as it is acknowledged
    #[arg(long, value_name = "SPEED")]
    speed: Option<Speed>,
}

/// The formats by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// Comma-separated values with a header line
    Csv,
    /// One JSON object a line
    Ndjson,
    /// NASDAQ TotalView-ITCH 5.0
    Itch,
}

/// A file that is open, and how fast it is to be replayed.
#[derive(Debug)]
pub struct Replay {
    /// The rows.
    pub reader: Reader,
    /// How fast.
    pub speed: Speed,
}

/// A replay at a speed of something that has no times.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{file}: its rows have no times that are known, so there is no speed of {speed}; name the column with --time, or say --speed max"
)]
pub struct NoTimes {
    /// The file.
    pub file: String,
    /// The speed that was asked for.
    pub speed: Speed,
}

impl ReplayOptions {
    /// Returns how fast, if it was said.
    #[must_use]
    pub fn speed(&self) -> Option<Speed> {
        self.speed
    }

    /// Whether anything was said that only a file makes sense of.
    #[must_use]
    pub fn is_about_a_file(&self) -> bool {
        *self != Self { speed: self.speed, ..Self::default() }
    }

    /// Opens the file at `path`, `-` for standard input, to be replayed at `speed_default` unless a speed was given.
    ///
    /// # Errors
    /// [`Exit::Usage`] if the flags do not fit the file: an unknown column, a template that cannot be read, a speed
    /// without times. [`Exit::Failed`] if the file cannot be read.
    pub fn open(&self, path: &Path, speed_default: Speed) -> Result<Replay, Failure> {
        let usage = |error: FeedError| {
            let exit = if matches!(error, FeedError::Mapping { .. }) { Exit::Usage } else { Exit::Failed };
            Failure::new(exit, error)
        };
        let file = path.display().to_string();
        let writes = WriteText::pair(&self.key, &self.value)
            .map_err(|problem| usage(FeedError::Mapping { file: file.clone(), problem }))?;
        let format = self.format.map(|name| match name {
            FormatName::Csv => Format::Csv,
            FormatName::Ndjson => Format::Ndjson,
            FormatName::Itch => Format::Itch,
        });
        let reader = Reader::open(path, &Options { format, writes, time: self.time.clone() }).map_err(usage)?;
        let speed = self.speed.unwrap_or(speed_default);
        if speed != Speed::Max && !reader.mapping().has_time() {
            return Err(Failure::new(Exit::Usage, NoTimes { file, speed }));
        }
        Ok(Replay { reader, speed })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Call {
        #[command(flatten)]
        replay: ReplayOptions,
    }

    fn open(text: &str, flags: &[&str]) -> Result<Replay, String> {
        let test = std::thread::current().name().unwrap_or("test").replace(':', "-");
        let path = std::env::temp_dir().join(format!("quorate-replay-{}-{test}.csv", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file");
        let call = Call::try_parse_from([&["replay"], flags].concat()).map_err(|error| error.to_string());
        let opened = call.and_then(|call| {
            let opened = call.replay.open(&path, Speed::Thousandths(1000));
            opened.map_err(|failure| format!("{} {failure}", failure.exit().code()))
        });
        std::fs::remove_file(&path).expect("our own file");
        opened.map_err(|error| error.replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn flags_name_the_columns() {
        let flags = ["--key", "tick:{id}", "--key", "last:X", "--value", "bid", "--time", "t:ms", "--speed", "100x"];
        let replay = open("id,bid,t\n1,2,3\n", &flags).expect("the flags fit the file");
        assert_eq!(replay.speed, Speed::Thousandths(100_000));
        assert_eq!(replay.reader.mapping().to_string(), "tick:{id} = {bid}; last:X = {bid}; time from t");
    }

    #[test]
    fn a_speed_needs_times() {
        let error = open("id,bid\n1,2\n", &["--key", "id"]).expect_err("no times");
        assert_eq!(
            error,
            "2 FILE: its rows have no times that are known, so there is no speed of 1x; name the column with --time, or \
             say --speed max"
        );
        assert!(open("id,bid\n1,2\n", &["--key", "id", "--speed", "max"]).is_ok());
    }

    #[test]
    fn flags_that_do_not_fit_are_usage_errors() {
        let error = |flags: &[&str]| open("id,bid\n1,2\n", flags).expect_err("wrong flags");
        assert_eq!(error(&["--key", "ix"]), "2 FILE: has no column `ix`; its columns are id, bid");
        assert_eq!(error(&["--value", "bid"]), "2 FILE: 1 values for 0 keys; give each --value its --key");
        assert!(error(&["--speed", "fast"]).contains("expected a speed from 0.001x to 1000000x"));
        assert!(error(&["--format", "xml"]).contains("csv, ndjson, itch"));
    }
}
