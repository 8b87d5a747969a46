//! Publish and subscribe.

use super::argument::Argument;
use super::bits::{Flags, KeyFlags};
use super::ids::CommandId;
use super::spec::{CommandSpec, Group};

/// All commands of this family.
pub(super) static COMMANDS: &[CommandSpec] = &[
    subscription(CommandId::Subscribe, "subscribe", -2)
        .docs("2.0.0", "O(N) in the channels", "Subscribes to channels.")
        .args(&[CHANNEL.multiple()]),
    subscription(CommandId::Unsubscribe, "unsubscribe", -1)
        .docs("2.0.0", "O(N) in the channels", "Ends subscriptions to channels, or to all.")
        .args(&[CHANNEL.optional().multiple()]),
    subscription(CommandId::Psubscribe, "psubscribe", -2)
        .docs("2.0.0", "O(N) in the patterns", "Subscribes to all channels that match a pattern.")
        .args(&[PATTERN.multiple()]),
    subscription(CommandId::Punsubscribe, "punsubscribe", -1)
        .docs("2.0.0", "O(N) in the patterns", "Ends subscriptions to patterns, or to all.")
        .args(&[PATTERN.optional().multiple()]),
    subscription(CommandId::Ssubscribe, "ssubscribe", -2)
        .all_keys(&[KeyFlags::NOT_KEY])
        .docs("7.0.0", "O(N) in the channels", "Subscribes to channels that belong to a slot.")
        .args(&[SHARD_CHANNEL.multiple()]),
    subscription(CommandId::Sunsubscribe, "sunsubscribe", -1)
        .all_keys(&[KeyFlags::NOT_KEY])
        .docs("7.0.0", "O(N) in the channels", "Ends subscriptions to channels that belong to a slot, or to all.")
        .args(&[SHARD_CHANNEL.optional().multiple()]),
    publication(CommandId::Publish, "publish")
        .docs(
            "2.0.0",
            "O(N+M) in subscribers and patterns",
            "Sends a message to subscribers at every node, at most once.",
        )
        .args(&[CHANNEL, Argument::string("message")]),
    publication(CommandId::Spublish, "spublish")
        .one_key(&[KeyFlags::NOT_KEY])
        .docs("7.0.0", "O(N) in subscribers", "Sends a message to the subscribers of a slot's channel, at most once.")
        .args(&[SHARD_CHANNEL, Argument::string("message")]),
    CommandSpec::new(CommandId::Pubsub, "pubsub", -2, Group::Pubsub)
        .docs("2.8.0", "see the subcommands", "Holds the commands that tell about subscriptions.")
        .subcommands(&[
            question(CommandId::PubsubChannels, "pubsub|channels")
                .docs("2.8.0", "O(N) in the channels", "Returns the channels that have a subscriber.")
                .args(&[PATTERN.optional()]),
            CommandSpec::new(CommandId::PubsubHelp, "pubsub|help", 2, Group::Pubsub)
                .flags(&[Flags::LOADING, Flags::STALE])
                .docs("6.2.0", "O(1)", super::HELP_SUMMARY),
            CommandSpec::new(CommandId::PubsubNumpat, "pubsub|numpat", 2, Group::Pubsub).flags(QUESTION).docs(
                "2.8.0",
                "O(1)",
                "Returns how many different patterns are subscribed to.",
            ),
            question(CommandId::PubsubNumsub, "pubsub|numsub")
                .docs("2.8.0", "O(N) in the channels asked for", "Returns how many subscribers channels have.")
                .args(&[CHANNEL.optional().multiple()]),
            question(CommandId::PubsubShardchannels, "pubsub|shardchannels")
                .docs("7.0.0", "O(N) in the channels", "Returns the slots' channels that have a subscriber.")
                .args(&[PATTERN.optional()]),
            question(CommandId::PubsubShardnumsub, "pubsub|shardnumsub")
                .docs("7.0.0", "O(N) in the channels asked for", "Returns how many subscribers slots' channels have.")
                .args(&[SHARD_CHANNEL.optional().multiple()]),
        ]),
];

const CHANNEL: Argument = Argument::string("channel");

const SHARD_CHANNEL: Argument = Argument::string("shardchannel");

const PATTERN: Argument = Argument::pattern("pattern");

const QUESTION: &[Flags] = &[Flags::PUBSUB, Flags::LOADING, Flags::STALE];

const fn subscription(id: CommandId, name: &'static str, arity: i16) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::Pubsub).flags(&[
        Flags::PUBSUB,
        Flags::NOSCRIPT,
        Flags::LOADING,
        Flags::STALE,
    ])
}

const fn publication(id: CommandId, name: &'static str) -> CommandSpec {
    CommandSpec::new(id, name, 3, Group::Pubsub).flags(&[
        Flags::PUBSUB,
        Flags::LOADING,
        Flags::STALE,
        Flags::FAST,
        Flags::MAY_REPLICATE,
    ])
}

const fn question(id: CommandId, name: &'static str) -> CommandSpec {
    CommandSpec::new(id, name, -2, Group::Pubsub).flags(QUESTION)
}
