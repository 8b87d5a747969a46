//! The door for HTTP: what it says while all is well, when a leader is lost, and when a thread stands still.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::daemons::{Cluster, DEADLINE, Shape, until};
use super::resp::Reply;

/// A response: its status, and what follows the head.
#[derive(Debug)]
struct Http {
    status: u16,
    head: String,
    body: String,
}

fn get(address: &str, path: &str) -> Http {
    try_get(address, path).unwrap_or_else(|error| panic!("{address}{path}: {error}"))
}

fn try_get(address: &str, path: &str) -> std::io::Result<Http> {
    exchange(address, format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())
}

/// Sends bytes, and reads until the node closes the connection.
fn exchange(address: &str, request: &[u8]) -> std::io::Result<Http> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request)?;
    let mut text = Vec::new();
    // One that was refused with bytes unread ends with a reset, behind the answer.
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).expect("we answer in UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Ok(Http { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// Samples by name and labels as they are written, of a text that keeps the rules of OpenMetrics.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let http = get(address, "/metrics");
    assert_eq!(http.status, 200, "{http:?}");
    assert!(http.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", http.head);
    let body = http.body.strip_suffix("# EOF\n").expect("it ends with its mark");
    let mut samples = BTreeMap::new();
    // The metric that samples belong to: its name, and the end that they have.
    let (mut family, mut ending, mut helped) = (String::new(), "", String::new());
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a name and a text");
            assert!(!text.is_empty() && name.starts_with("quorate_"), "{line}");
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!(name, helped, "help and type stand together");
            assert_ne!(name, family, "each stands once");
            ending = match kind {
                "counter" => "_total",
                "gauge" => "",
                other => panic!("a type that is not expected: {other}"),
            };
            family = name.to_owned();
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let (bare, labels) = name.split_once('{').map_or((name, ""), |(bare, labels)| (bare, labels));
            assert_eq!(bare, format!("{family}{ending}"), "a sample stands below its metric");
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(bare.bytes().all(is_name), "{line}");
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (key, quoted) = label.split_once('=').expect("a label");
                assert!(key.bytes().all(is_name) && quoted.starts_with('"') && quoted.ends_with('"'), "{line}");
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("a number: {line}"));
            assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

fn takeovers(samples: &BTreeMap<String, f64>) -> f64 {
    let ours = samples.iter().filter(|(name, _)| name.starts_with("quorate_takeovers_total{reason="));
    ours.map(|(_, count)| count).sum()
}

fn wait_until_ready(cluster: &Cluster, id: u16) {
    until(&format!("node {id} is ready"), || (get(&cluster.admin(id), "/readyz").status == 200).then_some(()));
}

#[test]
fn metrics_count_what_happens_and_a_killed_leader_is_seen_by_the_others() {
    let mut cluster = Cluster::start(&Shape::three().suspicion("500 ms"));
    (1..=3).for_each(|id| wait_until_ready(&cluster, id));
    let mut client = cluster.connect(1);
    for number in 0..50 {
        assert_eq!(client.ask(&["SET", &format!("key:{number}"), "value"]), Reply::Word("OK".to_owned()));
    }
    let before = until("the leader has told what it did", || {
        let samples = scrape(&cluster.admin(1));
        (samples["quorate_keys{cpu=\"0\"}"] >= 50.0).then_some(samples)
    });
    assert!(before.keys().any(|name| name.starts_with("quorate_build_info{version=") && name.contains("io_driver=")));
    assert!(before["quorate_commands_total{cpu=\"0\"}"] >= 50.0);
    assert!(before["quorate_connections_total{cpu=\"0\"}"] >= 1.0);
    assert!(before["quorate_log_commit_index{group=\"0\"}"] >= 50.0);
    assert!(before["quorate_resident_memory_bytes"] > 1e6);
    assert_eq!((before["quorate_groups_led"], before["quorate_loss_gen"]), (1.0, 0.0));
    assert!((1.0..=3.0).contains(&before["quorate_core_leader"]));
    assert!(before["quorate_core_round"] >= 1.0 && before["quorate_core_applied_index"] >= 1.0);
    for about in ["log", "election", "news", "events"] {
        assert!(before[&format!("quorate_core_messages_total{{about=\"{about}\"}}")] >= 1.0, "{about}");
    }
    for peer in 2..=3 {
        assert!(before.contains_key(&format!("quorate_replica_lag_entries{{peer=\"{peer}\"}}")));
        assert!(
            !scrape(&cluster.admin(peer)).contains_key("quorate_replica_lag_entries{peer=\"1\"}"),
            "it leads nothing"
        );
    }
    let counted = takeovers(&scrape(&cluster.admin(2)));

    cluster.node_mut(1).kill();
    let after = until("another one has taken over", || {
        let ready = [2, 3].map(|id| get(&cluster.admin(id), "/readyz").status);
        (ready == [200, 200]).then(|| scrape(&cluster.admin(2))).filter(|samples| takeovers(samples) > counted)
    });
    assert_eq!(after["quorate_node_up{node=\"1\"}"], 0.0);
    assert_eq!(after["quorate_node_up{node=\"3\"}"], 1.0);
    assert!(after["quorate_group_epoch{group=\"0\"}"] > before["quorate_group_epoch{group=\"0\"}"]);
}

#[test]
fn a_node_alone_says_why_it_is_not_ready_and_lives_nevertheless() {
    let cluster = Cluster::launch(&Shape::three(), &[true, false, false]);
    let address = cluster.admin(1);
    let not_ready = until("the door is open", || try_get(&address, "/readyz").ok());
    assert_eq!(not_ready.status, 503);
    assert!(not_ready.body.starts_with("the node has not been registered: "), "{}", not_ready.body);
    let alive = get(&address, "/healthz");
    assert_eq!((alive.status, alive.body.as_str()), (200, "ok\n"));
    let samples = scrape(&address);
    assert!(!samples.contains_key("quorate_core_leader") && !samples.contains_key("quorate_core_round"));
}

#[test]
fn without_a_quorum_a_node_is_not_ready_and_says_so_for_each_group() {
    let mut cluster = Cluster::start(&Shape::three().partitions(2));
    wait_until_ready(&cluster, 1);
    cluster.node_mut(2).kill();
    cluster.node_mut(3).kill();
    let said = until("it is not ready", || Some(get(&cluster.admin(1), "/readyz")).filter(|http| http.status == 503));
    let lines: Vec<&str> = said.body.lines().collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("group ")), "{}", said.body);
    assert_eq!(get(&cluster.admin(1), "/healthz").status, 200);
}

