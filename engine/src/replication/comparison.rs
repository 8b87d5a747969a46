//! Comparing the states of replicas: what each notes while it applies, and who is wrong if two notes differ.
//!
//! Every replica notes the digest of its state behind each of the last entries, and behind every 64th of those before. An
//! acknowledgement carries one such note, and the leader looks up its own at that index: no message and no round trip more, and
//! nothing is computed that was not known. A replica that has applied all it holds tells its last index, so that what was
//! written last is compared too when the writes end; one in the middle of a stream tells the last 64th.
//!
//! Who is wrong. The digest is a wrapping sum over keys. Two replicas that differ in some keys therefore differ *by the same
//! number* at whichever index they are compared, until one of those keys is written again. So the leader keeps for each peer by
//! how much it differs: 0 for one that is the same, and the same number for two that agree with each other against the leader,
//! although they were never compared with each other, nor at the same index. Whatever more than half of the members have is
//! taken for right. A vote counts only if it was given at or behind the index at which the first one differed: one that was
//! given before says nothing about what has happened since.
//!
//! # Bounds
//! 128 notes a replica. What is not noted any more, or not yet, is not compared.

use core::hash::{Hash, Hasher};

use crate::config::MEMBERS_MAX;
use crate::ids::{Incarnation, LogIndex};

const NOTES: usize = 64;
/// Of the indexes before the last [`NOTES`], every how many is noted.
const STRIDE: u64 = 64;

/// The digest of a state right behind an index; index 0 says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Note {
    /// The entry applied last.
    pub applied: LogIndex,
    /// The digest of the state then.
    pub digest: u64,
}

/// What a replica has noted.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    recent: [Note; NOTES],
    spaced: [Note; NOTES],
}

impl Default for Notes {
    fn default() -> Self {
        Self { recent: [Note::default(); NOTES], spaced: [Note::default(); NOTES] }
    }
}

/// Equal logs leave equal notes, and the log stands beside them.
impl Hash for Notes {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Notes {
    #[inline]
    pub(crate) fn note(&mut self, applied: LogIndex, digest: u64) {
        let note = Note { applied, digest };
        self.recent[place(applied.0)] = note;
        if applied.0.is_multiple_of(STRIDE) {
            self.spaced[place(applied.0 / STRIDE)] = note;
        }
    }

    /// Returns the digest at an index, if it is noted.
    pub(crate) fn at(&self, applied: LogIndex) -> Option<u64> {
        let places = [self.recent[place(applied.0)], self.spaced[place(applied.0 / STRIDE)]];
        let known = places.into_iter().find(|note| note.applied == applied)?;
        (applied > LogIndex(0)).then_some(known.digest)
    }

    /// Returns what to tell the leader: the last index if nothing follows it, or else one that the leader still knows when it
    /// is far ahead.
    pub(crate) fn to_tell(&self, applied: LogIndex, last: LogIndex) -> Note {
        let applied = if applied == last { applied } else { LogIndex(applied.0 - applied.0 % STRIDE) };
        self.at(applied).map_or(Note::default(), |digest| Note { applied, digest })
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % NOTES as u64).expect("below 64")
}

/// What is known of a peer's state, beside the leader's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    /// The last index at which they were the same.
    same: LogIndex,
    /// The last index at which they were compared.
    at: LogIndex,
    /// By how much the peer's digest is more than the leader's, wrapping.
    pub(crate) change: u64,
    /// Whether the peer is known to be wrong: nothing it says counts.
    pub(crate) is_wrong: bool,
    /// Which run of its node this is about.
    run: Option<Incarnation>,
}

/// Where states were compared says nothing as long as they are the same.
impl Hash for Compared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.change, self.is_wrong).hash(state);
    }
}

impl Compared {
    /// Notes by how much the peer differed at an index. What comes late is dropped.
    pub(crate) fn note(&mut self, at: LogIndex, change: u64) {
        if at < self.at {
            return;
        }
        (self.at, self.change) = (at, change);
        if change == 0 {
            (self.same, self.is_wrong) = (at, false);
        }
    }

    /// Has it be about this run of the node: nothing is known of another one.
    pub(crate) fn begin(&mut self, run: Incarnation) {
        if self.run != Some(run) {
            *self = Self { run: Some(run), ..Self::default() };
        }
    }

    /// The peer has another state than the one that was compared.
    pub(crate) fn forget(&mut self) {
        *self = Self { run: self.run, ..Self::default() };
    }

