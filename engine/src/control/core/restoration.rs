//! How a core goes on whose nodes have lost most of their stores: from what one of them knows.
//!
//! What the lost ones had decided is known to nobody, so this is for an operator to say, who starts one node that has its store
//! for that ([`Standing::Restoring`]). All other core nodes have to be there, those that lost their stores with blank ones:
//!
//! ```text
//! 1  the node that restores shows itself; every blank store pledges itself to it, once and for ever, on disk ([`Pledge`])
//! 2  when all have, it makes the restored era: its number is far ahead, its stores are those that were shown, it begins with
//!    what this node has in its store, decided or not (see [`State::restored`]), and names this node's store as the one it is from
//! 3  it goes over to that era, and shows it to the others as it would any other
//! ```
//!
//! It gives up if there is nothing to restore, since a majority of the stores of its era is there; if another node is in a later
//! era, and so knows more; and if another one restores too, or a store is pledged to that.
//!
//! # Why there are not two
//! The stores of a restored era that were in none before are a majority of it, and each of them has pledged itself to that one
//! node; so of two eras that different nodes restore from the same one, no more than one can have a majority of its stores,
//! unless a node has lost its store once more in between; then the second one was made when no node was in the first any more. A
//! store that is in a restored era goes over to another one only if that goes on from it: eras name all stores from which the
//! core was restored ([`Era::follows`]), and messages the last of them. A lost store of an earlier era that comes back is shown
//! the restored era, by whomever it meets, and ends like any other that was replaced.
//!
//! # What it starts from
//! The whole log of the node, not only what is decided: that something is decided is not waited for on disk, and what it has
//! written may have been decided by those that are lost. What was not decided is harmless: nothing is certain after a restoration.
//!
//! # Bounds
//! One standing a core node.

use std::collections::BTreeMap;

use omnipaxos::storage::Storage;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Image};
use super::era::{Era, EraId, Pledge};
use crate::control::state::State;
use crate::ids::NodeId;

/// What a core node shows of its store to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its number.
    pub number: u64,
    /// In which state it is.
    pub place: Place,
}

/// What a store of a core node takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// It is blank, and may take part in the founding of a core, of a cluster with these nodes: a number that tells them apart.
    Founding(u32),
    /// It is blank, and waits for an era that names it.
    Joining,
    /// It is blank, and waits for an era that is restored from this store: it takes part in none that is restored from another.
    Pledged(u64),
    /// It is in this era.
    In(EraId),
    /// It is in this era, and its node wants to restore the core from it.
    Restoring(EraId),
}

impl Place {
    /// Returns to what a blank store is to pledge itself that is shown this, as the place of store `to`.
    #[must_use]
    pub fn wants_pledge(self, to: u64) -> Option<Pledge> {
        let Self::Restoring(era) = self else { return None };
        Some(Pledge { to, since: era.restored_from })
    }

    /// Returns the era in which the store is; that before all of them if it is in none.
    #[must_use]
    pub fn era(self) -> EraId {
        match self {
            Self::Founding(_) | Self::Joining | Self::Pledged(_) => EraId::default(),
            Self::In(era) | Self::Restoring(era) => era,
        }
    }
}

/// A node that is to restore the core, and what it has heard of the others.
#[derive(Debug)]
pub struct Restoration {
    me: NodeId,
    store: u64,
    era: Era,
    nodes: Vec<NodeId>,
    heard: BTreeMap<NodeId, Standing>,
}

/// What can come of a restoration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// These nodes were not heard just now, or have not pledged themselves yet.
    Waiting(Vec<NodeId>),
    /// All are there: these stores make up the core.
    Ready(BTreeMap<NodeId, u64>),
    /// There is none.
    None(NotRestored),
}

