//! What the host asks a thread of the cluster, rarely: a locked queue that the thread looks at now and then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::idle::Bed;
use crate::engine::Engine;
use crate::group::GroupStatus;
use crate::ids::{EntryId, GroupId, NodeId};
use crate::machine::answer::{Answer, AnswerSink};
use crate::machine::command::Command;

/// One replica's groups as they are at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which replica: the leader is node 1.
    pub node: NodeId,
    /// Its groups.
    pub groups: Vec<GroupStatus>,
}

/// What a read of a replica's own state gave; it may be old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// The last entry that this replica had applied.
    pub applied: EntryId,
    /// The answer as bytes; see [`crate::machine::answer`].
    pub bytes: Vec<u8>,
}

impl Peeked {
    /// Returns the answer; of arrays and maps, the head, whose members are read from its `rest`.
    ///
    /// # Panics
    /// Never: the state machine writes whole answers.
    #[must_use]
    pub fn answer(&self) -> Answer<'_> {
        Answer::read(&self.bytes).expect("the state machine writes whole answers").0
    }
}

/// A question about the replicas of one thread.
#[derive(Debug)]
pub(super) enum Query {
    Status { reply: Sender<Vec<NodeStatus>> },
    Peek { node: NodeId, group: GroupId, command: Vec<u8>, reply: Sender<Option<Peeked>> },
}

impl Query {
    /// Answers the question for `engines`.
    pub(super) fn answer<'a>(self, engines: impl Iterator<Item = (NodeId, &'a Engine)>) {
        // If nobody waits for the answer any more, it is lost, as it should be.
        match self {
            Self::Status { reply } => {
                let status = |(node, engine): (NodeId, &Engine)| NodeStatus { node, groups: engine.status() };
                let _ = reply.send(engines.map(status).collect());
            }
            Self::Peek { node, group, command, reply } => {
                let engine = engines.into_iter().find(|(other, _)| *other == node);
                let _ = reply.send(engine.and_then(|(_, engine)| peek(engine, group, &command)));
            }
        }
    }
}

fn peek(engine: &Engine, group: GroupId, command: &[u8]) -> Option<Peeked> {
    let command = Command::decode(command).ok()?;
    let mut bytes = Vec::new();
    let applied = engine.peek(group, &command, &mut AnswerSink::into(&mut bytes))?;
    Some(Peeked { applied, bytes })
}

/// Where a thread finds what it is asked.
#[derive(Debug)]
pub(super) struct Inbox<A> {
    state: Mutex<State<A>>,
    bed: Arc<Bed>,
}

#[derive(Debug)]
struct State<A> {
    asks: VecDeque<A>,
    is_closed: bool,
}

impl<A> Inbox<A> {
    pub(super) fn new(bed: Arc<Bed>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { asks: VecDeque::new(), is_closed: false }), bed })
    }

    /// Asks the thread; nothing happens if it has ended.
    pub(super) fn send(&self, ask: A) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        state.asks.push_back(ask);
        drop(state);
        self.bed.wake();
    }

    /// Takes what was asked first.
    pub(super) fn take(&self) -> Option<A> {
        self.state.lock().asks.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().asks.is_empty()
    }

    /// Takes nothing any more; what was asked and not taken is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let asks = core::mem::take(&mut state.asks);
        drop(state);
        drop(asks);
    }
}

impl<A: From<Query>> Inbox<A> {
    /// Asks for the status of the thread's replicas.
    pub(super) fn ask_status(&self) -> Receiver<Vec<NodeStatus>> {
        let (reply, receiver) = channel();
        self.send(A::from(Query::Status { reply }));
        receiver
    }

    /// Reads the state of one of them; `None` if the thread has ended or does not have it.
    pub(super) fn peek(&self, node: NodeId, group: GroupId, command: &Command<'_>) -> Option<Peeked> {
        let (reply, receiver) = channel();
        let mut bytes = Vec::with_capacity(command.encoded_len());
        command.encode_into(&mut bytes);
        self.send(A::from(Query::Peek { node, group, command: bytes, reply }));
        receiver.recv().ok()?
    }
}

/// A thread of the cluster, its inbox, and what makes it end.
#[derive(Debug)]
pub(super) struct Worker<A, R> {
    pub(super) inbox: Arc<Inbox<A>>,
    pub(super) stop: fn() -> A,
    pub(super) thread: Option<JoinHandle<R>>,
}

impl<A, R> Worker<A, R> {
    /// Ends the thread and returns what it had to say; `None` if that was done before, or it panicked.
    pub(super) fn stop(&mut self) -> Option<R> {
        let thread = self.thread.take()?;
        self.inbox.send((self.stop)());
        thread.join().ok()
    }
}

impl<A, R> Drop for Worker<A, R> {
    fn drop(&mut self) {
        self.stop();
    }
}
