//! Three replicas in one process, on real threads: every request ends exactly once, and all three come to one state.
#![expect(clippy::disallowed_methods, reason = "tests of threads need threads and deadlines")]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use quorate_engine::config::Config;
use quorate_engine::embed::{Cluster, Driver, Ended, Handle, Pipeline, PollPolicy, RequestError, SubmitError, Ticket};
use quorate_engine::ids::NodeId;
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op, push_item};
use quorate_engine::output::Refusal;

/// Far enough that only a lost wake-up reaches it.
fn late() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn set<'a>(key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    Command { value, ..Command::new(Op::Set, key) }
}

fn end(mut ticket: Ticket) -> Ended {
    ticket.wait(late()).expect("every request ends")
}

/// Submits until there is room.
fn submit(handle: &mut Handle, command: Command<'_>) -> Ticket {
    loop {
        match handle.submit(command) {
            Ok(ticket) => return ticket,
            Err(SubmitError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
        thread::yield_now();
    }
}

fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Writes 50,000 times to keys of its own, reading some of them back at random.
fn write_and_read_back(mut handle: Handle, name: &str, seed: u64) -> BTreeMap<String, String> {
    let mut random = seed;
    let mut written = BTreeMap::new();
    let mut under_way = Vec::new();
    for number in 0..50_000 {
        let key = format!("{name}:{}", next_random(&mut random) % 500);
        let value = format!("{name}-{number}");
        under_way.push(submit(&mut handle, set(key.as_bytes(), value.as_bytes())));
        written.insert(key.clone(), value.clone());
        if next_random(&mut random).is_multiple_of(64) {
            let reply = end(submit(&mut handle, Command::new(Op::Get, key.as_bytes()))).expect("a read is answered");
            assert_eq!(reply.answer(), Answer::Bulk(value.as_bytes()), "a read sees the write before it");
        }
        if under_way.len() == 1000 {
            under_way.drain(..).for_each(|ticket| assert_eq!(end(ticket).expect("committed").answer(), Answer::Ok));
        }
    }
    under_way.drain(..).for_each(|ticket| assert_eq!(end(ticket).expect("committed").answer(), Answer::Ok));
    written
}

#[test]
fn writes_of_two_handles_are_read_back_and_applied_by_all_three() {
    let cluster = Cluster::builder().name("two").partitions(4).build().unwrap();
    let (one, two) = (cluster.handle(), cluster.handle());
    let one = thread::spawn(|| write_and_read_back(one, "a", 1));
    let two = thread::spawn(|| write_and_read_back(two, "b", 2));
    let mut written = one.join().unwrap();
    written.extend(two.join().unwrap());

    let mut handle = cluster.handle();
    for (key, value) in &written {
        let reply = end(submit(&mut handle, Command::new(Op::Get, key.as_bytes()))).expect("answered");
        assert_eq!(reply.answer(), Answer::Bulk(value.as_bytes()));
    }
    let stopped = cluster.stop();
    assert!(stopped.digests_agree(), "{stopped:?}");
    assert_eq!(stopped.nodes.len(), 3);
    for node in &stopped.nodes {
        assert_eq!(node.groups.iter().map(|group| group.key_count).sum::<usize>(), written.len());
        assert!(node.groups.iter().map(|group| group.applied.0).sum::<u64>() >= 100_000);
    }
}

#[test]
fn a_full_ring_is_busy_and_a_retry_gets_through() {
    // As many as may be uncommitted together, however slow the followers are: more would be refused.
    let cluster = Cluster::builder().in_flight_max(1 << 13).ring_bytes(4096).poll(PollPolicy::Park).build().unwrap();
    let mut pipeline = cluster.pipeline();
    let (mut submitted, mut busy, mut done) = (0, 0, 0);
    while busy == 0 || submitted < 10_000 {
        match pipeline.submit(submitted, set(b"k", &[b'v'; 100])) {
            Ok(()) => submitted += 1,
            Err(SubmitError::Busy) => {
                busy += 1;
                assert!(pipeline.wait(late()), "what is under way ends");
                done += pipeline.poll(usize::MAX, |completion| assert!(completion.result.is_ok()));
            }
            Err(error) => panic!("{error}"),
        }
    }
    while done < submitted as usize {
        assert!(pipeline.wait(late()));
        done += pipeline.poll(usize::MAX, |completion| assert!(completion.result.is_ok()));
    }
    assert_eq!(pipeline.in_flight(), 0);
    assert!(!pipeline.wait(late()), "nothing is under way");
    assert!(cluster.stop().digests_agree());
}

#[test]
fn the_window_of_a_client_is_bounded() {
    let mut driver = Cluster::builder().in_flight_max(3).build_driven().unwrap();
    let mut pipeline = driver.pipeline();
    for tag in 0..3 {
        pipeline.submit(tag, set(b"k", b"v")).unwrap();
    }
    assert!(matches!(pipeline.submit(3, set(b"k", b"v")), Err(SubmitError::Busy)));
    assert_eq!(pipeline.in_flight(), 3);
    drive_until(&mut driver, || pipeline.poll(1, |completion| assert_eq!(completion.tag, 0)) == 1);
    pipeline.submit(3, set(b"k", b"v")).unwrap();
    pipeline.flush();
    assert!(driver.stop().digests_agree());
    assert_eq!(drain(&mut pipeline), [1, 2, 3]);
}

fn drive_until(driver: &mut Driver, mut is_done: impl FnMut() -> bool) {
    while !is_done() {
        if !driver.turn(|_| {}) {
            thread::yield_now();
        }
    }
}

/// Polls until nothing is under way; returns the tags in order. All must have ended well.
fn drain(pipeline: &mut Pipeline) -> Vec<u32> {
    let mut tags = Vec::new();
    while pipeline.in_flight() > 0 {
        pipeline.poll(usize::MAX, |completion| {
            assert!(completion.result.is_ok());
            tags.push(completion.tag);
        });
    }
    tags
}

#[test]
fn a_read_sees_the_writes_submitted_before_it() {
    let mut driver = Cluster::builder().build_driven().unwrap();
    let mut pipeline = driver.pipeline();
    for round in 0..1000_u32 {
        let value = round.to_string();
        pipeline.submit(1, set(b"k", value.as_bytes())).unwrap();
        pipeline.submit(2, Command::new(Op::Get, b"k")).unwrap();
        let mut reads = 0;
        drive_until(&mut driver, || {
            pipeline.poll(usize::MAX, |completion| {
                let answered = completion.result.expect("answered");
                if completion.tag == 2 {
                    assert_eq!(answered.answer(), Answer::Bulk(value.as_bytes()));
                    reads += 1;
                }
            });
            pipeline.in_flight() == 0
        });
        assert_eq!(reads, 1);
    }
    assert!(driver.stop().digests_agree());
}

#[test]
fn what_the_driving_thread_submits_is_completed_in_its_turns() {
    let mut driver = Cluster::builder().in_flight_max(4).build_driven().unwrap();
    let mut ids = Vec::new();
    for round in 0..500_u32 {
        let value = round.to_string();
        driver.submit(1, set(b"k", value.as_bytes())).unwrap();
        driver.submit(2, Command::new(Op::Get, b"k")).unwrap();
        driver.submit(3, Command::new(Op::HashSet, b"k")).unwrap_err();
        driver.submit(4, Command { number: 1, ..Command::new(Op::Increment, b"n") }).unwrap();
        driver.submit(5, Command { value: b"v", ..Command::new(Op::HashGet, b"k") }).unwrap();
        assert_eq!(driver.submit(6, set(b"k", b"")), Err(SubmitError::Busy));
        let mut tags = Vec::new();
        while driver.in_flight() > 0 {
            driver.turn(|completion| {
                let answered = completion.result.expect("answered");
                match completion.tag {
                    1 => ids.push(answered.id),
                    2 => assert_eq!(answered.answer(), Answer::Bulk(value.as_bytes())),
                    4 => assert_eq!(answered.answer(), Answer::Int(i64::from(round) + 1)),
                    tag => assert!(tag == 5 && matches!(answered.answer(), Answer::Error(_)), "tag {tag}"),
                }
                tags.push(completion.tag);
            });
        }
        tags.sort_unstable();
        assert_eq!(tags, [1, 2, 4, 5]);
    }
    assert!(ids.is_sorted() && ids.len() == 500);
    driver.submit(1, set(b"k", b"last")).unwrap();
    let stopped = driver.stop();
    assert!(stopped.digests_agree());
}

#[test]
fn what_the_driving_thread_is_refused_is_told_by_the_next_turn() {
    let config = Config { waiters_max: 2, ..Config::default() };
    let mut driver = Cluster::builder().config(config).build_driven().unwrap();
    for tag in 0..5 {
        driver.submit(tag, set(b"k", b"v")).unwrap();
    }
    let mut refused = Vec::new();
    assert!(driver.turn(|completion| {
        assert!(matches!(completion.result, Err(RequestError::Refused(Refusal::Overload { .. }))));
        refused.push(completion.tag);
    }));
    assert_eq!(refused, [2, 3, 4]);
    let mut done = 0;
    while driver.in_flight() > 0 {
        driver.turn(|completion| done += u32::from(completion.result.is_ok()));
    }
    assert_eq!(done, 2);
    assert!(driver.stop().digests_agree());
}

/// Wakes a thread that waits in `block_on`.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor: one future, one thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_ticket_is_a_future_for_any_executor() {
    for poll in [PollPolicy::Spin, PollPolicy::Adaptive, PollPolicy::Park] {
        let cluster = Cluster::builder().poll(poll).build().unwrap();
        let mut handle = cluster.handle();
        let last = block_on(async {
            for number in 0..200_u32 {
                handle.set(b"n", number.to_string().as_bytes()).unwrap().await.expect("committed");
            }
            let mut both = (handle.set(b"n", b"end").unwrap(), handle.get(b"n").unwrap());
            // In the wrong order: the second may be sorted in while the first is polled.
            let read = (&mut both.1).await.expect("answered");
            (&mut both.0).await.expect("committed");
            read
        });
        assert_eq!(last.answer(), Answer::Bulk(b"end"));
        assert!(cluster.stop().digests_agree());
    }
}

#[test]
fn tickets_of_one_handle_are_awaited_on_many_threads() {
    let cluster = Cluster::builder().poll(PollPolicy::Park).build().unwrap();
    let mut handle = cluster.handle();
    for round in 0..50_u32 {
        let tickets: Vec<Ticket> = (0..8).map(|_| submit(&mut handle, set(b"k", &round.to_le_bytes()))).collect();
        let waiters: Vec<_> = tickets
            .into_iter()
            .enumerate()
            .map(|(number, ticket)| thread::spawn(move || if number % 2 == 0 { block_on(ticket) } else { end(ticket) }))
            .collect();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().expect("committed").answer(), Answer::Ok);
        }
    }
    assert!(cluster.stop().digests_agree());
}

