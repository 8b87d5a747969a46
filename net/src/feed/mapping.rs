//! From a row's columns to what it writes.
//!
//! Templates are read and their columns found once, when the file is opened; filling a row only copies bytes.

use std::fmt;

use super::error::{FeedError, MappingProblem, RowProblem};
use super::template::{Part, Template};
use super::time::TimeUnit;
use super::{Options, ROW_BYTES_MAX, Row, Slot, Source, WRITES_MAX};
use crate::config::nearest;

/// A key and a value as templates, as a user writes them. See [`super::template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteText {
    /// The key.
    pub key: String,
    /// The value; `None` for the row as it stands in the file.
    pub value: Option<String>,
}

impl WriteText {
    /// Pairs keys and values in order. With fewer values than keys the last value is used for the rest; without any,
    /// the whole row is the value.
    ///
    /// # Errors
    /// [`MappingProblem::ValueWithoutKey`] for more values than keys.
    pub fn pair(keys: &[String], values: &[String]) -> Result<Vec<Self>, MappingProblem> {
        if values.len() > keys.len() {
            return Err(MappingProblem::ValueWithoutKey { values: values.len(), keys: keys.len() });
        }
        let value = |index: usize| values.get(index).or(values.last()).cloned();
        Ok(keys.iter().enumerate().map(|(index, key)| Self { key: key.clone(), value: value(index) }).collect())
    }
}

/// What is known about a file that looks like one seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recognised {
    /// What its rows write; empty if only the time is known.
    pub(super) writes: Vec<WriteText>,
    /// The column with the time, as `NAME:UNIT`.
    pub(super) time: Option<String>,
}

/// What each row of an opened file becomes.
#[derive(Clone, Debug)]
pub struct Mapping {
    writes: Vec<CompiledWrite>,
    time: Option<TimeColumn>,
    /// Memory for the text of a time.
    scratch: Vec<u8>,
}

impl Mapping {
    pub(super) fn new(file: &str, source: &mut dyn Source, options: &Options) -> Result<Self, FeedError> {
        Self::compile(file, source, options).map_err(|problem| FeedError::Mapping { file: file.to_owned(), problem })
    }

    /// Whether rows have times, so that they can be replayed at a speed.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// Makes `row` from the record that `source` is at.
    pub(super) fn fill(&mut self, source: &dyn Source, row: &mut Row) -> Result<(), RowProblem> {
        if let Some(time) = &self.time {
            row.time_ns = time.read(source, &mut self.scratch)?;
        }
        for write in &self.writes {
            let into = row.push();
            write.key.fill(source, &mut into.key)?;
            write.value.fill(source, &mut into.value)?;
        }
        Ok(())
    }

    fn compile(file: &str, source: &mut dyn Source, options: &Options) -> Result<Self, MappingProblem> {
        let recognised = source.recognised(file).unwrap_or_default();
        let texts = if options.writes.is_empty() { &recognised.writes } else { &options.writes };
        if texts.is_empty() {
            let columns = source.columns();
            let example = columns.first().map_or("@line", String::as_str).to_owned();
            return Err(MappingProblem::NoKey { example, columns });
        }
        if texts.len() > WRITES_MAX {
            return Err(MappingProblem::TooManyWrites { keys: texts.len() });
        }
        let mut writes = Vec::with_capacity(texts.len());
        for text in texts {
            let key = Compiled::new(&text.key, Use::Key, source)?;
            let value = Compiled::new(text.value.as_deref().unwrap_or("{@row}"), Use::Value, source)?;
            writes.push(CompiledWrite { key, value });
        }
        let time = match options.time.as_ref().or(recognised.time.as_ref()) {
            Some(text) => Some(TimeColumn::new(text, source)?),
            None => None,
        };
        Ok(Self { writes, time, scratch: Vec::new() })
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, write) in self.writes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} = {}", write.key.text, write.value.text)?;
        }
        match &self.time {
            Some(time) => write!(f, "; time from {}", time.name),
            None => f.write_str("; no time"),
        }
    }
}

