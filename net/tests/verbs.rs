//! The verbs that need running nodes, as a user runs them: real processes, real sockets, exit codes.
//!
//! Every test has nodes and ports of its own. Nothing waits for a time to pass: whoever waits, waits for a line, for the
//! end of a process or for its number to be free, and not beyond [`DEADLINE`].

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate::local_cluster::{LocalCluster, LocalOptions, PortBase};
use serde_json::Value;

/// Long enough for a machine that has a lot else to do.
const DEADLINE: Duration = Duration::from_secs(120);

/// The binary, running.
struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<thread::JoinHandle<String>>,
    seen: String,
}

/// What it left behind.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Running {
    /// Starts the binary without any variable of ours around it.
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUORATE_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut errors = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).expect("we print UTF-8");
            text
        });
        Self { child, lines, errors: Some(errors), seen: String::new() }
    }

    /// Reads lines until one contains `text`.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let Ok(line) = line else { panic!("no {text:?} in: {}", self.seen) };
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(pid_of(self.child.id()), signal).expect("it runs");
    }

    /// Waits for its end.
    fn end(mut self) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        assert!(Instant::now() < deadline, "still running, after: {}", self.seen);
        let status = self.child.wait().expect("it is ours");
        let errors = self.errors.take().expect("taken once").join().expect("it only reads");
        Ended { code: status.code(), output: std::mem::take(&mut self.seen), errors }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn quorate(arguments: &[&str]) -> Ended {
    Running::start(arguments).end()
}

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("the system numbers processes in 31 bits"))
}

/// Waits until no such process runs; one that has ended and was not asked about does not.
fn assert_gone(pid: u32) {
    let deadline = Instant::now() + DEADLINE;
    let is_running = || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        match state {
            Some(text) => !text.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'),
            None if Path::new("/proc/self/stat").exists() => false,
            None => kill(pid_of(pid), None).is_ok(),
        }
    };
    while is_running() {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        thread::yield_now();
    }
}

/// What `quorate dev` says about its nodes: (pid, RESP door), by number.
fn nodes_in(text: &str) -> Vec<(u32, String)> {
    let node = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["node", _, "pid", pid, "resp", resp, ..] => Some((pid.parse().expect("a number"), resp.to_owned())),
            _ => None,
        }
    };
    text.lines().filter_map(node).collect()
}

fn folder_in(text: &str) -> PathBuf {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("files ")).expect("it names its folder");
    PathBuf::from(line.split_whitespace().next().expect("a path"))
}

/// Returns a recording, or says loudly that there is none.
fn recording(name: &str) -> Option<String> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("QUORATE_DATA").map_or_else(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path.display().to_string());
    }
    assert!(std::env::var_os("CI").is_none(), "the recording {} must be there in CI; set QUORATE_DATA", path.display());
    // The test harness swallows what is printed by tests that pass, but not this.
    let note =
        format!("\nSKIPPED: no recording at {}; set QUORATE_DATA to the folder of the recordings\n", path.display());
    std::io::stderr().write_all(note.as_bytes()).expect("standard error is open");
    None
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

fn local_cluster() -> LocalCluster {
    let binary = Some(PathBuf::from(env!("CARGO_BIN_EXE_quorate")));
    LocalCluster::start(&LocalOptions { binary, port_base: PortBase::Any, ..LocalOptions::default() })
        .expect("three nodes start")
}

/// Asks until all nodes are up, every group serves with three members, and what else is wanted holds. Who leads which group
/// is not asked: on a busy machine a node that stood still for 150 ms was suspected, and has been taken back since.
fn status_when_whole(address: &str, is_as_wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ended = quorate(&["status", "--json", "--connect", address]);
        let object: Value = serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        let groups = object["groups"].as_array().expect("an array");
        let is_whole =
            |group: &Value| group["members"] == serde_json::json!([1, 2, 3]) && group["lost"] == serde_json::json!([]);
        let is_up = object["nodes"].as_array().expect("an array").iter().all(|node| node["state"] == "up");
        if ended.code == Some(0) && is_up && groups.iter().all(is_whole) && is_as_wanted(&object) {
            return object;
        }
        assert!(Instant::now() < deadline, "{ended:?}");
    }
}

