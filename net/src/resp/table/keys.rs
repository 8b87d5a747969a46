//! Keys of any type: deleting, expiring, finding, waiting for replicas.

use super::argument::{Argument, KEY};
use super::bits::{Categories, Flags, KeyFlags};
use super::ids::CommandId;
use super::spec::{CommandSpec, Group};
use super::tips;

/// All commands of this family.
pub(super) static COMMANDS: &[CommandSpec] = &[
    row(CommandId::Del, "del", -2, &[Flags::WRITE])
        .all_keys(&[KeyFlags::RM, KeyFlags::DELETE])
        .docs("1.0.0", "O(N) in the keys", "Deletes keys and returns how many there were.")
        .args(&[KEY.multiple(), super::ACK])
        .tips(&[tips::MULTI_SHARD, tips::AGG_SUM])
        .trailing_ack(),
    row(CommandId::Unlink, "unlink", -2, &[Flags::WRITE, Flags::FAST])
        .all_keys(&[KeyFlags::RM, KeyFlags::DELETE])
        .docs("4.0.0", "O(N) in the keys", "Deletes keys, as DEL does; here both give memory back at once.")
        .args(&[KEY.multiple()])
        .tips(&[tips::MULTI_SHARD, tips::AGG_SUM]),
    row(CommandId::Exists, "exists", -2, &[Flags::READONLY, Flags::FAST])
        .all_keys(&[KeyFlags::RO])
        .docs("1.0.0", "O(N) in the keys", "Returns how many of the keys exist; a key given twice counts twice.")
        .args(&[KEY.multiple()])
        .tips(&[tips::MULTI_SHARD, tips::AGG_SUM]),
    row(CommandId::Touch, "touch", -2, &[Flags::READONLY, Flags::FAST])
        .all_keys(&[KeyFlags::RO])
        .docs("3.2.1", "O(N) in the keys", "Returns how many of the keys exist.")
        .args(&[KEY.multiple()])
        .tips(&[tips::MULTI_SHARD, tips::AGG_SUM]),
    row(CommandId::Type, "type", 2, &[Flags::READONLY, Flags::FAST])
        .one_key(&[KeyFlags::RO])
        .docs("1.0.0", "O(1)", "Returns the type of the value of a key.")
        .args(&[KEY]),
    expiry(CommandId::Expire, "expire").docs("1.0.0", "O(1)", "Sets in how many seconds a key expires.").args(&[
        KEY,
        Argument::integer("seconds"),
        EXPIRE_CONDITION,
    ]),
    expiry(CommandId::Pexpire, "pexpire")
        .docs("2.6.0", "O(1)", "Sets in how many milliseconds a key expires.")
        .args(&[KEY, Argument::integer("milliseconds"), EXPIRE_CONDITION]),
    expiry(CommandId::Expireat, "expireat")
        .docs("1.2.0", "O(1)", "Sets at which time a key expires, in seconds since the Unix epoch.")
        .args(&[KEY, Argument::unix_time("unix-time-seconds"), EXPIRE_CONDITION]),
    expiry(CommandId::Pexpireat, "pexpireat")
        .docs("2.6.0", "O(1)", "Sets at which time a key expires, in milliseconds since the Unix epoch.")
        .args(&[KEY, Argument::unix_time("unix-time-milliseconds"), EXPIRE_CONDITION]),
    read_of_expiry(CommandId::Expiretime, "expiretime").docs(
        "7.0.0",
        "O(1)",
        "Returns when a key expires, in seconds since the Unix epoch, as it was said when that was set.",
    ),
    read_of_expiry(CommandId::Pexpiretime, "pexpiretime").docs(
        "7.0.0",
        "O(1)",
        "Returns when a key expires, in milliseconds since the Unix epoch, as it was said when that was set.",
    ),
    read_of_expiry(CommandId::Ttl, "ttl")
        .docs("1.0.0", "O(1)", "Returns in how many seconds a key expires; -1 never, -2 there is no such key.")
        .tips(&[tips::NONDETERMINISTIC]),
    read_of_expiry(CommandId::Pttl, "pttl")
        .docs("2.6.0", "O(1)", "Returns in how many milliseconds a key expires; -1 never, -2 there is no such key.")
        .tips(&[tips::NONDETERMINISTIC]),
    row(CommandId::Persist, "persist", 2, &[Flags::WRITE, Flags::FAST])
        .one_key(&[KeyFlags::RW, KeyFlags::UPDATE])
        .docs("2.2.0", "O(1)", "Lets a key live for ever again.")
        .args(&[KEY]),
    row(CommandId::Keys, "keys", 2, &[Flags::READONLY])
        .category(Categories::DANGEROUS)
        .docs("1.0.0", "O(N) in all keys", "Returns all keys that match a pattern; SCAN does it in small steps.")
        .args(&[Argument::pattern("pattern")])
        .tips(&[tips::ALL_SHARDS, tips::NONDETERMINISTIC_ORDER]),
    row(CommandId::Scan, "scan", -2, &[Flags::READONLY, Flags::TOUCHES_ARBITRARY_KEYS])
        .docs(
            "2.8.0",
            "O(1) a call, O(N) in all keys until the cursor is 0 again",
            "Iterates over the keys, a few a call.",
        )
        .args(&[
            Argument::integer("cursor"),
            MATCH,
            COUNT,
            Argument::string("type").token("TYPE").optional().since("6.0.0"),
        ])
        .tips(&[tips::NONDETERMINISTIC, tips::SPECIAL_REQUEST, tips::SPECIAL_RESPONSE]),
    row(CommandId::Randomkey, "randomkey", 1, &[Flags::READONLY, Flags::TOUCHES_ARBITRARY_KEYS])
        .docs("1.0.0", "O(1)", "Returns any key there is.")
        .tips(&[tips::ALL_SHARDS, tips::SPECIAL_RESPONSE, tips::NONDETERMINISTIC]),
    CommandSpec::new(CommandId::Wait, "wait", 3, Group::Generic)
        .flags(&[Flags::BLOCKING])
        .category(Categories::CONNECTION)
        .docs("3.0.0", "O(1)", "Waits until the writes of this connection are held by that many other replicas.")
        .args(&[Argument::integer("numreplicas"), Argument::integer("timeout")])
        .tips(&[tips::ALL_SHARDS, tips::AGG_MIN]),
];

/// `MATCH pattern` of the scanning commands.
pub(super) const MATCH: Argument = Argument::pattern("pattern").token("MATCH").optional();

/// `COUNT count` of the scanning commands.
pub(super) const COUNT: Argument = Argument::integer("count").token("COUNT").optional();

const fn row(id: CommandId, name: &'static str, arity: i16, flags: &[Flags]) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::Generic).flags(flags).category(Categories::KEYSPACE)
}

/// A command that sets when a key expires.
const fn expiry(id: CommandId, name: &'static str) -> CommandSpec {
    row(id, name, -3, &[Flags::WRITE, Flags::FAST]).one_key(&[KeyFlags::RW, KeyFlags::UPDATE])
}

/// A command that tells when a key expires.
const fn read_of_expiry(id: CommandId, name: &'static str) -> CommandSpec {
    row(id, name, 2, &[Flags::READONLY, Flags::FAST]).one_key(&[KeyFlags::RO, KeyFlags::ACCESS]).args(&[KEY])
}

const EXPIRE_CONDITION: Argument = Argument::one_of(
    "condition",
    &[Argument::word("nx", "NX"), Argument::word("xx", "XX"), Argument::word("gt", "GT"), Argument::word("lt", "LT")],
)
.optional()
.since("7.0.0");