#[derive(Clone, Debug)]
struct CompiledWrite {
    key: Compiled,
    value: Compiled,
}

/// A template whose columns have been found.
#[derive(Clone, Debug)]
struct Compiled {
    text: String,
    parts: Vec<CompiledPart>,
    is_for: Use,
}

/// What a template makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Rows with nothing in a column would all get one key, so that is refused, and so is an empty key.
    Key,
    /// A value may be anything.
    Value,
}

#[derive(Clone, Debug)]
enum CompiledPart {
    Literal(Vec<u8>),
    Column { slot: Slot, name: String, is_optional: bool },
}

impl Compiled {
    fn new(text: &str, is_for: Use, source: &mut dyn Source) -> Result<Self, MappingProblem> {
        let template = Template::parse(text).map_err(|(at, problem)| MappingProblem::Template {
            template: shown(text),
            at,
            problem,
        })?;
        let mut parts = Vec::with_capacity(template.parts().len());
        for part in template.parts() {
            parts.push(match part {
                Part::Literal(literal) => CompiledPart::Literal(literal.clone().into_bytes()),
                Part::Column { name, is_optional } => {
                    CompiledPart::Column { slot: resolve(source, name)?, name: name.clone(), is_optional: *is_optional }
                }
            });
        }
        Ok(Self { text: template.text().to_owned(), parts, is_for })
    }

    fn fill(&self, source: &dyn Source, out: &mut Vec<u8>) -> Result<(), RowProblem> {
        for part in &self.parts {
            match part {
                CompiledPart::Literal(literal) => out.extend_from_slice(literal),
                CompiledPart::Column { slot, name, is_optional } => {
                    let len_before = out.len();
                    if !source.write_field(*slot, out) && !is_optional {
                        return Err(RowProblem::MissingField { name: name.clone() });
                    }
                    if self.is_for == Use::Key && out.len() == len_before && !is_optional {
                        return Err(RowProblem::EmptyField { name: name.clone() });
                    }
                }
            }
            // A row is bounded, but a template may repeat it.
            if out.len() > ROW_BYTES_MAX {
                return Err(RowProblem::TooLong);
            }
        }
        if self.is_for == Use::Key && out.is_empty() {
            return Err(RowProblem::EmptyKey { template: self.text.clone() });
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct TimeColumn {
    name: String,
    slot: Slot,
    unit: TimeUnit,
}

impl TimeColumn {
    /// Finds the column of `NAME` or `NAME:UNIT`.
    fn new(text: &str, source: &mut dyn Source) -> Result<Self, MappingProblem> {
        let with_unit = text.rsplit_once(':').and_then(|(name, unit)| Some((name, TimeUnit::parse(unit)?)));
        let (name, unit) = with_unit.unwrap_or_else(|| (text, TimeUnit::of_column(text)));
        Ok(Self { name: name.to_owned(), slot: resolve(source, name)?, unit })
    }

    fn read(&self, source: &dyn Source, scratch: &mut Vec<u8>) -> Result<Option<i64>, RowProblem> {
        scratch.clear();
        if !source.write_field(self.slot, scratch) {
            return Err(RowProblem::MissingField { name: self.name.clone() });
        }
        match self.unit.read(scratch) {
            Some(time_ns) => Ok(Some(time_ns)),
            None => Err(RowProblem::NotATime {
                name: self.name.clone(),
                expected: self.unit.expected(),
                found: shown(&String::from_utf8_lossy(scratch)),
            }),
        }
    }
}

fn resolve(source: &mut dyn Source, name: &str) -> Result<Slot, MappingProblem> {
    if let Some(slot) = Slot::common(name).or_else(|| source.resolve(name)) {
        return Ok(slot);
    }
    let columns = source.columns();
    let nearest = nearest(name, columns.iter().map(String::as_str)).map(str::to_owned);
    Err(MappingProblem::UnknownColumn { name: shown(name), nearest, columns })
}

/// Cuts text from outside to what a message can show, without control characters.
fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_debug().to_string()
}
