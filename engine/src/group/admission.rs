//! What a leader refuses before it appends: requests that break a limit, and those that there is no room for.
//!
//! Whatever is refused here certainly never happens.
//!
//! # Bounds
//! For each write that is appended and not applied yet the most that it can take is reserved, so what the groups led
//! here hold stays below the limit on memory whatever comes together. How long a string becomes by an append of text
//! depends on what comes before; that limit is put into the command, and decides when it is applied.

use core::time::Duration;

use crate::config::Settings;
use crate::entry::BODY_BYTES_MAX;
use crate::machine::command::{Command, Op, items};
use crate::machine::growth::{growth_max, range_end};
use crate::output::{Bottleneck, Refusal};

use super::{Leading, Request, Shared};

/// When a client that was refused for want of room may try again.
pub(super) const RETRY_AFTER: Duration = Duration::from_micros(500);

/// Returns the first limit that a command breaks.
#[expect(clippy::wildcard_enum_match_arm, reason = "most commands have a key and at most one value")]
pub(super) fn broken_limit(settings: &Settings, command: &Command<'_>) -> Option<Refusal> {
    let (key_max, value_max) = (settings.key_bytes_max, settings.value_bytes_max);
    let key = |key: &[u8]| (key.len() > key_max).then_some(Refusal::KeyTooLong { len: key.len(), max: key_max });
    let value = |len: usize| (len > value_max).then_some(Refusal::ValueTooLarge { len, max: value_max });
    let list = items(command.value);
    match command.op {
        Op::SetMany => list.enumerate().find_map(|(n, item)| if n % 2 == 0 { key(item) } else { value(item.len()) }),
        Op::Delete | Op::GetMany | Op::Exists => list.map(key).find_map(|refusal| refusal),
        Op::SetRange => key(command.key).or_else(|| range_end(command).and_then(value)),
        Op::HashSet | Op::HashDelete | Op::HashIncrementFloat | Op::HashGetMany => {
            key(command.key).or_else(|| list.map(|item| value(item.len())).find_map(|refusal| refusal))
        }
        _ => key(command.key).or_else(|| value(command.value.len())),
    }
}

impl Leading<'_> {
    /// Whether there is room for a write: returns how many bytes are to be reserved for it.
    pub(super) fn check_room(
        &self,
        shared: &Shared,
        request: &Request<'_>,
        command: &Command<'_>,
    ) -> Result<usize, Refusal> {
        let settings = &shared.settings;
        let (have, need) = (self.leader.reachable(), self.config.write_quorum);
        if have < need {
            return Err(Refusal::NoQuorum { group: self.config.group, have, need });
        }
        let overload = |what| Refusal::Overload { what, retry_after: RETRY_AFTER };
        if shared.waiter_count >= settings.waiters_max {
            return Err(overload(Bottleneck::Waiters));
        }
        let (len, uncommitted_max) = (request.command.len(), settings.uncommitted_bytes_max());
        let max = uncommitted_max.min(BODY_BYTES_MAX);
        if len > max {
            // No waiting would make room for it.
            return Err(Refusal::CommandTooLarge { len, max });
        }
        if self.leader.uncommitted.bytes + len > uncommitted_max {
            return Err(overload(Bottleneck::Uncommitted));
        }
        let (used, growth) = (shared.used_bytes + shared.reserved_bytes, growth_max(command));
        if growth > 0 && used + growth > settings.memory_bytes_max {
            return Err(Refusal::OutOfMemory { used, max: settings.memory_bytes_max });
        }
        Ok(growth)
    }
}
