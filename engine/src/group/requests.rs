//! What a leader does with requests: it refuses them, appends them, answers them, or has them wait.
//!
//! # Time and units
//! Deadlines are on the leader's monotonic clock, counted from when it received the request.

use core::time::Duration;

use crate::entry::EntryKind;
use crate::ids::{LogIndex, ReplicaId};
use crate::machine::answer::AnswerSink;
use crate::machine::command::{Command, Op, with_number};
use crate::machine::kv::Moment;
use crate::output::{Bottleneck, Ended, Refusal, Token};
use crate::planted;
use crate::replication::founding::Verdict;
use crate::time::{Instant, nanos};

use super::admission::{RETRY_AFTER, broken_limit};
use super::leader::{Leader, NewEntry};
use super::{Leading, Level, Request, Shared, Submitted};

impl Leading<'_> {
    pub(super) fn submit(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        request: &Request<'_>,
    ) -> Result<Submitted, Refusal> {
        let command = Command::decode(request.command).expect("the host checks commands where they enter");
        if !self.config.slots.contains(request.slot) {
            // Followers would refuse it for ever, with all that follows it.
            return Err(Refusal::NotHere { group: self.config.group });
        }
        self.check_serving()?;
        if let Some(refusal) = broken_limit(&shared.settings, &command) {
            return Err(refusal);
        }
        if command.op == Op::WaitAcks {
            return self.submit_wait(shared, now, request.token, &command);
        }
        if !command.op.is_write() {
            return self.submit_read(shared, now, request, &command);
        }
        let growth = self.check_room(shared, request, &command)?;
        let limit = (shared.settings.value_bytes_max as u64).to_le_bytes();
        let (whole, limited) = ([request.command], with_number(request.command, &limit));
        let body: &[&[u8]] = if command.op == Op::Append { &limited } else { &whole };
        let entry = NewEntry { kind: EntryKind::Command, slot: request.slot, body, growth };
        let Ok(id) = self.append(shared, now, &entry) else { return Ok(Submitted::LogFull) };
        match request.level {
            Level::Accepted => shared.outputs.reply(request.token, Ended::Accepted { id }),
            Level::Commit => {
                let deadline = now.saturating_add(shared.settings.request_timeout);
                self.leader.waiting.add_write(id.index, request.token, deadline);
                shared.waiter_count += 1;
            }
        }
        Ok(Submitted::Taken)
    }

    fn check_serving(&self) -> Result<(), Refusal> {
        let group = self.config.group;
        match self.leader.verdict(self.config) {
            Verdict::Founded => Ok(()),
            Verdict::Waiting { have, need } => Err(Refusal::NoQuorum { group, have, need }),
            Verdict::Refused { earlier, witnesses } => {
                let missing = ReplicaId { node: self.config.leader, incarnation: earlier };
                Err(Refusal::Unavailable { group, missing, witnesses })
            }
        }
    }

    fn submit_read(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        request: &Request<'_>,
        command: &Command<'_>,
    ) -> Result<Submitted, Refusal> {
        let lease_end = self.leader.lease_end(self.config, &shared.settings, now);
        let lease = nanos(shared.settings.read_lease);
        if lease_end.0 < now.0 + lease / 2 {
            self.leader.wants_lease = true;
        }
        let after = request.after.min(self.replica.log.last());
        let may_read = self.leader.may_read(self.replica.commit);
        let is_leased = now < lease_end || planted::is(1);
        if may_read && is_leased && after <= self.replica.applied.index {
            self.answer_read(shared, now, request.token, command);
            return Ok(Submitted::Taken);
        }
        let (have, need) = (self.leader.reachable(), self.config.write_quorum);
        if have < need {
            return Err(Refusal::NoQuorum { group: self.config.group, have, need });
        }
        if shared.waiter_count >= shared.settings.waiters_max {
            return Err(Refusal::Overload { what: Bottleneck::Waiters, retry_after: RETRY_AFTER });
        }
        let deadline = now.saturating_add(shared.settings.request_timeout);
        self.leader.waiting.add_read(after, request.token, deadline, request.command);
        shared.waiter_count += 1;
        Ok(Submitted::Taken)
    }

    pub(super) fn answer_read(&mut self, shared: &mut Shared, now: Instant, token: Token, command: &Command<'_>) {
        let moment = Moment { time: self.leader.log_time(now) };
        if planted::is(4) && self.answer_uncommitted(shared, token, command) {
            return;
        }
        let (replica, bytes_max) = (&*self.replica, shared.settings.answer_bytes_max);
        shared.outputs.done(token, |out| {
            AnswerSink::bounded(out, bytes_max, |answer| replica.kv.read(moment, command, answer));
            replica.applied
        });
    }

    /// Planted bug 4: answers a read with the last value that was appended, committed or not.
    fn answer_uncommitted(&self, shared: &mut Shared, token: Token, command: &Command<'_>) -> bool {
        let mut found = None;
        self.replica.visit_uncommitted(&shared.pool, |entry| {
            let write = Command::decode(entry.body()).ok();
            if let Some(write) = write.filter(|write| write.op == Op::Set && write.key == command.key) {
                found = Some((write.value.to_vec(), entry.id()));
            }
        });
        let Some((value, id)) = found.filter(|_| command.op == Op::Get) else { return false };
        shared.outputs.done(token, |out| {
            AnswerSink::into(out).bulk(&value);
            id
        });
        true
    }

    fn submit_wait(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        token: Token,
        command: &Command<'_>,
    ) -> Result<Submitted, Refusal> {
        if shared.waiter_count >= shared.settings.waiters_max {
            return Err(Refusal::Overload { what: Bottleneck::Waiters, retry_after: RETRY_AFTER });
        }
        let index = LogIndex(u64::try_from(command.time).unwrap_or(0)).min(self.replica.log.last());
        let need = usize::try_from(command.number).unwrap_or(0);
        // The timeout stands in the value: 8 bytes, nanoseconds; 0 waits as long as any request may.
        let timeout = command.value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let longest = shared.settings.request_timeout;
        let timeout = if timeout == 0 { longest } else { Duration::from_nanos(timeout).min(longest) };
        self.leader.waiting.add_acks(index, need, token, now.saturating_add(timeout));
        shared.waiter_count += 1;
        self.complete_ack_waits(shared, now);
        Ok(Submitted::Taken)
    }

    pub(super) fn complete_ack_waits(&mut self, shared: &mut Shared, now: Instant) {
        let Leader { waiting, peers, .. } = &mut *self.leader;
        let holders = |index| peers.iter().filter(|peer| peer.voted >= index).count();
        while let Some(waiter) = waiting.take_acks(now, holders) {
            shared.waiter_count -= 1;
            let applied = self.replica.applied;
            shared.outputs.done(waiter.token, |out| {
                AnswerSink::into(out).count(holders(waiter.index));
                applied
            });
        }
    }
}
