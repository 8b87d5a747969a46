//! From the outbox to the sockets: sending, opening, closing.

use std::io;

use ::mio::Interest;

use super::super::CloseReason;
use super::super::address::Address;
use super::super::outbox::{Close, ConnId, Delivery, Outbox, Phase};
use super::super::socket::{self, Blocking};
use super::conn::Stage;
use super::{MioTransport, errno, index_of};
use crate::clock;

#[cfg(any(target_os = "linux", target_os = "android"))]
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
/// The runtime ignores SIGPIPE.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SEND_FLAGS: i32 = 0;

impl MioTransport {
    pub(super) fn flush(&mut self, outbox: &mut Outbox) {
        if outbox.is_idle() && self.lists.writable.is_empty() {
            return;
        }
        let mut list = std::mem::take(&mut self.lists.scratch);
        outbox.take_touched(&mut list);
        list.append(&mut self.lists.writable);
        for &index in &list {
            self.flush_conn(index, outbox);
        }
        list.clear();
        self.lists.scratch = list;
    }

    fn flush_conn(&mut self, index: u32, outbox: &mut Outbox) {
        if let Some(address) = outbox.take_dial(index) {
            self.dial(outbox.conn(index), &address);
        }
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.id != outbox.conn(index) {
            return;
        }
        match (conn.stage, outbox.phase(conn.id)) {
            (Stage::Dialling | Stage::Open, Some(Phase::Closing(Close::Now))) => {
                self.finish(index, CloseReason::Asked);
            }
            (Stage::Open, Some(Phase::Live)) => {
                // Reading was resumed: what came in meanwhile is not announced again (E1).
                if conn.is_held && outbox.reading(index) == Delivery::Deliver {
                    conn.is_held = false;
                    conn.mark_ready(&mut self.lists.ready);
                }
                self.send(index, outbox);
            }
            (Stage::Open, Some(Phase::Closing(Close::AfterFlush))) => self.close_after_flush(index, outbox),
            (Stage::Dialling, Some(Phase::Closing(Close::AfterFlush))) => self.be_patient(index),
            _ => {}
        }
    }

