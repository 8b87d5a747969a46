//! Whether io_uring works here, found out by using it.
//!
//! Containers refuse the set-up, administrators switch it off, older kernels lack parts of it. None of that can be read
//! off a version number, so a ring is set up, asked what it knows, and made to receive a byte over a pair of sockets the
//! way the transport does.
#![expect(unsafe_code, reason = "the trial receive is a submission")]

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};
use socket2::{Domain, Socket, Type};
use thiserror::Error;

use super::super::settings::TransportSettings;
use super::UringTransport;
use super::receive::{GROUP, ReceiveBuffers};
use super::ring::{Completion, Ring};

/// Why io_uring cannot be used here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UringRefusal {
    /// The system call is refused.
    #[error("io_uring_setup refused: {source} ({})", setup_hint(.source))]
    Setup {
        /// What the kernel said.
        source: io::Error,
    },
    /// An operation that is needed does not exist.
    #[error("this kernel's io_uring has no operation {opcode}; Linux 6.0 or newer is needed")]
    Operation {
        /// Its number.
        opcode: u8,
    },
    /// A property that is needed does not exist.
    #[error("this kernel's io_uring may drop completions or cannot wait for a time; Linux 6.0 or newer is needed")]
    Features,
    /// The kernel does not take receive buffers.
    #[error("io_uring takes no ring of receive buffers: {source}; Linux 6.0 or newer is needed, and memory")]
    Buffers {
        /// What the kernel said.
        source: io::Error,
    },
    /// A trial receive did not do what it should.
    #[error("a trial receive over io_uring gave {result} with flags {flags:#x}; Linux 6.0 or newer is needed")]
    Trial {
        /// Result of its first completion; 0 if none came.
        result: i32,
        /// Flags of its first completion.
        flags: u32,
    },
    /// Something else that is needed was refused.
    #[error("no descriptors for io_uring: {source}")]
    Descriptors {
        /// What the kernel said.
        source: io::Error,
    },
}

fn setup_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "seccomp, as in most containers, or kernel.io_uring_disabled",
        Some(libc::ENOSYS) => "the kernel was built without it, or a sandbox hides it",
        Some(libc::ENOMEM) => "the limit on locked memory, ulimit -l, is too low",
        Some(libc::EMFILE | libc::ENFILE) => "the limit on open files, ulimit -n, is reached",
        _ => "it is not usable here",
    }
}

/// Opens a transport, if everything it needs works here. Returns with it how its ring is set up.
pub(in crate::transport) fn open(settings: &TransportSettings) -> Result<(UringTransport, String), UringRefusal> {
    try_out()?;
    let ring = Ring::open(settings.submission_entries, settings.completion_entries)
        .map_err(|source| UringRefusal::Setup { source })?;
    let setup = ring.setup();
    let transport = build(ring, settings)?;
    Ok((transport, format!("probed and working, {setup} completions")))
}

/// Makes the transport of `ring`.
fn build(ring: Ring, settings: &TransportSettings) -> Result<UringTransport, UringRefusal> {
    let receive = ReceiveBuffers::register(&ring.submitter(), settings.receive_buffers, settings.receive_buffer_bytes)
        .map_err(|source| UringRefusal::Buffers { source })?;
    UringTransport::new(ring, receive, settings).map_err(|source| UringRefusal::Descriptors { source })
}

/// Sets up a small ring and has it receive one byte.
fn try_out() -> Result<(), UringRefusal> {
    let mut ring = Ring::open(8, 16).map_err(|source| UringRefusal::Setup { source })?;
    if !ring.has_needed_features() {
        return Err(UringRefusal::Features);
    }
    for opcode in [
        opcode::AcceptMulti::CODE,
        opcode::AsyncCancel2::CODE,
        opcode::Connect::CODE,
        opcode::PollAdd::CODE,
        opcode::RecvMulti::CODE,
        opcode::Send::CODE,
    ] {
        if !ring.supports(opcode).map_err(|source| UringRefusal::Setup { source })? {
            return Err(UringRefusal::Operation { opcode });
        }
    }
    let mut buffers =
        ReceiveBuffers::register(&ring.submitter(), 2, 64).map_err(|source| UringRefusal::Buffers { source })?;
    let outcome = try_receive(&mut ring, &buffers);
    if matches!(outcome, Err(UringRefusal::Trial { .. })) || buffers.unregister(&ring.submitter()).is_err() {
        // Whatever this kernel does with the buffers, it does it to memory that stays ours.
        buffers.leak();
    }
    outcome
}

