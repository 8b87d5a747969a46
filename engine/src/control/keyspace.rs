//! A few keys that the consistent core itself keeps, for what must outlast all memory: each core node has them on disk.
//!
//! # Bounds
//! [`KEYS_MAX`] keys of [`KEY_BYTES_MAX`] bytes, with values of [`VALUE_BYTES_MAX`]: at most some 4 MiB, which travel as a whole
//! to a core node that is far behind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::state::JUMP;

/// Most keys.
pub const KEYS_MAX: usize = 1024;
/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Keyspace {
    keys: BTreeMap<String, Stored>,
    /// The version of the value that was stored last.
    version: u64,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stored {
    /// The value.
    pub value: Vec<u8>,
    /// Greater than that of any value that was stored in the core before.
    pub version: u64,
}

/// Why a value was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyspaceError {
    /// It has another version.
    #[error("CONFLICT the key has version {found}, not {expected}; read it again and decide anew")]
    Version {
        /// What was expected.
        expected: u64,
        /// What it is; 0 if there is no such key.
        found: u64,
    },
    /// The key is empty or too long.
    #[error("ERR a key of the consistent core has 1 to {max} bytes, this one {len}")]
    Key {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The value is too long.
    #[error(
        "ERR a value of the consistent core has at most {max} bytes, this one {len}; keep large values in the data keyspace"
    )]
    Value {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// There are too many keys.
    #[error("OOM the consistent core keeps at most {max} keys; keep others in the data keyspace")]
    Full {
        /// The limit.
        max: usize,
    },
}

impl Keyspace {
    /// Returns a value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Stored> {
        self.keys.get(key)
    }

    /// Stores a value, if the key has the version `expected` (0: there is no such key; `None`: whichever). Returns its version.
    ///
    /// # Errors
    /// See [`KeyspaceError`]; nothing was changed.
    pub fn set(&mut self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, KeyspaceError> {
        check(key, value)?;
        let found = self.keys.get(key).map_or(0, |stored| stored.version);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(KeyspaceError::Version { expected, found });
        }
        if found == 0 && self.keys.len() >= KEYS_MAX {
            return Err(KeyspaceError::Full { max: KEYS_MAX });
        }
        self.version += 1;
        self.keys.insert(key.to_owned(), Stored { value: value.to_vec(), version: self.version });
        Ok(self.version)
    }

    /// Goes on far ahead: versions behind the last that is known may have been given.
    pub(super) fn jump(&mut self) {
        self.version = self.version.saturating_add(JUMP);
    }
}

/// Whether a key and a value are within their bounds.
///
/// # Errors
/// The first that is not.
pub fn check(key: &str, value: &[u8]) -> Result<(), KeyspaceError> {
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Err(KeyspaceError::Key { len: key.len(), max: KEY_BYTES_MAX });
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(KeyspaceError::Value { len: value.len(), max: VALUE_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_who_have_read_the_same_version_one_stores() {
        let mut keys = Keyspace::default();
        assert_eq!(keys.set("owner", b"a", Some(0)), Ok(1));
        assert_eq!(keys.set("owner", b"b", Some(0)), Err(KeyspaceError::Version { expected: 0, found: 1 }));
        assert_eq!(keys.set("other", b"c", None), Ok(2));
        assert_eq!(keys.set("owner", b"b", Some(1)), Ok(3));
        assert_eq!(keys.get("owner"), Some(&Stored { value: b"b".to_vec(), version: 3 }));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let mut keys = Keyspace::default();
        assert!(matches!(keys.set("", b"", None), Err(KeyspaceError::Key { len: 0, .. })));
        assert!(keys.set(&"k".repeat(KEY_BYTES_MAX + 1), b"", None).is_err());
        assert!(keys.set("k", &[0; VALUE_BYTES_MAX + 1], None).is_err());
        for number in 0..KEYS_MAX {
            keys.set(&number.to_string(), b"", None).expect("there is room");
        }
        assert_eq!(keys.set("one more", b"", None), Err(KeyspaceError::Full { max: KEYS_MAX }));
        assert!(keys.set("0", b"again", None).is_ok());
    }
}
