//! What nodes say about themselves, and the view of the whole cluster that is put together from it.
//!
//! A node knows its own replicas. Whoever asks only one node hears what a follower believes; so every node is asked, and
//! each group is shown as its leader sees it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What `NODE STATUS` says, and what `quorate status --json` prints for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The name of the cluster.
    pub cluster: String,
    /// The node that was asked.
    pub node: u16,
    /// What moves data on it: `io_uring` or `mio`.
    pub io_driver: Option<String>,
    /// Why.
    #[serde(default)]
    pub io_reason: Option<String>,
    /// What an acknowledged write survives.
    pub durability: String,
    /// How often writes of a group have been lost for good, of that which had the most such losses.
    pub loss_gen: u64,
    /// All nodes, by number.
    pub nodes: Vec<NodeEntry>,
    /// All groups, by number.
    pub groups: Vec<GroupEntry>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its number.
    pub id: u16,
    /// Which run of it; not known while it was never heard.
    pub incarnation: Option<u64>,
    /// See [`UP`], [`LEARNER`], [`UNREACHABLE`].
    pub state: String,
    /// Its RESP door.
    pub address: String,
    /// Why it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it says of itself, if it is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A group, as one of its replicas sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEntry {
    /// Its number.
    pub group: u32,
    /// Its first and last slot.
    pub slots: [u16; 2],
    /// Its epoch.
    pub epoch: u64,
    /// How often it was accepted that writes of it are lost.
    #[serde(default)]
    pub loss_gen: u64,
    /// The node that leads it; 0 if the core has not formed it, or takes it for lost.
    pub leader: u16,
    /// What it does, in words; the leader's begins with `serving`, `waiting` or `unavailable`.
    pub state: String,
    /// Nodes that count in its quorums.
    pub members: Vec<u16>,
    /// Nodes that copy its log and do not count.
    pub learners: Vec<u16>,
    /// Members that cannot be reached.
    #[serde(default)]
    pub lost: Vec<u16>,
    /// Members that are being sent what they missed.
    #[serde(default)]
    pub catching_up: Vec<u16>,
    /// The last entry of its log.
    pub last: u64,
    /// The last entry that a write quorum holds.
    pub commit: u64,
    /// The last entry that was executed.
    pub applied: u64,
    /// Digest of the state behind `digest_index`.
    pub digest: String,
    /// See `digest`.
    pub digest_index: u64,
    /// Keys it holds.
    #[serde(default)]
    pub keys: u64,
    /// Bytes of keys and values.
    #[serde(default)]
    pub bytes: u64,
}

/// The node answers.
pub const UP: &str = "up";
/// It answers, and in some group it does not count: it came back without its memory.
pub const LEARNER: &str = "learner";
/// It does not answer.
pub const UNREACHABLE: &str = "unreachable";

/// What one of the other nodes answered: its report, or why there is none.
pub type Answer = Result<Report, String>;

impl Report {
    /// Reads what a node says.
    ///
    /// # Errors
    /// It is not what this release expects.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Puts the view of one node together with what the other nodes answered.
    #[must_use]
    pub fn join(mut self, others: &BTreeMap<u16, Answer>) -> Self {
        for node in &mut self.nodes {
            match others.get(&node.id) {
                None => {}
                Some(Ok(report)) => {
                    UP.clone_into(&mut node.state);
                    let own = report.nodes.iter().find(|own| own.id == node.id);
                    node.incarnation = own.map_or(node.incarnation, |own| own.incarnation);
                    node.note = own.and_then(|own| own.note.clone());
                }
                Some(Err(error)) => {
                    UNREACHABLE.clone_into(&mut node.state);
                    node.error = Some(error.clone());
                }
            }
        }
        let own = (self.node, std::mem::take(&mut self.groups));
        let answers = others.values().filter_map(|answer| answer.as_ref().ok());
        let answers = answers.map(|report| (report.node, report.groups.clone()));
        self.groups = join_groups([own].into_iter().chain(answers));
        for group in &mut self.groups {
            let is_leader_up = self.nodes.iter().any(|node| node.id == group.leader && node.state == UP);
            for nodes in [&mut group.members, &mut group.learners, &mut group.lost, &mut group.catching_up] {
                nodes.sort_unstable();
            }
            // 0: nobody leads it, and its state says why.
            if !is_leader_up && group.leader != 0 {
                if !group.lost.contains(&group.leader) {
                    group.lost.push(group.leader);
                }
                group.state = format!("unavailable: leader {} is unreachable", group.leader);
            }
        }
        for node in &mut self.nodes {
            let is_learner = self.groups.iter().any(|group| group.learners.contains(&node.id));
            if is_learner && node.state == UP {
                LEARNER.clone_into(&mut node.state);
            }
        }
        self
    }

    /// Whether every group serves: its leader answers and has its quorum.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.groups.iter().all(GroupEntry::is_serving)
    }

    /// Whether the node that was asked has done all it has to: it serves what it leads and follows in the rest.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_settled = |group: &GroupEntry| {
            let wanted = if group.leader == self.node { SERVING } else { FOLLOWING };
            group.state == wanted && group.learners.is_empty() && group.lost.is_empty()
        };
        self.groups.iter().all(is_settled) && self.nodes.iter().all(|node| node.state == UP)
    }

    /// Sums a number over all groups.
    #[must_use]
    pub fn sum(&self, number: impl Fn(&GroupEntry) -> u64) -> u64 {
        self.groups.iter().map(number).sum()
    }
}