#[test]
fn dev_starts_three_nodes_and_leaves_nothing_behind() {
    let mut dev = Running::start(&["dev", "--port-base", "any"]);
    dev.wait_for("kill -9");
    let (nodes, folder) = (nodes_in(&dev.seen), folder_in(&dev.seen));
    assert_eq!(nodes.len(), 3, "{}", dev.seen);
    assert!(folder.join("node-3.toml").exists());
    let whole = status_when_whole(&nodes[2].1, |_| true);
    assert_eq!(whole["groups"].as_array().map(Vec::len), Some(64));
    let ended = quorate(&["status", "--connect", &nodes[2].1]);
    assert!(ended.output.contains("serving  "), "{ended:?}");

    dev.signal(Signal::SIGTERM);
    let ended = dev.end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.output);
    assert!(ended.output.ends_with("stopped\n"), "{}", ended.output);
    nodes.iter().for_each(|(pid, _)| assert_gone(*pid));
    assert!(!folder.exists());
}

#[test]
fn dev_goes_on_when_all_its_nodes_have_been_started_again_by_hand() {
    let mut dev = Running::start(&["dev", "--port-base", "any"]);
    dev.wait_for("kill -9");
    let (nodes, folder) = (nodes_in(&dev.seen), folder_in(&dev.seen));
    let mut by_hand = Vec::new();
    for (number, (pid, _)) in (1_usize..).zip(&nodes) {
        kill(pid_of(*pid), Signal::SIGKILL).expect("it runs");
        dev.wait_for(&format!("node {number} has ended"));
        let config = folder.join(format!("node-{number}.toml")).display().to_string();
        by_hand.push(Running::start(&["start", "--config", &config]));
        let is_new_run = |object: &Value| object["nodes"][number - 1]["incarnation"].as_u64() > Some(3);
        status_when_whole(&nodes[number % 3].1, is_new_run);
    }
    dev.signal(Signal::SIGTERM);
    let ended = dev.end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.output);
    let told = format!("started by hand, and still running: 1, 2, 3; their files stay in {}", folder.display());
    assert!(ended.output.contains(&told), "{}", ended.output);
    status_when_whole(&nodes[0].1, |_| true);
    drop(by_hand);
    std::fs::remove_dir_all(folder).expect("it is still there");
}

#[cfg(target_os = "linux")]
#[test]
fn nodes_end_with_a_parent_that_is_killed() {
    let mut dev = Running::start(&["dev", "--port-base", "any", "--io", "mio"]);
    dev.wait_for("kill -9");
    dev.signal(Signal::SIGKILL);
    nodes_in(&dev.seen).iter().for_each(|(pid, _)| assert_gone(*pid));
    // It had no chance to do so itself.
    std::fs::remove_dir_all(folder_in(&dev.seen)).expect("the folder of its nodes");
}

#[test]
fn dev_names_the_port_that_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let ended = quorate(&["dev", "--port-base", &port]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.errors.starts_with(&format!("error: port {port} (listen.resp of node 1) is taken by another process;")),
        "{}",
        ended.errors
    );
    assert_eq!(quorate(&["dev", "--port-base", "65500"]).code, Some(2));
}

