//! Every check on hostile bytes of the native protocol, in the order in which the bytes arrive.
//!
//! 1. The header alone: magic, version, kind, whether the kind may come now, length, what is reserved. After this the
//!    reader knows how much to wait for, and that it is not too much.
//! 2. The whole frame: checksum, once over all of it.
//! 3. The head of the kind, as an archive, and its fields.
//! 4. The tail: that it is what the head says, whole commands, answers, entries and texts included.
//!
//! Frames that pass are canonical: [`Frame::encode`] gives the same bytes again.

use std::time::Duration;

use quorate_engine::config::READ_LEASE_MAX;
use quorate_engine::entry::{Entries, EntryKind};
use quorate_engine::ids::{CpuId, EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::message::{
    Ack, Append, Chunk, ChunkAck, ChunkProgress, Fetched, Message, Mismatch, Refused, Sealed, StreamId,
};
use quorate_engine::replication::comparison::{Note, Window};
use quorate_engine::slots::SLOT_COUNT;
use quorate_engine::time::{Instant, LogTime};
use rkyv::Portable;
use rkyv::bytecheck::CheckBytes;

use super::control::Control;
use super::error::DecodeError;
use super::header::{HEADER_BYTES, Header, MAGIC, VERSION_AT, Validator, WIRE_VERSION, access, checksum};
use super::hello::{
    AddressList, ArchivedHelloHead, ArchivedRejectHead, ArchivedWelcomeHead, CLUSTER_BYTES_MAX, Hello, NODES_MAX,
    PASSWORD_BYTES_MAX, REJECT_TEXT_BYTES_MAX, Reject, Role, Welcome,
};
use super::peer::{
    ArchivedAckHead, ArchivedAppendHead, ArchivedChunkAckHead, ArchivedChunkHead, ArchivedDivergedHead,
    ArchivedFetchHead, ArchivedFetchedHead, ArchivedMismatchHead, ArchivedRefusedHead, ArchivedSealedHead, ChunkState,
};
use super::publish::{ArchivedPublishHead, Publish};
use super::request::{
    ArchivedRefusalWire, ArchivedReplyWire, ArchivedRequestWire, Level, REFUSAL_TEXT_BYTES_MAX, Refusal, Reply,
    ReplyHead, Request, RequestHead,
};
use super::status::{ArchivedStatusHead, StatusReply, StatusRequest};
use super::{About, Body, BodyLimits, Frame, Kind, Stage};

/// Largest index, epoch and logged time taken from outside: out of reach at any speed, and far enough from the end of 64 bits that
/// nobody behind this has to mind overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// Decodes the frame at the front of `bytes`; returns it with the number of bytes it takes. What follows is not looked
/// at. Connections use a [`FrameReader`](super::FrameReader), which also puts together what arrives in pieces.
///
/// Cost: O(frame), no allocation.
///
/// # Errors
/// `Truncated`: `bytes` ends before the frame does, and nothing is wrong with it so far. All others: this is no frame
/// that may come at this stage.
pub fn decode<'a>(bytes: &'a [u8], stage: Stage, limits: &BodyLimits) -> Result<(Frame<'a>, usize), DecodeError> {
    let announced = announce(bytes, stage, limits)?;
    let needed = announced.frame_bytes();
    match bytes.get(..needed) {
        Some(frame) => Ok((announced.open(frame)?, needed)),
        None => Err(DecodeError::Truncated { needed, have: bytes.len() }),
    }
}

/// A header that may stand here: how long its frame is, and of what kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    header: Header,
    kind: Kind,
}

/// Checks the header at the front of `bytes`; also what has come of an incomplete one, so that whoever speaks another
/// protocol is told at once, however little it sends.
#[inline]
pub(super) fn announce(bytes: &[u8], stage: Stage, limits: &BodyLimits) -> Result<Announced, DecodeError> {
    let Some(header) = bytes.first_chunk().and_then(Header::read) else {
        return Err(
            check_beginning(bytes).unwrap_or(DecodeError::Truncated { needed: HEADER_BYTES, have: bytes.len() })
        );
    };
    if header.magic != MAGIC || header.version != WIRE_VERSION {
        return Err(check_beginning(bytes).expect("magic or version are wrong"));
    }
    let kind = Kind::from_number(header.kind).ok_or(DecodeError::Kind { number: header.kind })?;
    if !stage.allows(kind) {
        return Err(DecodeError::Unexpected { kind, stage });
    }
    let (length, limit) = (header.length, limits.of(kind));
    if length > limit {
        return Err(DecodeError::TooLong { kind, length, limit });
    }
    if header.reserved != 0 || (!kind.is_about_group() && (header.group, header.epoch) != (0, 0)) {
        return Err(DecodeError::NotZero { kind });
    }
    Ok(Announced { header, kind })
}

