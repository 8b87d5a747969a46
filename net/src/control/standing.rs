//! What this node has to do with the core: with which store it takes part, in which era, and what others show of theirs.

use std::time::Duration;

use quorate_engine::control::core::{Core, CoreInput, CoreSettings, Era, EraStore as _, Place, Standing};
use quorate_engine::ids::NodeId;

use super::Control;
use super::exchange::CorePart;
use super::meeting::{Meeting, Met};
use super::restoring::Restoring;
use super::store::{Store, Use};
use super::visitors::Visitor;
use super::words::{FromCore, ToCore};
use crate::clock;
use crate::node::facts::Facts;

/// The longest round of an election of the core, which takes two or three of them.
const ROUND_MAX: Duration = Duration::from_millis(40);

/// What this node has to do with the core beside talking to it.
pub(crate) enum Part {
    /// Nothing.
    None,
    /// It belongs to it, and does not know the other stores yet.
    Meeting(Box<Store>, Box<Meeting>),
    /// It has lost what it knew of it, and waits to be taken back.
    Joining(Box<Store>),
    /// It is to restore it from what it knows.
    Restoring(Box<Restoring>),
    /// It belongs to it, with the store of this number.
    Core(Box<Core<Store>>, u64),
}

impl Control {
    pub(super) fn core(&self) -> Option<&Core<Store>> {
        match &self.part {
            Part::Core(core, _) => Some(core),
            Part::None | Part::Meeting(..) | Part::Joining(_) | Part::Restoring(_) => None,
        }
    }

    /// Returns what this node shows to other nodes of the core.
    pub(super) fn standing(&self) -> Option<Standing> {
        let (number, place) = match &self.part {
            Part::None => return None,
            Part::Meeting(store, _) => (store.number(), Place::Founding(self.facts.founders())),
            Part::Joining(store) => {
                (store.number(), store.pledge().map_or(Place::Joining, |pledge| Place::Pledged(pledge.to)))
            }
            Part::Restoring(restoring) => return Some(restoring.standing()),
            Part::Core(core, number) => (*number, Place::In(core.era().id())),
        };
        Some(Standing { number, place })
    }

    /// Hears which store another node of the core has.
    pub(super) fn hear_standing(&mut self, node: NodeId, standing: Standing) {
        let is_of_another = self.is_of_another_core(standing.place);
        let Some(link) = self.links.iter_mut().find(|link| link.node == node) else { return };
        let Standing { number, place } = standing;
        match &mut self.part {
            Part::None => {}
            Part::Joining(_) => self.pledge(standing),
            Part::Restoring(_) => self.hear_while_restoring(node, standing),
            Part::Meeting(_, meeting) if matches!(place, Place::Founding(nodes) if nodes != self.facts.founders()) => {
                meeting.forget(node);
                if link.stranger_said.replace(number) != Some(number) {
                    tracing::error!(
                        node = node.0,
                        "this node of the consistent core would create the cluster with other nodes: [[peers]], and the node itself, \
                         must be the same nodes on all of them when the cluster is created; correct it and start that node again"
                    );
                }
            }
            // Who is in an era shows it, and counts when it has.
            Part::Meeting(_, meeting) if matches!(place, Place::Founding(_)) => {
                meeting.hear(node, number);
                self.end_meeting();
            }
            Part::Meeting(_, meeting) => {
                meeting.forget(node);
                if place.era().number == 0 && link.stranger_said.replace(number) != Some(number) {
                    tracing::warn!(
                        node = node.0,
                        "this node of the consistent core was started without --create and has nothing of a cluster; if the \
                         cluster is new, start it again with --create"
                    );
                }
            }
            Part::Core(core, _) => {
                let is_named = core.era().names(node, number);
                let said = core::mem::replace(&mut link.stranger_said, (!is_named).then_some(number));
                if !is_named && said != Some(number) && is_of_another {
                    tracing::error!(
                        node = node.0,
                        "this node of the consistent core is in one that was restored from another store: stop it, empty its \
                         node.data_dir, start it without --create, then `quorate core replace {node} --connect HOST:PORT`"
                    );
                } else if !is_named && said != Some(number) {
                    tracing::error!(
                        node = node.0,
                        "this node of the consistent core has another store than the core knows: it has lost its disk, and \
                         does not vote until `quorate core replace {node} --connect HOST:PORT` takes it back"
                    );
                    self.say_if_majority_is_lost();
                }
                self.input(CoreInput::Standing { from: node, standing });
            }
        }
    }

