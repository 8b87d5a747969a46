//! One connection to a node: opened without waiting, greeted, then frames both ways.
//!
//! Nothing here knows of commands; it moves bytes, and stops sending to a node that says that it goes down. Output collects in one buffer and leaves in one write for each flush.
//!
//! # Bounds
//! Output is at most [`OUTPUT_BYTES_MAX`] and one frame. A call to [`Connection::receive`] reads at most
//! [`READS_MAX`] times, so that a fast node cannot keep its caller.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use quorate_engine::time::Instant;
use socket2::{Domain, Protocol, Socket, Type};

use super::door::Door;
use super::{ClientOptions, Cluster, ConnectError};
use crate::wire::{Body, Frame, FrameReader, Hello, RefusalCode, RejectCode, Stage, Welcome};

/// Bytes queued above which no further request is encoded.
pub(super) const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Bytes taken by one read.
const INPUT_BYTES: usize = 64 << 10;
/// Reads in one call.
const READS_MAX: usize = 16;

/// A connection, from the first attempt to its end.
#[derive(Debug)]
pub(super) struct Connection {
    name: String,
    socket: Socket,
    phase: Phase,
    /// While it does not stand: when to give up.
    deadline: Instant,
    timeout: Duration,
    reader: FrameReader,
    input: Box<[u8]>,
    output: Vec<u8>,
    /// Bytes at the front of `output` that are sent.
    sent: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The system has not opened it yet.
    Opening,
    /// The greeting is on its way.
    Greeting,
    /// It stands.
    Up,
    /// The node goes down: it answers what it was sent, and is sent nothing more, as that might get lost.
    Leaving {
        /// What the node said, for people.
        text: String,
    },
}

impl Connection {
    /// Begins to connect.
    pub(super) fn open(door: &Door, options: &ClientOptions, now: Instant) -> Result<Self, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { address: door.name.clone(), source };
        let domain = door.address.domain();
        let protocol = (domain != Domain::UNIX).then_some(Protocol::TCP);
        let socket = Socket::new(domain, Type::STREAM, protocol).map_err(unreachable)?;
        socket.set_nonblocking(true).map_err(unreachable)?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true).map_err(unreachable)?;
        }
        match socket.connect(&door.address) {
            Ok(()) => (),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => (),
            Err(error) => return Err(unreachable(error)),
        }
        let mut output = Vec::new();
        Hello::client(&options.cluster, options.password.as_bytes()).encode(&mut output);
        Ok(Self {
            name: door.name.clone(),
            socket,
            phase: Phase::Opening,
            deadline: now.saturating_add(options.connect_timeout),
            timeout: options.connect_timeout,
            reader: FrameReader::new(Stage::Answering, options.limits),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            output,
            sent: 0,
        })
    }

    /// Whether the greeting is over.
    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Moves an attempt on; does nothing once the connection stands.
    pub(super) fn advance(&mut self, now: Instant) -> Result<(), ConnectError> {
        if matches!(self.phase, Phase::Up | Phase::Leaving { .. }) {
            return Ok(());
        }
        if now >= self.deadline {
            return Err(ConnectError::Silent { address: self.name.clone(), timeout: self.timeout });
        }
        if self.phase == Phase::Opening && self.is_open().map_err(|source| self.unreachable(source))? {
            self.phase = Phase::Greeting;
        }
        Ok(())
    }

    fn is_open(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns why the connection is to end as soon as what was sent is answered, if it is.
    pub(super) fn farewell(&self) -> Option<ConnectError> {
        let Phase::Leaving { text } = &self.phase else { return None };
        Some(ConnectError::Rejected { address: self.name.clone(), code: RejectCode::Stopping, text: text.clone() })
    }

    /// Whether requests can be written: the connection stands, and less is queued than may be.
    pub(super) fn has_room(&self) -> bool {
        self.phase == Phase::Up && self.output.len() - self.sent < OUTPUT_BYTES_MAX
    }

    /// Where to write requests, if there is room.
    pub(super) fn output(&mut self) -> Option<&mut Vec<u8>> {
        self.has_room().then_some(&mut self.output)
    }

    /// Whether output waits for the system to take it.
    pub(super) fn wants_write(&self) -> bool {
        self.phase == Phase::Opening || self.sent < self.output.len()
    }

    /// Hands over what is queued, as far as the system takes it.
    pub(super) fn flush(&mut self) -> Result<(), ConnectError> {
        if self.phase == Phase::Opening {
            return Ok(());
        }
        while self.sent < self.output.len() {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(0) => return Err(self.unreachable(ErrorKind::WriteZero.into())),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(self.unreachable(error)),
            }
        }
        // What is sent makes room as soon as that is cheap: when it is all, or half.
        if self.sent * 2 >= self.output.len() {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Reads what is there, without waiting, and passes on each frame behind the greeting. Returns the cluster if the
    /// greeting came to its end.
    pub(super) fn receive(
        &mut self,
        options: &ClientOptions,
        mut on_frame: impl FnMut(Frame<'_>),
    ) -> Result<Option<Cluster>, ConnectError> {
        let mut cluster = None;
        if self.phase == Phase::Opening {
            return Ok(None);
        }
        for _ in 0..READS_MAX {
            let count = match self.socket.read(&mut self.input) {
                Ok(0) => return Err(self.unreachable(ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.unreachable(error)),
            };
            let mut frames = self.reader.frames(&self.input[..count]);
            while let Some(frame) = frames.next() {
                let frame = frame.map_err(|source| ConnectError::Wire { address: self.name.clone(), source })?;
                match frame.body {
                    Body::Welcome(welcome) => {
                        cluster = Some(check_welcome(&self.name, &welcome, options)?);
                        self.phase = Phase::Up;
                        frames.enter(Stage::Server);
                    }
                    Body::Reject(reject) => {
                        let (address, text) = (self.name.clone(), reject.text.to_owned());
                        return Err(ConnectError::Rejected { address, code: reject.code, text });
                    }
                    Body::Refusal(refusal) => {
                        if refusal.code == RefusalCode::Stopping {
                            self.phase = Phase::Leaving { text: refusal.text.to_owned() };
                        }
                        on_frame(frame);
                    }
                    _ => on_frame(frame),
                }
            }
            if count < self.input.len() {
                break;
            }
        }
        Ok(cluster)
    }

    fn unreachable(&self, source: io::Error) -> ConnectError {
        ConnectError::Unreachable { address: self.name.clone(), source }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn check_welcome(address: &str, welcome: &Welcome<'_>, options: &ClientOptions) -> Result<Cluster, ConnectError> {
    if !options.cluster.is_empty() && welcome.cluster != options.cluster {
        return Err(ConnectError::WrongCluster {
            address: address.to_owned(),
            found: welcome.cluster.to_owned(),
            expected: options.cluster.clone(),
        });
    }
    Ok(Cluster {
        name: welcome.cluster.to_owned(),
        node: welcome.node,
        partitions: welcome.partitions,
        replicas: welcome.replicas,
        write_quorum: welcome.write_quorum,
        addresses: welcome.addresses.iter().map(|(node, address)| (node, address.to_owned())).collect(),
    })
}
