//! The password of the default user, never kept as it was typed.
//!
//! What is kept is its SHA-256, as Redis does; comparing digests takes the same time wherever they differ and however long the guess
//! is, so nothing is learned from how long a refusal took.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest as _, Sha256};

/// A password, as its digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password {
    digest: [u8; DIGEST_BYTES],
}

impl Password {
    /// Takes a password as a person types it.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self { digest: Sha256::digest(text).into() }
    }

    /// Takes a digest in 64 lower-case hexadecimal digits, as `ACL LIST` shows it. `None`: it is not one.
    #[must_use]
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let mut digest = [0; DIGEST_BYTES];
        if hex.len() != 2 * DIGEST_BYTES {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self { digest })
    }

    /// Whether `guess` is the password, in a time that does not depend on either.
    #[must_use]
    pub fn is(&self, guess: &[u8]) -> bool {
        let guess = Self::new(guess);
        // `black_box` keeps the compiler from leaving the loop at the first difference.
        let difference =
            self.digest.iter().zip(guess.digest).fold(0, |seen, (ours, theirs)| black_box(seen | (ours ^ theirs)));
        difference == 0
    }

    /// The digest in 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        use fmt::Write as _;
        self.digest.iter().fold(String::with_capacity(2 * DIGEST_BYTES), |mut text, byte| {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Shows nothing of it.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

const DIGEST_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_the_published_one() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Password::new(b"abc").to_hex(), abc);
        assert_eq!(Password::from_hex(abc.as_bytes()), Some(Password::new(b"abc")));
        assert_eq!(Password::from_hex(&abc.as_bytes()[1..]), None);
        assert_eq!(Password::from_hex(abc.to_ascii_uppercase().as_bytes()), None);
    }

    #[test]
    fn only_the_same_text_is_accepted() {
        let password = Password::new(b"secret");
        assert!(password.is(b"secret"));
        assert!(!password.is(b"") && !password.is(b"secreT") && !password.is(b"secret "));
        assert_eq!(format!("{password:?}"), "Password(..)");
    }
}
