//! Colour on a terminal, and only there.
//!
//! # Source
//! `NO_COLOR` as no-color.org asks: set and not empty means none. `TERM=dumb` means the same.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

/// Where text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// What a piece of text says about the state of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// An error.
    Bad,
    /// Something to know.
    Note,
    /// Success.
    Good,
    /// Less important than the rest.
    Faint,
}

/// Decides once whether text for a stream is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    is_coloured: bool,
}

/// A text with its colour; made by [`Paint::text`].
#[derive(Clone, Copy, Debug)]
pub struct Painted<'a> {
    text: &'a str,
    /// The number of the terminal's attribute, if the text is coloured.
    attribute: Option<u8>,
}

impl Paint {
    /// Text without colour.
    pub const PLAIN: Self = Self { is_coloured: false };

    /// Looks at the environment and at what `stream` is.
    #[must_use]
    pub fn of(stream: Stream) -> Self {
        let is_terminal = match stream {
            Stream::Output => io::stdout().is_terminal(),
            Stream::Error => io::stderr().is_terminal(),
        };
        Self::decide(is_terminal, env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
    }

    /// Whether texts are coloured.
    #[must_use]
    pub fn is_coloured(self) -> bool {
        self.is_coloured
    }

    /// Returns `text` in the colour of its tone.
    #[must_use]
    pub fn text(self, tone: Tone, text: &str) -> Painted<'_> {
        let attribute = match tone {
            Tone::Bad => 31,
            Tone::Note => 33,
            Tone::Good => 32,
            Tone::Faint => 2,
        };
        Painted { text, attribute: self.is_coloured.then_some(attribute) }
    }

    fn decide(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let is_refused = no_color.is_some_and(|value| !value.is_empty()) || term.is_some_and(|term| term == "dumb");
        Self { is_coloured: is_terminal && !is_refused }
    }
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attribute {
            Some(attribute) => write!(f, "\x1b[{attribute}m{}\x1b[0m", self.text),
            None => f.write_str(self.text),
        }
    }
}

/// Writes `text` to standard output, whole, with a line end if it has none.
///
/// # Errors
/// What the operating system says, a closed pipe included; unlike `println!` it does not panic.
pub fn write_output(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        output.write_all(b"\n")?;
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let decide = |is_terminal, no_color: Option<&str>, term: Option<&str>| {
            Paint::decide(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new)).is_coloured
        };
        assert!(decide(true, None, Some("xterm")));
        assert!(decide(true, Some(""), None));
        assert!(!decide(true, Some("1"), None));
        assert!(!decide(true, None, Some("dumb")));
        assert!(!decide(false, None, Some("xterm")));
    }

    #[test]
    fn plain_text_has_no_escapes() {
        assert_eq!(Paint::PLAIN.text(Tone::Bad, "error:").to_string(), "error:");
        assert_eq!(Paint { is_coloured: true }.text(Tone::Bad, "x").to_string(), "\x1b[31mx\x1b[0m");
    }
}