#[test]
fn a_stop_ends_each_request_exactly_once() {
    for poll in [PollPolicy::Spin, PollPolicy::Park] {
        let cluster = Cluster::builder().poll(poll).build().unwrap();
        let (mut handle, mut pipeline) = (cluster.handle(), cluster.pipeline());
        let tickets: Vec<Ticket> = (0..500).map(|_| submit(&mut handle, set(b"t", b"v"))).collect();
        let mut submitted = 0;
        while submitted < 500 && pipeline.submit(submitted, set(b"p", b"v")).is_ok() {
            submitted += 1;
        }
        // Some blocked, some awaited, some only polled afterwards.
        let mut tickets = tickets.into_iter();
        let blocked: Vec<_> = tickets.by_ref().take(4).map(|ticket| thread::spawn(move || [end(ticket)])).collect();
        let awaited: Vec<_> =
            tickets.by_ref().take(4).map(|ticket| thread::spawn(move || [block_on(ticket)])).collect();
        let stopped = cluster.stop();
        assert!(stopped.digests_agree());

        let mut ends: Vec<Ended> = blocked.into_iter().chain(awaited).flat_map(|one| one.join().unwrap()).collect();
        ends.extend(tickets.map(end));
        assert_eq!(ends.len(), 500);
        let mut done = ends.iter().filter(|ended| ended.is_ok()).count();
        assert!(ends.iter().all(|ended| ended.is_ok() || *ended == Err(RequestError::Stopped)), "{ends:?}");

        let mut seen = vec![0; submitted as usize];
        while pipeline.in_flight() > 0 {
            pipeline.poll(7, |completion| {
                seen[completion.tag as usize] += 1;
                done += usize::from(completion.result.is_ok());
                assert!(completion.result.is_ok() || completion.result == Err(RequestError::Stopped));
            });
        }
        assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
        assert_eq!(pipeline.poll(7, |_| {}), 0);
        assert_eq!(stopped.nodes[0].groups[0].applied.0, done as u64 + 1, "what was not answered was not done");
        assert!(matches!(handle.set(b"k", b"v"), Err(SubmitError::Stopped)));
        assert!(matches!(pipeline.submit(1, set(b"k", b"v")), Err(SubmitError::Stopped)));
    }
}

