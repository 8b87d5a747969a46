//! What this node wants of the core, one operation after another, each said again until it is heard how it has ended.

use std::time::Duration;

use quorate_engine::control::core::CoreInput;
use quorate_engine::control::operation::{Operation, Outcome};
use quorate_engine::ids::ReplicaId;
use quorate_engine::time::Instant;

use super::Control;
use super::exchange::Wanted;
use super::words::ToCore;

/// How long an operation may stay unanswered before it is said again.
const OPERATE_EVERY: Duration = Duration::from_millis(100);

/// An operation that is said again until its outcome is heard.
pub(super) struct Wish {
    pub(super) wanted: Wanted,
    pub(super) number: u64,
    pub(super) say_at: Instant,
    /// When whoever wanted it has given it up.
    pub(super) until: Instant,
}

impl Control {
    /// Says what is wanted of the core, one operation after another.
    pub(super) fn pass_on_wishes(&mut self) {
        let Some(from) = self.run else { return };
        self.wish.take_if(|wish| wish.until <= self.now);
        if self.wish.is_none() {
            let wanted = self.announcement().or_else(|| self.shared.exchange.take_wanted()).or_else(|| self.reports());
            let Some(wanted) = wanted else { return };
            self.wish_count += 1;
            let until = match wanted.by {
                Some(_) => self.now.saturating_add(self.facts.settings.limits().request_timeout),
                // What has happened is not given up.
                None => Instant(u64::MAX),
            };
            self.wish = Some(Wish { wanted, number: self.wish_count, say_at: self.now, until });
        }
        let Some(wish) = self.wish.as_mut().filter(|wish| wish.say_at <= self.now) else { return };
        wish.say_at = self.now.saturating_add(OPERATE_EVERY);
        let (number, operation) = (wish.number, wish.wanted.operation.clone());
        self.say_to_core(&ToCore::Operate { from, number, operation: operation.clone() });
        self.input(CoreInput::Operate { from, number, operation });
    }

    /// Returns what is to be said once: where this node is reached, if it knows that itself.
    fn announcement(&mut self) -> Option<Wanted> {
        if core::mem::replace(&mut self.is_announced, true) {
            return None;
        }
        let doors = self.facts.settings.listen().advertised();
        if doors.is_none() {
            tracing::warn!(
                node = self.facts.node.0,
                "a door listens on all addresses, and listen.advertise does not say under which one others reach this node: those \
                 that do not list it under [[peers]] cannot"
            );
        }
        Some(Wanted { by: None, operation: Operation::Announce(doors?) })
    }

    /// Returns what is to be reported to the core, if there is something.
    fn reports(&self) -> Option<Wanted> {
        let events = self.shared.exchange.take_reports();
        (!events.is_empty()).then_some(Wanted { by: None, operation: Operation::Report(events) })
    }

    pub(super) fn hear_outcome(&mut self, to: ReplicaId, number: u64, outcome: Outcome) {
        let is_mine = |wish: &mut Wish| self.run == Some(to) && wish.number == number;
        if let Some(Wish { wanted, .. }) = self.wish.take_if(is_mine) {
            if let Some((cpu, key)) = wanted.by {
                self.shared.exchange.post_outcome(cpu, key, outcome);
            }
            self.pass_on_wishes();
        }
    }
}
