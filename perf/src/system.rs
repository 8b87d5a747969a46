//! The systems that can be measured: their names, what they need, and how to start one.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::clock::OsClock;
use crate::floor;
use crate::load::{Driver, Generator};
use crate::process::{Process, TempFolder};

/// What every system is asked to do.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Path of this program, which also plays the nodes of the floor.
    pub harness: PathBuf,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Most requests in flight at once.
    pub window: u32,
    /// Nodes, an odd number from 3.
    pub nodes: u16,
    /// Sockets between the processes, where the system has a choice.
    pub transport: Transport,
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
    /// TCP over loopback.
    Tcp,
    /// Unix sockets.
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

/// Checks what all systems ask of a setup.
///
/// # Errors
/// The number of nodes is not 3 or 5, or a value is too large for every system.
pub fn check(setup: &Setup) -> Result<()> {
    ensure!(setup.nodes == 3 || setup.nodes == 5, "{} nodes: choose 3 or 5", setup.nodes);
    ensure!(setup.value_bytes <= VALUE_BYTES_MAX, "values of {} bytes: at most {VALUE_BYTES_MAX}", setup.value_bytes);
    Ok(())
}

/// Starts the floor.
///
/// # Errors
/// A process does not start or does not become ready.
pub fn start_floor(setup: &Setup) -> Result<Running> {
    check(setup)?;
    floor::start(setup)
}

/// Largest value of any system.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys written in turn.
pub const KEYS: u64 = 1_000;
