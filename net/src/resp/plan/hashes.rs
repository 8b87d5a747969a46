//! Commands on hashes.

use quorate_engine::machine::command::{Command, Flags, Op};

use super::number::{check_float, integer};
use super::{Parts, Plan, PlanError, Request, commit};
use crate::resp::render::Shape;

pub(super) fn set(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    if !request.args.len().is_multiple_of(2) {
        return Err(request.arity());
    }
    request.one_with_items(request.command(Op::HashSet), request.args.skip(2).iter(), parts)
}

/// As [`set`], and answers OK.
pub(super) fn set_many(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    set(request, parts).map(|_| commit(Shape::Done))
}

pub(super) fn set_if_absent(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let command = Command { flags: Flags::IF_ABSENT, ..request.command(Op::HashSet) };
    request.one_with_items(command, request.args.skip(2).iter(), parts)
}

pub(super) fn get(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    on_field(request, Op::HashGet, parts)
}

pub(super) fn get_many(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one_with_items(request.command(Op::HashGetMany), request.args.skip(2).iter(), parts)
}

pub(super) fn get_all(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::HashGetAll), Shape::Reply, parts)
}

pub(super) fn fields(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::HashFields), Shape::Reply, parts)
}

pub(super) fn values(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::HashValues), Shape::Reply, parts)
}

pub(super) fn length(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(request.command(Op::HashLength), Shape::Reply, parts)
}

pub(super) fn exists(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    on_field(request, Op::HashExists, parts)
}

pub(super) fn delete(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one_with_items(request.command(Op::HashDelete), request.args.skip(2).iter(), parts)
}

pub(super) fn increment(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let number = integer(request.arg(3))?;
    let command = Command { number, value: request.arg(2), ..request.command(Op::HashIncrement) };
    request.one(command, Shape::Reply, parts)
}

pub(super) fn increment_float(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    check_float(request.arg(3), PlanError::FieldNotFinite)?;
    request.one_with_items(request.command(Op::HashIncrementFloat), request.args.skip(2).iter(), parts)
}

/// Plans a read of the field that is the second argument.
fn on_field(request: &Request<'_>, op: Op, parts: &mut Parts) -> Result<Plan, PlanError> {
    request.one(Command { value: request.arg(2), ..request.command(op) }, Shape::Reply, parts)
}
