//! Commands on strings and counters.

use quorate_engine::Level;
use quorate_engine::machine::command::{Command, Flags, Op};
use quorate_engine::slots::slot_of;

use super::expiry::TimeForm;
use super::number::{check_float, integer};
use super::words::Word;
use super::{Parts, Plan, PlanError, Request, commit};
use crate::resp::render::Shape;

pub(super) fn get(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::Get), Shape::Reply, parts)
}

pub(super) fn set(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let options = SetOptions::read(request)?;
    let command = options.expiry.put_into(request.command(Op::Set), request)?;
    let command = Command { flags: command.flags.with(options.flags), value: request.arg(2), ..command };
    parts.push(slot_of(command.key), &command);
    Ok(Plan::Parts { level: options.level, shape: Shape::Reply })
}

pub(super) fn set_if_absent(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let command = Command { flags: Flags::IF_ABSENT, value: request.arg(2), ..request.command(Op::Set) };
    request.one(command, Shape::SetIfAbsent, parts)
}

pub(super) fn set_for_seconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    set_for(TimeForm::SECONDS, request, parts)
}

pub(super) fn set_for_milliseconds(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    set_for(TimeForm::MILLISECONDS, request, parts)
}

fn set_for(form: TimeForm, request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let time = form.read_positive(request.arg(2), request)?;
    let number = form.end(time, request);
    let command = Command { flags: form.flag, time, number, value: request.arg(3), ..request.command(Op::Set) };
    request.one(command, Shape::Reply, parts)
}

pub(super) fn get_set(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let command = Command { flags: Flags::GET, value: request.arg(2), ..request.command(Op::Set) };
    request.one(command, Shape::Reply, parts)
}

pub(super) fn get_delete(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::GetDelete), Shape::Reply, parts)
}

/// Without an option it is a plain read, which does not go through the log.
pub(super) fn get_expire(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let mut expiry = Expiry::None;
    let mut args = request.args.skip(2).iter();
    while let Some(word) = args.next() {
        let word = Word::new(word);
        expiry = match (word.as_bytes(), TimeForm::named(word.as_bytes())) {
            (b"PERSIST", _) => expiry.replaced_by(Expiry::Persist)?,
            (_, Some(form)) => expiry.replaced_by(Expiry::At(form, args.next().ok_or(PlanError::Syntax)?))?,
            _ => return Err(PlanError::Syntax),
        };
    }
    if expiry == Expiry::None {
        return get(request, parts);
    }
    let command = expiry.put_into(request.command(Op::GetExpire), request)?;
    request.one(command, Shape::Reply, parts)
}

pub(super) fn get_range(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let (first, last) = (integer(request.arg(2))?, integer(request.arg(3))?);
    let command = Command { number: first, time: last, ..request.command(Op::GetRange) };
    request.one(command, Shape::Reply, parts)
}

pub(super) fn set_range(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let offset = integer(request.arg(2))?;
    if offset < 0 {
        return Err(PlanError::Offset);
    }
    let command = Command { number: offset, value: request.arg(3), ..request.command(Op::SetRange) };
    request.one(command, Shape::Reply, parts)
}

pub(super) fn length(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::Length), Shape::Reply, parts)
}

pub(super) fn append(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(Command { value: request.arg(2), ..request.command(Op::Append) }, Shape::Reply, parts)
}

pub(super) fn get_many(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.many(Op::GetMany, request.args, parts);
    Ok(commit(Shape::List))
}

/// All or none of the keys are set, which only one group can promise. The last of equal keys wins.
pub(super) fn set_many(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    if request.args.len().is_multiple_of(2) {
        return Err(request.arity());
    }
    let slot = slot_of(request.key());
    if request.args.iter().skip(1).step_by(2).any(|key| slot_of(key) != slot) {
        return Err(PlanError::CrossSlot);
    }
    parts.push_list(slot, Command::new(Op::SetMany, &[]), request.args.iter().skip(1));
    Ok(commit(Shape::Done))
}

