//! What a leader sends its peers at the end of a turn: entries, or what it takes to find out which ones they need, or the
//! state as it is.
//!
//! # Source
//! The replication protocol, section 1.5; snapshots: the design, section 4.

use crate::ids::{EntryId, LogIndex, ReplicaId};
use crate::machine::snapshot::Damaged;
use crate::message::StreamId;
use crate::output::{AppendFrame, ChunkHead};
use crate::planted;
use crate::replication::progress::Progress;
use crate::time::Instant;

use super::divergence::OwnFault;
use super::{Leading, Shared};

impl Leading<'_> {
    /// Sends one peer what it can take.
    pub(super) fn send_to(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        position: usize,
        peer: usize,
        wants_lease: bool,
    ) {
        let Some(to) = self.leader.peers[peer].replica() else { return };
        if shared.busy.contains(&to.node) {
            return;
        }
        match &self.leader.peers[peer].progress {
            Progress::Lost | Progress::Snapshot(_) => {}
            Progress::Probe { next, is_sent } => {
                let (next, is_sent) = (*next, *is_sent);
                if !is_sent {
                    self.send_probe(shared, now, position, peer, next);
                }
            }
            Progress::Replicate { next } => {
                let next = *next;
                if self.send_entries(shared, now, position, peer, next) == 0 && wants_lease {
                    self.send_empty(shared, now, position, peer);
                }
            }
        }
        // It may have begun just now: nothing else may happen in this group that would send it.
        if let Progress::Snapshot(_) = self.leader.peers[peer].progress {
            self.send_snapshot(shared, now, position, peer, to);
        }
    }

    fn send_probe(&mut self, shared: &mut Shared, now: Instant, position: usize, peer: usize, next: LogIndex) {
        let prev = next.previous();
        let Some(epoch) = self.replica.log.epoch_at(&shared.pool, prev) else {
            // What it would have to be asked about has left the log.
            return self.begin_snapshot(shared, peer, now);
        };
        let message_epoch = self.epoch();
        let peer = &mut self.leader.peers[peer];
        let Some(to) = peer.replica() else { return };
        let prev = EntryId { epoch, index: prev };
        // The commit index counts as far as the logs match, which the receiver finds out. It must be here: a follower whose
        // log is full has room again only once it may apply.
        let frame = AppendFrame { prev, commit: self.replica.commit, sent: now, last: prev.index };
        shared.outputs.append(to, position, message_epoch, StreamId::LIVE, frame);
        peer.progress = Progress::Probe { next, is_sent: true };
        peer.heard = now;
    }

    /// Sends an append without entries: it carries the commit index and renews the lease.
    fn send_empty(&mut self, shared: &mut Shared, now: Instant, position: usize, peer: usize) {
        let message_epoch = self.epoch();
        let peer = &mut self.leader.peers[peer];
        let (Some(to), Progress::Replicate { next }) = (peer.replica(), &peer.progress) else { return };
        let prev = next.previous();
        let Some(epoch) = self.replica.log.epoch_at(&shared.pool, prev) else { return };
        let prev = EntryId { epoch, index: prev };
        let frame = AppendFrame { prev, commit: self.replica.commit, sent: now, last: prev.index };
        shared.outputs.append(to, position, message_epoch, StreamId::LIVE, frame);
        peer.told_commit = self.replica.commit;
    }

    /// Sends the entries from `next` on that fit into the window; returns how many bytes.
    fn send_entries(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        position: usize,
        peer: usize,
        next: LogIndex,
    ) -> usize {
        let stream = match &self.leader.peers[peer].progress {
            Progress::Snapshot(send) => send.stream,
            Progress::Lost | Progress::Probe { .. } | Progress::Replicate { .. } => StreamId::LIVE,
        };
        let message_epoch = self.epoch();
        let (mut next, mut sent_bytes) = (next, 0);
        let last = self.replica.log.last();
        while next <= last {
            let Some(epoch) = self.replica.log.epoch_at(&shared.pool, next.previous()) else {
                // It is behind the start of the log.
                self.begin_snapshot(shared, peer, now);
                return sent_bytes;
            };
            let peer = &mut self.leader.peers[peer];
            let window = peer.window_left(shared.settings.window_bytes).min(shared.settings.append_bytes_max);
            let (Some(to), true) = (peer.replica(), window > 0) else { break };
            let (through, bytes) = self.replica.log.piece(&shared.pool, next..=last, window);
            let prev = EntryId { epoch, index: next.previous() };
            let frame = AppendFrame { prev, commit: self.replica.commit, sent: now, last: through };
            shared.outputs.append(to, position, message_epoch, stream, frame);
            peer.told_commit = self.replica.commit;
            peer.on_sent(through, bytes, now);
            sent_bytes += bytes;
            next = through.next();
            match &mut peer.progress {
                Progress::Replicate { next: position } => *position = next,
                Progress::Snapshot(send) => send.next = next,
                Progress::Lost | Progress::Probe { .. } => {}
            }
        }
        sent_bytes
    }

    /// Sends entries, and once all are out, the next chunks.
    fn send_snapshot(&mut self, shared: &mut Shared, now: Instant, position: usize, peer: usize, to: ReplicaId) {
        let Progress::Snapshot(send) = &self.leader.peers[peer].progress else { return };
        if self.leader.stuck().is_some() {
            // Whoever copied a state that may be wrong would agree with it.
            return;
        }
        let (stream, next, sent) = (send.stream, send.next, send.sent);
        // The first chunk starts the log at the other end: entries can only follow it.
        if sent > 0 {
            self.send_entries(shared, now, position, peer, next);
        }
        let (message_epoch, applied, time) = (self.epoch(), self.replica.applied, self.replica.time);
        let (chunk_bytes, in_flight) = (shared.settings.chunk_bytes, shared.settings.chunks_in_flight);
        let Progress::Snapshot(send) = &mut self.leader.peers[peer].progress else { return };
        if send.sent == 0 {
            // The log at the other end starts behind what is applied now, not when the snapshot was decided on.
            (send.base, send.next) = (applied, applied.index.next());
            if planted::is(15) && self.replica.log.last() > applied.index {
                let late = applied.index.next();
                let epoch = self.replica.log.epoch_at(&shared.pool, late).expect("it is behind what is applied");
                (send.base, send.next) = (EntryId { epoch, index: late }, late.next());
            }
        }
        let is_room = send.sent - send.acked < in_flight;
        if send.stream != stream || send.is_complete || send.next <= applied.index || !is_room {
            return;
        }
        let kv = &self.replica.kv;
        let chunk = shared.outputs.chunk(to, position, message_epoch, |out| {
            let is_last = send.cursor.take(kv, chunk_bytes, out)?;
            let sequence = send.sent;
            send.sent += 1;
            send.is_complete = is_last;
            let at = applied.max(if planted::is(15) { send.base } else { applied });
            Ok(ChunkHead { stream, sequence, is_last, base: send.base, at, time })
        });
        if let Err(Damaged) = chunk {
            self.leader.own_fault = Some(OwnFault::Damaged);
        }
    }
}
