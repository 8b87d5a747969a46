//! The price of the kernel: the processes and sockets of a quorum write, which only forward bytes.
//!
//! ```text
//! client ──request──▶ leader ──the same bytes──▶ followers
//!        ◀──answer───        ◀──32-byte answer──
//! ```
//! The leader forwards what it read in one write per follower, a follower answers each read with one cumulative answer,
//! and the leader answers the client when the number of followers that a write quorum needs has answered: with three
//! nodes the first. No parsing, no log, no state: whatever a replicated system costs beyond this is its own work.
//!
//! A request is a 32-byte header and the value; an answer is 32 bytes, of which the first eight count the requests
//! answered so far (little endian). Answers are cumulative on both legs, so with a deep window this is a bound that a
//! protocol with one reply per request cannot reach.
//!
//! # Threads
//! One per process; each loop yields the CPU on every empty turn and never sleeps.

mod node;

use anyhow::{Context, Result};

use crate::connection::{Address, Connection};
use crate::load::{Admission, Completion, Driver, DriverError, Outcome, RequestId};
use crate::process::{Process, Program, TempFolder};
use crate::system::{Running, Setup, Transport};
pub use node::{FollowerOptions, LeaderOptions, follow, lead};

/// Starts the processes and connects the client.
///
/// # Errors
/// A process does not start, or the client cannot connect.
pub fn start(setup: &Setup) -> Result<Running> {
    let folder = TempFolder::new()?;
    let request_bytes = HEADER_BYTES + setup.value_bytes;
    let mut processes = Vec::new();
    let mut leader = Program::new(&setup.harness)
        .words(&format!("floor-node lead --request-bytes {request_bytes} --write-quorum {}", setup.write_quorum()));
    for index in 1..setup.nodes {
        let program = Program::new(&setup.harness)
            .words(&format!("floor-node follow --request-bytes {request_bytes} --listen"))
            .arg(listen_address(setup, &folder, index));
        let name = format!("follower-{index}");
        let (process, address) = Process::start_announcing(&setup.harness, &name, &program, folder.path())?;
        processes.push(process);
        leader = leader.arg("--follower").arg(address);
    }
    leader = leader.arg("--listen").arg(listen_address(setup, &folder, 0));
    let (process, address) = Process::start_announcing(&setup.harness, "leader", &leader, folder.path())?;
    processes.push(process);
    let address: Address = address.parse().context("the leader's first line is not an address")?;
    let connection = Connection::connect(&address).context("cannot connect to the leader")?;
    let driver = FloorDriver { connection, request: vec![0x5A; request_bytes], sent: 0, answered: 0 };
    let note = format!("{request_bytes} B requests, 32 B cumulative answers");
    Ok(Running::new(Box::new(driver), processes, folder, note))
}

fn listen_address(setup: &Setup, folder: &TempFolder, index: u16) -> String {
    match setup.transport {
        Transport::Tcp => "127.0.0.1:0".to_owned(),
        Transport::Unix => Address::Unix(folder.path().join(format!("{index}.sock"))).to_string(),
    }
}

struct FloorDriver {
    connection: Connection,
    request: Vec<u8>,
    sent: u64,
    answered: u64,
}

impl Driver for FloorDriver {
    fn try_send(&mut self, request: RequestId) -> Result<Admission, DriverError> {
        if !self.connection.has_room() {
            return Ok(Admission::Full);
        }
        assert_eq!(request.0, self.sent, "requests come in order");
        self.connection.queue(&self.request);
        self.sent += 1;
        Ok(Admission::Accepted)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<(), DriverError> {
        self.connection.flush()?;
        self.connection.fill()?;
        let Some(answered) = take_last_answer(&mut self.connection) else { return Ok(()) };
        if answered < self.answered || answered > self.sent {
            return Err(DriverError::Malformed { protocol: "floor", what: "answer out of order" });
        }
        let done = (self.answered..answered).map(|id| Completion { request: RequestId(id), outcome: Outcome::Done });
        completions.extend(done);
        self.answered = answered;
        Ok(())
    }

    fn first_refusal(&self) -> Option<&str> {
        None
    }
}

/// Takes every complete answer that was received and returns the count of the last one.
fn take_last_answer(connection: &mut Connection) -> Option<u64> {
    let received = connection.received();
    let end = received.len() / ANSWER_BYTES * ANSWER_BYTES;
    let (count, _) = received[..end].last_chunk::<ANSWER_BYTES>()?.split_first_chunk::<8>()?;
    let count = u64::from_le_bytes(*count);
    connection.consume(end);
    Some(count)
}

fn answer(count: u64) -> [u8; ANSWER_BYTES] {
    let mut bytes = [0; ANSWER_BYTES];
    bytes[..8].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// Bytes before the value in a request.
const HEADER_BYTES: usize = 32;
const ANSWER_BYTES: usize = 32;
