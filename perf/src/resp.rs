//! The RESP client: pipelined SETs with the replication promise a system is asked for, every reply checked.
//!
//! Quorate's RESP door and Redis are driven by the same code. A promise can be part of the SET's own reply (quorate, or a
//! Redis that promises nothing), or be asked for with `WAIT`: after every SET, or once for all SETs sent since the last
//! `WAIT` was answered. A request whose SET is done completes when the `WAIT` that covers it says enough replicas.
//!
//! `WAIT` blocks its connection, so a `WAIT` after every SET is spread over several connections; they are polled through
//! epoll then, and a single connection is simply read.
//!
//! # Bounds
//! A reply line is at most `LINE_BYTES_MAX` long; longer ones end the run.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::connection::{Address, Connection};
use crate::load::{Admission, Completion, Driver, DriverError, Outcome, RequestId};
use crate::system::{KEY_BYTES, write_key};

/// What makes a SET count as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Its own reply.
    Reply,
    /// A `WAIT` for this many replicas, sent after every SET.
    WaitEach(u16),
    /// A `WAIT` for this many replicas that covers all SETs before it; the next is sent when it is answered.
    WaitBatch(u16),
}

/// Sends SETs in turn over some connections.
#[derive(Debug)]
pub struct RespDriver {
    connections: Vec<Door>,
    /// None with a single connection.
    readiness: Option<Readiness>,
    set: SetCommand,
    wait: Vec<u8>,
    promise: Promise,
    next: usize,
    refusal: Option<String>,
}

impl RespDriver {
    /// Connects `count` times, at least once.
    ///
    /// # Errors
    /// A connection is refused.
    pub fn connect(address: &Address, count: usize, value: &[u8], promise: Promise) -> Result<Self> {
        assert!(count > 0, "a client has at least one connection");
        let connections = (0..count)
            .map(|_| Connection::connect(address).map(Door::new))
            .collect::<std::io::Result<Vec<_>>>()
            .with_context(|| format!("cannot connect to {address}"))?;
        let readiness = if count > 1 { Some(Readiness::new(&connections)?) } else { None };
        let wait = match promise {
            Promise::Reply => Vec::new(),
            Promise::WaitEach(replicas) | Promise::WaitBatch(replicas) => encode(&["WAIT", &replicas.to_string(), "0"]),
        };
        Ok(Self { connections, readiness, set: SetCommand::new(value), wait, promise, next: 0, refusal: None })
    }
}

