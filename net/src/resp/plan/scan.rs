//! Commands that walk over keys or fields.

use quorate_engine::machine::command::{Command, Op};

use super::cursor::{ScanCursor, read_number};
use super::number::integer;
use super::words::Word;
use super::{Parts, Plan, PlanError, Request, commit};
use crate::resp::render::{Filter, Shape};
use quorate_engine::ids::{GroupId, Slot};
use quorate_engine::slots::SlotMap;

pub(super) fn keys(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let filter = filter(request.arg(1), parts);
    request.every_group(Op::Keys, Shape::Keys(filter), parts)
}

/// One step over the keys of one group. The reply names the next slot of the group, or of the next group.
pub(super) fn scan(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let ScanCursor { slot, position } = ScanCursor::read(request.arg(1)).ok_or(PlanError::Cursor)?;
    let options = Options::read(request, 2, Scanned::Keys)?;
    let filter = options.pattern.map_or(Filter::All, |pattern| filter(pattern, parts));
    let value = options.type_name.map_or(&b""[..], known_type);
    let time = options.count << SLOT_FIELD_BITS | i64::from(slot.0);
    parts.push(slot, &Command { number: position, time, value, ..Command::new(Op::Scan, &[]) });
    Ok(commit(Shape::Scan { next_group: next_group(request.context.map, slot), filter }))
}

pub(super) fn hash_scan(request: &Request<'_>, parts: &mut Parts) -> Result<Plan, PlanError> {
    let cursor = read_number(request.arg(2)).and_then(|number| i64::try_from(number).ok()).ok_or(PlanError::Cursor)?;
    let options = Options::read(request, 3, Scanned::Fields)?;
    let filter = options.pattern.map_or(Filter::All, |pattern| filter(pattern, parts));
    let command = Command { number: cursor, time: options.count, ..request.command(Op::HashScan) };
    request.one(command, Shape::HashScan(filter), parts)
}

/// What a scan walks over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scanned {
    Keys,
    Fields,
}

/// The words behind a cursor.
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: i64,
    type_name: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn read(request: &Request<'a>, first: usize, scanned: Scanned) -> Result<Self, PlanError> {
        let mut options = Self { pattern: None, count: COUNT_DEFAULT, type_name: None };
        let mut args = request.args.skip(first).iter();
        while let Some(word) = args.next() {
            let value = args.next().ok_or(PlanError::Syntax)?;
            match Word::new(word).as_bytes() {
                b"MATCH" => options.pattern = Some(value),
                b"COUNT" => options.count = count(value)?,
                b"TYPE" if scanned == Scanned::Keys => options.type_name = Some(value),
                _ => return Err(PlanError::Syntax),
            }
        }
        Ok(options)
    }
}

fn count(text: &[u8]) -> Result<i64, PlanError> {
    let count = integer(text)?;
    if count < 1 { Err(PlanError::Syntax) } else { Ok(count.min(COUNT_MAX)) }
}

/// Keeps the pattern with the parts, unless it matches everything.
fn filter(pattern: &[u8], parts: &mut Parts) -> Filter {
    if pattern == b"*" {
        return Filter::All;
    }
    parts.set_pattern(pattern);
    Filter::Pattern
}

/// Returns the name of a type as the engine spells it. A type that there is not has no keys, which is no error in Redis.
fn known_type(name: &[u8]) -> &'static [u8] {
    let known = TYPES.iter().find(|known| known.eq_ignore_ascii_case(name));
    known.copied().unwrap_or(b"none")
}

/// Returns the first slot of the group behind that of `slot`; 0 behind the last one.
fn next_group(map: SlotMap, slot: Slot) -> Slot {
    let next = map.group_of(slot).0 + 1;
    if next == map.group_count() { Slot(0) } else { map.slots_of(GroupId(next)).first }
}

const TYPES: [&[u8]; 2] = [b"string", b"hash"];

/// Keys looked at in one step, if the client does not say.
const COUNT_DEFAULT: i64 = 10;

/// Most keys looked at in one step, so that one answer stays small; `COUNT` is a hint.
const COUNT_MAX: i64 = 1 << 16;

/// Bits of the engine's `time` in which a scan has its slot; the count stands above.
const SLOT_FIELD_BITS: u32 = 16;
