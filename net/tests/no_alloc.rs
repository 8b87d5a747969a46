//! In steady state a request costs no allocation: overwrites of equal size, native and RESP, on the leader and on both
//! followers, which all run in this process and share its allocator. Their control threads have a life of their own and are
//! not counted: they say now and then that the node lives.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate::config::Config;
use quorate::node::{Birth, Node};
use quorate::wire::{About, Body, BodyLimits, FrameReader, Hello, RequestHead, Stage};
use quorate_engine::ids::{Epoch, GroupId};
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::slots::{SlotMap, slot_of};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread is counted, once that is known. Initialised by a constant and without a destructor, so that reading
    /// it never allocates.
    static IS_COUNTED: Cell<Option<bool>> = const { Cell::new(None) };
}

fn count() {
    let is_counted = IS_COUNTED.get().unwrap_or_else(|| {
        let is_counted = !is_control_thread();
        IS_COUNTED.set(Some(is_counted));
        is_counted
    });
    if is_counted {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks the kernel for the thread's name: Rust's own may allocate.
#[expect(unsafe_code, reason = "safe wrappers of this call allocate")]
fn is_control_thread() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: the call writes at most 16 bytes to the buffer.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(b"control\0")
}

// SAFETY: every method passes its arguments on to the system's allocator as they are, and so keeps its contract.
#[expect(unsafe_code, reason = "an allocator that counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` through the methods here.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from `System` through the methods here.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 20_000;
const COUNTED: usize = 20_000;
/// Requests in flight.
const WINDOW: usize = 32;
const KEYS: usize = 50;

/// Returns a port from which the doors of three nodes, 20 ports apart, are free: below those that clients are given, so that
/// no connection happens to have one.
fn free_base() -> u16 {
    let is_free = |base: &u16| {
        (0..400).step_by(20).all(|offset| {
            let door = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
            door(base + offset) && door(base + offset + 1)
        })
    };
    (2_000..7_000).step_by(500).find(is_free).expect("a free range of ports")
}

fn start(base: u16, data: &Path) -> Vec<Node> {
    let peer = |node: u16| base + 200 + 20 * node;
    (0..3)
        .map(|node| {
            let mut text = format!(
                "[cluster]\nid = 'alloc'\npartitions = 8\nreplicas = 3\n[node]\nid = {}\npoll = 'adaptive'\n\
                 [listen]\nresp = '127.0.0.1:{}'\nnative = '127.0.0.1:{}'\npeer = '127.0.0.1:{}'\nadmin = '127.0.0.1:{}'\n",
                node + 1, base + 20 * node, base + 100 + 20 * node, peer(node), base + 300 + 20 * node
            );
            text = text.replace("[listen]", &format!("data_dir = '{}'\n[listen]", data.join(node.to_string()).display()));
            text.push_str("[replication]\nsuspicion = '10 s'\n");
            for other in (0..3).filter(|other| *other != node) {
                text.push_str(&format!("[[peers]]\nid = {}\npeer = '127.0.0.1:{}'\n", other + 1, peer(other)));
            }
            let settings = Config::from_text("node.toml", &text).build().expect("valid settings");
            Node::start(settings, Birth::Create).expect("free ports")
        })
        .collect()
}

/// Keys of one group, which node 1 leads.
fn keys() -> (GroupId, Vec<String>) {
    let map = SlotMap::new(8).expect("in range");
    let group = GroupId(0);
    let keys = (0..).map(|n| format!("key:{n:06}")).filter(|key| map.group_of(slot_of(key.as_bytes())) == group);
    (group, keys.take(KEYS).collect())
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("the door is open");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Waits until the group serves, by writing to it.
fn wait_until_served(port: u16, key: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut stream = connect(port);
        stream.write_all(format!("SET {key} x\r\n").as_bytes()).expect("sent");
        let mut reply = [0; 256];
        let len = stream.read(&mut reply).expect("a reply");
        if reply[..len].starts_with(b"+OK") {
            return;
        }
        assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&reply[..len]));
        std::thread::yield_now();
    }
}

