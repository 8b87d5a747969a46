//! Which ports the nodes of a local cluster take.
//!
//! A node has one base port for each of its doors, and above each one more for each CPU. Doors lie 100 apart and nodes
//! 20, as in the configuration file that a user would write.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use super::folder::random_number;
use super::{LocalError, LocalOptions};

/// The RESP port of the first node, if it is free.
pub const BASE_DEFAULT: u16 = 7400;
/// Most nodes: a sixth would meet the next door of the first.
pub const NODES_MAX: u16 = 5;
/// Most CPUs of a node: with more, the largest value would not fit a CPU's share of the log.
pub const CPUS_MAX: u16 = 7;

const NODE_DISTANCE: u16 = 20;
const DOOR_DISTANCE: u16 = 100;
const _: () = assert!(NODES_MAX * NODE_DISTANCE <= DOOR_DISTANCE, "nodes must not reach the next door");
const _: () = assert!(CPUS_MAX < NODE_DISTANCE, "CPUs must not reach the next node");

/// Below the ports that systems give to clients, so that no connection happens to have one of ours.
const RANDOM_BASES: RangeInclusive<u16> = 10_000..=31_000;

/// How the RESP port of the first node is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortBase {
    /// [`BASE_DEFAULT`] if it is free, else any.
    #[default]
    Usual,
    /// Any that is free.
    Any,
    /// This one.
    Fixed(u16),
}

impl FromStr for PortBase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self::Any),
            _ => text.parse().map(Self::Fixed).map_err(|_| "expected a port from 1 to 65535, or any".to_owned()),
        }
    }
}

/// The base ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodePorts {
    pub(super) resp: u16,
    pub(super) native: u16,
    pub(super) peer: u16,
    pub(super) admin: u16,
}

/// A port that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) port: u16,
    pub(super) key: &'static str,
    pub(super) node: u16,
}

/// The ports of all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortPlan {
    nodes: Vec<(u16, NodePorts)>,
    cpus: u16,
}

impl NodePorts {
    /// Returns the ports of all doors of a node with `cpus` CPUs, with the keys that set them.
    fn doors(self, cpus: u16) -> impl Iterator<Item = (&'static str, u16)> {
        let of_cpus = [("listen.resp", self.resp), ("listen.native", self.native), ("listen.peer", self.peer)];
        let of_cpus =
            of_cpus.into_iter().flat_map(move |(key, base)| (base..=base + cpus).map(move |port| (key, port)));
        of_cpus.chain([("listen.admin", self.admin)])
    }

    /// Returns the port that is taken according to the log of a node that ended because of it.
    pub(super) fn taken_in(self, log: &str, node: u16, cpus: u16) -> Option<Taken> {
        let line = log.lines().find(|line| line.contains("is taken by another process"))?;
        let (key, port) = self.doors(cpus).find(|(_, port)| line.contains(&local(*port)))?;
        Some(Taken { port, key, node })
    }
}

impl PortPlan {
    /// Plans attempt `attempt`, from 0.
    pub(super) fn new(base: PortBase, attempt: u32, nodes: u16, cpus: u16) -> Result<Self, LocalError> {
        let base = match base {
            PortBase::Fixed(base) => base,
            PortBase::Usual if attempt == 0 => BASE_DEFAULT,
            PortBase::Usual | PortBase::Any => {
                let count = u64::from(RANDOM_BASES.end() - RANDOM_BASES.start()) + 1;
                RANDOM_BASES.start() + u16::try_from(random_number() % count).expect("below a 16-bit number")
            }
        };
        Self::at(base, nodes, cpus)
    }

    fn at(base: u16, nodes: u16, cpus: u16) -> Result<Self, LocalError> {
        for node in 0..nodes {
            for (door, key) in ["listen.resp", "listen.native", "listen.peer", "listen.admin"].into_iter().enumerate() {
                let door = u32::try_from(door).expect("one of four") * u32::from(DOOR_DISTANCE);
                let port = u32::from(base) + door + u32::from(node * NODE_DISTANCE);
                if base == 0 || port + u32::from(cpus) > u32::from(u16::MAX) {
                    return Err(LocalError::PortRange { base, node: node + 1, port, key });
                }
            }
        }
        let ports = |node: u16| {
            let resp = base + node * NODE_DISTANCE;
            let door = |number: u16| resp + number * DOOR_DISTANCE;
            (node + 1, NodePorts { resp, native: door(1), peer: door(2), admin: door(3) })
        };
        Ok(Self { nodes: (0..nodes).map(ports).collect(), cpus })
    }

    /// Returns the nodes with their ports.
    pub(super) fn nodes(&self) -> &[(u16, NodePorts)] {
        &self.nodes
    }

