//! What no single value shows: settings that are each in range and cannot hold together.
//!
//! A check whose values are missing or already refused says nothing; the first mistake is enough.

use std::net::{IpAddr, SocketAddr};

use super::error::{ConfigError, Conflict, Origin, Problem};
use super::keys::{ENTRY_OVERHEAD, Fallback, KEYS, KeyId, LOG_SHARE, PEERS, SECTIONS};
use super::types::{Door, Endpoint};
use super::value::Value;
use super::{Config, PeerEntries};

/// Returns everything that does not go together, and what is missing.
pub(super) fn check(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    check_missing(config, &mut errors);
    check_quorum(config, &mut errors);
    check_peers(config, &mut errors);
    check_doors(config, &mut errors);
    check_sizes(config, &mut errors);
    check_core(config, &mut errors);
    errors
}

/// Returns the nodes of the consistent core, ascending: those that are marked, else the 5, 3 or 1 with the smallest numbers.
pub(super) fn core_nodes(config: &Config) -> Vec<u64> {
    let own = (count(config, KeyId::NodeId).map(|(id, _)| id), config.value(KeyId::Core));
    let peers = config.peers.iter().map(|peer| {
        let id = match peer.value(KeyId::PeerId) {
            Some((Value::Count(id), _)) => Some(id),
            _ => None,
        };
        (id, peer.value(KeyId::PeerCore))
    });
    let mut nodes: Vec<(u64, Option<bool>)> = [own]
        .into_iter()
        .chain(peers)
        .filter_map(|(id, mark)| match mark {
            Some((Value::Flag(is_core), _)) => Some((id?, Some(is_core))),
            _ => Some((id?, None)),
        })
        .collect();
    nodes.sort_unstable();
    if nodes.iter().any(|(_, mark)| *mark == Some(true)) {
        return nodes.into_iter().filter(|(_, mark)| *mark == Some(true)).map(|(id, _)| id).collect();
    }
    nodes.retain(|(_, mark)| mark.is_none());
    let size = [5, 3, 1].into_iter().find(|size| *size <= nodes.len()).unwrap_or(0);
    nodes.into_iter().take(size).map(|(id, _)| id).collect()
}

fn check_core(config: &Config, errors: &mut Vec<ConfigError>) {
    // Without a number of its own, or if anything could not be read, nodes would be missing.
    if count(config, KeyId::NodeId).is_none() || !config.errors.is_empty() {
        return;
    }
    let core = core_nodes(config);
    if ![1, 3, 5].contains(&core.len()) {
        push(errors, config.origin(KeyId::Core), Conflict::CoreSize { count: core.len() });
    }
}

/// Returns W: what was said, else a majority.
pub(super) fn write_quorum(config: &Config) -> Option<(u64, Origin)> {
    match config.entries.get(&KeyId::WriteQuorum) {
        Some(_) => count(config, KeyId::WriteQuorum),
        None => count(config, KeyId::Replicas).map(|(replicas, _)| (replicas / 2 + 1, Origin::Default)),
    }
}

/// The first and last port that a door takes, inclusive.
pub(super) fn door_ports(door: Door, port: u16, cpus: u16) -> (u16, u16) {
    (port, port.saturating_add(if door.is_per_cpu() { cpus } else { 0 }))
}

/// The key that sets the address of a door.
pub(super) fn door_key(door: Door) -> KeyId {
    match door {
        Door::Resp => KeyId::ListenResp,
        Door::Native => KeyId::ListenNative,
        Door::Peer => KeyId::ListenPeer,
        Door::Admin => KeyId::ListenAdmin,
    }
}

/// Returns the port of a door of another node, which lies as far from its peer port as on this node; `None` if there
/// is no such port.
pub(super) fn port_beside(peer_port: u16, own_peer: SocketAddr, own_door: SocketAddr) -> Option<u16> {
    let distance = i32::from(own_door.port()) - i32::from(own_peer.port());
    u16::try_from(i32::from(peer_port) + distance).ok().filter(|port| *port != 0)
}

fn check_missing(config: &Config, errors: &mut Vec<ConfigError>) {
    if config.errors.iter().any(|error| hides_keys(&error.problem)) {
        return;
    }
    for key in KEYS {
        let Fallback::Required(what_to_write) = key.default else { continue };
        let mut missing = |origin: Origin| {
            errors.push(ConfigError { origin, problem: Problem::Missing { key, what_to_write } });
        };
        if key.section == PEERS {
            let without = config.peers.iter().filter(|peer| !peer.entries.contains_key(&key.id));
            without.for_each(|peer| missing(peer.origin.clone()));
        } else if !config.entries.contains_key(&key.id) {
            debug_assert!(SECTIONS.iter().any(|(section, _)| *section == key.section));
            missing(Origin::Default);
        }
    }
}

