//! Events of a cluster as a few lines for people: a node that is lost may mean thousands of takeovers, and is one line.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Puts events together, in their order.
#[derive(Debug, Default)]
pub struct Happenings {
    /// Runs whose groups are being taken over.
    lost: BTreeMap<String, Lost>,
    /// Runs that copy groups.
    copying: BTreeMap<String, Copying>,
}

/// A run that is gone.
#[derive(Debug)]
struct Lost {
    at_ms: u64,
    /// Groups that others are to lead, and in which epoch.
    begun: BTreeMap<u64, u64>,
    led: usize,
    steps_ms: [f64; 3],
}

#[derive(Debug)]
struct Copying {
    since_ms: u64,
    left: BTreeSet<u64>,
    count: usize,
}

/// A line, and what it says about the state of things.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Something is not as it should be.
    Trouble(String),
    /// Others lead what a run has led.
    TakenOver {
        /// In words.
        text: String,
        /// From when the run was taken for gone until the last of its groups was led again, in milliseconds of the core's wall
        /// clock.
        all_ms: u64,
    },
    /// A run holds all its groups again.
    Whole(String),
}

impl Happenings {
    /// Takes the next event; returns the line that it completes, if it does.
    pub fn take(&mut self, event: &Value) -> Option<Line> {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| event[name].as_u64().unwrap_or_default();
        let (at_ms, group) = (number("at_ms"), number("group"));
        match event["event"].as_str()? {
            "node_down" => {
                let run = text("run");
                let line = Line::Trouble(format!("node {} is not heard any more (run {run})", node_of(&run)));
                self.lost.entry(run).or_insert_with(|| Lost::at(at_ms));
                Some(line)
            }
            "node_back" => {
                let run = text("run");
                self.lost.remove(&run);
                Some(Line::Whole(format!("node {} is heard again, with its memory (run {run})", node_of(&run))))
            }
            "clock_off" => {
                let (node, percent) = (node_of(event["run"].as_str()?), event["ppm"].as_f64()? / 1e4);
                Some(Line::Trouble(format!(
                    "the clock of node {node} goes {percent:+.1} % beside the others: it leads nothing"
                )))
            }
            "clock_right" => {
                Some(Line::Whole(format!("the clock of node {} goes right again", node_of(event["run"].as_str()?))))
            }
            "node_up" => {
                let run = text("run");
                Some(Line::Whole(format!("node {} has started, with an empty memory (run {run})", node_of(&run))))
            }
            "node_joined" => Some(Line::Whole(format!("node {} has joined the cluster", number("node")))),
            "drain_began" => Some(Line::Trouble(format!("an operator has node {} give up all groups", number("node")))),
            "drained" => Some(Line::Whole(format!("node {} holds nothing: it can be stopped", number("node")))),
            "drain_ended" => Some(Line::Whole(format!("node {} holds groups again like any other", number("node")))),
            "node_removed" => Some(Line::Trouble(format!("node {} was taken out of the cluster", number("node")))),
            "takeover_began" => {
                let lost = self.lost.entry(text("from")).or_insert_with(|| Lost::at(at_ms));
                lost.begun.insert(group, number("epoch"));
                None
            }
            "took_over" => self.take_over(event, (at_ms, group, number("epoch"))),
            "resync_started" => {
                let copying = self.copying.entry(text("replica")).or_insert_with(|| Copying::since(at_ms));
                copying.count += usize::from(copying.left.insert(group));
                None
            }
            "resync_done" => self.finish_copying(&text("replica"), group, at_ms),
            "unavailable" => Some(Line::Trouble(format!(
                "group {group} is lost: {} are gone with their memory; `quorate core accept-loss {group}` has it go on without",
                runs(&event["missing"])
            ))),
            "loss_accepted" => Some(Line::Trouble(format!(
                "an operator has accepted that group {group} goes on without {}; loss generation {}",
                runs(&event["missing"]),
                number("loss_gen")
            ))),
            _ => None,
        }
    }

