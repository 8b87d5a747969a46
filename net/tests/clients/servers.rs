//! What the clients connect to: three nodes of ours, or one redis-server.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use quorate::local_cluster::{LocalCluster, LocalOptions, PortBase};

use crate::tools::{self, DEADLINE};

/// Starts three nodes that anyone on this machine may use.
pub(crate) fn cluster() -> LocalCluster {
    start(None)
}

/// Starts three nodes that ask for a password.
pub(crate) fn cluster_with_password(password: &str) -> LocalCluster {
    start(Some(password.to_owned()))
}

fn start(password: Option<String>) -> LocalCluster {
    let binary = Some(PathBuf::from(env!("CARGO_BIN_EXE_quorate")));
    let options = LocalOptions { binary, port_base: PortBase::Any, password, ..LocalOptions::default() };
    LocalCluster::start(&options).expect("three nodes start")
}

/// Returns the base RESP ports of all nodes.
pub(crate) fn ports(cluster: &LocalCluster) -> Vec<u16> {
    cluster.nodes().iter().map(|node| port_in(&node.resp_address())).collect()
}

fn port_in(address: &str) -> u16 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address ends with its port")
}

/// A redis-server without persistence, killed when dropped.
pub(crate) struct RedisServer {
    child: Child,
    pub(crate) port: u16,
}

impl RedisServer {
    /// Starts the one that is installed. `None`: there is none, and that was said.
    pub(crate) fn start() -> Option<Self> {
        let program = tools::find("redis-server")?;
        let started = (0..PORT_ATTEMPTS_MAX).find_map(|_| Self::start_at(&program, free_port()));
        Some(started.expect("one of several free ports can be had"))
    }

    /// `None`: somebody else took the port.
    fn start_at(program: &Path, port: u16) -> Option<Self> {
        let mut child = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir(std::env::temp_dir())
            .spawn()
            .expect("it is there");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let server = Self { child, port };
        let (sender, readiness) = channel();
        thread::spawn(move || {
            // Reads to the end, so that it can always print.
            for line in output.lines().map_while(Result::ok) {
                if line.contains("Ready to accept connections") {
                    let _ = sender.send(());
                }
            }
        });
        match readiness.recv_timeout(DEADLINE) {
            Ok(()) => Some(server),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("redis-server is not ready"),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    listener.local_addr().expect("it is bound").port()
}

const PORT_ATTEMPTS_MAX: u32 = 10;
