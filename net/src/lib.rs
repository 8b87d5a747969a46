//! Everything that acts: clocks, transports, the wire, and the daemon.

pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
mod cpu;
mod driver;
pub mod feed;
pub mod local_cluster;
pub mod node;
pub mod resp;
pub mod transport;
pub mod wire;
