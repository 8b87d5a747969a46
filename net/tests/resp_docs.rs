//! `COMMAND` and its subcommands, read by a decoder that is not ours.

#![cfg(test)]

use quorate::resp::table::{self, CommandId};
use quorate::resp::{Encoder, Limits, Parsed, Parser, Protocol, Trust, docs};
use redis_protocol::resp2::types::OwnedFrame as Resp2;
use redis_protocol::resp3::types::OwnedFrame as Resp3;

/// Answers one inline request about commands.
fn answer(line: &str, protocol: Protocol) -> Vec<u8> {
    let line = format!("{line}\r\n");
    let mut parser = Parser::new(Limits::default());
    assert!(matches!(parser.parse(line.as_bytes(), Trust::Authenticated), Parsed::Complete { .. }));
    let args = parser.args(line.as_bytes());
    let mut reply = Vec::new();
    let mut out = Encoder::new(&mut reply, protocol);
    match table::resolve(args).unwrap().id {
        CommandId::Command => docs::write_all(&mut out),
        CommandId::CommandCount => docs::write_count(&mut out),
        CommandId::CommandInfo => docs::write_info(args, &mut out),
        CommandId::CommandDocs => docs::write_docs(args, &mut out),
        CommandId::CommandList => docs::write_list(args, &mut out),
        CommandId::CommandGetkeys => docs::write_keys(args, &mut out),
        CommandId::ClientHelp => docs::write_help(CommandId::Client.spec(), &mut out),
        other => panic!("{other:?}"),
    }
    reply
}

/// Decodes a reply that must be exactly one frame.
fn resp3(line: &str) -> Resp3 {
    let reply = answer(line, Protocol::V3);
    let (frame, len) = redis_protocol::resp3::decode::complete::decode(&reply).unwrap().unwrap();
    assert_eq!(len, reply.len(), "{line}: one reply, whole");
    frame
}

fn resp2(line: &str) -> Resp2 {
    let reply = answer(line, Protocol::V2);
    let (frame, len) = redis_protocol::resp2::decode::decode(&reply).unwrap().unwrap();
    assert_eq!(len, reply.len(), "{line}: one reply, whole");
    frame
}

fn shown(line: &str) -> String {
    String::from_utf8(answer(line, Protocol::V2)).unwrap().replace("\r\n", "|")
}

fn items(frame: &Resp2) -> &[Resp2] {
    match frame {
        Resp2::Array(items) => items,
        other => panic!("an array was expected: {other:?}"),
    }
}

fn bulk(frame: &Resp2) -> &str {
    match frame {
        Resp2::BulkString(text) => std::str::from_utf8(text).unwrap(),
        other => panic!("a bulk string was expected: {other:?}"),
    }
}

fn pairs(frame: &Resp2) -> Vec<(&str, &Resp2)> {
    items(frame).chunks_exact(2).map(|pair| (bulk(&pair[0]), &pair[1])).collect()
}

fn assert_simple(frames: &Resp2) {
    assert!(items(frames).iter().all(|flag| matches!(flag, Resp2::SimpleString(_))), "{frames:?}");
}

fn check_entry(entry: &Resp2) {
    let [name, arity, flags, first, last, step, categories, tips, keys, children] = items(entry) else {
        panic!("an entry has ten elements: {entry:?}");
    };
    let spec = table::find_full(bulk(name).as_bytes()).unwrap();
    assert_eq!(*arity, Resp2::Integer(i64::from(spec.arity)));
    assert!([first, last, step].iter().all(|number| matches!(number, Resp2::Integer(_))));
    assert_simple(flags);
    assert_simple(categories);
    items(tips).iter().for_each(|tip| _ = bulk(tip));
    assert_eq!(items(keys).len(), usize::from(spec.keys.is_some()));
    assert_eq!(items(children).len(), spec.subcommands.len());
    items(children).iter().for_each(check_entry);
}

#[test]
fn entries_have_ten_elements_of_the_right_types() {
    let all = resp2("COMMAND");
    assert_eq!(items(&all).len(), table::commands().len());
    items(&all).iter().for_each(check_entry);
    assert_eq!(all, resp2("COMMAND INFO"));
    assert_eq!(resp2("COMMAND COUNT"), Resp2::Integer(i64::try_from(table::commands().len()).unwrap()));
}

#[test]
fn info_answers_in_the_order_asked_with_null_for_the_unknown() {
    let reply = resp2("COMMAND INFO mset nosuch CLIENT|ID");
    let [mset, nosuch, id] = items(&reply) else { panic!("{reply:?}") };
    check_entry(mset);
    check_entry(id);
    assert_eq!(*nosuch, Resp2::Null);
    assert_eq!(items(mset)[3..6], [Resp2::Integer(1), Resp2::Integer(-1), Resp2::Integer(2)]);
}

