//! The generator on simulated time: the fake system below answers after a fixed time, and can stall, refuse and lose.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;

/// Time that passes only when the generator idles, by one microsecond.
struct SimClock {
    now_ns: Rc<Cell<u64>>,
}

impl SimClock {
    fn new() -> Self {
        Self { now_ns: Rc::new(Cell::new(0)) }
    }
}

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn idle(&self) {
        self.now_ns.set(self.now_ns.get() + 1_000);
    }
}

/// A system that answers every request after `service_ns`.
struct FakeSystem {
    now_ns: Rc<Cell<u64>>,
    service_ns: u64,
    /// Neither accepts nor answers between these times, like a process that is stopped while its buffers are full.
    stall_ns: std::ops::Range<u64>,
    /// Answers with an error each request whose id is a multiple of this.
    refuse_every: Option<u64>,
    lose: Option<RequestId>,
    answer_twice: Option<RequestId>,
    break_at_ns: Option<u64>,
    queue: VecDeque<(u64, RequestId)>,
}

impl FakeSystem {
    fn new(clock: &SimClock) -> Self {
        Self {
            now_ns: Rc::clone(&clock.now_ns),
            service_ns: 50_000,
            stall_ns: 0..0,
            refuse_every: None,
            lose: None,
            answer_twice: None,
            break_at_ns: None,
            queue: VecDeque::new(),
        }
    }

    fn is_stalled(&self) -> bool {
        self.stall_ns.contains(&self.now_ns.get())
    }
}

