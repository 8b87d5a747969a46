//! redis-benchmark with `-e`: it ends at the first error reply, so an end with a result for each test says there was none.

use crate::servers::{cluster, ports};
use crate::tools;

/// What it calls the tests we ask for.
const TESTS: [&str; 7] = ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "HSET", "MSET (10 keys)"];

fn assert_runs(port: u16, more: &[&str]) {
    let Some(program) = tools::find("redis-benchmark") else { return };
    let port = port.to_string();
    let arguments = ["-p", &port, "-e", "-t", "ping,set,get,incr,hset,mset", "-n", "20000", "-q"];
    let finished = tools::run(&program, &[&arguments[..], more].concat(), "");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    // Newer releases say that they always do what -e asks for.
    let said = finished.errors.lines().filter(|line| !line.trim().is_empty() && !line.contains("-e option"));
    assert_eq!(said.count(), 0, "{}", finished.errors);
    // Between the results it prints, over each other, how far it is.
    let results: Vec<&str> = finished.output.split(['\r', '\n']).filter(|line| line.contains("per second")).collect();
    assert_eq!(results.len(), TESTS.len(), "{}", finished.output);
    for (result, test) in results.iter().zip(TESTS) {
        let rate = result.trim().strip_prefix(test).and_then(|rest| rest.strip_prefix(": "));
        let rate = rate.and_then(|rest| rest.split(' ').next()).and_then(|number| number.parse::<f64>().ok());
        assert!(rate.is_some_and(|rate| rate > 0.0), "{test}: {result}");
    }
    assert!(!finished.output.contains("rror"), "{}", finished.output);
}

#[test]
fn no_error_with_one_request_at_a_time() {
    let cluster = cluster();
    assert_runs(ports(&cluster)[0], &[]);
}

#[test]
fn no_error_with_sixteen_requests_in_flight() {
    let cluster = cluster();
    assert_runs(ports(&cluster)[1], &["-P", "16"]);
}

/// In its cluster mode each request goes to the door of the CPU that owns its keys.
#[test]
fn no_error_as_a_cluster_client() {
    let cluster = cluster();
    assert_runs(ports(&cluster)[2], &["--cluster", "-3", "-P", "16", "-r", "1000", "-d", "300"]);
}
