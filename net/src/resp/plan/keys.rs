//! Commands on keys of any type.

use quorate_engine::Level;
use quorate_engine::ids::Slot;
use quorate_engine::machine::command::{Command, Flags, Op};
use quorate_engine::slots::SLOT_COUNT;

use super::error::RejectedWord;
use super::expiry::TimeForm;
use super::words::Word;
use super::{Parts, Plan, PlanError, Request, commit};
use crate::resp::render::{Shape, TimeUnit};
use crate::resp::table::split_trailing_ack;

pub(super) fn delete(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let (args, level) = split_trailing_ack(request.args);
    let level = level.map_or(Ok(Level::Commit), super::strings::acknowledgement)?;
    request.many(Op::Delete, args, parts);
    Ok(Plan::Parts { level, shape: Shape::Sum })
}

pub(super) fn unlink(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.many(Op::Delete, request.args, parts);
    Ok(commit(Shape::Sum))
}

pub(super) fn exists(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.many(Op::Exists, request.args, parts);
    Ok(commit(Shape::Sum))
}

pub(super) fn type_name(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::Type), Shape::Reply, parts)
}

pub(super) fn expire(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    expire_in(TimeForm::SECONDS, request, parts)
}

pub(super) fn expire_milliseconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    expire_in(TimeForm::MILLISECONDS, request, parts)
}

pub(super) fn expire_at(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    expire_in(TimeForm::UNIX_SECONDS, request, parts)
}

pub(super) fn expire_at_milliseconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    expire_in(TimeForm::UNIX_MILLISECONDS, request, parts)
}

/// A time that has passed deletes the key; the engine does that.
fn expire_in(form: TimeForm, request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let conditions = expire_conditions(request)?;
    let time = form.read_any(request.arg(2), request)?;
    let (flags, number) = (conditions.with(form.flag), form.end(time, request));
    let command = Command { flags, time, number, ..request.command(Op::Expire) };
    request.one(command, Shape::Reply, parts)
}

fn expire_conditions(request: &Request<'_>) -> Result<Flags, PlanError> {
    let mut flags = Flags::default();
    for text in request.args.skip(3).iter() {
        flags = flags.with(match Word::new(text).as_bytes() {
            b"NX" => Flags::IF_ABSENT,
            b"XX" => Flags::IF_PRESENT,
            b"GT" => Flags::IF_LATER,
            b"LT" => Flags::IF_EARLIER,
            _ => return Err(PlanError::UnsupportedOption { word: RejectedWord::new(text) }),
        });
    }
    let (is_later, is_earlier) = (flags.has(Flags::IF_LATER), flags.has(Flags::IF_EARLIER));
    if flags.has(Flags::IF_ABSENT) && (flags.has(Flags::IF_PRESENT) || is_later || is_earlier) {
        return Err(PlanError::ExpireConditions);
    }
    if is_later && is_earlier { Err(PlanError::ExpireDirections) } else { Ok(flags) }
}

pub(super) fn remaining_seconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::TimeToLive), Shape::Remaining(TimeUnit::Seconds), parts)
}

pub(super) fn remaining_milliseconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::TimeToLive), Shape::Remaining(TimeUnit::Milliseconds), parts)
}

pub(super) fn deadline_seconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::ExpireTime), Shape::Deadline(TimeUnit::Seconds), parts)
}

pub(super) fn deadline_milliseconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::ExpireTime), Shape::Deadline(TimeUnit::Milliseconds), parts)
}

pub(super) fn persist(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::Persist), Shape::Reply, parts)
}

/// Begins at a random slot, so that every group is the first one in proportion to its slots.
pub(super) fn random_key(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let random = request.context.random;
    let slot = u16::try_from(random % u64::from(SLOT_COUNT)).expect("the remainder is below 16384");
    let number = i64::try_from(random / u64::from(SLOT_COUNT)).expect("64 bits less 14 fit 63");
    parts.push(Slot(slot), &Command { number, ..Command::new(Op::RandomKey, &[]) });
    Ok(Plan::AnyGroup { shape: Shape::Reply })
}

pub(super) fn count(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.every_group(Op::Count, Shape::Sum, parts)
}

/// Both ways of flushing are the same here: the memory is given back before the reply.
pub(super) fn flush(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    match request.args.get(1).map(Word::new) {
        None => {}
        Some(word) if request.args.len() == 2 && matches!(word.as_bytes(), b"ASYNC" | b"SYNC") => {}
        Some(_) => return Err(PlanError::Syntax),
    }
    request.every_group(Op::Flush, Shape::Done, parts)
}
