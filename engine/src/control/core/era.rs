//! Which stores the core consists of, and how one of them is replaced.
//!
//! A core node that has lost its store has forgotten what it promised: if it voted again under its name, a majority could be
//! made of nodes that know nothing of what another majority has agreed on. So the core consists of *stores*, each known by the
//! number that was drawn when it was created, and a lost one can only be replaced. That is agreed on like everything else, and
//! it ends an *era* of the core:
//!
//! ```text
//! era 1: stores 11 22 33   birth, ..., ..., replace 33 by 34 | what comes behind is void
//! era 2: stores 11 22 34   the state that era 1 led to, ..., ...
//! ```
//!
//! Each era has a log of its own, that begins with the state to which the one before has led, and in which nobody has promised
//! anything. A core node goes over to an era when it applies the end of the one before, or when another one shows it the era;
//! from then on it takes no part in the earlier one. Messages name their era, and count in that one only.
//!
//! # Why it holds
//! What ends an era is decided in it, by majorities of its own stores, so all core nodes agree on how the next one begins:
//! stores, state and number. In that, each store takes part from an empty log and without promises, the new one like the
//! others: there is nothing that it could have forgotten. That the replaced store is gone is not needed for it. Should it come
//! back, its votes count in the era that is over, where what they could decide is void, since all of it comes behind the end.
//! A store is never twice new in the same era: it writes down the era with which it begins, in one piece, and a node
//! that loses that too comes with a number that the era does not name.
//!
//! Counting the new store in the same log instead, as soon as the replacement is decided, is not enough with five core nodes: a
//! candidate may hold a promise of the lost store for a later round, complete it with one of a node that knows of
//! the replacement and of nothing behind it, and overwrite what the new store has helped to decide in an earlier round.
//!
//! # Source
//! Reconfiguration by a log that ends: Lamport, Malkhi and Zhou, Reconfiguring a State Machine, 2010, section 4; here the
//! nodes stay, and their stores change.

use core::fmt;
use std::collections::BTreeMap;

use omnipaxos::storage::Storage;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::control::state::State;
use crate::ids::NodeId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EraParts")]
pub struct Era {
    /// From 1; 0 is before all of them.
    pub number: u32,
    /// The number of the store of each core node.
    pub stores: BTreeMap<NodeId, u64>,
    /// What it begins with: nothing, if it is the first.
    pub start: Option<State>,
    /// The numbers of the stores from which the core was restored, in this order; see [`Restoration`](super::Restoration).
    pub restored_from: Vec<u64>,
}

/// By which an era is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EraId {
    /// Its number.
    pub number: u32,
    /// The number of the store from which the core was restored last; 0 if it never was.
    pub restored_from: u64,
}

/// The word of a blank store, kept for as long as it is blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pledge {
    /// The store from which it is to be restored, and from no other.
    pub to: u64,
    /// The one from which the core was restored last before that; 0 if it never was.
    pub since: u64,
}

/// A store of a core node. Clones are the same store.
pub trait EraStore: Storage<Entry> + Clone {
    /// Begins an era: in one write, the promises and the log of an earlier one are gone, and the log begins with an image of
    /// [`Era::start`] as its only entry, decided; or is empty, if there is no such state. On disk when this returns.
    fn begin_era(&mut self, era: &Era);
}

/// Why no store takes the place of another one. The text begins with the code that users see.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReplaceError {
    /// It is a node of another kind, or none.
    #[error("ERR node {node} is no node of the consistent core; those are {nodes:?}")]
    NoCoreNode {
        /// Which one was said to be.
        node: NodeId,
        /// Those that are.
        nodes: Vec<NodeId>,
    },
    /// It has its store, or has shown no other one.
    #[error(
        "ERR node {node} has shown no new store to the core, so there is nothing to replace; if it has lost its disk, start it with \
         an empty node.data_dir and without --create, and try again"
    )]
    NothingToReplace {
        /// Which one.
        node: NodeId,
    },
}

impl Era {
    /// The first era, of a core that has agreed on nothing yet.
    #[must_use]
    pub fn first(stores: BTreeMap<NodeId, u64>) -> Self {
        Self { number: 1, stores, start: None, restored_from: Vec::new() }
    }

    /// Returns the era that follows, if a state ends this one.
    #[must_use]
    pub fn next(&self, end: &State) -> Option<Self> {
        let (node, store) = end.replaced()?;
        let mut stores = self.stores.clone();
        stores.insert(node, store);
        let restored_from = self.restored_from.clone();
        Some(Self { number: self.number.checked_add(1)?, stores, start: Some(end.carried_over()), restored_from })
    }

