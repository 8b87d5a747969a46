//! The floor with real processes and sockets: every request is answered, whatever the sockets and the number of nodes.

use std::path::PathBuf;

use quorate_perf::load::{Arrival, Plan, Spacing};
use quorate_perf::measure::measure;
use quorate_perf::quorum::DaemonArgs;
use quorate_perf::system::{Setup, System, Transport};

fn setup(nodes: u16, transport: Transport) -> Setup {
    let harness = PathBuf::from(env!("CARGO_BIN_EXE_quorate-perf"));
    Setup { harness, value_bytes: 64, window: Some(64), nodes, transport, daemon: DaemonArgs::default() }
}

fn assert_answers(setup: &Setup, arrival: Arrival) {
    let mut running = System::Floor.start(setup).expect("the floor starts");
    let plan = Plan { arrival, count_max: 1_000, duration_ns_max: 60_000_000_000 };
    let measured = measure(&mut running, &System::Floor.subject(setup), &plan, "");
    assert_eq!((measured.line.count, measured.line.errors), (1_000, 0), "{}", measured.line.note);
    assert_eq!(measured.figures.sent, 1_000);
    assert_eq!(measured.figures.latencies.count(), 1_000);
}

#[test]
fn floor_answers_every_request_over_tcp() {
    assert_answers(&setup(3, Transport::Tcp), Arrival::Window(1));
    assert_answers(&setup(3, Transport::Tcp), Arrival::Window(64));
}

#[test]
fn floor_answers_every_request_over_unix_sockets() {
    assert_answers(&setup(3, Transport::Unix), Arrival::Window(1));
    assert_answers(&setup(3, Transport::Unix), Arrival::Window(64));
}

#[test]
fn floor_of_five_nodes_answers_every_request() {
    assert_answers(&setup(5, Transport::Tcp), Arrival::Window(16));
}

#[test]
fn floor_answers_an_open_loop() {
    let spacing = Spacing::Poisson { seed: 0x5EED };
    assert_answers(&setup(3, Transport::Tcp), Arrival::Rate { per_second: 2_000, spacing });
}

#[test]
fn values_larger_than_every_buffer_get_through() {
    let setup = Setup { value_bytes: 1 << 20, ..setup(3, Transport::Tcp) };
    let mut running = System::Floor.start(&setup).unwrap();
    let plan = Plan { arrival: Arrival::Window(8), count_max: 100, duration_ns_max: 60_000_000_000 };
    let measured = measure(&mut running, &System::Floor.subject(&setup), &plan, "");
    assert_eq!(measured.line.count, 100, "{}", measured.line.note);
}

#[test]
fn processes_end_with_the_system() {
    let running = System::Floor.start(&setup(3, Transport::Tcp)).unwrap();
    let pids: Vec<u32> = running.processes.iter().map(quorate_perf::process::Process::pid).collect();
    let folder = running.folder.path().to_owned();
    assert_eq!(pids.len(), 3);
    drop(running);
    // A child that was waited for has left the process table.
    let own = std::process::id().to_string();
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        assert_ne!(parent, Some(own.as_str()), "process {pid} is still a child of this one");
    }
    assert!(!folder.exists());
}

#[test]
fn even_number_of_nodes_is_refused() {
    let error = System::Floor.start(&setup(4, Transport::Tcp)).unwrap_err();
    assert!(format!("{error:#}").contains("choose 3 or 5"), "{error}");
}