/// Returns what is wrong with the magic and version at the front of `bytes`, as far as they have come.
fn check_beginning(bytes: &[u8]) -> Option<DecodeError> {
    let magic = MAGIC.to_le_bytes();
    let len = bytes.len().min(magic.len());
    if bytes[..len] != magic[..len] {
        let mut found = [0; 4];
        found[..len].copy_from_slice(&bytes[..len]);
        return Some(DecodeError::Magic { found: u32::from_le_bytes(found) });
    }
    let version = bytes.get(VERSION_AT..)?.first_chunk()?;
    let theirs = u16::from_le_bytes(*version);
    (theirs != WIRE_VERSION).then_some(DecodeError::Version { theirs, ours: WIRE_VERSION })
}

impl Announced {
    /// Returns the length of the frame, header included.
    pub(super) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.header.length as usize
    }

    /// Checks and decodes the frame, given all its bytes.
    ///
    /// Inlined with the four frequent kinds, so that a frame is built in place: returned by value through three calls, its
    /// hundred bytes are copied so soon after they were written that decoding takes twice as long.
    #[inline(always)]
    pub(super) fn open<'a>(&self, frame: &'a [u8]) -> Result<Frame<'a>, DecodeError> {
        assert_eq!(frame.len(), self.frame_bytes(), "a frame is opened when it is whole");
        let computed = checksum(self.kind, frame);
        if computed != self.header.crc {
            return Err(DecodeError::Checksum { kind: self.kind, stored: self.header.crc, computed });
        }
        let raw = Raw { kind: self.kind, bytes: &frame[HEADER_BYTES..] };
        let about = About { group: GroupId(self.header.group), epoch: raw.epoch(self.header.epoch)? };
        let body = match self.kind {
            Kind::Hello => Body::Hello(raw.hello()?),
            Kind::Welcome => Body::Welcome(raw.welcome()?),
            Kind::Reject => Body::Reject(raw.reject()?),
            Kind::Append => Body::Message(Message::Append(raw.append(about.epoch)?)),
            Kind::Ack => Body::Message(Message::Ack(raw.ack()?)),
            Kind::Refused => Body::Message(Message::Refused(raw.refused()?)),
            Kind::Mismatch => Body::Message(Message::Mismatch(raw.mismatch()?)),
            Kind::Chunk => Body::Message(Message::Chunk(raw.chunk(about.epoch)?)),
            Kind::ChunkAck => Body::Message(Message::ChunkAck(raw.chunk_ack()?)),
            Kind::Seal => Body::Message(raw.nothing(Message::Seal)?),
            Kind::Sealed => Body::Message(Message::Sealed(raw.sealed(about.epoch)?)),
            Kind::Fetch => Body::Message(Message::Fetch { after: raw.fetch()? }),
            Kind::Fetched => Body::Message(Message::Fetched(raw.fetched(about.epoch)?)),
            Kind::Unfetchable => Body::Message(raw.nothing(Message::Unfetchable)?),
            Kind::Diverged => Body::Message(Message::Diverged(raw.diverged()?)),
            Kind::Request => Body::Request(raw.request()?),
            Kind::Reply => Body::Reply(raw.reply()?),
            Kind::Refusal => Body::Refusal(raw.refusal()?),
            Kind::Publish => Body::Publish(raw.publish()?),
            Kind::Status => Body::Status(raw.status()?),
            Kind::StatusReply => Body::StatusReply(raw.status_reply()?),
            Kind::Control => Body::Control(Control { json: raw.text("the text", raw.bytes)? }),
        };
        Ok(Frame { about, body })
    }
}

/// A body whose checksum is right, and nothing else is known of.
#[derive(Clone, Copy)]
struct Raw<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

