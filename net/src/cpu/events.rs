//! The stream of events of the cluster, as RESP clients read it: a page at a time, or pushed as they come.
//!
//! Each node has a copy of the latest events, so reading them asks nobody else. A connection that is pushed events gets each of
//! them once and in order, from the index it asked for; if some are not kept any more, it is told which.
//!
//! # Bounds
//! A page has at most `COUNT_MAX` events. `PUSHED_PER_TURN` events are pushed to a connection in one turn, and none while it does
//! not read what it was sent.

use quorate_engine::control::journal::{Event, Journal, Recorded};
use serde_json::Value;

use crate::resp::{Args, Encoder, Protocol};
use crate::transport::{Close, ConnId};

use super::Cpu;
use super::front::Front;

/// A connection that is pushed events.
#[derive(Debug)]
pub(super) struct Watcher {
    conn: ConnId,
    next: u64,
    filter: Filter,
}

/// Which events.
#[derive(Debug)]
enum Filter {
    All,
    /// Values that were stored under keys with this prefix.
    Keys(Vec<u8>),
}

/// What `CORE EVENTS` asks for.
struct Page {
    from: u64,
    count: usize,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Maps,
    Json,
    Push,
}

const COUNT_DEFAULT: usize = 100;
const COUNT_MAX: usize = 4096;
const PUSHED_PER_TURN: usize = 256;

impl Cpu {
    /// `CORE EVENTS [FROM index] [COUNT count] [JSON | PUSH]`.
    pub(super) fn serve_events(&mut self, conn: ConnId, args: Args<'_>) {
        match page(args) {
            Ok(Page { from, form: Form::Push, .. }) => self.watch(conn, from, Filter::All),
            Ok(page) => {
                let shared = std::sync::Arc::clone(&self.front.shared);
                let journal = shared.exchange.journal();
                let events: Vec<&Recorded> = journal.from(page.from).take(page.count).collect();
                self.front.reply_now(conn, |out| {
                    out.array(events.len());
                    events.iter().for_each(|recorded| write(recorded, page.form, out));
                });
            }
            Err(text) => self.front.reply_now(conn, |out| out.error(&text)),
        }
    }

    /// `CORE.WATCH prefix [FROM index]`.
    pub(super) fn serve_watch(&mut self, conn: ConnId, args: Args<'_>) {
        let from = match args.len() {
            2 => Ok(self.front.shared.exchange.journal().next()),
            4 if args[2].eq_ignore_ascii_case(b"from") => number(&args[3]),
            _ => Err(SYNTAX.to_owned()),
        };
        match from {
            Ok(from) => self.watch(conn, from, Filter::Keys(args[1].to_vec())),
            Err(text) => self.front.reply_now(conn, |out| out.error(&text)),
        }
    }

    fn watch(&mut self, conn: ConnId, from: u64, filter: Filter) {
        let Some(resp) = self.front.conns.resp_mut(conn) else { return };
        if resp.protocol == Protocol::V2 {
            let text =
                "ERR events are pushed in RESP3 only: say HELLO 3 first, or read them with CORE EVENTS FROM index";
            return self.front.reply_now(conn, |out| out.error(text));
        }
        let next = from.max(1);
        self.front.reply_now(conn, |out| out.simple("OK"));
        self.front.watchers.retain(|watcher| watcher.conn != conn);
        self.front.watchers.push(Watcher { conn, next, filter });
        self.front.push_events();
    }
}

impl Front {
    /// Ends what a connection is pushed.
    pub(super) fn stop_watching(&mut self, conn: ConnId) {
        self.watchers.retain(|watcher| watcher.conn != conn);
    }

    /// Pushes events to all that want them; what is left over is pushed with the next chores.
    pub(super) fn push_events(&mut self) {
        self.has_events_left = false;
        if self.watchers.is_empty() {
            return;
        }
        let shared = std::sync::Arc::clone(&self.shared);
        let journal = shared.exchange.journal();
        let mut watchers = core::mem::take(&mut self.watchers);
        for watcher in &mut watchers {
            self.push_to(watcher, &journal);
        }
        self.watchers = watchers;
    }