impl Driver for RespDriver {
    fn try_send(&mut self, request: RequestId) -> Result<Admission, DriverError> {
        let door = &mut self.connections[self.next];
        if !door.connection.has_room() {
            return Ok(Admission::Full);
        }
        door.connection.queue(self.set.with_key_of(request));
        if matches!(self.promise, Promise::WaitEach(_)) {
            door.connection.queue(&self.wait);
        }
        door.sent.push_back(request);
        self.next = (self.next + 1) % self.connections.len();
        Ok(Admission::Accepted)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<(), DriverError> {
        for door in &mut self.connections {
            if matches!(self.promise, Promise::WaitBatch(_)) {
                door.queue_wait(&self.wait);
            }
            door.connection.flush()?;
        }
        let ready = match &mut self.readiness {
            None => &[0][..],
            Some(readiness) => readiness.poll()?,
        };
        for index in ready {
            let door = &mut self.connections[*index];
            door.connection.fill()?;
            door.take_replies(self.promise, completions, &mut self.refusal)?;
        }
        Ok(())
    }

    fn first_refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// One connection and the requests in flight on it, in order.
#[derive(Debug)]
struct Door {
    connection: Connection,
    /// SETs without a reply.
    sent: VecDeque<RequestId>,
    /// SETs with a reply whose `WAIT` is not answered.
    covered: VecDeque<Completion>,
    /// `WaitBatch`: replies of SETs that come before the reply of the `WAIT` in flight.
    wait_after: Option<usize>,
}

impl Door {
    fn new(connection: Connection) -> Self {
        Self { connection, sent: VecDeque::new(), covered: VecDeque::new(), wait_after: None }
    }

    /// Queues a `WAIT` for everything that has none, unless one is in flight. SETs that were sent while the last one was
    /// in flight may have their replies already, so what is still without a reply does not tell.
    fn queue_wait(&mut self, wait: &[u8]) {
        let has_uncovered = !self.sent.is_empty() || !self.covered.is_empty();
        if self.wait_after.is_none() && has_uncovered {
            self.wait_after = Some(self.sent.len());
            self.connection.queue(wait);
        }
    }

    fn take_replies(
        &mut self,
        promise: Promise,
        completions: &mut Vec<Completion>,
        refusal: &mut Option<String>,
    ) -> Result<(), DriverError> {
        let mut taken = 0;
        while let Some((reply, len)) = parse(&self.connection.received()[taken..])? {
            taken += len;
            if refusal.is_none()
                && let Reply::Error(text) = reply
            {
                *refusal = Some(String::from_utf8_lossy(text).into_owned());
            }
            let answers_wait = match promise {
                Promise::Reply => false,
                Promise::WaitEach(_) => !self.covered.is_empty(),
                Promise::WaitBatch(_) => self.wait_after == Some(0),
            };
            if answers_wait {
                self.wait_after = None;
                let kept = is_kept(promise, &reply);
                for mut completion in self.covered.drain(..) {
                    if !kept {
                        completion.outcome = Outcome::Refused;
                    }
                    completions.push(completion);
                }
                continue;
            }
            let Some(request) = self.sent.pop_front() else {
                return Err(DriverError::Malformed { protocol: PROTOCOL, what: "reply to no command" });
            };
            let outcome = if reply == Reply::Simple(b"OK") { Outcome::Done } else { Outcome::Refused };
            let completion = Completion { request, outcome };
            match promise {
                Promise::Reply => completions.push(completion),
                Promise::WaitEach(_) | Promise::WaitBatch(_) => self.covered.push_back(completion),
            }
            self.wait_after = self.wait_after.map(|count| count - 1);
        }
        self.connection.consume(taken);
        Ok(())
    }
}

fn is_kept(promise: Promise, reply: &Reply<'_>) -> bool {
    match (promise, reply) {
        (Promise::WaitEach(needed) | Promise::WaitBatch(needed), Reply::Integer(count)) => *count >= i64::from(needed),
        _ => false,
    }
}

/// Which of several connections have something to read.
#[derive(Debug)]
struct Readiness {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    ready: Vec<usize>,
}

impl Readiness {
    fn new(connections: &[Door]) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot make an epoll")?;
        for (index, door) in connections.iter().enumerate() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            epoll.add(&door.connection, event).context("cannot watch a connection")?;
        }
        let events = vec![EpollEvent::empty(); connections.len()];
        Ok(Self { epoll, events, ready: Vec::with_capacity(connections.len()) })
    }

    fn poll(&mut self) -> Result<&[usize], DriverError> {
        let count = match self.epoll.wait(&mut self.events, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(DriverError::Io(error.into())),
        };
        self.ready.clear();
        let ready = self.events[..count].iter();
        self.ready.extend(ready.map(|event| usize::try_from(event.data()).expect("registered as an index")));
        Ok(&self.ready)
    }
}

/// An encoded SET whose key is written in place.
#[derive(Debug)]
struct SetCommand {
    bytes: Vec<u8>,
    key_at: usize,
}

impl SetCommand {
    fn new(value: &[u8]) -> Self {
        let mut bytes = format!("*3\r\n$3\r\nSET\r\n${KEY_BYTES}\r\n").into_bytes();
        let key_at = bytes.len();
        bytes.extend_from_slice(&[0; KEY_BYTES]);
        bytes.extend_from_slice(format!("\r\n${}\r\n", value.len()).as_bytes());
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
        Self { bytes, key_at }
    }

    fn with_key_of(&mut self, request: RequestId) -> &[u8] {
        let key = self.bytes[self.key_at..].first_chunk_mut().expect("the key lies inside the command");
        write_key(key, request);
        &self.bytes
    }
}

