//! The load generator: sends requests in a closed or an open loop, checks every reply and records every latency.
//!
//! One thread spins over a [`Driver`], which knows one protocol and nothing about time. In a *closed loop* a fixed number
//! of requests is in flight and the next is sent when one completes: the figure is service time. In an *open loop*
//! requests fall due at times fixed in advance, evenly or as a seeded Poisson process, and latency counts from the time a
//! request was *due*: if the system stalls, the requests that should have been sent meanwhile are sent late, none is
//! skipped, the schedule does not move, and the stall shows in the percentiles. The figure from the real send time, which
//! hides such stalls, is kept beside it.
//!
//! # Invariants
//! L1. Every request sent is answered exactly once, or the run is invalid.
//! L2. A refusal (error reply) is counted in `errors` and never in `count` or in a histogram.
//! L3. In an open loop less than 99 % of the offered rate is invalid.
//!
//! # Time and units
//! Nanoseconds of the given [`Clock`], read once per turn after the receive that fetched the turn's replies.
//!
//! # Bounds
//! At most [`OUTSTANDING_MAX`] requests in flight; in an open loop later ones wait and their latency grows. Without
//! progress for [`SILENCE_NS`] the run ends and is invalid.
//!
//! # Threads
//! Single owner.

mod pacer;
#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

use crate::clock::Clock;
use crate::histogram::Latencies;
use pacer::Pacer;

/// Identifies a request: consecutive from 0 over the life of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One protocol spoken over non-blocking sockets.
pub trait Driver {
    /// Queues request `request`, or refuses without waiting when its buffers are full; then the same id comes again.
    ///
    /// # Errors
    /// The connection cannot be used any more; the run ends.
    fn try_send(&mut self, request: RequestId) -> Result<Admission, DriverError>;

    /// Writes what is queued, reads what is there without waiting, and adds the requests that completed, each once.
    ///
    /// # Errors
    /// The connection cannot be used any more, or the other side broke the protocol; the run ends.
    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<(), DriverError>;

    /// Returns the text of the first error reply, for the note of the result.
    fn first_refusal(&self) -> Option<&str>;
}

/// Whether a request was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Queued; it will complete once.
    Accepted,
    /// Not queued: offer it again after the next poll.
    Full,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request.
    pub request: RequestId,
    /// What the answer said.
    pub outcome: Outcome,
}

/// What an answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with the promise the system was asked for.
    Done,
    /// An error reply, or a reply without the promise.
    Refused,
}

/// Why a driver cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The other side closed the connection.
    #[error("connection closed by the other side")]
    Closed,
    /// The socket failed.
    #[error("socket failed: {0}")]
    Io(#[from] std::io::Error),
    /// The other side sent what its protocol does not allow here.
    #[error("{protocol}: malformed or unexpected {what}")]
    Malformed {
        /// The protocol spoken.
        protocol: &'static str,
        /// The part that could not be read.
        what: &'static str,
    },
}

/// How requests arrive, and when to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Closed or open loop.
    pub arrival: Arrival,
    /// No more than this many requests.
    pub count_max: u64,
    /// No request is sent (closed) or falls due (open) at or after this time.
    pub duration_ns_max: u64,
}

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// Closed loop with this many requests in flight, at least 1.
    Window(u32),
    /// Open loop.
    Rate {
        /// Requests per second, at least 1.
        per_second: u64,
        /// How they are spread.
        spacing: Spacing,
    },
}

/// How the requests of an open loop are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// At equal distances.
    Even,
    /// As a Poisson process, reproducible from the seed.
    Poisson {
        /// Seed of the gaps.
        seed: u64,
    },
}

/// The result of one run; the default is that of a run which sent nothing.
#[derive(Debug, Default)]
pub struct Figures {
    /// Requests sent.
    pub sent: u64,
    /// Requests done.
    pub count: u64,
    /// Error replies.
    pub errors: u64,
    /// Replies to no request in flight.
    pub unexpected: u64,
    /// From the start to the last completion.
    pub elapsed_ns: u64,
    /// From the start to the time the first request that was not sent would have been due; 0 in a closed loop.
    pub offered_ns: u64,
    /// From the time a request was due (open loop) or sent (closed loop).
    pub latencies: Latencies,
    /// From the time a request was sent, in an open loop.
    pub from_send: Option<Latencies>,
    /// Why the driver stopped early.
    pub failure: Option<DriverError>,
}

/// Why a run says nothing about the system.
#[derive(Debug, PartialEq)]
pub enum Invalid {
    /// Requests without an answer.
    Lost {
        /// Requests sent.
        sent: u64,
        /// Answers of both kinds.
        received: u64,
    },
    /// Answers to no request.
    Unexpected {
        /// How many.
        count: u64,
    },
    /// The open loop did not reach its rate.
    Slow {
        /// Done divided by offered, 0 to 1.
        share: f64,
    },
    /// The connection failed.
    Failed {
        /// The driver's own words.
        reason: String,
    },
    /// No request was done.
    Nothing,
}

