//! What the fuzz target `log_ops` runs, in every test run.

use quorate_engine::testing::log_model::run_bytes;

#[test]
fn what_was_found_once_stays_fixed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions/log_ops");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run_bytes(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 4, "only {count} files in {folder}");
}
