//! Recorded histories as text: Jepsen's log of a register, and one map a line for a key-value store.
//!
//! ```text
//! INFO  jepsen.util - 2    :invoke    :cas    [1 0]
//! {:process 0, :type :invoke, :f :append, :key "0", :value "x 0 0 y"}
//! ```
//!
//! Which of the two a text is, its first line says. What a client does is one operation after another, so a completion
//! belongs to the call of the same process before it. A read that failed or timed out saw nothing and is left out; a write
//! without a completion, or with one that says that nobody knows, stays open.
//!
//! # Time and units
//! The moment of an event is its line.
//! # Bounds
//! The text is hostile: what is not understood is an error that names the line.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{AppendOp, AppendStore, CasOp, CasRegister, Operation, Undecided, is_linearizable};

/// A recorded history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Of one register.
    Register(Vec<Operation<CasOp>>),
    /// Of a key-value store, by key.
    Store(BTreeMap<String, Vec<Operation<AppendOp>>>),
}

/// Why a text is no history.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There is no event in it.
    #[error("no event: expected lines that begin with `INFO  jepsen.util - ` or `{{:process `")]
    Empty,
    /// A line is not understood.
    #[error("line {line}: {what}: {text}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
        /// The line, cut to 80 characters.
        text: String,
    },
}

impl Recorded {
    /// Returns how many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Register(operations) => operations.len(),
            Self::Store(keys) => keys.values().map(Vec::len).sum(),
        }
    }

    /// Whether there is no operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether it is linearizable; `steps_max` is for each key.
    ///
    /// # Errors
    /// `Undecided`: some key was not decided, and no other shows that it is not linearizable.
    pub fn check(&self, steps_max: u64) -> Result<bool, Undecided> {
        match self {
            Self::Register(operations) => is_linearizable(&CasRegister, operations, steps_max),
            Self::Store(keys) => {
                let mut undecided = None;
                for operations in keys.values() {
                    match is_linearizable(&AppendStore, operations, steps_max) {
                        Ok(true) => {}
                        Ok(false) => return Ok(false),
                        Err(error) => undecided = Some(error),
                    }
                }
                undecided.map_or(Ok(true), Err)
            }
        }
    }
}

/// Reads a history.
///
/// # Errors
/// [`FormatError`], with the line.
pub fn parse(text: &str) -> Result<Recorded, FormatError> {
    let is_event = |line: &&str| line.starts_with("INFO") || line.starts_with('{');
    let first = text.lines().map(str::trim_start).find(is_event).ok_or(FormatError::Empty)?;
    if first.starts_with("INFO") { register(text).map(Recorded::Register) } else { store(text).map(Recorded::Store) }
}

/// How an event ends a call, or begins one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl Stage {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            ":invoke" => Self::Invoke,
            ":ok" => Self::Ok,
            ":fail" => Self::Fail,
            ":info" => Self::Info,
            _ => return None,
        })
    }
}

/// Calls under way by process: the moment, and what was asked.
type Calls<A> = BTreeMap<u64, (u64, A)>;

// ---- Jepsen's log of a register ----

#[derive(Clone, Copy)]
enum Asked {
    Read,
    Write(i64),
    CompareAndSet(i64, i64),
}

