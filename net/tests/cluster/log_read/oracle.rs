//! What each command does, in words that owe nothing to the engine.

use std::collections::BTreeMap;

use super::{Entry, What};

/// What a key holds, as the oracle has worked it out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Hash(BTreeMap<String, String>),
}

/// Says what commands do.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) keys: BTreeMap<String, (Value, Option<i64>)>,
    /// The group's clock.
    time_ns: i64,
}

impl Oracle {
    pub(super) fn apply(&mut self, entry: &Entry) {
        match &entry.what {
            What::View => {}
            What::Flush => self.keys.clear(),
            What::Expired { key, ends_at_ns } => {
                if self.ends_at(key).is_some_and(|at| at <= *ends_at_ns) {
                    self.keys.remove(key);
                }
            }
            What::Command { words, ttl } => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.time_ns = entry.time_ns;
                self.command(&words, ttl.map(|ttl| entry.time_ns + ttl.ttl_ns));
            }
        }
    }

    fn ends_at(&self, key: &str) -> Option<i64> {
        self.keys.get(key).and_then(|(_, ends_at)| *ends_at)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.keys.get(key) {
            Some((Value::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    fn is_hash(&self, key: &str) -> bool {
        matches!(self.keys.get(key), Some((Value::Hash(_), _)))
    }

    /// Changes what a string is, and keeps its end.
    fn put_text(&mut self, key: &str, text: String) {
        let ends_at = self.ends_at(key);
        self.keys.insert(key.to_owned(), (Value::Text(text), ends_at));
    }

    /// Has `change` change a hash, which is made if there is nothing, and goes when it is empty.
    fn on_hash(&mut self, key: &str, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        if self.text(key).is_some() {
            return;
        }
        let (value, ends_at) = self.keys.remove(key).unwrap_or((Value::Hash(BTreeMap::new()), None));
        let Value::Hash(mut fields) = value else { unreachable!("looked at just now") };
        change(&mut fields);
        if !fields.is_empty() {
            self.keys.insert(key.to_owned(), (Value::Hash(fields), ends_at));
        }
    }

    fn command(&mut self, words: &[&str], ends_at: Option<i64>) {
        match *words {
            ["SET", key, value, ref options @ ..] => self.set(key, value, options, ends_at),
            ["MSET", ref pairs @ ..] => self.set_many(pairs),
            ["GETDEL", key] if self.is_hash(key) => {}
            ["GETEX", key, ..] if self.is_hash(key) => {}
            ["DEL" | "GETDEL", ref keys @ ..] => keys.iter().for_each(|key| drop(self.keys.remove(*key))),
            ["PERSIST", key] | ["GETEX", key, "PERSIST"] => self.end(key, None),
            ["GETEX", key, ..] => self.end(key, ends_at),
            ["PEXPIREAT" | "PEXPIRE", key, _, ref condition @ ..] => {
                let before = self.ends_at(key);
                let is_wanted = match condition {
                    [] => true,
                    ["NX"] => before.is_none(),
                    ["XX"] => before.is_some(),
                    ["GT"] => before.is_some_and(|before| ends_at > Some(before + SAME_END_NS)),
                    ["LT"] => before.is_none_or(|before| ends_at < Some(before - SAME_END_NS)),
                    other => panic!("{other:?}"),
                };
                if is_wanted {
                    self.end(key, ends_at);
                }
            }
            ["HSET" | "HSETNX" | "HDEL" | "HINCRBY" | "HINCRBYFLOAT", ..] => self.hash_command(words),
            [_, key, ..] if self.is_hash(key) => {}
            ["APPEND", key, value] => self.put_text(key, self.text(key).unwrap_or_default().to_owned() + value),
            ["SETRANGE", key, offset, value] => {
                let mut bytes = self.text(key).unwrap_or_default().as_bytes().to_vec();
                let offset: usize = offset.parse().expect("a number");
                bytes.resize(bytes.len().max(offset + value.len()), 0);
                bytes[offset..offset + value.len()].copy_from_slice(value.as_bytes());
                self.put_text(key, String::from_utf8(bytes).expect("ASCII and zeros"));
            }
            ["INCRBY", key, by] => {
                if let Some(sum) = integer_sum(self.text(key), by) {
                    self.put_text(key, sum);
                }
            }
            ["INCRBYFLOAT", key, by] => {
                if let Some(sum) = float_sum(self.text(key), by) {
                    self.put_text(key, sum);
                }
            }
            ref other => panic!("a command that the oracle does not know: {other:?}"),
        }
    }

    fn set(&mut self, key: &str, value: &str, options: &[&str], ends_at: Option<i64>) {
        let has = |word: &str| options.contains(&word);
        if (has("GET") && self.is_hash(key))
            || (has("NX") && self.keys.contains_key(key))
            || (has("XX") && !self.keys.contains_key(key))
        {
            return;
        }
        let ends_at = if has("KEEPTTL") { self.ends_at(key) } else { ends_at };
        self.keys.insert(key.to_owned(), (Value::Text(value.to_owned()), None));
        self.end(key, ends_at);
    }

    fn set_many(&mut self, pairs: &[&str]) {
        pairs.chunks_exact(2).for_each(|pair| self.set(pair[0], pair[1], &[], None));
    }

    /// Says when a key ends; one that is to have ended by now is not there any more. Others whose end has come stay until the log
    /// says that they have expired.
    fn end(&mut self, key: &str, ends_at: Option<i64>) {
        if ends_at.is_some_and(|at| at <= self.time_ns) {
            self.keys.remove(key);
        } else if let Some((_, end)) = self.keys.get_mut(key) {
            *end = ends_at;
        }
    }

    fn hash_command(&mut self, words: &[&str]) {
        let (name, key) = (words[0], words[1]);
        self.on_hash(key, |fields| match (name, &words[2..]) {
            ("HSET", pairs) => {
                fields.extend(pairs.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())));
            }
            ("HSETNX", [field, value]) => {
                fields.entry((*field).to_owned()).or_insert((*value).to_owned());
            }
            ("HDEL", wanted) => wanted.iter().for_each(|field| drop(fields.remove(*field))),
            ("HINCRBY", [field, by]) => {
                if let Some(sum) = integer_sum(fields.get(*field).map(String::as_str), by) {
                    fields.insert((*field).to_owned(), sum);
                }
            }
            ("HINCRBYFLOAT", [field, by]) => {
                if let Some(sum) = float_sum(fields.get(*field).map(String::as_str), by) {
                    fields.insert((*field).to_owned(), sum);
                }
            }
            (_, other) => panic!("{name} with {other:?}"),
        });
    }
}

fn integer_sum(text: Option<&str>, by: &str) -> Option<String> {
    let number: i64 = text.map_or(Some(0), |text| text.parse().ok())?;
    number.checked_add(by.parse().expect("checked by the node")).map(|sum| sum.to_string())
}

/// Sums of quarters, which numbers of any precision hold exactly.
fn float_sum(text: Option<&str>, by: &str) -> Option<String> {
    let number: f64 = text.map_or(Some(0.0), |text| text.parse().ok())?;
    Some((number + by.parse::<f64>().expect("checked by the node")).to_string())
}

/// Ends that are no further apart are the same one, said twice.
const SAME_END_NS: i64 = 500_000;
