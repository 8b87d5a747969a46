//! Where connections come from and go to.
//!
//! TCP and Unix stream sockets behave alike behind the transport, so an address is the only place that tells them apart.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A place to listen at or to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6 and a port; port 0 lets the system choose when listening.
    Tcp(SocketAddr),
    /// A Unix stream socket at a path.
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The other end of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddr {
    /// A TCP peer. `0.0.0.0:0` if it had gone again before it could be asked for.
    Tcp(SocketAddr),
    /// A process on this machine, over a Unix socket.
    Unix,
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix => write!(f, "unix"),
        }
    }
}

/// Names one listening socket of one transport. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections the kernel keeps until they are accepted; it may cut this to its own limit.
    pub backlog: u32,
    /// Whether other sockets may listen on the same port.
    pub port: PortSharing,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024, port: PortSharing::Exclusive }
    }
}

/// Whether several sockets, one per CPU, may listen on one TCP port. Means nothing for Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSharing {
    /// A taken port is an error.
    Exclusive,
    /// `SO_REUSEPORT`: the kernel spreads new connections over all sockets of the port.
    Shared,
}
