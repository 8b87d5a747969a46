//! The systems that can be measured: their names, what they need, and how to start one.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::clock::OsClock;
use crate::load::{Driver, Generator, RequestId};
use crate::peers::{etcd, nats, redis};
use crate::process::{Process, Program, TempFolder, find_program};
use crate::report::Subject;
use crate::{floor, quorum};

/// A system, with the protocol it is driven by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum System {
    /// Forwarding only.
    Floor,
    /// Quorate through its native client.
    QuorateNative,
    /// Quorate through its RESP door.
    QuorateResp,
    /// One Redis server.
    RedisSet,
    /// Redis with two replicas and a WAIT for every write.
    RedisWait,
    /// Redis with two replicas and a WAIT for a window of writes.
    RedisWaitWindow,
    /// NATS JetStream, three replicas in memory.
    NatsR3,
    /// etcd, three members.
    Etcd,
}

impl System {
    /// All systems, in the order in which a round measures them.
    pub const ALL: [Self; 8] = [
        Self::Floor,
        Self::QuorateNative,
        Self::QuorateResp,
        Self::RedisSet,
        Self::RedisWait,
        Self::RedisWaitWindow,
        Self::NatsR3,
        Self::Etcd,
    ];

    /// Returns the name in result lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::QuorateNative | Self::QuorateResp => "quorate",
            Self::RedisSet => "redis-set",
            Self::RedisWait => "redis-wait",
            Self::RedisWaitWindow => "redis-wait-window",
            Self::NatsR3 => "nats-r3",
            Self::Etcd => "etcd",
        }
    }

    /// Returns what is spoken between client and system.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Floor => "forward",
            Self::QuorateNative => "native",
            Self::QuorateResp | Self::RedisSet | Self::RedisWait | Self::RedisWaitWindow => "resp",
            Self::NatsR3 => "nats",
            Self::Etcd => "grpc",
        }
    }

    /// Returns a name that tells all systems apart.
    #[must_use]
    pub fn label(self) -> String {
        if self.is_quorate() { format!("{}/{}", self.name(), self.protocol()) } else { self.name().to_owned() }
    }

    /// Whether this is quorate, by whichever protocol.
    #[must_use]
    pub fn is_quorate(self) -> bool {
        self.name() == Self::QuorateResp.name()
    }

    /// Returns how result lines name a measurement of this system.
    #[must_use]
    pub fn subject(self, setup: &Setup) -> Subject {
        Subject { system: self.name(), protocol: self.protocol(), value_bytes: setup.value_bytes }
    }

    /// Says why the system cannot be started here, if a program is missing.
    #[must_use]
    pub fn missing(self, setup: &Setup) -> Option<String> {
        match self {
            Self::Floor => None,
            Self::QuorateNative | Self::QuorateResp => {
                quorum::find_daemon(&setup.harness, setup.daemon.quorate.as_ref()).err().map(|error| error.to_string())
            }
            Self::RedisSet | Self::RedisWait | Self::RedisWaitWindow => missing_program(REDIS),
            Self::NatsR3 => missing_program(NATS),
            Self::Etcd => missing_program(ETCD),
        }
    }

    /// Starts the system and connects a client to it.
    ///
    /// # Errors
    /// The setup is refused, a program is missing, or a process does not become ready.
    pub fn start(self, setup: &Setup) -> Result<Running> {
        ensure!(setup.nodes == 3 || setup.nodes == 5, "{} nodes: choose 3 or 5", setup.nodes);
        ensure!(
            setup.value_bytes <= VALUE_BYTES_MAX,
            "value of {} bytes: at most {VALUE_BYTES_MAX}",
            setup.value_bytes
        );
        match self {
            Self::Floor => floor::start(setup),
            Self::QuorateNative => quorum::start(setup, quorum::Protocol::Native),
            Self::QuorateResp => quorum::start(setup, quorum::Protocol::Resp),
            Self::RedisSet => redis::start(&program(REDIS)?, setup, redis::Way::Set),
            Self::RedisWait => redis::start(&program(REDIS)?, setup, redis::Way::Wait),
            Self::RedisWaitWindow => redis::start(&program(REDIS)?, setup, redis::Way::WaitWindow),
            Self::NatsR3 => nats::start(&program(NATS)?, setup),
            Self::Etcd => etcd::start(&program(ETCD)?, setup),
        }
        .with_context(|| format!("cannot start {}", self.label()))
    }
}

fn program(name: &str) -> Result<Program> {
    find_program(name).map(Program::new).with_context(|| format!("{name} is not installed"))
}

fn missing_program(name: &str) -> Option<String> {
    find_program(name).is_none().then(|| format!("{name} is not installed"))
}

/// What every system is asked to do.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Path of this program, which also plays the nodes of the floor.
    pub harness: PathBuf,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Requests in flight in a closed loop; none in an open loop, where any number may be.
    pub window: Option<u32>,
    /// Nodes: 3 or 5.
    pub nodes: u16,
    /// Sockets between the processes, where the system has a choice.
    pub transport: Transport,
    /// How quorate's daemon is started.
    pub daemon: quorum::DaemonArgs,
}

impl Setup {
    /// Returns how many replicas must hold a write: a majority.
    #[must_use]
    pub fn write_quorum(&self) -> u16 {
        self.nodes / 2 + 1
    }

    /// Returns the value that every request writes.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        (b'a'..=b'z').cycle().take(self.value_bytes).collect()
    }
}

/// Sockets between the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// TCP over loopback
    Tcp,
    /// Unix sockets
    Unix,
}

/// A started system with a connected client. Fields are dropped in order: client, processes, folder.
#[derive(Debug)]
pub struct Running {
    /// Loads the system through its client.
    pub generator: Generator<OsClock>,
    /// The processes.
    pub processes: Vec<Process>,
    /// Where they live.
    pub folder: TempFolder,
    /// What a reader of the figures must know about this system.
    pub note: String,
}

impl Running {
    /// Takes over a started system and its unused client.
    #[must_use]
    pub fn new(driver: Box<dyn Driver>, processes: Vec<Process>, folder: TempFolder, note: String) -> Self {
        Self { generator: Generator::new(driver, OsClock::start()), processes, folder, note }
    }
}

/// Writes the key of a request, `key:` and twelve digits: a thousand keys in turn, the same for every system.
pub(crate) fn write_key(key: &mut [u8; KEY_BYTES], request: RequestId) {
    key[..4].copy_from_slice(b"key:");
    let mut rest = request.0 % KEYS;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
}

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 16;
/// Keys written in turn.
const KEYS: u64 = 1_000;
/// Largest value of any system.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
const REDIS: &str = "redis-server";
const NATS: &str = "nats-server";
const ETCD: &str = "etcd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_repeat_after_a_thousand() {
        let mut key = [0; KEY_BYTES];
        write_key(&mut key, RequestId(1_042));
        assert_eq!(&key, b"key:000000000042");
    }

    #[test]
    fn labels_tell_systems_apart() {
        let labels: std::collections::BTreeSet<String> = System::ALL.iter().map(|system| system.label()).collect();
        assert_eq!(labels.len(), System::ALL.len());
    }
}
