//! Stands in for io_uring on systems that have none: it is always refused, and the transport cannot be made.

use std::convert::Infallible;

use thiserror::Error;

use super::address::{Address, ListenOptions, ListenerId};
use super::settings::TransportSettings;
use super::socket::ListenError;
use super::waker::Waker;
use super::{Handler, TurnStats, Wait};

/// Why io_uring cannot be used here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UringRefusal {
    /// This is not Linux.
    #[error("io_uring is an interface of Linux")]
    NotLinux,
}

/// A transport that does not exist here.
#[derive(Debug)]
pub struct UringTransport(Infallible);

pub(super) fn open(_settings: &TransportSettings) -> Result<(UringTransport, String), UringRefusal> {
    Err(UringRefusal::NotLinux)
}

impl UringTransport {
    pub(super) fn turn<H: Handler>(&mut self, _handler: &mut H, _wait: Wait) -> TurnStats {
        match self.0 {}
    }

    pub(super) fn listen(&mut self, _address: &Address, _options: ListenOptions) -> Result<ListenerId, ListenError> {
        match self.0 {}
    }

    pub(super) fn local_address(&self, _listener: ListenerId) -> Option<&Address> {
        match self.0 {}
    }

    pub(super) fn stop_listening(&mut self, _listener: ListenerId) {
        match self.0 {}
    }

    pub(super) fn waker(&self) -> Waker {
        match self.0 {}
    }
}
