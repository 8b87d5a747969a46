//! The cluster as Redis clients see it: slots, the doors of the CPUs that own them, and 40-digit names.
//!
//! Every CPU is a cluster node of its own, so that cluster clients send a command to the thread that owns its slot. How
//! many CPUs another node has is known once it is connected; until then its base port stands for it.

use std::sync::Arc;

use quorate_engine::ids::{CpuId, GroupId, NodeId};

use crate::node::facts::Facts;
use crate::node::members::Members;
use crate::resp::Encoder;

use super::front::Front;
use super::native::join;

/// See the module.
pub(super) struct Map {
    facts: Arc<Facts>,
    members: Arc<Members>,
    /// CPUs of each other node that is connected.
    cpu_counts: Vec<(NodeId, u16)>,
    up: Vec<NodeId>,
    own: CpuId,
    /// The nodes that hold each group, by number, its leader first; none of one that was not formed.
    holders: Vec<Vec<NodeId>>,
}

/// One CPU of one node.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    node: NodeId,
    /// `None`: the base door.
    cpu: Option<CpuId>,
}

impl Map {
    pub(super) fn of(front: &Front) -> Self {
        let up = front.peers.states().filter(|(_, _, is_up)| *is_up).map(|(node, _, _)| node);
        Self {
            facts: Arc::clone(&front.facts),
            members: Arc::clone(&front.members),
            cpu_counts: front.peers.cpu_counts().collect(),
            up: up.chain([front.facts.node]).collect(),
            own: front.id,
            holders: front.facts.groups().map(|group| holders(front, group)).collect(),
        }
    }

    /// Returns the address of a node's base door for RESP.
    pub(super) fn resp_address(&self, node: NodeId) -> String {
        self.members.addresses(node).map_or(String::new(), |at| join(&at.host, at.resp_port))
    }

    pub(super) fn own_id(&self) -> String {
        id(&Place { node: self.facts.node, cpu: Some(self.own) })
    }

    fn cpu_count(&self, node: NodeId) -> Option<u16> {
        if node == self.facts.node {
            return Some(self.facts.cpu_count);
        }
        self.cpu_counts.iter().find(|(known, _)| *known == node).map(|(_, count)| *count)
    }

    fn place(&self, node: NodeId, group: GroupId) -> Place {
        Place { node, cpu: self.cpu_count(node).map(|count| Facts::cpu_of(group, count)) }
    }

    fn port(&self, place: &Place) -> u16 {
        let base = self.members.addresses(place.node).map_or(0, |at| at.resp_port);
        place.cpu.map_or(base, |cpu| base.saturating_add(1).saturating_add(cpu.0))
    }

    fn host(&self, node: NodeId) -> &str {
        self.members.addresses(node).map_or("", |at| &at.host)
    }

    /// Returns the places of a group, its leader first.
    fn places(&self, group: GroupId) -> Vec<Place> {
        self.holders[group.0 as usize].iter().map(|node| self.place(*node, group)).collect()
    }

    pub(super) fn write_slots(&self, out: &mut Encoder<'_, Vec<u8>>) {
        let is_formed = |group: &GroupId| !self.holders[group.0 as usize].is_empty();
        let groups: Vec<GroupId> = self.facts.groups().filter(is_formed).collect();
        out.array(groups.len());
        for group in groups {
            let slots = self.facts.placement.slots().slots_of(group);
            let places = self.places(group);
            out.array(2 + places.len());
            out.count(u64::from(slots.first.0));
            out.count(u64::from(slots.last.0));
            for place in places {
                out.array(4);
                out.text(self.host(place.node));
                out.count(u64::from(self.port(&place)));
                out.text(&id(&place));
                out.array(0);
            }
        }
    }

    pub(super) fn nodes_text(&self) -> String {
        let mut text = String::new();
        for (node, _) in self.members.nodes() {
            let cpus: Vec<Option<CpuId>> = match self.cpu_count(node) {
                Some(count) => (0..count).map(|cpu| Some(CpuId(cpu))).collect(),
                None => vec![None],
            };
            for cpu in cpus {
                self.push_line(&mut text, &Place { node, cpu });
            }
        }
        text
    }

    fn push_line(&self, text: &mut String, place: &Place) {
        use std::fmt::Write as _;
        let is_own = place.node == self.facts.node && place.cpu == Some(self.own);
        let flags = if is_own { "myself,master" } else { "master" };
        let link = if self.up.contains(&place.node) { "connected" } else { "disconnected" };
        let port = self.port(place);
        let bus = self.members.addresses(place.node).map_or(0, |at| at.peer_port);
        let host = self.host(place.node);
        // Writing to a string cannot fail.
        let _ = write!(text, "{} {host}:{port}@{bus} {flags} - 0 0 1 {link}", id(place));
        for group in self.facts.groups().filter(|group| self.places(*group).first() == Some(place)) {
            let slots = self.facts.placement.slots().slots_of(group);
            let _ = if slots.len() == 1 {
                write!(text, " {}", slots.first)
            } else {
                write!(text, " {}-{}", slots.first, slots.last)
            };
        }
        text.push('\n');
    }

    pub(super) fn info(&self) -> String {
        let leader_of = |group: GroupId| self.holders[group.0 as usize].first().copied();
        let leaders: std::collections::BTreeSet<NodeId> = self.facts.groups().filter_map(leader_of).collect();
        let is_up = |group: GroupId| leader_of(group).is_some_and(|leader| self.up.contains(&leader));
        let is_ok = self.facts.groups().all(is_up);
        let covered = self.facts.groups().filter(|group| is_up(*group));
        let covered: usize = covered.map(|group| self.facts.placement.slots().slots_of(group).len()).sum();
        format!(
            "cluster_enabled:1\r\ncluster_state:{}\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:{covered}\r\n\
             cluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\n\
             cluster_current_epoch:1\r\ncluster_my_epoch:1\r\ncluster_stats_messages_sent:0\r\n\
             cluster_stats_messages_received:0\r\n",
            if is_ok { "ok" } else { "fail" },
            16384 - covered,
            self.members.nodes().len(),
            leaders.len(),
        )
    }
}

/// Returns the nodes that hold a group, its leader first.
fn holders(front: &Front, group: GroupId) -> Vec<NodeId> {
    let Some(active) = front.directory.active(group) else { return Vec::new() };
    let followers = active.members.iter().map(|member| member.node).filter(|node| *node != active.leader);
    [active.leader].into_iter().chain(followers).collect()
}

/// Returns the 40-digit name of a place.
fn id(place: &Place) -> String {
    let cpu = place.cpu.map_or(0, |cpu| u32::from(cpu.0) + 1);
    format!("{:036x}{:04x}", u32::from(place.node.0), cpu)
}
