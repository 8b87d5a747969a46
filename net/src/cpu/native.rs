//! Connections that speak the native protocol: clients, and other nodes.
//!
//! The first frame of each end says who it is; until then nothing else is read, and from then on only the kinds of
//! frames that fit. What is wrong is answered with a `Reject` that says what to do, and the connection is closed.

use quorate_engine::ids::{CpuId, GroupId, Incarnation, NodeId, ReplicaId};
use quorate_engine::machine::command::{Command, Op};

use crate::node::facts::Facts;
use crate::node::greeting::{self, DoorKind, Objection};
use crate::transport::{Close, ConnId};
use crate::wire::{
    About, Body, Certainty, DecodeError, Frame, FrameReader, Hello, Refusal, RefusalCode, Reject, RejectCode, Role,
    Stage, StatusReply, WIRE_VERSION, Welcome, push_address,
};

use super::ending::Ending;
use super::front::Front;
use super::peers::Greeted;
use super::requests::{Key, Origin};
use super::{Cpu, Task, task_of};

/// One connection.
#[derive(Debug)]
pub(super) struct Native {
    /// `None` while its frames are being handled.
    reader: Option<FrameReader>,
    pub(super) party: Party,
    /// Whether it takes no more bytes for now.
    pub(super) is_congested: bool,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// It has connected and not said who it is.
    Stranger {
        /// The door it came to.
        door: DoorKind,
    },
    /// A node that this one has dialled and that has not answered.
    Dialled {
        /// Which one it should be.
        node: NodeId,
    },
    /// A client.
    Client,
    /// Another node.
    Peer {
        /// Which run of it.
        replica: ReplicaId,
    },
}

/// What becomes of a connection after a frame.
enum Next {
    Stay,
    Enter(Stage),
    Close,
}

impl Native {
    pub(super) fn new(reader: FrameReader, party: Party) -> Self {
        Self { reader: Some(reader), party, is_congested: false }
    }

    /// Returns the replica at the other end, if it is a node.
    pub(super) fn peer(&self) -> Option<ReplicaId> {
        match self.party {
            Party::Peer { replica } => Some(replica),
            Party::Stranger { .. } | Party::Dialled { .. } | Party::Client => None,
        }
    }
}

impl Front {
    /// Says who this node is to the one it has dialled.
    pub(super) fn greet(&mut self, conn: ConnId) {
        let facts = std::sync::Arc::clone(&self.facts);
        let hello = greeting::hello(&facts, Role::Peer, self.run, self.id);
        self.send_frame(conn, |out| hello.encode(out));
    }

    fn welcome(&mut self, conn: ConnId, role: Role) {
        let facts = std::sync::Arc::clone(&self.facts);
        let mut addresses = Vec::new();
        if role == Role::Client {
            for (node, at) in self.members.nodes() {
                push_address(&mut addresses, node, &join(&at.host, at.native_port));
            }
        }
        let welcome = greeting::welcome(&facts, self.run, self.id, crate::wire::AddressList::new(&addresses));
        self.send_frame(conn, |out| welcome.encode(out));
    }

    fn reject(&mut self, conn: ConnId, reject: &Reject<'_>) {
        tracing::warn!(cpu = self.id.0, code = ?reject.code, text = reject.text, "connection refused");
        self.send_frame(conn, |out| reject.encode(out));
        self.outbox.close(conn, Close::AfterFlush);
    }

    /// Returns why whoever says `hello` is not let in.
    fn objection(&self, hello: &Hello<'_>, door: DoorKind) -> Option<Objection> {
        greeting::objection(&self.facts, &self.members, hello, door).or_else(|| {
            let text = format!("node {} has not been registered with the consistent core yet", self.facts.node);
            let is_early = hello.role == Role::Peer && self.run.is_none();
            is_early.then_some((RejectCode::NotRegistered, [0; 2], text))
        })
    }
}

