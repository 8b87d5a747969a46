//! What happened outside of a delivery and is to be told at the next one, and the patience with slow closes.
//!
//! A flush finds out that a connection broke, that a backlog fell, that a close is done. The handler is not called from
//! there: it is told when the turn delivers, or first thing in the next turn, which then does not park.

use std::collections::VecDeque;

use quorate_engine::time::Instant;

use super::outbox::{ConnId, Outbox, Phase};
use super::settings::CLOSE_GRACE;
use super::{CloseReason, Handler};

/// News for the handler, in order.
///
/// Bounds: `Connected` and `Closed` once for each connection, `Drained` once for each time its backlog falls, which needs
/// a delivery in between to rise again.
#[derive(Debug, Default)]
pub(super) struct Pending {
    events: VecDeque<Event>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Connected(ConnId),
    Drained(ConnId),
    Closed(ConnId, CloseReason),
}

impl Pending {
    pub(super) fn connected(&mut self, conn: ConnId) {
        self.events.push_back(Event::Connected(conn));
    }

    pub(super) fn drained(&mut self, conn: ConnId) {
        self.events.push_back(Event::Drained(conn));
    }

    pub(super) fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        self.events.push_back(Event::Closed(conn, reason));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Tells the handler the next piece of news; the outer `None` if there is none. Returns the connection whose end it
    /// was, so that the transport gives its index back when the kernel holds nothing of it.
    pub(super) fn tell_next<H: Handler>(&mut self, handler: &mut H) -> Option<Option<ConnId>> {
        match self.events.pop_front()? {
            Event::Connected(conn) => {
                if handler.outbox().is_open(conn) {
                    handler.connected(conn);
                }
                Some(None)
            }
            Event::Drained(conn) => {
                if handler.outbox().is_open(conn) {
                    handler.drained(conn);
                }
                Some(None)
            }
            Event::Closed(conn, reason) => {
                let is_first = handler.outbox().retire(conn);
                assert!(is_first, "T1: {conn:?} closed twice");
                handler.closed(conn, reason);
                Some(Some(conn))
            }
        }
    }
}

/// Connections that are being closed, with the time at which patience ends; the same patience for all, so in order.
#[derive(Debug, Default)]
pub(super) struct Grace {
    queue: VecDeque<(Instant, ConnId)>,
}

impl Grace {
    /// Starts the patience with `conn`.
    pub(super) fn begin(&mut self, conn: ConnId, now: Instant) {
        self.queue.push_back((now.saturating_add(CLOSE_GRACE), conn));
    }

    /// When the next patience ends, after forgetting connections that are gone.
    pub(super) fn next_end(&mut self, outbox: &Outbox) -> Option<Instant> {
        while let Some(&(end, conn)) = self.queue.front() {
            if matches!(outbox.phase(conn), Some(Phase::Closing(_) | Phase::Retired)) {
                return Some(end);
            }
            self.queue.pop_front();
        }
        None
    }

    /// Takes a connection whose patience has ended at `now`.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<ConnId> {
        let &(end, conn) = self.queue.front()?;
        if end > now {
            return None;
        }
        self.queue.pop_front();
        Some(conn)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
