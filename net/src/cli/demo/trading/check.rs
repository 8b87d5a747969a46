//! The check at the end: does every node hold what was acknowledged, and do all hold the same?
//!
//! Each node is asked for its own applied state, key by key (`CACHE.PEEK`), and for the digests of its groups
//! (`LOG DIGEST`). Digests can be compared at equal indexes only, so all nodes are first given time to apply everything.
//!
//! # Bounds
//! [`SETTLE_TIME_MAX`] for the nodes to come to equal indexes; [`PROBLEMS_MAX`] problems are kept as text for each node.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use quorate_engine::slots::{SlotMap, slot_of};
use serde_json::{Value, json};

use crate::cli::replay::sender::shown;
use crate::cli::replay::tally::{Tally, grouped};
use crate::cli::status::ask::{AskError, Asker, Reply};
use crate::cli::status::ask_node;
use crate::cli::terminal::{Paint, Tone};
use crate::clock;

use super::model::Model;

/// A node to be checked.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub(super) node: u16,
    /// Its RESP door.
    pub(super) address: String,
}

/// What the check found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    keys: usize,
    nodes: Vec<NodeVerdict>,
    groups: usize,
    groups_equal: usize,
    problems: Vec<String>,
}

/// What it found on one node.
#[derive(Debug)]
struct NodeVerdict {
    node: u16,
    keys_right: usize,
    keys_wrong: usize,
    problems: Vec<String>,
}

/// Index and digest of each group of one node.
type Digests = BTreeMap<u32, (u64, String)>;

/// Gives all nodes time to apply all there is.
///
/// # Errors
/// A node cannot be asked, or they do not come to equal indexes: the text says which.
pub(super) fn settle(witnesses: &[Witness]) -> Result<(), String> {
    let deadline = clock::now().saturating_add(SETTLE_TIME_MAX);
    loop {
        let digests = ask_digests(witnesses)?;
        let Some(lagging) = find_lagging(&digests) else { return Ok(()) };
        if clock::now() >= deadline {
            return Err(format!("{lagging}, still after {SETTLE_TIME_MAX:?}"));
        }
        thread::sleep(SETTLE_INTERVAL);
    }
}

/// Compares all nodes with the model and with each other.
pub(super) fn check(witnesses: &[Witness], model: &Model, slots: SlotMap) -> Verdict {
    let expected = model.sorted();
    let nodes = thread::scope(|scope| {
        let spawn = |witness| {
            let expected = &expected;
            scope.spawn(move || check_node(witness, expected, slots))
        };
        let threads: Vec<_> = witnesses.iter().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("a panic there is a panic here")).collect()
    });
    let mut verdict = Verdict { keys: expected.len(), nodes, ..Verdict::default() };
    match ask_digests(witnesses) {
        Ok(digests) => compare_digests(&digests, &mut verdict),
        Err(error) => verdict.problems.push(error),
    }
    verdict
}

/// Damages the value of `key` on one node.
///
/// # Errors
/// The node does not do it.
pub(super) fn corrupt(address: &str, key: &[u8]) -> Result<(), AskError> {
    Asker::connect(address, None, TIMEOUT)?.ask(&[b"DEBUG", b"CORRUPT", key]).map(drop)
}

fn check_node(witness: &Witness, expected: &[(&[u8], &[u8])], slots: SlotMap) -> NodeVerdict {
    let mut verdict = NodeVerdict { node: witness.node, keys_right: 0, keys_wrong: 0, problems: Vec::new() };
    if let Err(error) = peek_all(witness, expected, slots, &mut verdict) {
        verdict.problems.push(format!("node {}: {error}", witness.node));
    }
    verdict
}

fn peek_all(
    witness: &Witness,
    expected: &[(&[u8], &[u8])],
    slots: SlotMap,
    verdict: &mut NodeVerdict,
) -> Result<(), AskError> {
    let node = witness.node;
    let mut asker = Asker::connect(&witness.address, None, TIMEOUT)?;
    let key_count = ask_node(&mut asker)?.sum(|group| group.keys);
    if key_count != expected.len() as u64 {
        let text =
            format!("node {node}: holds {} keys, expected {}", grouped(key_count), grouped(expected.len() as u64));
        verdict.problems.push(text);
    }
    let mut rest = expected;
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(batch_len(rest));
        rest = behind;
        for (key, _) in batch {
            asker.push(&[b"CACHE.PEEK", key]);
        }
        for (key, value) in batch {
            let reply = asker.receive()?;
            if matches!(&reply, Reply::Bulk(found) if found == value) {
                verdict.keys_right += 1;
                continue;
            }
            verdict.keys_wrong += 1;
            if verdict.problems.len() < PROBLEMS_MAX {
                let found = match &reply {
                    Reply::Bulk(found) => format!("holds {:?}", shown(found)),
                    Reply::Nil => "does not have it".to_owned(),
                    Reply::Error(text) => format!("answers {text:?}"),
                    other => format!("answers {other:?}"),
                };
                let group = slots.group_of(slot_of(key));
                let (key, value) = (shown(key), shown(value));
                verdict.problems.push(format!("node {node}, group {group}, key {key}: {found}, expected {value:?}"));
            }
        }
    }
    Ok(())
}

