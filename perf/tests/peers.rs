//! Every peer that is installed, with its real servers: all requests are answered, and nothing is left running.
//!
//! A peer that is not installed is skipped loudly; with `CI` set that is a failure.

use std::path::PathBuf;

use quorate_perf::load::{Arrival, Plan, Spacing};
use quorate_perf::measure::measure;
use quorate_perf::quorum::DaemonArgs;
use quorate_perf::system::{Setup, System, Transport};

fn setup() -> Setup {
    let harness = PathBuf::from(env!("CARGO_BIN_EXE_quorate-perf"));
    let daemon = DaemonArgs::default();
    Setup { harness, value_bytes: 64, window: Some(8), nodes: 3, transport: Transport::Tcp, daemon }
}

fn assert_answers(system: System) {
    let setup = setup();
    if let Some(reason) = system.missing(&setup) {
        assert!(std::env::var_os("CI").is_none(), "{}: {reason}", system.label());
        eprintln!("SKIPPED: {}: {reason}", system.label());
        return;
    }
    let mut running = system.start(&setup).expect("an installed peer starts");
    let open = Arrival::Rate { per_second: 500, spacing: Spacing::Poisson { seed: 0x5EED } };
    for arrival in [Arrival::Window(1), Arrival::Window(8), open] {
        let plan = Plan { arrival, count_max: 200, duration_ns_max: 60_000_000_000 };
        let measured = measure(&mut running, &system.subject(&setup), &plan, "");
        let line = &measured.line;
        assert_eq!((line.count, line.errors), (200, 0), "{} {arrival:?}: {}", line.system, line.note);
        assert_eq!((measured.figures.sent, measured.figures.unexpected), (200, 0));
    }
}

#[test]
fn redis_answers_every_set() {
    assert_answers(System::RedisSet);
}

#[test]
fn redis_confirms_every_wait() {
    assert_answers(System::RedisWait);
}

#[test]
fn redis_confirms_a_wait_for_a_window() {
    assert_answers(System::RedisWaitWindow);
}

#[test]
fn nats_acknowledges_every_publish() {
    assert_answers(System::NatsR3);
}

#[test]
fn etcd_answers_every_put() {
    assert_answers(System::Etcd);
}
