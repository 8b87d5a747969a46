//! The processes of the floor: a leader and its followers, each one loop over non-blocking sockets.
//!
//! # Bounds
//! A follower that does not read lets the leader hold at most `BACKLOG_BYTES_MAX` for it, then the leader stops
//! reading from its client.

use std::io::{Write, stdout};

use anyhow::{Context, Result};

use super::{answer, take_last_answer};
use crate::connection::{Address, Connection, Listener};
use crate::load::DriverError;

/// What a leader needs.
#[derive(Clone, Debug, clap::Args)]
pub struct LeaderOptions {
    /// Where to listen for the client.
    #[arg(long)]
    pub listen: Address,
    /// Where each follower listens.
    #[arg(long = "follower")]
    pub followers: Vec<Address>,
    /// Nodes that must hold a request before it is answered, this one included.
    #[arg(long)]
    pub write_quorum: usize,
    /// Bytes of each request.
    #[arg(long)]
    pub request_bytes: u64,
}

/// What a follower needs.
#[derive(Clone, Debug, clap::Args)]
pub struct FollowerOptions {
    /// Where to listen for the leader.
    #[arg(long)]
    pub listen: Address,
    /// Bytes of each request.
    #[arg(long)]
    pub request_bytes: u64,
}

/// Serves one client until it leaves.
///
/// # Errors
/// A socket cannot be opened, or fails.
pub fn lead(options: &LeaderOptions) -> Result<()> {
    let followers = options
        .followers
        .iter()
        .map(|address| {
            let connection =
                Connection::connect(address).with_context(|| format!("cannot connect to follower {address}"))?;
            Ok(Follower { connection, answered: 0 })
        })
        .collect::<Result<Vec<_>>>()?;
    assert!((2..=followers.len() + 1).contains(&options.write_quorum), "write quorum of {}", options.write_quorum);
    let client = accept_one(&options.listen)?;
    let ranked = vec![0; followers.len()];
    let mut leader = Leader { client, followers, ranked, quorum: options.write_quorum - 1, answered: 0 };
    run_until_closed(|| leader.turn())
}

/// Answers one leader until it leaves.
///
/// # Errors
/// A socket cannot be opened, or fails.
pub fn follow(options: &FollowerOptions) -> Result<()> {
    let mut leader = accept_one(&options.listen)?;
    let (mut taken_bytes, mut answered) = (0_u64, 0);
    run_until_closed(|| {
        leader.flush()?;
        let read = leader.fill()?;
        leader.consume(read);
        taken_bytes += read as u64;
        let count = taken_bytes / options.request_bytes;
        if count > answered {
            leader.send(&answer(count))?;
            answered = count;
        }
        Ok(read > 0)
    })
}

struct Leader {
    client: Connection,
    followers: Vec<Follower>,
    ranked: Vec<u64>,
    /// Followers that must have answered.
    quorum: usize,
    answered: u64,
}

struct Follower {
    connection: Connection,
    answered: u64,
}

impl Leader {
    /// Forwards, collects answers, answers; says whether anything happened.
    fn turn(&mut self) -> Result<bool, DriverError> {
        let mut busy = self.forward()?;
        for (follower, ranked) in self.followers.iter_mut().zip(&mut self.ranked) {
            busy |= follower.connection.fill()? > 0;
            if let Some(count) = take_last_answer(&mut follower.connection) {
                follower.answered = count;
            }
            *ranked = follower.answered;
        }
        self.ranked.sort_unstable();
        let held = self.ranked[self.ranked.len() - self.quorum];
        self.client.flush()?;
        if held > self.answered {
            self.answered = held;
            self.client.send(&answer(held))?;
        }
        Ok(busy)
    }

    fn forward(&mut self) -> Result<bool, DriverError> {
        for follower in &mut self.followers {
            follower.connection.flush()?;
        }
        if self.followers.iter().any(|follower| follower.connection.queued_bytes() > BACKLOG_BYTES_MAX) {
            return Ok(false);
        }
        let read = self.client.fill()?;
        if read > 0 {
            for follower in &mut self.followers {
                follower.connection.send(self.client.received())?;
            }
            self.client.consume(read);
        }
        Ok(read > 0)
    }
}

fn accept_one(listen: &Address) -> Result<Connection> {
    let listener = Listener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    writeln!(stdout(), "{}", listener.address()?).context("cannot say where this node listens")?;
    listener.accept().context("cannot accept")
}

/// Runs turns, yielding after each empty one, until the other side closes.
fn run_until_closed(mut turn: impl FnMut() -> Result<bool, DriverError>) -> Result<()> {
    loop {
        match turn() {
            Ok(true) => {}
            Ok(false) => std::thread::yield_now(),
            Err(DriverError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Bytes held for one follower.
const BACKLOG_BYTES_MAX: usize = 64 << 20;