fn check_quorum(config: &Config, errors: &mut Vec<ConfigError>) {
    let Some((replicas, replicas_origin)) = count(config, KeyId::Replicas) else { return };
    if let Some((write_quorum, origin)) = write_quorum(config)
        && write_quorum > replicas
    {
        push(errors, origin, Conflict::QuorumAboveReplicas { write_quorum, replicas });
    }
    let peers = u64::try_from(config.peers.len()).expect("at most PEERS_MAX");
    // Peers that could not be read are not missing.
    let all_peers_read = !config.errors.iter().any(|error| is_about_peers(&error.problem));
    if replicas > peers + 1 && all_peers_read {
        push(errors, replicas_origin, Conflict::PeersMissing { replicas, peers });
    }
}

fn is_about_peers(problem: &Problem) -> bool {
    match problem {
        Problem::Value { key, .. } => key.section == PEERS,
        Problem::UnknownSection { nearest, .. } => *nearest == Some(PEERS),
        Problem::NotASection { section, .. } => *section == PEERS,
        Problem::NotAPeer { .. } | Problem::TooManyPeers { .. } => true,
        other => hides_keys(other),
    }
}

/// Whether keys may have been written that nobody could read.
fn hides_keys(problem: &Problem) -> bool {
    matches!(problem, Problem::Unreadable { .. } | Problem::TooLong | Problem::NotUtf8 | Problem::Syntax { .. })
}

fn check_peers(config: &Config, errors: &mut Vec<ConfigError>) {
    let own_id = count(config, KeyId::NodeId).map(|(id, _)| id);
    let own_doors = doors(config);
    let mut seen: Vec<(u64, Origin, Option<Endpoint>)> = Vec::with_capacity(config.peers.len());
    for peer in &config.peers {
        let Some((Value::Count(id), id_origin)) = peer.value(KeyId::PeerId) else { continue };
        if own_id == Some(id) {
            push(errors, id_origin.clone(), Conflict::PeerIsSelf { id });
        } else if let Some((_, first, _)) = seen.iter().find(|(other, ..)| *other == id) {
            push(errors, id_origin.clone(), Conflict::PeerTwice { id, first: first.clone() });
        }
        let address = peer_address(peer);
        if let Some((endpoint, origin)) = &address {
            if let Some((other, ..)) = seen.iter().find(|(.., seen)| seen.as_ref() == Some(endpoint)) {
                let conflict = Conflict::PeerAddressTwice { id, other: *other, address: endpoint.to_string() };
                push(errors, origin.clone(), conflict);
            }
            if let Some((door, first, last)) = own_door_at(&own_doors, endpoint) {
                let address = endpoint.to_string();
                push(errors, origin.clone(), Conflict::PeerOnOwnPort { id, address, door, first, last });
            }
        }
        if let Some((endpoint, origin)) = &address {
            check_derived_doors(config, peer, (id, endpoint, origin), errors);
        }
        seen.push((id, id_origin, address.map(|(endpoint, _)| endpoint)));
    }
}

fn check_derived_doors(
    config: &Config,
    peer: &PeerEntries,
    (id, endpoint, origin): (u64, &Endpoint, &Origin),
    errors: &mut Vec<ConfigError>,
) {
    let own = |door: Door| match config.value(door_key(door)) {
        Some((Value::Address(address), _)) => Some(address),
        _ => None,
    };
    let Some(own_peer) = own(Door::Peer) else { return };
    for (door, key) in [(Door::Resp, KeyId::PeerResp), (Door::Native, KeyId::PeerNative)] {
        let Some(own_door) = own(door).filter(|_| !peer.entries.contains_key(&key)) else { continue };
        if port_beside(endpoint.port(), own_peer, own_door).is_none() {
            let conflict = Conflict::PeerDoorUnknown { id, door, address: endpoint.to_string() };
            push(errors, origin.clone(), conflict);
        }
    }
}

fn peer_address(peer: &PeerEntries) -> Option<(Endpoint, Origin)> {
    match peer.value(KeyId::PeerAddress) {
        Some((Value::Endpoint(endpoint), origin)) => Some((endpoint, origin)),
        _ => None,
    }
}

/// Returns the door of this node that `endpoint` leads to, if it is on an address that this node listens on.
fn own_door_at(doors: &[OwnDoor], endpoint: &Endpoint) -> Option<(Door, u16, u16)> {
    let Endpoint::Ip(address) = endpoint else { return None };
    doors
        .iter()
        .find(|own| own.address.ip() == address.ip() && (own.first..=own.last).contains(&address.port()))
        .map(|own| (own.door, own.first, own.last))
}

/// A door with its ports, first and last inclusive.
struct OwnDoor {
    door: Door,
    address: SocketAddr,
    first: u16,
    last: u16,
    origin: Origin,
}

fn doors(config: &Config) -> Vec<OwnDoor> {
    let Some(cpus) = cpu_count(config) else { return Vec::new() };
    let own = |door: Door| match config.value(door_key(door)) {
        Some((Value::Address(address), origin)) => {
            let (first, last) = door_ports(door, address.port(), cpus);
            Some(OwnDoor { door, address, first, last, origin })
        }
        _ => None,
    };
    Door::ALL.into_iter().filter_map(own).collect()
}

