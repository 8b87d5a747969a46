//! With files on disk: what was written is there again, and what is damaged is said to be.

use quorate_engine::control::state::{Birth, Command};
use quorate_engine::slots::SlotMap;

use super::*;

/// A directory that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-store-{}-{test}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("core.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn identity() -> Identity {
    Identity { cluster: String::from("test"), node: NodeId(1) }
}

fn open(path: &Path) -> Store {
    Store::open(path, &identity()).expect("in order").expect("there is one")
}

fn birth() -> Entry {
    let nodes = (1..=3).map(NodeId).collect();
    Entry::Birth(Birth { slots: SlotMap::new(2).expect("in range"), nodes, replicas: 3, write_quorum: 2 })
}

fn entry(nonce: u64) -> Entry {
    Entry::Command { at_ms: 0, command: Command::Register { node: NodeId(9), nonce } }
}

fn ballot(n: u32) -> Ballot {
    Ballot::with(1, n, 0, 2)
}

fn image(entries: &[Entry]) -> Image {
    omnipaxos::storage::Snapshot::create(entries)
}

/// All that can be read.
#[derive(Debug, PartialEq)]
struct Content {
    promise: Option<Ballot>,
    accepted: Option<Ballot>,
    decided: usize,
    compacted: usize,
    image: Option<Image>,
    log: Vec<Entry>,
}

fn content(store: &Store) -> Content {
    let compacted = store.get_compacted_idx().expect("read");
    Content {
        promise: store.get_promise().expect("read"),
        accepted: store.get_accepted_round().expect("read"),
        decided: store.get_decided_idx().expect("read"),
        compacted,
        image: store.get_snapshot().expect("read"),
        log: store.get_suffix(compacted).expect("read"),
    }
}

/// A store with ten entries, four of them in an image.
fn filled(path: &Path) -> Store {
    let mut store = Store::create(path, &identity(), Use::Found).expect("created");
    let first: Vec<Entry> = core::iter::once(birth()).chain((1..7).map(entry)).collect();
    let write = |store: &mut Store| -> StorageResult<()> {
        store.set_promise(ballot(1))?;
        store.append_entries(first.clone())?;
        store.set_decided_idx(5)?;
        store.write_atomically(vec![
            StorageOp::Trim(4),
            StorageOp::SetCompactedIdx(4),
            StorageOp::SetSnapshot(Some(image(&first[..4]))),
        ])?;
        store.set_promise(ballot(2))?;
        store.append_on_prefix(6, (16..20).map(entry).collect())?;
        store.set_decided_idx(7)?;
        store.set_accepted_round(ballot(2))
    };
    write(&mut store).expect("written");
    store
}

#[test]
fn a_store_that_is_opened_again_holds_what_was_written() {
    let folder = Folder::new("again");
    let store = filled(&folder.file());
    let (before, number) = (content(&store), store.number());
    assert_eq!((before.promise, before.accepted), (Some(ballot(2)), Some(ballot(2))));
    assert_eq!((before.decided, before.compacted), (7, 4));
    assert_eq!(before.log, [4, 5, 16, 17, 18, 19].map(entry));
    assert_eq!(store.get_entries(5, 7).expect("read"), [5, 16].map(entry));
    assert!(store.get_entries(3, 7).expect("read").is_empty(), "3 is in the image");
    assert!(store.get_entries(5, 11).expect("read").is_empty(), "there are ten");
    drop(store);
    let store = open(&folder.file());
    assert_eq!((content(&store), store.number()), (before, number));
}

/// Whoever is far behind gets an image beyond its own log.
#[test]
fn an_image_takes_the_place_of_a_log_that_ends_before_it() {
    let folder = Folder::new("beyond");
    let mut store = filled(&folder.file());
    let far = image(&[birth(), entry(30)]);
    let ops = vec![
        StorageOp::SetDecidedIndex(100),
        StorageOp::Trim(100),
        StorageOp::SetCompactedIdx(100),
        StorageOp::SetSnapshot(Some(far.clone())),
        StorageOp::AppendOnPrefix(100, vec![entry(31)]),
    ];
    store.write_atomically(ops).expect("written");
    store.append_entry(entry(32)).expect("written");
    drop(store);
    let content = content(&open(&folder.file()));
    assert_eq!((content.compacted, content.decided, content.image), (100, 100, Some(far)));
    assert_eq!(content.log, [31, 32].map(entry));
}