#[test]
fn status_is_one_object_and_its_exit_code_tells_about_quorums() {
    let cluster = local_cluster();
    let address = cluster.nodes()[0].resp_address();
    let status = || quorate(&["status", "--json", "--connect", &address]);
    let object = status_when_whole(&address, |_| true);
    for field in ["cluster", "node", "io_driver", "durability", "loss_gen", "nodes", "groups"] {
        assert!(!object[field].is_null(), "{field}");
    }
    assert_eq!((&object["cluster"], &object["node"]), (&cluster.name().into(), &1.into()));
    assert_eq!((&object["durability"], &object["loss_gen"]), (&"memory".into(), &0.into()));
    let nodes = object["nodes"].as_array().expect("an array");
    for (node, ours) in nodes.iter().zip(cluster.nodes()) {
        assert_eq!((&node["id"], &node["address"]), (&ours.id().into(), &ours.resp_address().into()));
        assert!(node["incarnation"].is_u64());
    }
    let groups = object["groups"].as_array().expect("an array");
    assert_eq!((nodes.len(), groups.len()), (3, 64));
    for (number, group) in groups.iter().enumerate() {
        assert_eq!(group["group"], number);
        assert!((1..=3).contains(&group["leader"].as_u64().expect("it is led")), "{group}");
        assert_eq!((&group["slots"][0], &group["slots"][1]), (&(number * 256).into(), &(number * 256 + 255).into()));
        assert_eq!(group["learners"], serde_json::json!([]));
        for field in ["epoch", "last", "commit", "applied", "digest_index"] {
            assert!(group[field].is_u64(), "{field}");
        }
        assert!(group["digest"].is_string());
    }

    kill(pid_of(cluster.nodes()[2].pid()), Signal::SIGKILL).expect("it runs");
    assert_gone(cluster.nodes()[2].pid());
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ended = status();
        let object: Value = serde_json::from_str(&ended.output).expect("one JSON object");
        assert_eq!(object["nodes"][2]["state"], "unreachable");
        let state = object["groups"][2]["state"].as_str().expect("a text");
        if ended.code == Some(0) {
            assert_eq!((state, object["groups"][2]["leader"] != 3), ("serving", true), "another node has taken over");
            break;
        }
        assert_eq!(ended.code, Some(4), "{state}");
        assert!(Instant::now() < deadline, "{object}");
    }
    cluster.stop();
    assert_eq!(status().code, Some(3), "nobody is there any more");
}

#[test]
fn a_node_that_came_back_without_its_memory_is_a_member_again() {
    let mut cluster = local_cluster();
    let (pid, config) = (cluster.nodes()[2].pid(), cluster.nodes()[2].config().display().to_string());
    let address = cluster.nodes()[0].resp_address();
    kill(pid_of(pid), Signal::SIGKILL).expect("it runs");
    let deadline = Instant::now() + DEADLINE;
    while cluster.try_ended().is_none() {
        assert!(Instant::now() < deadline, "node 3 does not end");
        thread::yield_now();
    }
    let _again = Running::start(&["start", "--config", &config]);
    status_when_whole(&address, |object| object["nodes"][2]["incarnation"].as_u64() > Some(3));
}

#[test]
fn status_of_something_else_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it reads");
    });
    let ended = quorate(&["status", "--connect", &address]);
    other.join().expect("it only writes");
    assert_eq!(ended.code, Some(3));
    assert!(
        ended.errors.contains("does not speak RESP (\"HTTP/1.1 400 Bad Request\"); the door to ask is listen.resp")
    );
}

#[test]
fn the_trading_demo_passes_its_own_check() {
    for (io, cpus) in [("auto", "1"), ("mio", "2")] {
        let cluster = ["--port-base", "any", "--io", io, "--cpus", cpus];
        let ended = quorate(&[&["demo", "trading", "--seconds", "1", "--seed", "7"], &cluster[..]].concat());
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.output);
        assert!(ended.output.contains("ok     5,000 of 5,000 rows acknowledged by a quorum"), "{}", ended.output);
        for node in 1..=3 {
            let line = format!("ok     node {node}: 5,008 of 5,008 keys hold the value acknowledged last");
            assert!(ended.output.contains(&line), "{}", ended.output);
        }
        assert!(ended.output.contains("digests of 64 of 64 groups equal on all nodes"), "{}", ended.output);
        assert!(ended.output.contains("PASSED: every one of 5,000 rows"), "{}", ended.output);
        assert!(!ended.output.contains('\x1b'), "control codes outside of a terminal: {:?}", ended.output);
        assert_eq!(ended.output.contains("transport  mio"), io == "mio", "{}", ended.output);
    }
}

#[test]
fn the_check_of_the_trading_demo_finds_a_damaged_replica() {
    let ended = quorate(&["demo", "trading", "--seconds", "1", "--corrupt", "--port-base", "any"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(1), ""), "{}", ended.output);
    let verdict = ended.output.lines().last().expect("a verdict");
    assert!(verdict.starts_with("FAILED: node 3, group "), "{verdict}");
    assert!(verdict.contains(", key px:ADAUSDT: holds "), "{verdict}");
    assert!(ended.output.contains("ok     node 2: 5,008 of 5,008 keys"), "{}", ended.output);
    assert!(ended.output.contains("digests of 63 of 64 groups equal"), "{}", ended.output);
}

