//! Quorate itself: real daemons from config files, as a user would start them, and a client at the leader.
//!
//! The cluster has one partition, so one group and one leader, to which the client connects: the same shape as the floor
//! and as the peers, whose writes also pass through one primary or leader. With more partitions a client of one node
//! would measure how its requests are passed on to the leaders of other groups.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::connection::Address;
use crate::load::Driver;
use crate::native::NativeDriver;
use crate::process::{Process, Program, TempFolder, await_ready, free_ports};
use crate::resp::{Promise, RespDriver, call};
use crate::system::{Running, Setup, Transport};

/// How the daemons are started.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DaemonArgs {
    /// The daemon's binary [default: quorate beside this program]
    #[arg(long, value_name = "PATH")]
    pub quorate: Option<PathBuf>,
    /// The daemons' transport [default: the daemon's own choice]
    #[arg(long, value_enum)]
    pub io: Option<Io>,
    /// What an idle daemon does [default: the daemon's own choice]
    #[arg(long, value_enum)]
    pub poll: Option<Poll>,
}

/// A transport of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Io {
    /// io_uring
    Uring,
    /// Non-blocking calls
    Mio,
}

/// An idle policy of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Poll {
    /// Never gives its CPU away
    Spin,
    /// Spins, yields, then parks
    Adaptive,
    /// Parks at once
    Park,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Quorate's own, through its client library
    Native,
    /// Redis' protocol
    Resp,
}

/// Finds the daemon's binary: the one that was chosen, or the one beside this program.
///
/// # Errors
/// There is no such file; the text says where it was looked for.
pub fn find_daemon(harness: &Path, chosen: Option<&PathBuf>) -> Result<PathBuf> {
    let path = match chosen {
        Some(path) => path.clone(),
        None => harness.with_file_name("quorate"),
    };
    ensure!(path.is_file(), "no daemon at {}: build it with cargo build --release -p quorate", path.display());
    Ok(path)
}

/// Starts the daemons and connects a client to the leader.
///
/// # Errors
/// The binary is missing, or the daemons do not acknowledge a write in time.
pub fn start(setup: &Setup, protocol: Protocol) -> Result<Running> {
    let daemon = find_daemon(&setup.harness, setup.daemon.quorate.as_ref())?;
    let folder = TempFolder::new()?;
    let nodes = place_nodes(setup, &folder)?;
    let mut processes = Vec::new();
    for node in &nodes {
        let config = folder.path().join(format!("node-{}.toml", node.id));
        fs::write(&config, config_text(setup, node, &nodes, folder.path()))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let program = Program::new(&daemon).words("start --create --config").arg(config);
        processes.push(Process::start(&setup.harness, &format!("quorate-{}", node.id), &program, folder.path())?);
    }
    let leader = nodes[0].door("resp", nodes[0].resp);
    await_ready("quorate", &mut processes, || {
        let reply = call(&leader, &["SET", "ready", "1"])?;
        if reply == "OK" { Ok(()) } else { bail!("SET answered {reply}") }
    })?;
    let driver: Box<dyn Driver> = match protocol {
        Protocol::Resp => Box::new(RespDriver::connect(&leader, 1, &setup.value(), Promise::Reply)?),
        Protocol::Native => {
            let door = nodes[0].door("native", nodes[0].native);
            let window = setup.window.unwrap_or(OPEN_LOOP_WINDOW);
            Box::new(NativeDriver::connect(&door, CLUSTER, window, setup.value())?)
        }
    };
    let note = format!("{} daemons, write quorum {}, one group", setup.nodes, setup.write_quorum());
    Ok(Running::new(driver, processes, folder, note))
}

/// Where one daemon listens.
struct Node {
    id: u16,
    resp: u16,
    native: u16,
    peer: u16,
    admin: u16,
    /// The folder of its Unix sockets.
    unix: Option<PathBuf>,
}

impl Node {
    /// Where a client connects to the door `name`: its Unix socket if there are any, or `port`.
    fn door(&self, name: &str, port: u16) -> Address {
        match &self.unix {
            Some(folder) => Address::Unix(folder.join(format!("{name}.sock"))),
            None => Address::Tcp(([127, 0, 0, 1], port).into()),
        }
    }
}