fn check_doors(config: &Config, errors: &mut Vec<ConfigError>) {
    let Some(cpus) = cpu_count(config) else { return };
    let doors = doors(config);
    for (index, own) in doors.iter().enumerate() {
        let (door, port) = (own.door, own.first);
        if door.is_per_cpu() && port > u16::MAX - cpus {
            push(errors, own.origin.clone(), Conflict::PortTooHigh { door, port, cpus });
        }
        let overlapping = doors[..index].iter().find(|other| {
            may_share(other.address.ip(), own.address.ip()) && other.first <= own.last && own.first <= other.last
        });
        if let Some(other) = overlapping {
            let (first, second) = ((other.door, other.first, other.last), (door, own.first, own.last));
            // A default gives way: the error stands where something was written.
            let origin = if own.origin == Origin::Default { &other.origin } else { &own.origin };
            push(errors, origin.clone(), Conflict::DoorsOverlap { first, second, cpus });
        }
    }
    let has_password = config.entries.contains_key(&KeyId::Requirepass);
    let is_insecure = matches!(config.value(KeyId::Insecure), Some((Value::Flag(true), _)) | None);
    if is_insecure {
        return;
    }
    for own in doors.iter().filter(|own| !own.address.ip().is_loopback()) {
        let address = own.address.to_string();
        match own.door {
            // It knows no passwords.
            Door::Admin => push(errors, own.origin.clone(), Conflict::AdminUnprotected { address }),
            door if !has_password => push(errors, own.origin.clone(), Conflict::Unprotected { door, address }),
            _ => {}
        }
    }
}

/// Whether sockets on both addresses would compete for a port.
fn may_share(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

fn check_sizes(config: &Config, errors: &mut Vec<ConfigError>) {
    let (Some((key_max, key_origin)), Some((value_max, value_origin))) =
        (size(config, KeyId::KeyMax), size(config, KeyId::ValueMax))
    else {
        return;
    };
    let entry_bytes = key_max + value_max + ENTRY_OVERHEAD;
    // Of the keys in conflict the error stands at one that somebody wrote.
    let place = |other: Origin| {
        [value_origin.clone(), other, key_origin.clone()]
            .into_iter()
            .find(|origin| *origin != Origin::Default)
            .unwrap_or(Origin::Default)
    };
    if let (Some((log_memory, origin)), Some(cpus)) = (size(config, KeyId::LogMemory), cpu_count(config)) {
        let divisor = LOG_SHARE * u64::from(cpus);
        let share_bytes = log_memory / divisor;
        if entry_bytes > share_bytes {
            let log_memory_min = (entry_bytes * divisor).next_multiple_of(MIB);
            let origin = if origin == Origin::Default { place(config.origin(KeyId::Cpus)) } else { place(origin) };
            push(errors, origin, Conflict::EntryBeyondLog { entry_bytes, share_bytes, cpus, log_memory_min });
        }
    }
    for id in [KeyId::WindowBytes, KeyId::OutputMax, KeyId::MemoryMax] {
        let Some((room_bytes, origin)) = size(config, id) else { continue };
        if entry_bytes > room_bytes {
            let room_bytes_min = entry_bytes.next_multiple_of(MIB);
            let key = NAMES_OF_ROOMS.iter().find(|(key, _)| *key == id).expect("the same three keys").1;
            push(errors, place(origin), Conflict::EntryBeyondRoom { key, entry_bytes, room_bytes, room_bytes_min });
        }
    }
}

fn count(config: &Config, id: KeyId) -> Option<(u64, Origin)> {
    match config.value(id) {
        Some((Value::Count(count), origin)) => Some((count, origin)),
        _ => None,
    }
}

fn size(config: &Config, id: KeyId) -> Option<(u64, Origin)> {
    match config.value(id) {
        Some((Value::Size(bytes), origin)) => Some((bytes, origin)),
        _ => None,
    }
}

fn cpu_count(config: &Config) -> Option<u16> {
    match config.value(KeyId::Cpus) {
        Some((Value::Cpus(plan), _)) => Some(plan.count()),
        _ => None,
    }
}

fn push(errors: &mut Vec<ConfigError>, origin: Origin, conflict: Conflict) {
    errors.push(ConfigError { origin, problem: Problem::Conflict(conflict) });
}

const MIB: u64 = 1 << 20;

const NAMES_OF_ROOMS: [(KeyId, &str); 3] = [
    (KeyId::WindowBytes, "replication.window_bytes"),
    (KeyId::OutputMax, "limits.output_max"),
    (KeyId::MemoryMax, "node.memory_max"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Key;

    #[test]
    fn rooms_are_named_as_in_the_table() {
        for (id, name) in NAMES_OF_ROOMS {
            assert_eq!(Key::of(id).full_name(), name);
        }
    }
}
