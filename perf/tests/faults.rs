//! Faults against real processes, each on a machine of its own: what users are told is true, and what is healed works again.
//!
//! These tests need root, `ip` and `nft`, and the daemon beside the harness. Where one of them is missing they say so and pass,
//! except with `CI` in the environment. One runs at a time: each of them is a cluster with its clients.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use quorate::cli::status::ask::{AskError, Asker, Reply};
use quorate_perf::faults::network::{Cut, Network};
use quorate_perf::faults::nodes::{Nodes, PEER, Shape};
use quorate_perf::faults::plan::Selection;
use quorate_perf::faults::watch::Watch;
use quorate_perf::faults::{Limit, Run, Summary};
use quorate_perf::quorum::find_daemon;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Held by the test that runs.
static TURN: Mutex<()> = Mutex::new(());

/// Returns what to start, once it is this test's turn; nothing if it cannot run here.
fn shape(nodes: u16, partitions: u32) -> Option<(MutexGuard<'static, ()>, Shape)> {
    let harness = PathBuf::from(env!("CARGO_BIN_EXE_quorate-perf"));
    let daemon = Network::ensure_possible().and_then(|()| find_daemon(&harness, None));
    match daemon {
        Ok(daemon) => {
            // One that failed has taken its cluster with it.
            let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let partitions = Some(partitions);
            Some((turn, Shape { nodes, partitions, request_timeout: None, suspicion: None, harness, daemon }))
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "this test has to run where CI is set: {error:#}");
            // Not through the macro, whose output is shown for failing tests only.
            let _ = writeln!(std::io::stderr(), "SKIPPED, no faults against real processes: {error:#}");
            None
        }
    }
}

fn run(nodes: u16, seed: u64, selection: Selection, rounds: u32) -> Option<Summary> {
    let (_turn, shape) = shape(nodes, 8)?;
    let keep = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    let run = Run { shape, seed, selection, limit: Limit::Rounds(rounds), clients: 6, keep };
    let mut told = String::new();
    let summary = run.run(|round, outcome| {
        let line = outcome.map_or_else(|| round.to_string(), |outcome| outcome.told());
        println!("{line}");
        told.push_str(&line);
        told.push('\n');
    });
    let summary = summary.unwrap_or_else(|error| panic!("seed {seed}, {nodes} nodes:\n{told}{error:#}"));
    assert_eq!(summary.violations, 0, "seed {seed}, {nodes} nodes:\n{told}");
    assert!(summary.requests.done > 0, "nothing was done:\n{told}");
    Some(summary)
}

fn ask(asker: &mut Asker, words: &[&str]) -> Result<Reply, AskError> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    asker.ask(&words)
}

fn connect(node: u16) -> Result<Asker> {
    Ok(Asker::connect(&Nodes::resp(node), None, DEADLINE)?)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "waited {DEADLINE:?} in vain until {what}; what nodes say:\n{}", told());
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Returns what each node that answers says of its first group, and what has happened last.
fn told() -> String {
    let of = |node: u16| {
        let events = Asker::connect(&Nodes::resp(node), None, Duration::from_secs(1))
            .and_then(|mut asker| ask(&mut asker, &["CORE", "EVENTS", "COUNT", "1000", "JSON"]));
        let events = match events {
            Ok(Reply::Array(events)) => events,
            other => return format!("node {node}: {other:?}"),
        };
        let text = |event: &Reply| match event {
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        };
        let last: Vec<String> = events.iter().skip(events.len().saturating_sub(30)).map(text).collect();
        format!("node {node}: {:?}\n{}", state_at(node), last.join("\n"))
    };
    (1..=5).map(of).collect::<Vec<_>>().join("\n")
}

/// Returns who leads the one group there is, and who follows.
fn leader_and_followers(nodes: &Nodes) -> Result<(u16, Vec<u16>)> {
    let mut leader = None;
    until("a node leads", || {
        leader = nodes.ids().into_iter().find(|id| state_at(*id).is_some_and(|state| state == "serving"));
        leader.is_some()
    })?;
    let leader = leader.expect("it was found");
    Ok((leader, nodes.ids().into_iter().filter(|id| *id != leader).collect()))
}

fn state_at(node: u16) -> Option<String> {
    Nodes::status(node).ok().map(|report| report.groups[0].state.clone())
}

/// Asserts that a request was refused for want of a quorum, and by whom it was heard.
fn ensure_no_quorum(refused: &Result<Reply, AskError>, have: u16, need: u16) -> Result<()> {
    match refused {
        Err(AskError::Refused { text, .. }) if text.starts_with(&format!("NOQUORUM have {have} need {need}")) => Ok(()),
        other => bail!("not NOQUORUM have {have} need {need}: {other:?}"),
    }
}

#[test]
fn three_nodes_tell_nothing_that_is_not_true() {
    run(3, 3, Selection::All, 5);
}