/// Returns how many of these to ask for at once: so few that neither side has to hold much.
fn batch_len(entries: &[(&[u8], &[u8])]) -> usize {
    let mut bytes = 0;
    let fits = |(key, value): &&(&[u8], &[u8])| {
        bytes += key.len() + value.len();
        bytes <= BATCH_BYTES_MAX
    };
    entries.iter().take(BATCH_LEN_MAX).take_while(fits).count().max(1)
}

fn ask_digests(witnesses: &[Witness]) -> Result<Vec<(u16, Digests)>, String> {
    let ask = |witness: &Witness| {
        let asked =
            Asker::connect(&witness.address, None, TIMEOUT).and_then(|mut asker| asker.ask(&[b"LOG", b"DIGEST"]));
        let reply = asked.map_err(|error| format!("node {}: {error}", witness.node))?;
        let digests = read_digests(&reply);
        digests.map(|digests| (witness.node, digests)).ok_or_else(|| {
            format!(
                "node {}: {}: the reply to LOG DIGEST has another form than expected",
                witness.node, witness.address
            )
        })
    };
    witnesses.iter().map(ask).collect()
}

/// Reads an array of maps with the names `group`, `digest_index` and `digest`.
fn read_digests(reply: &Reply) -> Option<Digests> {
    let Reply::Array(groups) = reply else { return None };
    let mut digests = Digests::new();
    for group in groups {
        let Reply::Array(fields) = group else { return None };
        let field = |name: &str| {
            let is_name = |pair: &&[Reply]| matches!(&pair[0], Reply::Bulk(text) if text == name.as_bytes());
            fields.chunks_exact(2).find(is_name).map(|pair| &pair[1])
        };
        let (Reply::Int(number), Reply::Int(index), Reply::Bulk(digest)) =
            (field("group")?, field("digest_index")?, field("digest")?)
        else {
            return None;
        };
        let digest = String::from_utf8_lossy(digest).into_owned();
        digests.insert(u32::try_from(*number).ok()?, (u64::try_from(*index).ok()?, digest));
    }
    Some(digests)
}

/// Says which node is behind another in which group.
fn find_lagging(nodes: &[(u16, Digests)]) -> Option<String> {
    let ((first, ours), others) = nodes.split_first()?;
    for (node, theirs) in others {
        for (group, (index, _)) in ours {
            let their_index = theirs.get(group).map_or(0, |(index, _)| *index);
            if their_index != *index {
                return Some(format!(
                    "group {group} has applied up to {index} on node {first} and up to {their_index} on node {node}"
                ));
            }
        }
    }
    None
}

fn compare_digests(nodes: &[(u16, Digests)], verdict: &mut Verdict) {
    if let Some(lagging) = find_lagging(nodes) {
        verdict.problems.push(lagging);
    }
    let Some(((first, ours), others)) = nodes.split_first() else { return };
    verdict.groups = ours.len();
    for (group, digest) in ours {
        match others.iter().find(|(_, theirs)| theirs.get(group) != Some(digest)) {
            None => verdict.groups_equal += 1,
            Some((node, theirs)) if verdict.problems.len() < PROBLEMS_MAX => {
                let theirs = theirs.get(group).map_or("none", |(_, digest)| digest.as_str());
                let (index, ours) = digest;
                verdict.problems.push(format!(
                    "group {group}: the digest at index {index} is {ours} on node {first} and {theirs} on node {node}"
                ));
            }
            Some(_) => {}
        }
    }
}

impl Verdict {
    /// Notes something that the check could not find by itself.
    pub(super) fn add_problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Whether everything is as it must be.
    pub(super) fn is_passed(&self, tally: &Tally) -> bool {
        let is_right = |node: &NodeVerdict| node.keys_right == self.keys && node.problems.is_empty();
        tally.is_clean()
            && tally.rows > 0
            && self.nodes.iter().all(is_right)
            && self.groups_equal == self.groups
            && self.problems.is_empty()
    }

