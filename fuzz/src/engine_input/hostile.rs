//! Commands and messages out of a script, most of them plausible.

use std::sync::LazyLock;

use quorate_engine::entry::{EntryHeader, EntryKind, padded_len};
use quorate_engine::ids::{EntryId, Epoch, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use quorate_engine::machine::answer::AnswerSink;
use quorate_engine::machine::command::{Command, Flags, Op, push_item, resolve_absolute};
use quorate_engine::machine::kv::{Kv, Moment};
use quorate_engine::machine::snapshot::SnapshotCursor;
use quorate_engine::message::{Ack, Append, Chunk, ChunkAck, ChunkProgress, Message, Mismatch, Refused, StreamId};
use quorate_engine::replication::comparison::Note;
use quorate_engine::slots::{SlotMap, SlotRange, slot_of};
use quorate_engine::time::{Instant, LogTime};

use super::{EPOCH, GROUPS, PARTITIONS, PEERS, group_id};
use crate::script::Script;

/// What is plausible at this moment.
pub(super) struct Scene {
    pub(super) group: usize,
    /// The last index in the engine's log of the group.
    pub(super) last: LogIndex,
    pub(super) now: Instant,
    /// The number of the next chunk.
    pub(super) sequence: u32,
}

/// Returns an epoch, mostly that of the configuration.
pub(super) fn epoch(script: &mut Script<'_>) -> Epoch {
    match script.byte() {
        0..=191 => EPOCH,
        192..=239 => Epoch(2),
        byte @ 240..=247 => Epoch(u64::from(byte) - 240),
        _ => Epoch(1 << 62),
    }
}

/// Returns a request that a host lets through to its engine: a checked command without absolute times, and its slot.
pub(super) fn request(script: &mut Script<'_>, group: usize) -> Option<(Slot, Vec<u8>)> {
    let mut bytes = command(script, group)?;
    resolve_absolute(&mut bytes, 1_700_000_000_000_000_000);
    let command = Command::check(&bytes).expect("it was checked before");
    let slot = if command.op.is_keyless() { slots_of(group).first } else { slot_of(command.routing_key()) };
    let is_together = !command.op.keys_are_items() || command.lies_in(slot);
    (command.op != Op::Expired && is_together).then_some((slot, bytes))
}

/// Calls `deliver` with a message.
pub(super) fn with_message(script: &mut Script<'_>, scene: &Scene, deliver: impl FnOnce(&Message<'_>)) {
    let (mut entries, mut body) = (Vec::new(), Vec::new());
    let stream = StreamId(u64::from(script.byte() % 4 * (script.byte() % 2)));
    let message = match script.byte() % 8 {
        0..=2 => {
            let prev = entry_id(script, scene.last);
            push_entries(script, scene, prev, &mut entries);
            // A leader that commits nothing fills the log.
            let committed = script.choose(&[scene.last.0, 0]);
            let commit = LogIndex(script.near(committed));
            let sent = Instant(script.near(scene.now.0));
            Message::Append(Append { stream, prev, commit, sent, entries: &entries })
        }
        3 => {
            push_chunk(script, scene.group, &mut body);
            let base = entry_id(script, scene.last);
            let at = EntryId { index: LogIndex(script.near(base.index.0)), ..base };
            let sequence = u32::try_from(script.near(scene.sequence.into())).unwrap_or(u32::MAX);
            let is_last = script.byte() % 2 == 1;
            let time = LogTime(scene.now.0);
            Message::Chunk(Chunk { stream, sequence, is_last, base, at, time, body: &body })
        }
        4 => {
            let (matched, sent) = (LogIndex(script.near(scene.last.0)), Instant(script.near(scene.now.0)));
            let state = Note { applied: LogIndex(script.near(scene.last.0)), digest: u64::from(script.byte()) };
            Message::Ack(Ack { stream, matched, sent, state })
        }
        5 => Message::Mismatch(Mismatch { stream, hint: LogIndex(script.near(scene.last.0)) }),
        6 => {
            let leader = ReplicaId {
                node: NodeId(1 + u16::from(script.byte() % 3)),
                incarnation: Incarnation(u64::from(script.byte() % 3)),
            };
            let leader = Some(leader).filter(|_| !script.byte().is_multiple_of(4));
            Message::Refused(Refused { promise: epoch(script), leader })
        }
        _ => {
            let progress = match script.byte() % 4 {
                0 | 1 => {
                    let sequence = u32::try_from(script.near(0)).unwrap_or(u32::MAX);
                    ChunkProgress::Received { sequence }
                }
                2 => ChunkProgress::Installed { matched: LogIndex(script.near(scene.last.0)) },
                _ => ChunkProgress::Broken,
            };
            Message::ChunkAck(ChunkAck { stream, progress })
        }
    };
    deliver(&message);
}

fn entry_id(script: &mut Script<'_>, here: LogIndex) -> EntryId {
    let index = LogIndex(script.near(here.0));
    if index == LogIndex(0) { EntryId::START } else { EntryId { epoch: epoch(script), index } }
}

