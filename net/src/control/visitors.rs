//! Those who have connected to this node: who they are, and what they say to the core.

use std::sync::Arc;
use std::time::Duration;

use quorate_engine::control::core::{CoreInput, Standing};
use quorate_engine::ids::{CpuId, Incarnation, NodeId};
use quorate_engine::time::Instant;

use super::words::ToCore;
use super::{Control, Next};
use crate::node::greeting::{self, DoorKind};
use crate::transport::{Close, ConnId};
use crate::wire::{AddressList, Body, BodyLimits, Frame, FrameReader, Reject, RejectCode, Stage};

/// How long a visitor may take to say who it is.
const GREETING_MAX: Duration = Duration::from_secs(2);
/// Connections from other nodes: several runs of all of them.
pub(super) const VISITORS_MAX: usize = 256;

/// Someone who has connected to this node.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) conn: ConnId,
    pub(super) came_at: Instant,
    /// Who, once it has said so.
    pub(super) node: Option<NodeId>,
    /// The first event it was not told, once it wants to be told any.
    pub(super) next_event: Option<u64>,
    /// Which run of its node it was when it came; 0 if it had no name yet.
    pub(super) incarnation: Incarnation,
    /// Its store, if it is a node of the core and has said so.
    pub(super) shown: Option<Standing>,
    /// Whether another process of its node is heard, so that nothing it says counts.
    pub(super) is_rival: bool,
    /// Whether another connection has taken the place of this one.
    pub(super) is_over: bool,
    pub(super) reader: FrameReader,
}

impl Control {
    pub(super) fn close_silent_visitors(&mut self) {
        let is_late = |visitor: &&Visitor| visitor.node.is_none() && self.now.since(visitor.came_at) > GREETING_MAX;
        let late: Vec<ConnId> = self.visitors.iter().filter(is_late).map(|visitor| visitor.conn).collect();
        late.into_iter().for_each(|conn| self.outbox.close(conn, Close::Now));
    }

    pub(super) fn visitor_received(&mut self, index: usize, bytes: &[u8]) {
        let empty = FrameReader::new(Stage::Greeting, BodyLimits::DEFAULT);
        let conn = self.visitors[index].conn;
        let mut reader = core::mem::replace(&mut self.visitors[index].reader, empty);
        let mut frames = reader.frames(bytes);
        while let Some(frame) = frames.next() {
            let next = match frame {
                Ok(frame) => self.handle_visitor_frame(index, &frame),
                Err(error) => {
                    let text = error.to_string();
                    self.reject(conn, &Reject { code: RejectCode::Malformed, theirs: 0, ours: 0, text: &text });
                    Next::Close
                }
            };
            match next {
                Next::Stay => {}
                Next::Enter => frames.enter(Stage::Core),
                Next::Close => {
                    self.outbox.close(conn, Close::AfterFlush);
                    break;
                }
            }
        }
        drop(frames);
        self.visitors[index].reader = reader;
    }

    fn handle_visitor_frame(&mut self, index: usize, frame: &Frame<'_>) -> Next {
        let Visitor { conn, node, is_rival, is_over, .. } = self.visitors[index];
        match (frame.body, node) {
            _ if is_over => Next::Close,
            _ if is_rival => Next::Stay,
            (Body::Hello(hello), None) => {
                if let Some((code, [theirs, ours], text)) =
                    greeting::objection(&self.facts, &self.members, &hello, DoorKind::Control)
                {
                    self.reject(conn, &Reject { code, theirs, ours, text: &text });
                    return Next::Close;
                }
                let facts = Arc::clone(&self.facts);
                let welcome = greeting::welcome(&facts, self.run, CpuId(0), AddressList::default());
                if let Ok(buffer) = self.outbox.buffer(conn) {
                    welcome.encode(buffer.as_vec());
                }
                // What is left of an earlier connection must not come after what comes over this one.
                for earlier in self.visitors.iter_mut().filter(|visitor| visitor.node == Some(hello.node)) {
                    earlier.is_over = true;
                    self.outbox.close(earlier.conn, Close::Now);
                }
                let visitor = &mut self.visitors[index];
                (visitor.node, visitor.incarnation) = (Some(hello.node), hello.incarnation);
                self.tell_all(conn, hello.node);
                Next::Enter
            }
            (Body::Control(control), Some(node)) => match serde_json::from_str(control.json) {
                Ok(words) => {
                    self.handle_to_core(index, node, words);
                    Next::Stay
                }
                Err(error) => {
                    let text = format!("a control frame that this version does not understand: {error}");
                    self.reject(conn, &Reject { code: RejectCode::Malformed, theirs: 0, ours: 0, text: &text });
                    Next::Close
                }
            },
            (_, _) => Next::Close,
        }
    }

    fn reject(&mut self, conn: ConnId, reject: &Reject<'_>) {
        tracing::warn!(code = ?reject.code, text = reject.text, "connection to the consistent core refused");
        if let Ok(buffer) = self.outbox.buffer(conn) {
            reject.encode(buffer.as_vec());
        }
    }

    /// Handles what another node says to the core.
    fn handle_to_core(&mut self, index: usize, from: NodeId, words: ToCore) {
        match words {
            ToCore::Register { .. } if self.is_rival(index) => {}
            ToCore::Register { nonce } => self.input(CoreInput::Register { node: from, nonce }),
            ToCore::Heartbeat(heartbeat) if heartbeat.from.node == from => self.input(CoreInput::Heartbeat(heartbeat)),
            ToCore::Ask { from: run, group, ask } if run.node == from => {
                self.input(CoreInput::Ask { from: run, group, ask });
            }
            ToCore::Events { next } => {
                self.visitors[index].next_event = Some(next);
                self.tell_events();
            }
            ToCore::Operate { from: run, number, operation } if run.node == from => {
                self.input(CoreInput::Operate { from: run, number, operation });
            }
            ToCore::Store(standing) => self.hear_visitor(index, from, standing),
            ToCore::Era(era) => self.hear_era(from, era),
            ToCore::Consensus { era, message } => self.input(CoreInput::Message { from, era, message }),
            ToCore::Heartbeat(_) | ToCore::Ask { .. } | ToCore::Operate { .. } => {
                tracing::warn!(node = from.0, "a node speaks for another one; dropped");
            }
        }
    }
}
