//! Commands on strings and counters.

use core::fmt::Write as _;

use super::answer::AnswerSink;
use super::command::{Command, Flags, items};
use super::growth::range_end;
use super::kv::{Item, Kv, Moment, Value, deadline_after};
use crate::ids::Slot;

/// Largest string the state machine makes, in bytes: the same on every replica, whatever limits a node is configured
/// with. Leaders refuse earlier.
pub const STRING_BYTES_MAX: usize = 64 << 20;

pub(super) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(super) const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const NOT_FLOAT: &str = "ERR value is not a valid float";
pub(super) const OVERFLOW: &str = "ERR increment or decrement would overflow";
pub(super) const NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
/// Longest text of an integer, in bytes.
pub(super) const INTEGER_TEXT_BYTES_MAX: usize = 20;
/// Longest text that [`float_text`] writes, in bytes: sign, `0.`, 307 zeros and 17 digits.
pub(super) const FLOAT_TEXT_BYTES_MAX: usize = 327;

const TOO_LONG: &str = "ERR string exceeds maximum allowed size (64 MiB)";

/// Calls `use_text` with the decimal text of `number`, without allocating.
pub(super) fn with_decimal<R>(number: i64, use_text: impl FnOnce(&[u8]) -> R) -> R {
    let mut text = Decimal { bytes: [0; INTEGER_TEXT_BYTES_MAX], len: 0 };
    write!(text, "{number}").expect("so many bytes hold every 64-bit number");
    use_text(&text.bytes[..text.len])
}

struct Decimal {
    bytes: [u8; INTEGER_TEXT_BYTES_MAX],
    len: usize,
}

