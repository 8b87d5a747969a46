//! One word per thread that says which of its mailboxes have something, and whether it sleeps.
//!
//! A thread that serves many mailboxes looks at one word instead of at each of them. The same word holds the mark
//! "asleep", so that setting a bit and learning that a wake-up is needed is one atomic step. The park protocol of the
//! owner:
//!
//! ```text
//! loop { bits = take(); if bits != 0 { serve; continue }      // awake
//!        if !prepare_park() { continue }                      // a bit came in between
//!        wait for the host's wake-up, or a timeout;           // asleep
//!        cancel_park() }
//! ```
//!
//! The host owns the means of waking (an eventfd, a condition variable). Whoever gets `true` from [`Doorbell::ring`] uses
//! it, and only the first ringer after `prepare_park` gets `true`.
//!
//! No wake-up is lost, by cases:
//! 1. The ring comes before `prepare_park`: the bit is set, `prepare_park` returns `false`.
//! 2. The ring comes after it: it finds the mark, clears it and returns `true`; the host's means must remember a wake-up
//!    that comes before the wait for it has begun (an eventfd does).
//! 3. Several rings come after it: one of them clears the mark, the others need not wake.
//! 4. The owner wakes by timeout while a ringer is between clearing the mark and waking: the wake-up comes late and is
//!    spurious, so the owner must tolerate one.
//!
//! There is no fifth case, because all of them are read-modify-writes of one word, which are totally ordered.
//!
//! # Bounds
//! [`BELLS`] bits per doorbell.
//! # Threads
//! `take`, `prepare_park` and `cancel_park` are for the one owner; anyone may `ring`. A ringer's `Release` pairs with
//! the owner's `Acquire`, so what was put into a mailbox before the ring is found after it.

use crossbeam_utils::CachePadded;

use super::{AtomicU64, Ordering};

/// How many bits a doorbell has: bits 0 up to and excluding this may be rung.
pub const BELLS: u32 = 63;

/// The owner sleeps, or is about to.
const PARKED: u64 = 1 << BELLS;

/// Tells one thread which of up to [`BELLS`] others want something. Shared as `Arc<Doorbell>`.
///
/// ```
/// use quorate_engine::sync::doorbell::Doorbell;
///
/// let doorbell = Doorbell::new();
/// assert!(!doorbell.ring(3), "the owner is awake");
/// assert_eq!(doorbell.take(), 1 << 3);
/// assert!(doorbell.prepare_park(), "nothing to do: the owner may sleep");
/// assert!(doorbell.ring(5), "now somebody has to wake it");
/// assert!(!doorbell.ring(6), "which is being done");
/// doorbell.cancel_park();
/// assert_eq!(doorbell.take(), 1 << 5 | 1 << 6);
/// ```
#[derive(Debug, Default)]
pub struct Doorbell {
    word: CachePadded<AtomicU64>,
}

impl Doorbell {
    /// Returns a doorbell that nobody has rung, of an owner that is awake.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `bit` and returns whether the caller must wake the owner.
    ///
    /// Call it after the thing to be found has been made visible. Cost: one read-modify-write; once per batch is enough.
    ///
    /// # Panics
    /// If `bit` is not below [`BELLS`].
    #[must_use = "the owner sleeps on if it is not woken"]
    pub fn ring(&self, bit: u32) -> bool {
        assert!(bit < BELLS, "bit {bit} of a doorbell with {BELLS}");
        // Relaxed: only a guess for the exchange below.
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let rung = (seen | 1 << bit) & !PARKED;
            // Release: what the ringer did before is visible to the owner after `take`. Needed also when nothing
            // changes, because the owner may take the earlier ring just before it could see what this one is about.
            // Pairs with: Acquire in `take`.
            match self.word.compare_exchange_weak(seen, rung, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return seen & PARKED != 0,
                Err(now) => seen = now,
            }
        }
    }

    /// Returns the bits rung since the last call and clears them. Owner only.
    ///
    /// Cost: one load if there are none.
    #[must_use = "the bits are cleared"]
    pub fn take(&self) -> u64 {
        // Relaxed: a ring that is missed here is found in the next turn, or by `prepare_park`.
        if self.word.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        // Acquire: what ringers did before they rang is visible from here on. Pairs with: Release in `ring`.
        self.word.swap(0, Ordering::Acquire) & !PARKED
    }

    /// Announces that the owner is about to sleep, unless something was rung: then it returns `false` and the owner
    /// must not sleep. Owner only.
    #[must_use = "the owner may sleep only if this is true"]
    pub fn prepare_park(&self) -> bool {
        // Relaxed: publishes nothing, and what was rung is read by `take`. That no ring goes unnoticed follows from
        // the order of read-modify-writes of this one word (cases 1 and 2), not from visibility of anything else.
        self.word.compare_exchange(0, PARKED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Says that the owner is awake again, for whatever reason. What was rung stays for `take`. Owner only.
    pub fn cancel_park(&self) {
        // Relaxed: see `prepare_park`. Keeps the ringers' releases in the word, since a read-modify-write continues
        // their release sequences.
        self.word.fetch_and(!PARKED, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_collected_until_taken() {
        let doorbell = Doorbell::new();
        assert_eq!(doorbell.take(), 0);
        assert!(!doorbell.ring(0));
        assert!(!doorbell.ring(BELLS - 1));
        assert!(!doorbell.ring(0));
        assert_eq!(doorbell.take(), 1 | 1 << (BELLS - 1));
        assert_eq!(doorbell.take(), 0);
    }

    #[test]
    fn owner_with_something_to_do_does_not_park() {
        let doorbell = Doorbell::new();
        assert!(!doorbell.ring(1));
        assert!(!doorbell.prepare_park());
        assert_eq!(doorbell.take(), 1 << 1);
        assert!(doorbell.prepare_park());
    }

    #[test]
    fn one_ringer_wakes_a_parked_owner() {
        let doorbell = Doorbell::new();
        assert!(doorbell.prepare_park());
        assert!(doorbell.ring(1));
        assert!(!doorbell.ring(2));
        doorbell.cancel_park();
        assert!(!doorbell.ring(3));
        assert_eq!(doorbell.take(), 0b1110);
    }

    #[test]
    fn park_that_timed_out_leaves_no_mark() {
        let doorbell = Doorbell::new();
        assert!(doorbell.prepare_park());
        doorbell.cancel_park();
        assert!(!doorbell.ring(1), "the owner is awake");
    }

    #[test]
    #[should_panic(expected = "bit 63")]
    fn bit_beyond_the_last_is_refused() {
        let _ = Doorbell::new().ring(BELLS);
    }
}