pub(super) fn increment(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    add(1, request, parts)
}

pub(super) fn decrement(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    add(-1, request, parts)
}

pub(super) fn increment_by(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    add(integer(request.arg(2))?, request, parts)
}

pub(super) fn decrement_by(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let number = integer(request.arg(2))?.checked_neg().ok_or(PlanError::DecrementOverflow)?;
    add(number, request, parts)
}

fn add(number: i64, request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(Command { number, ..request.command(Op::Increment) }, Shape::Reply, parts)
}

pub(super) fn increment_by_float(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    check_float(request.arg(2), PlanError::NotFinite)?;
    request.one(Command { value: request.arg(2), ..request.command(Op::IncrementFloat) }, Shape::Reply, parts)
}

/// Finds the level behind `ACK`.
pub(super) fn acknowledgement(level: &[u8]) -> Result<Level, PlanError> {
    match Word::new(level).as_bytes() {
        b"ACCEPTED" => Ok(Level::Accepted),
        b"COMMIT" => Ok(Level::Commit),
        b"COHERENT" => Err(PlanError::AckNotBuilt { level: "coherent" }),
        b"SINK" => Err(PlanError::AckNotBuilt { level: "sink" }),
        _ => Err(PlanError::Syntax),
    }
}

/// What SET and GETEX may say of the expiry. The last of equal words wins, different ones exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry<'a> {
    /// Nothing was said.
    None,
    Keep,
    Persist,
    At(TimeForm, &'a [u8]),
}

impl<'a> Expiry<'a> {
    fn replaced_by(self, next: Self) -> Result<Self, PlanError> {
        let is_compatible = match (self, next) {
            (Self::None, _) => true,
            (Self::At(form, _), Self::At(next, _)) => form == next,
            _ => self == next,
        };
        if is_compatible { Ok(next) } else { Err(PlanError::Syntax) }
    }

    /// Returns a command without options with this expiry.
    fn put_into<'c>(self, command: Command<'c>, request: &Request<'_>) -> Result<Command<'c>, PlanError> {
        match self {
            Self::None | Self::Persist => Ok(command),
            Self::Keep => Ok(Command { flags: Flags::KEEP_TTL, ..command }),
            Self::At(form, text) => {
                let time = form.read_positive(text, request)?;
                Ok(Command { flags: form.flag, time, number: form.end(time, request), ..command })
            }
        }
    }
}

/// The words behind the value of SET.
struct SetOptions<'a> {
    flags: Flags,
    expiry: Expiry<'a>,
    level: Level,
}

impl<'a> SetOptions<'a> {
    fn read(request: &Request<'a>) -> Result<Self, PlanError> {
        let mut options = Self { flags: Flags::default(), expiry: Expiry::None, level: Level::Commit };
        let mut args = request.args.skip(3).iter();
        while let Some(word) = args.next() {
            let word = Word::new(word);
            match word.as_bytes() {
                b"NX" if !options.flags.has(Flags::IF_PRESENT) => options.add(Flags::IF_ABSENT),
                b"XX" if !options.flags.has(Flags::IF_ABSENT) => options.add(Flags::IF_PRESENT),
                b"GET" => options.add(Flags::GET),
                b"KEEPTTL" => options.expiry = options.expiry.replaced_by(Expiry::Keep)?,
                b"ACK" => options.level = acknowledgement(args.next().ok_or(PlanError::Syntax)?)?,
                b"FENCE" if args.next().is_some() => return Err(PlanError::FenceNotBuilt),
                word => {
                    let form = TimeForm::named(word).ok_or(PlanError::Syntax)?;
                    let text = args.next().ok_or(PlanError::Syntax)?;
                    options.expiry = options.expiry.replaced_by(Expiry::At(form, text))?;
                }
            }
        }
        if options.level == Level::Accepted && options.flags != Flags::default() {
            return Err(PlanError::AckAccepted);
        }
        Ok(options)
    }

    fn add(&mut self, flag: Flags) {
        self.flags = self.flags.with(flag);
    }
}
