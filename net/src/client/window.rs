//! The commands that are outstanding: what each of them waits for, and how each of them ends.
//!
//! A ticket's number holds the place of its command in the low bits and a running count above, so that an outcome finds
//! its command without a search, in whatever order outcomes come, and one that comes too late finds nothing.
//!
//! # Invariants
//! W1. A command is in one phase, and leaves the window exactly when its completion is passed on.
//! W2. A command in phase `Queued` stands in `queue` once; numbers of others there are stale and skipped.
//! # Bounds
//! As many commands as there are places. `queue` and `pauses` hold stale numbers only until the next sweep.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use quorate_engine::ids::{Epoch, GroupId, LogIndex};
use quorate_engine::machine::command::Command;
use quorate_engine::slots::{SlotMap, slot_of};
use quorate_engine::time::{Instant, nanos};

use super::{Completion, Outcome, RefusedBy, Submission, SubmitError, Ticket, Token, UnknownCause};
use crate::wire::{About, Level, RefusalCode, RequestHead, StatusRequest, encode_request_bytes};

/// Capacity that a place keeps for the next command, in bytes: larger commands allocate.
const COMMAND_KEPT_BYTES: usize = 16 << 10;
/// How often deadlines are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_millis(1);
/// Longest time that the node gets less than there is, so that its word on a timeout still arrives in time.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(100);

