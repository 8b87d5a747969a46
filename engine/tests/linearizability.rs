//! Our checker against the verdicts of another one, on 108 histories recorded from real systems.
//!
//! The histories are not ours and are read where they lie: `QUORATE_CASES`, or `shared/cases` beside the repository. The
//! checker sees the text only, never the name of its file.

use std::path::PathBuf;

use quorate_engine::testing::history::{FormatError, parse};

/// Far more than any of them takes.
const STEPS_MAX: u64 = 50_000_000;

fn cases() -> Option<PathBuf> {
    let root = std::env::var_os("QUORATE_CASES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases"), PathBuf::from);
    let folder = root.join("linearizability/porcupine");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no histories in {}: set QUORATE_CASES", folder.display());
        eprintln!("SKIPPED: no histories in {}; set QUORATE_CASES to check the checker", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn the_checker_agrees_with_all_known_verdicts() {
    let Some(folder) = cases() else { return };
    let verdicts = std::fs::read_to_string(folder.join("expected.tsv")).expect("the verdicts");
    let mut counts = [0, 0];
    for line in verdicts.lines().skip(1) {
        let [file, _, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let text = std::fs::read_to_string(folder.join("test_data").join(file)).expect("a history");
        let history = parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let verdict = history.check(STEPS_MAX).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(verdict.to_string(), expected, "{file}");
        counts[usize::from(verdict)] += 1;
    }
    assert_eq!(counts.iter().sum::<i32>(), 108, "not linearizable and linearizable: {counts:?}");
}

#[test]
fn histories_cut_anywhere_are_still_read_or_refused_by_line() {
    let Some(folder) = cases() else { return };
    for file in ["jepsen/etcd_002.log", "kv/c01-ok.txt"] {
        let text = std::fs::read_to_string(folder.join("test_data").join(file)).expect("a history");
        for end in 0..text.len() {
            let is_whole = text.as_bytes()[end] == b'\n';
            match parse(&text[..end]) {
                // The prefix of a linearizable history is one; a number that is cut is another number.
                Ok(history) if is_whole => assert_eq!(history.check(STEPS_MAX), Ok(true), "{file} cut at {end}"),
                Ok(_) | Err(FormatError::Empty | FormatError::Line { .. }) => {}
                Err(error) => panic!("{file} cut at {end}: {error}"),
            }
        }
    }
}
