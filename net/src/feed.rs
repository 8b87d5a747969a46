//! Recorded and generated feeds: rows with a time and what each of them writes.
//!
//! A [`Reader`] turns a CSV, NDJSON or ITCH 5.0 file into [`Row`]s: a time, if the file has one, and one or more
//! key-value pairs made from the row's columns by a [`Mapping`]. [`Generated`] makes rows of the same shape from a seed.
//! When a row is due is the business of a [`Pacer`]; nothing here has a clock.
//!
//! ```text
//! file ──▶ Source (csv | ndjson | itch) ── columns ──▶ Mapping (templates) ──▶ Row ──▶ Pacer ──▶ client
//! ```
//!
//! # Time and units
//! Times are nanoseconds as recorded: since the Unix epoch, or since whatever the file counts from (ITCH: midnight).
//!
//! # Bounds
//! A row has at most [`ROW_BYTES_MAX`] bytes and makes at most [`WRITES_MAX`] writes. A file is read as it is needed,
//! never whole. Buffers are reused from row to row.

pub mod error;
pub mod generated;
pub mod mapping;
pub mod pacer;
pub mod template;
pub mod time;

mod csv;
mod itch;
mod ndjson;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

pub use error::{FeedError, MappingProblem, RowProblem};
pub use generated::Generated;
pub use mapping::{Mapping, WriteText};
pub use pacer::{Pacer, Speed};

use mapping::Recognised;

/// Where rows come from.
pub trait Feed {
    /// Reads the next row into `row` and returns whether there was one.
    ///
    /// # Errors
    /// [`FeedError::Row`] for a row that cannot be used: the caller may go on with the next one. After any other error,
    /// and after the end, there is no more row.
    fn read(&mut self, row: &mut Row) -> Result<bool, FeedError>;
}

/// One row of a feed. It is reused: reading the next row into it overwrites it and keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// When it was recorded, if the feed says so.
    pub time_ns: Option<i64>,
    /// Its line in a text file, its number in others; from 1.
    pub number: u64,
    writes: Vec<Write>,
    /// How many of `writes` belong to this row; the rest is memory kept for the next.
    writes_len: usize,
}

/// A key and the value to store under it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// The key; never empty.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header line, as in RFC 4180.
    Csv,
    /// One JSON object a line; a whole number and a space may stand before it and are the time of the row.
    Ndjson,
    /// NASDAQ TotalView-ITCH 5.0 messages with a two-byte length before each.
    Itch,
}

/// How a file is to be read. The default looks at the file and takes what it recognises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The format, if the file is not to be asked.
    pub format: Option<Format>,
    /// What each row writes; empty for the default of a recognised file.
    pub writes: Vec<WriteText>,
    /// The column with the time, as `NAME` or `NAME:UNIT`.
    pub time: Option<String>,
}

/// Reads rows from a file.
///
/// ```
/// use quorate::feed::{Options, Reader, Row, WriteText, Feed};
///
/// let text = "id,bid,ask\n7,10.5,10.6\n";
/// let writes = vec![WriteText { key: "tick:{id}".into(), value: Some("{bid}/{ask}".into()) }];
/// let options = Options { writes, ..Options::default() };
/// let mut reader = Reader::from_read("ticks.csv", Box::new(text.as_bytes()), &options)?;
/// let mut row = Row::default();
/// assert!(reader.read(&mut row)?);
/// assert_eq!(row.writes()[0].key, b"tick:7");
/// assert_eq!(row.writes()[0].value, b"10.5/10.6");
/// # Ok::<(), quorate::feed::FeedError>(())
/// ```
pub struct Reader {
    name: String,
    format: Format,
    source: Box<dyn Source>,
    mapping: Mapping,
    is_done: bool,
}

impl Reader {
    /// Opens the file at `path`; `-` is standard input.
    ///
    /// # Errors
    /// A file that cannot be read or is compressed, a header without the columns that are asked for, a template that
    /// cannot be read; see [`FeedError`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, FeedError> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            return Self::from_read("standard input", Box::new(io::stdin()), options);
        }
        match File::open(path) {
            Ok(file) => Self::from_read(&name, Box::new(file), options),
            Err(error) => Err(FeedError::Unreadable { file: name, error }),
        }
    }

    /// Reads from `input`; `name` is how errors call it, and its ending tells the format.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn from_read(name: &str, input: Box<dyn Read + Send>, options: &Options) -> Result<Self, FeedError> {
        let unreadable = |error| FeedError::Unreadable { file: name.to_owned(), error };
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let head = input.fill_buf().map_err(unreadable)?;
        if let Some(unpack) = unpacker(head) {
            return Err(FeedError::Compressed { file: name.to_owned(), unpack });
        }
        let format = options.format.unwrap_or_else(|| recognise_format(name, head));
        let mut source: Box<dyn Source> = match format {
            Format::Csv => Box::new(csv::CsvSource::new(name, input)?),
            Format::Ndjson => Box::new(ndjson::NdjsonSource::new(name, input)?),
            Format::Itch => Box::new(itch::ItchSource::new(name, input)),
        };
        let mapping = Mapping::new(name, source.as_mut(), options)?;
        Ok(Self { name: name.to_owned(), format, source, mapping, is_done: false })
    }

    /// Returns the format that was asked for or recognised.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns what each row writes; its text says so to people.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn read_inner(&mut self, row: &mut Row) -> Result<bool, FeedError> {
        if !self.source.advance()? {
            return Ok(false);
        }
        row.number = self.source.number();
        let written = self.mapping.fill(self.source.as_ref(), row);
        written.map_err(|problem| self.source.error(&self.name, problem))?;
        Ok(true)
    }
}

