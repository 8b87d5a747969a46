//! How a connection begins: who is there, to which cluster both belong, and why not.

use quorate_engine::ids::{CpuId, Incarnation, NodeId};
use rkyv::bytecheck::CheckBytes;
use rkyv::{Archive, Portable, Serialize};

use super::header::{push_archived, push_frame};
use super::{About, Kind};

/// Longest name of a cluster, in bytes.
pub const CLUSTER_BYTES_MAX: usize = 64;
/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// Most nodes that a [`Welcome`] lists.
pub const NODES_MAX: usize = 64;
/// Longest address of a node, in bytes: more than the path of any Unix socket.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Longest text of a [`Reject`], in bytes.
pub(super) const REJECT_TEXT_BYTES_MAX: usize = 512;

pub(super) const HELLO_BYTES_MAX: u32 = 1024;
pub(super) const WELCOME_BYTES_MAX: u32 = 32 << 10;
pub(super) const REJECT_BYTES_MAX: u32 = 1024;

const _: () = {
    assert!(size_of::<ArchivedHelloHead>() + PASSWORD_BYTES_MAX <= HELLO_BYTES_MAX as usize);
    assert!(size_of::<ArchivedWelcomeHead>() + NODES_MAX * (4 + ADDRESS_BYTES_MAX) <= WELCOME_BYTES_MAX as usize);
    assert!(size_of::<ArchivedRejectHead>() + REJECT_TEXT_BYTES_MAX <= REJECT_BYTES_MAX as usize);
};

/// What the end that connects is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = Role)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub enum Role {
    /// Another node of the cluster.
    Peer,
    /// A native client.
    Client,
    /// The control thread of a node, which comes to a node of the consistent core.
    Control,
}

/// The first frame of whoever connects. The wire version is the one in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The cluster it belongs to, at most [`CLUSTER_BYTES_MAX`] bytes. Empty: a client that takes any.
    pub cluster: &'a str,
    /// What it is.
    pub role: Role,
    /// The node; 0 for a client.
    pub node: NodeId,
    /// Which run of the node; 0 for a client.
    pub incarnation: Incarnation,
    /// The CPU of the node that owns this connection.
    pub cpu: CpuId,
    /// How many CPUs the node has; 0 for a client.
    pub cpu_count: u16,
    /// How many partitions it believes the cluster to have; 0 for a client.
    pub partitions: u32,
    /// How many replicas; 0 for a client.
    pub replicas: u16,
    /// How many of them make a write quorum; 0 for a client.
    pub write_quorum: u16,
    /// Digest of those settings that must be equal on all nodes; 0 for a client.
    pub fingerprint: u64,
    /// The password, at most [`PASSWORD_BYTES_MAX`] bytes; empty without one.
    pub password: &'a [u8],
}

/// The archived head of a [`Hello`]; the password is the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct HelloHead {
    pub(super) cluster: [u8; CLUSTER_BYTES_MAX],
    pub(super) incarnation: u64,
    pub(super) fingerprint: u64,
    pub(super) partitions: u32,
    pub(super) node: u16,
    pub(super) cpu: u16,
    pub(super) cpu_count: u16,
    pub(super) replicas: u16,
    pub(super) write_quorum: u16,
    pub(super) password_len: u16,
    pub(super) cluster_len: u8,
    pub(super) role: Role,
    pub(super) zero: [u8; 6],
}

impl<'a> Hello<'a> {
    /// Creates the greeting of a client.
    #[must_use]
    pub const fn client(cluster: &'a str, password: &'a [u8]) -> Self {
        Self {
            cluster,
            role: Role::Client,
            node: NodeId(0),
            incarnation: Incarnation(0),
            cpu: CpuId(0),
            cpu_count: 0,
            partitions: 0,
            replicas: 0,
            write_quorum: 0,
            fingerprint: 0,
            password,
        }
    }

    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If name or password is longer than its bound; settings and client options are checked before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (cluster, cluster_len) = padded_name(self.cluster);
        assert!(self.password.len() <= PASSWORD_BYTES_MAX, "a password of {} bytes", self.password.len());
        let head = HelloHead {
            cluster,
            incarnation: self.incarnation.0,
            fingerprint: self.fingerprint,
            partitions: self.partitions,
            node: self.node.0,
            cpu: self.cpu.0,
            cpu_count: self.cpu_count,
            replicas: self.replicas,
            write_quorum: self.write_quorum,
            password_len: u16::try_from(self.password.len()).expect("asserted above"),
            cluster_len,
            role: self.role,
            zero: [0; 6],
        };
        push_frame(out, Kind::Hello, About::NOTHING, |out| {
            push_archived(out, &head);
            out.extend_from_slice(self.password);
        });
    }
}

/// The answer to a [`Hello`]: who is at this end, and how the cluster is laid out.
///
/// With it a client computes by itself in which group a key lives: its slot, and the partition and group of that. Which node
/// leads the group changes; any node passes a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The cluster, at most [`CLUSTER_BYTES_MAX`] bytes.
    pub cluster: &'a str,
    /// The node.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// The CPU that owns this connection.
    pub cpu: CpuId,
    /// How many CPUs the node has.
    pub cpu_count: u16,
    /// How many partitions the cluster has.
    pub partitions: u32,
    /// How many replicas each group has.
    pub replicas: u16,
    /// How many of them make a write quorum.
    pub write_quorum: u16,
    /// Digest of those settings that must be equal on all nodes.
    pub fingerprint: u64,
    /// To a client: where the native doors of the nodes are. To a peer: empty.
    pub addresses: AddressList<'a>,
}

