//! Whether a thread sleeps, so that others pay for waking it only then.
//!
//! A thread that polls its mailboxes needs no bell while it is awake: it sees the records themselves. Only before it
//! sleeps must it tell, and look once more:
//!
//! ```text
//!  owner:  announce(); look at everything once more;           waker:  publish something;
//!          found nothing? sleep by the host's means;                   must_wake()? wake by the host's means
//!          retract()
//! ```
//!
//! Unlike a [`Doorbell`](super::doorbell::Doorbell), which says *what* is there, this word changes only when the owner
//! falls asleep or is woken, so wakers share its line and do not take it from each other.
//!
//! No wake-up is lost, by cases. Both sides have a full fence between their store and their look; one fence is first.
//! 1. The owner's fence is first: the waker's load sees the announcement, or what followed it, and wakes.
//! 2. The waker's fence is first: what it published is visible to the owner's last look.
//! 3. Both see each other: the owner does not sleep, and the wake-up is spurious. The host's means must remember a
//!    wake-up that comes before the wait for it has begun, and the owner must tolerate one that comes for nothing.
//! 4. Several wakers see the announcement: one of them takes it and wakes, the others need not.
//!
//! # Threads
//! `announce` and `retract` are for the one owner; anyone may ask [`Sleeper::must_wake`].

use crossbeam_utils::CachePadded;

use super::{AtomicU64, Ordering, fence};

const AWAKE: u64 = 0;
const ASLEEP: u64 = 1;

/// See the module.
///
/// ```
/// use quorate_engine::sync::sleeper::Sleeper;
///
/// let sleeper = Sleeper::new();
/// assert!(!sleeper.must_wake(), "the owner is awake");
/// sleeper.announce();
/// assert!(sleeper.must_wake(), "somebody has to wake it");
/// assert!(!sleeper.must_wake(), "which is being done");
/// sleeper.retract();
/// ```
#[derive(Debug, Default)]
pub struct Sleeper {
    word: CachePadded<AtomicU64>,
}

impl Sleeper {
    /// Returns the word of an owner that is awake.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the owner is about to sleep. It must look at everything it waits for between this and sleeping.
    pub fn announce(&self) {
        // Relaxed: ordered by the fence.
        self.word.store(ASLEEP, Ordering::Relaxed);
        // SeqCst: a store and a later load of something else, on both sides, in one order (cases 1 and 2); weaker
        // fences let both sides miss each other. Pairs with: the fence in `must_wake`.
        fence(Ordering::SeqCst);
    }

    /// Says that the owner is awake again, for whatever reason.
    pub fn retract(&self) {
        // Relaxed: publishes nothing. A waker that still sees the announcement wakes for nothing (case 3).
        self.word.store(AWAKE, Ordering::Relaxed);
    }

    /// Returns whether the caller must wake the owner. Call it after what the owner waits for was made visible.
    ///
    /// Cost: a full fence and a load of a line that rarely changes; once per batch is enough.
    #[must_use = "the owner sleeps on if it is not woken"]
    pub fn must_wake(&self) -> bool {
        // SeqCst: see `announce`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it behind what was published.
        if self.word.load(Ordering::Relaxed) != ASLEEP {
            return false;
        }
        // Relaxed: decides only who wakes (case 4). It stores nothing unless it decides.
        self.word.compare_exchange(ASLEEP, AWAKE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waker_wakes_an_owner_that_sleeps() {
        let sleeper = Sleeper::new();
        assert!(!sleeper.must_wake());
        sleeper.announce();
        assert!(sleeper.must_wake());
        assert!(!sleeper.must_wake());
    }

    #[test]
    fn an_owner_that_thought_better_of_it_is_not_woken() {
        let sleeper = Sleeper::new();
        sleeper.announce();
        sleeper.retract();
        assert!(!sleeper.must_wake());
    }
}
