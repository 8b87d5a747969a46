use super::*;
use crate::entry::Entries;
use crate::sync::pool::PoolSize;

fn pool(segments: u32) -> Pool {
    Pool::new(PoolSize { segments, segment_bytes: 256 })
}

fn stamp(epoch: u64) -> EntryStamp {
    EntryStamp { epoch: Epoch(epoch), time: LogTime(epoch * 10), kind: EntryKind::Command, slot: Slot(7) }
}

/// Appends an entry of 64 bytes: four of them fill a segment but for the room of their offsets, so three fit.
fn append(log: &mut Log, pool: &mut Pool, epoch: u64) -> EntryId {
    log.append(pool, stamp(epoch), &[&[0xab; 24]]).unwrap()
}

/// Returns a log with `count` entries of epoch 1, three to a page.
fn filled(pool: &mut Pool, count: u64) -> Log {
    let mut log = Log::new(0);
    for _ in 0..count {
        append(&mut log, pool, 1);
    }
    log
}

fn id(epoch: u64, index: u64) -> EntryId {
    EntryId { epoch: Epoch(epoch), index: LogIndex(index) }
}

#[test]
fn empty_log_holds_no_memory() {
    let pool = pool(1);
    let log = Log::starting_after(3, id(2, 40));
    assert_eq!(
        (log.base(), log.last_id(), log.first(), log.last()),
        (id(2, 40), id(2, 40), LogIndex(41), LogIndex(40))
    );
    assert_eq!(log.epoch_at(&pool, LogIndex(40)), Some(Epoch(2)));
    assert_eq!(log.epoch_at(&pool, LogIndex(41)), None);
    assert!(log.entry(&pool, LogIndex(40)).is_none());
    assert_eq!(pool.free_segments(), 1);
}

#[test]
fn entries_are_found_by_index_across_pages() {
    let mut pool = pool(4);
    let mut log = Log::starting_after(0, id(1, 9));
    for index in 10..=19_u64 {
        let body = index.to_le_bytes();
        let appended = log.append(&mut pool, stamp(1 + index / 15), &[&body[..3], &body[3..]]).unwrap();
        assert_eq!(appended, id(1 + index / 15, index));
    }
    for index in 10..=19_u64 {
        let entry = log.entry(&pool, LogIndex(index)).unwrap();
        assert_eq!(entry.body(), index.to_le_bytes());
        assert_eq!(entry.id(), id(1 + index / 15, index));
        assert_eq!(log.epoch_at(&pool, LogIndex(index)), Some(Epoch(1 + index / 15)));
        entry.verify().unwrap();
    }
    log.check(&pool);
}

#[test]
fn entry_larger_than_a_segment_takes_a_run() {
    let mut pool = pool(5);
    let mut log = filled(&mut pool, 1);
    let large: Vec<u8> = (0..600_u32).map(|byte| (byte % 251) as u8).collect();
    log.append(&mut pool, stamp(1), &[&large[..1], &large[1..]]).unwrap();
    assert_eq!(pool.free_segments(), 1, "one for the first entry, three for the large one");
    append(&mut log, &mut pool, 1);
    assert_eq!(pool.free_segments(), 1, "the end of the run is used");
    assert_eq!(log.entry(&pool, LogIndex(2)).unwrap().body(), large);
    assert_eq!(log.append(&mut pool, stamp(1), &[&large]), Err(LogFull { segments_needed: 3, segments_free: 1 }));
    log.check(&pool);
}

#[test]
fn full_pool_refuses_until_the_oldest_goes() {
    let mut pool = pool(2);
    let mut log = filled(&mut pool, 6);
    let full = LogFull { segments_needed: 1, segments_free: 0 };
    assert_eq!(log.append(&mut pool, stamp(1), &[&[0; 24]]), Err(full));
    assert_eq!(log.last(), LogIndex(6));
    assert_eq!(log.release_oldest(&mut pool, LogIndex(2)), 0, "entry 3 is still needed");

    log.publish(LogIndex(4));
    assert_eq!(log.release_oldest(&mut pool, LogIndex(4)), 1);
    assert_eq!((log.base(), log.first()), (id(1, 3), LogIndex(4)));
    assert_eq!(log.epoch_at(&pool, LogIndex(3)), Some(Epoch(1)));
    assert!(log.entry(&pool, LogIndex(3)).is_none());
    append(&mut log, &mut pool, 2);
    assert_eq!(log.last_id(), id(2, 7));
    log.check(&pool);
}

