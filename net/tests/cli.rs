//! The command line as a shell sees it: output, errors, exit codes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Ended {
    code: Option<i32>,
    output: String,
    errors: String,
}

/// Runs the binary without any variable of ours around it.
fn quorate(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    let ended = command
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built for this test");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("we print UTF-8");
    Ended { code: ended.status.code(), output: text(ended.stdout), errors: text(ended.stderr) }
}

/// A file in a folder of its own that goes away with it.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(test: &str, text: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("quorate-cli-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        std::fs::write(dir.join("node.toml"), text).expect("a temporary file");
        Self(dir)
    }

    fn path(&self) -> String {
        self.0.join("node.toml").display().to_string()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // What is left in a temporary folder is no reason to fail.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const CORRECT: &str =
    "[cluster]\nreplicas = 1\n\n[node]\nid = 7\nlog_memory = \"8 MiB\"\n\n[limits]\nvalue_max = \"512 KiB\"\n";

#[test]
fn a_correct_file_is_confirmed() {
    let file = TemporaryFile::new("correct", CORRECT.replace("8 MiB", "16 MiB").as_str());
    let ended = quorate(&["config", "check", &file.path()], &[]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    assert_eq!(
        ended.output,
        format!("{}: correct: node 7 of cluster quorate, 1 replicas, write quorum 1\n", file.path())
    );
}

#[test]
fn a_wrong_file_shows_all_errors_with_their_lines_and_fails() {
    let file = TemporaryFile::new("wrong", "[node]\nid = 1\nlog_memry = \"64 MiB\"\n\n[cluster]\nreplicas = 12\n");
    let ended = quorate(&["config", "check", &file.path()], &[]);
    let path = file.path();
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
    assert_eq!(
        ended.errors,
        format!(
            "error: {path}:3:1: unknown key `log_memry` in [node]; did you mean `log_memory`?\n  |\n3 | log_memry\n  | \
             ^^^^^^^^^\nerror: {path}:6:12: `cluster.replicas` is 12; allowed is 1 to 7\n  |\n6 | replicas = 12\n  |            \
             ^^\n"
        )
    );
    let json = quorate(&["config", "check", "--json", &path], &[]);
    let object: serde_json::Value = serde_json::from_str(&json.output).expect("JSON");
    assert_eq!((json.code, &object["correct"], &object["errors"][1]["line"]), (Some(1), &false.into(), &6.into()));
}

#[test]
fn a_missing_file_is_named() {
    let ended = quorate(&["config", "check", "/nonexistent/node.toml"], &[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.errors.starts_with("error: /nonexistent/node.toml: cannot be read: No such file"),
        "{}",
        ended.errors
    );
}

#[test]
fn print_shows_values_with_their_origin() {
    let file = TemporaryFile::new("print", CORRECT.replace("8 MiB", "16 MiB").as_str());
    let variables = [("QUORATE_NODE__POLL", "park"), ("QUORATE_CONFIG", &file.path())];
    let ended = quorate(&["config", "print", "--origin", "--io", "mio", "--set", "limits.key_max=1 KiB"], &variables);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    let origin_of = |key: &str| {
        let line = ended.output.lines().find(|line| line.starts_with(key)).expect("every key is printed");
        line.split_once('#').map(|(_, origin)| origin.trim().to_owned())
    };
    assert_eq!(origin_of("poll = \"park\"").as_deref(), Some("environment QUORATE_NODE__POLL"));
    assert_eq!(origin_of("io = \"mio\"").as_deref(), Some("flag --io"));
    assert_eq!(origin_of("key_max = \"1 KiB\"").as_deref(), Some("flag --set"));
    assert_eq!(origin_of("log_memory = \"16 MiB\""), Some(format!("{}:6:14", file.path())));
    assert_eq!(origin_of("write_quorum = 1").as_deref(), Some("default: a majority of cluster.replicas"));
}

#[test]
fn print_as_json_has_numbers_and_no_password() {
    let flags = ["config", "print", "--json", "--node-id", "1", "--replicas", "1", "--requirepass", "swordfish"];
    let ended = quorate(&flags, &[]);
    let object: serde_json::Value = serde_json::from_str(&ended.output).expect("JSON");
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(object["limits"]["value_max"], 1 << 20);
    assert_eq!(object["replication"]["read_lease"], 100_000_000);
    assert_eq!(object["node"]["data_dir"], serde_json::Value::Null);
    assert!(!ended.output.contains("swordfish"));
}

#[test]
fn the_schema_describes_every_key() {
    let text = quorate(&["config", "schema"], &[]);
    assert!(text.output.contains("\nnode.log_memory\n"), "{}", text.output);
    let json = quorate(&["config", "schema", "--json"], &[]);
    let object: serde_json::Value = serde_json::from_str(&json.output).expect("JSON");
    assert_eq!(object["properties"]["node"]["properties"]["cpus"]["default"], 1);
    assert_eq!(object["properties"]["node"]["required"], serde_json::json!(["id"]));
}

#[test]
fn a_wrong_call_is_a_usage_error() {
    for arguments in [
        &["confg"][..],
        &[],
        &["config", "check"],
        &["config", "print", "--node-id", "0", "--replicas", "1"],
        &["config", "print", "--node-id", "1", "--replicas", "1", "--poll", "never"],
    ] {
        assert_eq!(quorate(arguments, &[]).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn help_lists_only_what_is_built() {
    let ended = quorate(&["--help"], &[]);
    assert_eq!(ended.code, Some(0));
    for verb in ["lease", "doctor", "top", "snapshot"] {
        assert!(!ended.output.contains(&format!("\n  {verb} ")), "{verb} is not built");
    }
    assert!(!ended.output.contains('\u{1b}'));
}

#[test]
fn the_version_is_that_of_the_package() {
    let text = quorate(&["version"], &[]);
    assert!(text.output.starts_with(&format!("quorate {} (", env!("CARGO_PKG_VERSION"))), "{}", text.output);
    let json = quorate(&["version", "--json"], &[]);
    let object: serde_json::Value = serde_json::from_str(&json.output).expect("JSON");
    assert_eq!((json.code, &object["version"]), (Some(0), &env!("CARGO_PKG_VERSION").into()));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["config", "schema", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}
