//! NATS JetStream: three servers, a stream with three replicas in memory, publish with acknowledgement.
//!
//! The client speaks the NATS text protocol to the server that leads the stream, so that no publish takes a detour. Each
//! publish names an inbox of its own for the acknowledgement, which says that a majority of the replicas has the message.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::connection::{Address, Connection};
use crate::load::{Admission, Completion, Driver, DriverError, Outcome, RequestId};
use crate::process::{Process, Program, TempFolder, await_ready, free_ports};
use crate::resp::CALL_WITHIN;
use crate::system::{Running, Setup};

/// Starts the servers, creates the stream, and connects to its leader.
pub(crate) fn start(program: &Program, setup: &Setup) -> Result<Running> {
    let folder = TempFolder::in_memory()?;
    let ports = free_ports(setup.nodes, 2, 2)?;
    let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{}", port + 1)).collect();
    let mut processes = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let store = folder.path().join(format!("store-{index}"));
        let config = folder.path().join(format!("nats-{index}.conf"));
        let text = format!(
            "server_name: n{index}\nlisten: 127.0.0.1:{port}\n\
             jetstream {{ store_dir: {store:?}, max_memory_store: 4GB, max_file_store: 1GB }}\n\
             cluster {{ name: perf, listen: 127.0.0.1:{}, routes: [{}] }}\n",
            port + 1,
            routes.join(", "),
        );
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let program = program.clone().arg("-c").arg(&config);
        processes.push(Process::start(&setup.harness, &format!("nats-{index}"), &program, folder.path())?);
    }
    let addresses: Vec<Address> = ports.iter().map(|port| Address::Tcp(([127, 0, 0, 1], *port).into())).collect();
    let leader = await_ready("nats", &mut processes, || ensure_stream(&addresses[0], setup.nodes))?;
    let client = Client::connect(&addresses[leader])?;
    let driver = NatsDriver { client, value: setup.value(), refusal: None };
    let note = format!("JetStream, {} replicas in memory, published to the stream's leader", setup.nodes);
    Ok(Running::new(Box::new(driver), processes, folder, note))
}

/// Creates the stream if it is missing and returns the index of the server that leads it, all replicas in step.
fn ensure_stream(address: &Address, replicas: u16) -> Result<usize> {
    let mut client = Client::connect(address)?;
    let config = json!({
        "name": STREAM, "subjects": [SUBJECT], "retention": "limits", "storage": "memory", "discard": "old",
        "num_replicas": replicas, "max_bytes": STREAM_BYTES_MAX,
    });
    let created = client.call(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &config)?;
    ensure!(created.get("error").is_none(), "stream is not created: {}", created["error"]);
    let info = client.call(&format!("$JS.API.STREAM.INFO.{STREAM}"), &json!({}))?;
    let cluster = &info["cluster"];
    let followers = cluster["replicas"].as_array().context("no replicas yet")?;
    let current = followers.iter().filter(|replica| replica["current"] == true).count();
    ensure!(current + 1 == usize::from(replicas), "{current} followers are in step");
    let leader = cluster["leader"].as_str().and_then(|name| name.strip_prefix('n')).context("no leader yet")?;
    leader.parse().context("the leader is not one of our servers")
}

struct NatsDriver {
    client: Client,
    value: Vec<u8>,
    refusal: Option<String>,
}

