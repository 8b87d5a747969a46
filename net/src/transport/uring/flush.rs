//! From the outbox to the submission queue: what the handler asked for, and what has to be armed again.
//!
//! Slots note what they want and line up; the line moves as far as the submission queue has room, and a full queue is
//! entered once to make some. What finds no room stays in line for the next turn (U1).
#![expect(unsafe_code, reason = "submissions point to memory that the kernel reads and writes later")]

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, RawFd};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};

use super::super::CloseReason;
use super::super::address::Address;
use super::super::outbox::{Close, ConnId, Delivery, Outbox, Phase};
use super::super::socket::{self, Blocking};
use super::receive::GROUP;
use super::ring::QueueFull;
use super::slot::{Kind, Receive, Stage, Tag};
use super::{Accept, UringTransport, index_of};
use crate::clock;

/// A peer that is gone is an error to us, not a signal.
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;

impl UringTransport {
    /// Fills the submission queue with what is wanted.
    pub(super) fn prepare(&mut self, outbox: &mut Outbox) {
        if !outbox.is_idle() {
            let mut list = std::mem::take(&mut self.lists.scratch);
            outbox.take_touched(&mut list);
            for &index in &list {
                self.review(index, outbox);
            }
            list.clear();
            self.lists.scratch = list;
        }
        if self.doors.needs_arming {
            self.arm_listeners();
        }
        while let Some(&index) = self.lists.work.front() {
            if self.submit_wants(index, outbox) == Err(QueueFull) {
                self.enter();
                if self.ring.is_full() {
                    return;
                }
                continue;
            }
            self.lists.work.pop_front();
            self.slots[index as usize].is_listed = false;
        }
    }

    /// Decides what the connection at `index` needs now.
    pub(super) fn review(&mut self, index: u32, outbox: &mut Outbox) {
        if let Some(address) = outbox.take_dial(index) {
            self.dial(outbox.conn(index), &address);
        }
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.id != outbox.conn(index) {
            return;
        }
        match (slot.stage, outbox.phase(slot.id)) {
            (Stage::Dialling | Stage::Open, Some(Phase::Closing(Close::Now))) => self.finish(index, CloseReason::Asked),
            (Stage::Open, Some(Phase::Live)) => {
                self.review_reading(index, outbox);
                self.review_output(index, outbox);
            }
            (Stage::Open, Some(Phase::Closing(Close::AfterFlush))) => self.close_after_flush(index, outbox),
            (Stage::Dialling, Some(Phase::Closing(Close::AfterFlush))) => self.be_patient(index),
            _ => {}
        }
    }

    fn review_reading(&mut self, index: u32, outbox: &Outbox) {
        let slot = &mut self.slots[index as usize];
        match outbox.reading(index) {
            Delivery::Deliver => {
                if slot.held.is_some() {
                    self.lists.resumed.push(index);
                }
                if slot.receive == Receive::Idle && !slot.is_read_to_end {
                    slot.wants.receive = true;
                    self.line_up(index);
                }
            }
            Delivery::Hold if slot.receive == Receive::Armed => {
                slot.wants.stop_receive = true;
                self.line_up(index);
            }
            Delivery::Hold => slot.wants.receive = false,
            Delivery::Discard => {}
        }
    }

    /// Sends what is queued. A plain call does it as long as the socket has room: on loopback it was 5 % of a write's
    /// whole way faster than a submission, and no slower with 256 connections in a turn. What it leaves is lent to the
    /// kernel, which sends it when there is room again.
    fn review_output(&mut self, index: u32, outbox: &mut Outbox) {
        outbox.note_high(index);
        let slot = &mut self.slots[index as usize];
        if slot.send.is_free()
            && !outbox.output(index).is_empty()
            && let Some(socket) = &slot.socket
        {
            self.stats.syscalls += 1;
            match socket.send_with_flags(outbox.output(index), SEND_FLAGS | libc::MSG_DONTWAIT) {
                Ok(count) => {
                    self.stats.bytes_sent += count as u64;
                    outbox.advance_output(index, count);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    return self.finish(index, CloseReason::Broken { errno });
                }
            }
        }
        if slot.send.is_loaded() || (slot.send.is_free() && !outbox.output(index).is_empty()) {
            slot.wants.send = true;
            self.line_up(index);
        }
        if outbox.note_queued(index) {
            self.pending.drained(self.slots[index as usize].id);
        }
    }

    pub(super) fn line_up(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.is_listed {
            slot.is_listed = true;
            self.lists.work.push_back(index);
        }
    }

