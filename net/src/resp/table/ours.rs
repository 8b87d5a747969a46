//! What other servers do not have.

use super::argument::{Argument, KEY};
use super::bits::{Categories, Flags, KeyFlags};
use super::ids::CommandId;
use super::spec::{CommandSpec, Group};
use super::tips;

/// All commands of this family.
pub(super) static COMMANDS: &[CommandSpec] = &[
    row(CommandId::CachePeek, "cache.peek", 2, &[Flags::READONLY, Flags::STALE, Flags::FAST])
        .one_key(&[KeyFlags::RO, KeyFlags::ACCESS])
        .docs(
            "0.1.0",
            "O(1)",
            "Returns the value of a key as this node has applied it, which may be behind the leader.",
        )
        .args(&[KEY])
        .tips(&[tips::NONDETERMINISTIC]),
    row(CommandId::Core, "core", -2, &[])
        .docs("0.1.0", "see the subcommands", "Holds the commands about the consistent core.")
        .subcommands(&[
            row(CommandId::CoreAcceptloss, "core|acceptloss", 3, ADMINISTRATION)
                .docs(
                    "0.1.0",
                    "O(N) in the groups",
                    "Declares dead what a group cannot be led without, and has it go on with what is left.",
                )
                .args(&[Argument::one_of("scope", &[Argument::integer("group"), Argument::word("all", "ALL")])])
                .tips(&[tips::NONDETERMINISTIC]),
            row(CommandId::CoreDrain, "core|drain", -3, ADMINISTRATION)
                .docs(
                    "0.1.0",
                    "O(N) in the groups",
                    "Has a node give up all groups, the ones that it leads first, or stay; returns how many are left.",
                )
                .args(&[Argument::integer("node"), Argument::word("off", "OFF").optional()])
                .tips(&[tips::NONDETERMINISTIC]),
            row(CommandId::CoreEvents, "core|events", -2, ADMINISTRATION)
                .docs(
                    "0.1.0",
                    "O(N) in the events returned",
                    "Returns what has happened in the cluster, from an index on, or has it pushed as it happens.",
                )
                .args(&[
                    Argument::integer("index").token("FROM").optional(),
                    Argument::integer("count").token("COUNT").optional(),
                    Argument::one_of("form", &[Argument::word("json", "JSON"), Argument::word("push", "PUSH")])
                        .optional(),
                ])
                .tips(&[tips::NONDETERMINISTIC]),
            row(CommandId::CoreHelp, "core|help", 2, HELP).docs("0.1.0", "O(1)", super::HELP_SUMMARY),
            row(CommandId::CoreRemove, "core|remove", 3, ADMINISTRATION)
                .docs("0.1.0", "O(N) in the groups", "Takes a node that holds nothing out of the cluster, for good.")
                .args(&[Argument::integer("node")]),
            row(CommandId::CoreReplace, "core|replace", 3, ADMINISTRATION)
                .docs(
                    "0.1.0",
                    "O(N) in the groups",
                    "Takes a node of the consistent core back that has lost its disk and runs again.",
                )
                .args(&[Argument::integer("node")]),
            row(CommandId::CoreStatus, "core|status", -2, ADMINISTRATION)
                .docs(
                    "0.1.0",
                    "O(N) in nodes and groups",
                    "Returns what this node knows of the consistent core and of the nodes of the cluster.",
                )
                .args(&[Argument::word("json", "JSON").optional()])
                .tips(&[tips::NONDETERMINISTIC]),
        ]),
    row(CommandId::CoreGet, "core.get", 2, &[Flags::READONLY, Flags::STALE])
        .docs("0.1.0", "O(1)", "Returns value and version of a key that the consistent core keeps on disk.")
        .args(&[Argument::string("key")]),
    row(CommandId::CoreSet, "core.set", -3, &[Flags::WRITE, Flags::STALE])
        .docs(
            "0.1.0",
            "O(1)",
            "Has the consistent core keep a value on disk, if its key has the version that is given.",
        )
        .args(&[
            Argument::string("key"),
            Argument::string("value"),
            Argument::integer("version").token("IF").optional(),
        ]),
    row(CommandId::CoreWatch, "core.watch", -2, &[Flags::STALE])
        .docs(
            "0.1.0",
            "O(1)",
            "Pushes each change of the keys of the consistent core that begin with a prefix (RESP3).",
        )
        .args(&[Argument::string("prefix"), Argument::integer("index").token("FROM").optional()]),
    row(CommandId::Log, "log", -2, &[])
        .docs("0.1.0", "see the subcommands", "Holds the commands about the replicated log.")
        .subcommands(&[
            row(CommandId::LogDigest, "log|digest", -2, ADMINISTRATION)
                .docs("0.1.0", "O(1)", "Returns the digest of each group's state and the index it was taken at.")
                .args(&[GROUP])
                .tips(&[tips::NONDETERMINISTIC, tips::ALL_NODES]),
            row(CommandId::LogHelp, "log|help", 2, HELP).docs("0.1.0", "O(1)", super::HELP_SUMMARY),
            row(CommandId::LogRead, "log|read", -5, ADMINISTRATION)
                .docs(
                    "0.1.0",
                    "O(N) in the entries returned",
                    "Returns the committed entries of a group from an index on, as the replica of this node holds them.",
                )
                .args(&[
                    Argument::integer("group"),
                    Argument::integer("index").token("FROM"),
                    Argument::integer("count").token("COUNT").optional(),
                ])
                .tips(&[tips::NONDETERMINISTIC]),
            row(CommandId::LogStatus, "log|status", -2, ADMINISTRATION)
                .docs(
                    "0.1.0",
                    "O(N) in the groups",
                    "Returns epoch, leader, and first, last, commit and applied index of each group.",
                )
                .args(&[GROUP])
                .tips(&[tips::NONDETERMINISTIC, tips::ALL_NODES]),
        ]),
    row(CommandId::Node, "node", -2, &[])
        .docs("0.1.0", "see the subcommands", "Holds the commands about nodes.")
        .subcommands(&[
            row(CommandId::NodeHelp, "node|help", 2, HELP).docs("0.1.0", "O(1)", super::HELP_SUMMARY),
            row(CommandId::NodeStatus, "node|status", 2, ADMINISTRATION)
                .docs("0.1.0", "O(N) in nodes and groups", "Returns the state of the cluster as one JSON object.")
                .tips(&[tips::NONDETERMINISTIC]),
        ]),
];

const fn row(id: CommandId, name: &'static str, arity: i16, flags: &[Flags]) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::Quorate).flags(flags).category(Categories::QUORATE)
}

const HELP: &[Flags] = &[Flags::LOADING, Flags::STALE];

const ADMINISTRATION: &[Flags] = &[Flags::ADMIN, Flags::LOADING, Flags::STALE];

const GROUP: Argument = Argument::integer("group").optional();
