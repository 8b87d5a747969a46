//! How much memory a command can take at most, said before it is applied.
//!
//! A leader counts this for every write from when it is appended until it is applied, so that writes that come together
//! do not pass a limit that each of them keeps. What is there already is not looked at: it may be another one when the
//! command is applied.

use super::command::{Command, Op, items};
use super::kv::{FIELD_OVERHEAD_BYTES, KEY_OVERHEAD_BYTES};
use super::strings::{FLOAT_TEXT_BYTES_MAX, INTEGER_TEXT_BYTES_MAX};

/// Returns the most bytes by which applying `command` can raise [`Kv::used_bytes`](super::kv::Kv::used_bytes).
pub(crate) fn growth_max(command: &Command<'_>) -> usize {
    let (key, value) = (KEY_OVERHEAD_BYTES + command.key.len(), command.value.len());
    match command.op {
        Op::Set | Op::Append => key + value,
        Op::SetMany => pairs_bytes(command.value, KEY_OVERHEAD_BYTES),
        Op::SetRange => range_end(command).map_or(0, |end| key.saturating_add(end)),
        Op::Increment => key + INTEGER_TEXT_BYTES_MAX,
        Op::IncrementFloat => key + FLOAT_TEXT_BYTES_MAX,
        Op::HashSet => key + pairs_bytes(command.value, FIELD_OVERHEAD_BYTES),
        Op::HashIncrement => key + FIELD_OVERHEAD_BYTES + value + INTEGER_TEXT_BYTES_MAX,
        // The field is one of the items.
        Op::HashIncrementFloat => key + FIELD_OVERHEAD_BYTES + value + FLOAT_TEXT_BYTES_MAX,
        Op::GetDelete
        | Op::GetExpire
        | Op::Delete
        | Op::Expire
        | Op::Persist
        | Op::HashDelete
        | Op::Flush
        | Op::Expired
        | Op::Get
        | Op::GetMany
        | Op::Exists
        | Op::Length
        | Op::GetRange
        | Op::TimeToLive
        | Op::Type
        | Op::HashGet
        | Op::HashGetMany
        | Op::HashGetAll
        | Op::HashFields
        | Op::HashValues
        | Op::HashLength
        | Op::HashExists
        | Op::HashFieldLength
        | Op::HashScan
        | Op::Scan
        | Op::Keys
        | Op::Count
        | Op::RandomKey
        | Op::WaitAcks
        | Op::ExpireTime => 0,
    }
}

/// Returns how long a string is at least after a [`Op::SetRange`]; `None` if that writes nothing.
pub(crate) fn range_end(command: &Command<'_>) -> Option<usize> {
    let offset = usize::try_from(command.number).ok()?;
    (!command.value.is_empty()).then_some(offset.saturating_add(command.value.len()))
}

/// Returns the bytes of a list of names and values, and `overhead` for each name.
fn pairs_bytes(list: &[u8], overhead: usize) -> usize {
    items(list).enumerate().map(|(n, item)| item.len() + if n % 2 == 0 { overhead } else { 0 }).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::answer::AnswerSink;
    use super::super::command::push_item;
    use super::super::kv::{Kv, Moment};
    use super::*;
    use crate::ids::GroupId;
    use crate::slots::SlotMap;
    use crate::time::LogTime;

    const OPS: [Op; 9] = [
        Op::Set,
        Op::SetMany,
        Op::SetRange,
        Op::Append,
        Op::Increment,
        Op::IncrementFloat,
        Op::HashSet,
        Op::HashIncrement,
        Op::HashIncrementFloat,
    ];

    proptest! {
        #[test]
        fn no_command_takes_more_than_is_said(
            commands in proptest::collection::vec((0..OPS.len(), 0..4_usize, 0..8_usize, any::<i64>()), 1..60),
        ) {
            let keys = ["{t}", "a{t}", "b{t}c", "a key of some length with a {t}ag"];
            let values = ["", "x", "-1", "1e308", "-2.2250738585072011e-308", "9223372036854775807", "0", "some text"];
            let mut kv = Kv::new(SlotMap::new(1).expect("one partition").slots_of(GroupId(0)));
            for (op, key, value, number) in commands {
                let (op, key, value) = (OPS[op], keys[key].as_bytes(), values[value].as_bytes());
                let mut list = Vec::new();
                [key, value].iter().for_each(|item| push_item(&mut list, item));
                let is_list = matches!(op, Op::SetMany | Op::HashSet | Op::HashIncrementFloat);
                let number = if op == Op::SetRange { number & 0xFFF } else { number };
                let key = if op.keys_are_items() { b"" } else { key };
                let command = Command { number, value: if is_list { &list } else { value }, ..Command::new(op, key) };
                command.validate().expect("a legal command");
                let before = kv.used_bytes();
                kv.apply(Moment { time: LogTime(0) }, &command, &mut AnswerSink::discard());
                let (after, max) = (kv.used_bytes(), growth_max(&command));
                prop_assert!(after <= before + max, "{command:?} takes {} bytes, said were {max}", after - before);
            }
            kv.check();
        }
    }
}
