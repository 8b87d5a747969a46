//! Everything that acts: clocks, transports, the wire, the doors of the daemon, the client library and the command line.

mod admin;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
mod cpu;
mod driver;
pub mod feed;
pub mod local_cluster;
pub mod node;
pub mod resp;
pub mod transport;
pub mod wire;
