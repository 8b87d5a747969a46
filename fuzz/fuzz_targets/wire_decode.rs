//! `cargo fuzz run wire_decode`: any bytes as a stream of frames.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::wire_decode::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("a fuzz target: run it with `cargo fuzz run wire_decode`");
}
