//! The client that waits: one command, one answer.
//!
//! It waits by polling and yielding for a little while, because an answer usually comes within tens of microseconds, and
//! then in the kernel.

use std::time::Duration;

use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Flags, Op, push_item};
use quorate_engine::time::nanos;
use thiserror::Error;

use super::{
    ClientOptions, Completion, ConnectError, Outcome, Submission, SubmitError, Ticket, Token, UnknownCause, now,
    polling,
};
use crate::wire::RefusalCode;

/// How long to poll and yield before waiting in the kernel.
const YIELD_TIME: Duration = Duration::from_micros(200);
/// Longest single wait in the kernel.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// A client whose calls return when the command has ended.
///
/// ```no_run
/// use quorate::client::{blocking::Client, ClientOptions};
///
/// let mut client = Client::connect(ClientOptions::default())?;
/// let token = client.set(b"px:ACME", b"100.25")?;
/// assert_eq!(client.get(b"px:ACME")?.as_deref(), Some(&b"100.25"[..]));
/// println!("entry {} of group {}", token.index, token.group);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    inner: polling::Client,
}

/// Fields of a hash with their values, in no particular order.
pub type FieldList = Vec<(Vec<u8>, Vec<u8>)>;

/// What came back for a command that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Where it was done.
    pub token: Token,
    /// What the state machine answered; `None` with [`Level::Accepted`](crate::wire::Level::Accepted).
    pub value: Option<Value>,
}

/// An answer that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Done, nothing to say.
    Ok,
    /// There is no such thing.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes of a user.
    Bulk(Vec<u8>),
    /// A short word, such as the name of a type.
    Word(String),
    /// Values in a row.
    Array(Vec<Value>),
    /// Pairs of values.
    Map(Vec<(Value, Value)>),
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It was not even queued.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It never happened and never will.
    #[error("{text}")]
    Refused {
        /// Why.
        code: RefusalCode,
        /// Two numbers; see the code.
        details: [u64; 2],
        /// The same for people.
        text: String,
    },
    /// It may or may not have happened.
    #[error("outcome not known: {0}")]
    Unknown(UnknownCause),
    /// It was executed and changed nothing: a wrong type, an overflow.
    #[error("{text}")]
    Answer {
        /// What the state machine says, beginning with an upper-case code.
        text: String,
    },
    /// The answer has another form than this command's answers have.
    #[error("the answer has another form than answers to this command have")]
    Unexpected,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// As [`polling::Client::connect`].
    pub fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        Ok(Self { inner: polling::Client::connect(options)? })
    }

    /// Executes one command within the usual time.
    ///
    /// # Errors
    /// See [`RequestError`]. Only after `Unknown` the command may have happened.
    pub fn execute(&mut self, command: &Command<'_>) -> Result<Response, RequestError> {
        self.execute_with(&Submission::new(*command))
    }

    /// Executes one command with options, such as a deadline of its own.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub fn execute_with(&mut self, submission: &Submission<'_>) -> Result<Response, RequestError> {
        let ticket = self.inner.submit_with(submission)?;
        self.wait_for(ticket, |outcome| match outcome {
            Outcome::Done { token: _, answer: Answer::Error(text) } => {
                Err(RequestError::Answer { text: String::from_utf8_lossy(text).into_owned() })
            }
            Outcome::Done { token, answer } => match Value::copy(answer, &[]) {
                Some((value, _)) => Ok(Response { token, value: Some(value) }),
                None => Err(RequestError::Unexpected),
            },
            Outcome::Accepted { token } => Ok(Response { token, value: None }),
            Outcome::Status { .. } => Err(RequestError::Unexpected),
            Outcome::Refused(by) => Err(refused(by)),
            Outcome::Unknown(cause) => Err(RequestError::Unknown(cause)),
        })
    }

    /// Returns the state of the node at the other end, one JSON object.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub fn status(&mut self) -> Result<String, RequestError> {
        let ticket = self.inner.submit_status()?;
        self.wait_for(ticket, |outcome| match outcome {
            Outcome::Status { json } => Ok(json.to_owned()),
            Outcome::Refused(by) => Err(refused(by)),
            Outcome::Unknown(cause) => Err(RequestError::Unknown(cause)),
            Outcome::Done { .. } | Outcome::Accepted { .. } => Err(RequestError::Unexpected),
        })
    }

    /// Returns the client underneath, to look at the connection.
    #[must_use]
    pub fn polling(&self) -> &polling::Client {
        &self.inner
    }

    fn wait_for<T>(
        &mut self,
        ticket: Ticket,
        convert: impl Fn(Outcome<'_>) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let yield_until = now().saturating_add(YIELD_TIME);
        let mut result = None;
        loop {
            self.inner.poll(|completion: Completion<'_>| {
                if completion.ticket == ticket {
                    result = Some(convert(completion.outcome));
                }
            });
            if let Some(result) = result.take() {
                return result;
            }
            if now() < yield_until {
                std::thread::yield_now();
            } else {
                self.inner.wait(WAIT_MAX);
            }
        }
    }
}

