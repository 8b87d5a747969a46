//! The connection itself.

use super::argument::Argument;
use super::bits::{Categories, Flags};
use super::ids::CommandId;
use super::spec::{CommandSpec, Group};
use super::tips;

/// All commands of this family.
pub(super) static COMMANDS: &[CommandSpec] = &[
    row(CommandId::Hello, "hello", -1, BEFORE_AUTH)
        .docs("6.0.0", "O(1)", "Greets: chooses the version of the protocol, authenticates, names the connection.")
        .args(&[Argument::block(
            "arguments",
            &[
                Argument::integer("protover"),
                Argument::block("auth", &[Argument::string("username"), Argument::string("password")])
                    .token("AUTH")
                    .optional(),
                Argument::string("clientname").token("SETNAME").optional(),
            ],
        )
        .optional()]),
    row(CommandId::Auth, "auth", -2, BEFORE_AUTH)
        .docs("1.0.0", "O(1)", "Authenticates the connection.")
        .args(&[Argument::string("username").optional().since("6.0.0"), Argument::string("password")]),
    row(CommandId::Ping, "ping", -1, &[Flags::FAST])
        .docs("1.0.0", "O(1)", "Answers PONG, or the message.")
        .args(&[Argument::string("message").optional()])
        .tips(&[tips::ALL_SHARDS, tips::ALL_SUCCEEDED]),
    row(CommandId::Echo, "echo", 2, &[Flags::LOADING, Flags::STALE, Flags::FAST])
        .docs("1.0.0", "O(1)", "Answers the message.")
        .args(&[Argument::string("message")]),
    row(CommandId::Quit, "quit", -1, BEFORE_AUTH)
        .docs("1.0.0", "O(1)", "Closes the connection after what came before has been answered.")
        .deprecated("7.2.0", "closing the connection"),
    row(CommandId::Reset, "reset", 1, BEFORE_AUTH).docs(
        "6.2.0",
        "O(1)",
        "Puts the connection into the state of a new one.",
    ),
    row(CommandId::Select, "select", 2, &[Flags::LOADING, Flags::STALE, Flags::FAST])
        .docs("1.0.0", "O(1)", "Selects a database; there is one, 0.")
        .args(&[Argument::integer("index")]),
    CommandSpec::new(CommandId::Client, "client", -2, Group::Connection)
        .docs("2.4.0", "see the subcommands", "Holds the commands about connections.")
        .subcommands(CLIENT),
];