#[test]
fn five_nodes_tell_nothing_that_is_not_true() {
    run(5, 5, Selection::All, 4);
}

/// Clients do all they can while leaders are killed under them; in the end all replicas are in the same state at the same index,
/// which every round compares.
#[test]
fn smr_1_replicas_are_in_the_same_state_whoever_is_killed() {
    let Some(summary) = run(3, 1, Selection::KillLeader, 3) else { return };
    assert_eq!(summary.faults, 3);
    println!("largest gap without an acknowledgement: {:?} ms", summary.gap_ms_max);
}

/// At no time do two nodes accept writes for a group in one epoch: asked of all nodes all the time, and of the places of all acknowledged
/// writes, while the network is cut in all ways.
#[test]
fn cor_7_no_group_has_two_leaders_in_one_epoch() {
    run(3, 7, Selection::Network, 4);
}

/// A replica is cut off while writes are asked of everybody. What was acknowledged is at all replicas in the end, what was refused
/// at none, and meanwhile no replica has executed more than is committed.
#[test]
fn smr_2_a_write_is_at_all_replicas_or_at_none_and_its_client_was_told() -> Result<()> {
    let Some((_turn, shape)) = shape(3, 64) else { return Ok(()) };
    // What is under way to whoever is cut off takes so long to be unknown.
    let mut nodes = Nodes::start(Shape { request_timeout: Some(Duration::from_secs(1)), ..shape })?;
    let watch = Watch::start(3);
    let ids = nodes.ids();
    let mut told = Told::default();
    for cut_off in ids.clone() {
        let others = ids.iter().filter(|id| **id != cut_off);
        nodes.cut(others.flat_map(|id| [Cut { from: *id, to: cut_off }, Cut { from: cut_off, to: *id }]).collect())?;
        let (is_over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| -> Result<()> {
            let write = |id| shut_down(id, cut_off, &acknowledged, &is_over);
            let writers: Vec<_> = ids.iter().map(|id| scope.spawn(move || write(*id))).collect();
            let target = watch.samples() + 4_000;
            let looked = until("others have written, and all replicas were looked at", || {
                watch.samples() >= target && acknowledged.load(Ordering::Relaxed) >= 100
            });
            is_over.store(true, Ordering::Relaxed);
            for writer in writers {
                told.join(writer.join().expect("it does not fail by itself")?);
            }
            looked
        })?;
        nodes.heal()?;
        nodes.wait_settled()?;
    }
    let Told { acknowledged, refused, unknown } = told;
    let seen = watch.stop()?;
    assert_eq!(seen.violations, [""; 0]);
    ensure!(seen.samples > 10_000, "only {} samples", seen.samples);
    println!(
        "{} acknowledged, {} refused, {unknown} unknown; {} samples",
        acknowledged.len(),
        refused.len(),
        seen.samples
    );
    ensure!(acknowledged.len() >= 300, "hardly anything was acknowledged");
    let mut asker = connect(1)?;
    for key in &acknowledged {
        ensure!(
            ask(&mut asker, &["GET", key])? == Reply::Bulk(b"shutdown".to_vec()),
            "{key} was acknowledged and is lost"
        );
    }
    for key in &refused {
        ensure!(ask(&mut asker, &["GET", key])? == Reply::Nil, "{key} was refused and is there");
    }
    assert_same_state(&mut nodes)
}

/// What the clients of alerts were told.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    unknown: u32,
}

impl Told {
    fn join(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.refused.extend(other.refused);
        self.unknown += other.unknown;
    }
}