impl Driver for FakeSystem {
    fn try_send(&mut self, request: RequestId) -> Result<Admission, DriverError> {
        if self.is_stalled() {
            return Ok(Admission::Full);
        }
        if self.lose != Some(request) {
            self.queue.push_back((self.now_ns.get() + self.service_ns, request));
        }
        Ok(Admission::Accepted)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<(), DriverError> {
        if self.break_at_ns.is_some_and(|at_ns| self.now_ns.get() >= at_ns) {
            return Err(DriverError::Closed);
        }
        while !self.is_stalled() && self.queue.front().is_some_and(|(at_ns, _)| *at_ns <= self.now_ns.get()) {
            let (_, request) = self.queue.pop_front().unwrap();
            let refused = self.refuse_every.is_some_and(|every| request.0.is_multiple_of(every));
            let outcome = if refused { Outcome::Refused } else { Outcome::Done };
            completions.push(Completion { request, outcome });
            if self.answer_twice == Some(request) {
                completions.push(Completion { request, outcome });
            }
        }
        Ok(())
    }

    fn first_refusal(&self) -> Option<&str> {
        None
    }
}

const fn open_loop(per_second: u64, spacing: Spacing, seconds: u64) -> Plan {
    let arrival = Arrival::Rate { per_second, spacing };
    Plan { arrival, count_max: u64::MAX, duration_ns_max: seconds * 1_000_000_000 }
}

const fn closed_loop(window: u32, count_max: u64) -> Plan {
    Plan { arrival: Arrival::Window(window), count_max, duration_ns_max: u64::MAX }
}

fn run(plan: &Plan, plant: impl FnOnce(&mut FakeSystem)) -> Figures {
    let clock = SimClock::new();
    let mut system = FakeSystem::new(&clock);
    plant(&mut system);
    Generator::new(Box::new(system), clock).run(plan)
}

#[test]
fn stall_shows_in_the_open_loop_and_hides_from_the_send_time() {
    // Requests that fall due during 1 s of 20 s wait 0.5 s on average: 5 % of all, so p99 must show most of it.
    for spacing in [Spacing::Even, Spacing::Poisson { seed: 0x5EED }] {
        let figures = run(&open_loop(1_000, spacing, 20), |s| s.stall_ns = 5_000_000_000..6_000_000_000);
        assert_eq!(figures.faults(), []);
        let corrected = figures.latencies.quantile_us(0.99);
        let uncorrected = figures.from_send.as_ref().unwrap().quantile_us(0.99);
        assert!(corrected > 700_000.0, "p99 from the due time is {corrected} us");
        assert!(uncorrected < 100.0, "p99 from the send time is {uncorrected} us");
        assert!((figures.latencies.quantile_us(0.5) - 50.0).abs() < 2.0);
    }
}

#[test]
fn late_sender_skips_nothing_and_keeps_its_schedule() {
    let figures = run(&open_loop(1_000, Spacing::Even, 10), |s| s.stall_ns = 2_000_000_000..3_000_000_000);
    assert_eq!(figures.sent, 10_000);
    assert_eq!(figures.count, 10_000);
    assert_eq!(figures.offered_ns, 10_000_000_000);
    // The last request is sent when it was due, not a second later.
    assert!(figures.elapsed_ns < 10_000_000_000, "elapsed {} ns", figures.elapsed_ns);
    assert!((figures.latencies.max_us() - 1_000_050.0).abs() < 1_000.0);
}

#[test]
fn system_slower_than_the_rate_is_invalid() {
    // 100 stalled out of 103 seconds: what was due is sent after the end, far below the rate.
    let figures = run(&open_loop(1_000, Spacing::Even, 2), |s| s.stall_ns = 1_000_000..4_000_000_000);
    assert!(matches!(figures.faults()[..], [Invalid::Slow { share }] if share < 0.6), "{:?}", figures.faults());
}

#[test]
fn hopelessly_late_run_ends() {
    let figures = run(&open_loop(1_000_000, Spacing::Even, 1), |s| s.service_ns = 500_000_000);
    assert!(figures.sent < 1_000_000);
    assert_eq!(figures.count, figures.sent);
    assert!(matches!(figures.faults()[..], [Invalid::Slow { .. }]), "{:?}", figures.faults());
}

#[test]
fn error_replies_are_errors_and_not_requests() {
    let figures = run(&closed_loop(8, 1_000), |s| s.refuse_every = Some(10));
    assert_eq!((figures.sent, figures.count, figures.errors), (1_000, 900, 100));
    assert_eq!(figures.latencies.count(), 900);
    assert_eq!(figures.faults(), []);

    let figures = run(&closed_loop(8, 1_000), |s| s.refuse_every = Some(1));
    assert_eq!((figures.count, figures.errors), (0, 1_000));
    assert_eq!(figures.faults(), [Invalid::Nothing]);
}

#[test]
fn errors_do_not_count_towards_the_rate() {
    let figures = run(&open_loop(1_000, Spacing::Even, 5), |s| s.refuse_every = Some(10));
    assert!(matches!(figures.faults()[..], [Invalid::Slow { share }] if (share - 0.9).abs() < 0.01));
}

#[test]
fn lost_reply_is_invalid() {
    let figures = run(&closed_loop(4, 100), |s| s.lose = Some(RequestId(50)));
    assert_eq!(figures.faults(), [Invalid::Lost { sent: 100, received: 99 }]);

    // With one request in flight nothing is sent after it; the run still ends.
    let figures = run(&closed_loop(1, 100), |s| s.lose = Some(RequestId(50)));
    assert_eq!(figures.faults(), [Invalid::Lost { sent: 51, received: 50 }]);
}

#[test]
fn second_reply_to_one_request_is_invalid() {
    let figures = run(&closed_loop(4, 100), |s| s.answer_twice = Some(RequestId(50)));
    assert_eq!(figures.count, 100);
    assert_eq!(figures.faults(), [Invalid::Unexpected { count: 1 }]);
}

#[test]
fn lost_connection_is_invalid_and_says_so() {
    let figures = run(&closed_loop(4, 100_000), |s| s.break_at_ns = Some(1_000_000));
    let faults = figures.faults();
    assert!(faults.contains(&Invalid::Failed { reason: DriverError::Closed.to_string() }), "{faults:?}");
    assert!(faults.iter().any(|fault| matches!(fault, Invalid::Lost { .. })));
}

#[test]
fn closed_loop_keeps_the_window_full_and_no_fuller() {
    let figures = run(&closed_loop(8, 8_000), |_| {});
    assert_eq!(figures.count, 8_000);
    assert!(figures.from_send.is_none());
    // 8 requests every 50 us, and one idle microsecond is the finest step of this clock.
    assert!((figures.per_second() - 160_000.0).abs() < 4_000.0, "{} per second", figures.per_second());
}

#[test]
fn closed_loop_stops_at_its_duration() {
    let plan = Plan { arrival: Arrival::Window(1), count_max: u64::MAX, duration_ns_max: 10_000_000 };
    let figures = run(&plan, |_| {});
    assert_eq!(figures.faults(), []);
    assert!((195..=201).contains(&figures.count), "{} requests", figures.count);
}

#[test]
fn ids_go_on_from_run_to_run() {
    let clock = SimClock::new();
    let system = FakeSystem::new(&clock);
    let mut generator = Generator::new(Box::new(system), clock);
    for _ in 0..3 {
        let figures = generator.run(&closed_loop(4, 100));
        assert_eq!(figures.faults(), []);
        assert_eq!(figures.count, 100);
    }
    assert_eq!(generator.next, RequestId(300));
}