/// What takes completions.
pub(super) type Completions<'f> = &'f mut dyn FnMut(Completion<'_>);

/// All outstanding commands of a client.
#[derive(Debug)]
pub(super) struct Window {
    places: Vec<Place>,
    free: Vec<u32>,
    /// Places taken since the last poll, whose deadline is still the time they have.
    fresh: Vec<u32>,
    count: u64,
    /// Numbers to be sent, in order of submission.
    queue: VecDeque<u64>,
    /// When which number is to be queued again.
    pauses: BinaryHeap<Reverse<(Instant, u64)>>,
    sweep_at: Instant,
}

#[derive(Debug, Default)]
struct Place {
    number: u64,
    phase: Phase,
    task: Task,
    /// The encoded command.
    command: Vec<u8>,
    /// How long it may take; counted from the first poll, which turns it into the deadline.
    timeout: Duration,
    deadline: Instant,
    /// Times it was refused and may be tried again.
    attempts: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Free,
    Queued,
    Sent,
    Pausing,
}

#[derive(Clone, Copy, Debug, Default)]
enum Task {
    Command {
        level: Level,
        is_write: bool,
        route: Route,
        read_after: Option<Token>,
    },
    #[default]
    Status,
}

/// How the group of a command is found.
#[derive(Clone, Copy, Debug)]
enum Route {
    Key,
    Group(GroupId),
}

/// What is sent next.
pub(super) enum Next {
    /// Nothing is queued.
    Empty,
    /// One frame was written.
    Written,
}

impl Window {
    pub(super) fn new(window: usize) -> Self {
        let places = (0..window).map(|_| Place::default()).collect();
        let last = u32::try_from(window).expect("the options bound the window");
        Self {
            places,
            free: (0..last).rev().collect(),
            fresh: Vec::with_capacity(window),
            count: 0,
            queue: VecDeque::with_capacity(window),
            pauses: BinaryHeap::new(),
            sweep_at: Instant(0),
        }
    }

    /// Returns how many commands are outstanding.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether commands are to be sent.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether something was sent that is not answered.
    pub(super) fn awaits_answer(&self) -> bool {
        self.places.iter().any(|place| place.phase == Phase::Sent)
    }

    /// Queues a command. Its sizes are checked.
    pub(super) fn submit(&mut self, submission: &Submission<'_>, timeout: Duration) -> Result<Ticket, SubmitError> {
        let task = Task::Command {
            level: submission.level,
            is_write: submission.command.op.is_write(),
            route: submission.group.map_or(Route::Key, Route::Group),
            read_after: submission.read_after,
        };
        let (ticket, place) = self.take_place(task, timeout)?;
        submission.command.encode_into(&mut place.command);
        Ok(ticket)
    }

    /// Queues a question for the state of the node.
    pub(super) fn submit_status(&mut self, timeout: Duration) -> Result<Ticket, SubmitError> {
        self.take_place(Task::Status, timeout).map(|(ticket, _)| ticket)
    }

    fn take_place(&mut self, task: Task, timeout: Duration) -> Result<(Ticket, &mut Place), SubmitError> {
        let Some(index) = self.free.pop() else { return Err(SubmitError::Full { window: self.places.len() }) };
        self.count += 1;
        let number = self.count << PLACE_BITS | u64::from(index);
        self.queue.push_back(number);
        self.fresh.push(index);
        let place = &mut self.places[index as usize];
        debug_assert!(place.phase == Phase::Free && place.command.is_empty(), "W1: place {index} is taken");
        *place = Place {
            number,
            phase: Phase::Queued,
            task,
            command: std::mem::take(&mut place.command),
            timeout,
            deadline: Instant(u64::MAX),
            attempts: 0,
        };
        Ok((Ticket(number), place))
    }

    /// Writes the frame of the command that is next.
    pub(super) fn send_next(&mut self, out: &mut Vec<u8>, map: SlotMap, now: Instant) -> Next {
        while let Some(number) = self.queue.pop_front() {
            let Some(place) = self.find(number).filter(|place| place.phase == Phase::Queued) else { continue };
            place.phase = Phase::Sent;
            place.encode(out, map, now);
            return Next::Written;
        }
        Next::Empty
    }

    /// Ends a command with the outcome that came for it. One that nobody waits for any more is dropped.
    pub(super) fn complete(&mut self, number: u64, outcome: Outcome<'_>, completions: Completions<'_>) {
        let is_status = matches!(outcome, Outcome::Status { .. });
        let is_awaited =
            |place: &mut Place| place.phase == Phase::Sent && (!is_status || matches!(place.task, Task::Status));
        if self.find(number).is_some_and(is_awaited) {
            self.release(number);
            completions(Completion { ticket: Ticket(number), outcome });
        }
    }

    /// Lets a command that certainly did not happen pause, and try again after it. `pause`: given the number and how
    /// often it was refused before.
    pub(super) fn pause(&mut self, number: u64, now: Instant, pause: impl FnOnce(u64, u32) -> Duration) {
        let Some(place) = self.find(number).filter(|place| place.phase == Phase::Sent) else { return };
        // Not beyond its deadline, which ends it: so stale pauses do not pile up.
        let until = now.saturating_add(pause(number, place.attempts)).min(place.deadline);
        place.attempts += 1;
        place.phase = Phase::Pausing;
        self.pauses.push(Reverse((until, number)));
    }

    /// Ends what was on its way when the connection was lost; reads, which never happen twice, are queued again.
    pub(super) fn lose_connection(&mut self, completions: Completions<'_>) {
        for index in 0..self.places.len() {
            let place = &mut self.places[index];
            if place.phase != Phase::Sent {
                continue;
            }
            let number = place.number;
            if matches!(place.task, Task::Command { is_write: true, .. }) {
                self.release(number);
                let outcome = Outcome::Unknown(UnknownCause::ConnectionLost);
                completions(Completion { ticket: Ticket(number), outcome });
            } else {
                place.phase = Phase::Queued;
                self.queue.push_back(number);
            }
        }
    }

    /// Queues what has paused long enough, and ends what is past its deadline.
    pub(super) fn advance(&mut self, now: Instant, completions: Completions<'_>) {
        for index in self.fresh.drain(..) {
            let place = &mut self.places[index as usize];
            place.deadline = now.saturating_add(place.timeout);
        }
        while let Some(&Reverse((_, number))) = self.pauses.peek().filter(|Reverse((until, _))| *until <= now) {
            self.pauses.pop();
            let Some(place) = self.find(number).filter(|place| place.phase == Phase::Pausing) else { continue };
            place.phase = Phase::Queued;
            self.queue.push_back(number);
        }
        if now >= self.sweep_at {
            self.sweep_at = now.saturating_add(SWEEP_INTERVAL);
            self.sweep(now, completions);
        }
    }

    fn sweep(&mut self, now: Instant, completions: Completions<'_>) {
        if self.len() == 0 {
            return;
        }
        let mut queue_has_stale = false;
        for index in 0..self.places.len() {
            let place = &self.places[index];
            if place.phase == Phase::Free || now < place.deadline {
                continue;
            }
            let (number, phase) = (place.number, place.phase);
            let is_write = matches!(place.task, Task::Command { is_write: true, .. });
            queue_has_stale |= phase == Phase::Queued;
            self.release(number);
            let outcome = if phase == Phase::Sent && is_write {
                Outcome::Unknown(UnknownCause::Deadline)
            } else {
                let text = "TIMEOUT not done before its deadline";
                Outcome::Refused(RefusedBy { code: RefusalCode::Timeout, details: [0, 0], text })
            };
            completions(Completion { ticket: Ticket(number), outcome });
        }
        if queue_has_stale {
            let places = &self.places;
            self.queue.retain(|&number| places[index_of(number)].number == number);
        }
    }

    /// Returns when [`Window::advance`] has something to do next, as far as that is known; at most a sweep too early.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if !self.fresh.is_empty() {
            // Their time begins with the next poll.
            return Some(Instant(0));
        }
        let pause = self.pauses.peek().map(|Reverse((until, _))| *until);
        let deadline = self.places.iter().filter(|place| place.phase != Phase::Free).map(|place| place.deadline).min();
        pause.into_iter().chain(deadline).min()
    }

    fn find(&mut self, number: u64) -> Option<&mut Place> {
        self.places.get_mut(index_of(number)).filter(|place| place.number == number && place.phase != Phase::Free)
    }

    fn release(&mut self, number: u64) {
        let index = index_of(number);
        let place = &mut self.places[index];
        debug_assert!(place.phase != Phase::Free && place.number == number, "W1: {number} released twice");
        place.phase = Phase::Free;
        place.number = 0;
        place.command.clear();
        if place.command.capacity() > COMMAND_KEPT_BYTES {
            place.command = Vec::new();
        }
        self.free.push(u32::try_from(index).expect("the options bound the window"));
    }
}

