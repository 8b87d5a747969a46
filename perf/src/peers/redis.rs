//! Redis: one server, or a primary with two replicas and `WAIT`.
//!
//! `WAIT 1` says that one replica has received the write: two copies in memory, as a write quorum of two. It is not a
//! consensus: a failover may still choose the other replica. Persistence is off everywhere.

use anyhow::{Result, ensure};

use crate::connection::Address;
use crate::process::{Process, Program, TempFolder, await_ready, free_ports};
use crate::resp::{Promise, RespDriver, call};
use crate::system::{Running, Setup};

/// How Redis is asked to replicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One server, SET alone.
    Set,
    /// Two replicas, SET and `WAIT` for every write.
    Wait,
    /// Two replicas, one `WAIT` for all SETs in flight.
    WaitWindow,
}

/// Starts the servers, waits until the replicas are in step, and connects.
pub(crate) fn start(program: &Program, setup: &Setup, way: Way) -> Result<Running> {
    let replicas = if way == Way::Set { 0 } else { setup.nodes - 1 };
    let folder = TempFolder::in_memory()?;
    let ports = free_ports(replicas + 1, 1, 1)?;
    let mut processes = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let mut program = program
            .clone()
            .words(&format!("--bind 127.0.0.1 --port {port} --daemonize no --appendonly no --loglevel warning --save"))
            .arg("")
            .words("--repl-diskless-sync yes --repl-diskless-sync-delay 0 --dir")
            .arg(folder.path());
        if index > 0 {
            program = program.words(&format!("--replicaof 127.0.0.1 {}", ports[0]));
        }
        processes.push(Process::start(&setup.harness, &format!("redis-{index}"), &program, folder.path())?);
    }
    let primary = Address::Tcp(([127, 0, 0, 1], ports[0]).into());
    await_ready("redis", &mut processes, || ensure_replicated(&primary, replicas))?;
    let needed = setup.write_quorum() - 1;
    let (connections, promise, note) = match way {
        Way::Set => (1, Promise::Reply, "one server, no replication".to_owned()),
        Way::Wait => {
            let connections = setup.window.map_or(CONNECTIONS_MAX, |window| window.min(CONNECTIONS_MAX));
            let note = format!("WAIT {needed} after each SET, connections: {connections}; not a consensus");
            (connections, Promise::WaitEach(needed), note)
        }
        Way::WaitWindow => {
            (1, Promise::WaitBatch(needed), format!("one WAIT {needed} for all SETs in flight; not a consensus"))
        }
    };
    let driver = RespDriver::connect(&primary, connections as usize, &setup.value(), promise)?;
    Ok(Running::new(Box::new(driver), processes, folder, note))
}

/// Checks that every replica is online and confirms a write.
fn ensure_replicated(primary: &Address, replicas: u16) -> Result<()> {
    let info = call(primary, &["INFO", "replication"])?;
    let online = info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online")).count();
    ensure!(online == usize::from(replicas), "{online} of {replicas} replicas are online");
    if replicas > 0 {
        let confirmed = call(primary, &["WAIT", &replicas.to_string(), "1000"])?;
        ensure!(confirmed == replicas.to_string(), "{confirmed} of {replicas} replicas confirm");
    }
    Ok(())
}

/// Connections over which a `WAIT` for every write is spread: each blocks its own.
const CONNECTIONS_MAX: u32 = 64;