/// Writes an alert after the other through a node, until it is over.
fn shut_down(through: u16, cut_off: u16, acknowledged: &AtomicU64, is_over: &AtomicBool) -> Result<Told> {
    let (mut told, mut asker) = (Told::default(), connect(through)?);
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("alert:{cut_off}:{through}:{number}");
        match ask(&mut asker, &["SET", &key, "shutdown"]) {
            Ok(reply) => {
                ensure!(reply == Reply::Word("OK".to_owned()), "{reply:?}");
                told.acknowledged.push(key);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(AskError::Refused { text, .. }) if text.starts_with("UNKNOWN") => told.unknown += 1,
            Err(AskError::Refused { .. }) => told.refused.push(key),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(told)
}

fn assert_same_state(nodes: &mut Nodes) -> Result<()> {
    let reports = nodes.wait_even()?;
    for report in &reports {
        for (group, first) in report.groups.iter().zip(&reports[0].groups) {
            assert_eq!(group.digest, first.digest, "group {} at node {}", group.group, report.node);
        }
    }
    Ok(())
}

/// A follower is away while more passes than the log holds, and comes back blank: it is a member again, in the same state, while
/// writes go on without an error.
#[test]
fn smr_4_a_blank_follower_is_a_member_again_while_writes_go_on() -> Result<()> {
    let Some((_turn, shape)) = shape(3, 1) else { return Ok(()) };
    let mut nodes = Nodes::start(shape)?;
    let (leader, followers) = leader_and_followers(&nodes)?;
    let mut asker = connect(leader)?;
    let away = followers[0];
    nodes.kill(away);
    let value = "v".repeat(1_000);
    let mut write = |number: u32| -> Result<()> {
        let key = format!("k{}", number % 5_000);
        asker.push(&[b"SET", key.as_bytes(), value.as_bytes()]);
        ensure!(asker.receive()? == Reply::Word("OK".to_owned()), "write {number}");
        Ok(())
    };
    (0..20_000).try_for_each(&mut write)?;
    let began = Instant::now();
    nodes.start_node(away)?;
    let mut number = 20_000;
    let is_back = || {
        let group = Nodes::status(leader).ok().map(|report| report.groups[0].clone());
        group.is_some_and(|group| group.members.len() == 3 && group.lost.is_empty() && group.learners.is_empty())
    };
    let deadline = Instant::now() + DEADLINE;
    while !is_back() {
        ensure!(Instant::now() < deadline, "node {away} is not a member again");
        (0..20).try_for_each(|_| {
            number += 1;
            write(number)
        })?;
    }
    println!("node {away} is a member again after {} ms and {} writes", began.elapsed().as_millis(), number - 20_000);
    nodes.wait_settled()?;
    assert_same_state(&mut nodes)
}

/// Five nodes, three of which must hold a write: two may be lost. With a third gone, what comes is refused, which is certain, and
/// what was appended before is unknown; it works again by itself.
#[test]
fn qrw_1_without_a_quorum_what_comes_is_refused_and_what_was_appended_is_unknown() -> Result<()> {
    let Some((_turn, shape)) = shape(5, 1) else { return Ok(()) };
    // So that nobody takes over because this machine is busy.
    let mut nodes = Nodes::start(Shape { suspicion: Some(Duration::from_secs(1)), ..shape })?;
    let (leader, followers) = leader_and_followers(&nodes)?;
    let mut asker = connect(leader)?;
    let ok = || Reply::Word("OK".to_owned());

    // Two are killed: it goes on. A third one stands still: it does not.
    nodes.kill(followers[0]);
    nodes.kill(followers[1]);
    for number in 0..100 {
        ensure!(ask(&mut asker, &["SET", "x", &format!("two lost {number}")])? == ok());
    }
    refuse_while_still(&mut nodes, leader, &followers[2..3], "two lost 99")?;

    // All are back, and three stand still.
    nodes.heal()?;
    nodes.wait_settled()?;
    let (leader, followers) = leader_and_followers(&nodes)?;
    refuse_while_still(&mut nodes, leader, &followers[1..], "appended")?;
    nodes.wait_settled()?;
    assert_same_state(&mut nodes)
}

/// Has nodes stand still so that two of the three that are needed are left; `before` may be what is read afterwards, besides what is
/// written now.
fn refuse_while_still(nodes: &mut Nodes, leader: u16, still: &[u16], before: &str) -> Result<()> {
    let mut asker = connect(leader)?;
    still.iter().try_for_each(|id| nodes.pause(*id))?;
    let paused = Instant::now();
    let mut early = connect(leader)?;
    let appended = thread::spawn(move || (ask(&mut early, &["SET", "x", "appended"]), Instant::now()));
    until("the leader hears no quorum", || state_at(leader).is_some_and(|state| state == "waiting: 2 of 3 replicas"))?;
    let noticed = paused.elapsed();
    for command in [&["SET", "x", "never"][..], &["GET", "x"], &["INCR", "never"]] {
        let asked = Instant::now();
        let refused = ask(&mut asker, command);
        println!("{command:?} was refused within {:?}, and noticed {noticed:?} after the pause", asked.elapsed());
        ensure_no_quorum(&refused, 2, 3)?;
    }
    let refused_at = Instant::now();
    let (ending, ended_at) = appended.join().expect("it does not fail by itself");
    match ending {
        Err(AskError::Refused { text, .. }) if text.starts_with("UNKNOWN") => {}
        // It may have come when nobody was heard any more.
        other => ensure_no_quorum(&other, 2, 3)?,
    }
    ensure!(refused_at < ended_at, "a refusal does not take as long as the time after which a request is unknown");

    still.iter().try_for_each(|id| nodes.resume(*id))?;
    // The core, which is back as well, may have heard that the leader had no quorum, and have another one take over.
    until("it serves again by itself", || {
        ask(&mut asker, &["SET", "y", "healed"]).is_ok_and(|reply| reply == Reply::Word("OK".to_owned()))
    })?;
    let mut read = |key: &str| {
        let mut reply = None;
        until("it is read", || {
            reply = ask(&mut asker, &["GET", key]).ok();
            reply.is_some()
        })?;
        Ok::<Reply, anyhow::Error>(reply.expect("it was read"))
    };
    let Reply::Bulk(value) = read("x")? else { bail!("x is gone") };
    let value = String::from_utf8(value)?;
    ensure!(value == "appended" || value == before, "read {value}");
    ensure!(read("never")? == Reply::Nil, "what was refused has happened");
    Ok(())
}

/// The slowest two of five are waited for by nobody, and have everything when they go on.
#[test]
fn qrw_2_two_slow_replicas_delay_nobody_and_catch_up() -> Result<()> {
    let Some((_turn, shape)) = shape(5, 1) else { return Ok(()) };
    let mut nodes = Nodes::start(shape)?;
    let (leader, followers) = leader_and_followers(&nodes)?;
    let mut asker = connect(leader)?;
    let slow = &followers[..2];
    slow.iter().try_for_each(|id| nodes.pause(*id))?;
    for number in 0..1_000 {
        let reply = ask(&mut asker, &["SET", &format!("k{}", number % 100), &number.to_string()])?;
        ensure!(reply == Reply::Word("OK".to_owned()), "{reply:?}");
    }
    // They stood still all the time: nothing of it waited for them.
    ensure!(slow.iter().all(|id| !nodes.is_well(*id)));
    slow.iter().try_for_each(|id| nodes.resume(*id))?;
    nodes.wait_settled()?;
    assert_same_state(&mut nodes)
}

/// A run that was killed has left its namespaces, and the next one removes them; its own go with it.
#[test]
fn nothing_is_left_of_a_network() -> Result<()> {
    let Some(_turn) = shape(3, 1) else { return Ok(()) };
    // No process can have this number.
    let abandoned = "quorate-faults-4194305-0-hub";
    let added = Command::new("ip").args(["netns", "add", abandoned]).status()?;
    ensure!(added.success(), "a namespace can be made");
    let network = Network::enter(3)?;
    let own = format!("quorate-faults-{}-", std::process::id());
    let left = namespaces()?;
    assert!(!left.iter().any(|name| name == abandoned), "{left:?}");
    assert_eq!(
        left.iter().filter(|name| name.starts_with(&own)).count(),
        4,
        "one for each node and one for clients: {left:?}"
    );
    drop(network);
    let left = namespaces()?;
    assert!(!left.iter().any(|name| name.starts_with(&own)), "{left:?}");
    Ok(())
}

fn namespaces() -> Result<Vec<String>> {
    let entries = fs::read_dir("/run/netns")?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// A cluster that nobody uses writes nothing into its consistent core, and what its nodes say to each other does not depend on how
/// many partitions there are.
#[test]
fn cor_8_an_idle_cluster_writes_nothing_and_says_as_much_with_many_partitions_as_with_few() -> Result<()> {
    let mut said = Vec::new();
    for partitions in [4, 256] {
        let Some((_turn, shape)) = shape(3, partitions) else { return Ok(()) };
        let mut nodes = Nodes::start(shape)?;
        nodes.wait_even()?;
        // What the start has left to say is said: the core's files rest.
        let mut before = written(&nodes)?;
        until("the core rests", || {
            thread::sleep(Duration::from_millis(300));
            let now = written(&nodes).unwrap_or_default();
            now == std::mem::replace(&mut before, now.clone())
        })?;
        nodes.network.count_sent(1, &[PEER, PEER + 1])?;
        thread::sleep(WINDOW);
        let counted = nodes.network.take_sent(1)?;
        assert_eq!(written(&nodes)?, before, "the core has written with {partitions} partitions");
        let packets = |port| counted.get(&port).copied().context("it was counted");
        println!(
            "{partitions} partitions: {} packets between control threads, {} between CPUs, in {WINDOW:?}",
            packets(PEER)?,
            packets(PEER + 1)?
        );
        ensure!(packets(PEER)? > 0, "the nodes do not say that they live");
        assert_eq!(packets(PEER + 1)?, 0, "a group that nobody uses sends nothing");
        said.push(packets(PEER)?);
    }
    ensure!(said[1] < 2 * said[0], "{said:?} packets with 4 and with 256 partitions");
    Ok(())
}

/// Returns when each file of each node's core was written last.
fn written(nodes: &Nodes) -> Result<BTreeSet<(PathBuf, SystemTime, u64)>> {
    let mut files = BTreeSet::new();
    for id in nodes.ids() {
        for entry in fs::read_dir(nodes.core_folder(id))? {
            let entry = entry?;
            let data = entry.metadata()?;
            files.insert((entry.path(), data.modified()?, data.len()));
        }
    }
    ensure!(!files.is_empty(), "the core keeps nothing");
    Ok(files)
}

/// How long an idle cluster is listened to.
const WINDOW: Duration = Duration::from_secs(2);