/// Picks free ports, nodes 20 apart and doors 100 apart, as the defaults are.
fn place_nodes(setup: &Setup, folder: &TempFolder) -> Result<Vec<Node>> {
    let rows = DOOR_DISTANCE / NODE_DISTANCE;
    let ports = free_ports(rows * DOORS, NODE_DISTANCE, PORTS_OF_DOOR)?;
    (0..setup.nodes)
        .map(|index| {
            let port = |door: u16| ports[usize::from(door * rows + index)];
            let unix = match setup.transport {
                Transport::Tcp => None,
                Transport::Unix => {
                    let path = folder.path().join(format!("n{}", index + 1));
                    fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
                    Some(path)
                }
            };
            Ok(Node { id: index + 1, resp: port(0), native: port(1), peer: port(2), admin: port(3), unix })
        })
        .collect()
}

fn config_text(setup: &Setup, node: &Node, nodes: &[Node], folder: &Path) -> String {
    let mut text = format!(
        "[cluster]\nid = \"{CLUSTER}\"\npartitions = 1\nreplicas = {}\nwrite_quorum = {}\n\n[node]\nid = {}\ncpus = 1\n",
        setup.nodes,
        setup.write_quorum(),
        node.id
    );
    let mut push = |line: String| writeln!(text, "{line}").expect("a string takes all");
    if let Some(io) = setup.daemon.io {
        push(format!("io = \"{}\"", if io == Io::Uring { "uring" } else { "mio" }));
    }
    if let Some(poll) = setup.daemon.poll {
        let word = match poll {
            Poll::Spin => "spin",
            Poll::Adaptive => "adaptive",
            Poll::Park => "park",
        };
        push(format!("poll = \"{word}\""));
    }
    push(format!("data_dir = {:?}", folder.join(format!("core-{}", node.id))));
    push("\n[listen]".to_owned());
    for (door, port) in [("resp", node.resp), ("native", node.native), ("peer", node.peer), ("admin", node.admin)] {
        push(format!("{door} = \"127.0.0.1:{port}\""));
    }
    if let Some(unix) = &node.unix {
        push(format!("unix = {unix:?}"));
    }
    for other in nodes.iter().filter(|other| other.id != node.id) {
        push(format!("\n[[peers]]\nid = {}\npeer = \"127.0.0.1:{}\"", other.id, other.peer));
        if let Some(unix) = &other.unix {
            push(format!("unix = {unix:?}"));
        }
    }
    text
}

/// Name of the cluster.
const CLUSTER: &str = "perf";
/// Requests that the native client has room for in an open loop: as many as a daemon takes from one connection.
const OPEN_LOOP_WINDOW: u32 = 16_384;
/// Distance between the ports of two nodes.
const NODE_DISTANCE: u16 = 20;
/// Distance between the ports of two doors of one node.
const DOOR_DISTANCE: u16 = 100;
/// RESP, native, peer, admin.
const DOORS: u16 = 4;
/// A door's base port, and the one of its only CPU.
const PORTS_OF_DOOR: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(transport: Transport) -> Setup {
        let daemon = DaemonArgs { quorate: None, io: Some(Io::Mio), poll: None };
        Setup {
            harness: PathBuf::from("/nowhere/quorate-perf"),
            value_bytes: 64,
            window: None,
            nodes: 3,
            transport,
            daemon,
        }
    }

    #[test]
    fn config_names_every_other_node_once() {
        let setup = setup(Transport::Tcp);
        let folder = TempFolder::new().unwrap();
        let nodes = place_nodes(&setup, &folder).unwrap();
        let text = config_text(&setup, &nodes[1], &nodes, folder.path());
        assert_eq!(text.matches("[[peers]]").count(), 2);
        assert!(text.contains("[node]\nid = 2\ncpus = 1\nio = \"mio\"\n"), "{text}");
        assert!(text.contains("replicas = 3\nwrite_quorum = 2\n"));
        for node in &nodes {
            assert_eq!(text.matches(&format!("peer = \"127.0.0.1:{}\"", node.peer)).count(), 1);
            assert_eq!((node.native - node.resp, node.admin - node.peer), (100, 100));
        }
        assert_eq!(nodes[1].resp - nodes[0].resp, 20);
    }

    #[test]
    fn unix_sockets_live_in_a_folder_of_each_node() {
        let setup = setup(Transport::Unix);
        let folder = TempFolder::new().unwrap();
        let nodes = place_nodes(&setup, &folder).unwrap();
        let text = config_text(&setup, &nodes[0], &nodes, folder.path());
        assert_eq!(text.matches("unix = ").count(), 3);
        assert!(matches!(nodes[0].door("resp", 1), Address::Unix(path) if path.ends_with("n1/resp.sock")));
    }

    #[test]
    fn missing_daemon_says_what_to_build() {
        let error = find_daemon(&setup(Transport::Tcp).harness, None).unwrap_err().to_string();
        assert!(error.contains("/nowhere/quorate") && error.contains("cargo build"), "{error}");
    }
}
