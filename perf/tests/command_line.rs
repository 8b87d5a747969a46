//! The harness as a program: what its output and its files promise to other programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate-perf")).args(arguments).output().expect("the harness runs")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("every line is an object")).collect()
}

/// A folder of this test, emptied.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).expect("the folder of an earlier run can be removed");
    }
    path
}

#[test]
fn json_output_holds_result_lines_only() {
    let output = run(&["--json", "floor", "--window", "4", "--count", "500"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["system"], "floor");
    assert_eq!(lines[0]["mode"], "closed");
    assert_eq!(lines[0]["window"], 4);
    assert_eq!(lines[0]["count"], 500);
    assert_eq!(lines[0]["valid"], true);
    let fingerprint = String::from_utf8_lossy(&output.stderr);
    for part in ["\"cpu\":", "\"kernel\":", "\"commit\":", "\"hiccup\":", "\"command\":", "\"seed\":", "steal"] {
        assert!(fingerprint.contains(part), "{part} is missing: {fingerprint}");
    }
}

#[test]
fn peers_end_with_one_object_of_ratios() {
    let output = run(&[
        "--json",
        "peers",
        "--only",
        "floor,quorate-resp",
        "--quorate",
        "/nowhere",
        "--rounds",
        "3",
        "--count",
        "200",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    // Three rounds, their median, the ratios.
    assert_eq!(lines.len(), 5);
    assert!(lines[3]["note"].as_str().is_some_and(|note| note.starts_with("median of 3 rounds")));
    assert_eq!(lines[3]["count"], 600);
    assert!(lines[4]["ratios"].is_object());
    assert_eq!(lines[4]["rounds"], 3);
    let skipped = lines[4]["skipped"][0].as_str().expect("the missing daemon is named");
    assert!(skipped.starts_with("quorate/resp: no daemon at /nowhere"), "{skipped}");
}

#[test]
fn kept_histograms_become_a_plot() {
    let folder = folder("kept");
    let out = folder.to_str().expect("a path of this workspace is text");
    let output = run(&["floor", "--rate", "2000", "--poisson", "--count", "400", "--out", out]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for stem in ["floor-forward-open-poisson-r2000", "floor-forward-open-poisson-uncorrected-r2000"] {
        for extension in ["hgrm", "json"] {
            let path = folder.join(format!("{stem}.{extension}"));
            assert!(path.exists(), "{} is missing: {text}", path.display());
        }
    }
    let kept: Value = serde_json::from_str(
        &fs::read_to_string(folder.join("floor-forward-open-poisson-r2000.json")).expect("the file was just seen"),
    )
    .expect("a kept file is JSON");
    assert_eq!(kept["result"]["count"], 400);
    assert!(kept["machine"]["commit"].is_string());
    assert!(kept["machine"]["steal_percent"].is_number());

    let svg = folder.join("chart.svg");
    let output = run(&["plot", out, "--svg", svg.to_str().expect("a path of this workspace is text")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(svg).expect("the plot was written");
    assert!(text.contains("Poisson arrivals, 2000/s") && text.contains("floor (from send)"));
}

#[test]
fn wrong_options_are_refused_with_exit_code_2() {
    for arguments in [
        &["floor", "--window", "0"][..],
        &["floor", "--window", "4", "--rate", "100"],
        &["floor", "--poisson"],
        &["quorum", "--protocol", "carrier-pigeon"],
        &["faults"],
        &["faults", "--rounds", "1", "--minutes", "1"],
        &["core", "--nodes", "3"],
        &["core", "--nodes", "49"],
        &["core", "--writes", "0"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn failure_says_what_to_do_with_exit_code_1() {
    let output = run(&["quorum", "--quorate", "/nowhere", "--count", "10"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no daemon at /nowhere: build it with cargo build"), "{text}");

    let output = run(&["floor", "--nodes", "4"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("4 nodes: choose 3 or 5"));
}
