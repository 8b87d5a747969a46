//! The checks of the fuzz target `engine_input`, in every test run: what it once found, and any scripts.

use proptest::prelude::*;
use quorate_fuzz::engine_input::check;

#[test]
fn what_was_found_once_stays_fixed() {
    quorate_fuzz::replay("engine_input", 13, check);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_script_keeps_the_promises(data in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&data);
    }
}
