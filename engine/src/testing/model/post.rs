//! What becomes of mail: in which order it comes, and when it can do nothing any more.
//!
//! What can do nothing is forgotten, so that states which differ in nothing else are one. Where rules are taken away, nothing
//! is but letters to whoever has ended: it is the rules that say so.

use super::bounds::Links;
use super::mail::Mail;
use super::process::Act;
use super::world::{Tables, World};
use crate::control::record::Ask;
use crate::ids::ReplicaId;
use crate::message::Message;

impl Tables {
    /// Puts a piece of mail on its way: behind the others of its link, if that keeps them in order.
    pub(super) fn send(&self, world: &mut World, mail: u32) {
        let link = |mail: &u32| match self.mails.get(*mail) {
            Mail::Letter { from, to, .. } if self.links == Links::Ordered => (Some((*from, *to)), 0),
            Mail::Letter { .. } | Mail::Ask { .. } | Mail::News(_) => (None, *mail),
        };
        let place = world.mail.partition_point(|other| link(other) <= link(&mail));
        if place == 0 || world.mail[place - 1] != mail {
            world.mail.insert(place, mail);
        }
    }

    /// Takes a letter that comes from its link, and with it those that are lost by that.
    pub(super) fn receive(&self, world: &mut World, mail: u32) {
        let place = world.mail.iter().position(|other| *other == mail).expect("it is on its way");
        match self.links {
            Links::Ordered => {
                let link = |mail: u32| match self.mails.get(mail) {
                    Mail::Letter { from, to, .. } => Some((*from, *to)),
                    Mail::Ask { .. } | Mail::News(_) => None,
                };
                let first = world.mail.iter().position(|other| link(*other) == link(mail)).unwrap_or(place);
                world.mail.drain(first..=place);
            }
            Links::Unordered => drop(world.mail.remove(place)),
            Links::Repeating => {}
        }
    }

    /// Whether an act would change anything.
    pub(super) fn matters(&mut self, world: &World, node: u16, act: Act) -> bool {
        self.would_matter(world, node, act, world.clock(node))
    }

    pub(super) fn would_matter(&mut self, world: &World, node: u16, act: Act, tick: u64) -> bool {
        let state = world.process(node);
        let step = self.processes.step(&mut self.mails, state, act, tick);
        if step.next != state || step.fault.is_some() {
            return true;
        }
        let is_new = |mail: &u32| !world.mail.contains(mail);
        let sent: Vec<u32> = step.sent.iter().copied().filter(is_new).collect();
        sent.into_iter().any(|mail| self.is_heard(mail) && !self.is_old_ack(world, mail))
    }

    /// Whether a letter is an acknowledgement that would say nothing new if it came now.
    fn is_old_ack(&mut self, world: &World, mail: u32) -> bool {
        let Mail::Letter { to, message, .. } = self.mails.get(mail) else { return false };
        let (node, state) = (to.node.0, world.process(to.node.0));
        if !matches!(message.get(), Message::Ack(_)) || self.processes.get(state).me != *to {
            return false;
        }
        let step = self.processes.step(&mut self.mails, state, Act::Read(mail), world.clock(node));
        step.next == state && step.fault.is_none() && step.sent.is_empty()
    }

    /// Whether a piece of mail can do anything: the core decides on changes by itself, and hears nothing else about them.
    pub(super) fn is_heard(&self, mail: u32) -> bool {
        match self.mails.get(mail) {
            // It makes a leader ask for a change.
            Mail::Letter { message, .. } => !matches!(message.get(), Message::Refused(_)),
            Mail::News(_) | Mail::Ask { ask: Ask::Activate { .. }, .. } => true,
            Mail::Ask { ask: Ask::Promote { .. } | Ask::Renew { .. } | Ask::HandOver { .. }, .. } => false,
        }
    }

    /// Forgets mail that can do nothing any more.
    pub(super) fn forget(&mut self, world: &mut World) {
        let mail = core::mem::take(&mut world.mail);
        let kept = mail.into_iter().filter(|mail| self.can_matter(world, *mail));
        world.mail = kept.collect();
    }

    /// Whether a piece of mail can do anything, now or later. Letters to processes that have ended cannot, nor those whose
    /// receiver has met another run of their sender, or has promised a later epoch.
    fn can_matter(&mut self, world: &World, mail: u32) -> bool {
        let (from, to, epoch, message) = match self.mails.get(mail) {
            Mail::Letter { from, to, epoch, message } => (*from, *to, *epoch, message),
            Mail::Ask { ask: Ask::Activate { epoch }, .. } => return self.cores.get(world.core).is_pending(*epoch),
            Mail::Ask { .. } | Mail::News(_) => return true,
        };
        let process =
            |run: ReplicaId| Some(self.processes.get(world.process(run.node.0))).filter(|found| found.me == run);
        let Some(receiver) = process(to) else { return false };
        let is_open = receiver.connected.contains(&from);
        if !is_open && process(from).is_none() {
            return false;
        }
        if cfg!(planted) {
            return true;
        }
        let seals = |epoch| process(from).is_some_and(|sender| sender.view.seals(epoch));
        match message.get() {
            Message::Append(_) | Message::Chunk(_) => {
                let is_known = epoch == receiver.view.promise && is_open && !self.is_timed;
                epoch >= receiver.view.promise && (!is_known || self.matters(world, to.node.0, Act::Read(mail)))
            }
            Message::Seal | Message::Fetch { .. } => {
                epoch > receiver.view.promise || (epoch == receiver.view.promise && seals(epoch))
            }
            Message::Sealed(_) | Message::Fetched(_) | Message::Unfetchable => receiver.view.seals(epoch),
            // No state of the model is ever wrong.
            Message::Diverged(_) => false,
            // What says nothing new is not kept: all that it could do later is to end a search that its own answer ends too.
            Message::Ack(_) => receiver.view.leads_at(epoch) && !(is_open && self.is_old_ack(world, mail)),
            Message::Mismatch(_) | Message::ChunkAck(_) | Message::Refused(_) => receiver.view.leads_at(epoch),
        }
    }
}
