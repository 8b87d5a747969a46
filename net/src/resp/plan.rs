//! Translates requests of the data commands into commands of the engine.
//!
//! A request becomes one or more [`Part`]s, each an encoded engine command for the keys of one slot, and a [`Plan`] that
//! tells which groups get them and which [`Shape`] makes one reply of their answers. Everything that can be wrong
//! with the words of a request is found here, before any group hears of it; what depends on the data is for the engine to say.
//!
//! ```text
//! Args ─▶ plan ─┬▶ Parts ──▶ group of each slot ──▶ answers ─┐
//!               └▶ Plan { level, shape } ────────────────────┴▶ render ─▶ reply
//! ```
//!
//! # Time and units
//! A relative expiry becomes nanoseconds to live, an absolute one nanoseconds since the Unix epoch, which the leader turns
//! into a time to live. A deadline has to lie before the year 2262, where 64 bits of nanoseconds end.
//!
//! # Bounds
//! A request makes at most as many parts as it has keys. [`Parts`] is used again from request to request and gives back what a
//! large one took.
//!
//! # Source
//! Redis 7.2: which words are accepted in which combination, and the texts of errors.

mod cursor;
mod error;
mod expiry;
mod hashes;
mod keys;
mod number;
mod parts;
mod scan;
mod strings;
mod words;

use quorate_engine::Level;
use quorate_engine::ids::Slot;
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::slots::{SlotMap, slot_of};

pub use error::{PlanError, RejectedWord};
pub use parts::{Part, Parts};

pub(super) use cursor::ScanCursor;

use super::Args;
use super::render::Shape;
use super::table::{CommandId, CommandSpec};

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Send each part to the group of its slot; `shape` makes the reply of the answers, in the order of the parts.
    Parts {
        /// What each part waits for.
        level: Level,
        /// How the answers become the reply.
        shape: Shape,
    },
    /// Send the one part to every group of the cluster, with the first slot of each group in place of its slot; `shape` makes
    /// the reply of the answers.
    EveryGroup {
        /// What each part waits for.
        level: Level,
        /// How the answers become the reply.
        shape: Shape,
    },
    /// Try the one part at one group after another, from the group of its slot on, until the answer is not nil.
    AnyGroup {
        /// How the last answer becomes the reply.
        shape: Shape,
    },
    /// Not a data command: connection, server, cluster and pub/sub commands are answered elsewhere.
    Elsewhere,
}

/// What a plan depends on beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Which group owns which slots.
    pub map: SlotMap,
    /// Nanoseconds since the Unix epoch.
    pub wall_now_ns: u64,
    /// A new random number for every request.
    pub random: u64,
}

/// Translates a request into engine commands.
///
/// `spec` is the command that [`super::table::resolve`] found for `args`. `parts` is cleared first; after an error its content
/// means nothing.
///
/// ```
/// use quorate::resp::plan::{Context, Parts, Plan, plan};
/// use quorate::resp::{Limits, Parser, Trust, table};
/// use quorate_engine::machine::command::{Command, Op};
/// use quorate_engine::slots::SlotMap;
///
/// let bytes = b"*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n";
/// let mut parser = Parser::new(Limits::default());
/// let _ = parser.parse(bytes, Trust::Authenticated);
/// let args = parser.args(bytes);
///
/// let context = Context { map: SlotMap::new(4).expect("4 is within 1..=16384"), wall_now_ns: 0, random: 0 };
/// let mut parts = Parts::default();
/// let spec = table::resolve(args).expect("DEL takes two keys");
/// assert!(matches!(plan(spec, args, &context, &mut parts), Ok(Plan::Parts { .. })));
/// assert_eq!(parts.len(), 2, "a and b lie in different slots");
/// assert_eq!(Command::check(parts.get(0).command).expect("parts are commands").op, Op::Delete);
/// ```
///
/// Cost: one copy of keys and values, one checksum of each key; no allocation once `parts` has grown.
///
/// # Errors
/// [`PlanError`], whose text is the reply.
pub fn plan(
    spec: &'static CommandSpec,
    args: Args<'_>,
    context: &Context,
    parts: &mut Parts,
) -> Result<Plan, PlanError> {
    parts.clear();
    let Some(planner) = planner_of(spec.id) else { return Ok(Plan::Elsewhere) };
    // Planners index the arguments that the table promises.
    if !spec.accepts(args.len()) {
        return Err(PlanError::Arity { command: spec.name });
    }
    planner(&Request { spec, args, context }, parts)
}

