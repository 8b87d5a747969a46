//! The transport over io_uring.
//!
//! One ring per thread. Receives and accepts are armed once and go on completing; bytes come in buffers that the kernel
//! picks from a ring of them. A turn enters the kernel at most once to fetch, and not at all if the flag in shared memory
//! says that nothing waits; it goes on entering while the flag stays set, because one call works on some twenty completions
//! only. What the deliveries queued leaves at the end of the turn, one plain `send` for each connection; only what a socket
//! has no room for is lent to the kernel. Sends as submissions were measured and are slower here: see `review_output`.
//!
//! The kernel owns what it was given until it says otherwise. Send buffers are moved into `KernelSend`, receive buffers
//! are counted by `ReceiveBuffers`, and an ended connection keeps its index and descriptor until the last of its
//! submissions has completed (S1).
//!
//! # Invariants
//! U1. A slot that wants a submission is in the list of work exactly once; it stays there while the submission queue is full.
//! U2. `in_flight` counts all submissions that have not completed for the last time; memory the kernel may touch is freed
//! only at 0, or never.
//!
//! # Time and units
//! A park ends within microseconds of its time.
//!
//! # Bounds
//! All in `TransportSettings`. A full submission queue costs a system call; a full completion queue stays in the kernel
//! until it is emptied; without receive buffers a receive ends, and is armed again after buffers went back.
//!
//! # Threads
//! Single owner; the kernel refuses other threads.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use quorate_engine::time::Instant;

use super::address::{Address, ListenOptions, ListenerId};
use super::outbox::{ConnId, Outbox};
use super::pending::{Grace, Pending};
use super::settings::{TURN_BYTES, TransportSettings};
use super::socket::{Blocking, ListenError, ListenSocket};
use super::waker::Waker;
use super::{Handler, TurnStats, Wait};
use crate::clock;

mod deliver;
mod flush;
mod probe;
mod receive;
mod ring;
mod slot;

pub use probe::UringRefusal;
pub(super) use probe::open;

use receive::ReceiveBuffers;
use ring::{Completion, Ring};
use slot::Slot;

/// Calls into the kernel to fetch in one turn; what is left then waits for the next turn.
const FETCHES_PER_TURN: u32 = 8;

/// Waits for the kernel to give everything back when the transport is dropped, each at most [`DROP_WAIT`].
const DROP_WAITS_MAX: u32 = 40;
const DROP_WAIT: Duration = Duration::from_millis(25);

/// A transport over io_uring. See the module's text.
#[derive(Debug)]
pub struct UringTransport {
    ring: Ring,
    receive: ReceiveBuffers,
    doors: Doors,
    slots: Vec<Slot>,
    lists: Lists,
    completions: Vec<Completion>,
    pending: Pending,
    grace: Grace,
    /// Submissions that have not completed for the last time (U2).
    in_flight: u64,
    settings: TransportSettings,
    stats: TurnStats,
}

impl UringTransport {
    fn new(ring: Ring, receive: ReceiveBuffers, settings: &TransportSettings) -> io::Result<Self> {
        Ok(Self {
            ring,
            receive,
            doors: Doors { waker: Waker::new()?, is_waker_armed: false, listeners: Vec::new(), needs_arming: true },
            slots: Vec::new(),
            lists: Lists::default(),
            completions: Vec::with_capacity(settings.completion_entries as usize),
            pending: Pending::default(),
            grace: Grace::default(),
            in_flight: 0,
            settings: settings.clone(),
            stats: TurnStats::default(),
        })
    }

    pub(super) fn waker(&self) -> Waker {
        self.doors.waker.clone()
    }

    pub(super) fn listen(&mut self, address: &Address, options: ListenOptions) -> Result<ListenerId, ListenError> {
        let opened = ListenSocket::open(address, options, &self.settings, Blocking::Yes)?;
        let id =
            ListenerId(u32::try_from(self.doors.listeners.len()).expect("there are fewer listeners than descriptors"));
        self.doors.listeners.push(Listener { opened: Some(opened), accept: Accept::Idle, retry_at: None });
        self.doors.needs_arming = true;
        Ok(id)
    }

    pub(super) fn local_address(&self, listener: ListenerId) -> Option<&Address> {
        let listener = self.doors.listeners.get(listener.0 as usize)?;
        let is_listening = listener.accept.is_wanted();
        listener.opened.as_ref().filter(|_| is_listening).map(|opened| &opened.address)
    }

    pub(super) fn stop_listening(&mut self, listener: ListenerId) {
        let Some(listener) = self.doors.listeners.get_mut(listener.0 as usize) else { return };
        listener.retry_at = None;
        if listener.accept == Accept::Armed {
            // The kernel listens until its accept has ended, so the socket is kept until then.
            listener.accept = Accept::Stopping;
            self.doors.needs_arming = true;
        } else if listener.accept == Accept::Idle {
            listener.opened = None;
        }
    }

