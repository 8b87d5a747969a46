//! Clients that go on asking while things go wrong, and write down what they were told.
//!
//! Every other one speaks the native protocol, the rest RESP. Each has one request at a time, at one node, and goes to the next
//! node when it does not know what became of a request. A value is written once in the whole run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastrand::Rng;
use quorate::cli::status::ask::{AskError, Asker, Reply};
use quorate::client::ClientOptions;
use quorate::client::blocking::{Client as Native, RequestError, Value};
use quorate_engine::machine::command::{Command, Op};

use super::history::{COUNTER, Call, Ending, Order, Question};
use super::nodes::{CLUSTER, Nodes};

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Vec<Call>>>>,
}

/// What they have in common.
#[derive(Debug)]
struct Shared {
    order: Order,
    began: Instant,
    is_over: AtomicBool,
    /// How many requests were acknowledged.
    done: AtomicU64,
}

/// What the clients are to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// What begins all keys: rounds have keys of their own.
    pub round: u32,
    /// How many nodes there are.
    pub nodes: u16,
    /// How many clients.
    pub clients: usize,
    /// Of their choices.
    pub seed: u64,
    /// A client more, which counts in this key, through this node.
    pub probe: Option<(String, u16)>,
}

impl Clients {
    /// Starts them. They are in the network of the calling thread.
    #[must_use]
    pub fn start(load: &Load) -> Self {
        let shared = Arc::new(Shared {
            order: Order::default(),
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            done: AtomicU64::new(0),
        });
        let count = load.clients + usize::from(load.probe.is_some());
        let threads = (0..count).map(|number| {
            let (load, shared) = (load.clone(), Arc::clone(&shared));
            thread::spawn(move || ask_all(number, &load, &shared))
        });
        Self { threads: threads.collect(), shared }
    }

