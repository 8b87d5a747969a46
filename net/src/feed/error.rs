//! What can be wrong with a feed, and where.

use std::fmt;
use std::io;

use thiserror::Error;

use super::{ROW_BYTES_MAX, WRITES_MAX};

/// Why a feed gives no row.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The operating system would not give us the file.
    #[error("{file}: cannot be read: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// What it said.
        error: io::Error,
    },
    /// The file has to be unpacked first.
    #[error("{file}: is compressed; unpack it first: {unpack} {file}")]
    Compressed {
        /// The file.
        file: String,
        /// The command that does it.
        unpack: &'static str,
    },
    /// What the rows should become cannot be made from this file.
    #[error("{file}: {problem}")]
    Mapping {
        /// The file.
        file: String,
        /// Why not.
        problem: MappingProblem,
    },
    /// One row cannot be used; the next one may.
    #[error("{file}:{place}: {problem}")]
    Row {
        /// The file.
        file: String,
        /// Where in it.
        place: RowPlace,
        /// Why not.
        problem: RowProblem,
    },
    /// One row cannot be used and nobody can tell where the next one starts.
    #[error("{file}:{place}: {problem}; the rest of the file cannot be read")]
    Lost {
        /// The file.
        file: String,
        /// Where in it.
        place: RowPlace,
        /// Why not.
        problem: RowProblem,
    },
}

/// Where a row stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowPlace {
    /// A line, from 1.
    Line(u64),
    /// A message of a binary file.
    Message {
        /// Its number, from 1.
        number: u64,
        /// The offset of its length, in bytes from 0.
        offset: u64,
    },
}

impl fmt::Display for RowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{line}"),
            Self::Message { number, offset } => write!(f, " message {number} at byte {offset}"),
        }
    }
}

/// What is wrong with one row.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// A line with more or fewer fields than the header.
    #[error("expected {expected} fields as in the header, found {found}")]
    FieldCount {
        /// Columns of the header.
        expected: usize,
        /// Fields of the line.
        found: usize,
    },
    /// A line that is no JSON object.
    #[error("expected a JSON object: {message}")]
    NotJson {
        /// What the parser said, with the column.
        message: String,
    },
    /// A field that a template names and the row does not have.
    #[error("expected a field `{name}`, which this row does not have; `{{{name}?}}` stands for nothing then")]
    MissingField {
        /// Its name.
        name: String,
    },
    /// A field of the key with nothing in it.
    #[error("expected a value in `{name}`, which is part of the key; `{{{name}?}}` allows it to be empty")]
    EmptyField {
        /// Its name.
        name: String,
    },
    /// A time that is none.
    #[error("expected a time in `{name}` as {expected}, found {found:?}")]
    NotATime {
        /// The column.
        name: String,
        /// What a time looks like there.
        expected: &'static str,
        /// What stands there, cut.
        found: String,
    },
    /// The template of the key made nothing of this row.
    #[error("expected a key, but {template:?} makes an empty one of this row")]
    EmptyKey {
        /// The template.
        template: String,
    },
    /// A row that is longer than any row should be; an unclosed quote, for example.
    #[error("expected the end of the row within {ROW_BYTES_MAX} bytes; is a quote not closed?")]
    TooLong,
    /// A message of a type that ITCH 5.0 does not have.
    #[error("expected a message type of ITCH 5.0, found byte {found:#04x}")]
    UnknownType {
        /// What stands in its place.
        found: u8,
    },
    /// A message whose length is not that of its type.
    #[error("expected {expected} bytes for a message of type {kind}, found {found}")]
    Length {
        /// The type.
        kind: char,
        /// The length by the type.
        expected: usize,
        /// The length by the prefix, or what the file has left.
        found: usize,
    },
    /// The file ends inside the length of a message.
    #[error("expected the two bytes of a length, found {found}")]
    HalfLength {
        /// How many there are.
        found: usize,
    },
}

/// What is wrong with what the rows should become.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MappingProblem {
    /// A name that no column has.
    #[error("has no column `{name}`{}{}", suggested(.nearest.as_deref()), columns_are(.columns))]
    UnknownColumn {
        /// The name.
        name: String,
        /// The column that was probably meant.
        nearest: Option<String>,
        /// All columns.
        columns: Vec<String>,
    },
    /// Nothing says what the key is.
    #[error("is not a recording that is known here, so say what the key of a row is, like --key 'row:{{{example}}}'{}", columns_are(.columns))]
    NoKey {
        /// A column to show how.
        example: String,
        /// All columns.
        columns: Vec<String>,
    },
    /// A template that cannot be read.
    #[error("template {template:?}, character {at}: {problem}")]
    Template {
        /// The template.
        template: String,
        /// The character, from 1.
        at: usize,
        /// What is wrong there.
        problem: TemplateProblem,
    },
    /// More values than keys.
    #[error("{values} values for {keys} keys; give each --value its --key")]
    ValueWithoutKey {
        /// How many values.
        values: usize,
        /// How many keys.
        keys: usize,
    },
    /// More writes than a row may make.
    #[error("{keys} keys for one row; allowed is 1 to {WRITES_MAX}")]
    TooManyWrites {
        /// How many.
        keys: usize,
    },
    /// A file without a header line.
    #[error("is empty; expected a line with the names of the columns")]
    NoHeader,
}

/// What is wrong at one place of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TemplateProblem {
    /// `{` without its `}`.
    #[error("`{{` is not closed; a brace itself is written twice")]
    Unclosed,
    /// `}` without its `{`.
    #[error("`}}` closes nothing; a brace itself is written twice")]
    Unopened,
    /// `{}`.
    #[error("expected the name of a column between the braces")]
    NoName,
    /// An empty template.
    #[error("expected a text or a column in braces, like 'tick:{{id}}'")]
    Empty,
}

fn suggested(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

fn columns_are(columns: &[String]) -> String {
    if columns.is_empty() { String::new() } else { format!("; its columns are {}", columns.join(", ")) }
}
