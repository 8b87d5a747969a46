//! A node of the core that was started to restore it, and blank ones that wait for that: see
//! [`Restoration`](quorate_engine::control::core::Restoration).
//!
//! It takes no part in any era meanwhile. What it hears of another node counts while its own connection to that one is up: another
//! process may answer over the next.

use quorate_engine::control::core::{self, EraId, Place, Prospect, Restoration, Standing};
use quorate_engine::control::state::State;
use quorate_engine::ids::NodeId;

use super::Control;
use super::standing::Part;
use super::store::Store;
use super::words::ToCore;
use crate::clock;

/// What there is of a node that is to restore the core.
pub(crate) struct Restoring {
    store: Store,
    known: Box<State>,
    restoration: Restoration,
    /// For whom it waits, as its log says.
    waiting_said: Vec<NodeId>,
}

impl Restoring {
    /// Begins at node `me`; `None` if its store knows of no groups, so that there is nothing to go on with.
    pub(super) fn new(me: NodeId, store: Store, nodes: &[NodeId]) -> Option<Self> {
        let era = store.era()?;
        let known = core::known(&store).filter(State::is_formed)?;
        let restoration = Restoration::new((me, store.number()), era, nodes);
        Some(Self { store, known: Box::new(known), restoration, waiting_said: Vec::new() })
    }

    pub(super) fn standing(&self) -> Standing {
        self.restoration.standing()
    }
}

impl Control {
    /// Hears what another node of the core shows to one that restores it.
    pub(super) fn hear_while_restoring(&mut self, node: NodeId, standing: Standing) {
        if let Part::Restoring(restoring) = &mut self.part {
            restoring.restoration.hear(node, standing);
            self.advance_restoration();
        }
    }

    /// The way to another node of the core is lost.
    pub(super) fn forget_while_restoring(&mut self, node: NodeId) {
        if let Part::Restoring(restoring) = &mut self.part {
            restoring.restoration.forget(node);
        }
    }

    /// Restores the core, if that can be done by now, or gives up and ends.
    pub(super) fn advance_restoration(&mut self) {
        let Part::Restoring(restoring) = &mut self.part else { return };
        match restoring.restoration.prospect() {
            Prospect::Waiting(nodes) => {
                if restoring.waiting_said != nodes {
                    tracing::info!(?nodes, "{WAITING}");
                    restoring.waiting_said = nodes;
                }
            }
            Prospect::None(why) => {
                tracing::error!(node = self.facts.node.0, %why, "the consistent core is not restored: the node stops");
                std::process::exit(1);
            }
            Prospect::Ready(stores) => {
                let at_ms = clock::wall_clock_ns() / 1_000_000;
                let era = restoring.restoration.era(stores, &restoring.known, at_ms);
                let store = restoring.store.clone();
                tracing::warn!(node = self.facts.node.0, era = era.number, "{RESTORED}");
                self.take_part(store, &era);
            }
        }
    }

    /// Has the blank store here wait for the node that is to restore the core, and for no other one.
    pub(super) fn pledge(&mut self, standing: Standing) {
        let Part::Joining(store) = &mut self.part else { return };
        let Some(pledge) = standing.place.wants_pledge(standing.number).filter(|_| store.pledge().is_none()) else {
            return;
        };
        store.set_pledge(pledge);
        tracing::info!(node = self.facts.node.0, "waits for the consistent core to be restored");
        if let Some(standing) = self.standing() {
            self.say_to_core(&ToCore::Store(standing));
        }
    }

    /// Whether a node is in an era that has nothing to do with the one here, as the core was restored from another node's store.
    pub(super) fn is_of_another_core(&self, place: Place) -> bool {
        let Some(own) = self.core().map(|core| core.era().id()) else { return false };
        let EraId { number, restored_from } = place.era();
        number >= own.number && number > 0 && restored_from != own.restored_from
    }
}

const WAITING: &str = "to restore the consistent core, all of its nodes must be there: waits for these; those that lost their disks \
                       are started with an empty node.data_dir and without --create";
const RESTORED: &str = "restores the consistent core from what this node knows: what the lost nodes had decided behind that is lost; \
                        processes that they had registered end; each group goes on as it is led, and is not taken over or \
                        changed, until `quorate core accept-loss GROUP|--all --connect HOST:PORT` says that what nobody holds any more is \
                        lost: whoever is not up then counts for dead";