/// Whatever the store held of an earlier era is gone, and the next one is whole.
#[test]
fn an_era_begins_in_one_piece() {
    let folder = Folder::new("era");
    let mut store = filled(&folder.file());
    assert_eq!((store.era(), store.usage()), (None, Use::Found));
    store.set_usage(Use::Join);
    let Image::State(state) = image(&[birth(), entry(30)]) else { panic!("it begins with the birth") };
    let stores = [(NodeId(1), store.number())].into();
    let era = Era { number: 2, stores, start: Some((*state).clone()), restored_from: Vec::new() };
    let pledge = Pledge { to: 5, since: 0 };
    store.set_pledge(pledge);
    assert_eq!(store.pledge(), Some(pledge));
    store.begin_era(&era);
    assert_eq!(store.pledge(), None, "it was for as long as it was blank");
    store.clone().append_entry(entry(31)).expect("written");
    drop(store);
    let mut store = open(&folder.file());
    assert_eq!((store.era(), store.usage()), (Some(era), Use::Join));
    let (promise, accepted, decided, compacted) = (None, None, 1, 1);
    let (image, log) = (Some(Image::State(state)), vec![entry(31)]);
    assert_eq!(content(&store), Content { promise, accepted, decided, compacted, image, log });
    store.begin_era(&Era::first([(NodeId(1), 7)].into()));
    drop(store);
    let (image, log) = (None, Vec::new());
    let nothing = Content { promise: None, accepted: None, decided: 0, compacted: 0, image, log };
    assert_eq!(content(&open(&folder.file())), nothing);
}

/// The file as it is on disk while the store is open is what a crash leaves.
#[test]
fn a_crash_loses_nothing_but_the_decided_index() {
    let folder = Folder::new("crash");
    let mut store = filled(&folder.file());
    store.set_decided_idx(9).expect("written");
    let left = folder.0.join("left.redb");
    fs::copy(folder.file(), &left).expect("copied");
    let (before, after) = (content(&store), content(&open(&left)));
    assert_eq!((before.decided, after.decided), (9, 7));
    assert_eq!(after, Content { decided: 7, ..before });
}

#[test]
fn there_is_one_store_and_one_process_that_has_it() {
    let folder = Folder::new("one");
    assert!(Store::open(&folder.file(), &identity()).expect("no error").is_none());
    let store = Store::create(&folder.file(), &identity(), Use::Found).expect("created");
    let error = Store::open(&folder.file(), &identity()).expect_err("it is in use");
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let error = Store::create(&folder.file(), &identity(), Use::Found).expect_err("it is there");
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    let number = store.number();
    drop(store);
    assert_eq!(open(&folder.file()).number(), number);
    let other = Folder::new("other");
    assert_ne!(Store::create(&other.file(), &identity(), Use::Join).expect("created").number(), number);
}

#[test]
fn what_a_crash_has_left_of_a_store_that_was_being_created_is_no_obstacle() {
    let folder = Folder::new("half");
    fs::write(folder.0.join("core.new"), b"half of a database").expect("written");
    drop(Store::create(&folder.file(), &identity(), Use::Found).expect("created"));
    assert!(!fs::exists(folder.0.join("core.new")).expect("looked for"));
    open(&folder.file());
}

