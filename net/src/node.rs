//! A node: its CPUs, what they share, and its start and end.

pub mod facts;
pub(crate) mod greeting;
pub(crate) mod members;

use std::collections::VecDeque;
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::utils::CachePadded;
use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use quorate_engine::ids::CpuId;
use thiserror::Error;

use crate::admin::{self, Admin};
use crate::clock;
use crate::config::{Door, Io, Settings};
use crate::control::exchange::Exchange;
use crate::control::store::{Identity, Store, StoreError, Use, draw};
use crate::control::{Control, Part};
use crate::cpu::{Bell, Channels, Cpu, Link};
use crate::driver::{self, Driver};
use crate::resp::session::{AclLogEntry, ClientRecord, Password, Pause};
use crate::transport::{
    self, Address, Choice, IoChoice, ListenError, ListenOptions, OpenError, PortSharing, TransportSettings,
};

use facts::{Facts, FactsError};
use greeting::DoorKind;

/// What the CPUs of a node share. On the data path each touches counters of its own, and looks whether commands are paused.
#[derive(Debug)]
pub(crate) struct Shared {
    /// All RESP clients, by number.
    pub clients: DashMap<u64, ClientRecord>,
    /// Who listens to what.
    pub channels: Channels,
    /// The password of RESP clients.
    pub password: RwLock<Option<Password>>,
    /// Clients that are to be closed, and how often there were any.
    pub kills: Mutex<Vec<u64>>,
    /// Grows with each change of `kills`.
    pub kill_count: AtomicU64,
    /// Logins that were refused, newest first.
    pub denials: Mutex<VecDeque<AclLogEntry>>,
    pause_until_us: AtomicU64,
    is_pause_for_writes: AtomicBool,
    /// Set once, when the node is to stop.
    pub is_stopping: AtomicBool,
    /// What moves data, and why; known once the first CPU runs.
    pub io: std::sync::OnceLock<Choice>,
    /// Where CPUs and the control thread meet.
    pub exchange: Exchange,
    counters: Vec<CachePadded<Counters>>,
}

impl Shared {
    /// Returns the counters of one CPU.
    #[must_use]
    pub(crate) fn counters(&self, cpu: CpuId) -> &Counters {
        &self.counters[usize::from(cpu.0)]
    }

    /// Returns the counters of all CPUs.
    pub(crate) fn all_counters(&self) -> impl Iterator<Item = &Counters> {
        self.counters.iter().map(|counters| &**counters)
    }

    /// Holds commands back; a pause that is longer stays.
    pub(crate) fn pause(&self, pause: Pause) {
        self.is_pause_for_writes.store(pause.is_writes_only, Ordering::Relaxed);
        self.pause_until_us.fetch_max(pause.until_us, Ordering::Relaxed);
    }

    /// Ends a pause.
    pub(crate) fn unpause(&self) {
        self.pause_until_us.store(0, Ordering::Relaxed);
    }

    /// Whether a pause holds a command back at `now_us`, microseconds since the Unix epoch.
    #[must_use]
    pub(crate) fn pause_holds(&self, is_write: bool, now_us: u64) -> bool {
        self.pause_until_us.load(Ordering::Relaxed) > now_us
            && (is_write || !self.is_pause_for_writes.load(Ordering::Relaxed))
    }

    /// Returns the sum of one counter over all CPUs.
    pub(crate) fn sum(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.all_counters().map(|counters| counter(counters).load(Ordering::Relaxed)).sum()
    }
}

/// Tallies of one CPU: written by it, read by anyone. Relaxed: each stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Commands of RESP clients.
    pub commands: AtomicU64,
    /// Requests that the engine has answered.
    pub engine_replies: AtomicU64,
    /// Connections of RESP clients accepted.
    pub connections: AtomicU64,
    /// Keys held.
    pub keys: AtomicU64,
    /// Bytes of keys and values.
    pub used_bytes: AtomicU64,
    /// Requests under way.
    pub under_way: AtomicU64,
    /// Turns of the loop.
    pub turns: AtomicU64,
}