/// Why the core is not restored from a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotRestored {
    /// A majority of the stores is there.
    #[error(
        "nothing to restore: most nodes of the consistent core have the stores it knows; start this node without --restore, and \
         `quorate core replace NODE` takes back those that lost theirs"
    )]
    Present,
    /// A node is in a later era, or in one that was restored from another store.
    #[error(
        "node {node} knows more than this one: it is in era {their} of the consistent core, this node in era {own}; restore there, if at all"
    )]
    KnowsMore {
        /// Which node.
        node: NodeId,
        /// Its era.
        their: EraId,
        /// That of the node that was to restore.
        own: EraId,
    },
    /// A node has a store that was replaced before.
    #[error(
        "node {node} has an old disk, which another one has replaced: empty its node.data_dir, start it without --create, and try again"
    )]
    OldStore {
        /// Which node.
        node: NodeId,
    },
    /// Another node restores too.
    #[error("node {node} is restoring the consistent core too: start one of the two without --restore")]
    Another {
        /// Which node.
        node: NodeId,
    },
    /// A blank store waits for a restoration from another one.
    #[error(
        "node {node} waits for the consistent core to be restored by another node, as that was begun before; restore it there, or, if \
         that node is lost, empty the node.data_dir of node {node}, start it without --create, and try again"
    )]
    PledgedElsewhere {
        /// Which node.
        node: NodeId,
    },
}

impl Restoration {
    /// Begins at node `me`, whose store with this number is in an era; `nodes` are all core nodes.
    #[must_use]
    pub fn new((me, store): (NodeId, u64), era: Era, nodes: &[NodeId]) -> Self {
        Self { me, store, era, nodes: nodes.to_vec(), heard: BTreeMap::new() }
    }

    /// Hears what another core node shows.
    pub fn hear(&mut self, node: NodeId, standing: Standing) {
        if node != self.me && self.nodes.contains(&node) {
            self.heard.insert(node, standing);
        }
    }

    /// The connection to a node has ended: another process of it may come.
    pub fn forget(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }

    /// Returns what this node shows meanwhile.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { number: self.store, place: Place::Restoring(self.era.id()) }
    }

    /// Returns what can come of it, by what is known.
    #[must_use]
    pub fn prospect(&self) -> Prospect {
        if let Some(refusal) = self.heard.iter().find_map(|(node, standing)| self.objection(*node, *standing)) {
            return Prospect::None(refusal);
        }
        let others = || self.nodes.iter().copied().filter(|node| *node != self.me);
        let unheard: Vec<NodeId> = others().filter(|node| !self.heard.contains_key(node)).collect();
        if !unheard.is_empty() {
            return Prospect::Waiting(unheard);
        }
        let is_present = |(node, standing): &(&NodeId, &Standing)| self.era.names(**node, standing.number);
        if 2 * (1 + self.heard.iter().filter(is_present).count()) > self.nodes.len() {
            return Prospect::None(NotRestored::Present);
        }
        let is_waiting = |node: &NodeId| matches!(self.heard[node].place, Place::Founding(_) | Place::Joining);
        let waiting: Vec<NodeId> = others().filter(is_waiting).collect();
        if !waiting.is_empty() {
            return Prospect::Waiting(waiting);
        }
        let stores = self.heard.iter().map(|(node, standing)| (*node, standing.number));
        Prospect::Ready(stores.chain([(self.me, self.store)]).collect())
    }

    /// Returns the era that these stores make up, which begins with what this node knows.
    #[must_use]
    pub fn era(&self, stores: BTreeMap<NodeId, u64>, known: &State, at_ms: u64) -> Era {
        let number = self.era.number.saturating_add(ERA_JUMP);
        let mut restored_from = self.era.restored_from.clone();
        restored_from.push(self.store);
        Era { number, stores, start: Some(known.restored(at_ms, self.me)), restored_from }
    }

    /// Returns why the core cannot be restored while a node shows this.
    fn objection(&self, node: NodeId, standing: Standing) -> Option<NotRestored> {
        let own = self.era.id();
        match standing.place {
            Place::Restoring(_) => Some(NotRestored::Another { node }),
            Place::Pledged(store) if store != self.store => Some(NotRestored::PledgedElsewhere { node }),
            Place::In(era) if era == own && self.era.names(node, standing.number) => None,
            Place::In(era) if era == own || era.number < own.number => Some(NotRestored::OldStore { node }),
            Place::In(their) => Some(NotRestored::KnowsMore { node, their, own }),
            Place::Founding(_) | Place::Joining | Place::Pledged(_) => None,
        }
    }
}

