//! What must never be, looked at after everything that happens.
//!
//! Nothing that was committed is lost: every process commits the same entries, and whoever leads the active configuration holds
//! them all. Logs that hold the same entry are equal through it. A write is acknowledged by its own entry. Whatever a leader
//! can answer at once is asked in every state, and no answer misses what another one has shown before.

use super::interned::{Interned, Recorder};
use super::process::{Act, Done, Line};
use super::world::{Fault, Tables, World};

/// Returns the number of a list of entries.
pub(super) fn chain(chains: &mut Interned<Vec<Line>>, lines: Vec<Line>) -> u32 {
    chains.number(Recorder::of(&lines), || lines)
}

/// Judges what one process has done, which was in the state `before`.
pub(super) fn judge(tables: &mut Tables, world: &mut World, node: u16, before: u32, done: &[Done]) {
    let after = world.process(node);
    if after != before {
        let (fell, forked) = (commit_fell(tables, before, after), is_forked(tables, world, node));
        let fault = fell.then_some(Fault::Uncommitted).or_else(|| forked.then_some(Fault::Forked));
        world.fault = fault.or_else(|| commit(tables, world, after).err());
    }
    for done in done {
        if world.fault.is_none() {
            world.fault = end(tables, world, *done).err();
        }
    }
}

/// Looks at the whole.
pub(super) fn look(tables: &mut Tables, world: &mut World) {
    let core = tables.cores.get(world.core);
    let active = core.active();
    if let Some(leader) = active.leader_replica() {
        let process = tables.processes.get(world.process(leader.node.0));
        let leads = process.me == leader && process.view.leads && process.view.epoch == active.epoch;
        let committed = tables.chains.get(world.committed);
        if leads && !committed.iter().all(|line| process.view.line(line.id.index) == Some(line)) {
            world.fault = Some(Fault::Lost);
            return;
        }
    }
    if !tables.is_timed {
        return;
    }
    // Whoever may answer is asked, all in one moment: the last ones must have seen what the first have.
    let before = world.seen;
    let mut answers = Vec::new();
    for node in 1..=world.node_count() {
        let state = world.process(node);
        if tables.processes.get(state).view.leads {
            let step = tables.processes.step(&mut tables.mails, state, Act::Get(before), world.clock(node));
            answers.extend(step.done.iter().filter_map(|done| match done {
                Done::Get { seen, .. } => Some(*seen),
                Done::Write(..) => None,
            }));
        }
    }
    world.seen = answers.iter().copied().max().unwrap_or_default().max(before);
    if answers.iter().any(|seen| *seen < world.seen) {
        world.fault = Some(Fault::Stale);
    }
}

fn commit_fell(tables: &Tables, before: u32, after: u32) -> bool {
    let (before, after) = (tables.processes.get(before), tables.processes.get(after));
    after.view.commit < before.view.commit || after.view.applied < before.view.applied
}

/// Whether the log or the state of a process contradicts that of another one.
fn is_forked(tables: &Tables, world: &World, node: u16) -> bool {
    let view = &tables.processes.get(world.process(node)).view;
    let mut others = (1..=world.node_count()).filter(|other| *other != node);
    others.any(|other| {
        let other = &tables.processes.get(world.process(other)).view;
        let mut pairs = view.log.iter().filter_map(|line| Some((line, other.line(line.id.index)?)));
        pairs.any(|(one, two)| one.id == two.id && one != two)
            || (view.applied == other.applied && view.digest != other.digest)
    })
}

/// Notes what a process knows to be committed.
fn commit(tables: &mut Tables, world: &mut World, state: u32) -> Result<(), Fault> {
    let view = &tables.processes.get(state).view;
    let known = tables.chains.get(world.committed);
    let mine: Vec<Line> = view.log.iter().copied().filter(|line| line.id.index <= view.commit).collect();
    if mine.iter().zip(known).any(|(one, two)| one != two) {
        return Err(Fault::Lost);
    }
    if mine.len() > known.len() {
        world.committed = chain(&mut tables.chains, mine);
    }
    Ok(())
}

/// Judges how a request ended.
fn end(tables: &Tables, world: &mut World, done: Done) -> Result<(), Fault> {
    let committed = tables.chains.get(world.committed);
    let shown = match done {
        Done::Write(number, id) => {
            let line = committed.iter().find(|line| line.id == id);
            if line.is_none_or(|line| line.write != number) {
                return Err(Fault::Misattributed);
            }
            id.index
        }
        Done::Get { before, seen } if seen < before => return Err(Fault::Stale),
        Done::Get { seen, .. } => seen,
    };
    world.seen = world.seen.max(shown);
    Ok(())
}
