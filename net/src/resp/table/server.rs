//! The server: its commands, settings, users, and what cluster clients ask.

use super::argument::Argument;
use super::bits::{Categories, Flags};
use super::ids::CommandId;
use super::spec::{CommandSpec, Group};
use super::tips;

/// All commands of this family.
pub(super) static COMMANDS: &[CommandSpec] = &[
    row(CommandId::Command, "command", -1, &[Flags::LOADING, Flags::STALE])
        .category(Categories::CONNECTION)
        .docs("2.8.13", "O(N) in all commands", "Returns details about all commands.")
        .tips(&[tips::NONDETERMINISTIC_ORDER])
        .subcommands(COMMAND),
    row(CommandId::Info, "info", -1, &[Flags::LOADING, Flags::STALE])
        .category(Categories::DANGEROUS)
        .docs("1.0.0", "O(1)", "Returns figures about the node, by section.")
        .args(&[Argument::string("section").optional().multiple()])
        .tips(&[tips::NONDETERMINISTIC, tips::ALL_SHARDS, tips::SPECIAL_RESPONSE]),
    row(CommandId::Config, "config", -2, &[])
        .docs("2.0.0", "see the subcommands", "Holds the commands about settings.")
        .subcommands(CONFIG),
    row(CommandId::Acl, "acl", -2, &[])
        .docs("6.0.0", "see the subcommands", "Holds the commands about users and what they may do.")
        .subcommands(ACL),
    row(CommandId::Time, "time", 1, &[Flags::LOADING, Flags::STALE, Flags::FAST])
        .docs("2.6.0", "O(1)", "Returns the time of the server: seconds and microseconds since the Unix epoch.")
        .tips(&[tips::NONDETERMINISTIC]),
    row(CommandId::Role, "role", 1, &[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::FAST])
        .category(Categories::ADMIN.with(Categories::DANGEROUS))
        .docs("2.8.12", "O(1)", "Returns the role of the node and who replicates from it."),
    row(CommandId::Dbsize, "dbsize", 1, &[Flags::READONLY, Flags::FAST])
        .category(Categories::KEYSPACE)
        .docs("1.0.0", "O(1)", "Returns how many keys there are.")
        .tips(&[tips::ALL_SHARDS, tips::AGG_SUM]),
    flush(CommandId::Flushdb, "flushdb").docs("1.0.0", "O(N) in all keys", "Deletes all keys of the database."),
    flush(CommandId::Flushall, "flushall").docs("1.0.0", "O(N) in all keys", "Deletes all keys."),
    CommandSpec::new(CommandId::Cluster, "cluster", -2, Group::Cluster)
        .docs("3.0.0", "see the subcommands", "Holds the commands that tell cluster clients who serves what.")
        .subcommands(CLUSTER),
];

static COMMAND: &[CommandSpec] = &[
    about_commands(CommandId::CommandCount, "command|count", 2).docs(
        "2.8.13",
        "O(1)",
        "Returns how many commands there are.",
    ),
    about_commands(CommandId::CommandDocs, "command|docs", -2)
        .docs("7.0.0", "O(N) in the commands asked for", "Returns the documentation of commands.")
        .args(&[COMMAND_NAMES])
        .tips(&[tips::NONDETERMINISTIC_ORDER]),
    about_commands(CommandId::CommandGetkeys, "command|getkeys", -3)
        .docs("2.8.13", "O(N) in the arguments", "Returns which arguments of a command are keys.")
        .args(&[Argument::string("command"), Argument::string("arg").optional().multiple()]),
    about_commands(CommandId::CommandHelp, "command|help", 2).docs("5.0.0", "O(1)", super::HELP_SUMMARY),
    about_commands(CommandId::CommandInfo, "command|info", -2)
        .docs("2.8.13", "O(N) in the commands asked for", "Returns details about commands, or about all.")
        .args(&[COMMAND_NAMES])
        .tips(&[tips::NONDETERMINISTIC_ORDER]),
    about_commands(CommandId::CommandList, "command|list", -2)
        .docs("7.0.0", "O(N) in all commands", "Returns the names of commands.")
        .args(&[Argument::one_of(
            "filterby",
            &[
                Argument::string("module-name").token("MODULE"),
                Argument::string("category").token("ACLCAT"),
                Argument::pattern("pattern").token("PATTERN"),
            ],
        )
        .token("FILTERBY")
        .optional()])
        .tips(&[tips::NONDETERMINISTIC_ORDER]),
];

