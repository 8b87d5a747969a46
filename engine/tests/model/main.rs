//! The model of one group, explored: every state within the named bounds is met, and none of them is what must never be.
//!
//! What the model consists of, and what it leaves out, stands in [`quorate_engine::testing::model`]. The checker is stateright's,
//! breadth first on one thread; it tells states apart by 64 bits.
//!
//! # Sizes
//! In builds without `--cfg planted`. A, B, C, D are nodes 1 to 4; A leads, with B and C as members, and two must hold a write,
//! unless something else is said. All in the table were explored as a whole. Seconds are those of one CPU of two that were
//! busy. `QUORATE_MODEL_LONG=1` explores more, see `sizes.rs`. Of these, "two takeovers" has 1,032,911 states and depth 45
//! (23 s), "a restart, a write" 4,919,992 and 48 (131 s), "a loss with one left" 411,729 and 45 (22 s); the others were begun and
//! not ended.
//!
//! | size | what happens | states | depth | seconds |
//! |---|---|---|---|---|
//! | a takeover | one of B and C takes over, one write | 32,478 | 29 | 1 |
//! | a takeover, two writes | B takes over, two writes | 292,264 | 39 | 9 |
//! | two takeovers, no write | B and C take over, twice in all, in any order | 139,277 | 38 | 3 |
//! | a restart, no write | B takes over; A or C restarts without memory, and copies the log | 132,591 | 34 | 3 |
//! | a restart of one of a pair | A and B are the members, C takes over with A; B restarts without memory; one write | 19,506 | 33 | 0 |
//! | from three to four | A, B, C, then A, B, C, D; one write | 610,713 | 28 | 21 |
//! | and back, no write | then A, B, D | 256,316 | 27 | 7 |
//! | four members | A, B, C, D are members; B takes over; one write | 2,086,518 | 37 | 56 |
//! | a pair, live, then taken over | A and B are the members, then A and C, then C takes over with B; one write | 132,956 | 37 | 4 |
//! | a pair, taken over twice | A and B are the members; C takes over with B, twice; one write | 171,323 | 42 | 5 |
//! | a loss with one left, no write | A and B restart without memory; C goes on with A and B, as is accepted | 14,394 | 32 | 1 |
//! | a loss with nobody left | A and B are the members and restart without memory; B goes on with A, as is accepted; one write | 3,092 | 30 | 0 |
//! | unordered | B takes over, one write; messages overtake each other | 53,732 | 39 | 1 |
//! | repeating, no write | B takes over; messages overtake each other, and come again at any time | 22,586 | 30 | 1 |
//! | a lease, a write | leases run; B takes over; one write; one tick | 162,605 | 29 | 4 |
//! | a lease of a leader that is to lead again | leases run; B takes over, then A; one tick | 361,629 | 38 | 8 |
//! | a lease, a renewal | B takes over; a read renews the lease; one tick | 87,941 | 30 | 2 |
//! | a lease of two ticks, a renewal | the same with leases of two ticks, and two ticks | 749,542 | 31 | 19 |
//!
//! # Rows
//! In builds with `--cfg planted`: what the model says when a rule of section 2 of the replication protocol is taken away. The switch
//! is a rule of [`quorate_engine::planted::rule`], or a bug of [`quorate_engine::planted`] that is the same. States are those that
//! were met before the first one that must never be, at the end of so many steps.
//!
//! | row | switch | found by | states | steps | seconds |
//! |---|---|---|---|---|---|
//! | restamp | `KEEP_STAMPS` | model: Lost | 7,707 | 16 | 0.1 |
//! | wipe | `CUT_ON_CONFLICT_ONLY` | model: Lost | 6,315 | 15 | 0.1 |
//! | activate-early | bug 13 | model: Lost | 10,855 | 9 | 0.2 |
//! | lease-old | `LEASE_OF_MEMBERS` | model: Stale | 2,265,203 | 16 | 26.9 |
//! | lease-new-only | `LEASE_OF_BOTH` | model: Stale | 2,712,009 | 15 | 60.0 |
//! | amnesia | bug 6 | model: Lost | 30,011 | 16 | 0.2 |
//! | early-ack-new | `ACTIVE_BEFORE_ACK` | model: Lost | 11,311 | 10 | 0.1 |
//! | count-inherited | bug 11 | model: Misattributed | 837,226 | 22 | 8.2 |
//! | target-pending | `SEAL_THE_ACTIVE` | model: Lost | 19,310 | 13 | 0.2 |
//! | best-by-len | `STAMP_BEFORE_LENGTH` | model: Forked | 433,292 | 21 | 4.4 |
//! | ack-last | `ACK_WHAT_MATCHES` | model: Lost | 1,065,037 | 25 | 11.3 |
//! | sealed-leader-goes-on | `SEALED_IS_DEPOSED` | model: Lost | 3,633 | 14 | 0.0 |
//! | no-promise | bug 20 | model: Lost | 4,296 | 12 | 0.0 |
//! | live-nocas | `LIVE_FROM_ACTIVE` | model: Stale | 51,932 | 16 | 0.6 |
//! | seal-majority | `SEAL_QUORUM` | model: Lost | 88,831 | 14 | 0.6 |
//! | count-learner | `MEMBERS_COUNT` | model: Lost | 48,176 | 14 | 0.5 |
//! | lease-no-wait | `WAIT_FOR_LEASES` | model: Stale | 81,178 | 15 | 0.8 |
//! | lease-drift | `WHOLE_GRANT` | model: Stale | 107,099 | 16 | 0.9 |
//! | lease-sealed-leader-reads | `SEALED_IS_DEPOSED` | model: Stale | 106,901 | 15 | 0.8 |
//! | lease-wait-after | `WAIT_BEFORE_ACTIVE` | model: Stale | 2,432,807 | 25 | 33.5 |
//!
//! Of the other rows, *joint-all* is *early-ack-new* where both configurations have the same members, which is so in that row.
//! *lease-sticky* cannot be taken away: that a replica leads and what it was granted are one value, which is gone when it is deposed.
//! The size "a lease of a leader that is to lead again" shows it. In *loss-alive* no rule of the engine is taken away, but the
//! operator's word is not true: A and B, who are declared dead, run and have heard nothing. C goes on with D and acknowledges a
//! write, and then A one that B holds: Outlived, an answer of the old loss generation behind one of the new (195,414 states, 16
//! steps, 11 s). So it is in builds without `--cfg planted` too.

