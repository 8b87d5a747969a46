//! `cargo fuzz run log_ops`: any bytes as operations on logs that share a tiny pool.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_engine::testing::log_model::run_bytes(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("a fuzz target: run it with `cargo fuzz run log_ops`");
}