impl Driver for NatsDriver {
    fn try_send(&mut self, request: RequestId) -> Result<Admission, DriverError> {
        if !self.client.connection.has_room() {
            return Ok(Admission::Full);
        }
        self.client.publish(SUBJECT, request.0, &self.value);
        Ok(Admission::Accepted)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<(), DriverError> {
        let connection = &mut self.client.connection;
        connection.flush()?;
        connection.fill()?;
        let mut taken = 0;
        let mut pongs = 0;
        while let Some((event, len)) = parse(&connection.received()[taken..])? {
            taken += len;
            match event {
                Event::Message { inbox, body } => {
                    let done = contains(body, b"\"seq\":") && !contains(body, b"\"error\"");
                    if !done && self.refusal.is_none() {
                        self.refusal = Some(String::from_utf8_lossy(body).into_owned());
                    }
                    let outcome = if done { Outcome::Done } else { Outcome::Refused };
                    completions.push(Completion { request: RequestId(inbox), outcome });
                }
                Event::Ping => pongs += 1,
                Event::Other => {}
                Event::Error => {
                    return Err(DriverError::Malformed { protocol: PROTOCOL, what: "-ERR from the server" });
                }
            }
        }
        connection.consume(taken);
        for _ in 0..pongs {
            connection.queue(b"PONG\r\n");
        }
        Ok(())
    }

    fn first_refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// A connection with a subscription to its own inboxes, which end with a number.
struct Client {
    connection: Connection,
    calls: u64,
    scratch: Vec<u8>,
}

impl Client {
    fn connect(address: &Address) -> Result<Self> {
        let mut connection = Connection::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        let options = "{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
                       \"protocol\":1,\"lang\":\"rust\",\"version\":\"0\",\"name\":\"quorate-perf\"}";
        connection.queue(format!("CONNECT {options}\r\nSUB {INBOX}.* 1\r\n").as_bytes());
        Ok(Self { connection, calls: 0, scratch: Vec::with_capacity(256) })
    }

    /// Queues a message that is answered to inbox `number`.  Cost: no allocation after the first.
    fn publish(&mut self, subject: &str, number: u64, body: &[u8]) {
        use std::io::Write;
        self.scratch.clear();
        write!(self.scratch, "PUB {subject} {INBOX}.{number} {}\r\n", body.len()).expect("a vector takes all");
        self.connection.queue(&self.scratch);
        self.connection.queue(body);
        self.connection.queue(b"\r\n");
    }

    /// Sends one request of the JetStream API and waits for its answer.
    fn call(&mut self, subject: &str, body: &Value) -> Result<Value> {
        self.calls += 1;
        self.publish(subject, self.calls, body.to_string().as_bytes());
        let deadline = Instant::now() + CALL_WITHIN;
        while Instant::now() < deadline {
            self.connection.flush()?;
            self.connection.fill()?;
            while let Some((event, len)) = parse(self.connection.received())? {
                let answer = match event {
                    Event::Message { inbox, body } if inbox == self.calls => {
                        Some(serde_json::from_slice(body).with_context(|| format!("no answer to {subject}"))?)
                    }
                    Event::Error => bail!("the server refused the connection"),
                    Event::Message { .. } | Event::Ping | Event::Other => None,
                };
                self.connection.consume(len);
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
            std::thread::yield_now();
        }
        bail!("no answer to {subject} within {CALL_WITHIN:?}")
    }
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
enum Event<'a> {
    /// A message to one of our inboxes; headers, if any, are part of the body.
    Message {
        inbox: u64,
        body: &'a [u8],
    },
    Ping,
    /// INFO, PONG, +OK.
    Other,
    /// -ERR
    Error,
}

/// Parses one event and returns it with its length; none if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Event<'_>, usize)>, DriverError> {
    const MALFORMED: DriverError = DriverError::Malformed { protocol: PROTOCOL, what: "message" };
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| MALFORMED)?;
    let len = end + 2;
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        Some("MSG" | "HMSG") => {
            let inbox = words.next().and_then(|subject| subject.rsplit('.').next()).and_then(|id| id.parse().ok());
            let size: Option<usize> = words.last().and_then(|word| word.parse().ok());
            let (Some(inbox), Some(size)) = (inbox, size) else { return Err(MALFORMED) };
            if size > BODY_BYTES_MAX {
                return Err(MALFORMED);
            }
            if bytes.len() < len + size + 2 {
                return Ok(None);
            }
            Ok(Some((Event::Message { inbox, body: &bytes[len..len + size] }, len + size + 2)))
        }
        Some("PING") => Ok(Some((Event::Ping, len))),
        Some("-ERR") => Ok(Some((Event::Error, len))),
        Some("INFO" | "PONG" | "+OK") => Ok(Some((Event::Other, len))),
        _ => Err(MALFORMED),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

const PROTOCOL: &str = "NATS";
const STREAM: &str = "PERF";
const SUBJECT: &str = "perf.writes";
const INBOX: &str = "_INBOX.perf";
/// What the stream keeps; older messages go.
const STREAM_BYTES_MAX: u64 = 512 << 20;
/// Longest answer; those of the API are a few kilobytes.
const BODY_BYTES_MAX: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_parse_and_wait_for_their_last_byte() {
        let cases: [(&[u8], Event<'_>); 5] = [
            (b"MSG _INBOX.perf.42 1 5\r\nhello\r\n", Event::Message { inbox: 42, body: b"hello" }),
            (
                b"HMSG _INBOX.perf.7 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
                Event::Message { inbox: 7, body: b"NATS/1.0\r\n\r\nhi" },
            ),
            (b"PING\r\n", Event::Ping),
            (b"INFO {\"a\":1}\r\n", Event::Other),
            (b"-ERR 'Stale Connection'\r\n", Event::Error),
        ];
        for (bytes, event) in cases {
            assert_eq!(parse(bytes).unwrap(), Some((event, bytes.len())));
            for len in 0..bytes.len() {
                assert_eq!(parse(&bytes[..len]).unwrap(), None);
            }
        }
        for bytes in [&b"MSG x 1\r\n"[..], b"WHAT\r\n", b"MSG _INBOX.perf.1 1 999999999\r\n"] {
            assert!(parse(bytes).is_err());
        }
    }
}
