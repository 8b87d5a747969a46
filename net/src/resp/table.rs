//! The one table of commands: what they are called, what they take, what they do.
//!
//! Each family is a file of rows ([`CommandSpec`]). Dispatch, access rules, `COMMAND`, `COMMAND DOCS`, the help texts and
//! the reference page read them, so what is announced is what is done; what is not built is not in the table. A name
//! that is not found is looked up among those that are refused with advice, and only then called unknown.
//!
//! Finding a command costs one hash over four letters of its name and, almost always, one comparison.
//! The index is computed while compiling, and compiling fails if an identifier has no row or two.
//!
//! # Source
//! Names, arities and key positions of the public commands are facts of the Redis protocol; a test compares them with the
//! published schemas. The texts are ours.

mod argument;
mod bits;
mod connection;
mod hashes;
mod ids;
mod keys;
mod ours;
mod pubsub;
mod refused;
mod server;
mod spec;
mod strings;
mod tips;

pub use argument::{Argument, ArgumentKind};
pub use bits::{Categories, Flags, KeyFlags};
pub use ids::CommandId;
pub use refused::{NOT_BUILT_FAMILIES, REFUSED, RefusedFamily};
pub use spec::{CommandSpec, Deprecated, Group, KeySpec, split_trailing_ack};

use super::{Args, Encoder, ReplyBuffer};

/// Finds the command of a request and checks that it has a legal number of arguments.
///
/// `args` is not empty. Cost: O(1) for a command, O(subcommands) for a subcommand, no allocation.
///
/// # Errors
/// [`Reject`], which knows how to answer; the connection goes on unless [`Reject::closes`].
///
/// # Panics
/// If `args` is empty: an empty request is ignored before it is looked up.
pub fn resolve(args: Args<'_>) -> Result<&'static CommandSpec, Reject> {
    let name = args.first().expect("an empty request is not looked up");
    let Some(command) = find(name) else {
        return Err(refused::explain(name));
    };
    let spec = if command.subcommands.is_empty() {
        command
    } else {
        match args.get(1) {
            Some(verb) => subcommand(command, verb).ok_or(Reject::UnknownSubcommand(command))?,
            None => command,
        }
    };
    if spec.accepts(args.len()) { Ok(spec) } else { Err(Reject::Arity(spec)) }
}

/// Finds a command by its name, in any case of letters.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static CommandSpec> {
    let mut at = slot_of(name)?;
    while INDEX[at] != VACANT {
        let spec = TOP[usize::from(INDEX[at])];
        if spec.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(spec);
        }
        at = (at + 1) % INDEX_LEN;
    }
    None
}

/// Finds a subcommand by the word after the name of its command.
#[must_use]
pub fn subcommand(command: &CommandSpec, verb: &[u8]) -> Option<&'static CommandSpec> {
    command.subcommands.iter().find(|spec| spec.verb().as_bytes().eq_ignore_ascii_case(verb))
}

/// Finds a command or subcommand by its full name: `get`, `client|id`.
#[must_use]
pub fn find_full(name: &[u8]) -> Option<&'static CommandSpec> {
    match name.iter().position(|&byte| byte == b'|') {
        None => find(name),
        Some(bar) => subcommand(find(&name[..bar])?, &name[bar + 1..]),
    }
}

/// All commands, without subcommands, family after family.
#[must_use]
pub fn commands() -> impl ExactSizeIterator<Item = &'static CommandSpec> + Clone {
    TOP.iter().copied()
}

impl CommandId {
    /// Returns the row of the command.
    #[must_use]
    pub fn spec(self) -> &'static CommandSpec {
        BY_ID[self as usize]
    }
}

/// Why a request is not executed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Reject {
    /// There is no such command.
    Unknown,
    /// The command has no such subcommand.
    UnknownSubcommand(&'static CommandSpec),
    /// Too few or too many arguments.
    Arity(&'static CommandSpec),
    /// A command of Redis that we do not have, with what to do instead.
    NotSupported(&'static RefusedFamily),
    /// A command of ours that is not built yet.
    NotBuilt,
    /// The first words of an HTTP request: a browser was made to send it. Answered by closing, so that its body is not executed.
    CrossProtocol,
}

impl Reject {
    /// Whether the connection must be closed, without a reply.
    #[must_use]
    pub fn closes(self) -> bool {
        matches!(self, Self::CrossProtocol)
    }

    /// Writes the error. `args`: the request as it was given to [`resolve`].
    pub fn write<B: ReplyBuffer + ?Sized>(self, args: Args<'_>, out: &mut Encoder<'_, B>) {
        match self {
            Self::Unknown => write_unknown(args, out),
            Self::UnknownSubcommand(command) => {
                let container = Upper(command.name);
                out.error_args(format_args!(
                    "ERR unknown subcommand '{}'. Try {container} HELP.",
                    Quoted(&args[1][..args[1].len().min(QUOTED_BYTES_MAX)])
                ));
            }
            Self::Arity(spec) => {
                out.error_args(format_args!("ERR wrong number of arguments for '{}' command", spec.name));
            }
            Self::NotSupported(family) => {
                out.error_args(format_args!("ERR {} is not supported: {}", UpperBytes(&args[0]), family.instead));
            }
            Self::NotBuilt => {
                out.error_args(format_args!("ERR {} is not built yet", UpperBytes(&args[0])));
            }
            Self::CrossProtocol => {}
        }
    }
}

/// Names the command and shows the first arguments, at most 128 bytes of them, as Redis does.
fn write_unknown<B: ReplyBuffer + ?Sized>(args: Args<'_>, out: &mut Encoder<'_, B>) {
    let name = &args[0][..args[0].len().min(QUOTED_BYTES_MAX)];
    let mut left = QUOTED_BYTES_MAX;
    let mut shown: usize = 0;
    for argument in args.skip(1).iter() {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(argument.len() + QUOTING_BYTES);
        shown += 1;
    }
    out.error_args(format_args!(
        "ERR unknown command '{}', with args beginning with: {}",
        Quoted(name),
        Beginning(args.skip(1).take(shown))
    ));
}

/// The arguments of an unknown command, each in quotes.
struct Beginning<'a>(Args<'a>);

impl std::fmt::Display for Beginning<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut left = QUOTED_BYTES_MAX;
        for argument in self.0.iter() {
            let shown = &argument[..argument.len().min(left)];
            write!(f, "'{}' ", Quoted(shown))?;
            left = left.saturating_sub(shown.len() + QUOTING_BYTES);
        }
        Ok(())
    }
}

