//! End-to-end performance harness.
fn main() {}
