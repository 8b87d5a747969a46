//! The checks of the fuzz target `resp_reply`, in every test run: what it once found, and any scripts.

use proptest::prelude::*;
use quorate_fuzz::resp_reply::check;

#[test]
fn what_was_found_once_stays_fixed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions/resp_reply");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        check(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 5, "only {count} files in {folder}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_script_keeps_the_promises(data in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&data);
    }
}
