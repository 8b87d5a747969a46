//! The temporary folder of a cluster: made for this user alone, gone when it is dropped.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::LocalError;

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    pub(super) fn create(name: &str) -> Result<Self, LocalError> {
        let path = std::env::temp_dir().join(format!("quorate-{name}"));
        // Not `recursive`: a folder that exists is somebody else's.
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self { path, is_kept: false }),
            Err(error) => Err(LocalError::Folder { path, error }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is at the end.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Writes a file in it.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), LocalError> {
        fs::write(path, text).map_err(|error| LocalError::Folder { path: path.to_owned(), error })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is left in a temporary folder harms nobody, and there is nobody to tell.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Returns a number that nobody foresees: for names, ports and seeds.
#[must_use]
pub fn random_number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
