//! The types that settings are made of: what has been checked once and is trusted afterwards.

use std::fmt;
use std::net::SocketAddr;

/// A password. It compares in constant time and never shows itself, in logs or anywhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a password.
    #[must_use]
    pub fn new(password: &str) -> Self {
        Self(password.into())
    }

    /// Whether `attempt` is the password. Takes the same time for every attempt of one length.
    #[must_use]
    pub fn matches(&self, attempt: &[u8]) -> bool {
        let password = self.0.as_bytes();
        let differences = password.iter().zip(attempt).fold(0, |seen, (ours, theirs)| seen | (ours ^ theirs));
        password.len() == attempt.len() && std::hint::black_box(differences) == 0
    }

    /// Returns the password itself, to pass it on to a process that is started.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// How many threads serve data, and whether each is bound to a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuPlan {
    /// So many threads; the kernel places them.
    Count(u16),
    /// One thread on each of these CPUs, none twice.
    Pinned(Vec<u16>),
}

impl CpuPlan {
    /// Returns the number of threads, at least 1 and at most [`super::keys::CPUS_MAX`].
    #[must_use]
    pub fn count(&self) -> u16 {
        match self {
            Self::Count(count) => *count,
            Self::Pinned(cpus) => u16::try_from(cpus.len()).expect("a plan has at most CPUS_MAX entries"),
        }
    }

    /// Returns the CPU that thread `index` is bound to, if it is.
    #[must_use]
    pub fn pinned(&self, index: usize) -> Option<u16> {
        match self {
            Self::Count(_) => None,
            Self::Pinned(cpus) => cpus.get(index).copied(),
        }
    }
}

impl fmt::Display for CpuPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Pinned(cpus) => {
                f.write_str("[")?;
                for (index, cpu) in cpus.iter().enumerate() {
                    write!(f, "{}{cpu}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Where to connect to: an IP address, or a name that is resolved at every attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address.
    Ip(SocketAddr),
    /// A host name as in RFC 1123, lower case, and a port.
    Name {
        /// The host name.
        host: String,
        /// The port, not 0.
        port: u16,
    },
}

impl Endpoint {
    /// Reads `HOST:PORT`; an IPv6 address stands in brackets. `None` if it is neither an address nor a name with a
    /// port from 1 to 65535.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0).then_some(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        is_host_name(host).then(|| Self::Name { host: host.to_ascii_lowercase(), port })
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    /// Returns the address or name without the port.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Ip(address) => address.ip().to_string(),
            Self::Name { host, .. } => host.clone(),
        }
    }

    /// Returns the same host with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(SocketAddr::new(address.ip(), port)),
            Self::Name { host, .. } => Self::Name { host: host.clone(), port },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What an idle thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Never sleeps.
    Spin,
    /// Spins for a while, yields for a while, then sleeps.
    Adaptive,
    /// Sleeps at once.
    Park,
}

/// Which transport serves the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// io_uring if the kernel grants it, mio otherwise.
    Auto,
    /// io_uring or an error.
    Uring,
    /// Readiness through mio.
    Mio,
}

/// What an acknowledged write survives. The other modes are refused by name until they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A quorum of running processes holds it.
    Memory,
}

/// The four doors of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Redis clients.
    Resp,
    /// Clients of the native protocol.
    Native,
    /// The other nodes.
    Peer,
    /// HTTP.
    Admin,
}

impl Door {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 4] = [Self::Resp, Self::Native, Self::Peer, Self::Admin];

    /// Returns the name, as it stands in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resp => "resp",
            Self::Native => "native",
            Self::Peer => "peer",
            Self::Admin => "admin",
        }
    }

    /// Whether each CPU has a door of this kind of its own, at base port + 1 + CPU.
    #[must_use]
    pub const fn is_per_cpu(self) -> bool {
        !matches!(self, Self::Admin)
    }
}

/// Whether `host` is a name as RFC 1123 wants it: labels of letters, digits and inner hyphens.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name of digits and dots alone is a mistyped address, not a name.
    host.len() <= 253 && host.bytes().any(|b| b.is_ascii_alphabetic()) && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_or_names_with_a_port() {
        for text in ["127.0.0.1:7600", "[::1]:7600", "node-2.prices:7600", "localhost:1"] {
            assert_eq!(Endpoint::parse(text).map(|endpoint| endpoint.to_string()).as_deref(), Some(text));
        }
        for text in [
            "",
            ":7600",
            "node",
            "node:",
            "node:0",
            "node:65536",
            "127.0.0:7600",
            "::1:7600",
            "-a:1",
            "a b:1",
            "127.0.0.1:0",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text:?}");
        }
        assert!(Endpoint::parse(&format!("{}:1", "a".repeat(300))).is_none());
    }

    #[test]
    fn a_secret_matches_itself_only_and_is_never_shown() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for attempt in [&b""[..], b"hunter", b"hunter22", b"Hunter2"] {
            assert!(!secret.matches(attempt));
        }
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }
}
