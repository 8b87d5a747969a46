//! Nodes as child processes: started from configuration files, killed, paused, continued, started again, asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate::cli::status::report::{GroupEntry, Report};
use quorate::client::ClientOptions;
use quorate::client::blocking::Client;
use quorate::local_cluster::random_number;
use quorate_engine::machine::command::{Command, Op};

use super::resp::Resp;

/// Long enough for a machine that has a lot else to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What kind of cluster is started.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// CPUs of each node that is started; its length is how many are.
    cpus: Vec<u16>,
    io: Vec<&'static str>,
    settings: Vec<(&'static str, &'static str, String)>,
    password: Option<&'static str>,
    has_unix_sockets: bool,
    /// The nodes of the consistent core; none: as the nodes decide by themselves.
    core: Vec<u16>,
    /// So many nodes at the end are not there in the beginning, and unknown to the others.
    joiners: u16,
}

impl Shape {
    /// Three nodes with one CPU each, and node 1 leads everything.
    pub(crate) fn three() -> Self {
        Self {
            cpus: vec![1; 3],
            io: vec!["auto"; 3],
            settings: Vec::new(),
            password: None,
            has_unix_sockets: false,
            core: Vec::new(),
            joiners: 0,
        }
        .partitions(1)
        .suspicion("10 s")
        // And that no leader takes those who are busy for unreachable.
        .set_text("replication", "read_lease", "500 ms")
    }

    /// Sets how long a node may be silent. By default it is so long that nobody takes over because this machine is busy.
    pub(crate) fn suspicion(self, time: &str) -> Self {
        self.set_text("replication", "suspicion", time)
    }

    /// A node alone.
    pub(crate) fn one() -> Self {
        Self { cpus: vec![1], io: vec!["auto"], ..Self::three() }
    }

    pub(crate) fn cpus(mut self, cpus: &[u16]) -> Self {
        self.cpus = cpus.to_vec();
        self
    }

