//! Makes RESP replies of the answers of the engine.
//!
//! An answer is a tree of bytes that says what it is; most replies are that tree in RESP. Where a reply is more (a sum over several
//! groups, a time in another unit, names that match a pattern), the [`Shape`] that was planned with the request says how
//! it is made. A shape is small and remembers nothing, so it waits with the request.
//!
//! # Invariants
//! I1. Exactly one whole reply is written, whatever the answers hold: they are checked to the end before the first byte is written.
//!
//! # Time and units
//! Times to live arrive in nanoseconds, -1 without one and -2 without the key. Milliseconds are cut, seconds are rounded from
//! milliseconds, as Redis does.
//!
//! # Bounds
//! Nothing is allocated; nesting is limited to [`DEPTH_MAX`].

mod walk;

use quorate_engine::ids::Slot;
use quorate_engine::machine::answer::{Answer, DEPTH_MAX};

use super::plan::ScanCursor;
use super::{Encoder, ReplyBuffer, glob};
use walk::{bulks, split, write_answer, write_members};

/// How answers become a reply. Kept with a request while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The answer as it is.
    Reply,
    /// OK, unless there is an error.
    Done,
    /// 1 if the key was set, 0 if it was there.
    SetIfAbsent,
    /// A time to live.
    Remaining(TimeUnit),
    /// The end of a time to live, since the Unix epoch: the answer to an `Op::ExpireTime`.
    Deadline(TimeUnit),
    /// The sum of numbers.
    Sum,
    /// The members of all lists as one list.
    List,
    /// The names in all lists as one list.
    Keys(Filter),
    /// One step of a scan over keys: a cursor and names.
    Scan {
        /// The first slot of the next group; 0 behind the last one.
        next_group: Slot,
        /// Which names are returned.
        filter: Filter,
    },
    /// One step of a scan over fields: a cursor, fields and values. The filter is for the fields.
    HashScan(Filter),
}

impl Shape {
    /// Whether the reply depends on the wall clock.
    #[must_use]
    pub fn needs_clock(self) -> bool {
        matches!(self, Self::Deadline(_))
    }
}

/// The unit of a time in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds, rounded.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Which names are part of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    All,
    /// Those that match the pattern of the request, which may be empty and then matches the empty name only.
    Pattern,
}

/// Writes the reply of a request with one part.
///
/// `pattern`: of the request ([`super::plan::Parts::pattern`]). `wall_now_ns`: nanoseconds since the Unix epoch.
pub fn write_one<B: ReplyBuffer + ?Sized>(
    shape: Shape,
    answer: &[u8],
    pattern: &[u8],
    wall_now_ns: u64,
    out: &mut Encoder<'_, B>,
) {
    write_many(shape, answer, 1, pattern, wall_now_ns, out);
}

/// Writes the reply of a request with several parts: `answers` are `count` whole answers behind each other, in the order of
/// the parts or groups. The first error among them is the reply.
///
/// `pattern`: of the request ([`super::plan::Parts::pattern`]). `wall_now_ns`: nanoseconds since the Unix epoch.
pub fn write_many<B: ReplyBuffer + ?Sized>(
    shape: Shape,
    answers: &[u8],
    count: usize,
    pattern: &[u8],
    wall_now_ns: u64,
    out: &mut Encoder<'_, B>,
) {
    let written = examine(answers, count).and_then(|verdict| match verdict {
        Verdict::Error(text) => {
            out.error_bytes(&[text]);
            Ok(())
        }
        Verdict::Good => {
            let names = Names { filter: shape.filter(), pattern };
            write_good(shape, &Answers { bytes: answers, count }, names, wall_now_ns, out)
        }
    });
    if written.is_err() {
        out.error(MALFORMED);
    }
}

impl Shape {
    fn filter(self) -> Filter {
        match self {
            Self::Keys(filter) | Self::HashScan(filter) | Self::Scan { filter, .. } => filter,
            Self::Reply
            | Self::Done
            | Self::SetIfAbsent
            | Self::Remaining(_)
            | Self::Deadline(_)
            | Self::Sum
            | Self::List => Filter::All,
        }
    }
}

/// Answers that are not what their command answers. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// What whole answers hold.
enum Verdict<'a> {
    /// No error.
    Good,
    /// The text of the first error.
    Error(&'a [u8]),
}