    pub(super) fn turn<H: Handler>(&mut self, handler: &mut H, wait: Wait) -> TurnStats {
        self.stats = TurnStats::default();
        if !self.grace.is_empty() {
            self.end_grace(handler.outbox());
        }
        self.prepare(handler.outbox());
        self.tell_pending(handler);
        self.deliver_resumed(handler);
        self.fetch(handler);

        if let Wait::Until(until) = wait
            && self.stats.events == 0
            && self.can_park(handler.outbox())
        {
            let timeout = self.park_time(until, handler.outbox());
            self.stats.syscalls += 1;
            self.ring.park(timeout);
            self.fetch(handler);
        }
        self.prepare(handler.outbox());
        if self.ring.has_submissions() {
            self.enter();
        }
        self.stats
    }

    fn enter(&mut self) {
        self.stats.syscalls += 1;
        self.ring.enter();
    }

    /// Takes completions and delivers them, entering the kernel as long as it says that there are more, until
    /// [`TURN_BYTES`] have come.
    fn fetch<H: Handler>(&mut self, handler: &mut H) {
        for _ in 0..FETCHES_PER_TURN {
            let bytes_left = TURN_BYTES.saturating_sub(self.stats.bytes);
            if bytes_left == 0 {
                return;
            }
            if self.ring.needs_enter() {
                self.enter();
            }
            let mut completions = std::mem::take(&mut self.completions);
            self.ring.take_completions(&mut completions, bytes_left);
            let is_empty = completions.is_empty();
            if !is_empty {
                self.deliver(&completions, handler);
                completions.clear();
            }
            self.completions = completions;
            if is_empty {
                return;
            }
        }
    }

    fn can_park(&mut self, outbox: &Outbox) -> bool {
        self.pending.is_empty()
            && self.lists.resumed.is_empty()
            && self.lists.work.is_empty()
            && outbox.is_idle()
            && !self.ring.has_completions()
    }

    fn park_time(&mut self, until: Option<Instant>, outbox: &Outbox) -> Option<Duration> {
        let retries = self.doors.listeners.iter().filter_map(|listener| listener.retry_at);
        let end = retries.chain(until).chain(self.grace.next_end(outbox)).min()?;
        Some(end.since(clock::now()))
    }

    /// The slot of `id`, made if it is the first of its index.
    fn place(&mut self, id: ConnId) -> &mut Slot {
        while self.slots.len() <= id.index() {
            self.slots.push(Slot::vacant(id));
        }
        let slot = &mut self.slots[id.index()];
        assert_eq!(slot.stage, slot::Stage::Vacant, "O1: {id:?} takes the place of {:?}", slot.id);
        assert_eq!(slot.submissions, 0, "S1: {id:?} takes the place of {:?}, which the kernel still has", slot.id);
        let is_listed = slot.is_listed;
        *slot = Slot { is_listed, ..Slot::vacant(id) };
        slot
    }
}

impl Drop for UringTransport {
    fn drop(&mut self) {
        // The kernel may still read send buffers and fill receive buffers: ask for everything back, and wait.
        let is_alone = self.cancel_everything();
        if is_alone {
            // A refusal means that the ring goes first, which unregisters as well.
            let _ = self.receive.unregister(&self.ring.submitter());
            return;
        }
        // U2: rather lose memory than let the kernel write to what belongs to somebody else.
        self.receive.leak();
        for slot in &mut self.slots {
            std::mem::take(&mut slot.send).leak();
            if let Some(target) = slot.target.take() {
                std::mem::forget(target);
            }
        }
    }
}

impl UringTransport {
    /// Ends all submissions. Returns whether the kernel has completed every one of them.
    fn cancel_everything(&mut self) -> bool {
        for slot in &mut self.slots {
            drop(slot.send.orphan());
            if let Some(socket) = &slot.socket
                && slot.submissions > 0
            {
                // It may be closed already, and the cancel below ends what is left.
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        }
        self.push_cancel_any();
        for _ in 0..DROP_WAITS_MAX {
            if self.in_flight == 0 {
                return true;
            }
            self.ring.park(Some(DROP_WAIT));
            let mut completions = std::mem::take(&mut self.completions);
            self.ring.take_completions(&mut completions, u64::MAX);
            for completion in completions.drain(..) {
                self.discard(completion);
            }
            self.completions = completions;
        }
        self.in_flight == 0
    }
}

/// Where news comes from that belongs to no connection.
#[derive(Debug)]
struct Doors {
    waker: Waker,
    is_waker_armed: bool,
    listeners: Vec<Listener>,
    /// A listener or the waker is to be armed or stopped.
    needs_arming: bool,
}

/// Indexes of slots that need a look.
#[derive(Debug, Default)]
struct Lists {
    /// They want submissions (U1).
    work: VecDeque<u32>,
    /// Their held bytes may be delivered now.
    resumed: Vec<u32>,
    scratch: Vec<u32>,
}

#[derive(Debug)]
struct Listener {
    opened: Option<ListenSocket>,
    accept: Accept,
    retry_at: Option<Instant>,
}

/// The state of the accept that brings connections until it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accept {
    Idle,
    Armed,
    /// To be cancelled; then waiting for its last completion.
    Stopping,
    Cancelled,
}

impl Accept {
    fn is_wanted(self) -> bool {
        matches!(self, Self::Idle | Self::Armed)
    }
}

fn index_of(id: ConnId) -> u32 {
    u32::try_from(id.index()).expect("an index is 32 bits wide")
}
