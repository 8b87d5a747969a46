//! A network of our own for each run: one namespace per node, all of them on one bridge in a namespace for the clients.
//!
//! Nothing of it is visible to the rest of the machine, and every run has the same addresses: node N is `10.77.0.N`, the
//! clients are `10.77.0.254`. Packets between nodes are dropped where they arrive, by rules in the receiver's own namespace,
//! so one direction can be cut without the other, and what clients and nodes say to each other never is.
//!
//! Names carry the process id: two runs do not meet, and a run first removes what is left of those that were killed.
//!
//! # Bounds
//! At most [`NODES_MAX`] nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

use crate::process::{Program, find_program};

/// Most nodes of one network.
pub const NODES_MAX: u16 = 5;

/// A network. Dropping it removes it.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    nodes: u16,
    cuts: BTreeSet<Cut>,
}

/// Packets of one node that another one does not receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// Who sends them.
    pub from: u16,
    /// Who does not receive them.
    pub to: u16,
}

/// Returns the address of a node.
#[must_use]
pub fn address_of(node: u16) -> Ipv4Addr {
    let [low, _] = node.to_le_bytes();
    Ipv4Addr::new(10, 77, 0, low)
}

impl Network {
    /// Fails, and says what to do, where such a network cannot be made.
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn ensure_possible() -> Result<()> {
        ensure!(nix::unistd::geteuid().is_root(), "only root may make network namespaces: run this as root");
        for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
            ensure!(find_program(program).is_some(), "{program} is missing: install the package {package}");
        }
        Ok(())
    }

    /// Makes a network of so many nodes, and takes the calling thread into it, with all that it starts from now on.
    ///
    /// # Errors
    /// As [`Network::ensure_possible`]; or the kernel refuses.
    pub fn enter(nodes: u16) -> Result<Self> {
        Self::ensure_possible()?;
        assert!((1..=NODES_MAX).contains(&nodes), "{nodes} nodes");
        remove_abandoned();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let network = Self { prefix: format!("{PREFIX}{}-{number}", std::process::id()), nodes, cuts: BTreeSet::new() };
        // From here on it is removed whatever happens.
        network.make().context("cannot make a network of namespaces")?;
        let hub = File::open(Path::new(NAMESPACES).join(network.hub())).context("the namespace was just made")?;
        setns(hub, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace of the clients")?;
        Ok(network)
    }

    fn make(&self) -> Result<()> {
        let hub = self.hub();
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add bridge type bridge"))?;
        ip(&format!("-n {hub} addr add {HUB}/24 dev bridge"))?;
        ip(&format!("-n {hub} link set bridge up"))?;
        ip(&format!("-n {hub} link set lo up"))?;
        for node in 1..=self.nodes {
            let name = self.namespace(node);
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {hub} link add node{node} type veth peer name eth0 netns {name}"))?;
            ip(&format!("-n {hub} link set node{node} master bridge up"))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", address_of(node)))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            self.nft(node, RULES)?;
        }
        Ok(())
    }

    /// Returns a program as it runs on the machine of `node`.
    ///
    /// # Panics
    /// There is no such node.
    #[must_use]
    pub fn inside(&self, node: u16, program: Program) -> Program {
        assert!((1..=self.nodes).contains(&node), "node {node} of {}", self.nodes);
        program.through(Program::new("ip").words(&format!("netns exec {}", self.namespace(node))))
    }

    /// Cuts exactly these directions, and heals all others.
    ///
    /// # Errors
    /// The rules cannot be changed.
    pub fn cut(&mut self, cuts: BTreeSet<Cut>) -> Result<()> {
        let of = |cuts: &BTreeSet<Cut>, node| -> BTreeSet<u16> {
            cuts.iter().filter(|cut| cut.to == node).map(|cut| cut.from).collect()
        };
        for node in 1..=self.nodes {
            let wanted = of(&cuts, node);
            if wanted == of(&self.cuts, node) {
                continue;
            }
            // One transaction: nothing is healed in between.
            let mut rules = "flush set ip faults cut\n".to_owned();
            for from in wanted {
                rules.push_str(&format!("add element ip faults cut {{ {} }}\n", address_of(from)));
            }
            self.nft(node, &rules)?;
        }
        self.cuts = cuts;
        Ok(())
    }

    /// Has a node lose so many of a hundred packets that other nodes send it.
    ///
    /// # Errors
    /// The rules cannot be changed.
    pub fn lose(&self, node: u16, percent: u8) -> Result<()> {
        let mut rules = "flush chain ip faults loss\n".to_owned();
        if percent > 0 {
            rules.push_str(&format!(
                "add rule ip faults loss ip saddr != {HUB} numgen random mod 100 < {percent} drop\n"
            ));
        }
        self.nft(node, &rules).map(drop)
    }

    /// Begins to count the packets with data that a node sends from these ports and to them, by port.
    ///
    /// # Errors
    /// The rules cannot be changed.
    pub fn count_sent(&self, node: u16, ports: &[u16]) -> Result<()> {
        let mut rules = String::new();
        for port in ports {
            rules.push_str(&format!("add counter ip faults port{port}\n"));
            for side in ["sport", "dport"] {
                // A segment that pushes carries the end of what was written; acknowledgements alone do not.
                rules.push_str(&format!(
                    "add rule ip faults sent tcp {side} {port} tcp flags & psh == psh counter name port{port}\n"
                ));
            }
        }
        self.nft(node, &rules).map(drop)
    }

    /// Returns how many packets were counted on each port since it began, or was asked last.
    ///
    /// # Errors
    /// The rules cannot be read.
    pub fn take_sent(&self, node: u16) -> Result<BTreeMap<u16, u64>> {
        let text = self.nft(node, "reset counters table ip faults\n")?;
        // counter port7600 { packets 3 bytes 412 }, over several lines.
        let mut words = text.split_whitespace();
        let mut counted = BTreeMap::new();
        while let Some(word) = words.next() {
            if let Some(port) = word.strip_prefix("port").and_then(|port| port.parse().ok()) {
                let packets = words.by_ref().skip_while(|word| *word != "packets").nth(1);
                counted.insert(port, packets.and_then(|count| count.parse().ok()).context("a counter has a count")?);
            }
        }
        Ok(counted)
    }

    fn nft(&self, node: u16, rules: &str) -> Result<String> {
        let words = format!("netns exec {} nft -f -", self.namespace(node));
        run("ip", &words, Some(rules))
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    fn namespace(&self, node: u16) -> String {
        format!("{}-{node}", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A link goes with either of its ends. What was not made cannot be removed.
        for name in (1..=self.nodes).map(|node| self.namespace(node)).chain([self.hub()]) {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// Removes the namespaces of runs that were killed.
fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(NAMESPACES) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(Ok(pid)) = pid.map(str::parse::<u32>) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            // Another run may remove it at the same time.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(words: &str) -> Result<String> {
    run("ip", words, None)
}

/// Runs a program to its end; returns what it said.
fn run(program: &str, words: &str, input: Option<&str>) -> Result<String> {
    let path = find_program(program).with_context(|| format!("{program} is not installed"))?;
    let mut command = Command::new(path);
    command.args(words.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdin(Stdio::piped()).spawn().with_context(|| format!("cannot run {program}"))?;
    let mut stdin = child.stdin.take().expect("it was asked for as a pipe");
    stdin.write_all(input.unwrap_or_default().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{program} {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is in a node's namespace from the beginning.
const RULES: &str = "table ip faults {
  set cut { type ipv4_addr; }
  chain cuts { type filter hook input priority 0; ip saddr @cut drop; }
  chain loss { type filter hook input priority 1; }
  chain sent { type filter hook output priority 0; }
}
";
const HUB: &str = "10.77.0.254";
const NAMESPACES: &str = "/run/netns";
const PREFIX: &str = "quorate-faults-";
// A counter only: any order of the increments is right.
static NUMBER: AtomicU32 = AtomicU32::new(0);