/// The archived head of a [`Welcome`]; the addresses are the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct WelcomeHead {
    pub(super) cluster: [u8; CLUSTER_BYTES_MAX],
    pub(super) incarnation: u64,
    pub(super) fingerprint: u64,
    pub(super) partitions: u32,
    pub(super) node: u16,
    pub(super) cpu: u16,
    pub(super) cpu_count: u16,
    pub(super) replicas: u16,
    pub(super) write_quorum: u16,
    pub(super) address_count: u16,
    pub(super) cluster_len: u8,
    pub(super) zero: [u8; 7],
}

impl Welcome<'_> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If the name is longer than its bound, or there are more than [`NODES_MAX`] addresses.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (cluster, cluster_len) = padded_name(self.cluster);
        let address_count = self.addresses.iter().count();
        assert!(address_count <= NODES_MAX, "{address_count} addresses");
        let head = WelcomeHead {
            cluster,
            incarnation: self.incarnation.0,
            fingerprint: self.fingerprint,
            partitions: self.partitions,
            node: self.node.0,
            cpu: self.cpu.0,
            cpu_count: self.cpu_count,
            replicas: self.replicas,
            write_quorum: self.write_quorum,
            address_count: u16::try_from(address_count).expect("asserted above"),
            cluster_len,
            zero: [0; 7],
        };
        push_frame(out, Kind::Welcome, About::NOTHING, |out| {
            push_archived(out, &head);
            out.extend_from_slice(self.addresses.bytes);
        });
    }
}

/// Node ids and addresses, packed: a 16-bit id, a 16-bit length and the text, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AddressList<'a> {
    bytes: &'a [u8],
}

impl<'a> AddressList<'a> {
    /// Returns the list in `bytes`, which [`push_address`] has made.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Walks the list; stops at the first address that is not whole.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &'a str)> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (node, text, behind) = split_address(rest)?;
            rest = behind;
            Some((node, text))
        })
    }

    /// Counts the addresses in hostile bytes; `None` unless all are whole, of legal length and UTF-8.
    pub(super) fn count_checked(&self) -> Option<usize> {
        let mut rest = self.bytes;
        let mut count = 0;
        while !rest.is_empty() {
            let (_, text, behind) = split_address(rest)?;
            if text.len() > ADDRESS_BYTES_MAX {
                return None;
            }
            rest = behind;
            count += 1;
        }
        Some(count)
    }
}

/// Appends one address to a packed list: `host:port`, or `unix:` and a path.
///
/// # Panics
/// If it is longer than [`ADDRESS_BYTES_MAX`]; settings are checked before.
pub fn push_address(out: &mut Vec<u8>, node: NodeId, address: &str) {
    assert!(address.len() <= ADDRESS_BYTES_MAX, "an address of {} bytes", address.len());
    let len = u16::try_from(address.len()).expect("asserted above");
    out.extend_from_slice(&node.0.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(address.as_bytes());
}

fn split_address(bytes: &[u8]) -> Option<(NodeId, &str, &[u8])> {
    let (node, rest) = bytes.split_first_chunk::<2>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    Some((NodeId(u16::from_le_bytes(*node)), std::str::from_utf8(text).ok()?, rest))
}

/// Why a connection is refused, or is about to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = RejectCode)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub enum RejectCode {
    /// Another cluster.
    WrongCluster,
    /// Another wire version; `theirs` is the one of the end that is refused, `ours` that of the end that refuses.
    WrongVersion,
    /// A wrong password, or none.
    WrongPassword,
    /// A node that this one does not know.
    UnknownNode,
    /// The other end says it is the node it has connected to.
    OwnNode,
    /// A peer at the door for clients, or a client at that for peers.
    NoSuchDoor,
    /// Settings that must be equal are not; `theirs` and `ours` are the fingerprints.
    WrongSettings,
    /// The node is known, but as another run: this one has lost its memory.
    WrongIncarnation,
    /// Bytes that are no frame.
    Malformed,
    /// As many connections as may be; `ours` is the limit.
    TooManyConnections,
    /// The node is going down.
    Stopping,
    /// The consistent core has not registered this run of the node yet: try again.
    NotRegistered,
}

/// Refuses a connection. The end that gets it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject<'a> {
    /// Why.
    pub code: RejectCode,
    /// A number of the end that is refused, if the code has one.
    pub theirs: u64,
    /// The number of the end that refuses.
    pub ours: u64,
    /// The same for people. What is longer than 512 bytes is cut.
    pub text: &'a str,
}

/// The archived head of a [`Reject`]; the text is the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct RejectHead {
    pub(super) theirs: u64,
    pub(super) ours: u64,
    pub(super) text_len: u16,
    pub(super) code: RejectCode,
    pub(super) zero: [u8; 5],
}

impl Reject<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let text = cut(self.text, REJECT_TEXT_BYTES_MAX);
        let head = RejectHead {
            theirs: self.theirs,
            ours: self.ours,
            text_len: u16::try_from(text.len()).expect("cut to 512 bytes"),
            code: self.code,
            zero: [0; 5],
        };
        push_frame(out, Kind::Reject, About::NOTHING, |out| {
            push_archived(out, &head);
            out.extend_from_slice(text.as_bytes());
        });
    }
}

/// Returns the longest beginning of `text` with at most `bytes_max` bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn padded_name(name: &str) -> ([u8; CLUSTER_BYTES_MAX], u8) {
    assert!(name.len() <= CLUSTER_BYTES_MAX, "a cluster name of {} bytes", name.len());
    let mut padded = [0; CLUSTER_BYTES_MAX];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    (padded, u8::try_from(name.len()).expect("asserted above"))
}
