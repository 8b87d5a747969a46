//! What the configuration accepts, what it refuses and with which words.

use std::ffi::OsString;
use std::path::Path;

use quorate::config::keys::KeyId;
use quorate::config::print::{Origins, to_json, to_toml};
use quorate::config::{Config, CpuPlan, Door, Flag, FlagTarget, Io, Poll, Settings, Sources};
use quorate_engine::ids::{CpuId, NodeId};

/// The file of the README and the interface description, whole.
const EXAMPLE: &str = r#"
[cluster]
id = "prices"            # the same on every node
partitions = 64
replicas = 3
write_quorum = 2

[node]
id = 1
core = true
cpus = 1
memory_max = "4 GiB"
log_memory = "64 MiB"
poll = "adaptive"
io = "auto"
data_dir = "/var/lib/quorate"
durability = "memory"

[listen]
resp = "127.0.0.1:7400"
native = "127.0.0.1:7500"
peer = "127.0.0.1:7600"
admin = "127.0.0.1:7700"

[[peers]]
id = 2
peer = "127.0.0.1:7620"
core = true

[[peers]]
id = 3
peer = "127.0.0.1:7640"
core = true
"#;

/// A node alone, the smallest file.
const ALONE: &str = "[cluster]\nreplicas = 1\n[node]\nid = 1\n";

fn accepted(text: &str) -> Settings {
    Config::from_text("node.toml", text).build().unwrap_or_else(|errors| panic!("{errors}"))
}

fn refused(text: &str) -> Vec<String> {
    let errors = Config::from_text("node.toml", text).build().expect_err("the file is wrong");
    errors.errors().iter().map(ToString::to_string).collect()
}

/// Refuses a file made of [`ALONE`] and `more`, for one reason. `more` starts at line 5.
fn refused_alone(more: &str) -> String {
    let errors = refused(&format!("{ALONE}{more}"));
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].clone()
}

/// Refuses [`EXAMPLE`] with one text replaced, for one reason.
fn refused_with(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    let errors = refused(&EXAMPLE.replacen(from, to, 1));
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].clone()
}