    /// Says so if so many nodes of the core have lost their disks that none can be taken back.
    fn say_if_majority_is_lost(&self) {
        let lost = self.links.iter().filter(|link| link.stranger_said.is_some());
        let lost: Vec<u16> = lost.map(|link| link.node.0).collect();
        let node_count = self.facts.settings.core_nodes().len();
        if 2 * (node_count - lost.len()) <= node_count {
            tracing::error!(
                ?lost,
                "a majority of the nodes of the consistent core has lost its disk: what they had decided is known to nobody, so \
                 nothing can be decided any more, and none of them can be taken back; what is led goes on; stop these nodes, and \
                 start them with the disks that they had; if those are gone for good, start all of them with an empty \
                 node.data_dir, and this node with --restore: the core goes on from what this node knows, what was decided behind \
                 that is lost, and every group waits for `quorate core accept-loss`"
            );
        }
    }

    /// Hears which store a visitor has. What it may have said over an earlier connection is lost.
    pub(super) fn hear_visitor(&mut self, index: usize, node: NodeId, standing: Standing) {
        if !self.is_other_core_node(node) {
            return;
        }
        self.visitors[index].shown = Some(standing);
        let conn = self.visitors[index].conn;
        if self.is_rival(index) {
            // It ends the connection itself: if this end did, what it is sending would make it lose these words.
            self.visitors[index].is_rival = true;
            return self.send(conn, &FromCore::Occupied);
        }
        // Before it is answered: what it hears last is what counts.
        self.pledge(standing);
        if let Some(own) = self.standing() {
            self.send(conn, &FromCore::Store(own));
        }
        // It may not be the process that is found at the address of its node, so it is shown here what it is to know.
        if let Some(era) = self.core().map(Core::era).filter(|era| standing.place.era().number < era.number).cloned() {
            self.send(conn, &FromCore::Era(Box::new(era)));
        }
        self.input(CoreInput::Connected(node));
        self.hear_standing(node, standing);
    }

    fn is_other_core_node(&self, node: NodeId) -> bool {
        self.links.iter().any(|link| link.node == node)
    }

    /// Whether a visitor has a store that the core does not know, while another process of its node is heard: somebody has
    /// started a second one, or the first one has ended just now.
    pub(super) fn is_rival(&self, index: usize) -> bool {
        let Part::Core(core, _) = &self.part else { return false };
        let Visitor { node: Some(node), incarnation, shown: Some(shown), .. } = self.visitors[index] else {
            return false;
        };
        let current = core.state().and_then(|state| state.current(node));
        let is_current = current.is_some_and(|current| current.incarnation == incarnation);
        // One that is to create a cluster hears that there is one, and ends.
        let is_stranger = !core.era().names(node, shown.number) && !matches!(shown.place, Place::Founding(_));
        is_stranger && !is_current && core.is_heard(node, self.now)
    }

    /// Hears in which era of the core another of its nodes is.
    pub(super) fn hear_era(&mut self, node: NodeId, era: Box<Era>) {
        if !self.is_other_core_node(node) {
            return;
        }
        match &mut self.part {
            Part::None | Part::Restoring(_) => {}
            Part::Meeting(_, meeting) => {
                meeting.hear_era(node, era);
                self.end_meeting();
            }
            Part::Joining(store) if era.admits(self.facts.node, store.number(), store.pledge()) => {
                let store = (**store).clone();
                self.take_part(store, &era);
            }
            Part::Joining(_) => {}
            Part::Core(..) => self.input(CoreInput::Era { from: node, era }),
        }
    }