/// Translates the requests of one command, whose number of arguments is legal.
type Planner = fn(&Request<'_>, &mut Parts) -> Result<Plan, PlanError>;

/// Returns who translates a command; `None` if it is not a data command.
fn planner_of(id: CommandId) -> Option<Planner> {
    let planner: Planner = match id {
        CommandId::Get => strings::get,
        CommandId::Set => strings::set,
        CommandId::Setnx => strings::set_if_absent,
        CommandId::Setex => strings::set_for_seconds,
        CommandId::Psetex => strings::set_for_milliseconds,
        CommandId::Getset => strings::get_set,
        CommandId::Getdel => strings::get_delete,
        CommandId::Getex => strings::get_expire,
        CommandId::Getrange => strings::get_range,
        CommandId::Setrange => strings::set_range,
        CommandId::Strlen => strings::length,
        CommandId::Append => strings::append,
        CommandId::Mget => strings::get_many,
        CommandId::Mset => strings::set_many,
        CommandId::Incr => strings::increment,
        CommandId::Decr => strings::decrement,
        CommandId::Incrby => strings::increment_by,
        CommandId::Decrby => strings::decrement_by,
        CommandId::Incrbyfloat => strings::increment_by_float,
        CommandId::Del => keys::delete,
        CommandId::Unlink => keys::unlink,
        CommandId::Exists | CommandId::Touch => keys::exists,
        CommandId::Type => keys::type_name,
        CommandId::Expire => keys::expire,
        CommandId::Pexpire => keys::expire_milliseconds,
        CommandId::Expireat => keys::expire_at,
        CommandId::Pexpireat => keys::expire_at_milliseconds,
        CommandId::Ttl => keys::remaining_seconds,
        CommandId::Pttl => keys::remaining_milliseconds,
        CommandId::Expiretime => keys::deadline_seconds,
        CommandId::Pexpiretime => keys::deadline_milliseconds,
        CommandId::Persist => keys::persist,
        CommandId::Randomkey => keys::random_key,
        CommandId::Dbsize => keys::count,
        CommandId::Flushdb | CommandId::Flushall => keys::flush,
        CommandId::Keys => scan::keys,
        CommandId::Scan => scan::scan,
        CommandId::Hscan => scan::hash_scan,
        CommandId::Hset => hashes::set,
        CommandId::Hmset => hashes::set_many,
        CommandId::Hsetnx => hashes::set_if_absent,
        CommandId::Hget => hashes::get,
        CommandId::Hmget => hashes::get_many,
        CommandId::Hgetall => hashes::get_all,
        CommandId::Hkeys => hashes::fields,
        CommandId::Hvals => hashes::values,
        CommandId::Hlen => hashes::length,
        CommandId::Hexists => hashes::exists,
        CommandId::Hdel => hashes::delete,
        CommandId::Hincrby => hashes::increment,
        CommandId::Hincrbyfloat => hashes::increment_float,
        _ => return None,
    };
    Some(planner)
}

/// One request, on its way into parts.
struct Request<'a> {
    spec: &'static CommandSpec,
    args: Args<'a>,
    context: &'a Context,
}

impl<'a> Request<'a> {
    /// The first argument, of commands whose only key it is.
    fn key(&self) -> &'a [u8] {
        self.arg(1)
    }

    /// An argument that the arity of the command promises.
    fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index).unwrap_or_default()
    }

    /// A command on the key of the request, without options, numbers and value.
    fn command(&self, op: Op) -> Command<'a> {
        Command::new(op, self.key())
    }

    /// Plans one command on the key of the request.
    fn one(&self, command: Command<'_>, shape: Shape, parts: &mut Parts) -> Result<Plan, PlanError> {
        parts.push(slot_of(command.key), &command);
        Ok(commit(shape))
    }

    /// Plans a command on the key of the request, with items behind it.
    fn one_with_items(
        &self,
        command: Command<'_>,
        items: impl Iterator<Item = &'a [u8]>,
        parts: &mut Parts,
    ) -> Result<Plan, PlanError> {
        parts.push_list(slot_of(command.key), command, items);
        Ok(commit(Shape::Reply))
    }

    /// Plans a command over several keys: one part for each run of keys of one slot, so that answers come in the order of the
    /// keys.
    fn many(&self, op: Op, args: Args<'_>, parts: &mut Parts) {
        let mut keys = args.skip(1).iter().map(|key| (slot_of(key), key)).peekable();
        while let Some(&(slot, _)) = keys.peek() {
            let run = std::iter::from_fn(|| keys.next_if(|&(at, _)| at == slot).map(|(_, key)| key));
            parts.push_list(slot, Command::new(op, &[]), run);
        }
    }

    /// Plans a command without a key for every group.
    fn every_group(&self, op: Op, shape: Shape, parts: &mut Parts) -> Result<Plan, PlanError> {
        parts.push(Slot(0), &Command::new(op, &[]));
        Ok(Plan::EveryGroup { level: Level::Commit, shape })
    }

    fn arity(&self) -> PlanError {
        PlanError::Arity { command: self.spec.name }
    }
}

/// The plan of almost every command.
fn commit(shape: Shape) -> Plan {
    Plan::Parts { level: Level::Commit, shape }
}

#[cfg(test)]
mod tests;
