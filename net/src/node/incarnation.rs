//! Which run of a node this is.
//!
//! Until the consistent core hands incarnations out, a node counts its runs in a file of its data directory; without one
//! it draws 64 random bits. No two runs have the same number, which is all that the rules for restarts need. As two
//! processes may be started as the same node, with directories that are new or copies of each other, nine random digits
//! follow the count: run 3 is incarnation 3271828182.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use quorate_engine::ids::Incarnation;
use thiserror::Error;

/// Name of the file with the number of the last run.
const FILE_NAME: &str = "incarnation";
/// What stands behind the count is below this.
const RANDOM_END: u64 = 1_000_000_000;
/// Most runs that can be counted: beyond any that there will be.
const RUNS_MAX: u64 = u64::MAX / RANDOM_END - 1;

/// Why the number of this run cannot be found out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IncarnationError {
    /// The data directory or the file in it cannot be used.
    #[error("cannot {verb} {path}: {source}; node.data_dir must be a directory that this user may write to")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not hold a number.
    #[error(
        "{path} holds {text:?} and not the number of the last run; if this node has no data worth keeping, remove the file"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
}

/// Returns the number of this run, and with a data directory writes it there before anyone hears it.
///
/// # Errors
/// The directory cannot be written or the file in it is damaged: then the node must not start, or two runs could go by
/// one number.
pub fn next(data_dir: Option<&Path>) -> Result<Incarnation, IncarnationError> {
    let random = random()?;
    let number = match data_dir {
        Some(dir) => count_in(dir)? * RANDOM_END + random % RANDOM_END,
        None => random,
    };
    // 0 means "none" in messages.
    Ok(Incarnation(number.max(1)))
}

fn random() -> Result<u64, IncarnationError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|source| IncarnationError::Io { verb: "read", path: path.to_owned(), source })?;
    Ok(u64::from_le_bytes(bytes))
}

/// Counts one more run in the file of `dir`.
fn count_in(dir: &Path) -> Result<u64, IncarnationError> {
    let io = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| IncarnationError::Io { verb, path, source }
    };
    fs::create_dir_all(dir).map_err(io("create", dir))?;
    let path = dir.join(FILE_NAME);
    let last = match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u64>() {
            Ok(last) if last < RUNS_MAX => last,
            Ok(_) | Err(_) => return Err(IncarnationError::Damaged { path, text: text.chars().take(40).collect() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(io("read", &path)(error)),
    };
    // Written beside and renamed: a crash leaves the old number or the new one, never half of one.
    let new = dir.join("incarnation.new");
    let write = || {
        let mut file = fs::File::create(&new)?;
        writeln!(file, "{}", last + 1)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(io("write", &path))?;
    Ok(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("quorate-incarnation-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn runs_are_counted_from_one() {
        let dir = dir("count");
        for run in 1..=3 {
            let Incarnation(number) = next(Some(&dir)).expect("a fresh directory");
            assert_eq!(number / RANDOM_END, run);
        }
        fs::remove_dir_all(&dir).expect("it was made above");
    }

    #[test]
    fn runs_differ_though_their_directories_are_equal() {
        let [one, other] = [dir("one"), dir("other")];
        // Both new, and then copies of each other.
        for _ in 0..2 {
            assert_ne!(next(Some(&one)).expect("a directory"), next(Some(&other)).expect("a directory"));
        }
        [one, other].iter().for_each(|dir| fs::remove_dir_all(dir).expect("it was made above"));
    }

    #[test]
    fn a_damaged_file_stops_the_node() {
        let dir = dir("damaged");
        fs::create_dir_all(&dir).expect("a temporary directory");
        for text in ["", "seven", "-1", "18446744073709551615"] {
            fs::write(dir.join(FILE_NAME), text).expect("it can be written");
            assert!(matches!(next(Some(&dir)), Err(IncarnationError::Damaged { .. })), "{text:?}");
        }
        fs::remove_dir_all(&dir).expect("it was made above");
    }

    #[test]
    fn without_a_directory_runs_differ() {
        assert_ne!(next(None).expect("random bits"), next(None).expect("random bits"));
    }
}