static CONFIG: &[CommandSpec] = &[
    row(CommandId::ConfigGet, "config|get", -3, ADMINISTRATION)
        .docs("2.0.0", "O(N) in the settings", "Returns settings whose names match.")
        .args(&[Argument::string("parameter").multiple()]),
    row(CommandId::ConfigHelp, "config|help", 2, HELP).docs("5.0.0", "O(1)", super::HELP_SUMMARY),
    row(CommandId::ConfigResetstat, "config|resetstat", 2, ADMINISTRATION)
        .docs("2.0.0", "O(1)", "Sets the figures of INFO back to zero.")
        .tips(&[tips::ALL_NODES, tips::ALL_SUCCEEDED]),
    row(CommandId::ConfigSet, "config|set", -4, ADMINISTRATION)
        .docs("2.0.0", "O(N) in the settings given", "Changes settings, until the node is started again.")
        .args(&[Argument::block("data", &[Argument::string("parameter"), Argument::string("value")]).multiple()])
        .tips(&[tips::ALL_NODES, tips::ALL_SUCCEEDED]),
];

static ACL: &[CommandSpec] = &[
    row(CommandId::AclCat, "acl|cat", -2, PLAIN)
        .docs("6.0.0", "O(1)", "Returns the categories, or the commands of one.")
        .args(&[Argument::string("category").optional()]),
    row(CommandId::AclGetuser, "acl|getuser", 3, ADMINISTRATION)
        .docs("6.0.0", "O(1)", "Returns what a user may do.")
        .args(&[Argument::string("username")]),
    row(CommandId::AclHelp, "acl|help", 2, HELP).docs("6.0.0", "O(1)", super::HELP_SUMMARY),
    row(CommandId::AclList, "acl|list", 2, ADMINISTRATION).docs(
        "6.0.0",
        "O(N) in the users",
        "Returns all users in the words that would make them.",
    ),
    row(CommandId::AclLog, "acl|log", -2, ADMINISTRATION)
        .docs("6.0.0", "O(N) in the entries returned", "Returns who was refused, newest first, or forgets it.")
        .args(&[
            Argument::one_of("operation", &[Argument::integer("count"), Argument::word("reset", "RESET")]).optional()
        ]),
    row(CommandId::AclSetuser, "acl|setuser", -3, ADMINISTRATION)
        .docs("6.0.0", "O(N) in the rules", "Changes a user; so far only the password of the default one.")
        .args(&[Argument::string("username"), Argument::string("rule").optional().multiple()])
        .tips(&[tips::ALL_NODES, tips::ALL_SUCCEEDED]),
    row(CommandId::AclWhoami, "acl|whoami", 2, PLAIN).docs("6.0.0", "O(1)", "Returns the user of this connection."),
];

static CLUSTER: &[CommandSpec] = &[
    cluster(CommandId::ClusterHelp, "cluster|help", 2).docs("5.0.0", "O(1)", super::HELP_SUMMARY),
    cluster(CommandId::ClusterInfo, "cluster|info", 2)
        .docs("3.0.0", "O(1)", "Returns figures about the cluster as this node sees it.")
        .tips(&[tips::NONDETERMINISTIC]),
    CommandSpec::new(CommandId::ClusterKeyslot, "cluster|keyslot", 3, Group::Cluster)
        .flags(&[Flags::STALE])
        .docs("3.0.0", "O(N) in the bytes of the key", "Returns the slot of a key.")
        .args(&[Argument::string("key")]),
    cluster(CommandId::ClusterMyid, "cluster|myid", 2).docs("3.0.0", "O(1)", "Returns the name of this node."),
    cluster(CommandId::ClusterNodes, "cluster|nodes", 2)
        .docs("3.0.0", "O(N) in the nodes", "Returns the nodes with their slots, one a line.")
        .tips(&[tips::NONDETERMINISTIC]),
    cluster(CommandId::ClusterSlots, "cluster|slots", 2)
        .docs("3.0.0", "O(N) in the nodes", "Returns which nodes serve which slots.")
        .tips(&[tips::NONDETERMINISTIC]),
];

const fn row(id: CommandId, name: &'static str, arity: i16, flags: &[Flags]) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::Server).flags(flags)
}

const fn about_commands(id: CommandId, name: &'static str, arity: i16) -> CommandSpec {
    row(id, name, arity, HELP).category(Categories::CONNECTION)
}

const fn cluster(id: CommandId, name: &'static str, arity: i16) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::Cluster).flags(&[Flags::LOADING, Flags::STALE])
}

/// A command that deletes everything.
const fn flush(id: CommandId, name: &'static str) -> CommandSpec {
    row(id, name, -1, &[Flags::WRITE])
        .category(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .args(&[FLUSH_TYPE])
        .tips(&[tips::ALL_SHARDS, tips::ALL_SUCCEEDED])
}

const HELP: &[Flags] = &[Flags::LOADING, Flags::STALE];

const PLAIN: &[Flags] = &[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];

const ADMINISTRATION: &[Flags] = &[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];

const FLUSH_TYPE: Argument = Argument::one_of(
    "flush-type",
    &[Argument::word("async", "ASYNC").since("4.0.0"), Argument::word("sync", "SYNC").since("6.2.0")],
)
.optional();

const COMMAND_NAMES: Argument = Argument::string("command-name").optional().multiple();