/// The greeting.
impl<'a> Raw<'a> {
    fn hello(self) -> Result<Hello<'a>, DecodeError> {
        let (head, password) = self.split::<ArchivedHelloHead>()?;
        self.zero(&head.zero)?;
        self.tail_len(password, u64::from(head.password_len.to_native()), PASSWORD_BYTES_MAX)?;
        let hello = Hello {
            cluster: self.name(&head.cluster, head.cluster_len)?,
            role: head.role,
            node: NodeId(head.node.to_native()),
            incarnation: Incarnation(head.incarnation.to_native()),
            cpu: CpuId(head.cpu.to_native()),
            cpu_count: head.cpu_count.to_native(),
            partitions: head.partitions.to_native(),
            replicas: head.replicas.to_native(),
            write_quorum: head.write_quorum.to_native(),
            fingerprint: head.fingerprint.to_native(),
            password,
        };
        match hello.role {
            Role::Client if hello != Hello::client(hello.cluster, password) => {
                Err(DecodeError::NotZero { kind: self.kind })
            }
            Role::Client => Ok(hello),
            Role::Peer | Role::Control => {
                self.check_end(hello.cluster, hello.node, (hello.cpu, hello.cpu_count))?;
                self.check_layout(hello.partitions, hello.replicas, hello.write_quorum)?;
                Ok(hello)
            }
        }
    }

    fn welcome(self) -> Result<Welcome<'a>, DecodeError> {
        let (head, bytes) = self.split::<ArchivedWelcomeHead>()?;
        self.zero(&head.zero)?;
        let addresses = AddressList::new(bytes);
        let count = addresses.count_checked().ok_or(DecodeError::Text { kind: self.kind, field: "an address" })?;
        let said = head.address_count.to_native();
        if count != usize::from(said) || count > NODES_MAX {
            return Err(self.field("the number of addresses", u64::from(said)));
        }
        let welcome = Welcome {
            cluster: self.name(&head.cluster, head.cluster_len)?,
            node: NodeId(head.node.to_native()),
            incarnation: Incarnation(head.incarnation.to_native()),
            cpu: CpuId(head.cpu.to_native()),
            cpu_count: head.cpu_count.to_native(),
            partitions: head.partitions.to_native(),
            replicas: head.replicas.to_native(),
            write_quorum: head.write_quorum.to_native(),
            fingerprint: head.fingerprint.to_native(),
            addresses,
        };
        self.check_end(welcome.cluster, welcome.node, (welcome.cpu, welcome.cpu_count))?;
        self.check_layout(welcome.partitions, welcome.replicas, welcome.write_quorum)?;
        Ok(welcome)
    }

    fn reject(self) -> Result<Reject<'a>, DecodeError> {
        let (head, text) = self.split::<ArchivedRejectHead>()?;
        self.zero(&head.zero)?;
        self.tail_len(text, u64::from(head.text_len.to_native()), REJECT_TEXT_BYTES_MAX)?;
        Ok(Reject {
            code: head.code,
            theirs: head.theirs.to_native(),
            ours: head.ours.to_native(),
            text: self.text("the text", text)?,
        })
    }

    /// Checks who a node says it is.
    fn check_end(self, cluster: &str, node: NodeId, (cpu, cpu_count): (CpuId, u16)) -> Result<(), DecodeError> {
        if cluster.is_empty() {
            return Err(self.field("the length of the cluster's name", 0));
        }
        if node.0 == 0 {
            return Err(self.field("the node", 0));
        }
        if cpu.0 >= cpu_count {
            return Err(self.field("the CPU", u64::from(cpu.0)));
        }
        Ok(())
    }

    /// Checks how a node says the cluster is laid out.
    fn check_layout(self, partitions: u32, replicas: u16, write_quorum: u16) -> Result<(), DecodeError> {
        if partitions == 0 || partitions > u32::from(SLOT_COUNT) {
            return Err(self.field("the number of partitions", u64::from(partitions)));
        }
        if write_quorum == 0 || write_quorum > replicas {
            return Err(self.field("the write quorum", u64::from(write_quorum)));
        }
        Ok(())
    }

    fn name(self, padded: &'a [u8; CLUSTER_BYTES_MAX], len: u8) -> Result<&'a str, DecodeError> {
        let Some((name, padding)) = padded.split_at_checked(usize::from(len)) else {
            return Err(self.field("the length of the cluster's name", u64::from(len)));
        };
        self.zero(padding)?;
        self.text("the cluster's name", name)
    }
}

