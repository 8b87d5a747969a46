//! The addresses that a client tries in turn.

use std::io;
use std::net::ToSocketAddrs;
use std::time::Duration;

use quorate_engine::time::Instant;
use socket2::SockAddr;

use super::{Backoff, ConnectError};

/// One address, resolved.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// As it was given, for messages.
    pub(super) name: String,
    pub(super) address: SockAddr,
}

/// Which door comes next, and when.
#[derive(Debug)]
pub(super) struct Doors {
    doors: Vec<Door>,
    next: usize,
    /// Attempts that failed since the last connection stood.
    failures: u32,
    /// No attempt before this.
    not_before: Instant,
    last_error: Option<ConnectError>,
}

impl Doors {
    /// Resolves all addresses: a name may stand for several.
    pub(super) fn resolve(addresses: &[String]) -> Result<Self, ConnectError> {
        let mut doors = Vec::new();
        for name in addresses {
            let resolved = resolve(name).map_err(|source| ConnectError::Resolve { address: name.clone(), source })?;
            doors.extend(resolved.into_iter().map(|address| Door { name: name.clone(), address }));
        }
        if doors.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        Ok(Self { doors, next: 0, failures: 0, not_before: Instant(0), last_error: None })
    }

    /// Returns the door to try now, if it is time.
    pub(super) fn due(&self, now: Instant) -> Option<&Door> {
        (now >= self.not_before).then(|| &self.doors[self.next])
    }

    /// Returns when the next attempt is due.
    pub(super) fn due_at(&self) -> Instant {
        self.not_before
    }

    /// Returns why the last attempt or connection ended.
    pub(super) fn last_error(&self) -> Option<&ConnectError> {
        self.last_error.as_ref()
    }

    /// Gives that away.
    pub(super) fn take_error(&mut self) -> Option<ConnectError> {
        self.last_error.take()
    }

    /// Notes that a connection stands.
    pub(super) fn record_success(&mut self) {
        self.failures = 0;
    }

    /// Notes that an attempt failed or a connection ended: the next door is next, at once as long as there is one that
    /// was not tried since, then after growing pauses.
    pub(super) fn record_end(&mut self, now: Instant, error: ConnectError, backoff: &Backoff) {
        self.next = (self.next + 1) % self.doors.len();
        self.failures = self.failures.saturating_add(1);
        let door_count = u32::try_from(self.doors.len()).unwrap_or(u32::MAX);
        let rounds = self.failures / door_count;
        let pause = match rounds.checked_sub(1) {
            None => Duration::ZERO,
            Some(attempt) => backoff.pause(Duration::from_millis(1), u64::from(self.failures), attempt),
        };
        self.not_before = now.saturating_add(pause);
        self.last_error = Some(error);
    }
}

fn resolve(name: &str) -> io::Result<Vec<SockAddr>> {
    match name.strip_prefix("unix:") {
        Some(path) => Ok(vec![SockAddr::unix(path)?]),
        None => Ok(name.to_socket_addrs()?.map(SockAddr::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> ConnectError {
        ConnectError::Silent { address: String::from("x"), timeout: Duration::ZERO }
    }

    #[test]
    fn every_door_is_tried_once_before_the_first_pause() {
        let mut doors = Doors::resolve(&["127.0.0.1:1".into(), "unix:/tmp/x".into()]).unwrap();
        let (now, backoff) = (Instant(5), Backoff::default());
        assert_eq!(doors.due(now).unwrap().name, "127.0.0.1:1");
        doors.record_end(now, lost(), &backoff);
        assert_eq!(doors.due(now).unwrap().name, "unix:/tmp/x");
        doors.record_end(now, lost(), &backoff);
        assert!(doors.due(now).is_none());
        let later = doors.due_at();
        assert!(later <= now.saturating_add(Duration::from_millis(1)));
        assert_eq!(doors.due(later).unwrap().name, "127.0.0.1:1");
    }

    #[test]
    fn an_address_without_a_port_is_refused_by_name() {
        let error = Doors::resolve(&["localhost".into()]).unwrap_err();
        assert!(error.to_string().starts_with("localhost: cannot resolve"), "{error}");
    }
}
