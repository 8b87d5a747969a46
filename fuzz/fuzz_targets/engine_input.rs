//! `cargo fuzz run engine_input`: any bytes as what peers and clients say to an engine.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::engine_input::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("a fuzz target: run it with `cargo fuzz run engine_input`");
}
