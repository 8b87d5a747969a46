//! Wakes a transport that is parked in the kernel, from another thread.
//!
//! Every wake is a system call, so whoever may wake often first asks a doorbell whether the other side is parked; that
//! is not decided here.
//!
//! # Threads
//! [`Waker`] is `Send`, `Sync` and cheap to clone; everything else of a transport stays on its thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

/// Ends the wait of one transport, now or at its next attempt to park.
#[derive(Clone, Debug)]
pub struct Waker {
    signal: Arc<Signal>,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { signal: Arc::new(Signal::new()?) })
    }

    /// Wakes the transport. Any number of calls before it looks count as one.
    ///
    /// Cost: one system call.
    pub fn wake(&self) {
        self.signal.raise();
    }

    /// Forgets the calls so far.
    pub(super) fn drain(&self) {
        self.signal.drain();
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.signal.as_fd().as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Signal(nix::sys::eventfd::EventFd);

#[cfg(target_os = "linux")]
impl Signal {
    fn new() -> io::Result<Self> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    fn raise(&self) {
        // It can only fail because the counter is full, and then the transport is awake already.
        let _ = self.0.write(1);
    }

    fn drain(&self) {
        // It can only fail because the counter is zero: nobody called.
        let _ = self.0.read();
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Elsewhere a pair of sockets does what an eventfd does.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Signal {
    raised: socket2::Socket,
    heard: socket2::Socket,
}

#[cfg(not(target_os = "linux"))]
impl Signal {
    fn new() -> io::Result<Self> {
        let (raised, heard) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        raised.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        Ok(Self { raised, heard })
    }

    fn raise(&self) {
        // It can only fail because the buffer is full, and then the transport is awake already.
        let _ = self.raised.send(&[1]);
    }

    fn drain(&self) {
        use std::io::Read as _;
        let mut bytes = [0; 256];
        while matches!((&self.heard).read(&mut bytes), Ok(count) if count == bytes.len()) {}
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}