/// Sends requests through one driver; ids go on from run to run.
pub struct Generator<C> {
    driver: Box<dyn Driver>,
    clock: C,
    next: RequestId,
}

impl<C: Clock> Generator<C> {
    /// Takes a driver that was never used.
    pub fn new(driver: Box<dyn Driver>, clock: C) -> Self {
        Self { driver, clock, next: RequestId(0) }
    }

    /// Runs one plan to its end.
    pub fn run(&mut self, plan: &Plan) -> Figures {
        let start_ns = self.clock.now_ns();
        let mut session = Session::new(plan, self.next, start_ns);
        let mut now_ns = start_ns;
        let mut failure = None;
        while !session.is_finished(now_ns) {
            match session.turn(self.driver.as_mut(), &self.clock, now_ns) {
                Ok(later_ns) => now_ns = later_ns,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        self.next = session.next;
        session.into_figures(failure)
    }

    /// Returns the text of the first error reply.
    #[must_use]
    pub fn first_refusal(&self) -> Option<&str> {
        self.driver.first_refusal()
    }
}

impl<C> fmt::Debug for Generator<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Figures {
    /// Returns requests done per second, 0 if there were none.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        if self.elapsed_ns == 0 { 0.0 } else { self.count as f64 * 1e9 / self.elapsed_ns as f64 }
    }

    /// Returns every reason why this run says nothing about the system; none if it is valid (L1, L3).
    #[must_use]
    pub fn faults(&self) -> Vec<Invalid> {
        let mut faults = Vec::new();
        if let Some(error) = &self.failure {
            faults.push(Invalid::Failed { reason: error.to_string() });
        }
        let received = self.count + self.errors;
        if received != self.sent {
            faults.push(Invalid::Lost { sent: self.sent, received });
        }
        if self.unexpected > 0 {
            faults.push(Invalid::Unexpected { count: self.unexpected });
        }
        if self.count == 0 {
            faults.push(Invalid::Nothing);
        } else if self.offered_ns > 0 {
            let offered = self.sent as f64 / self.offered_ns as f64;
            let share = self.count as f64 / self.elapsed_ns as f64 / offered;
            if share < RATE_SHARE_MIN {
                faults.push(Invalid::Slow { share });
            }
        }
        faults
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { sent, received } => write!(f, "sent {sent} but received {received}"),
            Self::Unexpected { count } => write!(f, "{count} replies to no request"),
            Self::Slow { share } => write!(f, "achieved {:.1} % of the rate", share * 100.0),
            Self::Failed { reason } => write!(f, "{reason}"),
            Self::Nothing => write!(f, "no request was done"),
        }
    }
}

/// One run in progress.
struct Session {
    schedule: Schedule,
    plan: Plan,
    start_ns: u64,
    first: RequestId,
    next: RequestId,
    in_flight: InFlight,
    completions: Vec<Completion>,
    progress_ns: u64,
    figures: Figures,
}

impl Session {
    fn new(plan: &Plan, first: RequestId, start_ns: u64) -> Self {
        let (schedule, capacity, from_send) = match plan.arrival {
            Arrival::Window(size) => {
                assert!(size > 0, "a window holds at least one request");
                let size = u64::from(size).min(OUTSTANDING_MAX);
                (Schedule::Window { size }, (size * 4).max(IN_FLIGHT_MIN), None)
            }
            Arrival::Rate { per_second, spacing } => {
                let pacer = Pacer::new(start_ns, per_second, spacing);
                (Schedule::Paced { pacer }, OUTSTANDING_MAX, Some(Latencies::new()))
            }
        };
        let figures = Figures { from_send, ..Figures::default() };
        Self {
            schedule,
            plan: *plan,
            start_ns,
            first,
            next: first,
            in_flight: InFlight::new(capacity),
            completions: Vec::with_capacity(COMPLETIONS_CAPACITY),
            progress_ns: start_ns,
            figures,
        }
    }

    /// Sends what is due, takes what has come, and returns the time after that.
    fn turn(&mut self, driver: &mut dyn Driver, clock: &impl Clock, now_ns: u64) -> Result<u64, DriverError> {
        let next_before = self.next;
        let waiting = self.send_due(driver, now_ns)?;
        driver.poll(&mut self.completions)?;
        if self.completions.is_empty() {
            clock.idle();
        }
        let later_ns = clock.now_ns();
        let idle = !waiting && self.in_flight.open == 0;
        if self.next > next_before || !self.completions.is_empty() || idle {
            self.progress_ns = later_ns;
        }
        self.record_completions(later_ns);
        Ok(later_ns)
    }