/// A client's own bytes in an error: what is not text is shown as the replacement character.
struct Quoted<'a>(&'a [u8]);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

/// The name of a command in upper case.
struct Upper(&'static str);

impl std::fmt::Display for Upper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        UpperBytes(self.0.as_bytes()).fmt(f)
    }
}

/// Bytes known to be ASCII letters and signs, in upper case.
struct UpperBytes<'a>(&'a [u8]);

impl std::fmt::Display for UpperBytes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        self.0.iter().take(QUOTED_BYTES_MAX).try_for_each(|&byte| f.write_char(char::from(byte.to_ascii_uppercase())))
    }
}

/// `ACK level`, our option of writes: when the write is acknowledged.
const ACK: Argument =
    Argument::one_of("acknowledged", &[Argument::word("accepted", "ACCEPTED"), Argument::word("commit", "COMMIT")])
        .token("ACK")
        .optional();

/// What the documentation says of every `HELP`.
const HELP_SUMMARY: &str = "Returns what the subcommands are for.";

/// Bytes of a client's request that are shown in an error.
const QUOTED_BYTES_MAX: usize = 128;

/// Two quotes and a space.
const QUOTING_BYTES: usize = 3;

const FAMILIES: [&[CommandSpec]; 7] = [
    connection::COMMANDS,
    server::COMMANDS,
    strings::COMMANDS,
    keys::COMMANDS,
    hashes::COMMANDS,
    pubsub::COMMANDS,
    ours::COMMANDS,
];

const TOP_LEN: usize = {
    let mut len = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        len += FAMILIES[family].len();
        family += 1;
    }
    len
};

static TOP: [&CommandSpec; TOP_LEN] = {
    let mut top = [&FAMILIES[0][0]; TOP_LEN];
    let mut at = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            top[at] = &FAMILIES[family][row];
            at += 1;
            row += 1;
        }
        family += 1;
    }
    top
};

static BY_ID: [&CommandSpec; CommandId::COUNT] = {
    let mut by_id = [None; CommandId::COUNT];
    let mut at = 0;
    while at < TOP_LEN {
        place(&mut by_id, TOP[at]);
        let mut child = 0;
        while child < TOP[at].subcommands.len() {
            place(&mut by_id, &TOP[at].subcommands[child]);
            child += 1;
        }
        at += 1;
    }
    let mut complete = [TOP[0]; CommandId::COUNT];
    at = 0;
    while at < CommandId::COUNT {
        complete[at] = by_id[at].expect("every identifier has a row");
        at += 1;
    }
    complete
};

const fn place(by_id: &mut [Option<&'static CommandSpec>; CommandId::COUNT], spec: &'static CommandSpec) {
    assert!(by_id[spec.id as usize].is_none(), "two rows have one identifier");
    by_id[spec.id as usize] = Some(spec);
}

/// Positions in `TOP`, hashed by name, open addressing; a quarter full, so that probes are short.
static INDEX: [u8; INDEX_LEN] = {
    assert!(TOP_LEN * 4 <= INDEX_LEN && TOP_LEN < VACANT as usize);
    let mut index = [VACANT; INDEX_LEN];
    let mut position: u8 = 0;
    while (position as usize) < TOP_LEN {
        let name = TOP[position as usize].name.as_bytes();
        let mut at = slot_of(name).expect("no name is empty");
        while index[at] != VACANT {
            at = (at + 1) % INDEX_LEN;
        }
        index[at] = position;
        position += 1;
    }
    index
};

/// Hashes length and four letters, in any case. `None` for an empty name.
const fn slot_of(name: &[u8]) -> Option<usize> {
    let [first, ..] = name else {
        return None;
    };
    let len = name.len();
    let letters = [*first, name[len / 3], name[len / 2], name[len - 1]];
    // Letters differ from their other case in one bit, which is set here; the comparison afterwards is exact.
    let folded = u32::from_le_bytes(letters) | 0x2020_2020;
    let mixed = (folded ^ (len.to_le_bytes()[0] as u32) << 5).wrapping_mul(MULTIPLIER);
    Some((mixed >> (u32::BITS - INDEX_LEN.trailing_zeros())) as usize)
}

const INDEX_LEN: usize = 512;

const VACANT: u8 = u8::MAX;

/// Spreads the folded letters over the upper bits: 2^32 divided by the golden ratio, odd.
const MULTIPLIER: u32 = 0x9E37_79B1;

#[cfg(test)]
mod tests;