#[test]
fn last_page_is_released_only_with_everything() {
    let mut pool = pool(2);
    let mut log = filled(&mut pool, 3);
    log.publish(LogIndex(3));
    assert_eq!(log.release_oldest(&mut pool, LogIndex(3)), 0);
    log.release_all(&mut pool);
    assert_eq!(pool.free_segments(), 2);
    assert_eq!((log.base(), log.last_id()), (id(1, 3), id(1, 3)));
    assert_eq!(append(&mut log, &mut pool, 1), id(1, 4));
    log.check(&pool);
}

#[test]
fn cut_removes_the_end_and_gives_pages_back() {
    let mut pool = pool(4);
    let mut log = filled(&mut pool, 4);
    append(&mut log, &mut pool, 2);
    log.publish(LogIndex(1));
    log.cut(&mut pool, LogIndex(6));
    assert_eq!(log.last_id(), id(2, 5), "nothing to cut");
    log.cut(&mut pool, LogIndex(5));
    assert_eq!(log.last_id(), id(1, 4));
    assert_eq!(pool.free_segments(), 2);
    log.cut(&mut pool, LogIndex(2));
    assert_eq!((log.last_id(), log.len_bytes(), pool.free_segments()), (id(1, 1), 64, 3));
    assert_eq!(append(&mut log, &mut pool, 3), id(3, 2));
    log.check(&pool);
}

#[test]
fn cut_of_everything_leaves_the_base() {
    let mut pool = pool(4);
    let mut log = Log::starting_after(0, id(5, 10));
    append(&mut log, &mut pool, 5);
    log.cut(&mut pool, LogIndex(11));
    assert!(log.is_empty());
    assert_eq!((log.last_id(), log.len_bytes(), pool.free_segments()), (id(5, 10), 0, 4));
    append(&mut log, &mut pool, 6);
    log.check(&pool);
}

#[test]
#[should_panic(expected = "L3")]
fn published_entries_are_never_cut() {
    let mut pool = pool(1);
    let mut log = filled(&mut pool, 2);
    log.publish(LogIndex(2));
    log.cut(&mut pool, LogIndex(2));
}

#[test]
#[should_panic(expected = "L2")]
fn epochs_never_fall() {
    let mut pool = pool(1);
    let mut log = Log::new(0);
    append(&mut log, &mut pool, 2);
    append(&mut log, &mut pool, 1);
}

#[test]
fn entries_travel_byte_for_byte() {
    let (mut here, mut there) = (pool(4), pool(8));
    let leader = filled(&mut here, 8);
    let mut follower = Log::new(0);
    let mut sent = Vec::new();
    for slice in leader.slices(&here, LogIndex(1)..=LogIndex(8), usize::MAX) {
        sent.extend_from_slice(slice);
    }
    for entry in Entries::new(&sent) {
        let entry = entry.unwrap();
        entry.verify().unwrap();
        follower.append_entry(&mut there, &entry).unwrap();
    }
    follower.check(&there);
    assert_eq!(follower.last_id(), leader.last_id());
    for index in 1..=8 {
        assert_eq!(follower.entry(&there, LogIndex(index)), leader.entry(&here, LogIndex(index)));
    }
}