/// One thread of the process is stopped as a debugger stops it; the others run.
#[test]
fn a_cpu_that_stands_still_is_named() {
    let cluster = Cluster::start(&Shape::one().cpus(&[2]));
    let tasks = fs::read_dir(format!("/proc/{}/task", cluster.node(1).pid())).expect("it runs");
    let thread = tasks
        .filter_map(Result::ok)
        .find(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "cpu-1"));
    let thread = thread.and_then(|task| task.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    let thread = thread.expect("the thread of the second CPU");
    ptrace::seize(thread, ptrace::Options::empty()).expect("a child may be traced");
    ptrace::interrupt(thread).expect("it is traced");
    waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");

    let stuck = get(&cluster.admin(1), "/healthz");
    assert_eq!((stuck.status, stuck.body.as_str()), (503, "cpu 1 has not turned for 1s\n"));
    let not_ready = get(&cluster.admin(1), "/readyz");
    assert_eq!(not_ready.status, 503);
    assert!(not_ready.body.lines().any(|line| line == "cpu 1 does not answer"), "{}", not_ready.body);
    // What the others know is told nevertheless.
    let samples = scrape(&cluster.admin(1));
    assert!(samples.contains_key("quorate_commands_total{cpu=\"1\"}"));

    ptrace::detach(thread, None).expect("it stands still");
    until("it turns again", || (get(&cluster.admin(1), "/healthz").status == 200).then_some(()));
    wait_until_ready(&cluster, 1);
}

#[test]
fn what_is_not_there_is_said_and_what_is_too_much_is_refused() {
    let cluster = Cluster::start(&Shape::one());
    let address = cluster.admin(1);
    let missing = get(&address, "/v1/status");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("nothing at /v1/status: this door serves /metrics, /healthz and /readyz"));
    let posted =
        exchange(&address, b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").expect("an answer");
    assert_eq!((posted.status, posted.body.as_str()), (405, "this door is for reading: use GET\n"));

    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(100_000));
    let refused = exchange(&address, long.as_bytes());
    assert!(refused.is_err() || refused.is_ok_and(|http| http.status == 414 || http.status == 431));
    let headers: String = (0..100).map(|number| format!("h{number}: x\r\n")).collect();
    let refused = exchange(&address, format!("GET /healthz HTTP/1.1\r\n{headers}\r\n").as_bytes()).expect("an answer");
    assert_eq!(refused.status, 431);

    // Clients that never finish what they ask take all places, and give them back.
    let mut slow: Vec<TcpStream> = (0..32).map(|_| TcpStream::connect(&address).expect("the door is open")).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET /healthz HTTP/1.1\r\n").expect("it takes some bytes"));
    let full = until("all places are taken", || try_get(&address, "/healthz").ok().filter(|http| http.status == 503));
    assert!(full.body.contains("32 connections at a time"), "{}", full.body);
    until("they were let go", || try_get(&address, "/healthz").ok().filter(|http| http.status == 200));
    for mut stream in slow {
        let mut rest = Vec::new();
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        assert!(stream.read_to_end(&mut rest).is_ok_and(|len| len == 0), "closed without a word");
    }
}
