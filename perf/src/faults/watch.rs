//! What all nodes say of themselves while things go wrong, and whether it can be so.
//!
//! No two runs may say that they serve one group in the same epoch, and no replica may have executed more than is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use quorate::cli::status::ask::Asker;
use quorate::cli::status::ask_node;
use quorate::cli::status::report::Report;

use super::nodes::Nodes;

/// Looks at all nodes, again and again.
#[derive(Debug)]
pub struct Watch {
    is_over: Arc<AtomicBool>,
    samples: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Seen>>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often a replica was looked at.
    pub samples: u64,
    /// Who served a group in an epoch: node and incarnation.
    leaders: BTreeMap<(u32, u64), (u16, Option<u64>)>,
    /// What cannot be.
    pub violations: Vec<String>,
}

impl Watch {
    /// Begins to look at so many nodes.
    #[must_use]
    pub fn start(nodes: u16) -> Self {
        let (is_over, samples) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (1..=nodes).map(|node| {
            let (is_over, samples) = (Arc::clone(&is_over), Arc::clone(&samples));
            thread::spawn(move || look(node, &is_over, &samples))
        });
        Self { threads: threads.collect(), samples, is_over }
    }

    /// Returns how often a replica was looked at until now.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Ends it, and puts together what was seen of all nodes.
    ///
    /// # Errors
    /// A thread has panicked.
    pub fn stop(mut self) -> Result<Seen> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in std::mem::take(&mut self.threads) {
            all.join(thread.join().map_err(|_| anyhow!("a watcher has panicked"))?);
        }
        Ok(all)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Seen {
    fn join(&mut self, other: Self) {
        self.samples += other.samples;
        self.violations.extend(other.violations);
        other.leaders.into_iter().for_each(|(epoch, leader)| self.note_leader(epoch, leader));
    }

    fn note(&mut self, report: &Report) {
        let incarnation = report.nodes.iter().find(|node| node.id == report.node).and_then(|node| node.incarnation);
        for group in &report.groups {
            self.samples += 1;
            if group.applied > group.commit || group.commit > group.last {
                let (applied, commit, last) = (group.applied, group.commit, group.last);
                let place = format!("group {} at node {}", group.group, report.node);
                self.violations.push(format!("{place}: applied {applied}, commit {commit}, last {last}"));
            }
            if group.leader == report.node && group.is_serving() {
                self.note_leader((group.group, group.epoch), (report.node, incarnation));
            }
        }
    }

    fn note_leader(&mut self, epoch: (u32, u64), leader: (u16, Option<u64>)) {
        let known = *self.leaders.entry(epoch).or_insert(leader);
        if known != leader {
            let (group, epoch) = epoch;
            self.violations.push(format!("group {group} was served in epoch {epoch} by {known:?} and by {leader:?}"));
        }
    }
}

fn look(node: u16, is_over: &AtomicBool, samples: &AtomicU64) -> Seen {
    let (mut seen, mut asker) = (Seen::default(), None);
    while !is_over.load(Ordering::Relaxed) {
        asker = asker.or_else(|| Asker::connect(&Nodes::resp(node), None, TIMEOUT).ok());
        match asker.as_mut().map(ask_node) {
            Some(Ok(report)) => {
                seen.note(&report);
                samples.fetch_add(report.groups.len() as u64, Ordering::Relaxed);
            }
            Some(Err(_)) => asker = None,
            None => {}
        }
        thread::sleep(INTERVAL);
    }
    seen
}

const INTERVAL: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_in_one_epoch_are_seen_wherever_they_were_seen() {
        let (mut one, mut two) = (Seen::default(), Seen::default());
        one.note_leader((3, 7), (1, Some(11)));
        two.note_leader((3, 8), (2, Some(12)));
        two.note_leader((4, 7), (2, Some(12)));
        one.join(two);
        assert_eq!(one.violations, [""; 0]);
        let mut three = Seen::default();
        three.note_leader((3, 7), (1, Some(13)));
        one.join(three);
        assert_eq!(one.violations.len(), 1, "another run of the node is somebody else");
    }
}