    /// Writes it for people.
    pub(super) fn render(&self, tally: &Tally, paint: Paint) -> String {
        let mark =
            |is_right: bool| if is_right { paint.text(Tone::Good, "ok   ") } else { paint.text(Tone::Bad, "WRONG") };
        let mut out = format!(
            "  {}  {} of {} rows acknowledged by a quorum ({} writes, {} errors, {} unknown)\n",
            mark(tally.is_clean() && tally.rows > 0),
            grouped(tally.rows_acknowledged),
            grouped(tally.rows),
            grouped(tally.writes),
            grouped(tally.errors),
            grouped(tally.unknown),
        );
        for node in &self.nodes {
            out.push_str(&format!(
                "  {}  node {}: {} of {} keys hold the value acknowledged last\n",
                mark(node.keys_right == self.keys && node.problems.is_empty()),
                node.node,
                grouped(node.keys_right as u64),
                grouped(self.keys as u64),
            ));
        }
        out.push_str(&format!(
            "  {}  digests of {} of {} groups equal on all nodes, at equal indexes\n",
            mark(self.groups_equal == self.groups && self.problems.is_empty()),
            self.groups_equal,
            self.groups
        ));
        for problem in self.all_problems() {
            out.push_str(&format!("         {problem}\n"));
        }
        let node_count = self.nodes.len();
        let verdict = if self.is_passed(tally) {
            let text = format!(
                "every one of {} rows is held by a quorum and applied on all {node_count} nodes",
                grouped(tally.rows)
            );
            format!("\n{}: {text}\n", paint.text(Tone::Good, "PASSED"))
        } else {
            let first = self.all_problems().next().or(tally.problems().first()).map_or("", String::as_str);
            format!("\n{}: {first}\n", paint.text(Tone::Bad, "FAILED"))
        };
        out.push_str(&verdict);
        out
    }

    /// Writes it for programs.
    pub(super) fn json(&self, tally: &Tally) -> Value {
        let node = |node: &NodeVerdict| json!({"node": node.node, "keys_right": node.keys_right, "keys_wrong": node.keys_wrong});
        json!({
            "kind": "verdict",
            "passed": self.is_passed(tally),
            "rows": tally.rows,
            "rows_acknowledged": tally.rows_acknowledged,
            "keys": self.keys,
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "groups": self.groups,
            "groups_equal": self.groups_equal,
            "problems": self.all_problems().chain(tally.problems()).collect::<Vec<_>>(),
        })
    }

    fn all_problems(&self) -> impl Iterator<Item = &String> {
        self.nodes.iter().flat_map(|node| &node.problems).chain(&self.problems)
    }
}

/// Time for all nodes to apply what was committed.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(5);
const BATCH_LEN_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 1 << 20;
const PROBLEMS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(groups: &[(u32, u64, &str)]) -> Digests {
        groups.iter().map(|(group, index, digest)| (*group, (*index, (*digest).to_owned()))).collect()
    }

    #[test]
    fn digests_are_read_from_maps_as_resp2_has_them() {
        let text = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let group = vec![text("group"), Reply::Int(7), text("digest_index"), Reply::Int(9), text("digest"), text("ab")];
        let reply = Reply::Array(vec![Reply::Array(group)]);
        assert_eq!(read_digests(&reply), Some(digests(&[(7, 9, "ab")])));
        assert_eq!(read_digests(&Reply::Array(vec![Reply::Array(vec![text("group"), Reply::Int(7)])])), None);
        assert_eq!(read_digests(&Reply::Nil), None);
    }

    #[test]
    fn a_node_that_is_behind_and_a_digest_that_differs_are_named() {
        let first = digests(&[(0, 5, "aa"), (1, 6, "bb")]);
        let behind = digests(&[(0, 5, "aa"), (1, 4, "cc")]);
        let text = find_lagging(&[(1, first.clone()), (3, behind)]).expect("it is behind");
        assert_eq!(text, "group 1 has applied up to 6 on node 1 and up to 4 on node 3");
        let other = digests(&[(0, 5, "aa"), (1, 6, "b0")]);
        let mut verdict = Verdict::default();
        compare_digests(&[(1, first.clone()), (2, first), (3, other)], &mut verdict);
        assert_eq!((verdict.groups, verdict.groups_equal), (2, 1));
        assert_eq!(verdict.problems, ["group 1: the digest at index 6 is bb on node 1 and b0 on node 3"]);
    }

    #[test]
    fn batches_are_bounded_in_count_and_bytes() {
        let large = vec![0; BATCH_BYTES_MAX];
        assert_eq!(batch_len(&[(b"a", &large), (b"b", &large)]), 1);
        assert_eq!(batch_len(&[(b"a", b""), (b"b", &large[2..]), (b"c", &large)]), 2);
        assert_eq!(batch_len(&vec![(&b"a"[..], &b""[..]); 1_000]), BATCH_LEN_MAX);
    }

    #[test]
    fn nothing_sent_is_nothing_shown() {
        let tally = Tally::new(quorate_engine::time::Instant(0));
        assert!(!Verdict::default().is_passed(&tally), "a check of no rows proves nothing");
    }
}
