//! One row of the command table.

use std::fmt;

use super::argument::Argument;
use super::bits::{Categories, Flags, KeyFlags};
use super::ids::CommandId;
use crate::resp::Args;

/// Describes one command or subcommand. Everything that is said or decided about it comes from here.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// What dispatch matches on.
    pub id: CommandId,
    /// Lower case; of a subcommand with its container, `client|id`.
    pub name: &'static str,
    /// Arguments with the name (for a subcommand: both names). Negative: at least that many.
    pub arity: i16,
    /// What it does and when it may run.
    pub flags: Flags,
    /// Its access categories, those that follow from the flags included.
    pub categories: Categories,
    /// Where its keys are.
    pub keys: Option<KeySpec>,
    /// Hints for clients that spread a command over nodes.
    pub tips: &'static [&'static str],
    /// Where the reference lists it.
    pub group: Group,
    /// One sentence.
    pub summary: &'static str,
    /// The version of Redis that added it; for our own the version of Quorate.
    pub since: &'static str,
    /// Its cost, as O().
    pub complexity: &'static str,
    /// What to use in its place, and since when.
    pub deprecated: Option<Deprecated>,
    /// What it takes after its name.
    pub arguments: &'static [Argument],
    /// Its subcommands; empty for most.
    pub subcommands: &'static [CommandSpec],
    /// Accepts `ACK level` as its last two arguments, which are then not keys.
    pub has_trailing_ack: bool,
}

/// Advises against a command.
#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    /// The version from which on it is not recommended.
    pub since: &'static str,
    /// What to use.
    pub replaced_by: &'static str,
}

/// Where the keys are: from `first`, every `step`-th, through `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Index of the first key; the name has 0.
    pub first: u8,
    /// How far behind `first` the last key is, or, if negative, its index from the end (-1: the last argument).
    pub last: i8,
    /// Distance between keys.
    pub step: u8,
    /// What is done with them.
    pub flags: KeyFlags,
}

impl KeySpec {
    /// The index of the last key as `COMMAND` publishes it: absolute, or from the end if negative.
    #[must_use]
    pub fn last_published(self) -> i64 {
        if self.last < 0 { i64::from(self.last) } else { i64::from(self.first) + i64::from(self.last) }
    }
}

/// A section of the reference and of `help @group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Any type of value.
    Generic,
    /// Strings and counters.
    String,
    /// Hashes.
    Hash,
    /// Publish and subscribe.
    Pubsub,
    /// The connection.
    Connection,
    /// The server.
    Server,
    /// What cluster clients ask.
    Cluster,
    /// What other servers do not have.
    Quorate,
}

impl Group {
    /// The published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Hash => "hash",
            Self::Pubsub => "pubsub",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Cluster => "cluster",
            Self::Quorate => "quorate",
        }
    }
}

impl CommandSpec {
    /// A row with what every row has; the rest is added by the functions below.
    pub(super) const fn new(id: CommandId, name: &'static str, arity: i16, group: Group) -> Self {
        Self {
            id,
            name,
            arity,
            flags: Flags::NONE,
            categories: Categories::SLOW,
            keys: None,
            tips: &[],
            group,
            summary: "",
            since: "",
            complexity: "O(1)",
            deprecated: None,
            arguments: &[],
            subcommands: &[],
            has_trailing_ack: false,
        }
    }

    /// Adds flags, and the categories that follow from them.
    pub(super) const fn flags(mut self, flags: &[Flags]) -> Self {
        let mut index = 0;
        while index < flags.len() {
            self.flags = self.flags.with(flags[index]);
            index += 1;
        }
        let implied = [
            (Flags::WRITE, Categories::WRITE),
            (Flags::READONLY, Categories::READ),
            (Flags::ADMIN, Categories::ADMIN.with(Categories::DANGEROUS)),
            (Flags::PUBSUB, Categories::PUBSUB),
            (Flags::BLOCKING, Categories::BLOCKING),
        ];
        let mut categories = if self.flags.contains(Flags::FAST) { Categories::FAST } else { Categories::SLOW };
        index = 0;
        while index < implied.len() {
            if self.flags.contains(implied[index].0) {
                categories = categories.with(implied[index].1);
            }
            index += 1;
        }
        self.categories = categories;
        self
    }

