//! One JSON object a line.
//!
//! Captures of web sockets often have the receiver's clock before each object: `1723161255030314667 {…}`. That number
//! is the column `@time`. Columns inside an object are reached with dots and indexes: `data.s`, `data.b.0.1`. A number
//! is written with the digits that stand in the file.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};
use std::ops::Range;

use serde_json::value::RawValue;

use super::error::{FeedError, RowPlace, RowProblem};
use super::mapping::Recognised;
use super::{ROW_BYTES_MAX, Slot, Source};

/// An NDJSON file at one of its lines.
pub(super) struct NdjsonSource<R> {
    name: String,
    input: R,
    /// The columns that were asked for, each as the steps to it. The first is `@time`.
    paths: Vec<Vec<String>>,
    line: String,
    number: u64,
    /// The number before the object, in `line`.
    prefix: Range<usize>,
    object: Range<usize>,
    /// The fields of the object: name, and value in `line`.
    fields: Vec<(String, Range<usize>)>,
    /// The first line is read when the file is opened, to know its columns, and is not yet given out.
    is_ahead: bool,
}

impl<R: BufRead + Send> NdjsonSource<R> {
    /// Reads the first line. If it is no object, that is said when it is asked for.
    pub(super) fn new(name: &str, input: R) -> Result<Self, FeedError> {
        let mut source = Self {
            name: name.to_owned(),
            input,
            paths: vec![vec![TIME.to_owned()]],
            line: String::new(),
            number: 0,
            prefix: 0..0,
            object: 0..0,
            fields: Vec::new(),
            is_ahead: false,
        };
        source.is_ahead = source.read_line()?;
        if source.is_ahead {
            // The first row will say what is wrong with it.
            drop(source.parse());
        }
        Ok(source)
    }

    /// Reads the next line that is not blank; `false` at the end.
    fn read_line(&mut self) -> Result<bool, FeedError> {
        loop {
            let mut bytes = std::mem::take(&mut self.line).into_bytes();
            bytes.clear();
            let limit = ROW_BYTES_MAX as u64 + 1;
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut bytes);
            let read = read.map_err(|error| FeedError::Unreadable { file: self.name.clone(), error })?;
            if read == 0 {
                return Ok(false);
            }
            self.number += 1;
            if bytes.len() > ROW_BYTES_MAX {
                let place = RowPlace::Line(self.number);
                return Err(FeedError::Lost { file: self.name.clone(), place, problem: RowProblem::TooLong });
            }
            match String::from_utf8(bytes) {
                Ok(line) => self.line = line,
                Err(error) => {
                    let message = format!("not UTF-8 text from byte {} on", error.utf8_error().valid_up_to() + 1);
                    return Err(self.error(&self.name, RowProblem::NotJson { message }));
                }
            }
            if !self.line.trim_start_matches('\u{feff}').trim().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Finds the prefix and the fields of the line.
    fn parse(&mut self) -> Result<(), RowProblem> {
        self.fields.clear();
        let start = self.line.len() - self.line.trim_start_matches('\u{feff}').trim_start().len();
        let digits = self.line[start..].bytes().take_while(u8::is_ascii_digit).count();
        self.prefix = start..start + digits;
        let rest = &self.line[self.prefix.end..];
        let text = rest.trim();
        let object_start = self.prefix.end + (rest.len() - rest.trim_start().len());
        self.object = object_start..object_start + text.len();
        let object: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| RowProblem::NotJson {
            message: format!("{} at column {}", reason(&error), object_start + error.column()),
        })?;
        for (name, value) in object {
            // Both are slices of `line`, so the difference of their addresses is an offset in it.
            let offset = value.get().as_ptr().addr() - self.line.as_ptr().addr();
            self.fields.push((name, offset..offset + value.get().len()));
        }
        Ok(())
    }

    /// Returns the text of the value that `path` leads to.
    fn value(&self, path: &[String]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        let (_, range) = self.fields.iter().find(|(name, _)| name == first)?;
        rest.iter().try_fold(&self.line[range.clone()], |value, step| inside(value, step))
    }
}

impl<R: BufRead + Send> Source for NdjsonSource<R> {
    fn resolve(&mut self, name: &str) -> Option<Slot> {
        if name == TIME {
            return (!self.prefix.is_empty()).then_some(Slot::Column(0));
        }
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        // Another line may have a field that the first one lacks.
        if name.starts_with('@') || path.iter().any(String::is_empty) {
            return None;
        }
        self.paths.push(path);
        Some(Slot::Column(self.paths.len() - 1))
    }

    fn columns(&self) -> Vec<String> {
        self.fields.iter().map(|(name, _)| name.clone()).collect()
    }

    fn recognised(&self, _name: &str) -> Option<Recognised> {
        let time = (!self.prefix.is_empty()).then(|| TIME.to_owned());
        Some(Recognised { writes: Vec::new(), time })
    }

    fn advance(&mut self) -> Result<bool, FeedError> {
        if !std::mem::take(&mut self.is_ahead) && !self.read_line()? {
            return Ok(false);
        }
        self.parse().map_err(|problem| self.error(&self.name, problem))?;
        Ok(true)
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn write_field(&self, slot: Slot, out: &mut Vec<u8>) -> bool {
        match slot {
            Slot::Line => out.extend_from_slice(self.number.to_string().as_bytes()),
            Slot::Row | Slot::Json => out.extend_from_slice(self.line[self.object.clone()].as_bytes()),
            Slot::Column(0) => {
                out.extend_from_slice(self.line[self.prefix.clone()].as_bytes());
                return !self.prefix.is_empty();
            }
            Slot::Column(index) => {
                let Some(value) = self.paths.get(index).and_then(|path| self.value(path)) else { return false };
                return write_scalar(value, out);
            }
        }
        true
    }
}

/// Goes one step into an object or an array.
fn inside<'a>(value: &'a str, step: &str) -> Option<&'a str> {
    if value.starts_with('[') {
        let index: usize = step.parse().ok()?;
        let items: Vec<&'a RawValue> = serde_json::from_str(value).ok()?;
        return items.get(index).map(|item| item.get());
    }
    let mut fields: BTreeMap<String, &'a RawValue> = serde_json::from_str(value).ok()?;
    fields.remove(step).map(RawValue::get)
}

/// Writes a string without its quotes and anything else as it stands; `null` is no value.
fn write_scalar(value: &str, out: &mut Vec<u8>) -> bool {
    if value == "null" {
        return false;
    }
    match serde_json::from_str::<String>(value) {
        Ok(text) if value.starts_with('"') => out.extend_from_slice(text.as_bytes()),
        _ => out.extend_from_slice(value.as_bytes()),
    }
    true
}

/// Returns what the parser said, without the place, which counts from the object and not from the line.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

const TIME: &str = "@time";