    /// Returns the first port that somebody listens on.
    pub(super) fn find_taken(&self) -> Option<Taken> {
        for (node, ports) in &self.nodes {
            let mut doors = ports.doors(self.cpus);
            if let Some((key, port)) = doors.find(|(_, port)| TcpListener::bind(address(*port)).is_err()) {
                return Some(Taken { port, key, node: *node });
            }
        }
        None
    }

    /// Writes the configuration of one node, which keeps its part of the core in `folder`.
    pub(super) fn config(&self, cluster: &str, id: u16, folder: &Path, options: &LocalOptions) -> String {
        let replicas = self.nodes.len();
        let own = self.nodes.iter().find(|(node, _)| *node == id).expect("it is one of ours").1;
        let mut text = format!(
            "[cluster]\nid = \"{cluster}\"\nreplicas = {replicas}\n\n\
             [node]\nid = {id}\ncpus = {cpus}\nio = \"{io}\"\npoll = \"adaptive\"\n\
             data_dir = {data_dir}\n\n\
             [listen]\nresp = \"{resp}\"\nnative = \"{native}\"\npeer = \"{peer}\"\n\
             admin = \"{admin}\"\n",
            cpus = self.cpus,
            io = options.io,
            data_dir = toml::Value::from(folder.join(format!("node-{id}")).display().to_string()),
            resp = local(own.resp),
            native = local(own.native),
            peer = local(own.peer),
            admin = local(own.admin),
        );
        if options.has_debug_commands || options.password.is_some() {
            text.push_str(&format!("\n[security]\ndebug_commands = {}\n", options.has_debug_commands));
        }
        if let Some(password) = &options.password {
            text.push_str(&format!("requirepass = {}\n", toml::Value::from(password.as_str())));
        }
        for (other, ports) in self.nodes.iter().filter(|(other, _)| *other != id) {
            text.push_str(&format!("\n[[peers]]\nid = {other}\npeer = \"{}\"\n", local(ports.peer)));
        }
        text
    }
}

/// Writes a port of this machine with its address.
pub(super) fn local(port: u16) -> String {
    address(port).to_string()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lie_as_in_the_manual() {
        let plan = PortPlan::at(7400, 3, 1).expect("the default");
        let last = NodePorts { resp: 7440, native: 7540, peer: 7640, admin: 7740 };
        assert_eq!(plan.nodes()[2], (3, last));
    }

    #[test]
    fn bases_that_cannot_work_say_why() {
        let error = |base, nodes, cpus| PortPlan::at(base, nodes, cpus).expect_err("it cannot work").to_string();
        assert!(error(65_400, 3, 1).contains("node 1 would need port 65600 for listen.peer, and ports go from 1"));
        assert!(error(65_300, 1, 1).contains("node 1 would need port 65600 for listen.admin, and ports go from 1"));
        assert!(error(0, 1, 1).starts_with("--port-base 0 does not do"));
    }

    #[test]
    fn every_plan_is_a_correct_configuration() {
        for (nodes, cpus) in [(1, 1), (3, 1), (NODES_MAX, CPUS_MAX)] {
            let plan = PortPlan::at(BASE_DEFAULT, nodes, cpus).expect("the default");
            for id in 1..=nodes {
                let password = Some("with \"quotes\"".to_owned());
                let options = LocalOptions { has_debug_commands: true, password, ..LocalOptions::default() };
                let text = plan.config("local-1", id, Path::new("/nowhere"), &options);
                let folder = super::super::Folder::create(&format!("test-{:x}", random_number())).expect("a folder");
                let path = folder.path().join("node.toml");
                folder.write(&path, &text).expect("a file");
                let sources = crate::config::Sources { file: Some(&path), ..Default::default() };
                let built = crate::config::Config::load(&sources).build();
                assert!(built.is_ok(), "{nodes} nodes with {cpus} CPUs: {:?}\n{text}", built.err());
            }
        }
    }

    #[test]
    fn a_taken_port_is_found_before_and_after() {
        let listener = TcpListener::bind(address(0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let ports = NodePorts { resp: port, native: 1, peer: 2, admin: 3 };
        let plan = PortPlan { nodes: vec![(2, ports)], cpus: 0 };
        let taken = Some(Taken { port, key: "listen.resp", node: 2 });
        assert_eq!(plan.find_taken(), taken);
        let log =
            format!("error: cannot listen at 127.0.0.1:{port}: 127.0.0.1:{port} is taken by another process; stop");
        assert_eq!(ports.taken_in(&log, 2, 1), taken);
        assert_eq!(ports.taken_in("error: out of memory", 2, 1), None);
    }
}