impl core::fmt::Write for Decimal {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Reads a number as Redis does: decimal, no spaces, no leading zeros or plus sign.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_canonical { core::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Reads a finite decimal number.
pub(super) fn parse_float(text: &[u8]) -> Option<f64> {
    let text = core::str::from_utf8(text).ok()?;
    let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse::<f64>().ok().filter(|number| is_plain && number.is_finite())
}

/// Writes a finite number in the shortest form that reads back the same, never with an exponent.
///
/// The sum of two 64-bit numbers and its shortest decimal form are the same on every machine (IEEE 754), which is why
/// this is not done with the 80-bit numbers that some stores use.
pub(super) fn float_text(number: f64) -> String {
    format!("{number}")
}

/// Calls `use_text` with the text of the string under an item, `None` if there is no item.
fn with_text<R>(item: Option<&Item>, use_text: impl FnOnce(Result<Option<&[u8]>, ()>) -> R) -> R {
    match item.map(|item| &item.value) {
        None => use_text(Ok(None)),
        Some(Value::Text(text)) => use_text(Ok(Some(text))),
        Some(Value::Integer(number)) => with_decimal(*number, |text| use_text(Ok(Some(text)))),
        Some(Value::Hash(_)) => use_text(Err(())),
    }
}

fn answer_text(item: Option<&Item>, answer: &mut AnswerSink<'_>) {
    with_text(item, |text| match text {
        Ok(Some(text)) => answer.bulk(text),
        Ok(None) => answer.nil(),
        Err(()) => answer.error(WRONG_TYPE),
    });
}

pub(super) fn get(kv: &Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    answer_text(kv.item(command.key), answer);
}

pub(super) fn get_many(kv: &Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    answer.array(items(command.value).count());
    for key in items(command.value) {
        // As in Redis, a key of another type is no error here.
        with_text(kv.item(key), |text| match text {
            Ok(Some(text)) => answer.bulk(text),
            Ok(None) | Err(()) => answer.nil(),
        });
    }
}

pub(super) fn length(kv: &Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    with_text(kv.item(command.key), |text| match text {
        Ok(text) => answer.count(text.map_or(0, <[u8]>::len)),
        Err(()) => answer.error(WRONG_TYPE),
    });
}

pub(super) fn get_range(kv: &Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    with_text(kv.item(command.key), |text| match text {
        Ok(text) => {
            let text = text.unwrap_or_default();
            let len = i64::try_from(text.len()).unwrap_or(i64::MAX);
            let from_end = |at: i64| if at < 0 { (len.saturating_add(at)).max(0) } else { at };
            let (first, last) = (from_end(command.number), from_end(command.time).min(len - 1));
            // Both negative and in the wrong order is empty even where both are cut to 0.
            let is_empty = first > last || (command.number < 0 && command.time < 0 && command.number > command.time);
            let range = usize::try_from(first).unwrap_or(0)..usize::try_from(last + 1).unwrap_or(0);
            answer.bulk(if is_empty { &[] } else { &text[range] });
        }
        Err(()) => answer.error(WRONG_TYPE),
    });
}

pub(super) fn set(kv: &mut Kv, slot: Slot, moment: Moment, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    // By far the most writes are these; they need no look at what is there.
    if command.flags == Flags::default() {
        kv.put_text_in(slot, command.key, command.value, None);
        return answer.ok();
    }
    let item = kv.item(command.key);
    let wants_old = command.flags.has(Flags::GET);
    if wants_old && matches!(item, Some(Item { value: Value::Hash(_), .. })) {
        return answer.error(WRONG_TYPE);
    }
    let is_refused = match item {
        Some(_) => command.flags.has(Flags::IF_ABSENT),
        None => command.flags.has(Flags::IF_PRESENT),
    };
    if wants_old {
        answer_text(item, answer);
    } else if is_refused {
        answer.nil();
    }
    if is_refused {
        return;
    }
    let deadline = if command.flags.has(Flags::TTL) {
        Some(deadline_after(moment, command.time))
    } else if command.flags.has(Flags::KEEP_TTL) {
        item.and_then(|item| item.deadline)
    } else {
        None
    };
    if deadline.is_some_and(|deadline| deadline <= moment.time) {
        kv.remove(command.key);
    } else {
        kv.put_text_in(slot, command.key, command.value, deadline);
        if command.flags.has(Flags::TTL) {
            kv.name_deadline(slot, command.key, command.number);
        }
    }
    if !wants_old {
        answer.ok();
    }
}

pub(super) fn set_many(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let mut list = items(command.value);
    while let (Some(key), Some(value)) = (list.next(), list.next()) {
        kv.put_text(key, value, None);
    }
    answer.ok();
}

/// Replaces the string of `key` by what `change` makes of it (from an empty one if there is none), keeping the deadline.
/// Answers the new length.
fn change_text(kv: &mut Kv, key: &[u8], answer: &mut AnswerSink<'_>, change: impl FnOnce(&mut Vec<u8>)) {
    let Some(item) = kv.item_mut(key) else {
        let mut text = Vec::new();
        change(&mut text);
        answer.count(text.len());
        return kv.insert(key, Value::Text(text), None);
    };
    if let Value::Integer(number) = item.value {
        item.value = Value::Text(with_decimal(number, <[u8]>::to_vec));
    }
    let Value::Text(text) = &mut item.value else { return answer.error(WRONG_TYPE) };
    change(text);
    answer.count(text.len());
    kv.settle(key);
}

pub(super) fn append(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let len = text_len(kv, command.key) + command.value.len();
    // The leader's limit comes with the entry: one that each replica took from its own configuration would divide them.
    if let Ok(max @ 1..) = usize::try_from(command.number)
        && len > max
    {
        return answer.error(&format!("ERR value of {len} bytes is larger than the limit of {max} (limits.value_max)"));
    }
    if len > STRING_BYTES_MAX {
        return answer.error(TOO_LONG);
    }
    change_text(kv, command.key, answer, |text| text.extend_from_slice(command.value));
}

pub(super) fn set_range(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let Ok(offset) = usize::try_from(command.number) else { return answer.error("ERR offset is out of range") };
    let Some(end) = range_end(command) else { return length(kv, command, answer) };
    if end > STRING_BYTES_MAX {
        return answer.error(TOO_LONG);
    }
    change_text(kv, command.key, answer, |text| {
        if text.len() < end {
            text.resize(end, 0);
        }
        text[offset..end].copy_from_slice(command.value);
    });
}

fn text_len(kv: &Kv, key: &[u8]) -> usize {
    with_text(kv.item(key), |text| text.ok().flatten().map_or(0, <[u8]>::len))
}

pub(super) fn increment(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let Some(item) = kv.item_mut(command.key) else {
        kv.insert(command.key, Value::Integer(command.number), None);
        return answer.int(command.number);
    };
    let before = match &item.value {
        Value::Integer(number) => *number,
        Value::Text(text) => match parse_integer(text) {
            Some(number) => number,
            None => return answer.error(NOT_INTEGER),
        },
        Value::Hash(_) => return answer.error(WRONG_TYPE),
    };
    let Some(after) = before.checked_add(command.number) else { return answer.error(OVERFLOW) };
    item.value = Value::Integer(after);
    kv.settle(command.key);
    answer.int(after);
}

pub(super) fn increment_float(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let Some(delta) = parse_float(command.value) else { return answer.error(NOT_FLOAT) };
    let before = with_text(kv.item(command.key), |text| match text {
        Ok(None) => Ok(0.0),
        Ok(Some(text)) => parse_float(text).ok_or(NOT_FLOAT),
        Err(()) => Err(WRONG_TYPE),
    });
    let sum = match before {
        Ok(before) => before + delta,
        Err(text) => return answer.error(text),
    };
    if !sum.is_finite() {
        return answer.error(NOT_FINITE);
    }
    let text = float_text(sum);
    let deadline = kv.item(command.key).and_then(|item| item.deadline);
    kv.put_text(command.key, text.as_bytes(), deadline);
    answer.bulk(text.as_bytes());
}

pub(super) fn get_delete(kv: &mut Kv, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let item = kv.item(command.key);
    let is_string = !matches!(item, Some(Item { value: Value::Hash(_), .. }));
    answer_text(item, answer);
    if is_string {
        kv.remove(command.key);
    }
}

pub(super) fn get_expire(kv: &mut Kv, moment: Moment, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
    let item = kv.item(command.key);
    let is_string = matches!(item, Some(Item { value: Value::Text(_) | Value::Integer(_), .. }));
    answer_text(item, answer);
    if is_string && command.flags.has(Flags::TTL) {
        kv.put_or_end(moment, command, deadline_after(moment, command.time));
    } else if is_string {
        kv.put_deadline(command.key, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_canonical_form_only() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(parse_integer(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "-0", "+1", "01", " 1", "1 ", "1.0", "9223372036854775808", "99999999999999999999"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn floats_are_finite_decimals() {
        assert_eq!(parse_float(b"3.0e3"), Some(3000.0));
        for text in ["", "inf", "nan", "1 ", "0x10", "1e999"] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(float_text(10.5 + 0.1), "10.6");
        assert_eq!(float_text(5000.0 + 200.0), "5200");
    }
}
