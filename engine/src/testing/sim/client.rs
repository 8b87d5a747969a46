//! Clients: one operation after another on a few keys, and the history of what they saw.
//!
//! Keys are texts (`t0`, `t1`, …: set, appended to, deleted, read) or counters (`n0`, …: incremented, deleted, read). Every
//! text written is another one, so that a read says which write it saw.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::LossGen;
use super::key::{Asked, KeyHistory, KeyOp, Seen};
use crate::group::Level;
use crate::ids::{GroupId, LogIndex, NodeId};
use crate::machine::answer::Answer;
use crate::machine::command::{Command, Op};
use crate::output::{Outcome, Token};
use crate::testing::history::Operation;

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    rng: Rng,
    number: u32,
    keys: u32,
    operations: u32,
    under_way: Option<UnderWay>,
    /// Who has answered last for each group.
    leaders: BTreeMap<GroupId, NodeId>,
}

#[derive(Debug)]
struct UnderWay {
    token: Token,
    key: String,
    asked: Asked,
    called: u64,
    /// The node it was sent to, and for which group.
    node: NodeId,
    group: GroupId,
}

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) token: Token,
    pub(super) key: String,
    pub(super) command: Vec<u8>,
    pub(super) level: Level,
    pub(super) after: LogIndex,
}

/// What all clients saw, by key.
pub(super) type Histories = BTreeMap<String, KeyHistory>;

impl Client {
    pub(super) fn new(number: u32, keys: u32, rng: Rng) -> Self {
        Self { rng, number, keys, operations: 0, under_way: None, leaders: BTreeMap::new() }
    }

    pub(super) fn is_waiting_for(&self, token: Token) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.token == token)
    }

    /// Begins an operation at `called`.
    pub(super) fn begin(&mut self, called: u64) -> Request {
        let number = self.rng.u32(..self.keys);
        let is_counter = number % 3 == 2;
        let key = format!("{}{number}", if is_counter { 'n' } else { 't' });
        let text = || format!("{}.{};", self.number, self.operations).into_bytes();
        let asked = match self.rng.u8(..10) {
            0..4 => Asked::Get,
            4 => Asked::Delete,
            _ if is_counter => Asked::Increment,
            5..8 => Asked::Set(text()),
            _ => Asked::Append(text()),
        };
        let level = if self.rng.u8(..10) == 0 { Level::Accepted } else { Level::Commit };
        self.ask(called, key, asked, level)
    }

    /// Begins an operation on `key`.
    pub(super) fn ask(&mut self, called: u64, key: String, asked: Asked, level: Level) -> Request {
        assert!(self.under_way.is_none(), "one operation after another");
        self.operations += 1;
        let token = Token(u64::from(self.number) << 32 | u64::from(self.operations));
        let mut packed = Vec::new();
        let command = match &asked {
            Asked::Get => Command::new(Op::Get, key.as_bytes()),
            Asked::Set(text) => Command { value: text, ..Command::new(Op::Set, key.as_bytes()) },
            Asked::Append(text) => Command { value: text, ..Command::new(Op::Append, key.as_bytes()) },
            Asked::Increment => Command { number: 1, ..Command::new(Op::Increment, key.as_bytes()) },
            Asked::Delete => {
                crate::machine::command::push_item(&mut packed, key.as_bytes());
                Command { value: &packed, ..Command::new(Op::Delete, b"") }
            }
        };
        let mut bytes = Vec::new();
        command.encode_into(&mut bytes);
        self.under_way = Some(UnderWay { token, key: key.clone(), asked, called, node: NodeId(0), group: GroupId(0) });
        Request { token, key, command: bytes, level, after: LogIndex(0) }
    }

    /// The operation under way ended, as a node said in this loss generation of its group; returns whether it is known to have
    /// been done.
    pub(super) fn end(
        &mut self,
        returned: u64,
        outcome: &Outcome<'_>,
        loss_gen: LossGen,
        histories: &mut Histories,
    ) -> bool {
        let (index, seen) = match outcome {
            Outcome::Done { id, answer } => (id.index, seen(answer)),
            // It certainly never happened, or its end was not waited for.
            Outcome::Refused(_) => {
                self.under_way = None;
                return false;
            }
            Outcome::Accepted { id } | Outcome::Unknown { id } => {
                self.lose(loss_gen, Some(id.index), histories);
                return false;
            }
        };
        let UnderWay { key, asked, called, node, group, .. } =
            self.under_way.take().expect("an operation is under way");
        self.leaders.insert(group, node);
        let op = KeyOp { asked, seen: Some(seen) };
        histories.entry(key).or_default().answer(loss_gen, index, Operation { op, called, returned: Some(returned) });
        true
    }

    /// Nobody will tell how the operation under way ended. It is done in no later loss generation than this one, if at all, and
    /// at this index if one is known.
    pub(super) fn lose(&mut self, latest: LossGen, index: Option<LogIndex>, histories: &mut Histories) {
        let Some(UnderWay { key, asked, called, .. }) = self.under_way.take() else { return };
        if asked != Asked::Get {
            let op = KeyOp { asked, seen: None };
            histories.entry(key).or_default().leave_open(latest, index, Operation { op, called, returned: None });
        }
    }

    /// The operation under way was never sent.
    pub(super) fn give_up(&mut self) {
        self.under_way = None;
    }

    /// The operation under way is on its way to `node`, for `group`. Until it is answered there is no telling who leads that.
    pub(super) fn sent_to(&mut self, node: NodeId, group: GroupId) {
        if let Some(under_way) = &mut self.under_way {
            (under_way.node, under_way.group) = (node, group);
        }
        self.leaders.remove(&group);
    }

    /// Returns who has answered the last operation on `group`.
    pub(super) fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.get(&group).copied()
    }

    /// Returns the token of the operation under way if it was sent to `node`.
    pub(super) fn token_at(&self, node: NodeId) -> Option<Token> {
        self.under_way.as_ref().filter(|under_way| under_way.node == node).map(|under_way| under_way.token)
    }

    /// Returns the group that an operation is about, if it is the one under way.
    pub(super) fn group_of(&self, token: Token) -> Option<GroupId> {
        self.under_way.as_ref().filter(|under_way| under_way.token == token).map(|under_way| under_way.group)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }
}

fn seen(answer: &[u8]) -> Seen {
    match Answer::read(answer).expect("the engine writes whole answers").0 {
        Answer::Ok => Seen::Ok,
        Answer::Nil => Seen::Nil,
        Answer::Int(number) => Seen::Number(number),
        Answer::Bulk(text) => Seen::Text(text.to_vec()),
        other @ (Answer::Word(_) | Answer::Error(_) | Answer::Array { .. } | Answer::Map { .. }) => {
            panic!("an answer to something else: {other:?}")
        }
    }
}