impl Feed for Reader {
    fn read(&mut self, row: &mut Row) -> Result<bool, FeedError> {
        row.clear();
        if self.is_done {
            return Ok(false);
        }
        let read = self.read_inner(row);
        self.is_done = match &read {
            Ok(is_row) => !is_row,
            Err(error) => !matches!(error, FeedError::Row { .. }),
        };
        read
    }
}

impl Iterator for Reader {
    type Item = Result<Row, FeedError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut row = Row::default();
        match self.read(&mut row) {
            Ok(true) => Some(Ok(row)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).field("format", &self.format).finish_non_exhaustive()
    }
}

impl Row {
    /// Returns what the row writes, in order; a later write to the same key overwrites an earlier one.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes[..self.writes_len]
    }

    fn clear(&mut self) {
        self.time_ns = None;
        self.number = 0;
        self.writes_len = 0;
    }

    /// Adds an empty write, in memory of an earlier row if there is some.
    fn push(&mut self) -> &mut Write {
        if self.writes_len == self.writes.len() {
            self.writes.push(Write::default());
        }
        let write = &mut self.writes[self.writes_len];
        self.writes_len += 1;
        write.key.clear();
        write.value.clear();
        write
    }
}

/// A file of one format, at one of its records.
trait Source: Send {
    /// Returns the place of a column, so that it need not be searched for by name in each record. `None` if there is no
    /// such column. Names that start with `@` mean the same in every format: see [`Slot`].
    fn resolve(&mut self, name: &str) -> Option<Slot>;

    /// Returns the columns that are known before the first record, for messages.
    fn columns(&self) -> Vec<String>;

    /// Returns what is written when nothing is asked for, if this kind of file is known.
    fn recognised(&self, name: &str) -> Option<Recognised>;

    /// Moves to the next record; `false` at the end.
    fn advance(&mut self) -> Result<bool, FeedError>;

    /// Returns the line or number of the record, from 1.
    fn number(&self) -> u64;

    /// Appends a column of the record to `out`; `false` if the record has no such column.
    fn write_field(&self, slot: Slot, out: &mut Vec<u8>) -> bool;

    /// Says where in the file the record stands.
    fn error(&self, name: &str, problem: RowProblem) -> FeedError {
        FeedError::Row { file: name.to_owned(), place: error::RowPlace::Line(self.number()), problem }
    }
}

/// The place of a column in the records of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// A column of the file; the number means something to its source only.
    Column(usize),
    /// `@line`: line or number of the record.
    Line,
    /// `@row`: the record as it stands in the file; in hexadecimal if it is binary.
    Row,
    /// `@json`: the record as a JSON object.
    Json,
}

impl Slot {
    /// Returns the column that every format has under this name.
    fn common(name: &str) -> Option<Self> {
        match name {
            "@line" => Some(Self::Line),
            "@row" => Some(Self::Row),
            "@json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The most bytes of one row: a value of the default greatest size, as text.
pub const ROW_BYTES_MAX: usize = 1 << 20;

/// The most writes of one row.
pub const WRITES_MAX: usize = 16;

const BUFFER_BYTES: usize = 64 << 10;

/// Returns the command that unpacks a file that starts with `head`, if it is packed.
fn unpacker(head: &[u8]) -> Option<&'static str> {
    const PACKERS: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gunzip -k"), (b"\x28\xb5\x2f\xfd", "unzstd"), (b"\xfd7zXZ", "unxz -k"), (b"BZh", "bunzip2 -k")];
    PACKERS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, command)| *command)
}

/// Tells the format from the ending of the name, else from the first bytes.
fn recognise_format(name: &str, head: &[u8]) -> Format {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match ending.as_str() {
        "csv" => return Format::Csv,
        "ndjson" | "jsonl" => return Format::Ndjson,
        "itch" => return Format::Itch,
        _ => {}
    }
    // An ITCH message is shorter than 256 bytes, so the file starts with a zero; no text file does.
    if head.first() == Some(&0) {
        return Format::Itch;
    }
    let text = head.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if text[digits..].trim_ascii_start().starts_with(b"{") { Format::Ndjson } else { Format::Csv }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_name_or_by_the_first_bytes() {
        for (name, head, format) in [
            ("a.csv", &b"{}"[..], Format::Csv),
            ("a.JSONL", b"", Format::Ndjson),
            ("a", b"{\"a\":1}", Format::Ndjson),
            ("a", b"1723161255030314667 {\"a\":1}", Format::Ndjson),
            ("a", b"12,13\n", Format::Csv),
            ("a.TEST_ITCH_50", b"\0\0S", Format::Itch),
            ("a", b"\0\x0cS", Format::Itch),
            ("a", b"", Format::Csv),
        ] {
            assert_eq!(recognise_format(name, head), format, "{name} {head:?}");
        }
    }

    #[test]
    fn a_row_keeps_its_memory() {
        let mut row = Row::default();
        row.push().key.extend_from_slice(b"a long key");
        let capacity = row.writes[0].key.capacity();
        row.clear();
        assert!(row.writes().is_empty());
        let write = row.push();
        assert_eq!((write.key.len(), write.key.capacity()), (0, capacity));
    }
}