/// Sends each batch and waits for as many replies as `count_replies` finds; returns allocations in the counted part.
fn run(stream: &mut TcpStream, batches: &[Vec<u8>], mut count_replies: impl FnMut(&[u8]) -> usize) -> u64 {
    let mut buffer = vec![0; 64 << 10];
    let mut before = 0;
    for round in 0..(WARM_UP + COUNTED) / WINDOW {
        if round == WARM_UP / WINDOW {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        stream.write_all(&batches[round % batches.len()]).expect("sent");
        let mut replies = 0;
        while replies < WINDOW {
            let len = stream.read(&mut buffer).expect("replies");
            assert_ne!(len, 0, "the node closed the connection");
            replies += count_replies(&buffer[..len]);
        }
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Has the replies to a connection tell where they stand in the log.
fn tell_places(stream: &mut TcpStream, key: &str) {
    stream.write_all(format!("HELLO 3\r\nCLIENT META ON\r\nSET {key} x\r\n").as_bytes()).expect("sent");
    let mut replies = Vec::new();
    let mut buffer = [0; 4096];
    while !replies.ends_with(b"loss_gen\r\n:0\r\n+OK\r\n") {
        let len = stream.read(&mut buffer).expect("replies");
        assert_ne!(len, 0, "the node closed the connection");
        replies.extend_from_slice(&buffer[..len]);
    }
}

#[test]
fn a_request_in_steady_state_allocates_nothing() {
    let base = free_base();
    let data = std::env::temp_dir().join(format!("quorate-no-alloc-{}", std::process::id()));
    let nodes = start(base, &data);
    let (group, keys) = keys();
    wait_until_served(base, &keys[0]);
    let value = [b'v'; 64];

    let resp: Vec<Vec<u8>> = (0..KEYS)
        .map(|first| {
            let one = |n: usize| {
                let key = &keys[(first + n) % KEYS];
                [format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$64\r\n", key.len()).as_bytes(), &value, b"\r\n"].concat()
            };
            (0..WINDOW).flat_map(one).collect()
        })
        .collect();
    let count_words = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'+').count();
    let over_resp = run(&mut connect(base), &resp, count_words);
    let mut curious = connect(base);
    tell_places(&mut curious, &keys[0]);
    let with_places = run(&mut curious, &resp, count_words);

    let native: Vec<Vec<u8>> = (0..KEYS)
        .map(|first| {
            let mut batch = Vec::new();
            for n in 0..WINDOW {
                let command = Command { value: &value, ..Command::new(Op::Set, keys[(first + n) % KEYS].as_bytes()) };
                let head = RequestHead { number: n as u64, ..RequestHead::default() };
                head.encode(&mut batch, About { group, epoch: Epoch(0) }, &command);
            }
            batch
        })
        .collect();
    let mut stream = connect(base + 100);
    let mut hello = Vec::new();
    Hello::client("alloc", b"").encode(&mut hello);
    stream.write_all(&hello).expect("sent");
    let mut reader = FrameReader::new(Stage::Answering, BodyLimits::DEFAULT);
    let mut buffer = [0; 4096];
    let len = stream.read(&mut buffer).expect("a welcome");
    let mut frames = reader.frames(&buffer[..len]);
    assert!(matches!(frames.next(), Some(Ok(frame)) if matches!(frame.body, Body::Welcome(_))));
    drop(frames);
    reader.enter(Stage::Server);
    let over_native = run(&mut stream, &native, |bytes| {
        let mut frames = reader.frames(bytes);
        let mut replies = 0;
        while let Some(frame) = frames.next() {
            assert!(matches!(frame.expect("whole").body, Body::Reply(_)));
            replies += 1;
        }
        replies
    });

    nodes.into_iter().for_each(Node::stop);
    // What is left in a temporary folder is no reason to fail.
    let _ = std::fs::remove_dir_all(&data);
    // A table that grows now and then, a log line: a few, but not one for each of so many requests.
    let bound = COUNTED as u64 / 100;
    println!(
        "allocations for {COUNTED} requests: {over_resp} over RESP, {with_places} with CLIENT META, {over_native} over the \
         native protocol"
    );
    assert!(with_places < bound, "{with_places} allocations for {COUNTED} requests with CLIENT META");
    assert!(over_resp < bound, "{over_resp} allocations for {COUNTED} requests over RESP");
    assert!(over_native < bound, "{over_native} allocations for {COUNTED} requests over the native protocol");
}
