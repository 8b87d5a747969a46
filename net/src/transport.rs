//! What the loop of one CPU asks of the network, and what it gets: one contract, two implementations.
//!
//! One thread owns one transport, its listeners and its connections; nothing of it is shared but the [`Waker`]. The loop
//! calls [`turn`](AnyTransport::turn). A turn is: flush what is queued, fetch what the kernel has, deliver it to the
//! [`Handler`], flush what the deliveries queued. So a request's fan-out leaves in the turn that brought the request, and
//! everything queued on a connection leaves in one send.
//!
//! ```text
//!          ┌───────────────────────────────── turn ─────────────────────────────────┐
//!          flush ─► fetch ─► fetched() ─► accepted / connected / received / ..    ─► flush
//!            ▲                                       │                                ▲
//!            └────────── Outbox: buffer(conn), connect, close, pause ◄────────────────┘
//! ```
//!
//! # Invariants
//! T1. `closed` is said once for each connection that was named, and nothing is said of it afterwards.
//! T2. Bytes leave a connection in the order in which they were queued, and come in as the peer sent them.
//! T3. `fetched` is called after the receive that brought the bytes of the following `received`, never before it.
//!
//! # Time and units
//! A transport reads the clock only to give up on a slow close and to compute how long to park.
//!
//! # Bounds
//! All in [`TransportSettings`]; what does not fit is refused as a value by the [`Outbox`], or waits in the kernel.
//!
//! # Threads
//! A transport is created on the thread that uses it and never leaves it.

use std::fmt;

use quorate_engine::time::Instant;
use thiserror::Error;

mod address;
mod buffer;
mod mio;
mod outbox;
mod pending;
mod settings;
mod socket;
#[cfg_attr(not(target_os = "linux"), path = "transport/no_uring.rs")]
mod uring;
mod waker;

pub use self::mio::MioTransport;
pub use address::{Address, ListenOptions, ListenerId, PeerAddr, PortSharing};
pub use buffer::SendBuffer;
pub use outbox::{Close, ConnId, Outbox, Refused};
pub use settings::{ACCEPT_RETRY, CLOSE_GRACE, SettingsError, TransportSettings};
pub use socket::ListenError;
pub(crate) use socket::explain as explain_listen;
pub use uring::{UringRefusal, UringTransport};
pub use waker::Waker;

/// What the loop of one CPU does with what its transport brings.
///
/// ```
/// use quorate::transport::{CloseReason, ConnId, Handler, ListenerId, Outbox, PeerAddr};
///
/// /// Sends back what comes in.
/// struct Echo {
///     outbox: Outbox,
/// }
///
/// impl Handler for Echo {
///     fn fetched(&mut self) {}
///     fn accepted(&mut self, _listener: ListenerId, _conn: ConnId, _peer: PeerAddr) {}
///     fn connected(&mut self, _conn: ConnId) {}
///     fn received(&mut self, conn: ConnId, bytes: &[u8]) {
///         if self.outbox.send(conn, bytes).is_err() {
///             self.outbox.pause_reading(conn);
///         }
///     }
///     fn drained(&mut self, conn: ConnId) {
///         self.outbox.resume_reading(conn);
///     }
///     fn closed(&mut self, _conn: ConnId, _reason: CloseReason) {}
///     fn outbox(&mut self) -> &mut Outbox {
///         &mut self.outbox
///     }
/// }
/// ```
pub trait Handler {
    /// Bytes have just been fetched from the kernel: read the clock now. What is delivered up to the next call arrived
    /// before it (T3).
    fn fetched(&mut self);

    /// A peer has connected to `listener`.
    fn accepted(&mut self, listener: ListenerId, conn: ConnId, peer: PeerAddr);

    /// A connection asked for with [`Outbox::connect`] stands.
    fn connected(&mut self, conn: ConnId);

    /// Bytes have come in, cut anywhere: framing is the handler's. They are gone after the call. Never empty.
    fn received(&mut self, conn: ConnId, bytes: &[u8]);

    /// Queued output of `conn` fell to the low-water mark after a flush had begun with more than the high one.
    fn drained(&mut self, conn: ConnId);

    /// The peer will send nothing more, but may still read. By default the connection is closed as soon as the queued
    /// output is flushed; whoever still owes answers sends them and closes then.
    fn ended(&mut self, conn: ConnId) {
        self.outbox().close(conn, Close::AfterFlush);
    }

    /// The connection is gone. Said once; `conn` is a stale name already (T1).
    fn closed(&mut self, conn: ConnId, reason: CloseReason);