/// One method for each of the usual commands.
///
/// # Errors
/// As [`Client::execute`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
    /// Returns the string under `key`.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RequestError> {
        self.optional(&Command::new(Op::Get, key))
    }

    /// Sets `key` to `value`; an expiry it had ends.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<Token, RequestError> {
        Ok(self.execute(&Command { value, ..Command::new(Op::Set, key) })?.token)
    }

    /// Sets `key` to `value` for so long.
    pub fn set_for(&mut self, key: &[u8], value: &[u8], ttl: Duration) -> Result<Token, RequestError> {
        let (flags, time) = (Flags::TTL, ttl_ns(ttl));
        Ok(self.execute(&Command { value, flags, time, ..Command::new(Op::Set, key) })?.token)
    }

    /// Sets `key` to `value` if it does not exist. Returns whether it did so.
    pub fn set_if_absent(&mut self, key: &[u8], value: &[u8]) -> Result<bool, RequestError> {
        let command = Command { value, flags: Flags::IF_ABSENT, ..Command::new(Op::Set, key) };
        Ok(self.execute(&command)?.value != Some(Value::Nil))
    }

    /// Deletes keys of one slot. Returns how many there were.
    pub fn del(&mut self, keys: &[&[u8]]) -> Result<i64, RequestError> {
        let value = packed(keys);
        self.integer(&Command { value: &value, ..Command::new(Op::Delete, b"") })
    }

    /// Counts how many of these keys of one slot exist, with repetition.
    pub fn exists(&mut self, keys: &[&[u8]]) -> Result<i64, RequestError> {
        let value = packed(keys);
        self.integer(&Command { value: &value, ..Command::new(Op::Exists, b"") })
    }

    /// Adds `by` to the number under `key`, 0 if there is none. Returns the sum.
    pub fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, RequestError> {
        self.integer(&Command { number: by, ..Command::new(Op::Increment, key) })
    }

    /// Lets `key` end after `ttl`. Returns whether there is such a key.
    pub fn expire(&mut self, key: &[u8], ttl: Duration) -> Result<bool, RequestError> {
        let (flags, time) = (Flags::TTL, ttl_ns(ttl));
        Ok(self.integer(&Command { flags, time, ..Command::new(Op::Expire, key) })? != 0)
    }

    /// Sets fields of the hash under `key`. Returns how many are new.
    pub fn hset(&mut self, key: &[u8], fields: &[(&[u8], &[u8])]) -> Result<i64, RequestError> {
        let mut value = Vec::new();
        for (field, text) in fields {
            push_item(&mut value, field);
            push_item(&mut value, text);
        }
        self.integer(&Command { value: &value, ..Command::new(Op::HashSet, key) })
    }

    /// Returns a field of the hash under `key`.
    pub fn hget(&mut self, key: &[u8], field: &[u8]) -> Result<Option<Vec<u8>>, RequestError> {
        self.optional(&Command { value: field, ..Command::new(Op::HashGet, key) })
    }

    /// Deletes fields of the hash under `key`. Returns how many there were.
    pub fn hdel(&mut self, key: &[u8], fields: &[&[u8]]) -> Result<i64, RequestError> {
        let value = packed(fields);
        self.integer(&Command { value: &value, ..Command::new(Op::HashDelete, key) })
    }

    /// Returns all fields and values of the hash under `key`.
    pub fn hgetall(&mut self, key: &[u8]) -> Result<FieldList, RequestError> {
        let Some(Value::Map(pairs)) = self.execute(&Command::new(Op::HashGetAll, key))?.value else {
            return Err(RequestError::Unexpected);
        };
        let bytes = |value| if let Value::Bulk(bytes) = value { Some(bytes) } else { None };
        let pairs = pairs.into_iter().map(|(field, value)| bytes(field).zip(bytes(value)));
        pairs.collect::<Option<_>>().ok_or(RequestError::Unexpected)
    }

    fn optional(&mut self, command: &Command<'_>) -> Result<Option<Vec<u8>>, RequestError> {
        match self.execute(command)?.value {
            Some(Value::Bulk(bytes)) => Ok(Some(bytes)),
            Some(Value::Nil) => Ok(None),
            _ => Err(RequestError::Unexpected),
        }
    }

    fn integer(&mut self, command: &Command<'_>) -> Result<i64, RequestError> {
        match self.execute(command)?.value {
            Some(Value::Int(number)) => Ok(number),
            _ => Err(RequestError::Unexpected),
        }
    }
}

impl Value {
    /// Copies an answer whose head was read, given what stands behind that head; returns what stands behind all of it.
    /// `None` for an error inside of an array or map.
    fn copy<'a>(answer: Answer<'a>, behind: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let value = match answer {
            Answer::Ok => Self::Ok,
            Answer::Nil => Self::Nil,
            Answer::Int(number) => Self::Int(number),
            Answer::Bulk(bytes) => Self::Bulk(bytes.to_vec()),
            Answer::Word(word) => Self::Word(String::from_utf8_lossy(word).into_owned()),
            Answer::Error(_) => return None,
            Answer::Array { count, mut rest } => {
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(Self::take(&mut rest)?);
                }
                return Some((Self::Array(values), rest));
            }
            Answer::Map { count, mut rest } => {
                let mut pairs = Vec::new();
                for _ in 0..count {
                    pairs.push((Self::take(&mut rest)?, Self::take(&mut rest)?));
                }
                return Some((Self::Map(pairs), rest));
            }
        };
        Some((value, behind))
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let (answer, behind) = Answer::read(rest)?;
        let (value, behind) = Self::copy(answer, behind)?;
        *rest = behind;
        Some(value)
    }
}

fn refused(by: super::RefusedBy<'_>) -> RequestError {
    RequestError::Refused { code: by.code, details: by.details, text: by.text.to_owned() }
}

fn packed(items: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        push_item(&mut out, item);
    }
    out
}

fn ttl_ns(ttl: Duration) -> i64 {
    i64::try_from(nanos(ttl)).unwrap_or(i64::MAX)
}