#[test]
fn the_trading_demo_plays_the_recording() {
    let Some(file) = recording("crypto_ticks_binance/spot_btcusdt_bookticker.csv") else { return };
    let ended = quorate(&["demo", "trading", "--file", &file, "--speed", "max", "--json", "--port-base", "any"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines = json_lines(&ended.output);
    let (verdict, summary) = (&lines[lines.len() - 1], &lines[lines.len() - 2]);
    assert_eq!((&verdict["passed"], &verdict["rows_acknowledged"]), (&true.into(), &28_040.into()));
    assert_eq!((&verdict["keys"], &verdict["groups_equal"]), (&28_041.into(), &64.into()), "ticks and px:BTCUSDT");
    assert_eq!((&summary["writes"], &summary["errors"], &summary["unknown"]), (&56_080.into(), &0.into(), &0.into()));
}

#[test]
fn an_interrupted_demo_checks_what_was_sent() {
    let mut demo = Running::start(&["demo", "trading", "--seconds", "600", "--port-base", "any"]);
    demo.wait_for("writes/s");
    demo.signal(Signal::SIGINT);
    let ended = demo.end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.output);
    assert!(ended.output.contains("PASSED: every one of "), "{}", ended.output);
}

#[test]
fn replay_follows_every_write_to_its_end() {
    let cluster = local_cluster();
    let path = cluster.folder().join("rows.csv");
    let rows: String = (0..2_000).map(|row| format!("{row},v{row}\n")).collect();
    std::fs::write(&path, format!("id,value\n{rows}")).expect("a temporary file");
    let file = path.display().to_string();
    let doors = cluster.native_addresses().join(",");
    let common = ["replay", &file, "--connect", &doors, "--key", "row:{id}", "--key", "last:row", "--value", "value"];
    let ended = quorate(&[&common[..], &["--speed", "max", "--json", "--window", "64"]].concat());
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{}", ended.output);
    let lines = json_lines(&ended.output);
    let summary = lines.last().expect("a summary");
    for (field, count) in [("rows", 2_000), ("rows_acknowledged", 2_000), ("writes", 4_000), ("acknowledged", 4_000)] {
        assert_eq!(summary[field], count, "{field}");
    }
    for field in ["p50_us", "p99_us", "p999_us", "max_us", "writes_per_second"] {
        assert!(summary[field].is_f64(), "{field}");
    }
    let untimed = quorate(&common);
    assert_eq!(untimed.code, Some(2), "{untimed:?}");
    assert!(untimed.errors.contains("name the column with --time, or say --speed max"), "{}", untimed.errors);

    std::fs::write(&path, "id,value\n1,a\n2\n3,c\n").expect("a temporary file");
    let ended = quorate(&[&common[..], &["--speed", "max"]].concat());
    assert_eq!(ended.code, Some(1), "one row cannot be used: {ended:?}");
    assert!(ended.errors.contains("rows.csv:3: expected 2 fields as in the header, found 1"), "{}", ended.errors);
    assert!(ended.output.contains("acknowledged  4\n"), "{}", ended.output);
    cluster.stop();
}

#[test]
fn replay_says_what_is_in_its_way() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let file = std::env::temp_dir().join(format!("quorate-verbs-{}.csv", std::process::id()));
    std::fs::write(&file, "id\n1\n").expect("a temporary file");
    let name = file.display().to_string();
    let ended = quorate(&["replay", &name, "--key", "id", "--speed", "max", "--connect", &address]);
    std::fs::remove_file(&file).expect("our own file");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.errors.contains("is the node running, and is this its listen.native?"), "{}", ended.errors);
    let ended = quorate(&["replay", "/nonexistent.csv", "--connect", &address]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.starts_with("error: /nonexistent.csv: cannot be read: No such file"), "{}", ended.errors);
}