    /// Sends every request that is due; answers whether one is left that the driver had no room for.
    fn send_due(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<bool, DriverError> {
        while self.wants_more(now_ns) {
            let due_ns = match &self.schedule {
                Schedule::Window { size } if self.in_flight.open < *size => now_ns,
                Schedule::Paced { pacer } if pacer.due_ns() <= now_ns => pacer.due_ns(),
                Schedule::Window { .. } | Schedule::Paced { .. } => return Ok(false),
            };
            if !self.in_flight.has_room(self.next) || driver.try_send(self.next)? == Admission::Full {
                return Ok(true);
            }
            self.in_flight.insert(self.next, Times { due_ns, sent_ns: now_ns });
            self.next = RequestId(self.next.0 + 1);
            self.figures.sent += 1;
            if let Schedule::Paced { pacer } = &mut self.schedule {
                pacer.advance();
                self.figures.offered_ns = pacer.due_ns() - self.start_ns;
            }
        }
        Ok(false)
    }

    /// Whether the plan has another request. Open loop: all that fall due inside the duration, however late, up to
    /// `OVERTIME` times the duration.
    fn wants_more(&self, now_ns: u64) -> bool {
        if self.next.0 - self.first.0 >= self.plan.count_max {
            return false;
        }
        let passed_ns = now_ns - self.start_ns;
        match &self.schedule {
            Schedule::Window { .. } => passed_ns < self.plan.duration_ns_max,
            Schedule::Paced { pacer } => {
                pacer.due_ns() - self.start_ns < self.plan.duration_ns_max
                    && passed_ns < self.plan.duration_ns_max.saturating_mul(OVERTIME)
            }
        }
    }

    fn record_completions(&mut self, now_ns: u64) {
        for completion in self.completions.drain(..) {
            let Some(times) = self.in_flight.remove(completion.request) else {
                self.figures.unexpected += 1;
                continue;
            };
            match completion.outcome {
                Outcome::Refused => self.figures.errors += 1,
                Outcome::Done => {
                    self.figures.count += 1;
                    self.figures.latencies.record(now_ns - times.due_ns);
                    if let Some(from_send) = &mut self.figures.from_send {
                        from_send.record(now_ns - times.sent_ns);
                    }
                }
            }
            self.figures.elapsed_ns = now_ns - self.start_ns;
        }
    }

    fn is_finished(&self, now_ns: u64) -> bool {
        let silent = now_ns - self.progress_ns > SILENCE_NS;
        silent || (self.in_flight.open == 0 && !self.wants_more(now_ns))
    }

    fn into_figures(self, failure: Option<DriverError>) -> Figures {
        Figures { failure, ..self.figures }
    }
}

/// When the next request may go.
enum Schedule {
    Window { size: u64 },
    Paced { pacer: Pacer },
}

/// Times of the requests in flight: a ring by request id.
struct InFlight {
    slots: Vec<Option<(RequestId, Times)>>,
    mask: u64,
    open: u64,
}

#[derive(Clone, Copy)]
struct Times {
    due_ns: u64,
    sent_ns: u64,
}

impl InFlight {
    fn new(capacity: u64) -> Self {
        let capacity = capacity.next_power_of_two();
        let len = usize::try_from(capacity).expect("the capacity is bounded by OUTSTANDING_MAX");
        Self { slots: vec![None; len], mask: capacity - 1, open: 0 }
    }

    fn has_room(&self, request: RequestId) -> bool {
        self.slots[self.index(request)].is_none()
    }

    fn insert(&mut self, request: RequestId, times: Times) {
        let index = self.index(request);
        assert!(self.slots[index].is_none(), "the place of request {} is taken", request.0);
        self.slots[index] = Some((request, times));
        self.open += 1;
    }

    fn remove(&mut self, request: RequestId) -> Option<Times> {
        let index = self.index(request);
        let (_, times) = self.slots[index].take_if(|(held, _)| *held == request)?;
        self.open -= 1;
        Some(times)
    }

    fn index(&self, request: RequestId) -> usize {
        usize::try_from(request.0 & self.mask).expect("masked to the ring's length")
    }
}

/// Requests in flight at once, in both loops.
pub const OUTSTANDING_MAX: u64 = 1 << 16;
/// A run without progress for this long while an answer is missing has lost it.
pub const SILENCE_NS: u64 = 10_000_000_000;
/// Below this share of its rate an open loop is invalid.
const RATE_SHARE_MIN: f64 = 0.99;
/// An open loop that is this many times late gives up; it is invalid then.
const OVERTIME: u64 = 3;
/// Least places for requests in flight: how far answers may overtake one that is late.
const IN_FLIGHT_MIN: u64 = 1024;
/// Completions of one turn that need no allocation.
const COMPLETIONS_CAPACITY: usize = 1 << 14;