    /// Ends the meeting, if it has come to something.
    pub(super) fn end_meeting(&mut self) {
        let Part::Meeting(store, meeting) = &self.part else { return };
        let mut store = (**store).clone();
        match meeting.outcome() {
            Met::Waiting => {}
            Met::Excluded => {
                // When it is started the next time, it knows.
                store.set_usage(Use::Join);
                tracing::error!(
                    node = self.facts.node.0,
                    "the consistent core began with another store of this node, which is lost: this one has promised nothing, \
                     so it must not vote; the node stops; start it without --create, and it says how it is taken back"
                );
                std::process::exit(1);
            }
            Met::Agreed(era) => {
                tracing::info!(node = self.facts.node.0, "all nodes of the consistent core have met");
                self.take_part(store, &era);
            }
        }
    }

    /// Takes part in the core, in an era that names the store here.
    pub(super) fn take_part(&mut self, mut store: Store, era: &Era) {
        store.begin_era(era);
        tracing::info!(node = self.facts.node.0, era = era.number, "takes part in the consistent core");
        self.part = Part::core(&self.facts, store, era.clone());
        // What was said before is lost, and both ends go by that.
        if let Some(standing) = self.standing() {
            self.say_to_core(&ToCore::Store(standing));
        }
        let others: Vec<NodeId> = self.links.iter().map(|link| link.node).collect();
        others.into_iter().for_each(|node| self.input(CoreInput::Connected(node)));
    }
}

impl Part {
    /// Is to restore the core from what is in the store; `None` if that is nothing.
    pub(crate) fn restoring(facts: &Facts, store: Store) -> Option<Self> {
        let restoring = Restoring::new(facts.node, store, facts.settings.core_nodes())?;
        Some(Self::Restoring(Box::new(restoring)))
    }

    /// Goes on with what is in the store.
    pub(crate) fn new(facts: &Facts, store: Store) -> Self {
        match (store.era(), store.usage()) {
            (Some(era), _) => Self::core(facts, store, era),
            (None, Use::Found) => {
                let meeting = Meeting::new((facts.node, store.number()), facts.settings.core_nodes());
                Self::Meeting(Box::new(store), Box::new(meeting))
            }
            (None, Use::Join) => {
                tracing::warn!(
                    node = facts.node.0,
                    "this node belongs to the consistent core and has nothing of what that has agreed on: it works, and does not \
                     vote; if it has lost its disk, `quorate core replace {} --connect HOST:PORT` takes it back; if the cluster \
                     is new, start it again with --create",
                    facts.node
                );
                Self::Joining(Box::new(store))
            }
        }
    }

    /// Returns what there is to say of it.
    pub(super) fn shown(&self) -> CorePart {
        match self {
            Self::None => CorePart::None,
            Self::Meeting(..) => CorePart::Meeting,
            Self::Joining(_) => CorePart::Joining,
            Self::Restoring(_) => CorePart::Restoring,
            Self::Core(core, _) => CorePart::Voting(core.era().number),
        }
    }

    /// Takes part in the core.
    pub(super) fn core(facts: &Facts, store: Store, era: Era) -> Self {
        let replication = facts.settings.replication();
        let settings = CoreSettings {
            me: facts.node,
            nodes: facts.settings.core_nodes().to_vec(),
            era,
            birth: facts.birth(),
            suspicion: replication.suspicion,
            patience: facts.patience(),
            // Elections of the core are over before anybody is suspected, however long that takes.
            round: (replication.suspicion * 4 / 15).min(ROUND_MAX),
        };
        let number = store.number();
        Self::Core(Box::new(Core::new(settings, store, clock::now())), number)
    }
}
