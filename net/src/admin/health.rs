//! Whether a node lives, and whether it can be sent requests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_engine::GroupState;
use quorate_engine::ids::{CpuId, NodeId};

use crate::control::exchange::CorePart;
use crate::cpu::{Census, GroupCensus, Lead};
use crate::node::Shared;
use crate::node::facts::Facts;

/// How often it is looked whether all CPUs have turned.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Returns the CPUs that do not turn once within `time`, although they were woken.
pub(super) async fn stuck_cpus(shared: &Shared, time: Duration) -> Vec<CpuId> {
    let turns = || shared.all_counters().map(|counters| counters.turns.load(Ordering::Relaxed));
    let before: Vec<u64> = turns().collect();
    let stuck = || (0..).map(CpuId).zip(before.iter().zip(turns())).filter(|(_, (before, now))| *before == now);
    let deadline = tokio::time::Instant::now() + time;
    // One that sleeps because there is nothing to do turns when it is woken.
    shared.exchange.wake_cpus();
    while stuck().next().is_some() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    stuck().map(|(cpu, _)| cpu).collect()
}

/// Returns why requests should not be sent to this node; nothing if they should.
pub(super) fn obstacles(facts: &Facts, shared: &Shared, census: &[Option<Census>]) -> Vec<String> {
    if shared.is_stopping.load(Ordering::Acquire) {
        return vec!["the node is stopping".to_owned()];
    }
    let missing = (0..).map(CpuId).zip(census).filter(|(_, census)| census.is_none());
    let mut reasons: Vec<String> = missing.map(|(cpu, _)| format!("cpu {} does not answer", cpu.0)).collect();
    let heard: Vec<&Census> = census.iter().flatten().collect();
    if heard.iter().any(|census| census.run.is_none()) {
        reasons.push(not_registered(shared.exchange.core().part));
        return reasons;
    }
    let down = shared.exchange.nodes();
    let is_down = |node: NodeId| down.get(&node).is_some_and(|run| !run.is_up);
    let groups = || heard.iter().flat_map(|census| &census.groups);
    reasons.extend(groups().filter_map(|group| obstacle(facts.node, group, is_down)));
    let is_learner_only = groups().any(|group| group.is_learner) && !groups().any(|group| group.is_member);
    if is_learner_only {
        reasons.push("the node is a member of no group yet: it copies those that it is to hold".to_owned());
    }
    reasons
}

fn not_registered(part: CorePart) -> String {
    let why = match part {
        CorePart::Meeting => "it waits for all nodes of the consistent core: the cluster is new",
        CorePart::Restoring => "it waits for all nodes of the consistent core, to restore it from what it knows",
        CorePart::None | CorePart::Joining | CorePart::Voting(_) => {
            "fewer than a majority of the consistent core can be reached"
        }
    };
    format!("the node has not been registered: {why}")
}

/// Returns why a group cannot be reached through this node, if it cannot.
fn obstacle(own: NodeId, census: &GroupCensus, is_down: impl Fn(NodeId) -> bool) -> Option<String> {
    let group = census.group;
    match &census.lead {
        Lead::Unformed => Some(format!("group {group} has not been formed")),
        Lead::Lost(missing) => {
            let names: Vec<String> = missing.iter().map(|run| format!("{}.{}", run.node, run.incarnation)).collect();
            Some(format!("group {group} cannot be led without {}, which are gone", names.join(" ")))
        }
        Lead::Node { leader, .. } if *leader == own => {
            let state = census.held.as_ref().map(|status| status.state);
            (state != Some(GroupState::Serving)).then(|| format!("group {group} is led here and {}", why_not(state)))
        }
        Lead::Node { leader, .. } if is_down(*leader) => {
            Some(format!("group {group} has no leader: node {leader} is down, and nobody has taken over yet"))
        }
        Lead::Node { leader, is_reached: false } => {
            Some(format!("group {group} is led by node {leader}, which is not connected to this one"))
        }
        Lead::Node { .. } => None,
    }
}

/// Says why a group that is led here does not serve.
fn why_not(state: Option<GroupState>) -> String {
    match state {
        Some(GroupState::Waiting { have, need }) => format!("hears {have} of {need} replicas"),
        Some(GroupState::Diverged { .. }) => "its state is wrong".to_owned(),
        Some(GroupState::Unavailable { .. }) => "others follow another run of this node".to_owned(),
        _ => "does not serve yet".to_owned(),
    }
}
