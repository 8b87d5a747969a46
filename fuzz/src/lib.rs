//! What the fuzz targets share; the models themselves live in `quorate_engine::testing`.

pub mod engine_input;
pub mod resp_parse;
pub mod resp_reply;
mod script;
pub mod wire_decode;

/// Runs `check` on every input that is kept for a fuzz target in `regressions`.
///
/// # Panics
/// If there are fewer than `count_min`: some are missing.
pub fn replay(target: &str, count_min: usize, check: impl Fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let inputs = std::fs::read_dir(&folder).expect("the folder of the target's inputs");
    let mut count = 0;
    for input in inputs {
        let path = input.expect("an entry of a folder that can be read").path();
        check(&std::fs::read(path).expect("an input that can be read"));
        count += 1;
    }
    assert!(count >= count_min, "only {count} files in {}", folder.display());
}
