//! Three replicas in one process: for hosts that want a replicated log, its order and its state machine without a network.
//!
//! ```text
//!   your threads                 leader's thread                    followers' thread
//!  ┌──────────┐  requests   ┌──────────────────────┐  appends   ┌────────────────────┐
//!  │ Handle   │ ──────────▶ │ node 1               │ ─────────▶ │ node 2: log, state │
//!  │ Pipeline │ ◀────────── │ log, quorum, state   │ ◀───────── ├────────────────────┤
//!  └──────────┘ completions │                      │ ─────────▶ │ node 3: log, state │
//!                           └──────────────────────┘ ◀───────── └────────────────────┘
//!                            every arrow is a ring in memory     acks
//! ```
//!
//! A write is acknowledged when the leader and one follower hold it in their logs, and is applied by all three; reads go
//! through the leader and see every write acknowledged before. The replicas are the same [`Engine`](crate::engine::Engine) that the daemon runs,
//! and every entry carries its checksum.
//!
//! **Such replicas share the fate of their process.** When it ends, all three are gone, and nothing is on disk. What
//! they give is not survival but order, exactly-once completion, a deterministic state machine kept three times with
//! digests that can be compared, and the very latency of the quorum path. For survival run three daemons.
//!
//! ```
//! use quorate_engine::{embed::Cluster, machine::answer::Answer};
//! use std::time::{Duration, Instant};
//!
//! let cluster = Cluster::builder().build()?;
//! let mut handle = cluster.handle();
//! let soon = Instant::now() + Duration::from_secs(5);
//!
//! let write = handle.set(b"px:ACME", b"100.25")?.wait(soon).expect("in time")?;
//! let read = handle.get(b"px:ACME")?.wait(soon).expect("in time")?;
//! assert_eq!(read.answer(), Answer::Bulk(b"100.25"));
//! assert!(read.id() >= write.id());
//!
//! assert!(cluster.stop().digests_agree()); // all three replicas came to the same state
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Three ways in, from convenient to fast: a [`Handle`] gives a [`Ticket`] for each request, to be polled, waited for or
//! awaited by any executor; a [`Pipeline`] submits many requests and polls their completions in bulk; with
//! [`Builder::build_driven`] the host's own thread is the leader's ([`Driver`]), and appends what it submits at once.
//!
//! # Time and units
//! The replicas go by `CLOCK_BOOTTIME`, read once per turn of the leader; only how long a caller waits is counted on
//! [`std::time::Instant`].
//! # Bounds
//! Rings, requests under way and the limits of [`Config`](crate::config::Config). Full is [`SubmitError::Busy`] or a
//! [`Refusal`](crate::output::Refusal).
//! # Threads
//! Two; [`PollPolicy`] says what they do when idle. [`Handle`] and [`Pipeline`] are `Send`, one for each thread that
//! submits; tickets can go anywhere.

mod builder;
mod clock;
mod codec;
mod connect;
mod control;
mod driver;
mod followers;
mod handle;
mod idle;
mod link;
mod pipeline;
mod port;

use std::sync::Arc;

use crate::ids::NodeId;
use crate::machine::command::Command;
use crate::slots::slot_of;
use connect::{Connector, connect};
use control::{Inbox, Worker};

pub use builder::{BuildError, Builder};
pub use control::{NodeStatus, Peeked};
pub use driver::{Driver, Stopped};
pub use handle::{Ended, Handle, Reply, Ticket};
pub use idle::PollPolicy;
pub use pipeline::{Answered, Completion, Pipeline, RequestError, SubmitError};

/// The node that leads.
const LEADER: NodeId = NodeId(1);

/// Three replicas on two threads of this process. Dropping it stops it.
#[derive(Debug)]
pub struct Cluster {
    leader: Worker<driver::Ask, Option<Stopped>>,
    followers: Arc<Inbox<followers::Ask>>,
    connector: Connector,
}

impl Cluster {
    /// Returns a builder with the defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(
        leader: Worker<driver::Ask, Option<Stopped>>,
        followers: Arc<Inbox<followers::Ask>>,
        connector: Connector,
    ) -> Self {
        Self { leader, followers, connector }
    }

    /// Returns a handle with rings of its own, for one thread.
    ///
    /// Cost: allocates its rings and a place for each request under way.
    #[must_use]
    pub fn handle(&self) -> Handle {
        let (port, handle) = self.connector.desk();
        self.leader.inbox.send(driver::Ask::Attach(Box::new(port)));
        handle
    }

    /// Returns a pipeline with rings of its own, for one thread.
    ///
    /// Cost: as [`Cluster::handle`].
    #[must_use]
    pub fn pipeline(&self) -> Pipeline {
        let (port, pipeline) = connect(&self.connector);
        self.leader.inbox.send(driver::Ask::Attach(Box::new(port)));
        pipeline
    }

    /// Returns the replicas as they are, the leader first; not all at the same moment.
    ///
    /// Cost: allocates, and waits for both threads to look up from their work.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        let mut nodes = self.leader.inbox.ask_status().recv().unwrap_or_default();
        nodes.extend(self.followers.ask_status().recv().unwrap_or_default());
        nodes
    }

    /// Executes a read on what one replica has applied: the answer may be old. `None` if there is no such node.
    ///
    /// Cost: as [`Cluster::status`]. For tests and curiosity; the fast way to read is through the leader.
    #[must_use]
    pub fn peek(&self, node: NodeId, command: &Command<'_>) -> Option<Peeked> {
        let group = self.connector.map.group_of(slot_of(command.routing_key()));
        if node == LEADER {
            self.leader.inbox.peek(node, group, command)
        } else {
            self.followers.peek(node, group, command)
        }
    }

    /// Ends all requests that were taken, lets the followers apply everything, and ends both threads. What was submitted
    /// and not taken ends as [`RequestError::Stopped`].
    ///
    /// # Panics
    /// If a thread of the cluster has panicked: an invariant of the engine did not hold.
    pub fn stop(mut self) -> Stopped {
        self.leader.stop().flatten().expect("the leader's thread ends with what it saw, unless it panicked")
    }
}