/// Low bits of a number: the place.
const PLACE_BITS: u32 = 20;
const _: () = assert!(1 << PLACE_BITS == super::WINDOW_MAX, "a number must hold every place");

fn index_of(number: u64) -> usize {
    usize::try_from(number & ((1 << PLACE_BITS) - 1)).expect("20 bits fit")
}

impl Place {
    fn encode(&self, out: &mut Vec<u8>, map: SlotMap, now: Instant) {
        let number = self.number;
        let Task::Command { level, route, read_after, .. } = self.task else {
            return StatusRequest { number }.encode(out);
        };
        let group = match route {
            Route::Group(group) => group,
            Route::Key => map.group_of(slot_of(self.routing_key())),
        };
        let token = read_after.filter(|token| token.group == group);
        let about = About { group, epoch: token.map_or(Epoch(0), |token| token.epoch) };
        let head = RequestHead {
            number,
            level,
            hops: 0,
            timeout_us: self.timeout_us(now),
            read_after: token.map_or(LogIndex(0), |token| token.index),
        };
        encode_request_bytes(out, about, &head, &self.command);
    }

    fn routing_key(&self) -> &[u8] {
        Command::decode(&self.command).expect("encoded by `submit`").routing_key()
    }

    /// What is left until the deadline, less what the answer takes; at least a microsecond, because 0 means no limit.
    fn timeout_us(&self, now: Instant) -> u32 {
        let left = self.deadline.since(now);
        let left = left - (left / 8).min(ANSWER_TIME_MAX);
        u32::try_from(nanos(left) / 1_000).unwrap_or(u32::MAX).max(1)
    }
}
