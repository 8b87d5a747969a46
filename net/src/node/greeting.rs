//! How nodes greet each other, and why one is not let in.

use quorate_engine::ids::{CpuId, Incarnation, ReplicaId};

use super::facts::Facts;
use super::members::Members;
use crate::wire::{AddressList, Hello, RejectCode, Role, Welcome};

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DoorKind {
    /// RESP clients.
    Resp,
    /// Native clients.
    Native,
    /// CPUs of other nodes.
    Peer,
    /// Control threads of other nodes.
    Control,
}

/// Why somebody is not let in: the code, theirs and ours, and the same for people.
pub(crate) type Objection = (RejectCode, [u64; 2], String);

/// Returns what the end that dials says first. `run`: none for a process that was not registered yet.
pub(crate) fn hello(facts: &Facts, role: Role, run: Option<ReplicaId>, cpu: CpuId) -> Hello<'_> {
    let placement = &facts.placement;
    Hello {
        cluster: &facts.settings.cluster().id,
        role,
        node: facts.node,
        incarnation: run.map_or(Incarnation(0), |run| run.incarnation),
        cpu,
        cpu_count: facts.cpu_count,
        partitions: placement.slots().partition_count(),
        replicas: u16::try_from(placement.replicas()).expect("at most 15"),
        write_quorum: u16::try_from(placement.write_quorum()).expect("at most 15"),
        fingerprint: facts.fingerprint,
        password: b"",
    }
}

/// Returns what the other end answers.
pub(crate) fn welcome<'a>(
    facts: &'a Facts,
    run: Option<ReplicaId>,
    cpu: CpuId,
    addresses: AddressList<'a>,
) -> Welcome<'a> {
    let placement = &facts.placement;
    Welcome {
        cluster: &facts.settings.cluster().id,
        node: facts.node,
        incarnation: run.map_or(Incarnation(0), |run| run.incarnation),
        cpu,
        cpu_count: facts.cpu_count,
        partitions: placement.slots().partition_count(),
        replicas: u16::try_from(placement.replicas()).expect("at most 15"),
        write_quorum: u16::try_from(placement.write_quorum()).expect("at most 15"),
        fingerprint: facts.fingerprint,
        addresses,
    }
}

/// Returns why whoever says `hello` at a door is not let in. Whether a node belongs to the cluster is for the core to say, at the door
/// of the control thread.
pub(crate) fn objection(facts: &Facts, members: &Members, hello: &Hello<'_>, door: DoorKind) -> Option<Objection> {
    let own = &facts.settings.cluster().id;
    let is_any_cluster = hello.cluster.is_empty() && hello.role == Role::Client;
    if hello.cluster != own && !is_any_cluster {
        let text = format!("this node belongs to cluster {own:?}, not to {:?}: check cluster.id", hello.cluster);
        return Some((RejectCode::WrongCluster, [0; 2], text));
    }
    let listen = facts.settings.listen();
    let wrong_door = match (hello.role, door) {
        (Role::Client, DoorKind::Native | DoorKind::Resp) => {
            let password = facts.settings.security().requirepass.as_ref();
            if password.is_some_and(|password| !password.matches(hello.password)) {
                let text = "wrong password: give the one in security.requirepass".to_owned();
                return Some((RejectCode::WrongPassword, [0; 2], text));
            }
            return None;
        }
        (Role::Client, DoorKind::Peer | DoorKind::Control) => {
            Some(format!("clients connect to port {}", listen.native.port()))
        }
        (Role::Peer | Role::Control, DoorKind::Native | DoorKind::Resp) => {
            Some(format!("nodes connect to port {}", listen.peer.port()))
        }
        (Role::Peer, DoorKind::Control) => {
            Some(format!("CPUs of nodes connect to port {} and those behind it", listen.peer.port().saturating_add(1)))
        }
        (Role::Control, DoorKind::Peer) => {
            Some(format!("control threads of nodes connect to port {}", listen.peer.port()))
        }
        (Role::Control, DoorKind::Control) if !facts.settings.is_core() => Some(format!(
            "node {} does not belong to the consistent core: core = true must be the same everywhere",
            facts.node
        )),
        (Role::Peer, DoorKind::Peer) | (Role::Control, DoorKind::Control) => None,
    };
    if let Some(text) = wrong_door {
        return Some((RejectCode::NoSuchDoor, [0; 2], text));
    }
    if hello.node == facts.node {
        let text = format!("this is node {} itself: two nodes have the same node.id", facts.node);
        return Some((RejectCode::OwnNode, [0; 2], text));
    }
    if door == DoorKind::Peer && !members.contains(hello.node) {
        let text = format!(
            "node {} does not belong to the cluster, as far as node {} knows: it has just joined, or was taken out",
            hello.node, facts.node
        );
        return Some((RejectCode::UnknownNode, [u64::from(hello.node.0), 0], text));
    }
    if hello.fingerprint != facts.fingerprint {
        let placement = &facts.placement;
        let text = format!(
            "cluster.partitions, replicas, write_quorum, which nodes are the core (core = true), \
             replication.read_lease and suspicion must be the same everywhere: node {} has {}, {}, {}; node {} has {}, {}, {}",
            hello.node,
            hello.partitions,
            hello.replicas,
            hello.write_quorum,
            facts.node,
            placement.slots().partition_count(),
            placement.replicas(),
            placement.write_quorum()
        );
        return Some((RejectCode::WrongSettings, [hello.fingerprint, facts.fingerprint], text));
    }
    None
}

/// Whether who answers is the node that was dialled, and of the same cluster with the same settings.
pub(crate) fn is_expected(facts: &Facts, welcome: &Welcome<'_>, node: quorate_engine::ids::NodeId) -> bool {
    welcome.node == node
        && welcome.cluster == facts.settings.cluster().id
        && welcome.fingerprint == facts.fingerprint
        && welcome.cpu_count > 0
}
