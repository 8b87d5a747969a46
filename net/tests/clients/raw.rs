//! A connection that sends bytes and returns each reply as the bytes it is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::tools::DEADLINE;

/// See the module.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time that is not zero");
        stream.set_nodelay(true).expect("it is connected");
        Self { stream, received: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it takes what we send");
    }

    /// Waits for one whole reply.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = reply_len(&self.received) {
                let rest = self.received.split_off(len);
                return std::mem::replace(&mut self.received, rest);
            }
            let mut buffer = [0; 16 << 10];
            let count = self.stream.read(&mut buffer).expect("it replies in time");
            assert!(count > 0, "closed, after {}", self.received.escape_ascii());
            self.received.extend_from_slice(&buffer[..count]);
        }
    }

    /// Sends one request and waits for its reply.
    pub(crate) fn ask(&mut self, args: &[Vec<u8>]) -> Vec<u8> {
        self.send(&request(args));
        self.reply()
    }

    /// Sends the words of a line as one request and waits for its reply.
    pub(crate) fn say(&mut self, line: &str) -> Vec<u8> {
        self.ask(&line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    /// Whether everything that came was returned.
    pub(crate) fn is_drained(&self) -> bool {
        self.received.is_empty()
    }
}

/// Encodes a request.
pub(crate) fn request(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Returns how long the first reply is, in RESP2 or RESP3. `None`: it is not whole.
pub(crate) fn reply_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    match bytes[0] {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Some(line),
        b'$' | b'=' | b'!' => match header(bytes, line) {
            -1 => Some(line),
            len => {
                let end = line + usize::try_from(len).expect("a length") + 2;
                (bytes.len() >= end).then_some(end)
            }
        },
        b'*' | b'~' | b'>' | b'%' => {
            let count = header(bytes, line) * if bytes[0] == b'%' { 2 } else { 1 };
            (0..count).try_fold(line, |at, _| Some(at + reply_len(&bytes[at..])?))
        }
        other => panic!("no reply starts with {:?}: {}", char::from(other), bytes.escape_ascii()),
    }
}

/// Splits an array, a set or a map into its members.
pub(crate) fn members(reply: &[u8]) -> Vec<&[u8]> {
    let mut at = reply.windows(2).position(|two| two == b"\r\n").expect("a whole reply has a line") + 2;
    let mut members = Vec::new();
    while at < reply.len() {
        let len = reply_len(&reply[at..]).expect("it is whole");
        members.push(&reply[at..at + len]);
        at += len;
    }
    members
}

/// Reads the number behind the first byte of a header.
fn header(bytes: &[u8], line: usize) -> i64 {
    let digits = std::str::from_utf8(&bytes[1..line - 2]).ok();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number: {}", bytes.escape_ascii()))
}
