//! One non-blocking byte stream with its two buffers, over TCP or a Unix socket.
//!
//! Every driver and every node of the floor uses it, so that all systems are reached through the same calls: what was
//! queued leaves in one `write`, what is there comes in one `read`, and nothing waits.
//!
//! # Bounds
//! At most [`INBOX_BYTES`] received and not consumed; a single message longer than that is an error of the protocol.
//! Callers stop queueing when [`Connection::has_room`] says no; the outbox grows only for one message larger than it.
//!
//! # Threads
//! Single owner.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::load::DriverError;

/// A connected stream.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    inbox: Box<[u8]>,
    /// `inbox[start..end]` was received and not consumed.
    start: usize,
    end: usize,
    outbox: Vec<u8>,
    /// `outbox[written..]` is still to be written.
    written: usize,
}

impl Connection {
    /// Connects and switches to non-blocking, with small segments sent at once.
    ///
    /// # Errors
    /// The socket's own.
    pub fn connect(address: &Address) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect(address)?),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        Self::new(stream)
    }

    fn new(stream: Stream) -> io::Result<Self> {
        match &stream {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
            }
            Stream::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(Self {
            stream,
            inbox: vec![0; INBOX_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            outbox: Vec::with_capacity(OUTBOX_BYTES),
            written: 0,
        })
    }

    /// Adds bytes to what the next flush writes.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    /// Whether another message may be queued.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queued_bytes() < OUTBOX_BYTES
    }

    /// Returns how many bytes are queued and not written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.len() - self.written
    }

    /// Writes what is queued, as much as the socket takes, in one call.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn flush(&mut self) -> Result<(), DriverError> {
        if self.queued_bytes() == 0 {
            return Ok(());
        }
        self.written += self.stream.try_write(&self.outbox[self.written..])?;
        if self.written == self.outbox.len() {
            self.outbox.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Writes `bytes` without copying what the socket takes at once; the rest is queued.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        if self.queued_bytes() > 0 {
            self.queue(bytes);
            return self.flush();
        }
        let written = self.stream.try_write(bytes)?;
        self.queue(&bytes[written..]);
        Ok(())
    }

    /// Reads what is there in one call and returns how many bytes came.
    ///
    /// # Errors
    /// The connection is closed or lost, or a message is longer than the inbox.
    pub fn fill(&mut self) -> Result<usize, DriverError> {
        if self.end == self.inbox.len() {
            self.inbox.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.inbox.len() {
            return Err(DriverError::Malformed { protocol: "stream", what: "message longer than the inbox" });
        }
        let read = self.stream.try_read(&mut self.inbox[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// Returns what was received and not consumed.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.inbox[self.start..self.end]
    }

    /// Drops the first `len` received bytes.
    ///
    /// # Panics
    /// Fewer were received.
    pub fn consume(&mut self, len: usize) {
        assert!(len <= self.end - self.start, "consumed {len} of {} bytes", self.end - self.start);
        self.start += len;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Where a process listens: `127.0.0.1:7500`, or `unix:` and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix(UNIX_PREFIX) {
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError { len: text.len() }),
        }
    }
}

/// The text is not an address.
#[derive(Debug, Error)]
#[error("not an address (ip:port or unix:path), {len} bytes")]
pub struct AddressError {
    /// Length of the text.
    pub len: usize,
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens; a TCP port of 0 picks a free one.
    ///
    /// # Errors
    /// The socket's own.
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => TcpListener::bind(address).map(Self::Tcp),
            Address::Unix(path) => Ok(Self::Unix(UnixListener::bind(path)?, path.clone())),
        }
    }

    /// Returns the address to connect to.
    ///
    /// # Errors
    /// The socket's own.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }

    /// Waits for one connection.
    ///
    /// # Errors
    /// The socket's own.
    pub fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => Connection::new(Stream::Tcp(listener.accept()?.0)),
            Self::Unix(listener, _) => Connection::new(Stream::Unix(listener.accept()?.0)),
        }
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// 0 when the socket takes nothing now.
    fn try_write(&mut self, bytes: &[u8]) -> Result<usize, DriverError> {
        let result = match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        };
        match result {
            Ok(written) => Ok(written),
            Err(error) if is_retry(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// 0 when there is nothing now.
    fn try_read(&mut self, bytes: &mut [u8]) -> Result<usize, DriverError> {
        let result = match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        };
        match result {
            Ok(0) => Err(DriverError::Closed),
            Ok(read) => Ok(read),
            Err(error) if is_retry(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Bytes received and not consumed.
pub const INBOX_BYTES: usize = 256 << 10;
/// Bytes queued above which nothing is added.
pub const OUTBOX_BYTES: usize = 1 << 20;
const UNIX_PREFIX: &str = "unix:";

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Connection, Connection) {
        let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let near = Connection::connect(&listener.address().unwrap()).unwrap();
        (near, listener.accept().unwrap())
    }

    #[test]
    fn bytes_arrive_in_order_through_short_writes_and_a_full_inbox() {
        let (mut near, mut far) = pair();
        // Far more than the socket and both buffers hold, in pieces that do not divide the inbox.
        let piece: Vec<u8> = (0..=250).collect();
        let pieces = 20_000;
        let (mut queued, mut taken) = (0, 0_usize);
        while taken < pieces * piece.len() {
            while queued < pieces && near.has_room() {
                near.queue(&piece);
                queued += 1;
            }
            near.flush().unwrap();
            far.fill().unwrap();
            // Leave a rest in the inbox, so that it must be moved.
            let len = if queued < pieces { far.received().len() / 2 } else { far.received().len() };
            for (offset, byte) in far.received()[..len].iter().enumerate() {
                assert_eq!(usize::from(*byte), (taken + offset) % piece.len());
            }
            far.consume(len);
            taken += len;
        }
        assert_eq!(near.queued_bytes(), 0);
    }

    #[test]
    fn closed_connection_is_an_error_after_its_last_bytes() {
        let (mut near, mut far) = pair();
        near.send(b"last").unwrap();
        drop(near);
        while far.received().len() < 4 {
            far.fill().unwrap();
        }
        assert_eq!(far.received(), b"last");
        assert!(matches!(far.fill(), Err(DriverError::Closed)));
    }

    #[test]
    fn address_reads_back_from_its_text() {
        for text in ["127.0.0.1:7500", "[::1]:7500", "unix:/tmp/door"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert!("localhost".parse::<Address>().is_err());
    }
}