    /// Submits what the slot wants, as far as the queue has room.
    fn submit_wants(&mut self, index: u32, outbox: &mut Outbox) -> Result<(), QueueFull> {
        let Some(fd) = self.slots[index as usize].socket.as_ref().map(|socket| socket.as_raw_fd()) else {
            self.slots[index as usize].wants = super::slot::Wants::default();
            return Ok(());
        };
        let wants = self.slots[index as usize].wants;
        if wants.connect {
            self.submit_connect(index, fd)?;
            self.slots[index as usize].wants.connect = false;
        }
        if wants.send {
            self.submit_send(index, fd, outbox)?;
            self.slots[index as usize].wants.send = false;
        }
        if wants.receive {
            self.submit_receive(index, fd)?;
            self.slots[index as usize].wants.receive = false;
        }
        if wants.stop_receive {
            self.submit_stop_receive(index)?;
            self.slots[index as usize].wants.stop_receive = false;
        }
        if wants.cancel_all {
            let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(fd)).all()).build();
            self.submit_for(index, Kind::Cancel, entry)?;
            self.slots[index as usize].wants.cancel_all = false;
        }
        Ok(())
    }

    fn submit_connect(&mut self, index: u32, fd: RawFd) -> Result<(), QueueFull> {
        let target = self.slots[index as usize].target.as_ref().expect("a dialling slot keeps its target");
        let entry = opcode::Connect::new(Fd(fd), target.as_ptr().cast(), target.len()).build();
        self.submit_for(index, Kind::Connect, entry)
    }

    fn submit_send(&mut self, index: u32, fd: RawFd, outbox: &mut Outbox) -> Result<(), QueueFull> {
        if self.ring.is_full() {
            return Err(QueueFull);
        }
        let slot = &mut self.slots[index as usize];
        if slot.send.is_free() {
            if outbox.output(index).is_empty() {
                return Ok(());
            }
            let (bytes, sent) = outbox.lend_output(index);
            slot.send.load(bytes, sent);
        }
        if !slot.send.is_loaded() {
            return Ok(());
        }
        let (start, len) = slot.send.submit();
        let entry = opcode::Send::new(Fd(fd), start, len).flags(SEND_FLAGS).build();
        self.submit_for(index, Kind::Send, entry)
    }

    fn submit_receive(&mut self, index: u32, fd: RawFd) -> Result<(), QueueFull> {
        let slot = &self.slots[index as usize];
        let is_wanted = matches!(slot.stage, Stage::Open | Stage::Lingering) && !slot.is_read_to_end;
        if slot.receive != Receive::Idle || !is_wanted {
            return Ok(());
        }
        self.submit_for(index, Kind::Receive, opcode::RecvMulti::new(Fd(fd), GROUP).build())?;
        self.slots[index as usize].receive = Receive::Armed;
        Ok(())
    }

    fn submit_stop_receive(&mut self, index: u32) -> Result<(), QueueFull> {
        if self.slots[index as usize].receive != Receive::Armed {
            return Ok(());
        }
        let receive = Tag { kind: Kind::Receive, index };
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(receive.to_bits())).build();
        self.submit_for(index, Kind::Cancel, entry)?;
        self.slots[index as usize].receive = Receive::Stopping;
        Ok(())
    }

    fn submit_for(&mut self, index: u32, kind: Kind, entry: squeue::Entry) -> Result<(), QueueFull> {
        self.submit(Tag { kind, index }, entry)?;
        self.slots[index as usize].submissions += 1;
        Ok(())
    }

    fn submit(&mut self, tag: Tag, entry: squeue::Entry) -> Result<(), QueueFull> {
        // SAFETY: 1. a send points into a `KernelSend`, which keeps the bytes until their completion; a connect into the
        // slot's `target`, kept while the slot has submissions; a receive names the group of `ReceiveBuffers`; the others
        // point nowhere. On drop all of these are kept for ever unless `in_flight` is 0 (U2). 2. a slot's descriptor is
        // open while it has submissions (S1), a listener's until its accept has ended, the waker's as long as the ring.
        unsafe { self.ring.push(&entry.user_data(tag.to_bits())) }?;
        self.in_flight += 1;
        Ok(())
    }

    /// Arms or stops what has to be; leaves the rest for the next turn if the queue is full.
    fn arm_listeners(&mut self) {
        if !self.doors.is_waker_armed {
            let readable = u32::from(libc::POLLIN.unsigned_abs());
            let entry = opcode::PollAdd::new(Fd(self.doors.waker.as_raw_fd()), readable).multi(true).build();
            if self.submit(Tag { kind: Kind::Wake, index: 0 }, entry).is_err() {
                return;
            }
            self.doors.is_waker_armed = true;
        }
        let mut has_retry = false;
        for number in 0..self.doors.listeners.len() {
            let tag = Tag { kind: Kind::Accept, index: u32::try_from(number).expect("listen() checked it") };
            let listener = &mut self.doors.listeners[number];
            if listener.retry_at.is_some_and(|at| clock::now() < at) {
                has_retry = true;
                continue;
            }
            let (entry, tag, next) = match (listener.accept, &listener.opened) {
                (Accept::Idle, Some(opened)) => {
                    let fd = Fd(opened.socket.as_raw_fd());
                    (opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(), tag, Accept::Armed)
                }
                (Accept::Stopping, _) => {
                    let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(tag.to_bits())).build();
                    (entry, Tag { kind: Kind::Forgotten, ..tag }, Accept::Cancelled)
                }
                _ => continue,
            };
            if self.submit(tag, entry).is_err() {
                return;
            }
            let listener = &mut self.doors.listeners[number];
            listener.accept = next;
            listener.retry_at = None;
        }
        self.doors.needs_arming = has_retry;
    }

    pub(super) fn push_cancel_any(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        if self.ring.is_full() {
            self.ring.enter();
        }
        // If the queue is still full, closing the ring is what cancels.
        let _ = self.submit(Tag { kind: Kind::Forgotten, index: 0 }, entry);
    }
}

