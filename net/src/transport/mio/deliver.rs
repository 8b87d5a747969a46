//! From epoll and the sockets to the handler.

use std::io::{self, Read as _};
use std::time::Duration;

use ::mio::{Interest, Token};
use socket2::Socket;

use super::super::address::{Address, ListenerId};
use super::super::outbox::{Delivery, Outbox, Phase};
use super::super::settings::ACCEPT_RETRY;
use super::super::socket;
use super::super::{CloseReason, Handler};
use super::conn::Stage;
use super::{ACCEPTS_PER_TURN, FIRST_LISTENER, MioTransport, WAKER, errno, index_of};
use crate::clock;

impl MioTransport {
    pub(super) fn poll_events<H: Handler>(&mut self, timeout: Option<Duration>, handler: &mut H) {
        self.epoll.turns_since_poll = 0;
        self.stats.syscalls += 1;
        match self.epoll.poll.poll(&mut self.epoll.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.epoll.events.clear(),
            Err(error) => panic!("epoll refused a call that is always valid: {error}"),
        }
        let mut is_woken = false;
        for event in &self.epoll.events {
            match event.token() {
                WAKER => is_woken = true,
                Token(number) if number >= FIRST_LISTENER => {
                    self.listeners[number - FIRST_LISTENER].is_ready = true;
                }
                Token(index) => {
                    let conn = &mut self.conns[index];
                    // A hang-up is seen by reading, also on a socket that reported nothing else.
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        conn.has_ended |= event.is_read_closed() || event.is_error();
                        conn.mark_ready(&mut self.lists.ready);
                    }
                    if event.is_writable() || event.is_error() {
                        self.lists.writable.push(conn.index);
                    }
                }
            }
        }
        if is_woken {
            self.waker.drain();
            self.stats.events += 1;
            self.stats.syscalls += 1;
        }
        self.complete_dials(handler.outbox());
        self.accept_some(handler);
        self.tell_pending(handler);
    }

    pub(super) fn tell_pending<H: Handler>(&mut self, handler: &mut H) {
        if self.pending.is_empty() {
            return;
        }
        handler.fetched();
        while let Some(ended) = self.pending.tell_next(handler) {
            self.stats.events += 1;
            if let Some(conn) = ended
                && self.conns[conn.index()].stage == Stage::Gone
            {
                self.conns[conn.index()].stage = Stage::Vacant;
                handler.outbox().release(index_of(conn));
            }
        }
    }

    pub(super) fn read_some<H: Handler>(&mut self, handler: &mut H, is_direct: bool) {
        let mut list = std::mem::take(&mut self.lists.scratch);
        std::mem::swap(&mut list, &mut self.lists.ready);
        for &index in &list {
            self.conns[index as usize].is_listed = false;
        }
        if is_direct {
            list.clear();
            list.extend_from_slice(&self.lists.open);
        }
        for &index in &list {
            self.read_conn(index, handler);
        }
        list.clear();
        self.lists.scratch = list;
        self.tell_pending(handler);
    }

    fn read_conn<H: Handler>(&mut self, index: u32, handler: &mut H) {
        let conn = &mut self.conns[index as usize];
        if !matches!(conn.stage, Stage::Open | Stage::Lingering) || conn.is_read_to_end {
            return;
        }
        let delivery = handler.outbox().reading(index);
        if delivery == Delivery::Hold {
            conn.is_held = true;
            return;
        }
        let Some(socket) = &conn.socket else { return };
        self.stats.syscalls += 1;
        let mut reader: &Socket = socket;
        match reader.read(&mut self.buffer) {
            Ok(0) => return self.on_end(index, handler),
            Ok(count) => {
                let is_short = count < self.buffer.len() && !conn.has_ended;
                let id = conn.id;
                if delivery == Delivery::Deliver {
                    self.stats.events += 1;
                    self.stats.bytes += count as u64;
                    handler.fetched();
                    handler.received(id, &self.buffer[..count]);
                }
                if is_short {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return self.on_broken(index, errno(&error), handler.outbox()),
        }
        // There may be more: others have their turn first (E1), and what came so far is answered.
        let conn = &mut self.conns[index as usize];
        conn.mark_ready(&mut self.lists.ready);
    }

    fn on_end<H: Handler>(&mut self, index: u32, handler: &mut H) {
        let conn = &mut self.conns[index as usize];
        conn.is_read_to_end = true;
        let id = conn.id;
        match handler.outbox().phase(id) {
            Some(Phase::Live) => {
                self.stats.events += 1;
                handler.ended(id);
            }
            // The flush decides whether the close is complete now.
            Some(Phase::Closing(_)) => self.lists.writable.push(index),
            // We said our end before: the linger is over.
            _ => self.drop_lingering(index, handler.outbox()),
        }
    }

    fn on_broken(&mut self, index: u32, errno: i32, outbox: &mut Outbox) {
        if self.conns[index as usize].stage == Stage::Lingering {
            self.drop_lingering(index, outbox);
        } else {
            self.finish(index, CloseReason::Broken { errno });
        }
    }

    fn accept_some<H: Handler>(&mut self, handler: &mut H) {
        for number in 0..self.listeners.len() {
            let listener = &mut self.listeners[number];
            if let Some(retry_at) = listener.retry_at
                && clock::now() >= retry_at
            {
                listener.retry_at = None;
                listener.is_ready = true;
            }
            if listener.is_ready {
                self.accept_from(number, handler);
            }
        }
    }

    fn accept_from<H: Handler>(&mut self, number: usize, handler: &mut H) {
        for _ in 0..ACCEPTS_PER_TURN {
            let listener = &mut self.listeners[number];
            let Some(opened) = &listener.opened else { return };
            self.stats.syscalls += 1;
            match opened.socket.accept() {
                Ok((socket, _)) => {
                    let address = opened.address.clone();
                    self.admit(number, socket, &address, handler);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        listener.is_ready = false;
                        return;
                    }
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        // No descriptor or no memory: epoll will not speak again of those who wait already.
                        listener.is_ready = false;
                        listener.retry_at = Some(clock::now().saturating_add(ACCEPT_RETRY));
                        return;
                    }
                },
            }
        }
    }

    fn admit<H: Handler>(&mut self, number: usize, socket: Socket, listener: &Address, handler: &mut H) {
        let Ok(peer) = socket::welcome(&socket, listener, &self.settings) else { return };
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        // One too many: dropping the socket is the answer.
        let Some(id) = handler.outbox().open() else { return };
        self.install(id, socket, Stage::Open);
        if self.register(id, Interest::READABLE).is_err() {
            self.finish(index_of(id), CloseReason::Broken { errno: libc::ENOMEM });
        }
        self.stats.events += 1;
        let listener = ListenerId(u32::try_from(number).expect("listen() checked it"));
        handler.fetched();
        handler.accepted(listener, id, peer);
    }
}