/// What replicas say.
impl<'a> Raw<'a> {
    #[inline(always)]
    fn append(self, epoch: Epoch) -> Result<Append<'a>, DecodeError> {
        let (head, entries) = self.split::<ArchivedAppendHead>()?;
        let prev = self.entry_id(head.prev_epoch.to_native(), head.prev_index.to_native())?;
        check_entries(prev, epoch, entries)?;
        Ok(Append {
            stream: StreamId(head.stream.to_native()),
            prev,
            commit: self.index(head.commit.to_native())?,
            sent: Instant(head.sent.to_native()),
            entries,
        })
    }

    #[inline(always)]
    fn ack(self) -> Result<Ack, DecodeError> {
        let head = self.only::<ArchivedAckHead>()?;
        Ok(Ack {
            stream: StreamId(head.stream.to_native()),
            matched: self.index(head.matched.to_native())?,
            sent: Instant(head.sent.to_native()),
            state: Note { applied: self.index(head.applied.to_native())?, digest: head.digest.to_native() },
        })
    }

    fn diverged(self) -> Result<Window, DecodeError> {
        let head = self.only::<ArchivedDivergedHead>()?;
        Ok(Window { first: self.index(head.first.to_native())?, last: self.index(head.last.to_native())? })
    }

    fn refused(self) -> Result<Refused, DecodeError> {
        let head = self.only::<ArchivedRefusedHead>()?;
        self.zero(&head.zero)?;
        let (node, incarnation) = (head.leader_node.to_native(), head.leader_incarnation.to_native());
        if node == 0 && incarnation != 0 {
            return Err(DecodeError::NotZero { kind: self.kind });
        }
        let leader = ReplicaId { node: NodeId(node), incarnation: Incarnation(incarnation) };
        Ok(Refused { promise: self.epoch(head.promise.to_native())?, leader: (node != 0).then_some(leader) })
    }

    fn mismatch(self) -> Result<Mismatch, DecodeError> {
        let head = self.only::<ArchivedMismatchHead>()?;
        Ok(Mismatch { stream: StreamId(head.stream.to_native()), hint: self.index(head.hint.to_native())? })
    }

    fn chunk(self, epoch: Epoch) -> Result<Chunk<'a>, DecodeError> {
        let (head, body) = self.split::<ArchivedChunkHead>()?;
        self.zero(&head.zero)?;
        let chunk = Chunk {
            stream: StreamId(head.stream.to_native()),
            sequence: head.sequence.to_native(),
            is_last: head.is_last,
            base: self.held(epoch, head.base_epoch.to_native(), head.base_index.to_native())?,
            at: self.held(epoch, head.at_epoch.to_native(), head.at_index.to_native())?,
            time: self.time(head.time.to_native())?,
            body,
        };
        if chunk.stream == StreamId::LIVE {
            return Err(self.field("the stream", chunk.stream.0));
        }
        if chunk.at.index < chunk.base.index {
            return Err(self.field("the index of the state", chunk.at.index.0));
        }
        if chunk.at.epoch < chunk.base.epoch {
            return Err(self.field("the epoch of the state", chunk.at.epoch.0));
        }
        Ok(chunk)
    }

    fn chunk_ack(self) -> Result<ChunkAck, DecodeError> {
        let head = self.only::<ArchivedChunkAckHead>()?;
        self.zero(&head.zero)?;
        let number = head.number.to_native();
        let progress = match head.state {
            ChunkState::Received => {
                let sequence = u32::try_from(number).map_err(|_| self.field("the sequence number", number))?;
                ChunkProgress::Received { sequence }
            }
            ChunkState::Installed => ChunkProgress::Installed { matched: self.index(number)? },
            ChunkState::Broken if number == 0 => ChunkProgress::Broken,
            ChunkState::Broken => return Err(DecodeError::NotZero { kind: self.kind }),
        };
        let stream = StreamId(head.stream.to_native());
        if stream == StreamId::LIVE {
            return Err(self.field("the stream", stream.0));
        }
        Ok(ChunkAck { stream, progress })
    }

    /// Checks that a message without a body has none.
    fn nothing(self, message: Message<'a>) -> Result<Message<'a>, DecodeError> {
        if self.bytes.is_empty() {
            Ok(message)
        } else {
            Err(self.field("the length of the body", self.bytes.len() as u64))
        }
    }

    fn sealed(self, epoch: Epoch) -> Result<Sealed, DecodeError> {
        let head = self.only::<ArchivedSealedHead>()?;
        let tail = self.held(epoch, head.tail_epoch.to_native(), head.tail_index.to_native())?;
        let commit = self.index(head.commit.to_native())?;
        if commit > tail.index {
            return Err(self.field("the commit index", commit.0));
        }
        let grant_left = Duration::from_nanos(head.grant_left_ns.to_native());
        if grant_left > READ_LEASE_MAX {
            // A candidate waits for it: this one would have it wait for longer than any lease lasts.
            return Err(self.field("what is left of a lease", head.grant_left_ns.to_native()));
        }
        Ok(Sealed { tail, commit, grant_left })
    }

    fn fetch(self) -> Result<LogIndex, DecodeError> {
        self.index(self.only::<ArchivedFetchHead>()?.after.to_native())
    }

    fn fetched(self, epoch: Epoch) -> Result<Fetched<'a>, DecodeError> {
        let (head, entries) = self.split::<ArchivedFetchedHead>()?;
        let prev = self.entry_id(head.prev_epoch.to_native(), head.prev_index.to_native())?;
        check_entries(prev, epoch, entries)?;
        Ok(Fetched { prev, entries })
    }

    /// As [`Raw::entry_id`], of an entry that is held by whoever sends a message of `epoch`: nobody holds what was born later.
    fn held(self, epoch: Epoch, born: u64, index: u64) -> Result<EntryId, DecodeError> {
        let id = self.entry_id(born, index)?;
        if id.epoch > epoch { Err(self.field("the epoch of an entry", born)) } else { Ok(id) }
    }

    /// Checks that an entry is named whole, or is the place before the first one.
    fn entry_id(self, epoch: u64, index: u64) -> Result<EntryId, DecodeError> {
        if (epoch == 0) != (index == 0) {
            return Err(self.field("the epoch of an entry", epoch));
        }
        Ok(EntryId { epoch: self.epoch(epoch)?, index: self.index(index)? })
    }
}