/// Opening and closing.
impl UringTransport {
    fn dial(&mut self, id: ConnId, address: &Address) {
        match socket::dial(address, &self.settings, Blocking::Yes) {
            Ok((socket, target)) => {
                let slot = self.place(id);
                slot.socket = Some(socket);
                slot.target = Some(Box::new(target));
                slot.stage = Stage::Dialling;
                slot.wants.connect = true;
                self.line_up(index_of(id));
            }
            Err(error) => {
                self.place(id).stage = Stage::Gone;
                self.pending.closed(id, unreachable_because(&error));
            }
        }
    }

    fn close_after_flush(&mut self, index: u32, outbox: &mut Outbox) {
        self.review_output(index, outbox);
        let slot = &mut self.slots[index as usize];
        if slot.stage != Stage::Open {
            return;
        }
        if !slot.send.is_free() || !outbox.output(index).is_empty() {
            return self.be_patient(index);
        }
        if slot.is_read_to_end {
            return self.finish(index, CloseReason::Ended);
        }
        // Whoever closes a socket with unread input resets the connection, and the peer may lose our last answer. So end
        // our side, and discard until the peer ends its own.
        let Some(socket) = &slot.socket else { return };
        self.stats.syscalls += 1;
        if socket.shutdown(Shutdown::Write).is_err() {
            return self.finish(index, CloseReason::Asked);
        }
        let is_ended = slot.held.take().is_some_and(|held| held.has_ended);
        slot.stage = Stage::Lingering;
        slot.wants.receive = slot.receive == Receive::Idle;
        let id = slot.id;
        self.pending.closed(id, CloseReason::Asked);
        if is_ended {
            return self.drain(index, outbox);
        }
        self.line_up(index);
        self.be_patient(index);
    }

    fn be_patient(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.is_timed {
            slot.is_timed = true;
            self.grace.begin(slot.id, clock::now());
        }
    }

    pub(super) fn end_grace(&mut self, outbox: &mut Outbox) {
        let now = clock::now();
        while let Some(id) = self.grace.take_expired(now) {
            match (self.slots[id.index()].stage, outbox.phase(id)) {
                (_, None) => {}
                (Stage::Lingering, _) => self.drain(index_of(id), outbox),
                (Stage::Open | Stage::Dialling, _) => self.finish(index_of(id), CloseReason::Asked),
                _ => {}
            }
        }
    }

    /// Ends a connection of which `closed` is still to be said.
    pub(super) fn finish(&mut self, index: u32, reason: CloseReason) {
        let slot = &mut self.slots[index as usize];
        assert!(matches!(slot.stage, Stage::Open | Stage::Dialling), "T1: {:?} finished in {:?}", slot.id, slot.stage);
        let id = slot.id;
        self.begin_drain(index);
        self.pending.closed(id, reason);
    }

    /// Ends a connection of which `closed` has been said, or is about to be.
    pub(super) fn drain(&mut self, index: u32, outbox: &mut Outbox) {
        self.begin_drain(index);
        self.settle(index, outbox);
    }

    fn begin_drain(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.stage = Stage::Draining;
        slot.held = None;
        slot.wants = super::slot::Wants::default();
        drop(slot.send.orphan());
        if slot.submissions == 0 {
            return;
        }
        if let Some(socket) = &slot.socket {
            self.stats.syscalls += 1;
            // Wakes what a cancel may find running. It may not be connected, which is what we want.
            let _ = socket.shutdown(Shutdown::Both);
        }
        slot.wants.cancel_all = true;
        self.line_up(index);
    }

    /// Closes the descriptor of an ended connection when the kernel holds nothing of it, and gives the index back when
    /// `closed` has been said too (S1, O1).
    pub(super) fn settle(&mut self, index: u32, outbox: &mut Outbox) {
        let slot = &mut self.slots[index as usize];
        if slot.stage == Stage::Draining && slot.submissions == 0 {
            assert!(slot.send.is_free() && slot.receive == Receive::Idle, "S1: {:?} has something in flight", slot.id);
            slot.stage = Stage::Gone;
            slot.socket = None;
            slot.target = None;
            self.stats.syscalls += 1;
        }
        if slot.stage == Stage::Gone && outbox.phase(slot.id) == Some(Phase::Retired) {
            slot.stage = Stage::Vacant;
            outbox.release(index);
        }
    }
}

pub(super) fn unreachable_because(error: &io::Error) -> CloseReason {
    CloseReason::Unreachable { errno: error.raw_os_error().unwrap_or(libc::EIO) }
}
