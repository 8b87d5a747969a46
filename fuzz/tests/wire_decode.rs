//! The checks of the fuzz target `wire_decode`, in every test run: what it once found, and generated streams.

use proptest::prelude::*;
use quorate_fuzz::wire_decode::check;

fn regressions() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions/wire_decode");
    let entries = std::fs::read_dir(folder).expect("the folder is committed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

#[test]
fn what_was_found_once_stays_fixed() {
    let files = regressions();
    assert!(files.len() >= 20, "only {} files", files.len());
    for data in files {
        check(&data);
    }
}

/// Two files behind one another at one stage, with a few bytes changed, mostly under right checksums.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let file = prop::sample::select(regressions());
    let byte = prop_oneof![Just(0), Just(1), Just(0x7F), Just(0xFF), any::<u8>()];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), byte), 0..5);
    (file.clone(), file, changes, any::<u8>(), prop::bool::weighted(0.9)).prop_map(
        |(mut data, more, changes, piece, is_repaired)| {
            data.extend_from_slice(&more[2..]);
            for (at, byte) in changes {
                let at = 2 + at.index(data.len() - 2);
                data[at] = byte;
            }
            data[0] = (data[0] & 0x7F) | if is_repaired { 0 } else { 0x80 };
            data[1] = piece;
            data
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn damaged_streams_are_refused_or_canonical(data in damaged()) {
        check(&data);
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(data in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&data);
    }
}
