//! From the completion queue to the handler.
#![expect(unsafe_code, reason = "descriptors of accepted connections come as numbers")]

use std::os::fd::{FromRawFd as _, OwnedFd};

use socket2::Socket;

use super::super::address::ListenerId;
use super::super::buffer::Sent;
use super::super::outbox::{Delivery, Outbox, Phase};
use super::super::settings::ACCEPT_RETRY;
use super::super::socket;
use super::super::{CloseReason, Handler};
use super::ring::Completion;
use super::slot::{Held, Kind, Receive, Stage, Tag};
use super::{Accept, UringTransport, index_of};
use crate::clock;

impl UringTransport {
    /// Delivers what the completions bring, in their order.
    pub(super) fn deliver<H: Handler>(&mut self, completions: &[Completion], handler: &mut H) {
        handler.fetched();
        for &completion in completions {
            let tag = self.note_completion(completion);
            match tag.kind {
                Kind::Receive => self.on_receive(tag.index, completion, handler),
                Kind::Send => self.on_send(tag.index, completion.result, handler.outbox()),
                Kind::Connect => self.on_connect(tag.index, completion.result, handler.outbox()),
                Kind::Cancel => {
                    self.slots[tag.index as usize].record_completion();
                    self.settle(tag.index, handler.outbox());
                }
                Kind::Accept => self.on_accept(tag.index, completion, handler),
                Kind::Wake => self.on_wake(completion),
                Kind::Forgotten => {}
            }
        }
        self.receive.publish();
        self.tell_pending(handler);
    }

    fn note_completion(&mut self, completion: Completion) -> Tag {
        if !completion.has_more() {
            assert!(self.in_flight > 0, "U2: more completions than submissions");
            self.in_flight -= 1;
        }
        Tag::from_bits(completion.user_data)
    }

    pub(super) fn tell_pending<H: Handler>(&mut self, handler: &mut H) {
        if self.pending.is_empty() {
            return;
        }
        handler.fetched();
        while let Some(ended) = self.pending.tell_next(handler) {
            self.stats.events += 1;
            if let Some(conn) = ended {
                self.settle(index_of(conn), handler.outbox());
            }
        }
    }

    /// Delivers what came in before a pause took effect and reading was resumed.
    pub(super) fn deliver_resumed<H: Handler>(&mut self, handler: &mut H) {
        while let Some(index) = self.lists.resumed.pop() {
            handler.fetched();
            self.deliver_held(index, handler);
        }
    }

    fn deliver_held<H: Handler>(&mut self, index: u32, handler: &mut H) {
        let slot = &mut self.slots[index as usize];
        if slot.stage != Stage::Open || handler.outbox().reading(index) != Delivery::Deliver {
            return;
        }
        let Some(mut held) = slot.held.take() else { return };
        let id = slot.id;
        if !held.bytes.is_empty() {
            self.stats.events += 1;
            self.stats.bytes += held.bytes.len() as u64;
            handler.received(id, &held.bytes);
            held.bytes.clear();
        }
        if held.has_ended {
            if handler.outbox().reading(index) == Delivery::Hold {
                self.slots[index as usize].held = Some(held);
            } else {
                self.on_end(index, handler);
            }
        }
    }

    fn on_receive<H: Handler>(&mut self, index: u32, completion: Completion, handler: &mut H) {
        let has_more = completion.has_more();
        let slot = &mut self.slots[index as usize];
        if !has_more {
            slot.record_completion();
            slot.receive = Receive::Idle;
        }
        if let Some(buffer) = completion.buffer() {
            self.receive.take(buffer);
            if let Ok(len) = usize::try_from(completion.result)
                && len > 0
            {
                self.deliver_bytes(index, buffer, len, handler);
            }
            self.receive.give_back(buffer);
        }
        let stage = self.slots[index as usize].stage;
        match (completion.result, stage) {
            (_, Stage::Draining) => return self.settle(index, handler.outbox()),
            (0, _) => return self.on_stream_end(index, handler),
            (1.., _) => {}
            (error, _) if is_passing(error) => {}
            (error, Stage::Open) => return self.finish(index, CloseReason::Broken { errno: -error }),
            (_, Stage::Lingering) => return self.drain(index, handler.outbox()),
            (_, stage) => panic!("a receive completed for a connection in {stage:?}"),
        }
        if !has_more && (stage == Stage::Lingering || handler.outbox().reading(index) != Delivery::Hold) {
            self.slots[index as usize].wants.receive = true;
            self.line_up(index);
        }
    }

    fn deliver_bytes<H: Handler>(&mut self, index: u32, buffer: u16, len: usize, handler: &mut H) {
        if self.slots[index as usize].stage != Stage::Open {
            return;
        }
        if self.slots[index as usize].held.is_some() {
            self.deliver_held(index, handler);
        }
        let slot = &mut self.slots[index as usize];
        match handler.outbox().reading(index) {
            Delivery::Deliver => {
                self.stats.events += 1;
                self.stats.bytes += len as u64;
                handler.received(slot.id, self.receive.filled(buffer, len));
            }
            Delivery::Hold => {
                let held = slot.held.get_or_insert_with(|| Box::new(Held::default()));
                held.bytes.extend_from_slice(self.receive.filled(buffer, len));
            }
            Delivery::Discard => {}
        }
    }