#[test]
fn the_store_of_somebody_else_is_refused() {
    let folder = Folder::new("else");
    drop(filled(&folder.file()));
    let other = Identity { cluster: String::from("production"), ..identity() };
    let error = Store::open(&folder.file(), &other).expect_err("of another cluster");
    assert!(matches!(error, StoreError::OtherCluster { .. }), "{error}");
    assert!(error.to_string().contains(r#"belongs to cluster "test" and not to "production""#), "{error}");
    let error = Store::open(&folder.file(), &Identity { node: NodeId(2), ..identity() }).expect_err("of another node");
    assert!(matches!(error, StoreError::OtherNode { .. }), "{error}");
    open(&folder.file());
}

/// Writes a value by hand.
fn put(path: &Path, table: Values, key: &'static str, value: &[u8]) {
    let database = Database::open(path).expect("in order");
    let transaction = database.begin_write().expect("begun");
    transaction.open_table(table).expect("there").insert(key, value).expect("written");
    transaction.commit().expect("committed");
}

#[test]
fn a_store_of_another_version_is_refused_whatever_else_it_holds() {
    let folder = Folder::new("later");
    drop(filled(&folder.file()));
    put(&folder.file(), ABOUT, "cluster", b"{\"something\":\"new\"}");
    for found in [FORMAT - 1, FORMAT + 1] {
        put(&folder.file(), ABOUT, "format", found.to_string().as_bytes());
        let error = Store::open(&folder.file(), &identity()).expect_err("of another version");
        assert!(matches!(error, StoreError::OtherFormat { found: other, .. } if other == found), "{error}");
    }
}

#[test]
fn values_that_make_no_sense_are_found_when_the_store_is_opened() {
    for (key, value) in [
        (PROMISE, "{}"),
        (IMAGE, "{\"State\":{}}"),
        (IMAGE, "{\"Delta\":[]}"),
        (DECIDED, "3"),
        (DECIDED, "11"),
        (COMPACTED, "0"),
        (COMPACTED, "5"),
    ] {
        let folder = Folder::new("sense");
        drop(filled(&folder.file()));
        put(&folder.file(), REGISTERS, key, value.as_bytes());
        let error = Store::open(&folder.file(), &identity()).expect_err("it makes no sense");
        assert!(matches!(error, StoreError::Damaged { .. }), "{key}: {error}");
    }
}

// ---- damage ----

/// Opens a file with these bytes: says that it is damaged, or returns what is in it.
fn try_content(path: &Path, bytes: &[u8]) -> Option<Content> {
    fs::write(path, bytes).expect("written");
    match Store::open(path, &identity()) {
        Ok(store) => Some(content(&store.expect("there is one"))),
        Err(StoreError::Damaged { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_store_that_was_cut_short_is_whole_or_said_to_be_damaged() {
    let folder = Folder::new("short");
    let store = filled(&folder.file());
    let before = content(&store);
    drop(store);
    let whole = fs::read(folder.file()).expect("read");
    let lengths = [0, 1, 9, 100, 320, 4_095, 4_096, 4_097].into_iter();
    let lengths = lengths.chain((1..32).map(|part| whole.len() * part / 32)).chain([whole.len() - 1]);
    let mut damaged = 0;
    for length in lengths {
        match try_content(&folder.0.join("short.redb"), &whole[..length]) {
            Some(content) => assert_eq!(content, before, "{length} bytes"),
            None => damaged += 1,
        }
    }
    assert!(damaged > 8, "{damaged}");
}

#[test]
fn a_flipped_byte_changes_nothing_or_is_found() {
    let folder = Folder::new("flip");
    let store = filled(&folder.file());
    let before = content(&store);
    // In use and not yet closed, as a crash leaves it; and closed.
    let crashed = fs::read(folder.file()).expect("read");
    drop(store);
    let closed = fs::read(folder.file()).expect("read");
    let mut damaged = 0;
    for whole in [crashed, closed] {
        let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        for at in written.iter().step_by(1 + written.len() / 100) {
            let mut bytes = whole.clone();
            bytes[*at] ^= 0x55;
            match try_content(&folder.0.join("flip.redb"), &bytes) {
                Some(content) => {
                    assert_eq!(content, before, "{at}")
                }
                None => damaged += 1,
            }
        }
    }
    // Most of what is not zero is left over from earlier commits.
    assert!(damaged > 4, "{damaged}");
}