    fn take_over(&mut self, event: &Value, (at_ms, group, epoch): (u64, u64, u64)) -> Option<Line> {
        let (run, lost) = self.lost.iter_mut().find(|(_, lost)| lost.begun.get(&group) == Some(&epoch))?;
        lost.begun.remove(&group);
        lost.led += 1;
        for (most, name) in lost.steps_ms.iter_mut().zip(["adopted_us", "held_us", "activated_us"]) {
            *most = most.max(event["steps"][name].as_f64().unwrap_or_default() / 1e3);
        }
        if !lost.begun.is_empty() {
            return None;
        }
        let (run, Lost { at_ms: since, led, steps_ms: [adopted, held, activated], .. }) = (run.clone(), &*lost);
        let all_ms = at_ms.saturating_sub(*since);
        let text = format!(
            "{led} groups of node {} are led by others {all_ms} ms later; the slowest: {adopted:.1} ms until its log was adopted, \
             {held:.1} ms until a quorum held it and no lease ran, {activated:.1} ms until the core had agreed",
            node_of(&run)
        );
        self.lost.remove(&run);
        Some(Line::TakenOver { text, all_ms })
    }

    fn finish_copying(&mut self, run: &str, group: u64, at_ms: u64) -> Option<Line> {
        let copying = self.copying.get_mut(run)?;
        copying.left.remove(&group);
        if !copying.left.is_empty() {
            return None;
        }
        let Copying { since_ms, count, .. } = self.copying.remove(run)?;
        let ms = at_ms.saturating_sub(since_ms);
        Some(Line::Whole(format!("node {} holds all its {count} groups again, {ms} ms later", node_of(run))))
    }
}

impl Lost {
    fn at(at_ms: u64) -> Self {
        Self { at_ms, begun: BTreeMap::new(), led: 0, steps_ms: [0.0; 3] }
    }
}

impl Copying {
    fn since(since_ms: u64) -> Self {
        Self { since_ms, left: BTreeSet::new(), count: 0 }
    }
}

/// Returns the node of a run that is named `node.incarnation`.
fn node_of(run: &str) -> &str {
    run.split('.').next().unwrap_or(run)
}

fn runs(list: &Value) -> String {
    let runs: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    runs.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lost_node_is_one_line_with_the_slowest_of_each_step() {
        let mut happenings = Happenings::default();
        let mut take = |event: Value| happenings.take(&event);
        let down = take(json!({"event": "node_down", "at_ms": 1_000, "run": "2.5"}));
        assert_eq!(down, Some(Line::Trouble("node 2 is not heard any more (run 2.5)".into())));
        for group in [1, 4] {
            let began = json!({"event": "takeover_began", "at_ms": 1_001, "group": group, "epoch": 3, "from": "2.5", "to": "1.4"});
            assert_eq!(take(began), None);
        }
        let took = |group: u64, at_ms: u64, held_us: u64| {
            let steps = json!({"adopted_us": 1_000, "held_us": held_us, "activated_us": 2_500});
            json!({"event": "took_over", "at_ms": at_ms, "group": group, "epoch": 3, "steps": steps})
        };
        assert_eq!(take(took(1, 1_080, 70_000)), None);
        assert_eq!(take(took(9, 1_081, 1)), None, "a group of another node");
        let Some(Line::TakenOver { text, all_ms: 90 }) = take(took(4, 1_090, 50_000)) else { panic!("no line") };
        assert_eq!(
            text,
            "2 groups of node 2 are led by others 90 ms later; the slowest: 1.0 ms until its log was adopted, 70.0 ms until a \
             quorum held it and no lease ran, 2.5 ms until the core had agreed"
        );
    }

    #[test]
    fn a_node_that_copies_is_whole_when_the_last_group_is() {
        let mut happenings = Happenings::default();
        let mut take = |event: &str, group: u64, at_ms: u64| {
            happenings.take(&json!({"event": event, "at_ms": at_ms, "group": group, "replica": "3.9"}))
        };
        assert_eq!(take("resync_started", 0, 5), None);
        assert_eq!(take("resync_started", 1, 6), None);
        assert_eq!(take("resync_done", 1, 20), None);
        let whole = Line::Whole("node 3 holds all its 2 groups again, 40 ms later".into());
        assert_eq!(take("resync_done", 0, 45), Some(whole));
    }
}
