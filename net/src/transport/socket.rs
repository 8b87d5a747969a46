//! Sockets as both transports want them: listening, dialled, accepted.
//!
//! TCP sockets have `TCP_NODELAY` at both ends, because a turn sends everything it has in one piece and nothing is gained
//! by holding that back. Addresses can be reused after a restart. A Unix socket file that a dead process left behind is
//! replaced, one that is in use is not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::address::{Address, ListenOptions, PeerAddr, PortSharing};
use super::settings::TransportSettings;

/// Why an address cannot be listened at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody listens there.
    #[error("{address} is taken by another process; stop that one, or choose another address")]
    Taken {
        /// The address asked for.
        address: Address,
    },
    /// The system does not allow it.
    #[error("listening at {address} is not permitted; ports below 1024 and foreign directories need privileges")]
    Denied {
        /// The address asked for.
        address: Address,
    },
    /// No interface has this address.
    #[error("{address} is not an address of this machine")]
    NotLocal {
        /// The address asked for.
        address: Address,
    },
    /// Anything else the system says.
    #[error("cannot listen at {address}")]
    Failed {
        /// The address asked for.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket that listens. Removes its file when dropped, if it has one.
#[derive(Debug)]
pub(super) struct ListenSocket {
    pub(super) socket: Socket,
    pub(super) address: Address,
}

impl ListenSocket {
    /// Binds and listens; `Blocking` is what the transport's way of accepting needs.
    pub(super) fn open(
        address: &Address,
        options: ListenOptions,
        settings: &TransportSettings,
        blocking: Blocking,
    ) -> Result<Self, ListenError> {
        match try_listen(address, options, settings, blocking) {
            Ok(socket) => {
                let address = actual_address(&socket, address);
                Ok(Self { socket, address })
            }
            Err(source) => Err(explain(address.clone(), source)),
        }
    }
}

impl Drop for ListenSocket {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // Whoever removed it before us did what we want.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether calls on a socket may wait in the kernel. io_uring needs sockets that may: on others it reports `EAGAIN`
/// instead of waiting on our behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    #[cfg(target_os = "linux")]
    Yes,
    No,
}

/// Makes a socket to connect with, and the address in the form in which the kernel wants it.
pub(super) fn dial(
    address: &Address,
    settings: &TransportSettings,
    blocking: Blocking,
) -> io::Result<(Socket, SockAddr)> {
    let target = sock_addr(address)?;
    let socket = Socket::new(target.domain(), Type::STREAM, None)?;
    socket.set_nonblocking(blocking == Blocking::No)?;
    adjust(&socket, address.is_tcp(), settings)?;
    Ok((socket, target))
}

/// Sets up a socket that was just accepted, and says who is at its other end.
pub(super) fn welcome(socket: &Socket, listener: &Address, settings: &TransportSettings) -> io::Result<PeerAddr> {
    adjust(socket, listener.is_tcp(), settings)?;
    if !listener.is_tcp() {
        return Ok(PeerAddr::Unix);
    }
    // A peer that has reset the connection already is nobody; its end is noticed by the first read.
    let unknown = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    Ok(PeerAddr::Tcp(socket.peer_addr().ok().and_then(|address| address.as_socket()).unwrap_or(unknown)))
}

impl Address {
    fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

fn sock_addr(address: &Address) -> io::Result<SockAddr> {
    match address {
        Address::Tcp(address) => Ok((*address).into()),
        Address::Unix(path) => SockAddr::unix(path),
    }
}

fn adjust(socket: &Socket, is_tcp: bool, settings: &TransportSettings) -> io::Result<()> {
    if is_tcp {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(bytes) = settings.socket_send_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = settings.socket_receive_bytes {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    Ok(())
}

fn try_listen(
    address: &Address,
    options: ListenOptions,
    settings: &TransportSettings,
    blocking: Blocking,
) -> io::Result<Socket> {
    let target = sock_addr(address)?;
    let socket = Socket::new(target.domain(), Type::STREAM, None)?;
    socket.set_nonblocking(blocking == Blocking::No)?;
    if address.is_tcp() {
        socket.set_reuse_address(true)?;
        if target.domain() == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        if options.port == PortSharing::Shared {
            socket.set_reuse_port(true)?;
        }
    }
    // The receive window of accepted sockets is decided by the listener's buffer.
    adjust(&socket, address.is_tcp(), settings)?;
    if let Err(error) = socket.bind(&target) {
        let Address::Unix(path) = address else { return Err(error) };
        if !is_left_behind(path, &target) {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&target)?;
    }
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Whether `path` is a socket that nobody answers at.
fn is_left_behind(path: &PathBuf, target: &SockAddr) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let Ok(knock) = Socket::new(Domain::UNIX, Type::STREAM, None) else { return false };
    // A full backlog must not hold us up, and means that somebody listens.
    if knock.set_nonblocking(true).is_err() {
        return false;
    }
    is_socket && knock.connect(target).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn actual_address(socket: &Socket, asked: &Address) -> Address {
    match (asked, socket.local_addr().ok().and_then(|address| address.as_socket())) {
        (Address::Tcp(_), Some(bound)) => Address::Tcp(bound),
        _ => asked.clone(),
    }
}

/// Says what the system means by not letting somebody listen at an address.
pub(crate) fn explain(address: Address, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { address },
        io::ErrorKind::PermissionDenied => ListenError::Denied { address },
        io::ErrorKind::AddrNotAvailable => ListenError::NotLocal { address },
        _ => ListenError::Failed { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(address: &Address) -> Result<ListenSocket, ListenError> {
        ListenSocket::open(address, ListenOptions::default(), &TransportSettings::default(), Blocking::No)
    }

    #[test]
    fn port_0_becomes_the_port_that_was_chosen_and_is_then_taken() {
        let any = Address::Tcp("127.0.0.1:0".parse().unwrap());
        let first = open(&any).unwrap();
        assert_ne!(first.address, any);
        assert!(matches!(open(&first.address), Err(ListenError::Taken { .. })));
    }

    #[test]
    fn a_foreign_address_is_named() {
        let foreign = Address::Tcp("192.0.2.1:0".parse().unwrap());
        assert!(matches!(open(&foreign), Err(ListenError::NotLocal { address }) if address == foreign));
    }

    #[test]
    fn a_socket_file_left_behind_is_replaced_but_one_in_use_and_a_plain_file_are_not() {
        let directory = std::env::temp_dir().join(format!("quorate-socket-test-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("door");
        let address = Address::Unix(path.clone());

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = open(&address).unwrap();
        assert!(matches!(open(&address), Err(ListenError::Taken { .. })));
        drop(first);
        assert!(!path.exists());

        std::fs::write(&path, b"not a socket").unwrap();
        assert!(open(&address).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"not a socket");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