/// Writes entries behind `prev`.
fn push_entries(script: &mut Script<'_>, scene: &Scene, prev: EntryId, out: &mut Vec<u8>) {
    let mut id = EntryId { epoch: prev.epoch.max(EPOCH), ..prev };
    for _ in 0..script.below(4) {
        id.index = LogIndex(id.index.0.wrapping_add(1));
        id.epoch.0 += u64::from(script.byte() / 224);
        let (kind, slot, body) = match command(script, scene.group) {
            Some(body) => {
                let command = Command::check(&body).expect("it was checked before");
                let slot =
                    if command.op.is_keyless() { slots_of(scene.group).first } else { slot_of(command.routing_key()) };
                (EntryKind::Command, slot, body)
            }
            None => (EntryKind::View, slots_of(scene.group).first, Vec::new()),
        };
        let body_len = u32::try_from(body.len()).expect("bodies are short");
        let time = LogTime(script.number().cast_unsigned());
        let header = EntryHeader { crc32c: 0, body_len, id, time, kind, slot }.sealed(&[&body]);
        let end = out.len() + padded_len(body.len());
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(&body);
        out.resize(end, 0);
    }
}

/// Writes a part of a snapshot, sometimes with a damaged byte.
fn push_chunk(script: &mut Script<'_>, group: usize, out: &mut Vec<u8>) {
    let mut kv = Kv::new(slots_of(group));
    let moment = Moment { time: LogTime(1) };
    for _ in 0..script.below(4) {
        let bytes = command(script, group);
        let command = bytes.as_ref().and_then(|bytes| Command::check(bytes).ok());
        if let Some(command) = command.filter(|command| command.op.is_write() && may_apply(group, command)) {
            kv.apply(moment, &command, &mut AnswerSink::discard());
        }
    }
    SnapshotCursor::start().take(&kv, usize::MAX, out).expect("nothing is damaged");
    let damage = script.byte();
    if damage < 32 && !out.is_empty() {
        let at = script.below(out.len());
        out[at] ^= damage;
    }
}

/// Whether the keys of a command belong to the group, all to one slot.
fn may_apply(group: usize, command: &Command<'_>) -> bool {
    let slot = slot_of(command.routing_key());
    command.op.is_keyless() || (slots_of(group).contains(slot) && command.lies_in(slot))
}

/// Returns a checked command on keys of the group; `None` if the script is not one.
fn command(script: &mut Script<'_>, group: usize) -> Option<Vec<u8>> {
    let (op, flags) = (script.byte() % OPS, Flags(script.byte()));
    let key = key(script, group);
    let (number, time) = (script.number(), script.number());
    let mut value = Vec::new();
    match script.byte() % 8 {
        0 => {}
        1 => value.extend_from_slice(script.number().to_string().as_bytes()),
        2 => push_item(&mut value, key),
        3 => (0..=script.below(4)).for_each(|_| push_item(&mut value, self::key(script, group))),
        4 => {
            push_item(&mut value, key);
            push_item(&mut value, script.number().to_string().as_bytes());
        }
        5 => value.resize(usize::from(script.byte()) * 3, b'x'),
        6 => (0..=script.below(4)).for_each(|_| {
            push_item(&mut value, self::key(script, group));
            push_item(&mut value, &[b'y'; 512][..2 * usize::from(script.byte())]);
        }),
        _ => {
            let len = script.below(32);
            value.extend_from_slice(script.bytes(len));
        }
    }
    let mut bytes = Vec::new();
    Command { flags, number, time, value: &value, ..Command::new(Op::Set, key) }.encode_into(&mut bytes);
    bytes[0] = op;
    Command::check(&bytes).is_ok().then_some(bytes)
}

fn key(script: &mut Script<'_>, group: usize) -> &'static [u8] {
    match script.byte() {
        255 => b"",
        byte => &KEYS[group][usize::from(byte) % KEYS_PER_GROUP],
    }
}

fn slots_of(group: usize) -> SlotRange {
    SlotMap::new(PARTITIONS).expect("a power of two").slots_of(group_id(group))
}

/// Keys of each group in the order of a snapshot, every two of them in one slot.
static KEYS: LazyLock<[Vec<Vec<u8>>; GROUPS]> = LazyLock::new(|| {
    std::array::from_fn(|group| {
        let tags = (0_u32..).map(|number| number.to_string());
        let tags = tags.filter(|tag| slots_of(group).contains(slot_of(tag.as_bytes())));
        let mut tags: Vec<String> = tags.take(KEYS_PER_GROUP / 2).collect();
        tags.sort_by_key(|tag| slot_of(tag.as_bytes()));
        tags.into_iter().flat_map(|tag| [tag.clone().into(), format!("{{{tag}}}a").into()]).collect()
    })
});

const KEYS_PER_GROUP: usize = 8;
/// The number behind the last operation.
const OPS: u8 = Op::WaitAcks as u8 + 1;
const _: () = assert!(PEERS.len() == GROUPS - 1, "each node leads one group");