    /// Returns how many requests were acknowledged until now.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Ends them; returns what they were told.
    ///
    /// # Errors
    /// A client was answered what no request is answered with.
    pub fn stop(&mut self) -> Result<Vec<Call>> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let mut calls = Vec::new();
        for thread in std::mem::take(&mut self.threads) {
            calls.extend(thread.join().map_err(|_| anyhow!("a client has panicked"))??);
        }
        Ok(calls)
    }

    /// Reads all keys when everything works again, after all other calls, and adds that to them.
    ///
    /// # Errors
    /// A key cannot be read.
    pub fn read_all(&self, load: &Load, calls: &mut Vec<Call>) -> Result<()> {
        let mut keys: Vec<String> = calls.iter().map(|call| call.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut door = Door::new(load.clients + usize::from(load.probe.is_some()), load.nodes);
        for key in keys {
            let mut attempts = 0;
            loop {
                let call = door.call(&self.shared, key.clone(), Question::Get)?;
                let (is_read, ending) = (matches!(call.ending, Ending::Read(_)), call.ending.clone());
                calls.push(call);
                if is_read {
                    break;
                }
                attempts += 1;
                ensure!(attempts < LAST_ATTEMPTS, "{key} cannot be read after all has healed: {ending:?}");
                thread::sleep(PAUSE_LOST);
            }
        }
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // What goes wrong now is of no interest: something else has.
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn ask_all(number: usize, load: &Load, shared: &Shared) -> Result<Vec<Call>> {
    let mut rng = Rng::with_seed(load.seed ^ (u64::from(load.round) << 32) ^ number as u64);
    let probe = load.probe.as_ref().filter(|_| number == load.clients);
    let mut door = Door::new(number, load.nodes);
    if let Some((_, node)) = probe {
        // It stays where it is and waits for as long as a request may take: what is told of it is what the cluster needs.
        door = Door { is_native: false, node: *node, patience: Patience::Whole, ..door };
    }
    let (mut calls, mut written) = (Vec::new(), 0);
    while !shared.is_over.load(Ordering::Relaxed) {
        let (key, question) = match probe {
            Some((key, _)) => (key.clone(), Question::Increment),
            None => draw(&mut rng, load.round, &mut || {
                written += 1;
                format!("{number}-{written}")
            }),
        };
        let call = door.call(shared, key, question)?;
        let pause = match call.ending {
            Ending::Unknown(_) | Ending::Refused(_) => PAUSE_LOST,
            Ending::Written(_) | Ending::Read(_) | Ending::Sum(..) => {
                shared.done.fetch_add(1, Ordering::Relaxed);
                PAUSE
            }
        };
        calls.push(call);
        thread::sleep(pause);
    }
    Ok(calls)
}

/// Draws what to ask.
fn draw(rng: &mut Rng, round: u32, value: &mut dyn FnMut() -> String) -> (String, Question) {
    match rng.u8(..10) {
        0..2 => (format!("{COUNTER}{round}:{}", rng.u8(..COUNTERS)), Question::Increment),
        choice => {
            let key = format!("register:{round}:{}", rng.u8(..REGISTERS));
            (key, if choice < 6 { Question::Put(value()) } else { Question::Get })
        }
    }
}

/// A client's way to one node after the other.
#[derive(Debug)]
struct Door {
    client: usize,
    is_native: bool,
    node: u16,
    nodes: u16,
    patience: Patience,
    connection: Option<Connection>,
}

/// What a client does about a node that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It soon goes to the next one.
    Little,
    /// It waits for longer than a node has a request wait, and stays.
    Whole,
}

#[derive(Debug)]
enum Connection {
    Native(Box<Native>),
    Resp(Asker),
}

impl Door {
    fn new(client: usize, nodes: u16) -> Self {
        let node = u16::try_from(client % usize::from(nodes)).expect("below the number of nodes") + 1;
        Self { client, is_native: client.is_multiple_of(2), node, nodes, patience: Patience::Little, connection: None }
    }

    /// Asks, and writes down what came of it. A request that cannot be sent, because there is no connection, never happened.
    fn call(&mut self, shared: &Shared, key: String, question: Question) -> Result<Call> {
        let called = shared.order.next();
        let ending = match self.connected() {
            Err(error) => Ending::Refused(format!("{error:#}")),
            Ok(Connection::Native(client)) => ask_native(client, key.as_bytes(), &question)?,
            Ok(Connection::Resp(asker)) => ask_resp(asker, &key, &question)?,
        };
        let returned = shared.order.next();
        let returned_ns = u64::try_from(shared.began.elapsed().as_nanos()).expect("a round is short");
        if let Ending::Unknown(_) = ending {
            self.connection = None;
        }
        if self.connection.is_none() && self.patience == Patience::Little {
            self.node = self.node % self.nodes + 1;
        }
        Ok(Call { client: self.client, key, question, ending, called, returned, returned_ns })
    }

    fn connected(&mut self) -> Result<&mut Connection> {
        let timeout = match self.patience {
            Patience::Little => TIMEOUT,
            Patience::Whole => TIMEOUT_WHOLE,
        };
        if self.connection.is_none() {
            self.connection = Some(if self.is_native {
                Connection::Native(Box::new(Native::connect(ClientOptions {
                    addresses: vec![Nodes::native(self.node)],
                    cluster: CLUSTER.to_owned(),
                    request_timeout: timeout,
                    connect_timeout: timeout,
                    ..ClientOptions::default()
                })?))
            } else {
                Connection::Resp(Asker::connect(&Nodes::resp(self.node), None, timeout)?)
            });
        }
        self.connection.as_mut().context("it was just made")
    }
}

fn ask_native(client: &mut Native, key: &[u8], question: &Question) -> Result<Ending> {
    let command = match question {
        Question::Put(value) => Command { value: value.as_bytes(), ..Command::new(Op::Set, key) },
        Question::Get => Command::new(Op::Get, key),
        Question::Increment => Command { number: 1, ..Command::new(Op::Increment, key) },
    };
    Ok(match client.execute(&command) {
        Ok(response) => match (question, response.value) {
            (Question::Put(_), Some(Value::Ok)) => Ending::Written(Some(response.token)),
            (Question::Get, Some(Value::Nil)) => Ending::Read(None),
            (Question::Get, Some(Value::Bulk(bytes))) => Ending::Read(Some(String::from_utf8(bytes)?)),
            (Question::Increment, Some(Value::Int(sum))) => Ending::Sum(sum, Some(response.token)),
            (_, value) => bail!("{question:?} was answered {value:?}"),
        },
        Err(RequestError::Refused { text, .. }) => Ending::Refused(text),
        Err(RequestError::Unknown(cause)) => Ending::Unknown(cause.to_string()),
        Err(error) => return Err(error).with_context(|| format!("{question:?}")),
    })
}

fn ask_resp(asker: &mut Asker, key: &str, question: &Question) -> Result<Ending> {
    let answered = match question {
        Question::Put(value) => asker.ask(&[b"SET", key.as_bytes(), value.as_bytes()]),
        Question::Get => asker.ask(&[b"GET", key.as_bytes()]),
        Question::Increment => asker.ask(&[b"INCR", key.as_bytes()]),
    };
    Ok(match answered {
        Ok(reply) => match (question, reply) {
            (Question::Put(_), Reply::Word(word)) if word == "OK" => Ending::Written(None),
            (Question::Get, Reply::Nil) => Ending::Read(None),
            (Question::Get, Reply::Bulk(bytes)) => Ending::Read(Some(String::from_utf8(bytes)?)),
            (Question::Increment, Reply::Int(sum)) => Ending::Sum(sum, None),
            (_, reply) => bail!("{question:?} was answered {reply:?}"),
        },
        // What says so may have happened; any other error says that it never does.
        Err(AskError::Refused { text, .. }) if text.starts_with("UNKNOWN") => Ending::Unknown(text),
        Err(AskError::Refused { text, .. }) => Ending::Refused(text),
        Err(error) => Ending::Unknown(error.to_string()),
    })
}

/// Keys of a round.
const REGISTERS: u8 = 6;
const COUNTERS: u8 = 2;
/// How long a client waits for an answer before it asks another node.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than the daemon's own time for a request.
const TIMEOUT_WHOLE: Duration = Duration::from_secs(10);
/// Between two requests, so that a run of hours is one of histories that can be judged.
const PAUSE: Duration = Duration::from_millis(2);
/// After a request without an answer.
const PAUSE_LOST: Duration = Duration::from_millis(10);
const LAST_ATTEMPTS: u32 = 100;
