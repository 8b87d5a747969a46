//! NASDAQ TotalView-ITCH 5.0: binary messages, big-endian, with a two-byte length before each.
//!
//! Every message starts with its type, the locate number of its stock, a tracking number and six bytes of nanoseconds
//! since midnight. The stock's name stands in some types only; for others it is looked up by the locate number, from
//! the directory messages at the start of the file. Prices have four decimals.
//!
//! Some files have a length of zero before every message; then the length is that of the type.
//!
//! Columns: `type locate tracking time stock order new_order side shares price match event state`; a message has those
//! of its type. `@row` is the message in hexadecimal, type first.
//!
//! # Source
//! Nasdaq TotalView-ITCH 5.0 specification, the message formats of section 4.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::error::{FeedError, RowPlace, RowProblem};
use super::mapping::{Recognised, WriteText};
use super::{Slot, Source};

/// An ITCH file at one of its messages.
pub(super) struct ItchSource<R> {
    name: String,
    input: R,
    message: Vec<u8>,
    number: u64,
    /// Where the length of the message stands.
    offset: u64,
    offset_next: u64,
    /// Names of stocks by locate number; at most 65,536.
    stocks: BTreeMap<u16, [u8; STOCK_BYTES]>,
}

impl<R: Read + Send> ItchSource<R> {
    pub(super) fn new(name: &str, input: R) -> Self {
        Self {
            name: name.to_owned(),
            input,
            message: Vec::with_capacity(MESSAGE_BYTES_MAX),
            number: 0,
            offset: 0,
            offset_next: 0,
            stocks: BTreeMap::new(),
        }
    }

    /// Fills `message` to `len` bytes and returns how many there were.
    fn fill(&mut self, len: usize) -> Result<usize, FeedError> {
        let have = self.message.len();
        self.message.resize(len, 0);
        let read = read_full(&mut self.input, &mut self.message[have..]);
        let read = read.map_err(|error| FeedError::Unreadable { file: self.name.clone(), error })?;
        self.message.truncate(have + read);
        self.offset_next += read as u64;
        Ok(have + read)
    }

    fn lost(&self, problem: RowProblem) -> FeedError {
        let place = RowPlace::Message { number: self.number, offset: self.offset };
        FeedError::Lost { file: self.name.clone(), place, problem }
    }

    /// Reads the message whose length stands before it.
    fn read_known_length(&mut self, len: usize) -> Result<(), FeedError> {
        let found = self.fill(len)?;
        let Some(kind) = self.message.first().copied() else {
            return Err(self.lost(RowProblem::HalfLength { found: 0 }));
        };
        if found < len {
            return Err(self.lost(RowProblem::Length { kind: kind.into(), expected: len, found }));
        }
        // The length has told where the next message starts, so only this one cannot be used.
        match length_of(kind) {
            Some(expected) if expected == len => Ok(()),
            Some(expected) => {
                Err(self.error(&self.name, RowProblem::Length { kind: kind.into(), expected, found: len }))
            }
            None => Err(self.error(&self.name, RowProblem::UnknownType { found: kind })),
        }
    }

    /// Reads a message whose length follows from its type; `false` at the end.
    fn read_by_type(&mut self) -> Result<bool, FeedError> {
        if self.fill(1)? == 0 {
            // A length of zero with nothing behind it ends a session.
            return Ok(false);
        }
        let kind = self.message[0];
        let Some(expected) = length_of(kind) else { return Err(self.lost(RowProblem::UnknownType { found: kind })) };
        let found = self.fill(expected)?;
        if found < expected {
            return Err(self.lost(RowProblem::Length { kind: kind.into(), expected, found }));
        }
        Ok(true)
    }
}

impl<R: Read + Send> Source for ItchSource<R> {
    fn resolve(&mut self, name: &str) -> Option<Slot> {
        COLUMNS.iter().position(|(column, _)| *column == name).map(Slot::Column)
    }

