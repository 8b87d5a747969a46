//! Hashes: fields and values under one key.

use super::argument::{Argument, KEY};
use super::bits::{Categories, Flags, KeyFlags};
use super::ids::CommandId;
use super::keys::{COUNT, MATCH};
use super::spec::{CommandSpec, Group};
use super::tips;

/// All commands of this family.
pub(super) static COMMANDS: &[CommandSpec] = &[
    row(CommandId::Hset, "hset", -4, WRITE)
        .one_key(&[KeyFlags::RW, KeyFlags::UPDATE])
        .docs("2.0.0", "O(N) in the fields", "Sets fields of a hash and returns how many are new.")
        .args(&[KEY, Argument::block("data", &[FIELD, VALUE]).multiple()]),
    row(CommandId::Hmset, "hmset", -4, WRITE)
        .one_key(&[KeyFlags::RW, KeyFlags::UPDATE])
        .docs("2.0.0", "O(N) in the fields", "Sets fields of a hash; older clients send it where HSET does.")
        .args(&[KEY, Argument::block("data", &[FIELD, VALUE]).multiple()])
        .deprecated("4.0.0", "HSET with several fields"),
    row(CommandId::Hsetnx, "hsetnx", 4, WRITE)
        .one_key(&[KeyFlags::RW, KeyFlags::INSERT])
        .docs("2.0.0", "O(1)", "Sets a field of a hash that does not exist yet.")
        .args(&[KEY, FIELD, VALUE]),
    row(CommandId::Hget, "hget", 3, READ_FAST)
        .one_key(&[KeyFlags::RO, KeyFlags::ACCESS])
        .docs("2.0.0", "O(1)", "Returns the value of a field.")
        .args(&[KEY, FIELD]),
    row(CommandId::Hmget, "hmget", -3, READ_FAST)
        .one_key(&[KeyFlags::RO, KeyFlags::ACCESS])
        .docs("2.0.0", "O(N) in the fields", "Returns the values of several fields.")
        .args(&[KEY, FIELD.multiple()]),
    whole(CommandId::Hgetall, "hgetall").docs("2.0.0", "O(N) in the hash", "Returns all fields with their values."),
    whole(CommandId::Hkeys, "hkeys").docs("2.0.0", "O(N) in the hash", "Returns all fields."),
    whole(CommandId::Hvals, "hvals").docs("2.0.0", "O(N) in the hash", "Returns all values."),
    row(CommandId::Hscan, "hscan", -3, &[Flags::READONLY])
        .one_key(&[KeyFlags::RO, KeyFlags::ACCESS])
        .docs(
            "2.8.0",
            "O(1) a call, O(N) in the hash until the cursor is 0 again",
            "Iterates over fields and values, a few a call.",
        )
        .args(&[KEY, Argument::integer("cursor"), MATCH, COUNT])
        .tips(&[tips::NONDETERMINISTIC]),
    row(CommandId::Hdel, "hdel", -3, &[Flags::WRITE, Flags::FAST])
        .one_key(&[KeyFlags::RW, KeyFlags::DELETE])
        .docs("2.0.0", "O(N) in the fields", "Deletes fields; with its last field the hash is gone.")
        .args(&[KEY, FIELD.multiple()]),
    row(CommandId::Hincrby, "hincrby", 4, WRITE)
        .one_key(&[KeyFlags::RW, KeyFlags::ACCESS, KeyFlags::UPDATE])
        .docs("2.0.0", "O(1)", "Adds an integer to a field; one that does not exist counts from zero.")
        .args(&[KEY, FIELD, Argument::integer("increment")]),
    row(CommandId::Hincrbyfloat, "hincrbyfloat", 4, WRITE)
        .one_key(&[KeyFlags::RW, KeyFlags::ACCESS, KeyFlags::UPDATE])
        .docs("2.6.0", "O(1)", "Adds a decimal fraction to a field.")
        .args(&[KEY, FIELD, Argument::double("increment")]),
    row(CommandId::Hlen, "hlen", 2, READ_FAST)
        .one_key(&[KeyFlags::RO])
        .docs("2.0.0", "O(1)", "Returns how many fields there are.")
        .args(&[KEY]),
    row(CommandId::Hexists, "hexists", 3, READ_FAST)
        .one_key(&[KeyFlags::RO])
        .docs("2.0.0", "O(1)", "Tells whether a field exists.")
        .args(&[KEY, FIELD]),
];

const WRITE: &[Flags] = &[Flags::WRITE, Flags::DENYOOM, Flags::FAST];

const READ_FAST: &[Flags] = &[Flags::READONLY, Flags::FAST];

const FIELD: Argument = Argument::string("field");

const VALUE: Argument = Argument::string("value");

const fn row(id: CommandId, name: &'static str, arity: i16, flags: &[Flags]) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::Hash).flags(flags).category(Categories::HASH)
}

/// A command that returns something of every field.
const fn whole(id: CommandId, name: &'static str) -> CommandSpec {
    row(id, name, 2, &[Flags::READONLY])
        .one_key(&[KeyFlags::RO, KeyFlags::ACCESS])
        .args(&[KEY])
        .tips(&[tips::NONDETERMINISTIC_ORDER])
}