/// What clients and nodes say.
impl<'a> Raw<'a> {
    #[inline(always)]
    fn request(self) -> Result<Request<'a>, DecodeError> {
        let (head, encoded) = self.split::<ArchivedRequestWire>()?;
        self.zero(&head.zero)?;
        let command = Command::check(encoded)?;
        if command.op == Op::Expired {
            return Err(DecodeError::Internal { op: command.op });
        }
        let head = RequestHead {
            number: head.number.to_native(),
            level: head.level,
            hops: head.hops,
            timeout_us: head.timeout_us.to_native(),
            read_after: self.index(head.read_after.to_native())?,
        };
        Ok(Request { head, command, encoded })
    }

    #[inline(always)]
    fn reply(self) -> Result<Reply<'a>, DecodeError> {
        let (head, answer) = self.split::<ArchivedReplyWire>()?;
        self.zero(&head.zero)?;
        let is_whole = match head.level {
            Level::Accepted => answer.is_empty(),
            Level::Commit => Answer::check(answer),
        };
        if !is_whole {
            return Err(DecodeError::Answer { kind: self.kind });
        }
        let head = ReplyHead {
            number: head.number.to_native(),
            level: head.level,
            index: self.index(head.index.to_native())?,
            loss_gen: head.loss_gen.to_native(),
        };
        Ok(Reply { head, answer })
    }

    fn refusal(self) -> Result<Refusal<'a>, DecodeError> {
        let (head, text) = self.split::<ArchivedRefusalWire>()?;
        self.zero(&head.zero)?;
        self.tail_len(text, u64::from(head.text_len.to_native()), REFUSAL_TEXT_BYTES_MAX)?;
        Ok(Refusal {
            number: head.number.to_native(),
            certainty: head.certainty,
            code: head.code,
            details: [head.details[0].to_native(), head.details[1].to_native()],
            text: self.text("the text", text)?,
        })
    }

    fn publish(self) -> Result<Publish<'a>, DecodeError> {
        let (head, tail) = self.split::<ArchivedPublishHead>()?;
        self.zero(&head.zero)?;
        let (channel_len, payload_len) = (head.channel_len.to_native(), head.payload_len.to_native());
        self.tail_len(tail, u64::from(channel_len) + u64::from(payload_len), usize::MAX)?;
        let (channel, payload) = tail.split_at(channel_len as usize);
        Ok(Publish { audience: head.audience, channel, payload })
    }

    fn status(self) -> Result<StatusRequest, DecodeError> {
        Ok(StatusRequest { number: self.only::<ArchivedStatusHead>()?.number.to_native() })
    }

    fn status_reply(self) -> Result<StatusReply<'a>, DecodeError> {
        let (head, json) = self.split::<ArchivedStatusHead>()?;
        Ok(StatusReply { number: head.number.to_native(), json: self.text("the state", json)? })
    }
}

