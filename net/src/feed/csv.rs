//! Comma-separated values with a header line, as in RFC 4180.
//!
//! The header of the exchange recordings that come with the tests is recognised; see [`CsvSource::recognised`].

use std::io::{self, Read};

use super::error::{FeedError, MappingProblem, RowPlace, RowProblem};
use super::mapping::{Recognised, WriteText};
use super::{ROW_BYTES_MAX, Slot, Source};

/// A CSV file at one of its lines.
pub(super) struct CsvSource<R> {
    name: String,
    reader: csv::Reader<Rationed<R>>,
    columns: Vec<String>,
    record: csv::ByteRecord,
    line: u64,
}

impl<R: Read + Send> CsvSource<R> {
    /// Reads the header.
    pub(super) fn new(name: &str, input: R) -> Result<Self, FeedError> {
        let input = Rationed { input, left: RATION_BYTES };
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(input);
        let header = reader.byte_headers().map_err(|error| failure(name, 1, error))?;
        let columns: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if columns.iter().all(String::is_empty) {
            return Err(FeedError::Mapping { file: name.to_owned(), problem: MappingProblem::NoHeader });
        }
        Ok(Self { name: name.to_owned(), reader, columns, record: csv::ByteRecord::new(), line: 1 })
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let texts = self.record.iter().map(|field| String::from_utf8_lossy(field).into_owned().into());
        let object: serde_json::Map<String, serde_json::Value> = self.columns.iter().cloned().zip(texts).collect();
        serde_json::to_writer(out, &object).expect("strings are always JSON, and memory takes all bytes");
    }
}

impl<R: Read + Send> Source for CsvSource<R> {
    fn resolve(&mut self, name: &str) -> Option<Slot> {
        self.columns.iter().position(|column| column == name).map(Slot::Column)
    }

    fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    /// The recordings of an exchange's best prices and trades: each row is stored under its own number, and as the
    /// latest price of its symbol.
    fn recognised(&self, name: &str) -> Option<Recognised> {
        let (key, value) = match self.columns.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["local_ns", "event_ms", "txn_ms", "update_id", "bid", "bid_qty", "ask", "ask_qty"] => {
                ("tick:{update_id}", "{bid},{bid_qty},{ask},{ask_qty}")
            }
            ["local_ns", "event_ms", "txn_ms", "trade_id", "price", "qty", "buyer_is_maker"] => {
                ("trade:{trade_id}", "{price},{qty},{buyer_is_maker}")
            }
            _ => return None,
        };
        let write = |key: &str| WriteText { key: key.to_owned(), value: Some(value.to_owned()) };
        let latest = format!("px:{}", symbol_of(name));
        Some(Recognised { writes: vec![write(key), write(&latest)], time: Some("local_ns:ns".to_owned()) })
    }

    fn advance(&mut self) -> Result<bool, FeedError> {
        self.reader.get_mut().left = RATION_BYTES;
        let line_before = self.reader.position().line();
        let read = self.reader.read_byte_record(&mut self.record);
        let is_record = read.map_err(|error| failure(&self.name, line_before, error))?;
        if !is_record {
            return Ok(false);
        }
        self.line = self.record.position().map_or(line_before, csv::Position::line);
        if self.record.len() != self.columns.len() {
            let (expected, found) = (self.columns.len(), self.record.len());
            return Err(self.error(&self.name, RowProblem::FieldCount { expected, found }));
        }
        Ok(true)
    }

    fn number(&self) -> u64 {
        self.line
    }

    fn write_field(&self, slot: Slot, out: &mut Vec<u8>) -> bool {
        match slot {
            Slot::Line => out.extend_from_slice(self.line.to_string().as_bytes()),
            Slot::Row => {
                for (index, field) in self.record.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_quoted(field, out);
                }
            }
            Slot::Json => self.write_json(out),
            Slot::Column(index) => match self.record.get(index) {
                Some(field) => out.extend_from_slice(field),
                None => return false,
            },
        }
        true
    }
}

/// A reader that gives only so many bytes between two rations, so that an unclosed quote cannot take all memory.
struct Rationed<R> {
    input: R,
    left: usize,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let len = buffer.len().min(self.left);
        let read = self.input.read(&mut buffer[..len])?;
        self.left -= read;
        Ok(read)
    }
}

/// What one record may make the reader read: itself, and what its buffer takes in advance.
const RATION_BYTES: usize = ROW_BYTES_MAX + (64 << 10);

fn failure(name: &str, line: u64, error: csv::Error) -> FeedError {
    let file = name.to_owned();
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            FeedError::Lost { file, place: RowPlace::Line(line), problem: RowProblem::TooLong }
        }
        csv::ErrorKind::Io(error) => FeedError::Unreadable { file, error },
        other => FeedError::Unreadable { file, error: io::Error::other(format!("{other:?}")) },
    }
}

/// Writes a field as it has to stand in a CSV line.
fn write_quoted(field: &[u8], out: &mut Vec<u8>) {
    if !field.iter().any(|byte| b",\"\r\n".contains(byte)) {
        return out.extend_from_slice(field);
    }
    out.push(b'"');
    for byte in field {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Returns the symbol of a recording from its name, like `spot_btcusdt_trades.csv`; the recordings are of Bitcoin in
/// dollars if the name does not say otherwise.
fn symbol_of(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    let mut parts = file.split('_');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(symbol), Some(_), None) if symbol.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            symbol.to_ascii_uppercase()
        }
        _ => "BTCUSDT".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_symbol_comes_from_the_name() {
        assert_eq!(symbol_of("data/spot_ethusdt_bookticker.csv"), "ETHUSDT");
        assert_eq!(symbol_of("copy.csv"), "BTCUSDT");
        assert_eq!(symbol_of("a_{b}_c.csv"), "BTCUSDT");
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let quoted = |field: &str| {
            let mut out = Vec::new();
            write_quoted(field.as_bytes(), &mut out);
            String::from_utf8(out).expect("it was text")
        };
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
