//! Makes the two ends of a client: its port at the leader, and the pipeline or handle that the host holds.

use std::sync::Arc;

use super::handle::{DeskShared, Handle};
use super::idle::{Bed, PollPolicy};
use super::link::link;
use super::pipeline::{Parts, Pipeline};
use super::port::{Client, Port, Side};
use crate::slots::SlotMap;
use crate::sync::sleeper::Sleeper;

/// Bytes that a completion without a large answer takes in its ring.
const COMPLETION_BYTES: usize = 64;

/// What all clients of a cluster have in common.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) map: SlotMap,
    pub(super) ring_bytes: usize,
    pub(super) in_flight_max: usize,
    pub(super) poll: PollPolicy,
    /// Where the leader sleeps.
    pub(super) leader: Arc<Bed>,
}

/// Returns the two ends of a pipeline.
pub(super) fn connect(connector: &Connector) -> (Port, Pipeline) {
    let bed = Arc::new(Bed::new(connector.poll));
    let (make_port, pipeline) = connector.ends(Arc::clone(&bed));
    (make_port(Client::Thread(bed)), pipeline)
}

impl Connector {
    /// Returns the two ends of a handle.
    pub(super) fn desk(&self) -> (Port, Handle) {
        let sleeper = Arc::new(Sleeper::new());
        let bed = Arc::new(Bed::new(self.poll));
        let (make_port, pipeline) = self.ends(bed);
        let shared = Arc::new(DeskShared::new(pipeline, Arc::clone(&sleeper), self.poll));
        let port = make_port(Client::Desk { sleeper, desk: Arc::downgrade(&shared) });
        (port, Handle::new(shared))
    }

    /// Returns a pipeline whose thread sleeps in `bed`, and what makes its port once it is known whom that is to wake.
    fn ends(&self, bed: Arc<Bed>) -> (impl FnOnce(Client) -> Port + use<>, Pipeline) {
        let (request_outlet, request_inlet) = link(self.ring_bytes);
        let (reply_outlet, reply_inlet) = link((self.in_flight_max * COMPLETION_BYTES).next_power_of_two());
        let side = Arc::new(Side::default());
        let side_inside = Arc::clone(&side);
        let make_port = move |client| Port::new(request_inlet, reply_outlet, side_inside, client);
        let parts = Parts {
            requests: request_outlet,
            replies: reply_inlet,
            side,
            leader: Arc::clone(&self.leader),
            bed,
            map: self.map,
            in_flight_max: self.in_flight_max,
        };
        (make_port, Pipeline::new(parts))
    }
}