    /// Returns by what it is known.
    #[must_use]
    pub fn id(&self) -> EraId {
        EraId { number: self.number, restored_from: self.restored_from.last().copied().unwrap_or_default() }
    }

    /// Whether it goes on from an earlier one, over others or not. What was restored from another store does not.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> bool {
        self.number > earlier.number && self.restored_from.starts_with(&earlier.restored_from)
    }

    /// Whether a blank store is to take part in it: one that has pledged itself takes part in what is restored by whom it has
    /// pledged itself to, or in what goes on without having been restored.
    #[must_use]
    pub fn admits(&self, node: NodeId, store: u64, pledge: Option<Pledge>) -> bool {
        let is_kept = |Pledge { to, since }| self.id().restored_from == since || self.restored_from.contains(&to);
        self.names(node, store) && pledge.is_none_or(is_kept)
    }

    /// Whether a store takes part in it.
    #[must_use]
    pub fn names(&self, node: NodeId, store: u64) -> bool {
        self.stores.get(&node) == Some(&store)
    }
}

impl fmt::Display for EraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number, f)
    }
}

/// An era as it is read, from a wire or a file.
#[derive(Deserialize)]
struct EraParts {
    number: u32,
    stores: BTreeMap<NodeId, u64>,
    start: Option<State>,
    restored_from: Vec<u64>,
}

impl TryFrom<EraParts> for Era {
    type Error = &'static str;

    fn try_from(parts: EraParts) -> Result<Self, Self::Error> {
        let EraParts { number, stores, start, restored_from } = parts;
        // From nothing, a second cluster would be born.
        let is_begun = match &start {
            None => number == 1 && restored_from.is_empty(),
            Some(state) => number > 1 && state.replaced().is_none(),
        };
        if is_begun {
            Ok(Self { number, stores, start, restored_from })
        } else {
            Err("an era does not begin with what it should")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::operation::{Decision, Outcome};
    use crate::control::state::{Birth, Command};
    use crate::ids::ReplicaId;
    use crate::slots::SlotMap;

    fn state() -> State {
        let nodes = (1..=3).map(NodeId).collect();
        State::new(Birth { slots: SlotMap::new(2).expect("in range"), nodes, replicas: 3, write_quorum: 2 })
    }

    fn first() -> Era {
        Era::first((1..=3).map(|node| (NodeId(node), u64::from(node))).collect())
    }

    fn replace(by: ReplicaId, node: u16, store: u64) -> Command {
        Command::Operate { caller: by, number: store, decision: Decision::ReplaceStore { node: NodeId(node), store } }
    }

    #[test]
    fn an_era_ends_with_a_replaced_store_and_what_comes_behind_is_void() {
        let mut state = state();
        let registered = state.apply(&Command::Register { node: NodeId(1), nonce: 7 }).registered;
        let by = registered.expect("a registration");
        assert_eq!(first().next(&state), None);
        let told = state.apply(&replace(by, 3, 34)).outcome;
        assert_eq!(told, Some(Outcome::StoreReplaced { node: NodeId(3) }));
        let end = state.clone();
        let applied = state.apply(&Command::Register { node: NodeId(2), nonce: 7 });
        state.apply(&replace(by, 2, 24));
        assert_eq!((applied.registered, applied.changed.len()), (None, 0));
        let next = first().next(&state).expect("it has ended");
        assert!(next.names(NodeId(3), 34) && next.names(NodeId(2), 2) && !next.names(NodeId(3), 3));
        assert_eq!(state, end);
        let start = next.start.expect("it is not the first one");
        assert_eq!((next.number, start.replaced()), (2, None));
        assert_eq!(start.outcome(by, 34), told.as_ref(), "whoever has wanted it can still be told");
    }

    #[test]
    fn an_era_that_begins_with_something_else_is_refused() {
        let mut ended = state();
        let by = ended.apply(&Command::Register { node: NodeId(1), nonce: 7 }).registered.expect("a registration");
        ended.apply(&replace(by, 3, 34));
        let first = first();
        for (number, start, is_right) in [
            (1, None, true),
            (2, Some(state()), true),
            (0, None, false),
            (2, None, false),
            (1, Some(state()), false),
            (2, Some(ended), false),
        ] {
            let text = serde_json::to_string(&Era { number, start, ..first.clone() }).expect("plain data");
            assert_eq!(serde_json::from_str::<Era>(&text).is_ok(), is_right, "{text}");
        }
    }
}
