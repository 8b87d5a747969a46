//! redis-cli: it runs commands, and it lists ours in its help, which it builds from `COMMAND DOCS`.

use std::collections::BTreeSet;
use std::path::Path;

use quorate::resp::table::{self, Group};

use crate::servers::{cluster, cluster_with_password, ports};
use crate::tools;

/// Runs lines as if they were typed; returns what it prints, without colours and with one kind of line ends.
fn type_in(program: &Path, arguments: &[&str], lines: &str) -> String {
    let finished = tools::run(program, arguments, lines);
    assert_eq!((finished.code, finished.errors.as_str()), (Some(0), ""), "{}", finished.output);
    without_colours(&finished.output).replace("\r\n", "\n")
}

/// Takes out what changes colours: an escape, a bracket, numbers, an `m`.
fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut parts = text.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    parts.filter_map(|part| part.split_once('m')).for_each(|(_, rest)| plain.push_str(rest));
    plain
}

#[test]
fn help_lists_the_commands_that_others_do_not_have() {
    let Some(program) = tools::find("redis-cli") else { return };
    let cluster = cluster();
    let port = ports(&cluster)[0].to_string();
    let help = type_in(&program, &["-p", &port], "help @quorate\n");
    assert_eq!(help, type_in(&program, &["-p", &port, "help", "@quorate"], ""), "typed or given, it is the same");

    let all = table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let ours = all.filter(|spec| spec.group == Group::Quorate);
    let expected: BTreeSet<String> = ours.map(|spec| spec.name.to_uppercase().replace('|', " ")).collect();
    let mut listed = BTreeSet::new();
    for entry in help.split("\n\n").filter(|entry| !entry.trim().is_empty()) {
        // Names may begin alike; what follows is an argument or the end of the line.
        let is_named = |name: &&String| entry.trim_start().starts_with(&format!("{name} "));
        let name = expected.iter().filter(is_named).max_by_key(|name| name.len());
        listed.insert(name.unwrap_or_else(|| panic!("{entry} is none of ours")).clone());
        assert!(entry.contains("\n  summary: ") && entry.contains("\n  since: 0.1.0"), "{entry}");
    }
    assert_eq!(listed, expected, "{help}");
    assert!(listed.len() >= 8 && listed.contains("LOG DIGEST"), "{help}");
}

#[test]
fn help_of_one_command_tells_its_options() {
    let Some(program) = tools::find("redis-cli") else { return };
    let cluster = cluster();
    let port = ports(&cluster)[1].to_string();
    let help = type_in(&program, &["-p", &port], "help set\n");
    assert!(help.contains("  SET key value [NX|XX] [GET] [EX seconds|PX milliseconds|"), "{help}");
    assert!(help.contains("[ACK ACCEPTED|COMMIT]\n"), "{help}");
    assert!(help.contains("\n  group: string\n"), "{help}");
    let help = type_in(&program, &["-3", "-p", &port], "help hset\n");
    assert!(help.contains("  HSET key field value [field value ...]\n"), "{help}");
}

#[test]
fn commands_run_at_every_node() {
    let Some(program) = tools::find("redis-cli") else { return };
    let cluster = cluster();
    let lines = "set price 100.25\nget price\nhset line a 1 b 2\nhgetall line\nincrby n 41\nincr n\nget nothing\n\
                 mget price nothing\nexpire price 100\nttl price\nhget price f\nlpush l x\nselect 0\n\
                 del price line n\n";
    let expected = "OK\n100.25\n2\na\n1\nb\n2\n41\n42\n\n100.25\n\n1\n100\n\
                    WRONGTYPE Operation against a key holding the wrong kind of value\n\n\
                    ERR LPUSH is not supported: there are no lists; use a hash with numbered fields, or one key for \
                    each element with a common {tag}\n\nOK\n3\n";
    for port in ports(&cluster) {
        let port = port.to_string();
        assert_eq!(type_in(&program, &["-p", &port], lines), expected);
        let expected = expected.replace("a\n1\nb\n2\n", "a 1\nb 2\n");
        assert_eq!(type_in(&program, &["-3", "-p", &port], lines), expected);
        // The cluster mode follows redirections and fetches the map of slots.
        assert_eq!(type_in(&program, &["-c", "-p", &port, "mset", "{t}a", "1", "{t}b", "2"], ""), "OK\n");
    }
}

#[test]
fn password_is_asked_for_and_taken() {
    let Some(program) = tools::find("redis-cli") else { return };
    let cluster = cluster_with_password("open sesame");
    let port = ports(&cluster)[2].to_string();
    assert_eq!(type_in(&program, &["-p", &port], "get k\n"), "NOAUTH Authentication required.\n\n");
    let arguments = ["--no-auth-warning", "-a", "open sesame", "-p", &port];
    assert_eq!(type_in(&program, &arguments, "set k v\nget k\n"), "OK\nv\n");
    assert_eq!(type_in(&program, &[&["-3"][..], &arguments].concat(), "get k\n"), "v\n");
}