#[test]
fn slices_stop_at_whole_entries() {
    let mut pool = pool(4);
    let log = filled(&mut pool, 8);
    let lens = |first, last, max_bytes| {
        let slices = log.slices(&pool, LogIndex(first)..=LogIndex(last), max_bytes);
        (slices.last_index().0, slices.map(<[u8]>::len).collect::<Vec<_>>())
    };
    assert_eq!(lens(1, 8, usize::MAX), (8, vec![192, 192, 128]));
    assert_eq!(lens(2, 7, usize::MAX), (7, vec![128, 192, 64]));
    assert_eq!(lens(2, 7, 383), (6, vec![128, 192]));
    assert_eq!(lens(2, 7, 319), (5, vec![128, 128]));
    assert_eq!(lens(2, 7, 128), (3, vec![128]));
    assert_eq!(lens(2, 7, 63), (2, vec![64]), "at least one");
    assert_eq!(lens(3, 7, 64), (3, vec![64]));
    assert_eq!(lens(3, 3, usize::MAX), (3, vec![64]));
}

#[test]
fn bytes_behind_an_index_are_counted() {
    let mut pool = pool(4);
    let log = filled(&mut pool, 8);
    for index in 0..=8 {
        assert_eq!(log.bytes_after(&pool, LogIndex(index)), 64 * (8 - usize::try_from(index).unwrap()));
    }
}

#[test]
fn logs_share_a_pool_and_the_oldest_memory_goes_first() {
    let mut pool = pool(4);
    let mut logs = [Log::new(0), Log::new(1)];
    let through = LogIndex(u64::MAX);
    for round in 0..100 {
        while logs[round % 2].append(&mut pool, stamp(1), &[&[1; 200]]).is_err() {
            let oldest = pool.oldest_owners().find(|&owner| logs[owner as usize].can_release_oldest(through)).unwrap();
            let victim = &mut logs[oldest as usize];
            let first = victim.first();
            victim.publish(victim.last());
            assert_eq!(victim.release_oldest(&mut pool, through), 1);
            assert_eq!(victim.first(), first.next());
        }
    }
    for log in &logs {
        log.check(&pool);
        assert_eq!(log.last(), LogIndex(50));
    }
}

/// Reads until nothing more comes and returns the indexes, with the laps as negative numbers.
fn read_all(reader: &mut LogReader) -> Vec<i64> {
    let mut buf = Vec::new();
    let mut seen = Vec::new();
    loop {
        match reader.next(&mut buf) {
            Read::Entry(entry) => {
                entry.verify().unwrap();
                seen.push(i64::try_from(entry.id().index.0).unwrap());
            }
            Read::Lapped { first } => seen.push(-i64::try_from(first.0).unwrap()),
            Read::UpToDate => return seen,
            Read::Busy => panic!("nobody else is here"),
        }
    }
}

#[test]
fn reader_sees_what_is_published_and_no_more() {
    let mut pool = pool(4);
    let mut log = Log::new(0);
    let mut reader = log.reader(&pool, LogIndex(1));
    assert!(read_all(&mut reader).is_empty());
    for _ in 0..8 {
        append(&mut log, &mut pool, 1);
    }
    assert!(read_all(&mut reader).is_empty());
    log.publish(LogIndex(2));
    assert_eq!(read_all(&mut reader), [1, 2]);
    log.publish(LogIndex(8));
    assert_eq!(read_all(&mut reader), [3, 4, 5, 6, 7, 8]);
    assert_eq!(read_all(&mut log.reader(&pool, LogIndex(5))), [5, 6, 7, 8]);
    assert!(read_all(&mut log.reader(&pool, LogIndex(9))).is_empty());
}

#[test]
fn reader_that_is_too_slow_is_told_what_it_missed() {
    let mut pool = pool(4);
    let mut log = filled(&mut pool, 8);
    log.publish(LogIndex(8));
    let mut slow = log.reader(&pool, LogIndex(1));
    let mut fast = log.reader(&pool, LogIndex(1));
    let mut buf = Vec::new();
    assert!(matches!(slow.next(&mut buf), Read::Entry(_)));
    assert_eq!(read_all(&mut fast).len(), 8);
    assert_eq!(log.release_oldest(&mut pool, LogIndex(8)), 1);
    assert_eq!(read_all(&mut slow), [-4, 4, 5, 6, 7, 8]);
    assert!(read_all(&mut fast).is_empty());
}