    fn columns(&self) -> Vec<String> {
        COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    /// The latest message of each type of each stock.
    fn recognised(&self, _name: &str) -> Option<Recognised> {
        let write = WriteText { key: "itch:{locate}:{type}".to_owned(), value: None };
        Some(Recognised { writes: vec![write], time: Some("time:ns".to_owned()) })
    }

    fn advance(&mut self) -> Result<bool, FeedError> {
        self.offset = self.offset_next;
        self.message.clear();
        let found = self.fill(2)?;
        if found == 0 {
            return Ok(false);
        }
        self.number += 1;
        if found < 2 {
            return Err(self.lost(RowProblem::HalfLength { found }));
        }
        let len = usize::from(u16::from_be_bytes([self.message[0], self.message[1]]));
        self.message.clear();
        if len > 0 {
            self.read_known_length(len)?;
        } else if !self.read_by_type()? {
            return Ok(false);
        }
        if self.message[0] == b'R' {
            let stock = self.message[11..11 + STOCK_BYTES].try_into().expect("the slice has that length");
            self.stocks.insert(u16::from_be_bytes([self.message[1], self.message[2]]), stock);
        }
        Ok(true)
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn write_field(&self, slot: Slot, out: &mut Vec<u8>) -> bool {
        let message = self.message.as_slice();
        let index = match slot {
            Slot::Column(index) => index,
            Slot::Line => {
                out.extend_from_slice(self.number.to_string().as_bytes());
                return true;
            }
            Slot::Row => {
                write_hex(message, out);
                return true;
            }
            Slot::Json => {
                self.write_json(out);
                return true;
            }
        };
        let Some((_, column)) = COLUMNS.get(index) else { return false };
        self.write_column(*column, out)
    }

    fn error(&self, name: &str, problem: RowProblem) -> FeedError {
        let place = RowPlace::Message { number: self.number, offset: self.offset };
        FeedError::Row { file: name.to_owned(), place, problem }
    }
}

impl<R: Read + Send> ItchSource<R> {
    /// Writes one column of the message; `false` if its type has none.
    fn write_column(&self, column: Column, out: &mut Vec<u8>) -> bool {
        let message = self.message.as_slice();
        let kind = message[0];
        let Some(offset) = offset_of(column, kind) else {
            // The stock of a message that does not name it is that of its locate number.
            return column == Column::Stock && self.write_stock_of_locate(out);
        };
        let number = |bytes: usize| {
            message[offset..offset + bytes].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let text = match column {
            Column::Type | Column::Side | Column::Event | Column::State => {
                char::from(message[offset]).escape_default().to_string()
            }
            Column::Locate | Column::Tracking => number(2).to_string(),
            Column::Time => number(6).to_string(),
            Column::Stock => return write_stock(&message[offset..offset + STOCK_BYTES], out),
            Column::Order | Column::NewOrder | Column::Match => number(8).to_string(),
            // A cross counts its shares in eight bytes, everything else in four.
            Column::Shares if matches!(kind, b'Q' | b'I') => number(8).to_string(),
            Column::Shares => number(4).to_string(),
            Column::Price => format!("{}.{:04}", number(4) / 10_000, number(4) % 10_000),
        };
        out.extend_from_slice(text.as_bytes());
        true
    }

    fn write_stock_of_locate(&self, out: &mut Vec<u8>) -> bool {
        let locate = u16::from_be_bytes([self.message[1], self.message[2]]);
        self.stocks.get(&locate).is_some_and(|stock| write_stock(stock, out))
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = serde_json::Map::new();
        for (name, column) in COLUMNS {
            let mut text = Vec::new();
            if self.write_column(*column, &mut text) {
                object.insert((*name).to_owned(), String::from_utf8_lossy(&text).into_owned().into());
            }
        }
        serde_json::to_writer(out, &object).expect("strings are always JSON, and memory takes all bytes");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Type,
    Locate,
    Tracking,
    Time,
    Stock,
    Order,
    NewOrder,
    Side,
    Shares,
    Price,
    Match,
    Event,
    State,
}

const COLUMNS: &[(&str, Column)] = &[
    ("type", Column::Type),
    ("locate", Column::Locate),
    ("tracking", Column::Tracking),
    ("time", Column::Time),
    ("stock", Column::Stock),
    ("order", Column::Order),
    ("new_order", Column::NewOrder),
    ("side", Column::Side),
    ("shares", Column::Shares),
    ("price", Column::Price),
    ("match", Column::Match),
    ("event", Column::Event),
    ("state", Column::State),
];

/// Returns where a column stands in a message of a type, if it does.
fn offset_of(column: Column, kind: u8) -> Option<usize> {
    match (column, kind) {
        (Column::Type, _) => Some(0),
        (Column::Locate, _) => Some(1),
        (Column::Tracking, _) => Some(3),
        (Column::Time, _) => Some(5),
        (Column::Stock, b'R' | b'H' | b'Y' | b'K' | b'J' | b'h' | b'N' | b'O') => Some(11),
        (Column::Stock, b'L') => Some(15),
        (Column::Stock, b'Q') => Some(19),
        (Column::Stock, b'A' | b'F' | b'P') => Some(24),
        (Column::Stock, b'I') => Some(28),
        (Column::Order, b'A' | b'F' | b'E' | b'C' | b'X' | b'D' | b'U' | b'P') => Some(11),
        (Column::NewOrder, b'U') => Some(19),
        (Column::Side, b'A' | b'F' | b'P') => Some(19),
        (Column::Shares, b'Q' | b'I') => Some(11),
        (Column::Shares, b'E' | b'C' | b'X') => Some(19),
        (Column::Shares, b'A' | b'F' | b'P') => Some(20),
        (Column::Shares, b'U') => Some(27),
        (Column::Price, b'A' | b'F' | b'P' | b'C') => Some(32),
        (Column::Price, b'U') => Some(31),
        (Column::Price, b'Q') => Some(27),
        (Column::Match, b'B') => Some(11),
        (Column::Match, b'E' | b'C') => Some(23),
        (Column::Match, b'Q') => Some(31),
        (Column::Match, b'P') => Some(36),
        (Column::Event, b'S') => Some(11),
        (Column::State, b'H') => Some(19),
        _ => None,
    }
}

/// Returns the length of a message of a type, in bytes.
const fn length_of(kind: u8) -> Option<usize> {
    Some(match kind {
        b'S' | b'W' => 12,
        b'D' | b'B' => 19,
        b'Y' | b'N' => 20,
        b'h' => 21,
        b'X' => 23,
        b'H' => 25,
        b'L' => 26,
        b'K' => 28,
        b'E' => 31,
        b'V' | b'J' | b'U' => 35,
        b'A' | b'C' => 36,
        b'R' => 39,
        b'F' | b'Q' => 40,
        b'P' => 44,
        b'O' => 48,
        b'I' => MESSAGE_BYTES_MAX,
        _ => return None,
    })
}

/// The longest message, the imbalance indicator.
const MESSAGE_BYTES_MAX: usize = 50;

const STOCK_BYTES: usize = 8;

/// Writes the name of a stock without the spaces that pad it.
fn write_stock(stock: &[u8], out: &mut Vec<u8>) -> bool {
    let stock = stock.trim_ascii();
    out.extend_from_slice(stock);
    !stock.is_empty()
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Reads until `buffer` is full or the input ends, and returns how many bytes there were.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_lies_inside_its_message() {
        for kind in 0..=u8::MAX {
            let Some(length) = length_of(kind) else { continue };
            for (name, column) in COLUMNS {
                let Some(offset) = offset_of(*column, kind) else { continue };
                let bytes = match column {
                    Column::Type | Column::Side | Column::Event | Column::State => 1,
                    Column::Locate | Column::Tracking => 2,
                    Column::Price => 4,
                    Column::Shares if !matches!(kind, b'Q' | b'I') => 4,
                    Column::Time => 6,
                    _ => 8,
                };
                assert!(offset + bytes <= length, "{name} of {}", char::from(kind));
            }
        }
    }
}
