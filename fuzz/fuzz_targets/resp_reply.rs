//! `cargo fuzz run resp_reply`: any bytes as requests, each of which gets one whole reply.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::resp_reply::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("a fuzz target: run it with `cargo fuzz run resp_reply`");
}
