//! Strings and counters.

use super::argument::{Argument, KEY};
use super::bits::{Categories, Flags, KeyFlags};
use super::ids::CommandId;
use super::spec::{CommandSpec, Group};
use super::tips;

/// All commands of this family.
pub(super) static COMMANDS: &[CommandSpec] = &[
    row(CommandId::Get, "get", 2, &[Flags::READONLY, Flags::FAST])
        .one_key(&[KeyFlags::RO, KeyFlags::ACCESS])
        .docs("1.0.0", "O(1)", "Returns the value of a key.")
        .args(&[KEY]),
    row(CommandId::Set, "set", -3, &[Flags::WRITE, Flags::DENYOOM])
        .one_key(&[KeyFlags::RW, KeyFlags::ACCESS, KeyFlags::UPDATE, KeyFlags::VARIABLE_FLAGS])
        .docs("1.0.0", "O(1)", "Sets the value of a key, of whatever type it was, and acknowledges it by quorum.")
        .args(&[KEY, VALUE, SET_CONDITION, SET_GET, SET_EXPIRATION, super::ACK]),
    row(CommandId::Setnx, "setnx", 3, &[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .one_key(&[KeyFlags::OW, KeyFlags::INSERT])
        .docs("1.0.0", "O(1)", "Sets the value of a key that does not exist yet.")
        .args(&[KEY, VALUE])
        .deprecated("2.6.12", "SET with NX"),
    row(CommandId::Setex, "setex", 4, &[Flags::WRITE, Flags::DENYOOM])
        .one_key(&[KeyFlags::OW, KeyFlags::UPDATE])
        .docs("2.0.0", "O(1)", "Sets the value of a key and when it expires, in seconds.")
        .args(&[KEY, Argument::integer("seconds"), VALUE])
        .deprecated("2.6.12", "SET with EX"),
    row(CommandId::Psetex, "psetex", 4, &[Flags::WRITE, Flags::DENYOOM])
        .one_key(&[KeyFlags::OW, KeyFlags::UPDATE])
        .docs("2.6.0", "O(1)", "Sets the value of a key and when it expires, in milliseconds.")
        .args(&[KEY, Argument::integer("milliseconds"), VALUE])
        .deprecated("2.6.12", "SET with PX"),
    row(CommandId::Getset, "getset", 3, &[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .one_key(&[KeyFlags::RW, KeyFlags::ACCESS, KeyFlags::UPDATE])
        .docs("1.0.0", "O(1)", "Sets the value of a key and returns the one it had.")
        .args(&[KEY, VALUE])
        .deprecated("6.2.0", "SET with GET"),
    row(CommandId::Getdel, "getdel", 2, &[Flags::WRITE, Flags::FAST])
        .one_key(&[KeyFlags::RW, KeyFlags::ACCESS, KeyFlags::DELETE])
        .docs("6.2.0", "O(1)", "Returns the value of a key and deletes the key.")
        .args(&[KEY]),
    row(CommandId::Getex, "getex", -2, &[Flags::WRITE, Flags::FAST])
        .one_key(&[KeyFlags::RW, KeyFlags::ACCESS, KeyFlags::UPDATE])
        .docs("6.2.0", "O(1)", "Returns the value of a key and changes when it expires.")
        .args(&[KEY, GETEX_EXPIRATION]),
    row(CommandId::Getrange, "getrange", 4, &[Flags::READONLY])
        .one_key(&[KeyFlags::RO, KeyFlags::ACCESS])
        .docs(
            "2.4.0",
            "O(N) in the bytes returned",
            "Returns a part of a value; offsets below zero count from the end.",
        )
        .args(&[KEY, Argument::integer("start"), Argument::integer("end")]),
    row(CommandId::Setrange, "setrange", 4, &[Flags::WRITE, Flags::DENYOOM])
        .one_key(&[KeyFlags::RW, KeyFlags::UPDATE])
        .docs("2.2.0", "O(N) in the bytes of the value", "Overwrites a part of a value, filling a gap with zero bytes.")
        .args(&[KEY, Argument::integer("offset"), VALUE]),
    row(CommandId::Strlen, "strlen", 2, &[Flags::READONLY, Flags::FAST])
        .one_key(&[KeyFlags::RO])
        .docs("2.2.0", "O(1)", "Returns how many bytes a value has.")
        .args(&[KEY]),
    row(CommandId::Append, "append", 3, &[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .one_key(&[KeyFlags::RW, KeyFlags::INSERT])
        .docs("2.0.0", "O(N) in the bytes of the value", "Appends to a value; a key that does not exist starts empty.")
        .args(&[KEY, VALUE]),
    row(CommandId::Mget, "mget", -2, &[Flags::READONLY, Flags::FAST])
        .all_keys(&[KeyFlags::RO, KeyFlags::ACCESS])
        .docs("1.0.0", "O(N) in the keys", "Returns the values of several keys.")
        .args(&[KEY.multiple()])
        .tips(&[tips::MULTI_SHARD]),
    row(CommandId::Mset, "mset", -3, &[Flags::WRITE, Flags::DENYOOM])
        .key_range(-1, 2, &[KeyFlags::OW, KeyFlags::UPDATE])
        .docs("1.0.1", "O(N) in the keys", "Sets the values of several keys of one slot, all or none.")
        .args(&[Argument::block("data", &[KEY, VALUE]).multiple()])
        .tips(&[tips::MULTI_SHARD, tips::ALL_SUCCEEDED]),
    counter(CommandId::Incr, "incr", 2)
        .docs("1.0.0", "O(1)", "Adds one to a counter; a key that does not exist counts from zero.")
        .args(&[KEY]),
    counter(CommandId::Decr, "decr", 2)
        .docs("1.0.0", "O(1)", "Subtracts one from a counter; a key that does not exist counts from zero.")
        .args(&[KEY]),
    counter(CommandId::Incrby, "incrby", 3)
        .docs("1.0.0", "O(1)", "Adds an integer to a counter.")
        .args(&[KEY, Argument::integer("increment")]),
    counter(CommandId::Decrby, "decrby", 3)
        .docs("1.0.0", "O(1)", "Subtracts an integer from a counter.")
        .args(&[KEY, Argument::integer("decrement")]),
    counter(CommandId::Incrbyfloat, "incrbyfloat", 3)
        .docs("2.6.0", "O(1)", "Adds a decimal fraction to a number.")
        .args(&[KEY, Argument::double("increment")]),
];

const fn row(id: CommandId, name: &'static str, arity: i16, flags: &[Flags]) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::String).flags(flags).category(Categories::STRING)
}

/// A command that reads a number and writes another.
const fn counter(id: CommandId, name: &'static str, arity: i16) -> CommandSpec {
    row(id, name, arity, &[Flags::WRITE, Flags::DENYOOM, Flags::FAST]).one_key(&[
        KeyFlags::RW,
        KeyFlags::ACCESS,
        KeyFlags::UPDATE,
    ])
}

const VALUE: Argument = Argument::string("value");

const SET_CONDITION: Argument =
    Argument::one_of("condition", &[Argument::word("nx", "NX"), Argument::word("xx", "XX")]).optional().since("2.6.12");

const SET_GET: Argument = Argument::word("get", "GET").optional().since("6.2.0");

const SET_EXPIRATION: Argument = Argument::one_of(
    "expiration",
    &[
        Argument::integer("seconds").token("EX").since("2.6.12"),
        Argument::integer("milliseconds").token("PX").since("2.6.12"),
        Argument::unix_time("unix-time-seconds").token("EXAT").since("6.2.0"),
        Argument::unix_time("unix-time-milliseconds").token("PXAT").since("6.2.0"),
        Argument::word("keepttl", "KEEPTTL").since("6.0.0"),
    ],
)
.optional();

const GETEX_EXPIRATION: Argument = Argument::one_of(
    "expiration",
    &[
        Argument::integer("seconds").token("EX"),
        Argument::integer("milliseconds").token("PX"),
        Argument::unix_time("unix-time-seconds").token("EXAT"),
        Argument::unix_time("unix-time-milliseconds").token("PXAT"),
        Argument::word("persist", "PERSIST"),
    ],
)
.optional();