/// One reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+text`
    Simple(&'a [u8]),
    /// `-text`
    Error(&'a [u8]),
    /// `:number`
    Integer(i64),
    /// `$length` and bytes.
    Bulk(&'a [u8]),
    /// `$-1` or `_`
    Null,
}

/// Parses one reply and returns it with its length; none if it is not complete.
///
/// # Errors
/// Not a reply of a kind that answers the commands sent here.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, DriverError> {
    const MALFORMED: DriverError = DriverError::Malformed { protocol: PROTOCOL, what: "reply" };
    if bytes.starts_with(b"+OK\r\n") {
        return Ok(Some((Reply::Simple(b"OK"), 5)));
    }
    let Some(end) = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\r') else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err(MALFORMED) };
    };
    let Some(newline) = bytes.get(end + 1) else { return Ok(None) };
    if *newline != b'\n' || end == 0 {
        return Err(MALFORMED);
    }
    let len = end + 2;
    let text = &bytes[1..end];
    match bytes[0] {
        b'+' => Ok(Some((Reply::Simple(text), len))),
        b'-' => Ok(Some((Reply::Error(text), len))),
        b'_' => Ok(Some((Reply::Null, len))),
        b':' => Ok(Some((Reply::Integer(number(text).ok_or(MALFORMED)?), len))),
        b'$' => {
            let size = number(text).ok_or(MALFORMED)?;
            let Ok(size) = usize::try_from(size) else { return Ok(Some((Reply::Null, len))) };
            if size > BULK_BYTES_MAX {
                return Err(MALFORMED);
            }
            let whole = len + size + 2;
            if bytes.len() < whole {
                return Ok(None);
            }
            Ok(Some((Reply::Bulk(&bytes[len..len + size]), whole)))
        }
        _ => Err(MALFORMED),
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Encodes a command as an array of bulk strings.
#[must_use]
pub fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// Sends one command and waits for its reply as text; for set-up, not for load.
///
/// # Errors
/// No connection, an error reply, or no reply within [`CALL_WITHIN`].
pub fn call(address: &Address, words: &[&str]) -> Result<String> {
    let mut connection = Connection::connect(address)?;
    connection.queue(&encode(words));
    let deadline = Instant::now() + CALL_WITHIN;
    while Instant::now() < deadline {
        connection.flush()?;
        connection.fill()?;
        if let Some((reply, _)) = parse(connection.received())? {
            return match reply {
                Reply::Simple(text) | Reply::Bulk(text) => Ok(String::from_utf8_lossy(text).into_owned()),
                Reply::Integer(value) => Ok(value.to_string()),
                Reply::Null => Ok(String::new()),
                Reply::Error(text) => bail!("{}: {}", words[0], String::from_utf8_lossy(text)),
            };
        }
        std::thread::yield_now();
    }
    bail!("no reply to {} within {CALL_WITHIN:?}", words[0])
}

const PROTOCOL: &str = "RESP";
/// Longest reply line.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Longest bulk reply; set-up only reads some of INFO.
const BULK_BYTES_MAX: usize = 128 << 10;
/// How long a single command of the set-up may take.
pub const CALL_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Listener;

    /// A driver, and the other end of its only connection.
    fn driver(promise: Promise) -> (RespDriver, Connection) {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let driver = RespDriver::connect(&listener.address().unwrap(), 1, b"value", promise).unwrap();
        (driver, listener.accept().unwrap())
    }

    fn send(driver: &mut RespDriver, first: u64, last: u64) {
        for id in first..=last {
            assert_eq!(driver.try_send(RequestId(id)).unwrap(), Admission::Accepted);
        }
        assert_eq!(poll(driver), []);
    }

    fn poll(driver: &mut RespDriver) -> Vec<(u64, Outcome)> {
        let mut completions = Vec::new();
        driver.poll(&mut completions).unwrap();
        completions.iter().map(|completion| (completion.request.0, completion.outcome)).collect()
    }

    /// Polls until `count` requests completed; the bytes are on their way already.
    fn poll_until(driver: &mut RespDriver, count: usize) -> Vec<(u64, Outcome)> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(poll(driver));
        }
        all
    }

    fn commands(far: &mut Connection, ending: &str) -> String {
        while !far.received().ends_with(ending.as_bytes()) {
            far.fill().unwrap();
        }
        let text = String::from_utf8(far.received().to_vec()).unwrap();
        far.consume(text.len());
        text
    }

    #[test]
    fn each_reply_completes_its_own_request() {
        let (mut driver, mut far) = driver(Promise::Reply);
        send(&mut driver, 0, 2);
        let text = commands(&mut far, "key:000000000002\r\n$5\r\nvalue\r\n");
        assert!(text.starts_with("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$5\r\nvalue\r\n"));
        far.send(b"+OK\r\n-OVERLOAD 100\r\n+O").unwrap();
        assert_eq!(poll_until(&mut driver, 2), [(0, Outcome::Done), (1, Outcome::Refused)]);
        assert_eq!(driver.first_refusal(), Some("OVERLOAD 100"));
        far.send(b"K\r\n").unwrap();
        assert_eq!(poll_until(&mut driver, 1), [(2, Outcome::Done)]);
    }

    #[test]
    fn wait_after_each_set_decides_about_it() {
        let (mut driver, mut far) = driver(Promise::WaitEach(1));
        send(&mut driver, 0, 2);
        let text = commands(&mut far, "WAIT\r\n$1\r\n1\r\n$1\r\n0\r\n");
        assert_eq!(text.matches("WAIT").count(), 3);
        far.send(b"+OK\r\n:2\r\n+OK\r\n:0\r\n-OOM full\r\n:1\r\n").unwrap();
        let expected = [(0, Outcome::Done), (1, Outcome::Refused), (2, Outcome::Refused)];
        assert_eq!(poll_until(&mut driver, 3), expected);
    }

    #[test]
    fn one_wait_decides_about_the_sets_before_it() {
        let (mut driver, mut far) = driver(Promise::WaitBatch(1));
        send(&mut driver, 0, 2);
        assert_eq!(commands(&mut far, "$1\r\n0\r\n").matches("WAIT").count(), 1);
        // Sent while the first WAIT is in flight: they get one of their own once it is answered.
        send(&mut driver, 3, 4);
        assert_eq!(commands(&mut far, "value\r\n").matches("WAIT").count(), 0);
        far.send(b"+OK\r\n+OK\r\n-ERR no\r\n:1\r\n+OK\r\n").unwrap();
        let expected = [(0, Outcome::Done), (1, Outcome::Done), (2, Outcome::Refused)];
        assert_eq!(poll_until(&mut driver, 3), expected);
        assert_eq!(poll(&mut driver), []);
        far.send(b"+OK\r\n:0\r\n").unwrap();
        assert_eq!(poll_until(&mut driver, 2), [(3, Outcome::Refused), (4, Outcome::Refused)]);
    }

    #[test]
    fn sets_answered_together_with_the_wait_before_them_get_a_wait_too() {
        let (mut driver, mut far) = driver(Promise::WaitBatch(1));
        send(&mut driver, 0, 0);
        commands(&mut far, "$1\r\n0\r\n");
        send(&mut driver, 1, 1);
        commands(&mut far, "value\r\n");
        far.send(b"+OK\r\n:1\r\n+OK\r\n").unwrap();
        assert_eq!(poll_until(&mut driver, 1), [(0, Outcome::Done)]);
        assert_eq!(poll(&mut driver), []);
        assert_eq!(commands(&mut far, "$1\r\n0\r\n").matches("WAIT").count(), 1);
        far.send(b":1\r\n").unwrap();
        assert_eq!(poll_until(&mut driver, 1), [(1, Outcome::Done)]);
    }

    #[test]
    fn reply_to_no_command_ends_the_run() {
        let (mut driver, mut far) = driver(Promise::Reply);
        far.send(b"+OK\r\n").unwrap();
        let mut completions = Vec::new();
        loop {
            match driver.poll(&mut completions) {
                Ok(()) => std::thread::yield_now(),
                Err(error) => {
                    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
                    break;
                }
            }
        }
        assert!(completions.is_empty());
    }

    #[test]
    fn replies_parse_and_wait_for_their_last_byte() {
        let cases: [(&[u8], Reply<'_>); 7] = [
            (b"+OK\r\n", Reply::Simple(b"OK")),
            (b"+PONG\r\n", Reply::Simple(b"PONG")),
            (b"-ERR no\r\n", Reply::Error(b"ERR no")),
            (b":-7\r\n", Reply::Integer(-7)),
            (b"$3\r\na\rb\r\n", Reply::Bulk(b"a\rb")),
            (b"$-1\r\n", Reply::Null),
            (b"_\r\n", Reply::Null),
        ];
        for (bytes, reply) in cases {
            assert_eq!(parse(bytes).unwrap(), Some((reply, bytes.len())));
            for len in 0..bytes.len() {
                assert_eq!(parse(&bytes[..len]).unwrap(), None, "{:?}", &bytes[..len]);
            }
        }
        for bytes in [&b"*1\r\n"[..], b":x\r\n", b"\r\n", b"$99999999\r\n", &[b'+'; LINE_BYTES_MAX]] {
            assert!(parse(bytes).is_err());
        }
    }
}