use std::time::Instant;

use quorate_engine::testing::model::{Action, Bounds, Change, Fault, Model, World};
use stateright::{Checker as _, Model as Checked, Property};

#[cfg(planted)]
mod rows;
#[cfg(not(planted))]
mod sizes;

/// What the checker explores.
struct Explored(Model);

/// The name of what always holds.
const SOUND: &str = "nothing is what must never be";

impl Checked for Explored {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.0.start()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(self.0.actions(world));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(self.0.next(world, &action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(SOUND, |_, world: &World| world.fault().is_none())]
    }
}

/// Explores a model, breadth first, until there is nothing more, or something that must never be; says how large it is, and
/// how that comes about.
#[expect(clippy::disallowed_methods, reason = "how long it took is told, and decides nothing")]
fn checked(name: &str, bounds: Bounds) -> Option<Fault> {
    let (began, told) = (Instant::now(), format!("{bounds:?}"));
    let checker = Explored(Model::new(bounds)).checker().spawn_bfs().join();
    println!(
        "{name}: {} unique states, {} generated, depth {}, {:.1} s; {:?}; {told}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
        checker.model().0.met(),
    );
    let path = checker.discovery(SOUND)?;
    let fault = path.last_state().fault().cloned();
    let actions = path.into_actions();
    println!("{fault:?} after {} steps:", actions.len());
    actions.iter().for_each(|action| println!("  {}", checker.model().0.describe(action)));
    fault
}

fn takeover(leader: u16, members: &[u16]) -> Change {
    Change::Takeover { leader, members: members.to_vec() }
}

#[cfg(not(planted))]
fn loss(leader: u16, members: &[u16]) -> Change {
    Change::Loss { leader, members: members.to_vec() }
}

fn live(members: &[u16]) -> Change {
    Change::Live { members: members.to_vec() }
}
