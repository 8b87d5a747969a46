//! `cargo fuzz run resp_parse`: any bytes as a stream of requests.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate_fuzz::resp_parse::check(data));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("a fuzz target: run it with `cargo fuzz run resp_parse`");
}
