//! A model of one group for a model checker: the engines and the core are those that are shipped, and everything that can
//! happen to them within [`Bounds`] does, in every order.
//!
//! A state of the model ([`World`]) is: the state of each process, the state of the core, the mail that was sent, the clock, and what
//! was shown to clients. It changes by one [`Action`] at a time. The checker is somebody else's; this only says what can happen
//! next, what comes of it, and whether that must never be ([`Fault`]).
//!
//! # What is left out, and why that is sound
//! - *Mail* is never taken away by loss: what is lost is what never comes. Whether it can be overtaken, or come again, is one of
//!   the bounds ([`Links`]). As nothing has to be repeated, the timers that repeat are set so that they do not run out.
//! - *Mail that can do nothing any more is forgotten*: what its receiver would only refuse, because it has promised a later epoch; what
//!   answers somebody who does not ask any more; acknowledgements and, where there is no clock, appends that say nothing
//!   new to whoever they would reach now. All but the last have no effect whenever they come. An acknowledgement that
//!   comes late could end a leader's search for where two logs meet; the answer to what it has asked does so too.
//!   *Refusals* are not sent: all they do is have a leader ask the core for a change, and the core makes any change at any time.
//! - *Connections* stand while both processes live. One that is lost and made again changes how a leader goes on sending, and
//!   nothing else. When a process starts, the others meet it one after the other, each at its own time; until then they
//!   read what the one before had sent.
//! - *Turns* hold one input. A turn with several does what several turns do, but for messages in between, which may be lost
//!   anyway.
//! - *Time* is one clock for all, in ticks; who looks at it late has stood still. Clocks that differ are the simulator's. Where
//!   it is not about leases there is no such clock, reads are not judged, and every wait may be over when it begins: so
//!   whatever can happen at any speed does.
//! - *The core* is one register: that its nodes agree is taken for granted. It decides on changes by itself, whoever asks; what
//!   it says comes like any mail, each version for itself, in any order.
//! - *Reads* that can be answered at once are asked in every state, as they change nothing. Other reads are counted.
//! - *Memory* is plenty: nothing leaves the logs, so there are no snapshots. A write fills a message by itself.
//! - *Commit notices*, which tell followers what is committed when nothing else does, are not waited for.
//! - *Losses* are accepted once they are true, so that nobody has to be told that it is dead; but where an operator lies.
//! - *The beginning* is past: the first leader has its first entry committed, everybody knows, and no mail is under way.
//!
//! # States that are the same
//! Two processes are in the same state if they feed the same to a hasher ([`Engine::fingerprint`]); every field of every type is
//! in that, or named where it is left out. Whenever a process comes to a known state by a new way, it is made to do what was done
//! there before, and must do the same.
//!
//! [`Engine::fingerprint`]: crate::engine::Engine
//!
//! # Source
//! The replication protocol, sections 1 and 2.

mod bounds;
mod core;
mod interned;
mod judge;
mod mail;
mod post;
mod process;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use bounds::{Bounds, Change, Links, Order};
pub use world::{Action, Fault, World};

use interned::Interned;
use mail::{Mail, Mails};
use process::{GROUP, Processes};
use world::Tables;

/// See the module.
#[derive(Debug)]
pub struct Model {
    bounds: Bounds,
    tables: Mutex<Tables>,
}

/// How much was met on the way.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// States of processes.
    pub processes: usize,
    /// Different pieces of mail.
    pub mail: usize,
    /// States of the core.
    pub cores: usize,
    /// Inputs that engines have handled.
    pub steps: u64,
}

impl Model {
    /// Creates a model of this size.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let tables = Tables {
            processes: Processes::new(bounds.lease_ticks, core::slots().slots_of(GROUP)),
            mails: Mails::new(),
            cores: core::Cores::new(),
            chains: Interned::new(),
            is_timed: bounds.ticks > 0,
            links: bounds.links,
        };
        Self { bounds, tables: Mutex::new(tables) }
    }

    /// Returns its first state.
    #[must_use]
    pub fn start(&self) -> World {
        self.tables().start(&self.bounds)
    }

    /// Returns what can happen in a state and changes it; nothing once there is a fault.
    #[must_use]
    pub fn actions(&self, world: &World) -> Vec<Action> {
        self.tables().actions(world, &self.bounds)
    }

    /// Returns the state after an action.
    #[must_use]
    pub fn next(&self, world: &World, action: &Action) -> World {
        self.tables().next(world, action)
    }

    /// Tells what an action is.
    #[must_use]
    pub fn describe(&self, action: &Action) -> String {
        let (Action::Deliver { mail } | Action::Tell { mail, .. } | Action::Ask { mail }) = action else {
            return format!("{action:?}");
        };
        match self.tables().mails.get(*mail) {
            Mail::Letter { from, to, epoch, message } => format!("{from:?} -> {to:?} at {epoch}: {}", message.brief()),
            Mail::Ask { from, ask } => format!("{from:?} -> core: {ask:?}"),
            Mail::News(news) => {
                let told = if let Action::Tell { node, .. } = action { *node } else { 0 };
                let pending = news.pending.as_ref().map(|change| (change.kind, change.config.epoch));
                format!("core -> {told}: {} active, {pending:?} pending", news.active.epoch)
            }
        }
    }

    /// Returns how much was met so far.
    #[must_use]
    pub fn met(&self) -> Met {
        let tables = self.tables();
        Met {
            processes: tables.processes.len(),
            mail: tables.mails.len(),
            cores: tables.cores.len(),
            steps: tables.processes.steps,
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Whoever panicked was an engine, and has not changed the tables.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
