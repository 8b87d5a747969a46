//! The state of a cluster for people: its nodes, then its groups, those with equal state in one line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::report::{GroupEntry, NodeEntry, Report, UP};
use crate::cli::terminal::{Paint, Tone};

/// Writes the table.
#[must_use]
pub(super) fn render(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    let io = report.io_driver.as_deref().unwrap_or("-");
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "cluster {}, asked node {} ({io}), durability {}, loss generation {}\n",
        report.cluster, report.node, report.durability, report.loss_gen
    );
    let nodes = report.nodes.iter().map(|node| node_row(report, node));
    push_table(&mut out, &["NODE", "STATE", "LEADS", "ADDRESS", "INCARNATION"], nodes, paint);
    for node in &report.nodes {
        for text in node.error.iter().chain(&node.note) {
            let _ = writeln!(out, "{}", paint.text(Tone::Faint, &format!("node {}: {text}", node.id)));
        }
    }
    out.push('\n');
    let header = ["GROUPS", "STATE", "LEADERS", "MEMBERS", "LEARNERS", "LOST", "KEYS", "COMMIT", "APPLIED"];
    push_table(&mut out, &header, fold(&report.groups).into_iter().map(group_row), paint);
    if report.groups.iter().any(GroupEntry::is_lost) {
        let _ = writeln!(out, "\n{}", paint.text(Tone::Note, LOST));
    }
    out
}

/// What is said if a group is lost.
const LOST: &str = "The runs that are missing (NODE.INCARNATION) held those groups and are gone with their memory. Nothing is served in \
                    its place; `quorate core accept-loss GROUP`, or `--all`, has them go on with what is left.";

/// One line: its cells, and how its second cell, the state, is to be seen.
struct Line {
    cells: Vec<String>,
    tone: Tone,
}

fn node_row(report: &Report, node: &NodeEntry) -> Line {
    let leads = report.groups.iter().filter(|group| group.leader == node.id).count();
    let incarnation = node.incarnation.map_or_else(|| "-".to_owned(), |incarnation| incarnation.to_string());
    let cells = vec![node.id.to_string(), node.state.clone(), leads.to_string(), node.address.clone(), incarnation];
    Line { cells, tone: if node.state == UP { Tone::Good } else { Tone::Bad } }
}

/// Groups with equal state.
struct Fold<'a> {
    like: &'a GroupEntry,
    numbers: Vec<u32>,
    leaders: Vec<u16>,
    keys: u64,
    commit: u64,
    applied: u64,
}

/// Puts groups with equal state together, in the order of their first group.
fn fold(groups: &[GroupEntry]) -> Vec<Fold<'_>> {
    let mut folds: Vec<Fold<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for group in groups {
        let key = (&group.state, &group.members, &group.learners, &group.lost, group.epoch);
        let place = *places.entry(key).or_insert(folds.len());
        if place == folds.len() {
            let (numbers, leaders) = (Vec::new(), Vec::new());
            folds.push(Fold { like: group, numbers, leaders, keys: 0, commit: 0, applied: 0 });
        }
        let fold = &mut folds[place];
        fold.numbers.push(group.group);
        fold.leaders.push(group.leader);
        fold.keys += group.keys;
        fold.commit += group.commit;
        fold.applied += group.applied;
    }
    folds
}

fn group_row(mut fold: Fold<'_>) -> Line {
    fold.leaders.sort_unstable();
    fold.leaders.dedup();
    let cells = vec![
        ranges(&fold.numbers),
        fold.like.state.clone(),
        list(&fold.leaders),
        list(&fold.like.members),
        list(&fold.like.learners),
        list(&fold.like.lost),
        fold.keys.to_string(),
        fold.commit.to_string(),
        fold.applied.to_string(),
    ];
    Line { cells, tone: if fold.like.is_serving() { Tone::Good } else { Tone::Bad } }
}

fn list(nodes: &[u16]) -> String {
    if nodes.is_empty() {
        return "-".to_owned();
    }
    nodes.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Writes ascending numbers as ranges; a long list of them as its beginning and how many there are.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let shown: Vec<String> = runs.iter().take(RUNS_MAX).map(run).collect();
    let rest = if runs.len() > RUNS_MAX { format!(".. ({} groups)", numbers.len()) } else { String::new() };
    format!("{}{rest}", shown.join(","))
}

/// How many ranges of groups one line shows.
const RUNS_MAX: usize = 4;

/// Writes a table with columns as wide as their widest cell.
fn push_table(out: &mut String, header: &[&str], lines: impl Iterator<Item = Line>, paint: Paint) {
    let lines: Vec<Line> = lines.collect();
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line.cells[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let pad = |text: &str, column: usize| {
        let is_last = column + 1 == header.len();
        if is_last { text.to_owned() } else { format!("{text:<width$}  ", width = widths[column]) }
    };
    let titles: String = header.iter().enumerate().map(|(column, title)| pad(title, column)).collect();
    let _ = writeln!(out, "{}", paint.text(Tone::Faint, &titles));
    for line in &lines {
        for (column, cell) in line.cells.iter().enumerate() {
            let padded = pad(cell, column);
            if column == STATE_COLUMN {
                let _ = write!(out, "{}", paint.text(line.tone, &padded));
            } else {
                out.push_str(&padded);
            }
        }
        out.push('\n');
    }
}

const STATE_COLUMN: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_ranges_and_long_lists_are_cut() {
        assert_eq!(ranges(&[0, 1, 2, 3]), "0-3");
        assert_eq!(ranges(&[0, 2, 3, 9]), "0,2-3,9");
        assert_eq!(ranges(&[0, 3, 6, 9, 12, 15]), "0,3,6,9.. (6 groups)");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn groups_with_equal_state_share_a_line() {
        let group = |number: u32, state: &str| GroupEntry {
            group: number,
            slots: [0, 0],
            loss_gen: 0,
            epoch: 1,
            leader: u16::try_from(number % 3 + 1).expect("small"),
            state: state.to_owned(),
            members: vec![1, 2, 3],
            learners: Vec::new(),
            lost: Vec::new(),
            catching_up: Vec::new(),
            last: 5,
            commit: 5,
            applied: 4,
            digest: String::new(),
            digest_index: 4,
            keys: 2,
            bytes: 0,
        };
        let down = "unavailable: leader 2 is unreachable";
        let groups = [group(0, "serving"), group(1, down), group(2, "serving"), group(3, "serving")];
        let report = Report {
            cluster: "prices".to_owned(),
            node: 1,
            io_driver: None,
            io_reason: None,
            durability: "memory".to_owned(),
            loss_gen: 0,
            nodes: Vec::new(),
            groups: groups.to_vec(),
        };
        let text = render(&report, Paint::PLAIN);
        let rows: Vec<Vec<&str>> = text.lines().skip(5).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["0,2-3", "serving", "1,3", "1,2,3", "-", "-", "6", "15", "12"]);
        assert_eq!(rows[1][..2], ["1", "unavailable:"]);
        assert_eq!(rows.len(), 2);
    }
}
