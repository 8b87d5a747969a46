//! Who counts as another core node, with which store, and in which era: see [`Era`].

use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;

use super::consensus::Consensus;
use super::{Core, CoreOutput, CoreSettings, Entry, Era, EraStore, Role, Standing};
use crate::ids::NodeId;

impl<S: EraStore> Core<S> {
    pub(super) fn handle_standing(&mut self, from: NodeId, Standing { number, place }: Standing) {
        if !self.is_peer(from) {
            return;
        }
        if self.era.names(from, number) {
            self.strangers.remove(&from);
        } else {
            self.strangers.insert(from, number);
        }
        if place.era().number < self.era.number {
            self.outputs.push_back(CoreOutput::ShowEra { to: from, era: Box::new(self.era.clone()) });
        }
    }

    pub(super) fn handle_era(&mut self, from: NodeId, era: Era) {
        let is_whole = self.settings.nodes.iter().all(|node| era.stores.contains_key(node));
        if !self.is_peer(from) || !is_whole {
            return;
        }
        let id = era.id();
        if era.follows(&self.era) {
            self.begin_era(era);
        }
        if id == self.era.id() {
            // What it has said in this era before was said too early.
            self.consensus.on_connected(from);
        }
    }

    pub(super) fn begin_era(&mut self, era: Era) {
        let CoreSettings { me, nodes, .. } = &self.settings;
        if self.era.stores[me] != era.stores[me] {
            self.role = Role::Replaced;
            self.outputs.push_back(CoreOutput::Replaced);
            return;
        }
        self.store.begin_era(&era);
        self.consensus = Consensus::new(*me, nodes, self.store.clone());
        // The image with which it begins is the first thing to be applied.
        (self.role, self.applied, self.era) = (Role::Follower, 0, era);
        self.strangers.retain(|node, store| !self.era.names(*node, *store));
        for to in nodes.iter().copied().filter(|node| node != me) {
            self.outputs.push_back(CoreOutput::ShowEra { to, era: Box::new(self.era.clone()) });
        }
    }

    pub(super) fn is_peer(&self, node: NodeId) -> bool {
        node != self.settings.me && self.settings.nodes.contains(&node)
    }

    /// Whether a message is from another core node, for this one, and of a kind that core nodes send. OmniPaxos panics on
    /// the numbers of strangers.
    pub(super) fn is_acceptable(&self, from: NodeId, message: &Message<Entry>) -> bool {
        let is_of_kind = match message {
            Message::BLE(_) => true,
            Message::SequencePaxos(message) => match message.msg {
                PaxosMsg::PrepareReq(_)
                | PaxosMsg::Prepare(_)
                | PaxosMsg::Promise(_)
                | PaxosMsg::AcceptSync(_)
                | PaxosMsg::AcceptDecide(_)
                | PaxosMsg::Accepted(_)
                | PaxosMsg::NotAccepted(_)
                | PaxosMsg::Decide(_) => true,
                PaxosMsg::ProposalForward(_)
                | PaxosMsg::Compaction(_)
                | PaxosMsg::AcceptStopSign(_)
                | PaxosMsg::ForwardStopSign(_) => false,
            },
        };
        let me = u64::from(self.settings.me.0);
        let is_ours = (message.get_sender(), message.get_receiver()) == (u64::from(from.0), me);
        self.is_peer(from) && is_ours && is_of_kind
    }
}