    fn push_to(&mut self, watcher: &mut Watcher, journal: &Journal) {
        let Watcher { conn, next, filter } = watcher;
        if *next >= journal.next() {
            return;
        }
        if self.outbox.queued_bytes(*conn) > self.high_water {
            self.has_events_left = true;
            return;
        }
        let Ok(buffer) = self.outbox.buffer(*conn) else { return self.outbox.close(*conn, Close::Now) };
        let out = &mut Encoder::new(buffer.as_vec(), Protocol::V3);
        if *next < journal.first() {
            out.push(3);
            out.text("core-gap");
            out.count(*next);
            out.count(journal.first() - 1);
        }
        for recorded in journal.from(*next).take(PUSHED_PER_TURN) {
            *next = recorded.index + 1;
            match (&*filter, &recorded.event) {
                (Filter::All, _) => {
                    out.push(2);
                    out.text("core-event");
                    write(recorded, Form::Maps, out);
                }
                (Filter::Keys(prefix), Event::Stored { key, version }) if key.as_bytes().starts_with(prefix) => {
                    out.push(4);
                    out.text("core-watch");
                    out.text(key);
                    out.count(*version);
                    out.count(recorded.index);
                }
                (Filter::Keys(_), _) => {}
            }
        }
        self.has_events_left |= *next < journal.next();
    }
}

/// Returns what the words ask for.
fn page(args: Args<'_>) -> Result<Page, String> {
    let mut page = Page { from: 1, count: COUNT_DEFAULT, form: Form::Maps };
    let mut words = args.iter().skip(2);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(SYNTAX.to_owned()).and_then(number);
        if word.eq_ignore_ascii_case(b"from") {
            page.from = value()?;
        } else if word.eq_ignore_ascii_case(b"count") {
            page.count = usize::try_from(value()?).unwrap_or(COUNT_MAX).min(COUNT_MAX);
        } else if word.eq_ignore_ascii_case(b"json") && page.form == Form::Maps {
            page.form = Form::Json;
        } else if word.eq_ignore_ascii_case(b"push") && page.form == Form::Maps {
            page.form = Form::Push;
        } else {
            return Err(SYNTAX.to_owned());
        }
    }
    Ok(page)
}

pub(super) const SYNTAX: &str = "ERR syntax error";

pub(super) fn number(text: &[u8]) -> Result<u64, String> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or("ERR value is not an integer or out of range".to_owned())
}

/// Writes an event: a map, or its JSON.
fn write(recorded: &Recorded, form: Form, out: &mut Encoder<'_, Vec<u8>>) {
    let value = flat(recorded);
    match form {
        Form::Json => out.text(&value.to_string()),
        Form::Maps | Form::Push => write_value(&value, out),
    }
}

/// Returns an event as one object, runs by their names.
fn flat(recorded: &Recorded) -> Value {
    let mut all = serde_json::json!({ "index": recorded.index, "at_ms": recorded.at_ms });
    let event = serde_json::to_value(&recorded.event).expect("numbers, texts and lists have a form in JSON");
    if let (Value::Object(all), Value::Object(event)) = (&mut all, event) {
        all.extend(event.into_iter().map(|(name, value)| (name, named(value))));
    }
    all
}

/// Has runs be called by their names, `node.incarnation`.
fn named(value: Value) -> Value {
    match value {
        Value::Object(fields) => match (fields.get("node"), fields.get("incarnation")) {
            (Some(node), Some(incarnation)) => Value::String(format!("{node}.{incarnation}")),
            _ => Value::Object(fields.into_iter().map(|(name, value)| (name, named(value))).collect()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(named).collect()),
        other => other,
    }
}

pub(super) fn write_value(value: &Value, out: &mut Encoder<'_, Vec<u8>>) {
    match value {
        Value::Null => out.null(),
        Value::Bool(is_so) => out.count(u64::from(*is_so)),
        Value::Number(number) => out.count(number.as_u64().unwrap_or_default()),
        Value::String(text) => out.text(text),
        Value::Array(items) => {
            out.array(items.len());
            items.iter().for_each(|item| write_value(item, out));
        }
        Value::Object(fields) => {
            out.map(fields.len());
            for (name, value) in fields {
                out.text(name);
                write_value(value, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_engine::ids::{GroupId, Incarnation, NodeId, ReplicaId};

    use super::*;

    #[test]
    fn an_event_is_one_object_with_runs_by_their_names() {
        let run = |node| ReplicaId { node: NodeId(node), incarnation: Incarnation(7) };
        let event = Event::LossAccepted { group: GroupId(3), loss_gen: 1, missing: vec![run(1), run(2)] };
        let value = flat(&Recorded { index: 9, at_ms: 5, event });
        let expected = serde_json::json!({
            "index": 9, "at_ms": 5, "event": "loss_accepted", "group": 3, "loss_gen": 1, "missing": ["1.7", "2.7"],
        });
        assert_eq!(value, expected);
    }
}
