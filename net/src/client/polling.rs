//! The client that never waits: the caller's own loop submits, polls, and does something else when nothing came.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use quorate_engine::ids::GroupId;
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::Command;
use quorate_engine::slots::SlotMap;
use quorate_engine::time::Instant;

use super::connection::Connection;
use super::door::Doors;
use super::window::{Completions, Next, Window};
use super::{
    ClientOptions, Cluster, Completion, ConnectError, Outcome, RefusedBy, Submission, SubmitError, Ticket, Token,
    UnknownCause, now,
};
use crate::wire::{About, Body, Certainty, Frame, Level, Refusal, RefusalCode, Reply};

/// A client driven by its caller.
///
/// ```no_run
/// use quorate::client::{polling::Client, ClientOptions, Outcome};
/// use quorate_engine::machine::command::{Command, Op};
///
/// let mut client = Client::connect(ClientOptions::default())?;
/// let ticket = client.submit(&Command { value: b"100.25", ..Command::new(Op::Set, b"px:ACME") })?;
/// let mut is_done = false;
/// while !is_done {
///     let count = client.poll(|completion| match completion.outcome {
///         Outcome::Done { token, .. } => {
///             assert_eq!(completion.ticket, ticket);
///             println!("a quorum holds entry {} of group {}", token.index, token.group);
///             is_done = true;
///         }
///         other => panic!("{other:?}"),
///     });
///     if count == 0 {
///         std::thread::yield_now();
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    doors: Doors,
    connection: Option<Connection>,
    cluster: Option<Cluster>,
    map: Option<SlotMap>,
    window: Window,
    overload_count: u64,
}

impl Client {
    /// Creates a client that begins to connect with the first poll. Commands can be submitted at once.
    ///
    /// Waits for the name service, if an address is a name.
    ///
    /// # Errors
    /// The options cannot be used, or a name has no address.
    pub fn start(options: ClientOptions) -> Result<Self, ConnectError> {
        options.check()?;
        Ok(Self {
            doors: Doors::resolve(&options.addresses)?,
            connection: None,
            cluster: None,
            map: None,
            window: Window::new(options.window),
            overload_count: 0,
            options,
        })
    }

    /// Creates a client and waits until it is connected, at most [`ClientOptions::connect_timeout`].
    ///
    /// # Errors
    /// As [`Client::start`]. What trying again cannot help, such as a wrong password, is returned at once; when the time
    /// is up, the end of the last attempt.
    pub fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        let mut client = Self::start(options)?;
        let deadline = now().saturating_add(client.options.connect_timeout);
        while !client.is_connected() {
            client.poll(|_| ());
            let is_over = now() >= deadline;
            let error = client.doors.last_error().filter(|error| is_over || error.is_permanent());
            if error.is_some() {
                return Err(client.doors.take_error().expect("it was looked at in the line above"));
            }
            if is_over {
                let (address, timeout) = (client.options.addresses[0].clone(), client.options.connect_timeout);
                return Err(ConnectError::Silent { address, timeout });
            }
            if !client.is_connected() {
                client.wait(deadline.since(now()));
            }
        }
        Ok(client)
    }

    /// Queues a command, to be answered when it is committed. It leaves with the next poll.
    ///
    /// # Errors
    /// `Full`: poll, and submit it again. `TooLarge`: it never can be.
    pub fn submit(&mut self, command: &Command<'_>) -> Result<Ticket, SubmitError> {
        self.submit_with(&Submission::new(*command))
    }

    /// Queues a command with options.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub fn submit_with(&mut self, submission: &Submission<'_>) -> Result<Ticket, SubmitError> {
        self.options.check_command(&submission.command)?;
        let timeout = submission
            .timeout
            .map_or(self.options.request_timeout, |timeout| timeout.min(self.options.request_timeout));
        self.window.submit(submission, timeout)
    }

    /// Queues a question for the state of the node at the other end.
    ///
    /// # Errors
    /// `Full`: poll, and submit it again.
    pub fn submit_status(&mut self) -> Result<Ticket, SubmitError> {
        self.window.submit_status(self.options.request_timeout)
    }

    /// Sends what is queued, takes what has come, and passes on what ended. Never waits. Returns how many commands ended.
    ///
    /// Cost: one write if something is queued, one read; no allocation in steady state.
    pub fn poll(&mut self, mut on_completion: impl FnMut(Completion<'_>)) -> usize {
        let mut count = 0;
        let mut completions = |completion: Completion<'_>| {
            count += 1;
            on_completion(completion);
        };
        let now = now();
        self.window.advance(now, &mut completions);
        if let Err(error) = self.exchange(now, &mut completions) {
            self.connection = None;
            self.doors.record_end(now, error, &self.options.backoff);
            self.window.lose_connection(&mut completions);
        }
        count
    }

    /// Waits until something may have come, or something falls due, or `timeout` has passed. Returns at once if
    /// something is queued that the next poll can send.
    pub fn wait(&self, timeout: Duration) {
        if self.window.has_queued() && self.connection.as_ref().is_some_and(Connection::has_room) {
            return;
        }
        let now = now();
        let until = self.wake_at().map_or(timeout, |wake_at| wake_at.since(now).min(timeout));
        // In whole milliseconds, rounded up: waking too early would spin.
        let until = PollTimeout::try_from(until.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX);
        let Some(connection) = &self.connection else {
            // An error can only be a signal: then we are merely early.
            let _ = poll(&mut [], until);
            return;
        };
        let mut flags = PollFlags::POLLIN;
        if connection.wants_write() {
            flags |= PollFlags::POLLOUT;
        }
        let _ = poll(&mut [PollFd::new(connection.as_fd(), flags)], until);
    }

    /// Whether a connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_up)
    }

    /// Returns how many commands are outstanding.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.window.len()
    }

    /// Returns how often a node has said that it was overloaded and the command was tried again.
    #[must_use]
    pub fn overload_count(&self) -> u64 {
        self.overload_count
    }

    /// Returns what the node last connected to said about the cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Returns why the last connection or attempt ended.
    #[must_use]
    pub fn last_error(&self) -> Option<&ConnectError> {
        self.doors.last_error()
    }

    /// Returns the group that owns `key`, once a connection has stood.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> Option<GroupId> {
        self.map.map(|map| map.group_of(quorate_engine::slots::slot_of(key)))
    }

    fn wake_at(&self) -> Option<Instant> {
        let attempt = self.connection.is_none().then(|| self.doors.due_at());
        self.window.wake_at().into_iter().chain(attempt).min()
    }

    /// Moves the connection on: opens it, sends, receives. An error is its end.
    fn exchange(&mut self, now: Instant, completions: Completions<'_>) -> Result<(), ConnectError> {
        if self.connection.is_none() {
            let Some(door) = self.doors.due(now) else { return Ok(()) };
            self.connection = Some(Connection::open(door, &self.options, now)?);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.advance(now)?;
        if let Some(map) = self.map {
            while let Some(out) = connection.output() {
                let Next::Written = self.window.send_next(out, map, now) else { break };
            }
        }
        connection.flush()?;
        let (window, overload_count, backoff) = (&mut self.window, &mut self.overload_count, self.options.backoff);
        let greeted = connection.receive(&self.options, |frame| match outcome_of(&frame) {
            Some((number, Verdict::Ended(outcome))) => window.complete(number, outcome, completions),
            Some((number, Verdict::TryAgain { hint })) => {
                *overload_count += 1;
                window.pause(number, now, |number, attempt| backoff.pause(hint, number, attempt));
            }
            None => (),
        })?;
        if let Some(cluster) = greeted {
            // Checked where it was decoded: 1 to 16384 partitions.
            self.map = SlotMap::new(cluster.partitions);
            self.cluster = Some(cluster);
            self.doors.record_success();
        }
        if let Some(error) = connection.farewell().filter(|_| !self.window.awaits_answer()) {
            return Err(error);
        }
        Ok(())
    }
}

