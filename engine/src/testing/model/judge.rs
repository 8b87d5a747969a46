//! What must never be, looked at after everything that happens.
//!
//! Nothing that was committed is lost: every process commits the same entries, and whoever leads the active configuration holds
//! them all. Logs that hold the same entry are equal through it. A write is acknowledged by its own entry. Whatever a leader
//! can answer at once is asked in every state, and no answer misses what another one has shown before.
//!
//! Once a loss that was accepted is active, all that counts from then on alone. Those who have not heard of it may answer until
//! somebody who has does, and hold what they like.

use super::interned::{Interned, Recorder};
use super::process::{Act, Done, Line, Step, View};
use super::world::{Fault, Tables, World};
use crate::ids::LogIndex;

/// Returns the number of a list of entries.
pub(super) fn chain(chains: &mut Interned<Vec<Line>>, lines: Vec<Line>) -> u32 {
    chains.number(Recorder::of(&lines), || lines)
}

/// Judges what one process has done, which was in the state `before`.
pub(super) fn judge(tables: &mut Tables, world: &mut World, node: u16, before: u32, step: &Step) {
    let after = world.process(node);
    if after != before {
        let may_fall = step.has_forgotten && tables.cores.get(world.core).has_lost();
        let fell = !may_fall && commit_fell(tables, before, after);
        let forked = is_forked(tables, world, node);
        let fault = fell.then_some(Fault::Uncommitted).or_else(|| forked.then_some(Fault::Forked));
        world.fault = fault.or_else(|| commit(tables, world, after).err());
    }
    for done in &step.done {
        if world.fault.is_none() {
            world.fault = end(tables, world, after, *done).err();
        }
    }
}

/// Looks at the whole.
pub(super) fn look(tables: &mut Tables, world: &mut World) {
    let core = tables.cores.get(world.core);
    let active = core.active();
    if active.loss_gen > world.generation.0 {
        world.generation = (active.loss_gen, active.epoch);
        (world.seen, world.committed) = (LogIndex(0), chain(&mut tables.chains, Vec::new()));
    }
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
        let view = &tables.processes.get(state).view;
        if view.leads && view.epoch >= world.generation.1 {
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
            || (view.applied == other.applied
                && view.digest != other.digest
                && [view, other].iter().all(|view| is_new(world, view, view.applied)))
    })
}

/// Whether an entry of a log was born in the loss generation that is active.
fn is_new(world: &World, view: &View, index: LogIndex) -> bool {
    let (loss_gen, first) = world.generation;
    loss_gen == 0 || view.line(index).is_some_and(|line| line.id.epoch >= first)
}

/// Notes what a process knows to be committed.
fn commit(tables: &mut Tables, world: &mut World, state: u32) -> Result<(), Fault> {
    let view = &tables.processes.get(state).view;
    if !is_new(world, view, view.commit) {
        return Ok(());
    }
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

/// Judges how a request ended, at a process in this state.
fn end(tables: &Tables, world: &mut World, state: u32, done: Done) -> Result<(), Fault> {
    if tables.processes.get(state).view.epoch < world.generation.1 {
        let has_answered = world.seen > LogIndex(0);
        return if has_answered { Err(Fault::Outlived) } else { Ok(()) };
    }
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
