//! The state of a node as JSON, and the replies that are made of it.

use quorate_engine::ids::NodeId;
use quorate_engine::machine::answer::Answer;
use quorate_engine::{GroupState, GroupStatus, Standing};
use serde_json::{Value, json};

use crate::control::exchange::CorePart;
use crate::resp::Encoder;

use super::Cpu;
use super::cluster::Map;
use super::directory::{Directory, Route};

/// What is shown of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// All of it, as one JSON object.
    Node,
    /// Positions of the logs.
    Log,
    /// Digests.
    Digest,
}

impl Cpu {
    /// Returns the node, and the groups of this CPU.
    pub(super) fn local_status(&self) -> Value {
        let front = &self.front;
        let facts = &front.facts;
        let own = json!({
            "id": facts.node.0,
            "incarnation": front.run.map(|run| run.incarnation.0),
            "state": "up",
            "address": Map::of(front).resp_address(facts.node),
            "note": note(front.shared.exchange.core().part, facts.node),
        });
        let others = front.peers.states().map(|(node, incarnation, is_up)| {
            json!({
                "id": node.0,
                "incarnation": incarnation.map(|incarnation| incarnation.0),
                "state": if is_up { "up" } else { "unreachable" },
                "address": Map::of(front).resp_address(node),
            })
        });
        let mut nodes: Vec<Value> = others.chain([own]).collect();
        nodes.sort_by_key(|node| node["id"].as_u64());
        let groups = self.engine.status();
        let groups = groups.iter().filter(|status| front.may_hold(status.group));
        let groups: Vec<Value> = groups.map(|status| group(status, &front.directory)).collect();
        json!({
            "cluster": facts.settings.cluster().id,
            "node": facts.node.0,
            "io_driver": front.shared.io.get().map(|choice| choice.driver),
            "io_reason": front.shared.io.get().map(|choice| choice.reason.as_str()),
            "durability": "memory",
            "loss_gen": facts.groups().map(|group| front.directory.loss_gen(group)).max(),
            "nodes": nodes,
            "groups": groups,
        })
    }
}

/// Returns what there is to say of a node that is not as it should be.
fn note(part: CorePart, node: NodeId) -> Option<String> {
    match part {
        CorePart::None | CorePart::Voting(_) => None,
        CorePart::Meeting => Some(String::from("waits for all nodes of the consistent core: the cluster is new")),
        CorePart::Joining => Some(format!(
            "does not vote in the consistent core, as it has lost its disk; `quorate core replace {node}` takes it back"
        )),
        CorePart::Restoring => Some(String::from(
            "waits for all nodes of the consistent core, to restore it; its log says which are missing",
        )),
    }
}

fn group(status: &GroupStatus, directory: &Directory) -> Value {
    let of = |wanted: &[Standing]| -> Vec<u16> {
        status.members.iter().filter(|member| wanted.contains(&member.standing)).map(|member| member.node.0).collect()
    };
    let state = match status.state {
        GroupState::Serving => "serving".to_owned(),
        GroupState::Waiting { have, need } => format!("waiting: {have} of {need} replicas"),
        GroupState::Unavailable { missing, .. } => {
            format!("unavailable: missing {}.{}", missing.node, missing.incarnation)
        }
        GroupState::Undecided => "not formed yet".to_owned(),
        GroupState::TakingOver => "taking over".to_owned(),
        GroupState::Following { leader: Some(_) } => "following".to_owned(),
        GroupState::Following { leader: None } => "following: no leader heard yet".to_owned(),
        GroupState::Installing => "installing a snapshot".to_owned(),
        GroupState::Diverged { why: None } => "diverged: copying the state of its leader".to_owned(),
        GroupState::Diverged { why: Some(why) } => format!("diverged, and not served: {why}"),
    };
    let (leader, state) = match directory.route(status.group) {
        // Nobody leads it, whatever was so before.
        Route::Lost(missing) => {
            let runs: Vec<String> = missing.iter().map(|run| format!("{}.{}", run.node, run.incarnation)).collect();
            (0, format!("unavailable: missing {}", runs.join(" ")))
        }
        Route::Unformed | Route::Led(_) => (status.leader.0, state),
    };
    json!({
        "group": status.group.0,
        "slots": [status.slots.first.0, status.slots.last.0],
        "epoch": status.epoch.0,
        "loss_gen": directory.loss_gen(status.group),
        "leader": leader,
        "state": state,
        "members": of(&[Standing::Leader, Standing::Voter, Standing::CatchingUp, Standing::Lost, Standing::Unknown]),
        "learners": of(&[Standing::Learner]),
        "lost": of(&[Standing::Lost]),
        "catching_up": of(&[Standing::CatchingUp]),
        "first": status.first.0,
        "last": status.last.0,
        "commit": status.commit.0,
        "applied": status.applied.0,
        "digest": format!("{:016x}", status.digest),
        "digest_index": status.applied.0,
        "keys": status.key_count,
        "bytes": status.used_bytes,
        "waiting": status.waiter_count,
    })
}

/// Puts the reports of all CPUs together: they differ in their groups only.
fn merge(answers: &[Vec<u8>]) -> Option<Value> {
    let mut merged: Option<Value> = None;
    for answer in answers {
        let Some((Answer::Bulk(text), _)) = Answer::read(answer) else { return None };
        let mut report: Value = serde_json::from_slice(text).ok()?;
        match &mut merged {
            None => merged = Some(report),
            Some(all) => {
                let groups = report["groups"].as_array_mut()?;
                all["groups"].as_array_mut()?.append(groups);
            }
        }
    }
    let mut all = merged?;
    all["groups"].as_array_mut()?.sort_by_key(|group| group["group"].as_u64());
    Some(all)
}

impl View {
    /// Writes the reply. `pattern`: the number of the one group wanted, or empty for all.
    pub(super) fn write(self, answers: &[Vec<u8>], pattern: &[u8], out: &mut Encoder<'_, Vec<u8>>) {
        let Some(all) = merge(answers) else { return out.error("ERR a CPU of this node gave no report") };
        if self == Self::Node {
            return out.text(&all.to_string());
        }
        let wanted = pattern.first_chunk::<4>().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
        let groups = all["groups"].as_array().map_or(&[][..], Vec::as_slice);
        let groups: Vec<&Value> =
            groups.iter().filter(|group| wanted.is_none_or(|wanted| group["group"] == wanted)).collect();
        if let (Some(wanted), true) = (wanted, groups.is_empty()) {
            return out.error(&format!("ERR this node holds no replica of group {wanted}"));
        }
        let fields: &[&str] = match self {
            Self::Digest => &["group", "digest_index", "digest"],
            Self::Node | Self::Log => &["group", "epoch", "leader", "state", "first", "last", "commit", "applied"],
        };
        out.array(groups.len());
        for group in groups {
            out.map(fields.len());
            for field in fields {
                out.text(field);
                match &group[*field] {
                    Value::Number(number) => out.integer(number.as_i64().unwrap_or(i64::MAX)),
                    Value::String(text) => out.text(text),
                    other => out.text(&other.to_string()),
                }
            }
        }
    }
}
