//! What goes wrong in a round, drawn from a seed.
//!
//! In memory a write is lost when as many replicas forget as hold it. So no more nodes are killed in one round than may forget at
//! one time, and a round ends with all of them members again. Everything else may happen to any node, at once.
//!
//! # Time and units
//! Counted on the harness's clock from the beginning of the round.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// A round: what goes wrong, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Counted from 1.
    pub number: u32,
    /// In the order in which they begin.
    pub faults: Vec<Fault>,
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub length: Duration,
    /// To whom it happens.
    pub victim: Victim,
    /// What.
    pub kind: Kind,
}

/// Whom a fault happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// This node.
    Node(u16),
    /// Whoever leads this group then.
    Leader(u32),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It crashes, and is started again in the end.
    Kill,
    /// It stands still.
    Pause,
    /// Nobody reaches it, and it reaches nobody.
    Isolate,
    /// It hears none of the others.
    Deafen,
    /// None of the others hears it.
    Mute,
    /// It and this node do not hear each other.
    Part(u16),
    /// It loses so many of a hundred packets.
    Lose(u8),
}

/// Which faults there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Selection {
    /// Kills, pauses, cuts, loss
    All,
    /// Kills only, one in each round, of a leader under load
    KillLeader,
    /// Pauses only
    Pause,
    /// Cuts and loss only
    Network,
}

impl Round {
    /// Draws the round `number` of the run with this seed. Each round can be drawn by itself.
    #[must_use]
    pub fn draw(seed: u64, number: u32, nodes: u16, selection: Selection) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number)));
        let count = if selection == Selection::KillLeader { 1 } else { rng.usize(1..=3) };
        let mut kills = nodes / 2;
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..count {
            let kind = match selection {
                Selection::KillLeader => Kind::Kill,
                Selection::Pause => Kind::Pause,
                Selection::Network => Kind::of_the_network(&mut rng, nodes),
                Selection::All => match rng.u8(..10) {
                    0..3 if kills > 0 => Kind::Kill,
                    0..5 => Kind::Pause,
                    _ => Kind::of_the_network(&mut rng, nodes),
                },
            };
            kills -= u16::from(kind == Kind::Kill);
            let victim = match rng.u8(..3) {
                _ if selection == Selection::KillLeader => Victim::Leader(rng.u32(..GROUPS)),
                0 => Victim::Node(rng.u16(1..=nodes)),
                _ => Victim::Leader(rng.u32(..GROUPS)),
            };
            let at = Duration::from_millis(rng.u64(300..1_500));
            let length = Duration::from_millis(if rng.bool() { rng.u64(20..300) } else { rng.u64(300..2_000) });
            faults.push(Fault { at, length, victim, kind });
        }
        faults.sort_by_key(|fault| fault.at);
        Self { number, faults }
    }
}

impl Kind {
    fn of_the_network(rng: &mut Rng, nodes: u16) -> Self {
        match rng.u8(..5) {
            0 => Self::Isolate,
            1 => Self::Deafen,
            2 => Self::Mute,
            3 => Self::Part(rng.u16(1..=nodes)),
            _ => Self::Lose(rng.u8(2..40)),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}:", self.number)?;
        self.faults.iter().try_for_each(|fault| write!(f, " {fault};"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, length, victim, kind } = self;
        write!(f, "at {} ms for {} ms {victim} {kind}", at.as_millis(), length.as_millis())
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Leader(group) => write!(f, "the leader of group {group}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("is killed"),
            Self::Pause => f.write_str("stands still"),
            Self::Isolate => f.write_str("is cut off"),
            Self::Deafen => f.write_str("hears nobody"),
            Self::Mute => f.write_str("is heard by nobody"),
            Self::Part(other) => write!(f, "and node {other} do not hear each other"),
            Self::Lose(percent) => write!(f, "loses {percent} % of the packets"),
        }
    }
}

/// Groups of which one may be named; a cluster has at least so many.
pub const GROUPS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_plan_again() {
        for number in 1..50 {
            let draw = || Round::draw(7, number, 5, Selection::All);
            assert_eq!(draw(), draw());
            assert_ne!(draw().faults, Round::draw(8, number, 5, Selection::All).faults);
        }
    }

    #[test]
    fn no_more_nodes_are_killed_at_once_than_may_forget() {
        for seed in 0..2_000 {
            for nodes in [3, 5] {
                let round = Round::draw(seed, 1, nodes, Selection::All);
                let kills = round.faults.iter().filter(|fault| fault.kind == Kind::Kill).count();
                assert!(kills <= usize::from(nodes / 2), "{round}");
            }
        }
    }
}