    /// The outbox of this transport; always the same one.
    fn outbox(&mut self) -> &mut Outbox;
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Outbox::close`] asked for it.
    Asked,
    /// The peer ended its stream, and then we ours.
    Ended,
    /// The connection could not be opened.
    Unreachable {
        /// The system's error number.
        errno: i32,
    },
    /// The connection broke: reset by the peer, timed out, route lost.
    Broken {
        /// The system's error number.
        errno: i32,
    },
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => write!(f, "closed by us"),
            Self::Ended => write!(f, "closed by the peer"),
            Self::Unreachable { errno } => {
                write!(f, "cannot connect: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Broken { errno } => {
                write!(f, "connection lost: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

/// Whether a turn that finds nothing returns or parks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Returns at once.
    No,
    /// Parks until something happens, the [`Waker`] is used, or this time has come; `None` is without end.
    Until(Option<Instant>),
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnStats {
    /// Calls to the handler other than `fetched`, and wakes. 0: the turn was empty, so yield or park.
    pub events: u32,
    /// System calls made.
    pub syscalls: u32,
    /// Bytes delivered.
    pub bytes: u64,
    /// Bytes that the kernel took.
    pub bytes_sent: u64,
}

/// Which implementation to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring if it works here, else readiness.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// Readiness (epoll).
    Mio,
}

/// Which implementation was taken, and why. Printed at start and shown by `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `io_uring` or `mio`.
    pub driver: &'static str,
    /// One sentence without a full stop.
    pub reason: String,
}

/// Why no transport could be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// io_uring was asked for and cannot be used.
    #[error("{refusal}; allow it, or choose io = \"auto\" or \"mio\"")]
    Uring {
        /// What is missing.
        refusal: UringRefusal,
    },
    /// The system gives no descriptors or no memory.
    #[error("cannot set up readiness-based input and output: {source}; see the limit on open files (ulimit -n)")]
    Mio {
        /// What the system said.
        source: std::io::Error,
    },
}

/// Opens a transport on the thread that will use it. io_uring is tried out before it is chosen, never assumed.
///
/// # Errors
/// `Settings` for a value out of range, `Uring` if it was asked for and is refused, `Mio` if the system has no
/// descriptors left.
pub fn open(choice: IoChoice, settings: &TransportSettings) -> Result<(AnyTransport, Choice), OpenError> {
    settings.check()?;
    if choice == IoChoice::Mio {
        return open_mio(settings, "asked for".to_owned());
    }
    match (uring::open(settings), choice) {
        (Ok((transport, reason)), _) => {
            Ok((AnyTransport::Uring(Box::new(transport)), Choice { driver: "io_uring", reason }))
        }
        (Err(refusal), IoChoice::Uring) => Err(OpenError::Uring { refusal }),
        (Err(refusal), _) => open_mio(settings, refusal.to_string()),
    }
}

fn open_mio(settings: &TransportSettings, reason: String) -> Result<(AnyTransport, Choice), OpenError> {
    let transport = MioTransport::open(settings).map_err(|source| OpenError::Mio { source })?;
    Ok((AnyTransport::Mio(Box::new(transport)), Choice { driver: "mio", reason }))
}

/// The transport of one CPU. Both implementations behave alike, which one suite of tests checks.
#[derive(Debug)]
pub enum AnyTransport {
    /// Over io_uring. Elsewhere than on Linux it cannot be made.
    Uring(Box<UringTransport>),
    /// Over readiness.
    Mio(Box<MioTransport>),
}

impl AnyTransport {
    /// Flushes, fetches, delivers and flushes again; see the module's text.
    ///
    /// Cost: an empty turn with [`Wait::No`] is a few loads and no system call over io_uring, and over readiness one
    /// failing read for each of a few connections or one poll for many. No allocation once the buffers have grown to what
    /// the load needs.
    pub fn turn<H: Handler>(&mut self, handler: &mut H, wait: Wait) -> TurnStats {
        match self {
            Self::Uring(transport) => transport.turn(handler, wait),
            Self::Mio(transport) => transport.turn(handler, wait),
        }
    }

    /// Listens at `address`. Connections come as [`Handler::accepted`].
    ///
    /// # Errors
    /// `Taken`, `Denied`, `NotLocal`, or `Failed` with what the system said.
    pub fn listen(&mut self, address: &Address, options: ListenOptions) -> Result<ListenerId, ListenError> {
        match self {
            Self::Uring(transport) => transport.listen(address, options),
            Self::Mio(transport) => transport.listen(address, options),
        }
    }

    /// Where `listener` listens, with the port that the system chose if it was asked to; `None` if it does no more.
    #[must_use]
    pub fn local_address(&self, listener: ListenerId) -> Option<&Address> {
        match self {
            Self::Uring(transport) => transport.local_address(listener),
            Self::Mio(transport) => transport.local_address(listener),
        }
    }

    /// Stops listening, at the latest in the next turn; accepted connections stay.
    pub fn stop_listening(&mut self, listener: ListenerId) {
        match self {
            Self::Uring(transport) => transport.stop_listening(listener),
            Self::Mio(transport) => transport.stop_listening(listener),
        }
    }

    /// What ends a park of this transport, for other threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        match self {
            Self::Uring(transport) => transport.waker(),
            Self::Mio(transport) => transport.waker(),
        }
    }
}
