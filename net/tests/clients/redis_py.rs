//! redis-py: its checks are a program of their own, which needs a Python with that package.

use std::path::{Path, PathBuf};

use crate::servers::{cluster, ports};
use crate::tools;

/// Returns the interpreter named by `QUORATE_PYTHON`, or says loudly what is missing.
fn python() -> Option<PathBuf> {
    let Some(path) = std::env::var_os("QUORATE_PYTHON").map(PathBuf::from) else {
        tools::skip("QUORATE_PYTHON does not name a Python with redis-py");
        return None;
    };
    if !path.is_file() {
        tools::skip(&format!("{}, which is QUORATE_PYTHON, is not there", path.display()));
        return None;
    }
    let finished = tools::run(&path, &["-c", "import redis"], "");
    if finished.code != Some(0) {
        tools::skip(&format!("{} has no redis-py: {}", path.display(), finished.errors.trim_end()));
        return None;
    }
    Some(path)
}

#[test]
fn every_check_passes() {
    let Some(python) = python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/clients/redis_py.py");
    let cluster = cluster();
    let mut arguments = vec![script.into_os_string()];
    arguments.extend(ports(&cluster).iter().map(|port| port.to_string().into()));
    let finished = tools::run(&python, &arguments, "");
    let summary = finished.output.lines().last().unwrap_or_default();
    let passed = summary.strip_suffix(" passed, 0 failed").and_then(|count| count.parse::<u32>().ok());
    assert!(finished.code == Some(0) && passed.is_some_and(|count| count >= CHECKS_MIN), "{finished:?}");
}

/// So that a script that checks nothing does not pass.
const CHECKS_MIN: u32 = 500;
