//! The faults of the chaos phase.

use super::node::{Inbound, Node};
use super::plan::MS;
use super::{End, Event, Sim};
use crate::ids::{GroupId, NodeId};
use crate::machine::kv::Damage;

/// The classes of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Break,
    Cut,
    Pause,
    Crash,
    Clog,
    /// The nodes fall into two parts that do not hear each other, or one of them not the other, or too late. The core is in
    /// one of them.
    Split,
    /// Another member is told to take over.
    Depose,
    /// A group gets a member more, or less.
    Change,
    /// A node is to hold nothing, or groups again.
    Drain,
    /// The core cannot be reached.
    Outage,
    /// A byte of a state flips.
    Flip,
    /// So many nodes lose their memory at once that groups cannot go on.
    Lose,
}

impl Sim {
    pub(super) fn schedule_fault(&mut self, fault: Fault) {
        let faults = self.plan.faults;
        let mean = match fault {
            Fault::Break => faults.breaks,
            Fault::Cut => faults.cuts,
            Fault::Pause => faults.pauses,
            Fault::Crash => faults.crashes,
            Fault::Clog => faults.clogs,
            Fault::Split => faults.splits,
            Fault::Depose => faults.deposals,
            Fault::Change => faults.changes,
            Fault::Drain => faults.drains,
            Fault::Outage => faults.outages,
            Fault::Flip => faults.flips,
            Fault::Lose => faults.losses,
        };
        if let Some(mean) = mean {
            let at = self.now + self.rng.u64(..2 * mean);
            if at < self.plan.chaos_ns {
                self.schedule(at, Event::Fault(fault));
            }
        }
    }

    pub(super) fn fail(&mut self, fault: Fault) {
        self.report.faults += 1;
        self.trace(6, fault as u64, self.now);
        let count = self.nodes.len();
        let id = NodeId(u16::try_from(self.rng.usize(1..=count)).expect("few nodes"));
        let others = self.other_nodes(id);
        let other = others[self.rng.usize(..others.len())];
        let length = self.rng.u64(..400 * MS);
        match fault {
            Fault::Break => {
                let pairs = self.links.pairs();
                if let Some((one, two)) = self.rng.choice(pairs) {
                    self.end_connection(one, two);
                }
            }
            Fault::Cut => {
                self.links.cut(id, other, self.now + length);
                if self.rng.bool() {
                    self.links.cut(other, id, self.now + length);
                }
                // What comes behind a gap is not delivered by a stream: an ordered connection ends, sooner or later.
                if self.plan.network.is_ordered {
                    self.end_connection(id, other);
                }
            }
            Fault::Pause => {
                if length > crate::time::nanos(self.plan.config.read_lease) {
                    self.note("a node stood still longer than a lease");
                }
                let node = self.nodes.get_mut(&id).expect("a node of the plan");
                node.paused_until = node.paused_until.max(self.now + length);
                if self.rng.bool() {
                    // What arrives until then waits for it, and it hears of nothing that happens later.
                    let at = self.now + self.rng.u64(..4 * MS);
                    self.schedule(at, Event::Isolate { node: id, until: self.now + 2 * length });
                }
            }
            Fault::Crash => self.crash(id, length),
            Fault::Split => self.split(length),
            Fault::Depose => {
                let group = GroupId(self.rng.u32(..self.plan.partitions));
                self.depose(group);
            }
            Fault::Change => {
                self.note("a member was dropped");
                self.place_elsewhere();
            }
            Fault::Drain => {
                let is_wanted = self.rng.bool();
                self.drain(id, is_wanted);
            }
            Fault::Outage => {
                if let Some(core) = &mut self.core {
                    core.out_until = self.now + length;
                }
            }
            Fault::Flip => self.flip(id),
            Fault::Lose => self.lose_memory(length),
            Fault::Clog => {
                if let Some(replica) = self.links.peer(id, other) {
                    // What finds no room before the node notices is lost.
                    self.links.clog(id, other);
                    self.deliver(id, Inbound::Busy(replica));
                    self.schedule(self.now + length / 4, Event::Unclogged { node: id, peer: other });
                }
            }
        }
        self.schedule_fault(fault);
    }

    /// A node hears nobody, and nobody hears it.
    pub(super) fn isolate(&mut self, id: NodeId, until: u64) {
        if self.is_healed {
            return;
        }
        for other in self.other_nodes(id) {
            self.links.cut(id, other, until);
            self.links.cut(other, id, until);
            if self.plan.network.is_ordered {
                self.end_connection(id, other);
            }
        }
        if let Some(core) = &mut self.core {
            core.cut_off(id, until, false);
        }
    }

