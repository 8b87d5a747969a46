//! Looks at the nodes while rows are sent: how far each has committed and applied.
//!
//! # Threads
//! A thread of its own asks, because a node that hangs must not hold up the rows; what it saw last is behind a lock that
//! is held for a copy only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::cli::replay::tally::grouped;
use crate::cli::status::ask::{AskError, Asker};
use crate::cli::status::ask_node;
use crate::cli::status::report::Report;

use super::check::Witness;

/// See the module. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Monitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    seen: Mutex<Seen>,
}

/// What was seen last: sums over all groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Commit indexes, each as its leader knows it.
    commit: u64,
    /// Applied indexes of each node; `None` if it did not answer.
    applied: Vec<(u16, Option<u64>)>,
}

impl Monitor {
    pub(super) fn start(witnesses: Vec<Witness>) -> Self {
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new().name("monitor".to_owned()).spawn(move || watch(&witnesses, &ours));
        // Without the thread there is less to see, and nothing else is different.
        Self { shared, thread: thread.ok() }
    }

    /// Returns what was seen last.
    pub(super) fn seen(&self) -> Seen {
        self.shared.seen.lock().clone()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Relaxed: nothing else is handed over with it; `unpark` makes the thread look.
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panicked: that was reported, and there is nothing to do about it.
            let _ = thread.join();
        }
    }
}

impl Seen {
    /// Writes it for people; empty before the first look.
    pub(super) fn line(&self) -> String {
        if self.applied.is_empty() {
            return String::new();
        }
        let node = |(_, applied): &(u16, Option<u64>)| applied.map_or_else(|| "down".to_owned(), grouped);
        let applied: Vec<String> = self.applied.iter().map(node).collect();
        format!("commit {}   applied {}", grouped(self.commit), applied.join(" / "))
    }

    fn add(&mut self, node: u16, report: Option<&Report>) {
        let Some(report) = report else { return self.applied.push((node, None)) };
        self.applied.push((node, Some(report.sum(|group| group.applied))));
        self.commit += report.sum(|group| if group.leader == node { group.commit } else { 0 });
    }
}

fn watch(witnesses: &[Witness], shared: &Shared) {
    let mut askers: Vec<Option<Asker>> = witnesses.iter().map(|_| None).collect();
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut seen = Seen::default();
        for (witness, asker) in witnesses.iter().zip(&mut askers) {
            let report = look(witness, asker);
            if report.is_err() {
                *asker = None;
            }
            seen.add(witness.node, report.ok().as_ref());
        }
        *shared.seen.lock() = seen;
        thread::park_timeout(LOOK_INTERVAL);
    }
}

fn look(witness: &Witness, asker: &mut Option<Asker>) -> Result<Report, AskError> {
    if asker.is_none() {
        *asker = Some(Asker::connect(&witness.address, None, TIMEOUT)?);
    }
    ask_node(asker.as_mut().expect("it was connected above"))
}

/// Often enough to see it move, and seldom enough not to be seen in the latencies.
const LOOK_INTERVAL: Duration = Duration::from_millis(900);
const TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_answer_is_shown_as_down() {
        assert_eq!(Seen::default().line(), "");
        let seen = Seen { commit: 12_345, applied: vec![(1, Some(12_345)), (2, None), (3, Some(9))] };
        assert_eq!(seen.line(), "commit 12,345   applied 12,345 / down / 9");
    }
}