    /// Adds a category to those that follow from the flags; call it after [`CommandSpec::flags`].
    pub(super) const fn category(mut self, category: Categories) -> Self {
        self.categories = self.categories.with(category);
        self
    }

    /// Says that the first argument is the only key.
    pub(super) const fn one_key(self, flags: &[KeyFlags]) -> Self {
        self.key_range(0, 1, flags)
    }

    /// Says that every argument is a key.
    pub(super) const fn all_keys(self, flags: &[KeyFlags]) -> Self {
        self.key_range(-1, 1, flags)
    }

    /// Says that keys start at the first argument, go on to `last` and stand `step` apart.
    pub(super) const fn key_range(mut self, last: i8, step: u8, flags: &[KeyFlags]) -> Self {
        let mut all = KeyFlags::NONE;
        let mut index = 0;
        while index < flags.len() {
            all = all.with(flags[index]);
            index += 1;
        }
        self.keys = Some(KeySpec { first: 1, last, step, flags: all });
        self
    }

    /// Gives what the documentation says.
    pub(super) const fn docs(mut self, since: &'static str, complexity: &'static str, summary: &'static str) -> Self {
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    pub(super) const fn args(mut self, arguments: &'static [Argument]) -> Self {
        self.arguments = arguments;
        self
    }

    pub(super) const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    pub(super) const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Self {
        self.deprecated = Some(Deprecated { since, replaced_by });
        self
    }

    pub(super) const fn subcommands(mut self, subcommands: &'static [CommandSpec]) -> Self {
        self.subcommands = subcommands;
        self
    }

    pub(super) const fn trailing_ack(mut self) -> Self {
        self.has_trailing_ack = true;
        self
    }

    /// The part of the name behind the container, or the whole name.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, verb)| verb)
    }

    /// Whether `count` arguments, the name included, are a legal number.
    #[must_use]
    pub fn accepts(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= arity } else { count == arity }
    }

    /// Iterates over the keys of a request to this command, with their indexes, what is only routed like a key included.
    ///
    /// `args` must have a legal count ([`CommandSpec::accepts`]).
    pub fn keys<'a>(&self, args: Args<'a>) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let args = if self.has_trailing_ack { split_trailing_ack(args).0 } else { args };
        let (first, end, step) = match self.keys {
            None => (0, 0, 1),
            Some(KeySpec { first, last, step, .. }) => {
                let first = usize::from(first);
                let back = usize::from(last.unsigned_abs());
                let end = if last < 0 { (args.len() + 1).saturating_sub(back) } else { first + back + 1 };
                (first, end.min(args.len()), usize::from(step))
            }
        };
        (first..end).step_by(step).filter_map(move |index| args.get(index).map(|key| (index, key)))
    }

    /// The command with its arguments, as help shows it: `SET key value [NX | XX] ..`.
    #[must_use]
    pub fn syntax(&self) -> impl fmt::Display {
        Syntax(*self)
    }
}

/// Splits `ACK level` off the end of a request with any number of keys: what is left, and the level as it was written.
///
/// Only a known level counts, so keys that happen to be called ACK stay keys, unless a key called like a level is last.
#[must_use]
pub fn split_trailing_ack(args: Args<'_>) -> (Args<'_>, Option<&[u8]>) {
    let Some(option) = args.len().checked_sub(2).filter(|&index| index >= 2) else {
        return (args, None);
    };
    let (Some(word), Some(level)) = (args.get(option), args.get(option + 1)) else {
        return (args, None);
    };
    if word.eq_ignore_ascii_case(b"ACK") && ACK_LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
        return (args.take(option), Some(level));
    }
    (args, None)
}

struct Syntax(CommandSpec);

impl fmt::Display for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.name.chars() {
            write!(f, "{}", if letter == '|' { ' ' } else { letter.to_ascii_uppercase() })?;
        }
        for argument in self.0.arguments {
            write!(f, " {argument}")?;
        }
        Ok(())
    }
}

/// The words after `ACK`; those that are not built yet are known, so that they are refused by name.
const ACK_LEVELS: [&[u8]; 4] = [b"accepted", b"commit", b"coherent", b"sink"];
