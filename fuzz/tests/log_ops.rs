//! What the fuzz target `log_ops` runs, in every test run.

use quorate_engine::testing::log_model::run_bytes;

#[test]
fn what_was_found_once_stays_fixed() {
    quorate_fuzz::replay("log_ops", 4, run_bytes);
}