fn check_documented(name: &str, docs: &Resp2) {
    let spec = table::find_full(name.as_bytes()).unwrap_or_else(|| panic!("{name}"));
    let mut fields = Vec::new();
    for (field, value) in pairs(docs) {
        fields.push(field);
        match field {
            "summary" | "since" | "group" | "complexity" | "deprecated_since" | "replaced_by" => {
                assert!(!bulk(value).is_empty());
            }
            "doc_flags" => assert_simple(value),
            "arguments" => items(value).iter().for_each(check_argument),
            "subcommands" => pairs(value).into_iter().for_each(|(child, docs)| check_documented(child, docs)),
            other => panic!("{name} has the field {other}"),
        }
    }
    assert!(fields.starts_with(&["summary", "since", "group"]), "{name}: {fields:?}");
    assert_eq!(fields.contains(&"arguments"), !spec.arguments.is_empty());
    assert_eq!(fields.contains(&"subcommands"), !spec.subcommands.is_empty());
}

fn check_argument(argument: &Resp2) {
    let mut fields = Vec::new();
    for (field, value) in pairs(argument) {
        fields.push(field);
        match field {
            "name" | "type" | "display_text" | "token" | "since" => assert!(!bulk(value).is_empty()),
            "key_spec_index" => assert_eq!(*value, Resp2::Integer(0)),
            "flags" => assert_simple(value),
            "arguments" => items(value).iter().for_each(check_argument),
            other => panic!("an argument has the field {other}"),
        }
    }
    assert!(fields.starts_with(&["name", "type"]), "{fields:?}");
}

#[test]
fn documentation_has_the_types_that_clients_insist_on() {
    let all = resp2("COMMAND DOCS");
    assert_eq!(pairs(&all).len(), table::commands().len());
    pairs(&all).into_iter().for_each(|(name, docs)| check_documented(name, docs));

    let some = resp2("COMMAND DOCS get nosuch client|kill");
    let names: Vec<&str> = pairs(&some).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["get", "client|kill"]);
}

#[test]
fn third_version_uses_maps_and_sets() {
    let Resp3::Map { data, .. } = resp3("COMMAND DOCS") else { panic!("a map") };
    assert_eq!(data.len(), table::commands().len());
    for docs in data.values() {
        assert!(matches!(docs, Resp3::Map { .. }), "{docs:?}");
    }
    let Resp3::Array { data, .. } = resp3("COMMAND INFO get") else { panic!("an array") };
    let Resp3::Array { data: entry, .. } = &data[0] else { panic!("an entry") };
    assert_eq!(entry.len(), 10);
    for index in [2, 6, 7] {
        assert!(matches!(entry[index], Resp3::Set { .. }), "element {index}: {:?}", entry[index]);
    }
    for index in [8, 9] {
        assert!(matches!(entry[index], Resp3::Array { .. }), "element {index}: {:?}", entry[index]);
    }
    assert!(matches!(resp3("COMMAND"), Resp3::Array { .. }));
}

#[test]
fn names_are_listed_and_filtered() {
    let names = |line: &str| -> Vec<String> { items(&resp2(line)).iter().map(|name| bulk(name).to_owned()).collect() };
    assert_eq!(names("COMMAND LIST").len(), CommandId::COUNT);
    assert_eq!(names("COMMAND LIST FILTERBY PATTERN hincr*"), ["hincrby", "hincrbyfloat"]);
    assert!(names("COMMAND LIST filterby aclcat hash").contains(&"hset".to_owned()));
    assert!(names("COMMAND LIST FILTERBY ACLCAT nosuch").is_empty());
    assert!(names("COMMAND LIST FILTERBY MODULE any").is_empty());
    assert_eq!(shown("COMMAND LIST FILTERBY"), "-ERR syntax error|");
    assert_eq!(shown("COMMAND LIST FILTERBY COLOUR red"), "-ERR syntax error|");
}

#[test]
fn keys_of_a_command_are_told() {
    assert_eq!(shown("COMMAND GETKEYS mset a 1 b 2"), "*2|$1|a|$1|b|");
    assert_eq!(shown("COMMAND GETKEYS set k v"), "*1|$1|k|");
    assert_eq!(shown("COMMAND GETKEYS ping x"), "-ERR The command has no key arguments|");
    assert_eq!(shown("COMMAND GETKEYS spublish a b"), "-ERR The command has no key arguments|");
    assert_eq!(shown("COMMAND GETKEYS get"), "-ERR Invalid number of arguments specified for command|");
    assert_eq!(shown("COMMAND GETKEYS nosuch a"), "-ERR Invalid command specified|");
}

#[test]
fn help_is_lines_of_text() {
    let help = resp2("CLIENT HELP");
    assert_simple(&help);
    let text = shown("CLIENT HELP");
    assert!(text.contains("+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:|"), "{text}");
    assert!(text.contains("+PAUSE timeout [WRITE | ALL]|+    Holds back"), "{text}");
}
