//! The text of a configuration file, and places in it.
//!
//! # Time and units
//! Lines and columns count from 1; a column is a character, as editors count them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::keys::{KEYS, Key, Kind};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the file, as it was given.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters of that line are meant, at least 1.
    pub len: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A file that has been read.
#[derive(Debug)]
pub struct SourceText {
    name: Arc<str>,
    text: String,
}

impl SourceText {
    /// Keeps `text`, which was read from `name`.
    #[must_use]
    pub fn new(name: &str, text: String) -> Self {
        Self { name: name.into(), text }
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the place of a range of bytes. A range beyond the end is at the end.
    ///
    /// Cost: O(length of the text); it is asked only for values and errors of a file that is small.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        let start = floor_boundary(&self.text, span.start);
        let end = floor_boundary(&self.text, span.end.max(start));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let marked = self.text[start..end].lines().next().unwrap_or_default();
        Place {
            file: Arc::clone(&self.name),
            line: before.matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            len: marked.chars().count().max(1),
        }
    }

    /// Returns the line of `place` with a mark below it. Shown whole are only section headers and lines of keys that
    /// are known and hold no password; of others, which may be a password behind a mistyped key, only the part before
    /// the equals sign. `None` if the place is not in what may be shown.
    #[must_use]
    pub fn excerpt(&self, place: &Place) -> Option<String> {
        let line = showable(self.text.lines().nth(place.line - 1)?)?;
        if place.column > line.chars().count() + 1 {
            return None;
        }
        // Control characters of a hostile file must not reach the terminal; each keeps its column.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let start = (place.column - 1).saturating_sub(EXCERPT_LEN_MAX / 2);
        let shown: String = line.chars().skip(start).take(EXCERPT_LEN_MAX).collect();
        let indent = place.column - 1 - start;
        let marks = place.len.min(shown.chars().count().saturating_sub(indent)).max(1);
        let (number, margin) = (place.line, " ".repeat(place.line.to_string().len()));
        Some(format!("{margin} |\n{number} | {shown}\n{margin} | {}{}", " ".repeat(indent), "^".repeat(marks)))
    }
}

/// Returns the part of a line that cannot hold a password.
fn showable(line: &str) -> Option<&str> {
    let Some((name, _)) = line.split_once('=') else {
        return line.trim_start().starts_with('[').then_some(line);
    };
    let is_public = |key: &Key| key.name == name.trim() && !matches!(key.kind, Kind::Secret { .. });
    if KEYS.iter().any(is_public) { Some(line) } else { Some(name.trim_end()) }
}

/// Returns the last start of a character at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

const EXCERPT_LEN_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = SourceText::new("a.toml", "ü = 1\n[é]\nkey = 2\n".to_owned());
        assert_eq!(source.place(0..2).to_string(), "a.toml:1:1");
        assert_eq!(source.place(5..6).to_string(), "a.toml:1:5");
        let place = source.place(12..15);
        assert_eq!((place.line, place.column, place.len), (3, 1, 3));
        assert_eq!(source.place(usize::MAX - 1..usize::MAX).to_string(), "a.toml:4:1");
        assert_eq!(source.place(1..1).column, 1, "inside a character is at its start");
    }

    #[test]
    fn an_excerpt_marks_the_place_without_control_characters() {
        let source = SourceText::new("a.toml", "id = \u{1b}1\n[nodes]\n".to_owned());
        assert_eq!(source.excerpt(&source.place(5..7)).as_deref(), Some("  |\n1 | id =  1\n  |      ^^"));
        assert_eq!(source.excerpt(&source.place(9..14)).as_deref(), Some("  |\n2 | [nodes]\n  |  ^^^^^"));
    }

    #[test]
    fn an_excerpt_shows_no_password() {
        let source = SourceText::new("a.toml", "requirepas = 'secret'\nrequirepass = 5\nsecret\n".to_owned());
        assert_eq!(source.excerpt(&source.place(0..10)).as_deref(), Some("  |\n1 | requirepas\n  | ^^^^^^^^^^"));
        assert_eq!(source.excerpt(&source.place(14..20)), None);
        assert_eq!(source.excerpt(&source.place(36..37)), None);
        assert_eq!(source.excerpt(&source.place(38..40)), None);
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let source = SourceText::new("a.toml", format!("id = {}", "1".repeat(100_000)));
        let excerpt = source.excerpt(&source.place(50_000..60_000)).expect("in the text");
        assert!(excerpt.len() < 400 && excerpt.contains('^'));
    }
}
