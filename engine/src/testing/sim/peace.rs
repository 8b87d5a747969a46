//! The phase behind the chaos: everything is healed, and must come to rest with nothing lost.

use std::collections::{BTreeMap, BTreeSet};

use super::client::Client;
use super::key::{Asked, Generation, KeyOp};
use super::order::{Verdict, explain};
use super::plan::MS;
use super::{LossGen, Report, SEARCH_STEPS_MAX, Sim, WALK_STEPS_MAX};
use crate::engine::Engine;
use crate::group;
use crate::ids::{GroupId, NodeId};
use crate::slots::slot_of;
use crate::testing::history::{Operation, is_linearizable};

impl Sim {
    pub(super) fn heal(&mut self) {
        self.trace(7, 0, self.now);
        self.is_healed = true;
        self.links.heal();
        for node in self.nodes.values_mut() {
            node.paused_until = node.paused_until.min(self.now + MS);
        }
        // One more client reads every key at the end.
        let rng = self.rng.fork();
        let number = u32::try_from(self.clients.len() + 1).expect("few clients");
        self.clients.push(Client::new(number, self.plan.keys, rng));
    }

    /// Whether all groups that can serve do, and all replicas have applied everything.
    pub(super) fn is_settled(&mut self) -> bool {
        if self.clients.iter().any(|client| !client.is_idle()) {
            return false;
        }
        if self.nodes.values().any(|node| node.engine.is_none() || !node.inbox.is_empty()) {
            return false;
        }
        if !self.do_errand() {
            return false;
        }
        if self.is_damaged() {
            return false;
        }
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        if self.core.as_ref().is_some_and(|core| !core.is_settled(&nodes)) {
            return false;
        }
        let mut applied: BTreeMap<GroupId, BTreeSet<_>> = BTreeMap::new();
        for (id, node) in &self.nodes {
            let Some(engine) = &node.engine else { continue };
            for status in engine.status() {
                if self.is_orphan(status.group) {
                    continue;
                }
                if let group::GroupState::Diverged { .. } = status.state {
                    return false;
                }
                if self.leader_of(status.group) == *id
                    && (status.state != group::GroupState::Serving || status.applied < status.last)
                {
                    return false;
                }
                applied.entry(status.group).or_default().insert(status.applied);
            }
        }
        applied.values().all(|indexes| indexes.len() == 1)
    }

    /// Whether a group has lost the only leader that it can have.
    pub(super) fn is_orphan(&self, group: GroupId) -> bool {
        self.core.is_none() && self.amnesiacs.contains(&self.placement.leader_of(group))
    }

    fn leader_of(&self, group: GroupId) -> NodeId {
        let assigned = self.core.as_ref().and_then(|core| core.active(group)).map(|config| config.leader);
        assigned.unwrap_or_else(|| self.placement.leader_of(group))
    }

    /// Has the next errand done; returns whether there was none left. First each group gets one more write, which tells
    /// all its replicas how far it is committed, then every key is read.
    pub(super) fn do_errand(&mut self) -> bool {
        let last = self.groups().map(|group| (self.group_key("last", group), true)).collect::<Vec<_>>();
        let is_read = |key: &&String| !key.starts_with("last") && !key.starts_with("flip");
        let read = self.histories.keys().filter(is_read).map(|key| (key.clone(), false));
        let is_served = |key: &str| !self.is_orphan(self.placement.slots().group_of(slot_of(key.as_bytes())));
        let mut errands = last.into_iter().chain(read).filter(|(key, _)| is_served(key));
        let Some((key, is_write)) = errands.nth(self.errands_done) else { return true };
        self.moment += 1;
        let reader = self.clients.len() - 1;
        // A deletion is never refused for want of memory.
        let asked = if is_write { Asked::Delete } else { Asked::Get };
        let request = self.clients[reader].ask(self.moment, key, asked, group::Level::Commit);
        self.send_request(reader, request);
        false
    }

    pub(super) fn finish(mut self) -> Report {
        assert!(self.is_healed, "the queue ran dry before the chaos was over");
        for node in self.nodes.values() {
            node.engine.as_ref().expect("all nodes are up").check();
        }
        for client in &mut self.clients {
            client.lose(LossGen::MAX, None, &mut self.histories);
        }
        for (key, history) in &self.histories {
            for generation in history.generations() {
                self.report.undecided += u64::from(!is_decided(key, &generation));
            }
        }
        self.report.simulated_ns = self.now;
        self.report
    }

    /// Ends a run whose cluster does not come to rest.
    pub(super) fn give_up(&self, why: &str) -> ! {
        let mut lines = Vec::new();
        for (id, node) in &self.nodes {
            let groups = node.engine.as_ref().map(Engine::status).unwrap_or_default();
            lines.push(format!("node {id}: inbox {}, clock {:?}", node.inbox.len(), self.clock(*id)));
            for group::GroupStatus { group, state, last, commit, applied, members, waiter_count, .. } in groups {
                let members = members.iter().map(|member| {
                    format!("{} {:?} {:?} {}", member.node, member.incarnation, member.standing, member.matched)
                });
                let members = members.collect::<Vec<_>>().join(", ");
                lines.push(format!(
                    "  group {group}: {state:?}, last {last}, commit {commit}, applied {applied}, {waiter_count} waiters; {members}"
                ));
            }
        }
        for group in self.groups() {
            let record = self.core.as_ref().and_then(|core| core.state.group(group));
            lines.push(format!("core: group {group}: {record:?}"));
        }
        let busy = self.clients.iter().filter(|client| !client.is_idle());
        lines.extend(busy.map(|client| format!("{client:?}")));
        panic!(
            "{why}, and the cluster has not come to rest at {} ns:\n{}\n{:?}",
            self.now,
            lines.join("\n"),
            self.plan
        );
    }
}

/// Returns whether it could be decided if one copy of a key answers like this; it is judged by the order of the log and by
/// any order.
///
/// # Panics
/// If none does.
fn is_decided(key: &str, generation: &Generation) -> bool {
    let history = generation.history();
    let by_log = explain(generation, WALK_STEPS_MAX);
    if let Verdict::AgainstTime | Verdict::Impossible = by_log {
        panic!("the order of the log does not explain {key}, {by_log:?}:\n{}", listing(&history));
    }
    let by_search = is_linearizable(&generation.model, &history, SEARCH_STEPS_MAX);
    assert!(by_search != Ok(false), "no single copy answers like this for {key}:\n{}", listing(&history));
    by_log == Verdict::Explained || by_search.is_ok()
}

/// Returns a history for people to read.
fn listing(history: &[Operation<KeyOp>]) -> String {
    let mut lines: Vec<&Operation<KeyOp>> = history.iter().collect();
    lines.sort_by_key(|operation| operation.called);
    lines.iter().map(|operation| format!("{operation:?}\n")).collect()
}