    /// The peer's stream has ended; a paused connection hears it later.
    fn on_stream_end<H: Handler>(&mut self, index: u32, handler: &mut H) {
        let slot = &mut self.slots[index as usize];
        if slot.stage == Stage::Lingering {
            return self.drain(index, handler.outbox());
        }
        slot.is_read_to_end = true;
        if slot.held.is_some() || handler.outbox().reading(index) == Delivery::Hold {
            slot.held.get_or_insert_with(|| Box::new(Held::default())).has_ended = true;
            return self.deliver_held(index, handler);
        }
        self.on_end(index, handler);
    }

    fn on_end<H: Handler>(&mut self, index: u32, handler: &mut H) {
        let id = self.slots[index as usize].id;
        match handler.outbox().phase(id) {
            Some(Phase::Live) => {
                self.stats.events += 1;
                handler.ended(id);
            }
            // The close may be complete now.
            _ => self.review(index, handler.outbox()),
        }
    }

    fn on_send(&mut self, index: u32, result: i32, outbox: &mut Outbox) {
        let slot = &mut self.slots[index as usize];
        slot.record_completion();
        let count = usize::try_from(result).unwrap_or(0);
        self.stats.bytes_sent += count as u64;
        let sent = slot.send.complete(count);
        if slot.stage == Stage::Draining {
            if let Sent::All(memory) = sent {
                outbox.recycle(memory);
            }
            return self.settle(index, outbox);
        }
        outbox.record_sent(index, count);
        if let Sent::All(memory) = sent {
            outbox.recycle(memory);
        }
        if result < 0 && !is_passing(result) {
            return self.finish(index, CloseReason::Broken { errno: -result });
        }
        self.review(index, outbox);
    }

    fn on_connect(&mut self, index: u32, result: i32, outbox: &mut Outbox) {
        let slot = &mut self.slots[index as usize];
        slot.record_completion();
        slot.target = None;
        if slot.stage == Stage::Draining {
            return self.settle(index, outbox);
        }
        if result < 0 {
            return self.finish(index, CloseReason::Unreachable { errno: -result });
        }
        slot.stage = Stage::Open;
        self.pending.connected(slot.id);
        if outbox.reading(index) != Delivery::Hold {
            slot.wants.receive = true;
            self.line_up(index);
        }
        self.review(index, outbox);
    }

    fn on_accept<H: Handler>(&mut self, number: u32, completion: Completion, handler: &mut H) {
        let listener = &mut self.doors.listeners[number as usize];
        if !completion.has_more() {
            if listener.accept == Accept::Armed {
                listener.accept = Accept::Idle;
                self.doors.needs_arming = true;
            } else {
                listener.accept = Accept::Idle;
                listener.opened = None;
            }
        }
        if completion.result >= 0 {
            // SAFETY: the kernel has just opened this descriptor for us and told nobody else.
            let descriptor = unsafe { OwnedFd::from_raw_fd(completion.result) };
            self.admit(number, Socket::from(descriptor), handler);
        } else if !is_passing(completion.result) && -completion.result != libc::ECONNABORTED {
            // No descriptor or no memory: who waits goes on waiting.
            listener.retry_at = Some(clock::now().saturating_add(ACCEPT_RETRY));
        }
    }

    fn admit<H: Handler>(&mut self, number: u32, socket: Socket, handler: &mut H) {
        let listener = &self.doors.listeners[number as usize];
        let Some(opened) = listener.opened.as_ref().filter(|_| listener.accept.is_wanted()) else { return };
        let Ok(peer) = socket::welcome(&socket, &opened.address, &self.settings) else { return };
        // One too many: dropping the socket is the answer.
        let Some(id) = handler.outbox().open() else { return };
        let slot = self.place(id);
        slot.socket = Some(socket);
        slot.stage = Stage::Open;
        slot.wants.receive = true;
        self.line_up(index_of(id));
        self.stats.events += 1;
        self.stats.syscalls += 2;
        handler.accepted(ListenerId(number), id, peer);
    }

    fn on_wake(&mut self, completion: Completion) {
        self.doors.waker.drain();
        self.stats.events += 1;
        self.stats.syscalls += 1;
        if !completion.has_more() {
            self.doors.is_waker_armed = false;
            self.doors.needs_arming = true;
        }
    }

    /// Takes back what a completion gives back, for a transport that is being dropped.
    pub(super) fn discard(&mut self, completion: Completion) {
        let tag = self.note_completion(completion);
        match tag.kind {
            Kind::Send => drop(self.slots[tag.index as usize].send.complete(0)),
            Kind::Accept if completion.result >= 0 => {
                // SAFETY: the kernel has just opened this descriptor for us and told nobody else.
                drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
            }
            _ => {}
        }
    }
}

/// Whether a result is no verdict on the connection: try again.
fn is_passing(result: i32) -> bool {
    matches!(-result, libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN)
}