fn flag(name: &str, key: KeyId, text: &str) -> Flag {
    Flag { name: name.to_owned(), target: FlagTarget::Key(key), text: text.to_owned() }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn from_environment(pairs: &[(&str, &str)]) -> Vec<String> {
    let sources = Sources { environment: variables(pairs), ..Sources::default() };
    let errors = Config::load(&sources).build().expect_err("node.id is missing at least");
    errors.errors().iter().map(ToString::to_string).collect()
}

#[test]
fn the_documented_file_is_accepted() {
    let settings = accepted(EXAMPLE);
    assert_eq!(settings.cluster().id, "prices");
    assert_eq!((settings.cluster().replicas, settings.cluster().write_quorum), (3, 2));
    assert_eq!(settings.node().cpus, CpuPlan::Count(1));
    assert_eq!(settings.node().memory_bytes_max, 4 << 30);
    assert_eq!((settings.node().poll, settings.node().io), (Poll::Adaptive, Io::Auto));
    assert_eq!(settings.limits().key_bytes_max, 64 << 10);
    assert_eq!(settings.limits().value_bytes_max, 1 << 20);
    assert_eq!(settings.node_ids(), [NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(settings.listen().of_cpu(Door::Resp, CpuId(0)).port(), 7401);
    assert_eq!(settings.peers()[0].of_cpu(CpuId(0)).expect("there is a port").port(), 7621);
    assert_eq!(settings.peers()[1].resp.to_string(), "127.0.0.1:7440", "as far from its peer port as here");
    let notes: Vec<String> = settings.notes().iter().map(ToString::to_string).collect();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(settings.core_nodes(), [NodeId(1), NodeId(2), NodeId(3)]);
}

#[test]
fn a_core_has_one_three_or_five_nodes() {
    let core_of = |text: &str| accepted(text).core_nodes().iter().map(|node| node.0).collect::<Vec<_>>();
    let unmarked = EXAMPLE.replace("core = true\n", "");
    let node = |id: u16| format!("[[peers]]\nid = {id}\npeer = '127.0.0.1:{}'\n", 8600 + 20 * id);
    assert_eq!(core_of(ALONE), [1]);
    assert_eq!(core_of(&unmarked), [1, 2, 3]);
    assert_eq!(core_of(&format!("{unmarked}{}", node(4))), [1, 2, 3], "the smallest numbers");
    assert_eq!(core_of(&format!("{unmarked}{}{}{}", node(4), node(5), node(6))), [1, 2, 3, 4, 5]);
    assert_eq!(core_of(&unmarked.replace("id = 2\n", "id = 2\ncore = true\n")), [2], "as marked");
    assert_eq!(core_of(&unmarked.replace("id = 2\n", "id = 2\ncore = false\n")), [1], "3 of 2 are none");
    assert_eq!(
        refused_with("id = 3\npeer = \"127.0.0.1:7640\"\ncore = true", "id = 3\npeer = \"127.0.0.1:7640\""),
        "node.toml:10:8: 2 nodes are marked as the consistent core (node.core, core under [[peers]]); mark 1, 3 or 5 of \
         them, on every node the same"
    );
}

#[test]
fn defaults_are_loopback_memory_and_a_majority() {
    let settings = accepted(ALONE);
    assert_eq!(settings.node().data_dir, Path::new("quorate-1"));
    assert!(Door::ALL.iter().all(|door| settings.listen().base(*door).ip().is_loopback()));
    assert_eq!(settings.cluster().write_quorum, 1);
    assert_eq!(settings.listen().unix_socket(Door::Resp, None), None);
    assert!(settings.notes().is_empty());
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    let unknown = |key: &str| refused_alone(&format!("{key} = 1\n"));
    assert_eq!(unknown("log_memry"), "node.toml:5:1: unknown key `log_memry` in [node]; did you mean `log_memory`?");
    assert_eq!(
        unknown("value_max"),
        "node.toml:5:1: unknown key `value_max` in [node]; did you mean `value_max` in [limits]?"
    );
    assert_eq!(
        unknown("requirepas"),
        "node.toml:5:1: unknown key `requirepas` in [node]; did you mean `requirepass` in [security]?"
    );
    assert_eq!(
        unknown("colour"),
        "node.toml:5:1: unknown key `colour` in [node]; its keys are id, core, cpus, memory_max, log_memory, poll, io, \
         data_dir, durability"
    );
}

#[test]
fn an_unknown_section_names_the_nearest_one() {
    assert_eq!(
        refused_alone("[limit]\nkey_max = '1 KiB'\n"),
        "node.toml:5:2: unknown section [limit]; did you mean [limits]?"
    );
    assert!(
        refused("colour = 1\n")[0].starts_with("node.toml:1:1: `colour` stands outside of every section; sections")
    );
    assert_eq!(
        refused("cpus = 1\n")[0],
        "node.toml:1:1: `cpus` stands outside of every section; write it below [node]"
    );
    assert_eq!(
        refused_alone("[peers]\nid = 2\n"),
        "node.toml:5:1: `peers` is a table; expected one [[peers]] for each other node, in double brackets"
    );
    assert_eq!(
        refused("node = 1\n")[0],
        "node.toml:1:8: `node` is a number; expected a section: write the keys below a line with its name in brackets"
    );
}

#[test]
fn a_wrong_type_says_which_type_is_expected() {
    assert_eq!(
        refused_with("partitions = 64", "partitions = \"64\""),
        "node.toml:4:14: `cluster.partitions` is a string; expected a whole number, 1 to 16384"
    );
    assert_eq!(
        refused_with("core = true", "core = 1"),
        "node.toml:10:8: `node.core` is a number; expected true or false"
    );
    assert_eq!(
        refused_with("cpus = 1", "cpus = 1.5"),
        "node.toml:11:8: `node.cpus` is a number with a fraction; expected how many CPUs, 1 to 16, or a list of CPU \
         numbers like [2, 3]"
    );
}

#[test]
fn a_value_out_of_range_says_the_range() {
    assert_eq!(
        refused_with("replicas = 3", "replicas = 12"),
        "node.toml:5:12: `cluster.replicas` is 12; allowed is 1 to 7"
    );
    assert_eq!(refused_with("id = 1", "id = 0"), "node.toml:9:6: `node.id` is 0; allowed is 1 to 65535");
    assert_eq!(
        refused_with("64 MiB", "64 KiB"),
        "node.toml:13:14: `node.log_memory` is 64 KiB; allowed is 4 MiB to 1 TiB"
    );
    assert_eq!(
        refused_with("64 MiB", "64 megs"),
        "node.toml:13:14: `node.log_memory` is \"64 megs\"; expected a size like \"64 MiB\", 4 MiB to 1 TiB"
    );
    assert_eq!(
        refused_alone("[replication]\nread_lease = '1 min'\n"),
        "node.toml:6:14: `replication.read_lease` is 1 min; allowed is 10 ms to 10 s"
    );
    assert_eq!(refused_with("cpus = 1", "cpus = 17"), "node.toml:11:8: `node.cpus` is 17; allowed is 1 to 16");
}

#[test]
fn a_wrong_word_says_the_words() {
    assert_eq!(
        refused_with("adaptive", "adaptiv"),
        "node.toml:14:8: `node.poll` is \"adaptiv\"; allowed is \"spin\", \"adaptive\" or \"park\"; did you mean `adaptive`?"
    );
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    for mode in ["async", "sync"] {
        assert_eq!(
            refused_with("durability = \"memory\"", &format!("durability = \"{mode}\"")),
            format!("node.toml:17:14: `node.durability` is {mode:?}, which is not built yet; use \"memory\"")
        );
    }
}

#[test]
fn a_required_key_says_what_to_write() {
    assert_eq!(
        refused("[cluster]\nreplicas = 1\n"),
        ["`node.id` is missing; write a number that no other node of the cluster has, like id = 1 under [node]"]
    );
    assert_eq!(
        refused_alone("[[peers]]\nid = 2\n"),
        "node.toml:5:1: `peers.peer` is missing; write the address of its peer door, like peer = \"127.0.0.1:7620\""
    );
}

#[test]
fn a_quorum_is_at_most_all_replicas_and_may_be_less_than_a_majority() {
    assert_eq!(
        refused_with("write_quorum = 2", "write_quorum = 4"),
        "node.toml:6:16: `cluster.write_quorum` is 4 and `cluster.replicas` is 3; allowed is 1 to 3"
    );
    let notes = |w: &str| {
        let settings = accepted(&EXAMPLE.replace("write_quorum = 2", w));
        settings.notes().first().map(ToString::to_string)
    };
    assert_eq!(
        notes("write_quorum = 1").as_deref(),
        Some(
            "write_quorum 1 of 3: an acknowledged write is held by 1, and taking over from a lost leader needs 3 of 3 \
             replicas"
        )
    );
    assert_eq!(
        notes("write_quorum = 3").as_deref(),
        Some("write_quorum 3 of 3: writes stop when 1 of 3 replicas cannot be reached; a majority is 2")
    );
}

#[test]
fn every_replica_needs_a_node() {
    assert_eq!(
        refused_with("replicas = 3", "replicas = 5"),
        "node.toml:5:12: `cluster.replicas` is 5, but this node and its 2 peers are 3; add [[peers]] until there are 5 \
         nodes, or set replicas to 3"
    );
    // Two replicas and W = 1 on three nodes are fewer copies than nodes, which is fine.
    accepted(&EXAMPLE.replace("replicas = 3", "replicas = 2").replace("write_quorum = 2", "write_quorum = 1"));
}

#[test]
fn peers_are_other_nodes_and_each_is_listed_once() {
    assert_eq!(
        refused_with("id = 2", "id = 1"),
        "node.toml:26:6: peer 1 has the id of this node; list only the other nodes under [[peers]]"
    );
    assert_eq!(
        refused_with("id = 3\npeer", "id = 2\npeer"),
        "node.toml:31:6: peer 2 is already listed at node.toml:26:6; give every node an id of its own"
    );
    assert_eq!(
        refused_with("127.0.0.1:7640", "127.0.0.1:7620"),
        "node.toml:32:8: peer 3 has the address 127.0.0.1:7620 of peer 2; give every node an address of its own"
    );
    assert_eq!(
        refused_with("127.0.0.1:7640", "127.0.0.1:7601"),
        "node.toml:32:8: peer 3 is at 127.0.0.1:7601, but ports 7600 to 7601 there are this node's own peer door; keep \
         the nodes of one machine 20 ports apart"
    );
    assert_eq!(
        refused_with("\"127.0.0.1:7640\"", "\"127.0.0.1:100\"\nnative = \"127.0.0.1:99\""),
        "node.toml:32:8: peer 3 is at 127.0.0.1:100, and no port lies as far from it as `listen.resp` from \
         `listen.peer`; write its resp address under [[peers]]"
    );
}

#[test]
fn doors_need_ports_of_their_own() {
    assert_eq!(
        refused_with("127.0.0.1:7500", "127.0.0.1:7401"),
        "node.toml:21:10: `listen.native` takes ports 7401 to 7402 and `listen.resp` ports 7400 to 7401; with cpus = 1 \
         keep base ports at least 2 apart (base + 1 + CPU is that CPU's own door)"
    );
    assert_eq!(
        refused_alone("[listen]\nresp = '127.0.0.1:65535'\n"),
        "node.toml:6:8: `listen.resp` has port 65535; with cpus = 1 allowed is 1 to 65534 (base + 1 + CPU is that CPU's \
         own door)"
    );
    assert_eq!(
        refused_with("127.0.0.1:7400", "127.0.0.1:0"),
        "node.toml:20:8: `listen.resp` is \"127.0.0.1:0\"; expected IP:PORT like \"127.0.0.1:7400\", ports 1 to 65535"
    );
    // Another address has ports of its own.
    accepted(&EXAMPLE.replace("127.0.0.1:7500", "127.0.0.2:7400"));
}

#[test]
fn listening_beyond_loopback_needs_a_password_or_insecure() {
    assert_eq!(
        refused_with("resp = \"127.0.0.1", "resp = \"0.0.0.0"),
        "node.toml:20:8: `listen.resp` = 0.0.0.0:7400 can be reached from other machines; set security.requirepass, \
         listen on 127.0.0.1, or say --insecure if the network is trusted"
    );
    let open = EXAMPLE.replace("resp = \"127.0.0.1", "resp = \"0.0.0.0");
    assert!(accepted(&format!("{open}[security]\nrequirepass = 'swordfish'\n")).security().requirepass.is_some());
    accepted(&format!("{open}[security]\ninsecure = true\n"));
}

#[test]
fn the_longest_value_must_fit_everywhere_it_goes() {
    assert_eq!(
        refused_with("cpus = 1", "cpus = 16"),
        "node.toml:13:14: an entry with the longest key and value takes 1114368 B, but a group may hold 512 KiB of \
         uncommitted entries (1/8 of a CPU's part of the log, with cpus = 16); raise node.log_memory to 137 MiB or lower \
         limits.value_max"
    );
    assert_eq!(
        refused_alone("[limits]\nvalue_max = '5 MiB'\n"),
        "node.toml:6:13: an entry with the longest key and value takes 5308672 B, but replication.window_bytes is 4 MiB; \
         raise it to 6 MiB or lower limits.value_max"
    );
    assert_eq!(
        refused_alone("[limits]\noutput_max = '1 MiB'\n"),
        "node.toml:6:14: an entry with the longest key and value takes 1114368 B, but limits.output_max is 1 MiB; raise \
         it to 2 MiB or lower limits.value_max"
    );
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_file() {
    let errors = refused("[cluster]\nreplicas = 9\n[node]\nid = 'one'\nlog_memry = 1\n[[peers]]\nid = 2\n");
    let places: Vec<&str> = errors.iter().map(|error| error.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(places, ["node.toml:2:12", "node.toml:4:6", "node.toml:5:1", "node.toml:6:1"]);
}

#[test]
fn syntax_errors_have_a_place_and_do_not_hide_others() {
    let errors = refused("[cluster]\nreplicas = \n[node]\nid = 1\nlog_memry = 1\n");
    assert!(errors[0].starts_with("node.toml:2:12: syntax: "), "{errors:#?}");
    assert!(errors[1].starts_with("node.toml:5:1: unknown key `log_memry`"), "{errors:#?}");
    assert_eq!(errors.len(), 2, "{errors:#?}");
    let twice = refused("[node]\nid = 1\nid = 2\n");
    assert!(twice[0].starts_with("node.toml:3:1: syntax: duplicate key"), "{twice:#?}");
}

#[test]
fn an_unreadable_file_says_which_and_why() {
    let read = |path: &Path| {
        let errors = Config::load(&Sources { file: Some(path), ..Sources::default() }).build().expect_err("unreadable");
        assert_eq!(errors.count(), 1, "what an unreadable file would have said is not missing: {errors}");
        errors.errors()[0].to_string()
    };
    assert_eq!(
        read(Path::new("/nonexistent/node.toml")),
        "/nonexistent/node.toml: cannot be read: No such file or directory (os error 2); check the path and who may read it"
    );
    assert!(read(Path::new("/")).starts_with("/: cannot be read: Is a directory"));

    let dir = std::env::temp_dir().join(format!("quorate-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    let path = dir.join("node.toml");
    std::fs::write(&path, b"[node]\nid = \xff\n").expect("a temporary file");
    assert_eq!(read(&path), format!("{}:2:6: is not UTF-8 text from here on", path.display()));
    std::fs::write(&path, vec![b'\n'; (1 << 20) + 1]).expect("a temporary file");
    assert_eq!(read(&path), format!("{}: is longer than 1 MiB; a configuration file is a few KiB", path.display()));
    std::fs::remove_dir_all(&dir).expect("our own folder");
}

#[test]
fn hostile_files_are_values_and_bounded() {
    let many: String = (0..10_000).map(|index| format!("k{index} = 1\n")).collect();
    let errors = Config::from_text("node.toml", &format!("[node]\n{many}")).build().expect_err("unknown keys");
    assert_eq!((errors.errors().len(), errors.count()), (50, 10_002), "and node.id, and too few peers");
    assert!(errors.to_string().ends_with("\nand 9952 more"));

    for text in [
        "[".repeat(10_000),
        "a = [".repeat(10_000),
        "{".repeat(100_000),
        "a.".repeat(10_000),
        format!("[node]\nid = {}\n", "9".repeat(10_000)),
        format!("[node]\n\"{}\" = 1\n", "\\u001b[2J".repeat(1_000)),
        "[node]\nid = 0x\n\u{0}\u{feff}".to_owned(),
        format!("[[peers]]\nid = 2\n{}", "[[peers]]\n".repeat(100)),
    ] {
        let shown = refused(&text).join("\n");
        assert!(!shown.contains('\u{1b}') && shown.len() < 50_000, "{} bytes of errors", shown.len());
    }
}

#[test]
fn later_layers_override_and_every_value_remembers_its_origin() {
    let dir = std::env::temp_dir().join(format!("quorate-layers-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    let path = dir.join("node.toml");
    std::fs::write(&path, EXAMPLE).expect("a temporary file");
    let config = Config::load(&Sources {
        file: Some(&path),
        environment: variables(&[
            ("QUORATE_NODE__CPUS", "2"),
            ("QUORATE_NODE__IO", "mio"),
            ("QUORATE_DATA", "not a setting"),
            ("PATH", "/bin"),
        ]),
        flags: vec![flag("--io", KeyId::Io, "uring")],
    });
    let settings = config.build().expect("all layers are correct");
    std::fs::remove_dir_all(&dir).expect("our own folder");
    assert_eq!(settings.node().cpus, CpuPlan::Count(2));
    assert_eq!(settings.node().io, Io::Uring);

    let origin = |id: KeyId| config.origin(id).to_string();
    assert_eq!(origin(KeyId::Partitions), format!("{}:4:14", path.display()));
    assert_eq!(origin(KeyId::Cpus), "environment QUORATE_NODE__CPUS");
    assert_eq!(origin(KeyId::Io), "flag --io");
    assert_eq!(origin(KeyId::KeyMax), "default");
    let printed = to_toml(&config, Origins::Shown);
    assert!(printed.contains("# environment QUORATE_NODE__CPUS\n"), "{printed}");
    assert_eq!(to_json(&config, Origins::Shown)["node"]["io"]["origin"], "flag --io");
}

#[test]
fn what_is_printed_says_the_same_again() {
    for text in [EXAMPLE, ALONE] {
        let config = Config::from_text("node.toml", text);
        let printed = to_toml(&config, Origins::Shown);
        let again = Config::from_text("printed.toml", &printed);
        again.build().unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
        assert_eq!(to_json(&again, Origins::Hidden), to_json(&config, Origins::Hidden), "{printed}");
    }
}

#[test]
fn a_password_is_never_shown() {
    let text = format!("{ALONE}[security]\nrequirepass = 'swordfish'\n");
    let config = Config::from_text("node.toml", &text);
    let settings = config.build().expect("correct");
    for shown in [
        to_toml(&config, Origins::Shown),
        to_json(&config, Origins::Shown).to_string(),
        format!("{config:?}").replace(&format!("{text:?}"), ""),
        format!("{settings:?}"),
    ] {
        assert!(!shown.contains("swordfish"), "{shown}");
    }
    let wrong = Config::from_text("node.toml", &text.replace("requirepass", "requirepas"));
    let errors = wrong.build().expect_err("unknown key");
    assert_eq!(errors.excerpt(&errors.errors()[0]).as_deref(), Some("  |\n6 | requirepas\n  | ^^^^^^^^^^"));
}

#[test]
fn the_environment_is_checked_like_the_file() {
    assert_eq!(
        from_environment(&[
            ("QUORATE_NODE__LOG_MEMRY", "1"),
            ("QUORATE_NODE__ID", "1"),
            ("QUORATE_CLUSTER__REPLICAS", "1")
        ]),
        ["QUORATE_NODE__LOG_MEMRY: names no setting; did you mean `QUORATE_NODE__LOG_MEMORY`?"]
    );
    assert_eq!(
        from_environment(&[("QUORATE_NODE__ID", "one"), ("QUORATE_CLUSTER__REPLICAS", "1")]),
        ["QUORATE_NODE__ID: `node.id` is \"one\"; expected a whole number, 1 to 65535"]
    );
    assert_eq!(
        from_environment(&[("QUORATE_NODE__ID", "1"), ("QUORATE_PEERS", "2@127.0.0.1:7620, 3")]),
        ["QUORATE_PEERS: is \"3\"; expected ID@HOST:PORT, like 2@127.0.0.1:7620"]
    );
}

#[test]
fn peers_of_the_environment_replace_those_of_the_file() {
    let environment = variables(&[("QUORATE_NODE__ID", "1"), ("QUORATE_PEERS", "2@127.0.0.1:7620,3@node3:7600")]);
    let settings = Config::load(&Sources { environment, ..Sources::default() }).build().expect("correct");
    assert_eq!(settings.peers()[1].peer.to_string(), "node3:7600");
    assert_eq!(settings.peers()[1].native.to_string(), "node3:7500");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;

    let environment = vec![(OsString::from("QUORATE_NODE__ID"), OsString::from_vec(vec![0xff]))];
    let errors = Config::load(&Sources { environment, ..Sources::default() }).build().expect_err("not text");
    assert_eq!(errors.errors()[0].to_string(), "QUORATE_NODE__ID: is not UTF-8 text");
}

#[test]
fn a_wrong_flag_is_a_wrong_call() {
    let named = |text: &str| Flag { name: "--set".to_owned(), target: FlagTarget::Named, text: text.to_owned() };
    let load = |flags: Vec<Flag>| {
        let environment = variables(&[("QUORATE_NODE__ID", "1"), ("QUORATE_CLUSTER__REPLICAS", "1")]);
        Config::load(&Sources { environment, flags, ..Sources::default() }).build()
    };
    assert_eq!(load(vec![named("limits.key_max=1 KiB")]).expect("correct").limits().key_bytes_max, 1024);
    for (flag, text) in [
        (
            flag("--poll", KeyId::Poll, "sleep"),
            "--poll: `node.poll` is \"sleep\"; allowed is \"spin\", \"adaptive\" or \"park\"",
        ),
        (named("key_max"), "--set: is \"key_max\"; expected SECTION.KEY=VALUE, like node.cpus=2"),
        (named("limits.keymax=1"), "--set: names no setting; did you mean `limits.key_max`?"),
    ] {
        let errors = load(vec![flag]).expect_err("a wrong flag");
        assert_eq!(errors.to_string(), text);
        assert!(errors.is_usage());
    }
}

#[test]
fn unix_sockets_lie_in_one_directory() {
    let settings = accepted(&format!("{ALONE}[listen]\nunix = '/run/quorate'\n"));
    let socket = |door, cpu| settings.listen().unix_socket(door, cpu).map(|path| path.display().to_string());
    assert_eq!(socket(Door::Peer, None).as_deref(), Some("/run/quorate/peer.sock"));
    assert_eq!(socket(Door::Native, Some(CpuId(15))).as_deref(), Some("/run/quorate/native-15.sock"));
    assert_eq!(socket(Door::Admin, None), None);
    let long = format!("[listen]\nunix = '/{}'\n", "x".repeat(92));
    assert!(refused_alone(&long).ends_with("expected a path of 1 to 92 bytes, in quotes"));
}
