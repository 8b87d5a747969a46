//! Walks over the bytes of answers.

use quorate_engine::machine::answer::Answer;

use crate::resp::{Encoder, ReplyBuffer};

/// Splits off the whole answer at the front of `bytes`, members included; `None` if it is not whole or is nested deeper than
/// `depth`.
pub(super) fn split(bytes: &[u8], depth: usize) -> Option<(&[u8], &[u8])> {
    let rest = skip(bytes, depth)?;
    Some(bytes.split_at(bytes.len() - rest.len()))
}

fn skip(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let (answer, mut rest) = Answer::read(bytes)?;
    if matches!(answer, Answer::Word(word) if !word.is_ascii()) {
        return None;
    }
    let members = member_count(answer);
    if members > 0 && depth == 0 {
        return None;
    }
    for _ in 0..members {
        rest = skip(rest, depth - 1)?;
    }
    Some(rest)
}

/// How many answers follow the head of this one as its members.
fn member_count(answer: Answer<'_>) -> u64 {
    match answer {
        Answer::Array { count, .. } => u64::from(count),
        Answer::Map { count, .. } => 2 * u64::from(count),
        Answer::Ok | Answer::Nil | Answer::Int(_) | Answer::Bulk(_) | Answer::Word(_) | Answer::Error(_) => 0,
    }
}

/// Writes the answer at the front of `bytes`, which was found whole.
pub(super) fn write_answer<B: ReplyBuffer + ?Sized>(bytes: &[u8], out: &mut Encoder<'_, B>) {
    write_answers(bytes, 1, out);
}

/// Writes the members of a list that was found whole, without its head.
pub(super) fn write_members<B: ReplyBuffer + ?Sized>(list: Answer<'_>, out: &mut Encoder<'_, B>) {
    if let Answer::Array { count, rest } = list {
        write_answers(rest, u64::from(count), out);
    }
}

/// Writes `count` answers with their members. A tree lies front to back, so its members are just more answers to come.
fn write_answers<B: ReplyBuffer + ?Sized>(bytes: &[u8], count: u64, out: &mut Encoder<'_, B>) {
    let (mut left, mut rest) = (count, bytes);
    while left > 0 {
        let (answer, behind) = Answer::read(rest).expect("the answers were found whole before they are written");
        write_head(answer, out);
        left = left - 1 + member_count(answer);
        rest = behind;
    }
}

/// Writes an answer without its members.
fn write_head<B: ReplyBuffer + ?Sized>(answer: Answer<'_>, out: &mut Encoder<'_, B>) {
    match answer {
        Answer::Ok => out.ok(),
        Answer::Nil => out.null(),
        Answer::Int(number) => out.integer(number),
        Answer::Bulk(bytes) => out.bulk(bytes),
        Answer::Word(word) => out.simple(std::str::from_utf8(word).expect("`split` found that words are ASCII")),
        Answer::Error(text) => out.error_bytes(&[text]),
        Answer::Array { count, .. } => out.array(count as usize),
        Answer::Map { count, .. } => out.map(count as usize),
    }
}

/// Iterates over the members of a list of byte strings, `None` for each that is something else. `None` if it is no list.
pub(super) fn bulks(list: Answer<'_>) -> Option<impl Iterator<Item = Option<&[u8]>>> {
    let Answer::Array { count, mut rest } = list else { return None };
    Some((0..count).map(move |_| {
        let (Answer::Bulk(bytes), behind) = Answer::read(rest)? else { return None };
        rest = behind;
        Some(bytes)
    }))
}