/// Returns what the log in a store amounts to, decided or not; `None` if it does not begin with the birth of a cluster.
///
/// # Panics
/// If the store cannot be read.
#[must_use]
pub fn known(store: &impl Storage<Entry>) -> Option<State> {
    let unreadable = "whoever opened the store has read all of it";
    let compacted = store.get_compacted_idx().expect(unreadable);
    let entries = store.get_suffix(compacted).expect(unreadable);
    let mut state = match store.get_snapshot().expect(unreadable) {
        Some(Image::State(state)) => Some(*state),
        Some(Image::Delta(_)) => return None,
        None => None,
    };
    if state.is_none() && !matches!(entries.first(), Some(Entry::Birth(_))) {
        return None;
    }
    entries.iter().for_each(|entry| drop(entry.apply(&mut state)));
    state
}

/// How far ahead the number of a restored era is: more than stores can have been replaced of which the node that restores knows
/// nothing. So a core can be restored some four thousand times.
const ERA_JUMP: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [NodeId; 5] = [NodeId(1), NodeId(2), NodeId(3), NodeId(4), NodeId(5)];

    fn era() -> Era {
        Era::first(NODES.into_iter().zip([11, 22, 33, 44, 55]).collect())
    }

    /// Node 1 restores, and has heard this of the others.
    fn restoration(heard: &[(u16, u64, Place)]) -> Restoration {
        let mut restoration = Restoration::new((NodeId(1), 11), era(), &NODES);
        for (node, number, place) in heard {
            restoration.hear(NodeId(*node), Standing { number: *number, place: *place });
        }
        restoration
    }

    #[test]
    fn all_others_are_waited_for_and_have_to_pledge_themselves() {
        let in_era = Place::In(era().id());
        let mut heard = vec![(2, 22, in_era), (3, 34, Place::Pledged(11)), (4, 45, Place::Joining)];
        assert_eq!(restoration(&heard).prospect(), Prospect::Waiting(vec![NodeId(5)]));
        heard.push((5, 56, Place::Founding(7)));
        assert_eq!(restoration(&heard).prospect(), Prospect::Waiting(vec![NodeId(4), NodeId(5)]));
        heard.extend([(4, 45, Place::Pledged(11)), (5, 56, Place::Pledged(11))]);
        let mut restoration = restoration(&heard);
        let stores = BTreeMap::from_iter(NODES.into_iter().zip([11, 22, 34, 45, 56]));
        assert_eq!(restoration.prospect(), Prospect::Ready(stores));
        restoration.forget(NodeId(2));
        assert_eq!(restoration.prospect(), Prospect::Waiting(vec![NodeId(2)]), "another process of it may come");
    }

    #[test]
    fn nothing_is_restored_where_somebody_knows_better() {
        let in_era = Place::In(era().id());
        let later = EraId { number: 2, restored_from: 0 };
        let refusal = |heard: &[(u16, u64, Place)]| match restoration(heard).prospect() {
            Prospect::None(refusal) => refusal,
            other @ (Prospect::Waiting(_) | Prospect::Ready(_)) => panic!("{other:?}"),
        };
        let blank = Place::Joining;
        let three = [(2, 22, in_era), (3, 33, in_era), (4, 45, blank), (5, 56, blank)];
        assert_eq!(refusal(&three), NotRestored::Present);
        // It was named by a restored era before, and has not gone over to it yet.
        assert_eq!(refusal(&[(2, 22, blank), (3, 33, blank), (4, 45, blank), (5, 56, blank)]), NotRestored::Present);
        let own = era().id();
        let (node, their) = (NodeId(3), later);
        assert_eq!(refusal(&[(3, 34, Place::In(later))]), NotRestored::KnowsMore { node, their, own });
        let their = EraId { number: 1, restored_from: 99 };
        assert_eq!(refusal(&[(3, 34, Place::In(their))]), NotRestored::KnowsMore { node, their, own });
        assert_eq!(refusal(&[(3, 33, Place::Restoring(own))]), NotRestored::Another { node });
        assert_eq!(refusal(&[(3, 34, Place::Pledged(22))]), NotRestored::PledgedElsewhere { node });
        assert_eq!(refusal(&[(3, 34, Place::In(own))]), NotRestored::OldStore { node });
    }
}