/// Why a node did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// What the consistent core has agreed on cannot be read, or must not be used by this node.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The only node of the core, that is not to create a cluster and has nothing of one.
    #[error(
        "node {node} is the only one of the consistent core, and {path} holds nothing that the core has agreed on; to create \
         the cluster, start each node of the core once with --create; if the disk was lost, so is what the core knew"
    )]
    NotCreated {
        /// The node.
        node: u16,
        /// Where the store would be.
        path: PathBuf,
    },
    /// It is to restore the consistent core, and does not belong to it.
    #[error(
        "node {node} does not belong to the consistent core: --restore is for one of its nodes that still has its node.data_dir"
    )]
    RestoreElsewhere {
        /// The node.
        node: u16,
    },
    /// It is to restore the consistent core, and knows of nothing.
    #[error(
        "cannot restore the consistent core from {path}: it knows of no cluster whose groups were formed; --restore is for a node of \
         the core that still has its node.data_dir"
    )]
    NothingToRestore {
        /// Where the store is, or would be.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("cannot read /dev/urandom: {0}")]
    Random(std::io::Error),
    /// The settings do not fit together.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The address of a peer cannot be found out.
    #[error("cannot resolve {endpoint}, the address of node {node}: {source}; check [[peers]]")]
    Resolve {
        /// Which node.
        node: u16,
        /// Its address as it was written.
        endpoint: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A door cannot be opened.
    #[error("cannot listen at {address} ({key}): {source}")]
    Listen {
        /// Where.
        address: String,
        /// The key in the configuration.
        key: &'static str,
        /// Why.
        source: ListenError,
    },
    /// No transport could be set up.
    #[error(transparent)]
    Io(#[from] OpenError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The folder for Unix sockets cannot be made.
    #[error("cannot create {path} (listen.unix): {source}")]
    Unix {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    facts: Arc<Facts>,
    shared: Arc<Shared>,
    bells: Vec<Arc<Bell>>,
    threads: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
    admin: Option<Admin>,
}

/// Whether a node may create a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// The cluster is new: a node of the core makes its store.
    Create,
    /// The cluster is there: a node of the core has its store, or has lost it.
    Join,
    /// Most nodes of the core have lost their stores for good: it is restored from what this one knows.
    Restore,
}

impl Node {
    /// Starts a node. When this returns its doors are open; whether its groups serve depends on the other nodes.
    ///
    /// # Errors
    /// What is in the way, with what to do about it; nothing is left running.
    pub fn start(settings: Settings, birth: Birth) -> Result<Self, StartError> {
        let facts = Arc::new(make_facts(settings)?);
        let cpus: Vec<CpuId> = (0..facts.cpu_count).map(CpuId).collect();
        let bells: Vec<Arc<Bell>> = cpus.iter().map(|_| Bell::new()).collect();
        let shared = Arc::new(Shared {
            clients: DashMap::new(),
            channels: Channels::default(),
            password: RwLock::new(
                facts.settings.security().requirepass.as_ref().map(|secret| Password::new(secret.expose().as_bytes())),
            ),
            kills: Mutex::new(Vec::new()),
            kill_count: AtomicU64::new(0),
            denials: Mutex::new(VecDeque::new()),
            pause_until_us: AtomicU64::new(0),
            is_pause_for_writes: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            io: std::sync::OnceLock::new(),
            exchange: Exchange::new(&bells),
            counters: cpus.iter().map(|_| CachePadded::default()).collect(),
        });
        let mut links: Vec<Vec<Link>> = cpus.iter().map(|_| Vec::new()).collect();
        for one in 0..cpus.len() {
            for two in one + 1..cpus.len() {
                let (to_two, to_one) = Link::pair(cpus[one], cpus[two], [&bells[one], &bells[two]]);
                links[one].push(to_two);
                links[two].push(to_one);
            }
        }
        if let Some(path) = &facts.settings.listen().unix {
            let source = std::fs::create_dir_all(path);
            source.map_err(|source| StartError::Unix { path: path.clone(), source })?;
        }
        let mut node = Self { facts, shared, bells, threads: Vec::new(), control: None, admin: None };
        for (cpu, links) in cpus.into_iter().zip(links) {
            if let Err(error) = node.start_cpu(cpu, links) {
                node.stop();
                return Err(error);
            }
        }
        if let Err(error) = node.start_others(birth) {
            node.stop();
            return Err(error);
        }
        Ok(node)
    }

    /// Starts the threads beside the CPUs. The control thread creates things, so all doors are open before.
    fn start_others(&mut self, birth: Birth) -> Result<(), StartError> {
        let address = self.facts.settings.listen().admin;
        let listener = admin::listen(address).map_err(|source| {
            let source = transport::explain_listen(Address::Tcp(address), source);
            StartError::Listen { address: address.to_string(), key: "listen.admin", source }
        })?;
        self.start_control(birth)?;
        let admin = Admin::start(listener, Arc::clone(&self.facts), Arc::clone(&self.shared));
        self.admin = Some(admin.map_err(StartError::Thread)?);
        Ok(())
    }

    fn start_control(&mut self, birth: Birth) -> Result<(), StartError> {
        let (facts, shared) = (Arc::clone(&self.facts), Arc::clone(&self.shared));
        let nonce = draw().map_err(StartError::Random)?;
        let (started, has_started) = mpsc::channel();
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            match open_control(facts, shared, birth, nonce) {
                Ok((control, transport)) => {
                    let _ = started.send(Ok(()));
                    control.run(transport);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
        self.control = Some(thread.map_err(StartError::Thread)?);
        has_started.recv().unwrap_or(Ok(()))
    }

    fn start_cpu(&mut self, cpu: CpuId, links: Vec<Link>) -> Result<(), StartError> {
        let (facts, shared) = (Arc::clone(&self.facts), Arc::clone(&self.shared));
        let bell = Arc::clone(&self.bells[usize::from(cpu.0)]);
        let (started, has_started) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("cpu-{cpu}")).spawn(move || {
            match open_cpu(cpu, facts, shared, links, bell) {
                Ok(driver) => {
                    let _ = started.send(Ok(()));
                    driver.run();
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
        self.threads.push(thread.map_err(StartError::Thread)?);
        // A thread that ends without a word has panicked, and the process with it.
        has_started.recv().unwrap_or(Ok(()))
    }

    /// Returns what the node knows of itself.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns what moves data, and why.
    #[must_use]
    pub fn io(&self) -> Option<&Choice> {
        self.shared.io.get()
    }

    /// Stops the node: no new connections and requests, what is under way is finished (for as long as a request may
    /// take), then all threads end.
    pub fn stop(self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        for bell in &self.bells {
            bell.wake();
        }
        for thread in self.threads {
            // It panicked: the panic has been reported, and there is nothing left to stop.
            let _ = thread.join();
        }
        // Behind the CPUs: they may need a leader to finish what is under way.
        self.shared.exchange.end();
        if let Some(thread) = self.control {
            let _ = thread.join();
        }
        if let Some(admin) = self.admin {
            admin.stop();
        }
    }
}

fn make_facts(settings: Settings) -> Result<Facts, StartError> {
    let mut peer_doors = std::collections::BTreeMap::new();
    for peer in settings.peers() {
        let endpoint = &peer.peer;
        let resolved = (endpoint.host(), endpoint.port()).to_socket_addrs();
        let resolved = resolved.and_then(|mut addresses| {
            addresses.next().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        });
        let address = resolved.map_err(|source| StartError::Resolve {
            node: peer.id.0,
            endpoint: endpoint.to_string(),
            source,
        })?;
        peer_doors.insert(peer.id, address);
    }
    Ok(Facts::new(settings, clock::now(), peer_doors)?)
}

/// Name of the file in which a node of the core keeps what was agreed on.
const STORE_FILE: &str = "core.redb";

/// Returns what the node has to do with the core.
fn open_part(facts: &Facts, birth: Birth) -> Result<Part, StartError> {
    match (birth, facts.settings.is_core()) {
        (Birth::Create | Birth::Join, false) => Ok(Part::None),
        (Birth::Create, true) => Ok(Part::new(facts, open_store(facts, Use::Found)?)),
        (Birth::Join, true) => Ok(Part::new(facts, open_store(facts, Use::Join)?)),
        (Birth::Restore, false) => Err(StartError::RestoreElsewhere { node: facts.node.0 }),
        (Birth::Restore, true) => {
            let (path, identity) = store_of(facts);
            let store = Store::open(&path, &identity)?;
            let part = store.and_then(|store| Part::restoring(facts, store));
            part.ok_or(StartError::NothingToRestore { path })
        }
    }
}

/// Returns where a node of the core has its store, and whose it must be.
fn store_of(facts: &Facts) -> (PathBuf, Identity) {
    let path = facts.settings.node().data_dir.join(STORE_FILE);
    (path, Identity { cluster: facts.settings.cluster().id.clone(), node: facts.node })
}

/// Opens or creates the store of a node of the core.
fn open_store(facts: &Facts, usage: Use) -> Result<Store, StartError> {
    let (path, identity) = store_of(facts);
    match (Store::open(&path, &identity)?, usage) {
        (None, Use::Join) if facts.settings.core_nodes().len() == 1 => {
            Err(StartError::NotCreated { node: facts.node.0, path })
        }
        (None, _) => {
            let dir = &facts.settings.node().data_dir;
            let made = std::fs::create_dir_all(dir);
            made.map_err(|source| StoreError::Io { path: dir.clone(), source })?;
            Ok(Store::create(&path, &identity, usage)?)
        }
        (Some(store), Use::Join) => Ok(store),
        // Started without the word to create a cluster by mistake: it has said and heard nothing that counts.
        (Some(mut store), Use::Found) if store.era().is_none() && store.usage() == Use::Join => {
            store.set_usage(Use::Found);
            Ok(store)
        }
        (Some(_), Use::Found) => Err(StoreError::Exists { path }.into()),
    }
}

/// Opens everything that belongs to the control thread, on that thread.
fn open_control(
    facts: Arc<Facts>,
    shared: Arc<Shared>,
    birth: Birth,
    nonce: u64,
) -> Result<(Control, transport::AnyTransport), StartError> {
    // It sleeps most of the time, and moves little.
    let settings = TransportSettings { connections_max: 1024, ..TransportSettings::default() };
    let (mut transport, _) = transport::open(IoChoice::Mio, &settings)?;
    let listen = facts.settings.listen();
    let unix = listen.unix_socket(Door::Peer, None).map(Address::Unix);
    for address in [Address::Tcp(listen.base(Door::Peer))].into_iter().chain(unix) {
        let listener = transport.listen(&address, ListenOptions { port: PortSharing::Exclusive, ..Default::default() });
        listener.map_err(|source| StartError::Listen { address: address.to_string(), key: "listen.peer", source })?;
    }
    // Behind all doors: a start that fails because a port is taken creates nothing.
    let part = open_part(&facts, birth)?;
    let _ = shared.exchange.waker.set(transport.waker());
    Ok((Control::new(facts, shared, part, nonce, &settings), transport))
}

/// Opens everything that belongs to one CPU, on its own thread.
fn open_cpu(
    cpu: CpuId,
    facts: Arc<Facts>,
    shared: Arc<Shared>,
    links: Vec<Link>,
    bell: Arc<Bell>,
) -> Result<Driver, StartError> {
    if let Some(number) = facts.settings.node().cpus.pinned(usize::from(cpu.0)) {
        driver::pin(number);
    }
    let settings = transport_settings(&facts.settings);
    let choice = match facts.settings.node().io {
        Io::Auto => IoChoice::Auto,
        Io::Uring => IoChoice::Uring,
        Io::Mio => IoChoice::Mio,
    };
    let (mut transport, choice) = transport::open(choice, &settings)?;
    let _ = bell.waker.set(transport.waker());
    let _ = shared.io.set(choice);
    let mut state = Cpu::new(cpu, Arc::clone(&facts), Arc::clone(&shared), links, &settings);
    for (door, kind, key) in [
        (Door::Resp, DoorKind::Resp, "listen.resp"),
        (Door::Native, DoorKind::Native, "listen.native"),
        (Door::Peer, DoorKind::Peer, "listen.peer"),
    ] {
        for (address, port) in doors_of(&facts, door, cpu) {
            let options = ListenOptions { port, ..ListenOptions::default() };
            let listener = transport.listen(&address, options);
            let listener =
                listener.map_err(|source| StartError::Listen { address: address.to_string(), key, source })?;
            state.add_door(listener, kind);
        }
    }
    Ok(Driver::new(state, transport, bell, shared, facts.settings.node().poll))
}

/// Returns where one CPU listens: its own port, and for clients the base port, shared with the other CPUs.
fn doors_of(facts: &Facts, door: Door, cpu: CpuId) -> Vec<(Address, PortSharing)> {
    let listen = facts.settings.listen();
    let sharing = if facts.cpu_count == 1 { PortSharing::Exclusive } else { PortSharing::Shared };
    // The base of the peer door belongs to the control thread.
    let base = (door != Door::Peer).then(|| (Address::Tcp(listen.base(door)), sharing));
    // Sockets in the file system cannot be shared: the base one belongs to the first CPU.
    let has_base_socket = base.is_some() && cpu == CpuId(0);
    let base_socket = listen.unix_socket(door, None).filter(|_| has_base_socket);
    let mut doors: Vec<(Address, PortSharing)> = base.into_iter().collect();
    doors.push((Address::Tcp(listen.of_cpu(door, cpu)), PortSharing::Exclusive));
    doors.extend(base_socket.map(|path| (Address::Unix(path), PortSharing::Exclusive)));
    doors.extend(listen.unix_socket(door, Some(cpu)).map(|path| (Address::Unix(path), PortSharing::Exclusive)));
    doors
}

fn transport_settings(settings: &Settings) -> TransportSettings {
    let clients = u32::try_from(settings.limits().clients_len_max).unwrap_or(u32::MAX);
    let output = settings.limits().output_bytes_max;
    let default = TransportSettings::default();
    TransportSettings {
        connections_max: clients.saturating_add(64).min(1 << 20),
        send_bytes_max: output.max(default.send_high_bytes),
        ..default
    }
}

/// How long stopping may take beyond the time of a request.
pub const STOP_GRACE: Duration = Duration::from_millis(500);
