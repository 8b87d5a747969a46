//! What the core's log holds, and what a part of it amounts to.

use omnipaxos::storage::{self, Snapshot};
use serde::{Deserialize, Serialize};

use crate::control::state::{Applied, Birth, Command, State};

/// What the core's log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The cluster is created: the first entry of the log, and only that one.
    Birth(Birth),
    /// Something was agreed on.
    Command {
        /// The wall clock of the core node that proposed it, in milliseconds since the Unix epoch; for people to read.
        at_ms: u64,
        /// What.
        command: Command,
    },
}

/// What the entries of a part of the log amount to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Image {
    /// Entries from the birth on: the state they lead to.
    State(Box<State>),
    /// Entries that go on from elsewhere.
    Delta(Vec<Entry>),
}

impl storage::Entry for Entry {
    type Snapshot = Image;
}

impl Entry {
    /// Applies the entry to what those before it have led to, which is nothing before the birth.
    ///
    /// # Panics
    /// If the log does not begin with the birth.
    pub(super) fn apply(&self, state: &mut Option<State>) -> Applied {
        match (self, state) {
            (Self::Birth(birth), state @ None) => {
                *state = Some(State::new(birth.clone()));
                Applied::default()
            }
            // Whoever leads an empty log gives birth, so there is one; if there were a second one, the first would count.
            (Self::Birth(_), Some(_)) => Applied::default(),
            (Self::Command { at_ms, command }, Some(state)) => state.apply_at(*at_ms, command),
            (Self::Command { command, .. }, None) => panic!("the log begins with the birth, not with {command:?}"),
        }
    }
}

impl Snapshot<Entry> for Image {
    fn create(entries: &[Entry]) -> Self {
        let Some(Entry::Birth(_)) = entries.first() else { return Self::Delta(entries.to_vec()) };
        let mut state = None;
        entries.iter().for_each(|entry| drop(entry.apply(&mut state)));
        Self::State(Box::new(state.expect("it begins with the birth")))
    }

    fn merge(&mut self, delta: Self) {
        *self = match (core::mem::replace(self, Self::Delta(Vec::new())), delta) {
            (_, newer @ Self::State(_)) => newer,
            (Self::State(state), Self::Delta(entries)) => {
                let mut state = Some(*state);
                entries.iter().for_each(|entry| drop(entry.apply(&mut state)));
                Self::State(Box::new(state.expect("it was there before")))
            }
            (Self::Delta(mut entries), Self::Delta(more)) => {
                entries.extend(more);
                Self::create(&entries)
            }
        };
    }

    fn use_snapshots() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::slots::SlotMap;

    fn log() -> Vec<Entry> {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let slots = SlotMap::new(2).expect("in range");
        let register =
            |node: &NodeId| Entry::Command { at_ms: 5, command: Command::Register { node: *node, nonce: 7 } };
        let runs: Vec<Entry> = nodes.iter().map(register).collect();
        let birth = Birth { slots, nodes, replicas: 3, write_quorum: 2 };
        core::iter::once(Entry::Birth(birth)).chain(runs).collect()
    }

    #[test]
    fn wherever_the_log_is_cut_the_images_of_its_parts_make_that_of_the_whole() {
        let log = log();
        let whole = Image::create(&log);
        assert!(matches!(&whole, Image::State(state) if state.groups().len() == 2));
        for first in 0..=log.len() {
            for second in first..=log.len() {
                let mut image = Image::create(&log[..first]);
                image.merge(Image::create(&log[first..second]));
                image.merge(Image::create(&log[second..]));
                assert_eq!(image, whole, "{first}, {second}");
            }
        }
    }

    #[test]
    fn an_image_that_travels_comes_out_the_same() {
        let image = Image::create(&log());
        let text = serde_json::to_string(&image).expect("plain data");
        assert_eq!(serde_json::from_str::<Image>(&text).expect("as written"), image);
    }

    #[test]
    fn a_state_whose_parts_do_not_fit_together_is_refused() {
        let text = serde_json::to_string(&Image::create(&log())).expect("plain data");
        for (right, wrong) in [
            (r#""next":2"#, r#""next":1"#),
            (r#""write_quorum":2"#, r#""write_quorum":4"#),
            (r#""leader":1"#, r#""leader":9"#),
            (r#""last_incarnation":3"#, r#""last_incarnation":2"#),
            (r#""slots":2"#, r#""slots":0"#),
            (r#""slots":2"#, r#""slots":3"#),
            (r#""slots":[0,8191]"#, r#""slots":[8191,0]"#),
            (r#""slots":[0,8191]"#, r#""slots":[0,8190]"#),
        ] {
            assert!(text.contains(right), "{right} in {text}");
            assert!(serde_json::from_str::<Image>(&text.replacen(right, wrong, 1)).is_err(), "{wrong}");
        }
    }
}
