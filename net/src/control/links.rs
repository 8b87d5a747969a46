//! The ways to the other nodes of the core, dialled by this one.

use std::time::Duration;

use quorate_engine::control::core::CoreInput;
use quorate_engine::ids::NodeId;
use quorate_engine::time::Instant;

use super::words::{FromCore, ToCore};
use super::{Control, Next};
use crate::node::greeting;
use crate::transport::{Close, ConnId};
use crate::wire::{Body, BodyLimits, Frame, FrameReader, Reject, Stage};

/// How long a link that broke, or could not be dialled, stays alone.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// The way to another node of the core.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) state: LinkState,
    pub(super) retry_at: Instant,
    /// Whether it has been said that this node is not let in: once is enough.
    pub(super) is_refusal_said: bool,
    /// The number of the last store of its node of which was said that the core does not know it.
    pub(super) stranger_said: Option<u64>,
    /// Whether it has been said that another process of this node is heard there.
    pub(super) is_occupied_said: bool,
}

#[derive(Debug)]
pub(super) enum LinkState {
    Down,
    Dialled(ConnId, FrameReader),
    Up(ConnId, FrameReader),
}

impl Control {
    pub(super) fn dial(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.retry_at = self.now.saturating_add(RETRY_EVERY);
        let Some(address) = self.facts.peer_door(link.node, None) else { return };
        if let Ok(conn) = self.outbox.connect(address) {
            link.state = LinkState::Dialled(conn, FrameReader::new(Stage::Answering, BodyLimits::DEFAULT));
        }
    }

    pub(super) fn link_received(&mut self, index: usize, bytes: &[u8]) {
        let state = core::mem::replace(&mut self.links[index].state, LinkState::Down);
        let (LinkState::Dialled(conn, mut reader) | LinkState::Up(conn, mut reader)) = state else { return };
        let mut is_up = reader.stage() == Stage::Core;
        let mut frames = reader.frames(bytes);
        let mut is_over = false;
        while let Some(frame) = frames.next() {
            match frame.map(|frame| self.handle_link_frame(index, conn, &frame)) {
                Ok(Next::Stay) => {}
                Ok(Next::Enter) => {
                    is_up = true;
                    frames.enter(Stage::Core);
                }
                Ok(Next::Close) => is_over = true,
                Err(error) => {
                    tracing::warn!(node = self.links[index].node.0, %error, "a node of the core sent what is no frame");
                    is_over = true;
                }
            }
            if is_over {
                break;
            }
        }
        drop(frames);
        if is_over {
            self.outbox.close(conn, Close::Now);
        }
        self.links[index].state = if is_up { LinkState::Up(conn, reader) } else { LinkState::Dialled(conn, reader) };
        if is_up && !is_over && self.register_at > self.now && self.run.is_none() {
            // It may be the one that leads.
            self.register_at = self.now;
        }
    }

    fn handle_link_frame(&mut self, index: usize, conn: ConnId, frame: &Frame<'_>) -> Next {
        let node = self.links[index].node;
        match frame.body {
            Body::Welcome(welcome) if greeting::is_expected(&self.facts, &welcome, node) => {
                self.links[index].is_refusal_said = false;
                if let Some(standing) = self.standing() {
                    self.send(conn, &ToCore::Store(standing));
                }
                let next = self.shared.exchange.journal().next();
                self.send(conn, &ToCore::Events { next });
                self.input(CoreInput::Connected(node));
                Next::Enter
            }
            Body::Welcome(welcome) => {
                self.say_refused(index, "another node than expected answers; check [[peers]]", welcome.node);
                Next::Close
            }
            Body::Reject(Reject { text, .. }) => {
                self.say_refused(index, text, node);
                Next::Close
            }
            Body::Control(control) => match serde_json::from_str(control.json) {
                Ok(words) => {
                    let is_unwanted = matches!(words, FromCore::Occupied);
                    self.handle_from_core(node, words);
                    if is_unwanted { Next::Close } else { Next::Stay }
                }
                Err(error) => {
                    tracing::warn!(node = node.0, %error, "a node of the core says what this one does not understand");
                    self.outbox.close(conn, Close::Now);
                    Next::Close
                }
            },
            _ => Next::Close,
        }
    }

    fn say_refused(&mut self, index: usize, text: &str, by: NodeId) {
        let link = &mut self.links[index];
        if !core::mem::replace(&mut link.is_refusal_said, true) {
            tracing::error!(node = by.0, text, "a node of the consistent core does not let this node in");
        }
    }

    fn handle_from_core(&mut self, from: NodeId, words: FromCore) {
        match words {
            FromCore::Store(standing) => self.hear_standing(from, standing),
            FromCore::Era(era) => self.hear_era(from, era),
            FromCore::Occupied => self.hear_occupied(from),
            FromCore::Registered { run, nonce } => self.hear_registered(run, nonce),
            FromCore::Current { run } => self.hear_current(run),
            FromCore::Events(events) => {
                self.hear_events(&events);
            }
            FromCore::Operated { to, number, outcome } => self.hear_outcome(to, number, outcome),
            FromCore::Unwelcome(why) => self.hear_unwelcome(why),
            FromCore::Roster { version, doors, removed } => self.hear_roster(version, &doors, &removed),
            FromCore::News { group, news, missing } => self.hear_news(group, *news, missing),
        }
    }
}

impl Link {
    pub(super) fn up(&self) -> Option<ConnId> {
        match self.state {
            LinkState::Up(conn, _) => Some(conn),
            LinkState::Down | LinkState::Dialled(..) => None,
        }
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.state {
            LinkState::Up(conn, _) | LinkState::Dialled(conn, _) => Some(conn),
            LinkState::Down => None,
        }
    }
}