impl GroupEntry {
    /// Whether its leader serves it.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.state == SERVING
    }

    /// Whether nobody can lead it without runs that are gone: only an operator's word helps.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.leader == 0 && self.state.starts_with(MISSING)
    }
}

/// The state of a group that its leader serves.
const SERVING: &str = "serving";
/// How the state of a group begins that lacks runs which are gone.
const MISSING: &str = "unavailable: missing";
/// The state of a group at a follower that hears its leader.
const FOLLOWING: &str = "following";

/// Takes each group from its leader, or else from the replica that has executed the most.
fn join_groups(reports: impl Iterator<Item = (u16, Vec<GroupEntry>)>) -> Vec<GroupEntry> {
    let mut joined: BTreeMap<u32, (bool, GroupEntry)> = BTreeMap::new();
    for (node, groups) in reports {
        for group in groups {
            let rank = (group.leader == node, group.applied);
            let is_better = joined.get(&group.group).is_none_or(|(is_leader, kept)| rank > (*is_leader, kept.applied));
            if is_better {
                joined.insert(group.group, (rank.0, group));
            }
        }
    }
    joined.into_values().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: u32, leader: u16, state: &str, applied: u64) -> GroupEntry {
        GroupEntry {
            group: number,
            slots: [0, 1],
            loss_gen: 0,
            epoch: 1,
            leader,
            state: state.to_owned(),
            members: vec![1, 2, 3],
            learners: Vec::new(),
            lost: Vec::new(),
            catching_up: Vec::new(),
            last: applied,
            commit: applied,
            applied,
            digest: "00".to_owned(),
            digest_index: applied,
            keys: 0,
            bytes: 0,
        }
    }

    fn report(node: u16, groups: Vec<GroupEntry>) -> Report {
        let entry = |id: u16| NodeEntry {
            id,
            incarnation: (id == node).then_some(u64::from(id) * 10),
            state: UP.to_owned(),
            address: format!("127.0.0.1:{}", 7400 + 20 * (id - 1)),
            error: None,
            note: None,
        };
        Report {
            cluster: "prices".to_owned(),
            node,
            io_driver: Some("mio".to_owned()),
            io_reason: None,
            durability: "memory".to_owned(),
            loss_gen: 0,
            nodes: (1..=3).map(entry).collect(),
            groups,
        }
    }

    #[test]
    fn each_group_is_shown_as_its_leader_sees_it() {
        let mut led = group(1, 2, "serving", 4);
        led.learners = vec![3];
        led.members = vec![1, 2];
        let own = report(1, vec![group(0, 1, "serving", 9), group(1, 2, "following", 3)]);
        let second = report(2, vec![group(0, 1, "following", 9), led.clone()]);
        let third = report(3, vec![group(0, 1, "following", 9), group(1, 2, "following", 7)]);
        let whole = own.join(&BTreeMap::from([(2, Ok(second)), (3, Ok(third))]));
        assert_eq!(whole.groups, [group(0, 1, "serving", 9), led]);
        let states: Vec<&str> = whole.nodes.iter().map(|node| node.state.as_str()).collect();
        assert_eq!(states, [UP, UP, LEARNER]);
        let incarnations: Vec<_> = whole.nodes.iter().map(|node| node.incarnation).collect();
        assert_eq!(incarnations, [Some(10), Some(20), Some(30)]);
        assert!(whole.is_serving());
    }

    #[test]
    fn a_group_without_its_leader_is_unavailable() {
        let own = report(1, vec![group(0, 1, "serving", 9), group(1, 2, "following", 3)]);
        let third = report(3, vec![group(1, 2, "following", 5)]);
        let whole = own.join(&BTreeMap::from([(2, Err("no answer".to_owned())), (3, Ok(third))]));
        assert_eq!(whole.nodes[1].state, UNREACHABLE);
        assert_eq!(whole.nodes[1].error.as_deref(), Some("no answer"));
        assert_eq!((whole.groups[1].applied, whole.groups[1].is_serving()), (5, false));
        assert_eq!(whole.groups[1].lost, [2]);
        assert!(!whole.is_serving() && whole.groups[0].is_serving());
    }

    #[test]
    fn a_group_that_is_lost_is_shown_as_the_replica_sees_it_that_holds_the_most() {
        let lost = |applied| group(0, 0, "unavailable: missing 1.2 2.3", applied);
        let whole = report(1, vec![lost(0)])
            .join(&BTreeMap::from([(2, Ok(report(2, vec![lost(0)]))), (3, Ok(report(3, vec![lost(7)])))]));
        assert_eq!(whole.groups, [lost(7)]);
        assert!(whole.groups[0].is_lost() && !whole.is_serving());
    }

    #[test]
    fn a_node_is_settled_when_it_serves_and_follows() {
        let groups = |state: &str| vec![group(0, 1, "serving", 9), group(1, 2, state, 3)];
        assert!(report(1, groups("following")).is_settled());
        assert!(!report(1, groups("following: no leader heard yet")).is_settled());
        assert!(!report(2, groups("serving")).is_settled());
    }
}