static CLIENT: &[CommandSpec] = &[
    row(CommandId::ClientCaching, "client|caching", 3, PLAIN)
        .docs("6.0.0", "O(1)", "Asks to track the keys of the next command.")
        .args(&[Argument::one_of("mode", &[Argument::word("yes", "YES"), Argument::word("no", "NO")])]),
    row(CommandId::ClientGetname, "client|getname", 2, PLAIN).docs(
        "2.6.9",
        "O(1)",
        "Returns the name of the connection.",
    ),
    row(CommandId::ClientHelp, "client|help", 2, &[Flags::LOADING, Flags::STALE]).docs(
        "5.0.0",
        "O(1)",
        super::HELP_SUMMARY,
    ),
    row(CommandId::ClientId, "client|id", 2, PLAIN).docs("5.0.0", "O(1)", "Returns the number of the connection."),
    row(CommandId::ClientInfo, "client|info", 2, PLAIN)
        .docs("6.2.0", "O(1)", "Returns what is known about this connection.")
        .tips(&[tips::NONDETERMINISTIC]),
    row(CommandId::ClientKill, "client|kill", -3, ADMINISTRATION)
        .docs("2.4.0", "O(N) in the connections", "Closes connections.")
        .args(&[KILL_FILTER]),
    row(CommandId::ClientList, "client|list", -2, ADMINISTRATION)
        .docs("2.4.0", "O(N) in the connections", "Returns what is known about all connections, one a line.")
        .args(&[
            Argument::one_of(
                "client-type",
                &[
                    Argument::word("normal", "NORMAL"),
                    Argument::word("master", "MASTER"),
                    Argument::word("replica", "REPLICA"),
                    Argument::word("pubsub", "PUBSUB"),
                ],
            )
            .token("TYPE")
            .optional()
            .since("5.0.0"),
            Argument::integer("client-id").token("ID").optional().multiple().since("6.2.0"),
        ])
        .tips(&[tips::NONDETERMINISTIC]),
    CommandSpec::new(CommandId::ClientMeta, "client|meta", 3, Group::Quorate)
        .flags(PLAIN)
        .category(Categories::QUORATE)
        .docs(
            "0.1.0",
            "O(1)",
            "Has replies carry group, epoch, index and loss generation of the entry they stand for (RESP3 attributes).",
        )
        .args(&[ON_OFF]),
    row(CommandId::ClientNoEvict, "client|no-evict", 3, ADMINISTRATION)
        .docs("7.0.0", "O(1)", "Accepted for clients that send it; connections are not evicted here.")
        .args(&[ON_OFF]),
    row(CommandId::ClientNoTouch, "client|no-touch", 3, PLAIN)
        .docs("7.2.0", "O(1)", "Accepted for clients that send it; reads change nothing here.")
        .args(&[ON_OFF]),
    row(CommandId::ClientPause, "client|pause", -3, ADMINISTRATION)
        .docs("3.0.0", "O(1)", "Holds back commands, or only writes, for some milliseconds.")
        .args(&[
            Argument::integer("timeout"),
            Argument::one_of("mode", &[Argument::word("write", "WRITE"), Argument::word("all", "ALL")])
                .optional()
                .since("6.2.0"),
        ]),
    row(CommandId::ClientReply, "client|reply", 3, PLAIN)
        .docs("3.2.0", "O(1)", "Turns replies off or on, or skips the next.")
        .args(&[Argument::one_of(
            "action",
            &[Argument::word("on", "ON"), Argument::word("off", "OFF"), Argument::word("skip", "SKIP")],
        )]),
    row(CommandId::ClientSetinfo, "client|setinfo", 4, PLAIN)
        .docs("7.2.0", "O(1)", "Says which client library this is.")
        .args(&[Argument::one_of(
            "attr",
            &[Argument::string("libname").token("LIB-NAME"), Argument::string("libver").token("LIB-VER")],
        )])
        .tips(&[tips::ALL_NODES, tips::ALL_SUCCEEDED]),
    row(CommandId::ClientSetname, "client|setname", 3, PLAIN)
        .docs("2.6.9", "O(1)", "Names the connection.")
        .args(&[Argument::string("connection-name")])
        .tips(&[tips::ALL_NODES, tips::ALL_SUCCEEDED]),
    row(CommandId::ClientTracking, "client|tracking", -3, PLAIN)
        .docs("6.0.0", "O(1)", "Turns off the tracking of keys that a client caches; turning it on is refused so far.")
        .args(&[
            Argument::one_of("status", &[Argument::word("on", "ON"), Argument::word("off", "OFF")]),
            Argument::integer("client-id").token("REDIRECT").optional(),
            Argument::string("prefix").token("PREFIX").optional().multiple_token(),
            Argument::word("bcast", "BCAST").optional(),
            Argument::word("optin", "OPTIN").optional(),
            Argument::word("optout", "OPTOUT").optional(),
            Argument::word("noloop", "NOLOOP").optional(),
        ]),
    row(CommandId::ClientTrackinginfo, "client|trackinginfo", 2, PLAIN).docs(
        "6.2.0",
        "O(1)",
        "Tells how keys are tracked for this connection.",
    ),
    row(CommandId::ClientUnpause, "client|unpause", 2, ADMINISTRATION).docs(
        "6.2.0",
        "O(N) in the connections held back",
        "Ends a pause.",
    ),
];

const fn row(id: CommandId, name: &'static str, arity: i16, flags: &[Flags]) -> CommandSpec {
    CommandSpec::new(id, name, arity, Group::Connection).flags(flags).category(Categories::CONNECTION)
}

const BEFORE_AUTH: &[Flags] =
    &[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::FAST, Flags::NO_AUTH, Flags::ALLOW_BUSY];

const PLAIN: &[Flags] = &[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];

const ADMINISTRATION: &[Flags] = &[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];

const ON_OFF: Argument = Argument::one_of("enabled", &[Argument::word("on", "ON"), Argument::word("off", "OFF")]);

const KILL_FILTER: Argument = Argument::one_of(
    "filter",
    &[
        Argument::string("ip:port"),
        Argument::one_of(
            "new-format",
            &[
                Argument::integer("client-id").token("ID").optional().since("2.8.12"),
                Argument::one_of(
                    "client-type",
                    &[
                        Argument::word("normal", "NORMAL"),
                        Argument::word("master", "MASTER").since("3.2.0"),
                        Argument::word("slave", "SLAVE"),
                        Argument::word("replica", "REPLICA").since("5.0.0"),
                        Argument::word("pubsub", "PUBSUB"),
                    ],
                )
                .token("TYPE")
                .optional()
                .since("2.8.12"),
                Argument::string("username").token("USER").optional(),
                Argument::string("addr").token("ADDR").optional(),
                Argument::string("laddr").token("LADDR").optional().since("6.2.0"),
                Argument::one_of("skipme", &[Argument::word("yes", "YES"), Argument::word("no", "NO")])
                    .token("SKIPME")
                    .optional(),
            ],
        )
        .multiple(),
    ],
);
