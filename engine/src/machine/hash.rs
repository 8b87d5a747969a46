//! Commands on hashes: fields and values under one key.

use std::collections::BTreeMap;

use super::answer::AnswerSink;
use super::command::{Command, Flags, Op, items};
use super::key::Key;
use super::kv::{FIELD_OVERHEAD_BYTES, Kv, Value, digest_of_field, scan_page};
use super::strings::{NOT_FINITE, OVERFLOW, WRONG_TYPE, float_text, parse_float, parse_integer, with_decimal};

const FIELD_NOT_INTEGER: &str = "ERR hash value is not an integer";
const FIELD_NOT_FLOAT: &str = "ERR hash value is not a float";
const NOT_FLOAT: &str = "ERR value is not a valid float";

/// The fields of one hash, sorted by name, with their share of the digest.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    fields: BTreeMap<Key, Vec<u8>>,
    /// Wrapping sum of the digests of all fields.
    digest: u64,
    len_bytes: usize,
}

impl Fields {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the digest, computed from every byte.
    pub(crate) fn compute_digest(&self) -> u64 {
        self.iter().fold(0, |sum, (field, value)| sum.wrapping_add(digest_of_field(field, value)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(field, value)| (field.as_bytes(), value.as_slice()))
    }

    fn value(&self, field: &[u8]) -> Option<&[u8]> {
        self.fields.get(field).map(Vec::as_slice)
    }

    /// Sets a field; returns whether it is new.
    pub(crate) fn put(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.digest = self.digest.wrapping_add(digest_of_field(field, value));
        if let Some(old) = self.fields.get_mut(field) {
            self.digest = self.digest.wrapping_sub(digest_of_field(field, old));
            self.len_bytes = self.len_bytes - old.len() + value.len();
            old.clear();
            old.extend_from_slice(value);
            return false;
        }
        self.len_bytes += FIELD_OVERHEAD_BYTES + field.len() + value.len();
        self.fields.insert(Key::new(field), value.to_vec());
        true
    }

    fn remove(&mut self, field: &[u8]) -> bool {
        let Some(value) = self.fields.remove(field) else { return false };
        self.digest = self.digest.wrapping_sub(digest_of_field(field, &value));
        self.len_bytes -= FIELD_OVERHEAD_BYTES + field.len() + value.len();
        true
    }
}

/// Returns the fields under `key`; `Ok(None)` if there is no such key.
fn fields<'a>(kv: &'a Kv, key: &[u8]) -> Result<Option<&'a Fields>, &'static str> {
    match kv.item(key).map(|item| &item.value) {
        None => Ok(None),
        Some(Value::Hash(fields)) => Ok(Some(fields)),
        Some(Value::Text(_) | Value::Integer(_)) => Err(WRONG_TYPE),
    }
}

/// Changes the fields under `key`, which is created if need be and removed if it ends up empty.
fn change<R>(kv: &mut Kv, key: &[u8], change: impl FnOnce(&mut Fields) -> R) -> Result<R, &'static str> {
    let Some(item) = kv.item_mut(key) else {
        let mut fields = Fields::default();
        let result = change(&mut fields);
        if fields.len() > 0 {
            kv.insert(key, Value::Hash(fields), None);
        }
        return Ok(result);
    };
    let Value::Hash(fields) = &mut item.value else { return Err(WRONG_TYPE) };
    let result = change(fields);
    let is_empty = fields.len() == 0;
    kv.settle(key);
    if is_empty {
        kv.remove(key);
    }
    Ok(result)
}

fn answer_count(count: Result<usize, &'static str>, answer: &mut AnswerSink<'_>) {
    match count {
        Ok(count) => answer.count(count),
        Err(text) => answer.error(text),
    }
}

pub(super) fn set(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let only_absent = command.flags.has(Flags::IF_ABSENT);
    let count = change(kv, command.key, |fields| {
        let mut created = 0;
        let mut list = items(command.value);
        while let (Some(field), Some(value)) = (list.next(), list.next()) {
            let is_refused = only_absent && fields.value(field).is_some();
            created += usize::from(!is_refused && fields.put(field, value));
        }
        created
    });
    answer_count(count, answer);
}