/// Checks that `bytes` are `count` whole answers and nothing else.
fn examine(bytes: &[u8], count: usize) -> Result<Verdict<'_>, Malformed> {
    let mut verdict = Verdict::Good;
    let mut rest = bytes;
    for _ in 0..count {
        let (answer, behind) = split(rest, DEPTH_MAX).ok_or(Malformed)?;
        if let (Verdict::Good, Some((Answer::Error(text), _))) = (&verdict, Answer::read(answer)) {
            verdict = Verdict::Error(text);
        }
        rest = behind;
    }
    if rest.is_empty() && count > 0 { Ok(verdict) } else { Err(Malformed) }
}

/// Answers that were examined: whole, at least one, and none is an error.
struct Answers<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Answers<'a> {
    /// Iterates over the heads of the answers.
    fn iter(&self) -> impl Iterator<Item = Answer<'a>> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| {
            let (answer, behind) = split(rest, DEPTH_MAX)?;
            rest = behind;
            Answer::read(answer).map(|(answer, _)| answer)
        })
    }

    /// The only answer.
    fn one(&self) -> Result<Answer<'a>, Malformed> {
        if self.count != 1 {
            return Err(Malformed);
        }
        Answer::read(self.bytes).map(|(answer, _)| answer).ok_or(Malformed)
    }

    /// Returns how many members all lists have together.
    fn member_count(&self) -> Result<usize, Malformed> {
        self.iter().try_fold(0, |sum, answer| match answer {
            Answer::Array { count, .. } => Ok(sum + count as usize),
            _ => Err(Malformed),
        })
    }

    /// Returns the sum of all numbers.
    fn sum(&self) -> Result<i64, Malformed> {
        self.iter().try_fold(0_i64, |sum, answer| match answer {
            Answer::Int(number) => Ok(sum.saturating_add(number)),
            _ => Err(Malformed),
        })
    }
}

/// Which names to return.
#[derive(Clone, Copy)]
struct Names<'a> {
    filter: Filter,
    pattern: &'a [u8],
}

impl Names<'_> {
    fn include(self, name: &[u8]) -> bool {
        match self.filter {
            Filter::All => true,
            Filter::Pattern => glob::matches(self.pattern, name),
        }
    }

    /// Checks that `list` is a list of names and returns how many of them are included.
    fn count_in(self, list: Answer<'_>) -> Result<usize, Malformed> {
        bulks(list).ok_or(Malformed)?.try_fold(0, |count, name| {
            let name = name.ok_or(Malformed)?;
            Ok(count + usize::from(self.include(name)))
        })
    }

    /// Writes the names of a checked list that are included.
    fn write_those_of<B: ReplyBuffer + ?Sized>(self, list: Answer<'_>, out: &mut Encoder<'_, B>) {
        let names = bulks(list).into_iter().flatten().flatten();
        names.filter(|name| self.include(name)).for_each(|name| out.bulk(name));
    }
}

/// Writes the reply of answers without an error, or nothing.
fn write_good<B: ReplyBuffer + ?Sized>(
    shape: Shape,
    answers: &Answers<'_>,
    names: Names<'_>,
    wall_now_ns: u64,
    out: &mut Encoder<'_, B>,
) -> Result<(), Malformed> {
    match shape {
        Shape::Reply => {
            answers.one()?;
            write_answer(answers.bytes, out);
        }
        Shape::Done => out.ok(),
        Shape::SetIfAbsent => match answers.one()? {
            Answer::Ok => out.integer(1),
            Answer::Nil => out.integer(0),
            _ => return Err(Malformed),
        },
        Shape::Remaining(unit) => {
            let remaining = remaining(answers.one()?)?;
            out.integer(remaining.map_or_else(|code| code, |ns| in_unit(ns / MILLISECOND_NS, unit)));
        }
        Shape::Deadline(unit) => out.integer(deadline(answers.one()?, wall_now_ns, unit)?),
        Shape::Sum => out.integer(answers.sum()?),
        Shape::List => {
            out.array(answers.member_count()?);
            answers.iter().for_each(|list| write_members(list, out));
        }
        Shape::Keys(_) => write_keys(answers, names, out)?,
        Shape::Scan { next_group, .. } => write_scan(answers, next_group, names, out)?,
        Shape::HashScan(_) => write_hash_scan(answers, names, out)?,
    }
    Ok(())
}

/// Returns a time to live in nanoseconds, or the number that stands for none.
fn remaining(answer: Answer<'_>) -> Result<Result<u64, i64>, Malformed> {
    let Answer::Int(number) = answer else { return Err(Malformed) };
    match (u64::try_from(number), number) {
        (Ok(ns), _) => Ok(Ok(ns)),
        (Err(_), -2 | -1) => Ok(Err(number)),
        (Err(_), _) => Err(Malformed),
    }
}

