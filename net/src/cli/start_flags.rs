//! The flags that configure a node: the last layer of its configuration.
//!
//! Verbs that start a node, or show how it would be configured, flatten [`StartFlags`] into their arguments. Names are
//! in one table here; what a flag does comes from the table of keys, and its value is checked there as well, so that a
//! flag, a variable and a line of the file are refused with the same words. Keys without a flag of their own are
//! reached with `--set SECTION.KEY=VALUE`.

use std::env;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use crate::config::keys::Kind;
use crate::config::{Config, Flag, FlagTarget, Key, KeyId, Sources};

/// What was said on the command line about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartFlags {
    /// The file, from `--config` or `QUORATE_CONFIG`.
    pub file: Option<PathBuf>,
    /// Everything else.
    pub flags: Vec<Flag>,
}

impl StartFlags {
    /// Reads the file and the environment of this process and lays the flags over them.
    #[must_use]
    pub fn load(&self) -> Config {
        Config::load(&Sources {
            file: self.file.as_deref(),
            environment: env::vars_os().collect(),
            flags: self.flags.clone(),
        })
    }

    fn read(matches: &ArgMatches) -> Self {
        let mut flags = Vec::new();
        let mut push = |name: &str, target: FlagTarget, text: String| {
            flags.push(Flag { name: format!("--{name}"), target, text });
        };
        // `--set` comes first: a flag of its own is the more specific way to say the same.
        for text in matches.get_many::<String>(SET).into_iter().flatten() {
            push(SET, FlagTarget::Named, text.clone());
        }
        for (name, id) in FLAGS {
            if is_switch(*id) {
                if matches.get_flag(name) {
                    push(name, FlagTarget::Key(*id), "true".to_owned());
                }
            } else if let Some(text) = matches.get_one::<String>(name) {
                push(name, FlagTarget::Key(*id), text.clone());
            }
        }
        for text in matches.get_many::<String>(PEER).into_iter().flatten() {
            push(PEER, FlagTarget::Peer, text.clone());
        }
        Self { file: matches.get_one::<PathBuf>(CONFIG).cloned(), flags }
    }
}

impl FromArgMatches for StartFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let later = Self::read(matches);
        self.file = later.file.or_else(|| self.file.take());
        self.flags.extend(later.flags);
        Ok(())
    }
}

impl Args for StartFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .env("QUORATE_CONFIG")
            .value_parser(value_parser!(PathBuf))
            .help("the configuration file; see `quorate config schema` for what it may say");
        let flags = FLAGS.iter().map(|(name, id)| {
            let key = Key::of(*id);
            let arg = Arg::new(*name).long(*name).help(format!("{} [{}]", key.help, key.full_name()));
            if is_switch(*id) {
                arg.action(ArgAction::SetTrue)
            } else {
                // The last one counts, as with layers; clap would refuse the second.
                arg.value_name(value_name(key.kind)).action(ArgAction::Set).overrides_with(*name)
            }
        });
        let peer = Arg::new(PEER)
            .long(PEER)
            .value_name("ID@HOST:PORT")
            .action(ArgAction::Append)
            .help("another node and its peer door; may be repeated, replaces the [[peers]] of the file");
        let set = Arg::new(SET)
            .long(SET)
            .value_name("SECTION.KEY=VALUE")
            .action(ArgAction::Append)
            .help("any other setting of the file, like limits.value_max=\"4 MiB\"; may be repeated");
        command.arg(file).args(flags).arg(peer).arg(set)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flags with a name of their own, in the order of the help.
const FLAGS: &[(&str, KeyId)] = &[
    ("node-id", KeyId::NodeId),
    ("cluster-id", KeyId::ClusterId),
    ("replicas", KeyId::Replicas),
    ("write-quorum", KeyId::WriteQuorum),
    ("partitions", KeyId::Partitions),
    ("cpus", KeyId::Cpus),
    ("poll", KeyId::Poll),
    ("io", KeyId::Io),
    ("memory-max", KeyId::MemoryMax),
    ("log-memory", KeyId::LogMemory),
    ("data-dir", KeyId::DataDir),
    ("durability", KeyId::Durability),
    ("resp", KeyId::ListenResp),
    ("native", KeyId::ListenNative),
    ("peer-listen", KeyId::ListenPeer),
    ("unix", KeyId::ListenUnix),
    ("requirepass", KeyId::Requirepass),
    ("insecure", KeyId::Insecure),
    ("debug-commands", KeyId::DebugCommands),
];

const CONFIG: &str = "config";
const PEER: &str = "peer";
const SET: &str = "set";

fn is_switch(id: KeyId) -> bool {
    Key::of(id).kind == Kind::Flag
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Name { .. } => "NAME",
        Kind::Secret { .. } => "PASSWORD",
        Kind::Count { .. } => "NUMBER",
        Kind::Size { .. } => "SIZE",
        Kind::Span { .. } => "DURATION",
        Kind::Flag => "BOOL",
        Kind::Choice { .. } => "WORD",
        Kind::Address => "IP:PORT",
        Kind::Ip => "IP",
        Kind::Endpoint => "HOST:PORT",
        Kind::Path { .. } => "PATH",
        Kind::Cpus { .. } => "COUNT|LIST",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> StartFlags {
        let command = StartFlags::augment_args(Command::new("start"));
        let matches = command.try_get_matches_from([&["start"], arguments].concat()).expect("flags that exist");
        StartFlags::read(&matches)
    }

    fn said(flags: &StartFlags) -> Vec<String> {
        flags.flags.iter().map(|flag| format!("{} {}", flag.name, flag.text)).collect()
    }

    #[test]
    fn flags_become_the_last_layer() {
        let flags = parse(&[
            "--node-id",
            "2",
            "--io=mio",
            "--insecure",
            "--peer",
            "1@a:7600",
            "--peer=3@b:7600",
            "--set",
            "node.cpus=2",
        ]);
        assert_eq!(
            said(&flags),
            ["--set node.cpus=2", "--node-id 2", "--io mio", "--insecure true", "--peer 1@a:7600", "--peer 3@b:7600"]
        );
        let settings = Config::load(&Sources { flags: flags.flags, ..Sources::default() }).build().expect("correct");
        assert_eq!((settings.node().cpus.count(), settings.peers().len()), (2, 2));
    }

    #[test]
    fn of_two_flags_for_one_key_the_last_one_counts() {
        assert_eq!(said(&parse(&["--cpus", "1", "--cpus", "2"])), ["--cpus 2"]);
    }
}
