//! How a request ended, in the words that all doors and the wire share.

use quorate_engine::ids::{EntryId, GroupId, LogIndex};
use quorate_engine::output::{Outcome, Refusal as EngineRefusal};

use crate::wire::{About, Certainty, Level, Refusal, RefusalCode, Reply, ReplyHead};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending<'a> {
    /// It was executed.
    Done { about: About, loss_gen: u64, index: LogIndex, answer: &'a [u8] },
    /// It was appended.
    Accepted { about: About, loss_gen: u64, index: LogIndex },
    /// It was refused, or nobody knows.
    Failed(Failed),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) certainty: Certainty,
    pub(crate) code: RefusalCode,
    pub(crate) details: [u64; 2],
    /// Begins with an upper-case code.
    pub(crate) text: String,
}

impl Failed {
    /// It never happened and never will.
    pub(crate) fn never(code: RefusalCode, details: [u64; 2], text: impl Into<String>) -> Self {
        Self { certainty: Certainty::Never, code, details, text: text.into() }
    }

    /// It may have happened.
    pub(crate) fn unknown(code: RefusalCode, text: impl Into<String>) -> Self {
        Self { certainty: Certainty::Unknown, code, details: [0; 2], text: text.into() }
    }
}

impl From<&EngineRefusal> for Failed {
    fn from(refusal: &EngineRefusal) -> Self {
        let (code, details) = match *refusal {
            EngineRefusal::NoQuorum { have, need, .. } | EngineRefusal::NoLease { have, need, .. } => {
                (RefusalCode::NoQuorum, [have as u64, need as u64])
            }
            EngineRefusal::Unavailable { witnesses, .. } => (RefusalCode::Unavailable, [witnesses as u64, 0]),
            EngineRefusal::NotLeader { leader, .. } => (RefusalCode::NotLeader, [u64::from(leader.0), 0]),
            EngineRefusal::NotHere { .. } => (RefusalCode::NotLeader, [0; 2]),
            EngineRefusal::Overload { retry_after, .. } => {
                (RefusalCode::Overload, [u64::try_from(retry_after.as_micros()).unwrap_or(u64::MAX), 0])
            }
            EngineRefusal::OutOfMemory { used, max } => (RefusalCode::OutOfMemory, [used as u64, max as u64]),
            EngineRefusal::KeyTooLong { len, max }
            | EngineRefusal::ValueTooLarge { len, max }
            | EngineRefusal::CommandTooLarge { len, max } => (RefusalCode::TooLarge, [len as u64, max as u64]),
            _ => (RefusalCode::Unavailable, [0; 2]),
        };
        Self::never(code, details, refusal.to_string())
    }
}

impl<'a> Ending<'a> {
    /// Returns the ending that the engine's outcome means for a request to `group`, whose writes have been given up so often.
    pub(crate) fn of(outcome: &Outcome<'a>, group: GroupId, loss_gen: u64) -> Self {
        let about = |id: EntryId| About { group, epoch: id.epoch };
        match *outcome {
            Outcome::Done { id, answer } => Self::Done { about: about(id), loss_gen, index: id.index, answer },
            Outcome::Accepted { id } => Self::Accepted { about: about(id), loss_gen, index: id.index },
            Outcome::Refused(ref refusal) => Self::Failed(refusal.into()),
            Outcome::Unknown { id } => Self::Failed(Failed::unknown(
                RefusalCode::Timeout,
                format!(
                    "UNKNOWN entry {id} of group {group} was appended and not confirmed in time; it may still take effect"
                ),
            )),
        }
    }

    /// Appends it to `out` as a frame that answers the request `number`.
    pub(crate) fn encode(&self, number: u64, out: &mut Vec<u8>) {
        let head = |level, index, loss_gen| ReplyHead { number, level, index, loss_gen };
        match self {
            Self::Done { about, loss_gen, index, answer } => {
                Reply { head: head(Level::Commit, *index, *loss_gen), answer }.encode(out, *about);
            }
            Self::Accepted { about, loss_gen, index } => {
                Reply { head: head(Level::Accepted, *index, *loss_gen), answer: &[] }.encode(out, *about);
            }
            Self::Failed(failed) => {
                let Failed { certainty, code, details, ref text } = *failed;
                Refusal { number, certainty, code, details, text }.encode(out, About::NOTHING);
            }
        }
    }

    /// Returns what a reply frame says.
    pub(crate) fn from_reply(about: About, reply: &Reply<'a>) -> Self {
        let ReplyHead { level, index, loss_gen, .. } = reply.head;
        match level {
            Level::Commit => Self::Done { about, loss_gen, index, answer: reply.answer },
            Level::Accepted => Self::Accepted { about, loss_gen, index },
        }
    }

    /// Returns what a refusal frame says.
    pub(crate) fn from_refusal(refusal: &Refusal<'_>) -> Self {
        Self::Failed(Failed {
            certainty: refusal.certainty,
            code: refusal.code,
            details: refusal.details,
            text: refusal.text.to_owned(),
        })
    }
}