    pub(crate) fn differs(&self) -> bool {
        self.change != 0
    }

    /// Returns the index at which they differed.
    pub(crate) fn at(&self) -> LogIndex {
        self.at
    }

    /// Returns between which indexes the peer became another than the leader.
    pub(crate) fn window(&self) -> Window {
        Window { first: self.same, last: self.at }
    }
}

/// Between which indexes a state became wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Behind this entry it was still right, as far as anybody has looked.
    pub first: LogIndex,
    /// Behind this one it was wrong.
    pub last: LogIndex,
}

/// Members' votes: by how much each differs from the leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Votes {
    given: [u64; MEMBERS_MAX],
    count: usize,
    /// How many may still be given.
    later: usize,
    members: usize,
}

/// Which state is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// The one that differs from the leader's by this: 0 is the leader's own.
    By(u64),
    /// It depends on votes that may still come.
    Open,
    /// No state is that of more than half of the members, whatever comes.
    Nobody,
}

impl Votes {
    /// Begins with the leader's own, among so many members.
    pub(crate) fn of(members: usize) -> Self {
        Self { given: [0; MEMBERS_MAX], count: 1, later: 0, members }
    }

    pub(crate) fn add(&mut self, change: u64) {
        self.given[self.count] = change;
        self.count += 1;
    }

    pub(crate) fn add_later(&mut self) {
        self.later += 1;
    }

    pub(crate) fn right(&self) -> Right {
        let given = &self.given[..self.count];
        let votes_for = |change: &u64| given.iter().filter(|vote| *vote == change).count();
        let most = given.iter().max_by_key(|change| votes_for(change)).copied().unwrap_or_default();
        let is_majority = |votes: usize| 2 * votes > self.members;
        if is_majority(votes_for(&most)) {
            Right::By(most)
        } else if is_majority(votes_for(&most) + self.later) {
            Right::Open
        } else {
            Right::Nobody
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(members: usize, others: &[u64], later: usize) -> Right {
        let mut votes = Votes::of(members);
        others.iter().for_each(|change| votes.add(*change));
        (0..later).for_each(|_| votes.add_later());
        votes.right()
    }

    #[test]
    fn the_state_of_more_than_half_of_the_members_is_right() {
        assert_eq!(right(3, &[0, 7], 0), Right::By(0), "the leader and one against the other");
        assert_eq!(right(3, &[7, 7], 0), Right::By(7), "both others agree: it is the leader");
        assert_eq!(right(5, &[7, 9, 0], 1), Right::Open);
        assert_eq!(right(5, &[7, 9, 0, 0], 0), Right::By(0));
        assert_eq!(right(1, &[], 0), Right::By(0), "a learner has no vote");
    }

    #[test]
    fn where_no_majority_can_be_nobody_is_right() {
        assert_eq!(right(2, &[7], 0), Right::Nobody);
        assert_eq!(right(3, &[7, 9], 0), Right::Nobody);
        assert_eq!(right(3, &[7], 1), Right::Open, "the third one may say it");
        assert_eq!(right(3, &[7], 0), Right::Nobody, "it is wrong itself");
        assert_eq!(right(4, &[0, 7, 7], 0), Right::Nobody);
    }

    #[test]
    fn the_last_notes_are_kept_and_every_64th_of_those_before() {
        let mut notes = Notes::default();
        for index in 1..=1_000 {
            notes.note(LogIndex(index), index * 10);
        }
        assert_eq!(notes.at(LogIndex(937)), Some(9_370));
        assert_eq!(notes.at(LogIndex(936)), None);
        assert_eq!(notes.at(LogIndex(64)), Some(640));
        assert_eq!((notes.at(LogIndex(0)), notes.at(LogIndex(1_001))), (None, None));
        let told = |applied, last| notes.to_tell(LogIndex(applied), LogIndex(last)).applied.0;
        assert_eq!((told(1_000, 1_000), told(1_000, 1_001), told(63, 64)), (1_000, 960, 0));
    }

    #[test]
    fn a_vote_that_comes_late_does_not_take_back_what_is_known() {
        let mut compared = Compared::default();
        compared.note(LogIndex(5), 0);
        compared.note(LogIndex(9), 3);
        compared.note(LogIndex(7), 0);
        assert!(compared.differs());
        assert_eq!(compared.window(), Window { first: LogIndex(5), last: LogIndex(9) });
        compared.note(LogIndex(12), 0);
        assert!(!compared.differs(), "what differed was written again");
    }
}