/// Returns the scheduler's letter for each thread whose name begins with `name`.
fn thread_states(name: &str) -> Vec<char> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    // number (name) letter ..
    let states = stats.filter_map(|stat| {
        let (_, rest) = stat.split_once('(')?;
        let (comm, rest) = rest.rsplit_once(") ")?;
        if comm.starts_with(name) { rest.chars().next() } else { None }
    });
    states.collect()
}

#[test]
fn parked_threads_sleep_and_still_answer() {
    for (name, poll) in [("idle-park", PollPolicy::Park), ("idle-adapt", PollPolicy::Adaptive)] {
        let cluster = Cluster::builder().name(name).poll(poll).build().unwrap();
        let mut handle = cluster.handle();
        for _ in 0..20 {
            assert!(end(submit(&mut handle, set(b"k", b"v"))).is_ok());
            // Ends only when both threads sleep.
            while thread_states(name) != ['S', 'S'] {
                thread::yield_now();
            }
        }
        assert!(cluster.stop().digests_agree());
    }
}

#[test]
fn values_longer_than_the_rings_go_through() {
    let config = Config { value_bytes_max: 1 << 20, log_bytes: 64 << 20, ..Config::default() };
    let cluster = Cluster::builder().ring_bytes(4096).in_flight_max(16).config(config).build().unwrap();
    let mut handle = cluster.handle();
    for len in [900, 1100, 5000, 100_000, 1 << 20] {
        let value = vec![b'x'; len];
        assert!(end(submit(&mut handle, set(b"long", &value))).is_ok());
        // More answers than the ring of completions takes: the rest waits at the leader.
        let reads: Vec<Ticket> = (0..16).map(|_| submit(&mut handle, Command::new(Op::Get, b"long"))).collect();
        for read in reads {
            assert_eq!(end(read).expect("answered").answer(), Answer::Bulk(&value));
        }
    }
    let too_long = vec![b'x'; (1 << 20) + 1];
    let refused = end(submit(&mut handle, set(b"long", &too_long)));
    assert_eq!(refused, Err(RequestError::Refused(Refusal::ValueTooLarge { len: too_long.len(), max: 1 << 20 })));
    assert!(cluster.stop().digests_agree());
}