/// What a frame means for a command.
enum Verdict<'a> {
    /// It has ended.
    Ended(Outcome<'a>),
    /// It certainly did not happen, and may a little later.
    TryAgain {
        /// How much later, as the node has it.
        hint: Duration,
    },
}

/// Returns which command a frame is about and what it means; `None` for frames about none.
fn outcome_of<'a>(frame: &Frame<'a>) -> Option<(u64, Verdict<'a>)> {
    match frame.body {
        Body::Reply(reply) => Some((reply.head.number, Verdict::Ended(outcome_of_reply(frame.about, reply)?))),
        Body::Refusal(refusal) => Some((refusal.number, outcome_of_refusal(refusal))),
        Body::StatusReply(reply) => Some((reply.number, Verdict::Ended(Outcome::Status { json: reply.json }))),
        Body::Hello(_)
        | Body::Welcome(_)
        | Body::Reject(_)
        | Body::Message(_)
        | Body::Request(_)
        | Body::Publish(_)
        | Body::Status(_)
        | Body::Control(_) => None,
    }
}

fn outcome_of_reply(about: About, reply: Reply<'_>) -> Option<Outcome<'_>> {
    let (index, loss_gen) = (reply.head.index, reply.head.loss_gen);
    let token = Token { group: about.group, epoch: about.epoch, index, loss_gen };
    match reply.head.level {
        Level::Accepted => Some(Outcome::Accepted { token }),
        Level::Commit => Answer::read(reply.answer).map(|(answer, _)| Outcome::Done { token, answer }),
    }
}

fn outcome_of_refusal(refusal: Refusal<'_>) -> Verdict<'_> {
    match (refusal.certainty, refusal.code) {
        (Certainty::Never, RefusalCode::Overload) => {
            Verdict::TryAgain { hint: Duration::from_micros(refusal.details[0]) }
        }
        // Somebody else takes over, or has.
        (Certainty::Never, RefusalCode::Stopping | RefusalCode::NotLeader) => {
            Verdict::TryAgain { hint: Duration::ZERO }
        }
        (Certainty::Never, code) => {
            Verdict::Ended(Outcome::Refused(RefusedBy { code, details: refusal.details, text: refusal.text }))
        }
        (Certainty::Unknown, code) => Verdict::Ended(Outcome::Unknown(UnknownCause::Node(code))),
    }
}