/// Joins a host and a port.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Cpu {
    pub(super) fn native_received(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(mut reader) = self.front.conns.native_mut(conn).and_then(|native| native.reader.take()) else {
            return;
        };
        let mut frames = reader.frames(bytes);
        while let Some(frame) = frames.next() {
            let next = match frame {
                Ok(frame) => self.handle_frame(conn, &frame),
                Err(error) => {
                    self.refuse_bytes(conn, &error);
                    Next::Close
                }
            };
            match next {
                Next::Stay => {}
                Next::Enter(stage) => frames.enter(stage),
                Next::Close => {
                    self.front.outbox.close(conn, Close::AfterFlush);
                    break;
                }
            }
        }
        drop(frames);
        if let Some(native) = self.front.conns.native_mut(conn) {
            native.reader = Some(reader);
        }
    }

    fn refuse_bytes(&mut self, conn: ConnId, error: &DecodeError) {
        let (code, theirs, ours) = match error {
            DecodeError::Version { theirs, .. } => {
                (RejectCode::WrongVersion, u64::from(*theirs), u64::from(WIRE_VERSION))
            }
            _ => (RejectCode::Malformed, 0, 0),
        };
        self.front.reject(conn, &Reject { code, theirs, ours, text: &error.to_string() });
    }

    fn handle_frame(&mut self, conn: ConnId, frame: &Frame<'_>) -> Next {
        let Some(party) = self.front.conns.native_mut(conn).map(|native| native.party) else { return Next::Close };
        match (&frame.body, party) {
            (Body::Message(message), Party::Peer { replica }) => {
                let envelope = quorate_engine::message::Envelope {
                    from: replica,
                    group: frame.about.group,
                    epoch: frame.about.epoch,
                    message: *message,
                };
                self.on_message(envelope);
                Next::Stay
            }
            (Body::Request(request), Party::Client | Party::Peer { .. }) => {
                self.handle_request(conn, frame.about.group, request);
                Next::Stay
            }
            (Body::Reply(reply), Party::Peer { .. }) => {
                self.front.complete(Key(reply.head.number), &Ending::from_reply(frame.about, reply));
                Next::Stay
            }
            (Body::Refusal(refusal), Party::Peer { .. }) => {
                let (key, ending) = (Key(refusal.number), Ending::from_refusal(refusal));
                match (refusal.certainty, refusal.code) {
                    (Certainty::Never, RefusalCode::NotLeader) => self.front.retry(key, &ending),
                    (Certainty::Never | Certainty::Unknown, _) => self.front.complete(key, &ending),
                }
                Next::Stay
            }
            (Body::Publish(publish), Party::Peer { .. }) => {
                self.front.deliver(publish);
                self.front.spread(publish, false);
                Next::Stay
            }
            (Body::Status(status), Party::Client) => {
                let json = self.local_status().to_string();
                let number = status.number;
                self.front.send_frame(conn, |out| StatusReply { number, json: &json }.encode(out));
                Next::Stay
            }
            (Body::Hello(hello), Party::Stranger { door }) => self.handle_hello(conn, hello, door),
            (Body::Welcome(welcome), Party::Dialled { node }) => self.handle_welcome(conn, welcome, node),
            (Body::Reject(reject), _) => {
                tracing::warn!(cpu = self.front.id.0, code = ?reject.code, text = reject.text, "a node refused this one");
                Next::Close
            }
            // The stage of the reader lets nothing else through.
            (_, _) => Next::Close,
        }
    }

    fn handle_hello(&mut self, conn: ConnId, hello: &Hello<'_>, door: DoorKind) -> Next {
        if let Some((code, [theirs, ours], text)) = self.front.objection(hello, door) {
            self.front.reject(conn, &Reject { code, theirs, ours, text: &text });
            return Next::Close;
        }
        self.front.welcome(conn, hello.role);
        match hello.role {
            // It is let in at the door of the control thread only.
            Role::Control => Next::Close,
            Role::Client => {
                self.set_party(conn, Party::Client);
                Next::Enter(Stage::Client)
            }
            Role::Peer => {
                self.join_peer(conn, hello.node, hello.incarnation, hello.cpu, hello.cpu_count);
                Next::Enter(Stage::Peer)
            }
        }
    }

    fn handle_welcome(&mut self, conn: ConnId, welcome: &Welcome<'_>, node: NodeId) -> Next {
        if !greeting::is_expected(&self.front.facts, welcome, node) {
            tracing::warn!(
                expected = node.0,
                found = welcome.node.0,
                "another node than expected answers; check [[peers]]"
            );
            return Next::Close;
        }
        self.join_peer(conn, node, welcome.incarnation, welcome.cpu, welcome.cpu_count);
        Next::Enter(Stage::Peer)
    }

    fn join_peer(&mut self, conn: ConnId, node: NodeId, incarnation: Incarnation, cpu: CpuId, cpu_count: u16) {
        let replica = ReplicaId { node, incarnation };
        self.set_party(conn, Party::Peer { replica });
        let facts = std::sync::Arc::clone(&self.front.facts);
        let greeted = Greeted { peer: replica, cpu, cpu_count, conn, at: self.front.now };
        let (change, replaced) = self.front.peers.on_greeted(&facts, self.front.id, greeted);
        for old in replaced {
            // Whoever dialled this one only to learn which doors there are must still read our greeting.
            let close = if old == conn { Close::AfterFlush } else { Close::Now };
            self.front.outbox.close(old, close);
        }
        self.on_change(change);
    }

    fn set_party(&mut self, conn: ConnId, party: Party) {
        if let Some(native) = self.front.conns.native_mut(conn) {
            native.party = party;
        }
    }

    fn handle_request(&mut self, conn: ConnId, group: GroupId, request: &crate::wire::Request<'_>) {
        let number = request.head.number;
        let origin = Origin::Native { conn, number };
        let task = task_of(&self.front.facts, group, request);
        match objection(&self.front.facts, &task, &request.command) {
            None if self.front.is_stopping => {
                let text = "UNAVAILABLE this node is going down; connect to another one";
                self.refuse(conn, number, RefusalCode::Stopping, text);
            }
            None => self.execute(origin, &task),
            Some((code, text)) => self.refuse(conn, number, code, text),
        }
    }

    fn refuse(&mut self, conn: ConnId, number: u64, code: RefusalCode, text: &str) {
        let refusal = Refusal { number, certainty: Certainty::Never, code, details: [0; 2], text };
        self.front.send_frame(conn, |out| refusal.encode(out, About::NOTHING));
    }
}

/// Returns why a command of someone else cannot be executed in `group`: its keys must lie there, together.
fn objection(facts: &Facts, task: &Task<'_>, command: &Command<'_>) -> Option<(RefusalCode, &'static str)> {
    let Task { group, slot, .. } = *task;
    let slots = facts.placement.slots();
    if group.0 >= slots.group_count() {
        return Some((RefusalCode::NotLeader, "NOTLEADER there is no such group; ask for the map again"));
    }
    if command.op == Op::Expired {
        return Some((RefusalCode::NotBuilt, "ERR keys are ended by the leader alone"));
    }
    if command.op.is_keyless() {
        return None;
    }
    if slots.group_of(slot) != group {
        return Some((RefusalCode::NotLeader, "NOTLEADER the key belongs to another group; ask for the map again"));
    }
    let is_together = !command.op.keys_are_items() || command.lies_in(slot);
    (!is_together).then_some((RefusalCode::CrossSlot, "CROSSSLOT Keys in request don't hash to the same slot"))
}