fn try_receive(ring: &mut Ring, _buffers: &ReceiveBuffers) -> Result<(), UringRefusal> {
    let pair = Socket::pair(Domain::UNIX, Type::STREAM, None);
    let (ours, theirs) = pair.map_err(|source| UringRefusal::Descriptors { source })?;
    let fd = Fd(ours.as_raw_fd());
    trial_submit(ring, &opcode::RecvMulti::new(fd, GROUP).build());
    ring.enter();
    theirs.send(b"!").map_err(|source| UringRefusal::Descriptors { source })?;
    let first = trial_wait(ring);
    // It must bring the byte in a buffer and go on.
    let Some(first) = first.filter(|first| first.result == 1 && first.buffer().is_some() && first.has_more()) else {
        let (result, flags) = first.map_or((0, 0), |first| (first.result, first.flags));
        return Err(UringRefusal::Trial { result, flags });
    };
    // It must end when it is cancelled, by its descriptor.
    trial_submit(ring, &opcode::AsyncCancel2::new(CancelBuilder::fd(fd).all()).build());
    let (second, third) = (trial_wait(ring), trial_wait(ring));
    match (second, third) {
        (Some(second), Some(third)) if !second.has_more() && !third.has_more() => Ok(()),
        _ => Err(UringRefusal::Trial { result: first.result, flags: first.flags }),
    }
}

fn trial_submit(ring: &mut Ring, entry: &squeue::Entry) {
    // SAFETY: 1. a receive fills registered buffers, which `try_out` unregisters or leaks, and a cancel points nowhere.
    // 2. the sockets are open until `try_receive` has seen the receive end; if it does not end, the kernel holds the
    // open file itself.
    let pushed = unsafe { ring.push(entry) };
    pushed.expect("an empty queue has room");
}

fn trial_wait(ring: &mut Ring) -> Option<Completion> {
    let mut completions = Vec::new();
    for _ in 0..100 {
        ring.take_one(&mut completions);
        if let Some(completion) = completions.pop() {
            return Some(completion);
        }
        ring.park(Some(Duration::from_millis(10)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::super::{
        Address, Close, CloseReason, ConnId, Handler, ListenOptions, ListenerId, Outbox, PeerAddr, Wait,
    };
    use super::super::ring::Setup;
    use super::*;

    #[derive(Debug)]
    struct Mirror {
        outbox: Outbox,
        received: Vec<u8>,
        closed: u32,
    }

    impl Handler for Mirror {
        fn fetched(&mut self) {}
        fn accepted(&mut self, _listener: ListenerId, _conn: ConnId, _peer: PeerAddr) {}
        fn connected(&mut self, _conn: ConnId) {}
        fn received(&mut self, conn: ConnId, bytes: &[u8]) {
            self.received.extend_from_slice(bytes);
            if self.received.len() < 10_000 {
                self.outbox.send(conn, bytes).unwrap();
            }
        }
        fn drained(&mut self, _conn: ConnId) {}
        fn closed(&mut self, _conn: ConnId, _reason: CloseReason) {
            self.closed += 1;
        }
        fn outbox(&mut self) -> &mut Outbox {
            &mut self.outbox
        }
    }

    /// Older kernels take only the later setups; each must work, parked and not.
    #[test]
    fn every_setup_brings_bytes_back_and_forth() {
        if let Err(refusal) = try_out() {
            eprintln!("SKIPPED, io_uring is not tested: {refusal}");
            return;
        }
        for setup in [Setup::Deferred, Setup::Cooperative, Setup::Plain] {
            let settings = TransportSettings { completion_entries: 8, submission_entries: 8, ..Default::default() };
            let Ok(ring) = Ring::open_as(setup, 8, 8) else { continue };
            let mut transport = build(ring, &settings).unwrap();
            let mut mirror = Mirror { outbox: Outbox::new(&settings), received: Vec::new(), closed: 0 };
            // A connection to itself: both ends send back what they get.
            let any = Address::Tcp("127.0.0.1:0".parse().unwrap());
            let listener = transport.listen(&any, ListenOptions::default()).unwrap();
            let conn = mirror.outbox.connect(transport.local_address(listener).unwrap().clone()).unwrap();
            mirror.outbox.send(conn, b"to and fro").unwrap();
            for turn in 0..1_000_000 {
                if mirror.received.len() >= 10_000 {
                    break;
                }
                transport.turn(&mut mirror, if turn % 2 == 0 { Wait::No } else { Wait::Until(None) });
            }
            assert!(mirror.received.len() >= 10_000, "{setup}");
            assert!(mirror.received.chunks(10).all(|chunk| chunk == b"to and fro"), "{setup}");
            mirror.outbox.close(conn, Close::AfterFlush);
            while mirror.outbox.connection_count() > 0 {
                transport.turn(&mut mirror, Wait::Until(None));
            }
            assert_eq!(mirror.closed, 2, "{setup}");
        }
    }
}
