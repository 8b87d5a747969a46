//! What is on its way: between processes, from them to the core, and from the core to them.

use super::interned::{Interned, Recorder};
use crate::control::record::{Ask, News};
use crate::ids::{Epoch, ReplicaId};
use crate::testing::parcel::OwnedMessage;

/// One piece of mail.
#[derive(Clone, Debug, Hash)]
pub(super) enum Mail {
    /// From one process to another one.
    Letter { from: ReplicaId, to: ReplicaId, epoch: Epoch, message: OwnedMessage },
    /// From a process to the core.
    Ask { from: ReplicaId, ask: Ask },
    /// From the core to everybody.
    News(News),
}

/// All mail that was ever sent.
#[derive(Debug)]
pub(super) struct Mails(Interned<Mail>);

impl Mails {
    pub(super) fn new() -> Self {
        Self(Interned::new())
    }

    pub(super) fn number(&mut self, mail: Mail) -> u32 {
        self.0.number(Recorder::of(&mail), || mail)
    }

    pub(super) fn get(&self, number: u32) -> &Mail {
        self.0.get(number)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