/// Returns when a time to live ends, or the number that stands for none: as it was named when it was set. If it was not, as
/// by a native client that said nothing of it, it is what is left from now on; the leader's clock and ours were read at
/// different moments, so the nearest millisecond is more often the right one than the one below.
fn deadline(answer: Answer<'_>, wall_now_ns: u64, unit: TimeUnit) -> Result<i64, Malformed> {
    let Answer::Array { count: 2, rest } = answer else {
        return remaining(answer)?.err().ok_or(Malformed);
    };
    let (left, rest) = Answer::read(rest).ok_or(Malformed)?;
    let (Ok(left_ns), Some((Answer::Int(name), _))) = (remaining(left)?, Answer::read(rest)) else {
        return Err(Malformed);
    };
    let milliseconds = match u64::try_from(name) {
        Ok(name @ 1..) => name / MILLISECOND_NS,
        Ok(0) | Err(_) => wall_now_ns.saturating_add(left_ns).saturating_add(MILLISECOND_NS / 2) / MILLISECOND_NS,
    };
    Ok(in_unit(milliseconds, unit))
}

fn in_unit(milliseconds: u64, unit: TimeUnit) -> i64 {
    let value = match unit {
        TimeUnit::Seconds => (milliseconds + 500) / 1000,
        TimeUnit::Milliseconds => milliseconds,
    };
    i64::try_from(value).expect("64 bits of nanoseconds fit 63 bits in milliseconds")
}

fn write_keys<B: ReplyBuffer + ?Sized>(
    answers: &Answers<'_>,
    names: Names<'_>,
    out: &mut Encoder<'_, B>,
) -> Result<(), Malformed> {
    let count = answers.iter().try_fold(0, |sum, list| Ok(sum + names.count_in(list)?))?;
    out.array(count);
    answers.iter().for_each(|list| names.write_those_of(list, out));
    Ok(())
}

/// Writes the cursor to go on from and the names. The engine answers slot, position and keys; slot 0 and position 0 behind
/// the last slot of the group, where the next group begins.
fn write_scan<B: ReplyBuffer + ?Sized>(
    answers: &Answers<'_>,
    next_group: Slot,
    names: Names<'_>,
    out: &mut Encoder<'_, B>,
) -> Result<(), Malformed> {
    let Answer::Array { count: 3, rest } = answers.one()? else { return Err(Malformed) };
    let Some((Answer::Int(slot), rest)) = Answer::read(rest) else { return Err(Malformed) };
    let Some((Answer::Int(position), rest)) = Answer::read(rest) else { return Err(Malformed) };
    let Some((keys, _)) = Answer::read(rest) else { return Err(Malformed) };
    let slot = u16::try_from(slot).map(Slot).map_err(|_| Malformed)?;
    let is_group_done = slot == Slot(0) && position == 0;
    let cursor = ScanCursor { slot: if is_group_done { next_group } else { slot }, position };
    let cursor = cursor.number().ok_or(Malformed)?;
    let count = names.count_in(keys)?;
    out.array(2);
    out.bulk_integer(cursor);
    out.array(count);
    names.write_those_of(keys, out);
    Ok(())
}

/// Writes the cursor to go on from, and the fields whose names are included with their values.
fn write_hash_scan<B: ReplyBuffer + ?Sized>(
    answers: &Answers<'_>,
    names: Names<'_>,
    out: &mut Encoder<'_, B>,
) -> Result<(), Malformed> {
    let Answer::Array { count: 2, rest } = answers.one()? else { return Err(Malformed) };
    let Some((Answer::Int(cursor), rest)) = Answer::read(rest) else { return Err(Malformed) };
    let Some((fields, _)) = Answer::read(rest) else { return Err(Malformed) };
    let mut count = 0;
    let mut checked = bulks(fields).ok_or(Malformed)?;
    while let Some(field) = checked.next() {
        let (Some(field), Some(Some(_))) = (field, checked.next()) else { return Err(Malformed) };
        count += usize::from(names.include(field)) * 2;
    }
    out.array(2);
    out.bulk_integer(cursor);
    out.array(count);
    let mut list = bulks(fields).into_iter().flatten().flatten();
    while let (Some(field), Some(value)) = (list.next(), list.next()) {
        if names.include(field) {
            out.bulk(field);
            out.bulk(value);
        }
    }
    Ok(())
}

/// The reply to answers that cannot come from a node that works.
const MALFORMED: &str = "ERR internal: malformed answer";

const MILLISECOND_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests;
