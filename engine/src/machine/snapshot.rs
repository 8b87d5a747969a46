//! Taking and installing the state of a group in chunks, in ascending (slot, key) order, while writes go on.
//!
//! The sender encodes the state of some keys right after it applied an entry; the receiver has by then applied the same
//! entries, to the keys it already covers. What is not covered yet is skipped by `Kv::covers`, because the chunk that
//! will bring it is taken later and has it inside. So nothing has to be kept for the receiver, and it converges at any
//! rate of writes. What is sent is checked against its digest as it is encoded: a replica whose memory is damaged gives that
//! to nobody.
//!
//! # Bounds
//! A chunk ends behind the key that takes it over the wanted size, so it is at most that plus one item.
//!
//! # Source
//! The replication protocol, design section "Snapshots".

use super::command::{items, push_item};
use super::hash::Fields;
use super::key::Key;
use super::kv::{Item, Kv, Value};
use super::strings::with_decimal;
use crate::ids::Slot;
use crate::slots::slot_of;
use crate::time::LogTime;

/// Which keys of a group are installed.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Coverage {
    /// All of them: the normal state.
    All,
    /// Those up to and with this position in (slot, key) order; `None` for none.
    Through(Option<(Slot, Key)>),
}

impl Coverage {
    pub(crate) fn includes(&self, slot: Slot, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Through(None) => false,
            Self::Through(Some((last_slot, last_key))) => (slot, key) <= (*last_slot, last_key.as_bytes()),
        }
    }
}

/// Where the next chunk starts.
#[derive(Clone, Debug, Hash)]
pub struct SnapshotCursor {
    /// The last key sent, if any.
    after: Option<(Slot, Key)>,
}

/// Why a chunk could not be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The bytes are not a chunk.
    #[error("malformed chunk")]
    Malformed,
    /// A key is of another group, or not behind those installed.
    #[error("a key of the chunk is out of order or of another group")]
    OutOfOrder,
}

/// Memory is damaged: the bytes of a key do not have the digest that was kept of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key does not have its digest any more")]
pub struct Damaged;

const TEXT: u8 = 1;
const HASH: u8 = 2;

impl SnapshotCursor {
    /// Creates a cursor before the first key.
    #[must_use]
    pub fn start() -> Self {
        Self { after: None }
    }

    /// Appends the keys behind the cursor to `out` until it has grown by `wanted_bytes`; returns whether these were the
    /// last ones. At least one key is taken, if there is one.
    ///
    /// Cost: a look-up, and the copy and the digest of what is taken.
    ///
    /// # Errors
    /// A key is not what was written: see [`Damaged`].
    pub fn take(&mut self, kv: &Kv, wanted_bytes: usize, out: &mut Vec<u8>) -> Result<bool, Damaged> {
        let start = out.len();
        let range = kv.slots();
        let first = self.after.as_ref().map_or(range.first, |(slot, _)| *slot);
        for slot in (first.0..=range.last.0).map(Slot) {
            let table = kv.table(slot);
            let rest = match &self.after {
                Some((at, key)) if *at == slot => {
                    table.range((core::ops::Bound::Excluded(key.clone()), core::ops::Bound::Unbounded))
                }
                Some(_) | None => table.range::<Key, _>(..),
            };
            let mut last = None;
            for (key, item) in rest {
                if item.checked_digest(key.as_bytes()).is_none() {
                    return Err(Damaged);
                }
                let name = item.deadline.map_or(0, |deadline| kv.deadline_name(slot, key.as_bytes(), deadline));
                push_key(out, key.as_bytes(), item, name);
                last = Some(key);
                if out.len() - start >= wanted_bytes {
                    break;
                }
            }
            if let Some(last) = last {
                self.after = Some((slot, last.clone()));
            }
            if out.len() - start >= wanted_bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn push_key(out: &mut Vec<u8>, key: &[u8], item: &Item, deadline_name: i64) {
    push_item(out, key);
    out.extend_from_slice(&item.deadline.map_or(0, |deadline| deadline.0).to_le_bytes());
    out.extend_from_slice(&deadline_name.to_le_bytes());
    match &item.value {
        Value::Text(text) => {
            out.push(TEXT);
            push_item(out, text);
        }
        Value::Integer(number) => {
            out.push(TEXT);
            with_decimal(*number, |text| push_item(out, text));
        }
        Value::Hash(fields) => {
            out.push(HASH);
            let count = u32::try_from(fields.len()).expect("memory ends long before 2^32 fields");
            out.extend_from_slice(&count.to_le_bytes());
            for (field, value) in fields.iter() {
                push_item(out, field);
                push_item(out, value);
            }
        }
    }
}

impl Kv {
    /// Installs one chunk behind those installed before. `is_last`: from now on every key is covered.
    ///
    /// # Errors
    /// The bytes are hostile: they are refused if they are malformed, and the state must then be thrown away.
    pub fn install(&mut self, chunk: &[u8], is_last: bool) -> Result<(), InstallError> {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = self.install_key(rest).ok_or(InstallError::Malformed)??;
        }
        if is_last {
            *self.coverage_mut() = Coverage::All;
        }
        Ok(())
    }

    /// Installs the key at the front of `chunk`; returns what stands behind it.
    fn install_key<'a>(&mut self, chunk: &'a [u8]) -> Option<Result<&'a [u8], InstallError>> {
        let (key, rest) = split_item(chunk)?;
        let (deadline, rest) = rest.split_first_chunk::<8>()?;
        let (name, rest) = rest.split_first_chunk::<8>()?;
        let (&tag, rest) = rest.split_first()?;
        let deadline = Some(LogTime(u64::from_le_bytes(*deadline))).filter(|deadline| deadline.0 != 0);
        let (value, rest) = match tag {
            TEXT => {
                let (text, rest) = split_item(rest)?;
                (Value::Text(text.to_vec()), rest)
            }
            HASH => {
                let (count, mut rest) = rest.split_first_chunk::<4>()?;
                let mut fields = Fields::default();
                for _ in 0..u32::from_le_bytes(*count) {
                    let (field, behind) = split_item(rest)?;
                    let (value, behind) = split_item(behind)?;
                    if !fields.put(field, value) {
                        return None;
                    }
                    rest = behind;
                }
                if fields.len() == 0 {
                    return None;
                }
                (Value::Hash(fields), rest)
            }
            _ => return None,
        };
        let slot = slot_of(key);
        if !self.slots().contains(slot) || self.coverage().includes(slot, key) {
            return Some(Err(InstallError::OutOfOrder));
        }
        *self.coverage_mut() = Coverage::Through(Some((slot, Key::new(key))));
        self.insert(key, value, deadline);
        self.name_deadline(slot, key, i64::from_le_bytes(*name));
        Some(Ok(rest))
    }
}

fn split_item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let item = items(bytes).next()?;
    Some((item, &bytes[size_of::<u32>() + item.len()..]))
}