/// Parts that kinds have in common.
impl<'a> Raw<'a> {
    /// Splits the body into its head, checked as an archive, and its tail.
    #[inline]
    fn split<T>(self) -> Result<(&'a T, &'a [u8]), DecodeError>
    where
        T: Portable + for<'b> CheckBytes<Validator<'b>>,
    {
        let Some((head, tail)) = self.bytes.split_at_checked(size_of::<T>()) else {
            return Err(self.length(size_of::<T>() as u64));
        };
        let head = access::<T>(head).ok_or(DecodeError::Head { kind: self.kind })?;
        Ok((head, tail))
    }

    /// As [`Raw::split`], for kinds without a tail.
    #[inline]
    fn only<T>(self) -> Result<&'a T, DecodeError>
    where
        T: Portable + for<'b> CheckBytes<Validator<'b>>,
    {
        let (head, tail) = self.split::<T>()?;
        self.tail_len(tail, 0, 0)?;
        Ok(head)
    }

    /// Checks that the tail has the length that the head says, and no more than it may.
    #[inline]
    fn tail_len(self, tail: &[u8], said: u64, limit: usize) -> Result<(), DecodeError> {
        if tail.len() as u64 != said {
            return Err(self.length((self.bytes.len() - tail.len()) as u64 + said));
        }
        if tail.len() > limit {
            return Err(self.field("the length of the tail", said));
        }
        Ok(())
    }

    /// Checks that arithmetic on an index cannot overflow.
    #[inline]
    fn index(self, index: u64) -> Result<LogIndex, DecodeError> {
        if index > NUMBER_MAX { Err(self.field("an index", index)) } else { Ok(LogIndex(index)) }
    }

    /// Checks that arithmetic on an epoch cannot overflow.
    #[inline]
    fn epoch(self, epoch: u64) -> Result<Epoch, DecodeError> {
        if epoch > NUMBER_MAX { Err(self.field("an epoch", epoch)) } else { Ok(Epoch(epoch)) }
    }

    /// Checks that arithmetic on a logged time cannot overflow.
    #[inline]
    fn time(self, time: u64) -> Result<LogTime, DecodeError> {
        if time > NUMBER_MAX { Err(self.field("a logged time", time)) } else { Ok(LogTime(time)) }
    }

    #[inline]
    fn zero(self, reserved: &[u8]) -> Result<(), DecodeError> {
        if reserved.iter().any(|&byte| byte != 0) { Err(DecodeError::NotZero { kind: self.kind }) } else { Ok(()) }
    }

    fn text(self, field: &'static str, bytes: &'a [u8]) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Text { kind: self.kind, field })
    }

    fn length(self, said: u64) -> DecodeError {
        DecodeError::Length { kind: self.kind, said, length: self.bytes.len() }
    }

    fn field(self, field: &'static str, value: u64) -> DecodeError {
        DecodeError::Field { kind: self.kind, field, value }
    }
}

/// Checks the tail of an `Append` of message epoch `epoch`: whole entries with right checksums, each directly behind the
/// one before, born in an epoch that is neither below that of the one before nor above the leader's, and with valid
/// commands whose keys lie in the entry's slot.
fn check_entries(prev: EntryId, epoch: Epoch, entries: &[u8]) -> Result<(), DecodeError> {
    let mut previous = prev;
    for entry in Entries::new(entries) {
        let entry = entry?;
        let found = entry.id();
        let is_next = Some(found.index.0) == previous.index.0.checked_add(1);
        if !is_next || found.epoch < previous.epoch || found.epoch > epoch {
            return Err(DecodeError::Order { previous, found, epoch });
        }
        entry.verify()?;
        if entry.kind() == EntryKind::Command {
            let command = Command::check(entry.body())?;
            if !command.lies_in(entry.slot()) {
                let slot = u64::from(entry.slot().0);
                return Err(DecodeError::Field { kind: Kind::Append, field: "the slot of an entry", value: slot });
            }
        }
        previous = found;
    }
    Ok(())
}