#[test]
fn reader_follows_an_idle_log_that_gave_everything_back() {
    let mut pool = pool(4);
    let mut log = filled(&mut pool, 4);
    log.publish(LogIndex(4));
    let mut reader = log.reader(&pool, LogIndex(1));
    let mut behind = log.reader(&pool, LogIndex(1));
    assert_eq!(read_all(&mut reader), [1, 2, 3, 4]);
    log.release_all(&mut pool);
    assert_eq!(read_all(&mut behind), [-5]);
    append(&mut log, &mut pool, 1);
    log.publish(LogIndex(5));
    assert_eq!(read_all(&mut reader), [5], "it has missed nothing");
    assert_eq!(read_all(&mut behind), [5]);
}

#[test]
fn reader_sees_only_the_last_version_of_what_was_cut() {
    let mut pool = pool(4);
    let mut log = filled(&mut pool, 2);
    log.publish(LogIndex(2));
    let mut reader = log.reader(&pool, LogIndex(1));
    assert_eq!(read_all(&mut reader), [1, 2]);
    for _ in 0..4 {
        append(&mut log, &mut pool, 1);
    }
    log.cut(&mut pool, LogIndex(3));
    let large = [7; 400];
    log.append(&mut pool, stamp(2), &[&large]).unwrap();
    append(&mut log, &mut pool, 2);
    log.publish(LogIndex(4));
    let mut buf = Vec::new();
    let Read::Entry(entry) = reader.next(&mut buf) else { panic!("entry 3 is published") };
    assert_eq!((entry.id(), entry.body()), (id(2, 3), &large[..]));
    assert_eq!(read_all(&mut reader), [4]);
}

#[test]
fn reader_survives_a_new_start_with_lower_indexes() {
    let mut pool = pool(4);
    let mut log = filled(&mut pool, 5);
    log.publish(LogIndex(5));
    let mut reader = log.reader(&pool, LogIndex(1));
    assert_eq!(read_all(&mut reader), [1, 2, 3, 4, 5]);
    log.restart_after(&mut pool, id(1, 2));
    append(&mut log, &mut pool, 1);
    log.publish(LogIndex(3));
    assert!(read_all(&mut reader).is_empty(), "3 is known already");
    for _ in 0..3 {
        append(&mut log, &mut pool, 1);
    }
    log.publish(LogIndex(6));
    assert_eq!(read_all(&mut reader), [6]);
}

#[test]
fn two_threads_agree_on_what_was_written() {
    const ENTRIES: u64 = 20_000;
    let mut pool = pool(8);
    let mut log = Log::new(0);
    let mut reader = log.reader(&pool, LogIndex(1));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut buf = Vec::new();
            let (mut read, mut missed) = (0_u64, 0_u64);
            while reader.next_index().0 <= ENTRIES {
                let next = reader.next_index();
                match reader.next(&mut buf) {
                    Read::Entry(entry) => {
                        entry.verify().unwrap();
                        assert_eq!(entry.id().index, next);
                        assert!(entry.body().iter().all(|&byte| u64::from(byte) == next.0 % 251));
                        read += 1;
                    }
                    Read::Lapped { first } => missed += first.0 - next.0,
                    Read::UpToDate | Read::Busy => std::thread::yield_now(),
                }
            }
            (read, missed)
        });
        for index in 1..=ENTRIES {
            let body = vec![(index % 251) as u8; (index * 7 % 300) as usize];
            while log.append(&mut pool, stamp(1), &[&body]).is_err() {
                assert!(log.release_oldest(&mut pool, log.last()) > 0);
            }
            log.publish(LogIndex(index));
            if index % 64 == 0 {
                std::thread::yield_now();
            }
        }
        let (read, missed) = watcher.join().unwrap();
        assert_eq!(read + missed, ENTRIES);
        assert!(read > 0, "nothing was read at all");
    });
}