    pub(crate) fn io(mut self, io: &[&'static str]) -> Self {
        self.io = io.to_vec();
        self
    }

    /// Has these nodes form the consistent core.
    pub(crate) fn core(mut self, nodes: &[u16]) -> Self {
        self.core = nodes.to_vec();
        self
    }

    /// Has so many more nodes that come later.
    pub(crate) fn joiners(mut self, count: u16) -> Self {
        self.joiners = count;
        self.cpus.extend((0..count).map(|_| 1));
        self.io.extend((0..count).map(|_| "auto"));
        self
    }

    pub(crate) fn partitions(self, partitions: u32) -> Self {
        self.set("cluster", "partitions", partitions)
    }

    pub(crate) fn password(mut self, password: &'static str) -> Self {
        self.password = Some(password);
        self.set_text("security", "requirepass", password)
    }

    /// Has the nodes talk to each other through sockets in the file system, where clients find doors too.
    pub(crate) fn unix_sockets(mut self) -> Self {
        self.has_unix_sockets = true;
        self
    }

    /// Sets a key of the configuration; the last one counts.
    pub(crate) fn set(mut self, section: &'static str, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.settings.retain(|(known_section, known_key, _)| (*known_section, *known_key) != (section, key));
        self.settings.push((section, key, value.to_string()));
        self
    }

    /// As [`Shape::set`], for a value that stands in quotes.
    pub(crate) fn set_text(self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.set(section, key, format!("\"{value}\""))
    }

    /// Writes the configuration of node `id` of a cluster whose ports begin at `base`.
    fn config(&self, cluster: &str, id: u16, base: u16, folder: &Folder) -> String {
        let index = usize::from(id - 1);
        let quoted = |text: &str| format!("\"{text}\"");
        let [resp, native, peer, admin] = doors(base, id).map(|port| quoted(&address(port)));
        let mut sections: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
        let usual = [
            ("cluster", "id", quoted(cluster)),
            ("cluster", "replicas", self.founder_count().to_string()),
            ("node", "id", id.to_string()),
            ("node", "cpus", self.cpus[index].to_string()),
            ("node", "io", quoted(self.io[index])),
            ("node", "data_dir", quoted(&folder.data(id).display().to_string())),
            ("listen", "resp", resp),
            ("listen", "native", native),
            ("listen", "peer", peer),
            ("listen", "admin", admin),
        ];
        if self.has_unix_sockets {
            let path = quoted(&folder.sockets(id).display().to_string());
            sections.entry("listen").or_default().insert("unix", path);
        }
        let core = (!self.core.is_empty()).then(|| ("node", "core", self.core.contains(&id).to_string()));
        for (section, key, value) in usual.into_iter().chain(core).chain(self.settings.clone()) {
            sections.entry(section).or_default().insert(key, value);
        }
        let mut text = String::new();
        for (section, entries) in sections {
            writeln!(text, "[{section}]").expect("a string takes everything");
            entries.iter().for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        for other in (1..=self.founder_count()).filter(|other| *other != id) {
            let [_, _, peer, _] = doors(base, other);
            text.push_str(&format!("[[peers]]\nid = {other}\npeer = \"{}\"\n", address(peer)));
            if !self.core.is_empty() {
                text.push_str(&format!("core = {}\n", self.core.contains(&other)));
            }
            if self.has_unix_sockets {
                text.push_str(&format!("unix = \"{}\"\n", folder.sockets(other).display()));
            }
        }
        text
    }

    fn node_count(&self) -> u16 {
        u16::try_from(self.cpus.len()).expect("a few")
    }

    /// Nodes that are there in the beginning.
    fn founder_count(&self) -> u16 {
        self.node_count() - self.joiners
    }
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    name: String,
    base: u16,
    nodes: Vec<Daemon>,
    folder: Folder,
    password: Option<&'static str>,
}

/// One of its nodes.
#[derive(Debug)]
pub(crate) struct Daemon {
    id: u16,
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    ports: Vec<u16>,
    /// Variables that it is started with.
    pub(crate) environment: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Cluster {
    /// Starts a cluster and waits until all its groups are served.
    pub(crate) fn start(shape: &Shape) -> Self {
        for _ in 0..PORT_ATTEMPTS_MAX {
            let founders = shape.founder_count();
            let cluster = Self::launch(shape, &(1..=shape.node_count()).map(|id| id <= founders).collect::<Vec<_>>());
            if cluster.is_ready_or_taken() {
                return cluster;
            }
        }
        panic!("no free ports after {PORT_ATTEMPTS_MAX} attempts");
    }

    /// Starts some nodes of a cluster, and waits for nothing.
    pub(crate) fn launch(shape: &Shape, is_started: &[bool]) -> Self {
        let name = format!("story-{:08x}", random_number() & 0xFFFF_FFFF);
        let folder = Folder::create(&name);
        let base = free_base(shape);
        let mut nodes = Vec::new();
        for (id, is_started) in (1..).zip(is_started) {
            let config = folder.path().join(format!("node-{id}.toml"));
            fs::write(&config, shape.config(&name, id, base, &folder)).expect("a file of our own");
            let log = folder.path().join(format!("node-{id}.log"));
            let data = folder.data(id);
            let mut node = Daemon {
                id,
                config,
                data,
                log,
                ports: ports(base, id).collect(),
                environment: Vec::new(),
                child: None,
            };
            if *is_started {
                node.start();
            }
            nodes.push(node);
        }
        Self { name, base, nodes, folder, password: shape.password }
    }

    /// Waits until all groups are served; `false` if somebody took one of the ports before the nodes did.
    fn is_ready_or_taken(&self) -> bool {
        until("all groups of all nodes are served", || {
            let started = || self.nodes.iter().filter(|node| node.child.is_some());
            for node in started() {
                if node.has_ended() {
                    let log = node.log();
                    assert!(log.contains("is taken by another process"), "node {} ended: {log}", node.id);
                    return Some(false);
                }
            }
            let is_settled = |node: &Daemon| {
                let wanted = |group: &GroupEntry| if group.leader == node.id { "serving" } else { "following" };
                self.try_status(node.id).is_some_and(|report| {
                    let is_met = |group: &GroupEntry| group.state == wanted(group) && group.lost.is_empty();
                    report.cluster == self.name && report.groups.iter().all(is_met)
                })
            };
            started().all(is_settled).then_some(true)
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn node(&self, id: u16) -> &Daemon {
        &self.nodes[usize::from(id - 1)]
    }

    pub(crate) fn node_mut(&mut self, id: u16) -> &mut Daemon {
        &mut self.nodes[usize::from(id - 1)]
    }

    /// Returns the RESP door that all CPUs of a node share.
    pub(crate) fn resp(&self, id: u16) -> String {
        address(doors(self.base, id)[0])
    }

    /// Returns the RESP door of one CPU.
    pub(crate) fn resp_of_cpu(&self, id: u16, cpu: u16) -> String {
        address(doors(self.base, id)[0] + 1 + cpu)
    }

    pub(crate) fn native(&self, id: u16) -> String {
        address(doors(self.base, id)[1])
    }

    /// Returns where a native client finds a node in the file system.
    pub(crate) fn native_socket(&self, id: u16) -> PathBuf {
        self.folder.sockets(id).join("native.sock")
    }

    /// Returns the door of a node's control thread.
    pub(crate) fn control(&self, id: u16) -> String {
        address(doors(self.base, id)[2])
    }

    /// Returns the door of one of its CPUs for those of other nodes.
    pub(crate) fn peer_of_cpu(&self, id: u16, cpu: u16) -> String {
        address(doors(self.base, id)[2] + 1 + cpu)
    }

    /// Returns the door for HTTP.
    pub(crate) fn admin(&self, id: u16) -> String {
        address(doors(self.base, id)[3])
    }

    pub(crate) fn connect(&self, id: u16) -> Resp {
        Resp::connect(&self.resp(id))
    }

    /// Returns the options of a native client of one node. Requests may take long: nobody gives up by the clock.
    pub(crate) fn client(&self, id: u16) -> ClientOptions {
        ClientOptions {
            addresses: vec![self.native(id)],
            cluster: self.name.clone(),
            request_timeout: DEADLINE,
            connect_timeout: DEADLINE,
            ..ClientOptions::default()
        }
    }

    /// Returns the loss generation that a reply carries which a client of a node gets.
    pub(crate) fn loss_gen_of_a_reply(&self, id: u16) -> u64 {
        let mut client = Client::connect(self.client(id)).expect("the node listens");
        let get = Command::new(Op::Get, b"any");
        until("its group is led", || client.execute(&get).ok()).token.loss_gen
    }

    /// Returns what a node says of itself and its replicas.
    pub(crate) fn status(&self, id: u16) -> Report {
        self.try_status(id).unwrap_or_else(|| panic!("node {id} has no status"))
    }

    /// As [`Cluster::status`], of a node that may not be there yet.
    pub(crate) fn try_status(&self, id: u16) -> Option<Report> {
        let mut resp = Resp::try_connect(&self.resp(id))?;
        if let Some(password) = self.password {
            resp.ask(&["AUTH", password]);
        }
        resp.try_status()
    }

    /// Waits until a node that came back counts again in the one group there is, and keeps up.
    pub(crate) fn wait_for_member(&self, leader: u16, node: u16) {
        until(&format!("node {node} counts again and keeps up"), || {
            let (leading, following) = (self.try_status(leader)?, self.try_status(node)?);
            let group = &leading.groups[0];
            let is_counted = group.state == "serving" && group.learners.is_empty() && group.members.contains(&node);
            let is_even = !group.lost.contains(&node) && !group.catching_up.contains(&node);
            let is_following = following.groups.first().is_some_and(|group| group.state == "following");
            // The run that counts is the one that answers.
            let run_of = |report: &Report| report.nodes.iter().find(|known| known.id == node)?.incarnation;
            (is_counted && is_even && is_following && run_of(&leading) == run_of(&following)).then_some(())
        });
    }

    /// Waits until these nodes have executed everything that was committed, and compares their state.
    pub(crate) fn assert_equal(&self, ids: &[u16]) {
        let reports = until(&format!("nodes {ids:?} have executed the same entries"), || {
            let reports: Vec<Report> = ids.iter().map(|id| self.status(*id)).collect();
            let count = reports[0].groups.len();
            let is_even = |group: usize| {
                let first = &reports[0].groups[group];
                reports.iter().all(|report| {
                    let other = &report.groups[group];
                    other.digest_index == first.digest_index && other.applied == other.commit
                })
            };
            (0..count).all(is_even).then_some(reports)
        });
        for report in &reports {
            for (group, first) in report.groups.iter().zip(&reports[0].groups) {
                let (node, number) = (report.node, group.group);
                assert_eq!(group.digest, first.digest, "group {number} of node {node} and of node {}", ids[0]);
                assert_eq!(group.keys, first.keys, "keys of group {number} at node {node}");
            }
        }
    }
}

impl Daemon {
    /// Starts it, for the first time or again; as one that is to create the cluster if it has nothing on its disk.
    pub(crate) fn start(&mut self) {
        let arguments: &[&str] = if self.data.exists() { &[] } else { &["--create"] };
        self.start_with(arguments);
    }

    /// Starts it with these arguments beside the name of its configuration.
    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        let log = File::options().create(true).append(true).open(&self.log).expect("a file of our own");
        let errors = log.try_clone().expect("a file can be written twice");
        let mut command = quorate();
        command.args(["start", "--config"]).arg(&self.config).args(arguments).stdout(log).stderr(errors);
        // So that it ends with this process if nothing here comes to dropping it.
        command.env("QUORATE_END_WITH", std::process::id().to_string());
        command.envs(self.environment.iter().cloned());
        self.child = Some(command.spawn().expect("the binary was built for this test"));
    }

    /// Ends it as a crash would, memory and all.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
        self.wait_for_ports();
    }

    /// Takes away what a node of the core has written down.
    pub(crate) fn lose_disk(&self) {
        fs::remove_dir_all(&self.data).expect("a folder of our own");
    }

    /// Takes away what a node of the core has written down, for [`Daemon::find_disk`].
    pub(crate) fn shelve_disk(&self) {
        fs::rename(&self.data, self.data.with_extension("shelved")).expect("a folder of our own");
    }

    /// Puts what was taken away with [`Daemon::shelve_disk`] in the place of what is there.
    pub(crate) fn find_disk(&self) {
        self.lose_disk();
        fs::rename(self.data.with_extension("shelved"), &self.data).expect("a folder of our own");
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // A signal is sent, not obeyed, when `kill` returns.
        until("the process has stopped", || (self.state() == 'T').then_some(()));
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let status = until_or("the node ends", || child.try_wait().expect("it is ours"));
        let status = status.unwrap_or_else(|what| {
            self.child = Some(child);
            panic!("{what}; its log: {}", self.log());
        });
        self.wait_for_ports();
        status
    }

    /// The kernel takes the rings of a process apart after its end, and lets go of its doors only then.
    fn wait_for_ports(&self) {
        until("its ports are free", || self.ports.iter().all(|port| is_free(*port)).then_some(()));
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns a line of `/proc/PID/status` that counts KiB, in bytes: `VmRSS`, `VmHWM`.
    pub(crate) fn memory_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel counts it");
        let number = line.trim_start_matches(':').split_whitespace().next().expect("a number");
        number.parse::<u64>().expect("a number") << 10
    }

    fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        state.expect("a state follows the name")
    }

    pub(crate) fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("it runs");
        i32::try_from(child.id()).expect("the system numbers processes in 31 bits")
    }

    /// Whether it has ended by itself.
    fn has_ended(&self) -> bool {
        let Some(child) = &self.child else { return false };
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()));
        stat.map_or(true, |_| self.state() == 'Z')
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail if it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("log of node {}:\n{}", self.id, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

/// Returns the binary, without any variable of ours around it.
pub(crate) fn quorate() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quorate"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Looks until there is something to see, and returns it.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_or(what, look).unwrap_or_else(|what| panic!("{what}"))
}

/// As [`until`], for whoever has something to say if it never comes.
fn until_or<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {DEADLINE:?} in vain for: {what}"));
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// A temporary folder that goes away with it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-{name}"));
        fs::create_dir(&path).expect("a folder of our own");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Returns where node `id` keeps its part of the core.
    fn data(&self, id: u16) -> PathBuf {
        self.0.join(format!("data-{id}"))
    }

    /// Returns where node `id` has its sockets.
    fn sockets(&self, id: u16) -> PathBuf {
        self.0.join(format!("sockets-{id}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a temporary folder is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the base ports of a node's doors: RESP, native, peer, admin.
fn doors(base: u16, id: u16) -> [u16; 4] {
    let resp = base + (id - 1) * NODE_DISTANCE;
    [resp, resp + DOOR_DISTANCE, resp + 2 * DOOR_DISTANCE, resp + 3 * DOOR_DISTANCE]
}

/// Returns all ports that a node may take.
fn ports(base: u16, id: u16) -> impl Iterator<Item = u16> {
    doors(base, id).into_iter().flat_map(|door| door..=door + CPUS_MAX)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Returns the first port of a range in which everything that the nodes need is free.
fn free_base(shape: &Shape) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..RANGES {
        if NEXT.load(Ordering::Relaxed) == 0 {
            // Where this process begins: two of them should not meet.
            let start = 1 + u16::try_from(random_number() % u64::from(RANGES)).expect("below the count");
            let _ = NEXT.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed);
        }
        let range = NEXT.fetch_add(1, Ordering::Relaxed) % RANGES;
        let base = FIRST_PORT + range * 4 * DOOR_DISTANCE;
        if (1..=shape.node_count()).flat_map(|id| ports(base, id)).all(is_free) {
            return base;
        }
    }
    panic!("no free ports in {RANGES} ranges");
}

const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const PORT_ATTEMPTS_MAX: u32 = 5;
const CPUS_MAX: u16 = 2;
const NODE_DISTANCE: u16 = 20;
const DOOR_DISTANCE: u16 = 100;
/// Below the ports that systems give to clients, so that no connection happens to have one of ours.
const FIRST_PORT: u16 = 10_000;
const RANGES: u16 = 55;