    /// Deposes the leader that has begun to send a snapshot, before that is installed.
    pub(super) fn disturb_snapshot(&mut self, group: GroupId) {
        let is_chaos = self.plan.faults.deposals.is_some() && self.now < self.plan.chaos_ns;
        if is_chaos && self.now >= self.undisturbed_until {
            // Whoever leads next begins it anew: without a pause, nothing would ever be done but taking over.
            self.undisturbed_until = self.now + 200 * MS;
            let at = self.now + self.rng.u64(..20 * MS);
            self.schedule(at, Event::Depose(group));
        }
    }

    /// Flips a byte that no client ever reads, in the state of a node that the group can do without. One at a time: as long as
    /// it is there, no other node may lose what it holds.
    fn flip(&mut self, id: NodeId) {
        let group = GroupId(self.rng.u32(..self.plan.partitions));
        let is_up = |node: NodeId| self.nodes[&node].engine.is_some();
        let is_bearable = self.core.as_ref().is_some_and(|core| core.can_lose(id, is_up));
        if self.is_damaged() || !is_up(id) || !is_bearable {
            return;
        }
        let key = self.group_key("flip", group);
        let engine = self.nodes.get_mut(&id).and_then(|node| node.engine.as_mut()).expect("it is up");
        if engine.corrupt(group, key.as_bytes(), Damage::Byte) {
            self.damaged = Some((id, group));
            self.note("a byte flipped");
        }
    }

    /// Whether a byte has flipped, and what it is in is still used or not yet replaced.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.is_some_and(|(id, group)| {
            // It is not stopped before it is whole again.
            self.nodes[&id].engine.as_ref().is_some_and(|engine| !engine.is_sound(group))
        })
    }

    fn split(&mut self, length: u64) {
        let until = self.now + length;
        let (inside, outside): (Vec<NodeId>, Vec<NodeId>) =
            self.nodes.keys().copied().partition(|_| self.rng.u8(..3) == 0);
        let (is_one_way, is_stall) = (self.rng.u8(..3) == 0, self.rng.u8(..3) == 0);
        for (one, two) in inside.iter().flat_map(|one| outside.iter().map(move |two| (*one, *two))) {
            for (from, to) in [(one, two), (two, one)].into_iter().take(if is_one_way { 1 } else { 2 }) {
                if is_stall {
                    self.links.stall(from, to, until);
                } else {
                    self.links.cut(from, to, until);
                }
            }
            if is_stall {
                continue;
            }
            if self.plan.network.is_ordered {
                self.end_connection(one, two);
            }
        }
        if let Some(core) = &mut self.core {
            inside.iter().for_each(|node| core.cut_off(*node, until, is_stall));
        }
    }

    pub(super) fn crash(&mut self, id: NodeId, length: u64) {
        let bearable = usize::from(self.plan.nodes) - self.plan.write_quorum;
        let is_bearable = match &self.core {
            Some(core) => core.can_lose(id, |node| self.nodes[&node].engine.is_some()),
            None => self.amnesiacs.contains(&id) || self.amnesiacs.len() < bearable,
        };
        if self.nodes[&id].engine.is_some() && is_bearable && !self.is_damaged() {
            self.amnesiacs.insert(id);
            self.end(id, length);
        }
    }

    /// Ends the process of a node, which is up; another one starts after a while.
    pub(super) fn end(&mut self, id: NodeId, length: u64) {
        let leads = self.groups().any(|group| match &self.core {
            Some(core) => core.active(group).is_some_and(|config| config.leader == id),
            None => self.placement.leader_of(group) == id,
        });
        self.note(if leads { "a leader restarted without memory" } else { "a follower restarted without memory" });
        self.nodes.insert(id, Node::down());
        self.links.forget(id);
        for other in self.other_nodes(id) {
            self.end_connection(id, other);
        }
        // Whoever waited for it learns that the connection is gone, and not what became of the request.
        for client in 0..self.clients.len() {
            let at = self.now + self.links.delay();
            if let Some(token) = self.clients[client].token_at(id) {
                self.schedule(at, Event::Reply { client, token, end: End::Gone { is_sent: true } });
            }
        }
        self.schedule(self.now + length, Event::Restart(id));
    }
}