    /// Sends what is queued. Returns whether all of it is gone.
    fn send(&mut self, index: u32, outbox: &mut Outbox) -> bool {
        outbox.note_high(index);
        let conn = &mut self.conns[index as usize];
        let Some(socket) = &conn.socket else { return false };
        let mut is_blocked = false;
        while !is_blocked && !outbox.output(index).is_empty() {
            self.stats.syscalls += 1;
            match socket.send_with_flags(outbox.output(index), SEND_FLAGS) {
                Ok(count) => {
                    self.stats.bytes_sent += count as u64;
                    outbox.advance_output(index, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.finish(index, CloseReason::Broken { errno: errno(&error) });
                    return false;
                }
            }
        }
        let id = conn.id;
        if is_blocked != conn.is_blocked {
            conn.is_blocked = is_blocked;
            self.expecting = if is_blocked { self.expecting + 1 } else { self.expecting - 1 };
            let interest = if is_blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            if let Err(error) = self.reregister(id, interest) {
                self.finish(index, CloseReason::Broken { errno: errno(&error) });
                return false;
            }
        }
        if outbox.note_queued(index) {
            self.pending.drained(id);
        }
        !is_blocked
    }

    fn close_after_flush(&mut self, index: u32, outbox: &mut Outbox) {
        if !self.send(index, outbox) {
            if self.conns[index as usize].stage == Stage::Open {
                self.be_patient(index);
            }
            return;
        }
        let conn = &mut self.conns[index as usize];
        if conn.is_read_to_end {
            return self.finish(index, CloseReason::Ended);
        }
        // Whoever closes a socket with unread input resets the connection, and the peer may lose our last answer. So end
        // our side, and discard until the peer ends its own.
        let Some(socket) = &conn.socket else { return };
        self.stats.syscalls += 1;
        if socket.shutdown(std::net::Shutdown::Write).is_err() {
            return self.finish(index, CloseReason::Asked);
        }
        conn.stage = Stage::Lingering;
        conn.is_held = false;
        conn.mark_ready(&mut self.lists.ready);
        self.pending.closed(conn.id, CloseReason::Asked);
        self.be_patient(index);
    }

    fn be_patient(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        if !conn.is_timed {
            conn.is_timed = true;
            self.grace.begin(conn.id, clock::now());
        }
    }

    pub(super) fn end_grace(&mut self, outbox: &mut Outbox) {
        let now = clock::now();
        while let Some(id) = self.grace.take_expired(now) {
            let index = index_of(id);
            match (self.conns[id.index()].stage, outbox.phase(id)) {
                (_, None) => {}
                (Stage::Lingering, _) => self.drop_lingering(index, outbox),
                (Stage::Open | Stage::Dialling, _) => self.finish(index, CloseReason::Asked),
                _ => {}
            }
        }
    }

    fn dial(&mut self, id: ConnId, address: &Address) {
        let attempt = socket::dial(address, &self.settings, Blocking::No);
        let (socket, target) = match attempt {
            Ok(made) => made,
            Err(error) => return self.fail_dial(id, &error),
        };
        self.stats.syscalls += 1;
        let connected = socket.connect(&target);
        self.install(id, socket, Stage::Dialling);
        self.expecting += 1;
        match connected {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return self.finish(index_of(id), unreachable_because(&error)),
        }
        // A connection that stands already is reported by epoll like one that takes its time.
        if let Err(error) = self.register(id, Interest::READABLE | Interest::WRITABLE) {
            self.finish(index_of(id), unreachable_because(&error));
        }
    }

    fn fail_dial(&mut self, id: ConnId, error: &io::Error) {
        self.place(id);
        self.conns[id.index()].stage = Stage::Gone;
        self.pending.closed(id, unreachable_because(error));
    }

    pub(super) fn complete_dials(&mut self, outbox: &mut Outbox) {
        if self.expecting == 0 {
            return;
        }
        for at in 0..self.lists.writable.len() {
            let index = self.lists.writable[at];
            let conn = &self.conns[index as usize];
            if conn.stage != Stage::Dialling || !matches!(outbox.phase(conn.id), Some(Phase::Live | Phase::Closing(_)))
            {
                continue;
            }
            let Some(socket) = &conn.socket else { continue };
            self.stats.syscalls += 2;
            let outcome = match socket.take_error() {
                Ok(None) => socket.peer_addr().map(drop),
                Ok(Some(error)) | Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => self.on_connected(index),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => self.finish(index, unreachable_because(&error)),
            }
        }
    }

    fn on_connected(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        let id = conn.id;
        conn.stage = Stage::Open;
        conn.mark_ready(&mut self.lists.ready);
        self.expecting -= 1;
        conn.open_at = Some(self.lists.open.len());
        self.lists.open.push(index);
        match self.reregister(id, Interest::READABLE) {
            Ok(()) => self.pending.connected(id),
            Err(error) => self.finish(index, unreachable_because(&error)),
        }
    }

    /// Ends a connection of which `closed` is still to be said.
    pub(super) fn finish(&mut self, index: u32, reason: CloseReason) {
        let conn = &self.conns[index as usize];
        assert!(matches!(conn.stage, Stage::Open | Stage::Dialling), "T1: {:?} finished in {:?}", conn.id, conn.stage);
        let id = conn.id;
        self.shed(index, Stage::Gone);
        self.pending.closed(id, reason);
    }

    /// Ends a connection of which `closed` has been said, or is about to be.
    pub(super) fn drop_lingering(&mut self, index: u32, outbox: &mut Outbox) {
        let id = self.conns[index as usize].id;
        // While `closed` is pending, the index is given back by whoever says it.
        if outbox.phase(id) == Some(Phase::Retired) {
            self.shed(index, Stage::Vacant);
            outbox.release(index);
        } else {
            self.shed(index, Stage::Gone);
        }
    }

    /// Closes the socket and forgets it everywhere.
    fn shed(&mut self, index: u32, next: Stage) {
        let conn = &mut self.conns[index as usize];
        if conn.stage == Stage::Dialling || conn.is_blocked {
            self.expecting -= 1;
        }
        conn.is_blocked = false;
        conn.stage = next;
        // Closing the only descriptor of a socket takes it out of epoll.
        conn.socket = None;
        self.stats.syscalls += 1;
        if let Some(at) = conn.open_at.take() {
            self.lists.open.swap_remove(at);
            if let Some(&moved) = self.lists.open.get(at) {
                self.conns[moved as usize].open_at = Some(at);
            }
        }
    }
}

fn unreachable_because(error: &io::Error) -> CloseReason {
    CloseReason::Unreachable { errno: errno(error) }
}