pub(super) fn delete(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let count = change(kv, command.key, |fields| items(command.value).filter(|field| fields.remove(field)).count());
    answer_count(count, answer);
}

pub(super) fn increment(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let field = command.value;
    let sum = fields(kv, command.key).and_then(|fields| {
        let before = match fields.and_then(|fields| fields.value(field)) {
            None => 0,
            Some(text) => parse_integer(text).ok_or(FIELD_NOT_INTEGER)?,
        };
        before.checked_add(command.number).ok_or(OVERFLOW)
    });
    match sum {
        Ok(sum) => {
            change(kv, command.key, |fields| with_decimal(sum, |text| fields.put(field, text)))
                .expect("the type was checked above");
            answer.int(sum);
        }
        Err(text) => answer.error(text),
    }
}

pub(super) fn increment_float(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let mut list = items(command.value);
    let (Some(field), Some(delta)) = (list.next(), list.next()) else { return answer.error(NOT_FLOAT) };
    let sum = fields(kv, command.key).and_then(|fields| {
        let delta = parse_float(delta).ok_or(NOT_FLOAT)?;
        let before = match fields.and_then(|fields| fields.value(field)) {
            None => 0.0,
            Some(text) => parse_float(text).ok_or(FIELD_NOT_FLOAT)?,
        };
        Some(before + delta).filter(|sum| sum.is_finite()).ok_or(NOT_FINITE)
    });
    match sum {
        Ok(sum) => {
            let text = float_text(sum);
            change(kv, command.key, |fields| fields.put(field, text.as_bytes())).expect("the type was checked above");
            answer.bulk(text.as_bytes());
        }
        Err(text) => answer.error(text),
    }
}

/// Answers the reads of this family.
#[expect(clippy::wildcard_enum_match_arm, reason = "only the operations of this family come here")]
pub(super) fn read(kv: &Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let fields = match fields(kv, command.key) {
        Ok(fields) => fields,
        Err(text) => return answer.error(text),
    };
    let value = |field| fields.and_then(|fields| fields.value(field));
    match command.op {
        Op::HashGet => answer_value(value(command.value), answer),
        Op::HashGetMany => {
            answer.array(items(command.value).count());
            items(command.value).for_each(|field| answer_value(value(field), answer));
        }
        Op::HashLength => answer.count(fields.map_or(0, Fields::len)),
        Op::HashExists => answer.int(i64::from(value(command.value).is_some())),
        Op::HashFieldLength => answer.count(value(command.value).map_or(0, <[u8]>::len)),
        Op::HashScan => scan(fields, command, answer),
        _ => list(command.op, fields, answer),
    }
}

/// Answers the fields, the values or both.
fn list(op: Op, fields: Option<&Fields>, answer: &mut AnswerSink<'_>) {
    let count = fields.map_or(0, Fields::len);
    if op == Op::HashGetAll {
        answer.map(count)
    } else {
        answer.array(count)
    }
    for (field, value) in fields.into_iter().flat_map(Fields::iter) {
        if op != Op::HashValues {
            answer.bulk(field);
        }
        if op != Op::HashFields {
            answer.bulk(value);
        }
    }
}

/// Answers the next cursor and some fields with their values; see [`scan_page`].
fn scan(fields: Option<&Fields>, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let wanted = usize::try_from(command.time).unwrap_or(1);
    let names = fields.into_iter().flat_map(Fields::iter).map(|(field, _)| field);
    let page = scan_page(names, fields.map_or(0, Fields::len), command.number, wanted);
    answer.array(2);
    answer.int(page.next);
    answer.array(page.names.len() * 2);
    for (_, field) in &page.names {
        answer.bulk(field);
        answer_value(fields.and_then(|fields| fields.value(field)), answer);
    }
}

fn answer_value(value: Option<&[u8]>, answer: &mut AnswerSink<'_>) {
    match value {
        Some(value) => answer.bulk(value),
        None => answer.nil(),
    }
}