#[test]
fn followers_can_be_peeked_at() {
    let cluster = Cluster::builder().build().unwrap();
    let mut handle = cluster.handle();
    let id = end(submit(&mut handle, set(b"k", b"v"))).expect("committed").id();
    for node in 1..=3 {
        // A follower learns of the commit a little later.
        let peeked = loop {
            let peeked = cluster.peek(NodeId(node), &Command::new(Op::Get, b"k")).expect("there are three nodes");
            if peeked.applied >= id {
                break peeked;
            }
        };
        assert_eq!(peeked.answer(), Answer::Bulk(b"v"));
    }
    assert_eq!(cluster.peek(NodeId(4), &Command::new(Op::Get, b"k")), None);
    let nodes: Vec<NodeId> = cluster.status().iter().map(|node| node.node).collect();
    assert_eq!(nodes, [NodeId(1), NodeId(2), NodeId(3)]);
}

#[test]
fn a_dropped_ticket_frees_its_place() {
    let cluster = Cluster::builder().in_flight_max(2).poll(PollPolicy::Park).build().unwrap();
    let mut handle = cluster.handle();
    for _ in 0..1000 {
        drop(submit(&mut handle, set(b"k", b"v")));
    }
    assert!(end(submit(&mut handle, Command::new(Op::Get, b"k"))).is_ok());
    drop(handle);
    assert!(cluster.stop().digests_agree());
}

#[test]
fn what_cannot_be_built_is_refused_with_the_range() {
    let error = Cluster::builder().partitions(0).build().unwrap_err();
    assert_eq!(error.to_string(), "partitions is 0, allowed is 1 to 16384");
    let config = Config { waiters_max: 0, ..Config::default() };
    let error = Cluster::builder().config(config).build_driven().unwrap_err();
    assert_eq!(error.to_string(), "waiters_max is 0, allowed is 1 to 16777216");
    let error = Cluster::builder().pin(0, 1000).build().unwrap_err();
    assert!(error.to_string().starts_with("cannot pin a thread to CPU 1000"), "{error}");
    assert!(Cluster::builder().pin(0, 0).build().is_ok());
}

#[test]
fn a_malformed_command_is_not_submitted() {
    let cluster = Cluster::builder().build().unwrap();
    let mut handle = cluster.handle();
    let mut items = Vec::new();
    push_item(&mut items, b"key without value");
    let command = Command { value: &items, ..Command::new(Op::SetMany, b"") };
    assert!(matches!(handle.submit(command), Err(SubmitError::Malformed(_))));
    push_item(&mut items, b"value");
    let command = Command { value: &items, ..Command::new(Op::SetMany, b"") };
    assert_eq!(end(submit(&mut handle, command)).expect("committed").answer(), Answer::Ok);
}
