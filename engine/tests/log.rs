//! Logs in one pool against their model, and entries against arbitrary bytes.

use proptest::prelude::*;
use quorate_engine::entry::{Entries, Entry, padded_len};
use quorate_engine::testing::log_model::{Action, Op, pool_size, run, run_bytes};

/// Operations as the fuzzer makes them, named in failures.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(any::<[u8; 4]>().prop_map(Op::from_bytes), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1_000)))]

    #[test]
    fn logs_do_as_their_model(segments in 0..8_u8, kind in 0..4_u8, ops in ops()) {
        run(pool_size(segments, kind), ops);
    }

    #[test]
    fn any_bytes_are_an_entry_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..200), tidy in any::<bool>()) {
        if tidy && bytes.len() >= 48 {
            // Near misses: what must be small or zero is.
            bytes[4] %= 100;
            bytes[5..8].fill(0);
            bytes[32] %= 4;
            bytes[33] = 0;
            bytes[35] %= 0x40;
            bytes[36..40].fill(0);
            let body_end = (40 + usize::from(bytes[4])).min(bytes.len());
            let end = padded_len(usize::from(bytes[4])).min(bytes.len());
            bytes[body_end..end].fill(0);
        }
        let mut seen = 0;
        for entry in Entries::new(&bytes) {
            let Ok(entry) = entry else { continue };
            let mut again = entry.header().to_bytes().to_vec();
            again.extend_from_slice(entry.body());
            again.resize(padded_len(entry.body().len()), 0);
            prop_assert_eq!(&again, entry.raw(), "one entry has one encoding");
            prop_assert_eq!(entry.raw(), &bytes[seen..seen + again.len()]);
            prop_assert_eq!(entry.verify().is_ok(), entry.header().sealed(&[entry.body()]) == entry.header());
            seen += again.len();
        }
    }
}

#[test]
fn model_reaches_every_corner() {
    // One seed, many operations: what the strategy above generates must meet everything that can happen.
    let mut state = 0x5EED_u64;
    let mut bytes = vec![7, 1];
    for _ in 0..2_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.push(state.to_le_bytes()[5]);
    }
    let actions: Vec<Action> = bytes[2..].as_chunks().0.iter().map(|&four| Op::from_bytes(four).action).collect();
    let has = |wanted: fn(&Action) -> bool| assert!(actions.iter().any(wanted));
    has(|action| matches!(action, Action::Append { body_len: 1025.., .. }));
    has(|action| matches!(action, Action::AppendEntry { .. }));
    has(|action| matches!(action, Action::Cut(1..)));
    has(|action| matches!(action, Action::ReleaseOldest(0)));
    has(|action| matches!(action, Action::ReleaseAll));
    has(|action| matches!(action, Action::RestartAfter { backward: true, .. }));
    has(|action| matches!(action, Action::Slices { .. }));
    run_bytes(&bytes);
}

#[test]
fn entry_ends_where_the_bytes_end() {
    assert!(Entry::parse(&[]).is_err());
    assert!(Entries::new(&[]).next().is_none());
}