fn register(text: &str) -> Result<Vec<Operation<CasOp>>, FormatError> {
    let mut operations = Vec::new();
    let mut calls: Calls<Asked> = BTreeMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let wrong = |what| FormatError::Line { line, what, text: text.chars().take(80).collect() };
        let Some(event) = text.strip_prefix("INFO  jepsen.util - ") else { continue };
        let mut words = event.split_whitespace();
        let process = words.next().and_then(|word| word.parse().ok());
        // Jepsen's own remarks begin otherwise, or name no stage.
        let (Some(process), Some(stage)) = (process, words.next().and_then(Stage::named)) else { continue };
        let (what, value) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>().join(" "));
        if stage == Stage::Invoke {
            let asked = asked(what, &value).ok_or_else(|| wrong("not a read, write or cas of numbers"))?;
            if calls.insert(process, (line, asked)).is_some() {
                return Err(wrong("the process has a call under way"));
            }
            continue;
        }
        let (called, asked) = calls.remove(&process).ok_or_else(|| wrong("the process has no call under way"))?;
        let returned = matches!(stage, Stage::Ok | Stage::Fail).then_some(line);
        let op = match (asked, stage) {
            (Asked::Read, Stage::Ok) => CasOp::Read(optional(&value).ok_or_else(|| wrong("no number was read"))?),
            (Asked::Write(value), Stage::Ok | Stage::Info) => CasOp::Write(value),
            (Asked::CompareAndSet(from, to), _) => {
                CasOp::CompareAndSet { from, to, has_set: returned.map(|_| stage == Stage::Ok) }
            }
            // Nothing was seen, or nothing was done.
            (Asked::Read, _) | (Asked::Write(_), Stage::Fail | Stage::Invoke) => continue,
        };
        operations.push(Operation { op, called, returned });
    }
    for (called, asked) in calls.into_values() {
        let op = match asked {
            Asked::Read => continue,
            Asked::Write(value) => CasOp::Write(value),
            Asked::CompareAndSet(from, to) => CasOp::CompareAndSet { from, to, has_set: None },
        };
        operations.push(Operation { op, called, returned: None });
    }
    Ok(operations)
}

fn asked(what: &str, value: &str) -> Option<Asked> {
    Some(match what {
        ":read" => Asked::Read,
        ":write" => Asked::Write(value.parse().ok()?),
        ":cas" => {
            let (from, to) = value.strip_prefix('[')?.strip_suffix(']')?.split_once(' ')?;
            Asked::CompareAndSet(from.parse().ok()?, to.parse().ok()?)
        }
        _ => return None,
    })
}

/// Reads a number or `nil`.
fn optional(value: &str) -> Option<Option<i64>> {
    if value == "nil" { Some(None) } else { value.parse().ok().map(Some) }
}

// ---- one map a line for a store ----

fn store(text: &str) -> Result<BTreeMap<String, Vec<Operation<AppendOp>>>, FormatError> {
    let mut keys: BTreeMap<String, Vec<Operation<AppendOp>>> = BTreeMap::new();
    let mut calls: Calls<(String, String, Box<str>)> = BTreeMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let wrong = |what| FormatError::Line { line, what, text: text.chars().take(80).collect() };
        if text.trim().is_empty() {
            continue;
        }
        let field = |name| field(text, name).ok_or_else(|| wrong("a field is missing"));
        let process = field(":process")?.parse().map_err(|_| wrong("the process is no number"))?;
        let stage = Stage::named(field(":type")?).ok_or_else(|| wrong("the type is none"))?;
        let (what, key, value) = (field(":f")?, field(":key")?, field(":value")?);
        if stage == Stage::Invoke {
            let call = (what.to_owned(), key.to_owned(), value.into());
            if calls.insert(process, (line, call)).is_some() {
                return Err(wrong("the process has a call under way"));
            }
            continue;
        }
        let (called, (what, key, given)) =
            calls.remove(&process).ok_or_else(|| wrong("the process has no call under way"))?;
        let op = match (what.as_str(), stage) {
            (":get", Stage::Ok) => AppendOp::Get(value.into()),
            (":put", Stage::Ok | Stage::Info) => AppendOp::Put(given),
            (":append", Stage::Ok | Stage::Info) => AppendOp::Append(given),
            (":get" | ":put" | ":append", _) => continue,
            _ => return Err(wrong("not a get, put or append")),
        };
        let returned = (stage == Stage::Ok).then_some(line);
        keys.entry(key).or_default().push(Operation { op, called, returned });
    }
    for (called, (what, key, given)) in calls.into_values() {
        let op = match what.as_str() {
            ":put" => AppendOp::Put(given),
            ":append" => AppendOp::Append(given),
            _ => continue,
        };
        keys.entry(key).or_default().push(Operation { op, called, returned: None });
    }
    Ok(keys)
}

/// Returns the value of a field: what is between its quotes, or the word behind its name.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    // `:fail` begins as `:f` does.
    let rest = line.match_indices(name).find_map(|(at, name)| line[at + name.len()..].strip_prefix(' '))?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map(|(value, _)| value),
        None => rest.split([',', '}']).next(),
    }
}
