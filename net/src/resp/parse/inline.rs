//! Splits an inline request, as a person types it, into arguments.
//!
//! Words are separated by white space. A word may hold parts in double quotes (`\n \r \t \b \a \xHH`, any other escaped byte is
//! itself) or in single quotes (only `\'`); a closing quote ends the word.
//!
//! # Source
//! The behaviour of `sdssplitargs` in Redis, which redis-cli uses for its own prompt too. Different: a zero byte is an ordinary byte.

use super::{ProtocolError, offset};

/// Splits a line that holds no quote: the arguments stay where they are.
pub(super) fn split_plain(line: &[u8], ranges: &mut Vec<(u32, u32)>) {
    let mut at = 0;
    while let Some(start) = next_word(line, at) {
        let end = line[start..].iter().position(|&byte| is_space(byte)).map_or(line.len(), |length| start + length);
        ranges.push((offset(start), offset(end)));
        at = end;
    }
}

/// Splits a line with quotes: the arguments are written to `out`, and `ranges` point there.
///
/// # Errors
/// [`ProtocolError::UnbalancedQuotes`] if a quote is not closed, or is closed in the middle of a word.
pub(super) fn split_quoted(line: &[u8], out: &mut Vec<u8>, ranges: &mut Vec<(u32, u32)>) -> Result<(), ProtocolError> {
    let mut at = 0;
    while let Some(start) = next_word(line, at) {
        let first = out.len();
        at = unquote_word(line, start, out)?;
        ranges.push((offset(first), offset(out.len())));
    }
    Ok(())
}

/// Copies one word without its quotes; returns where it ends.
fn unquote_word(line: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    let mut at = start;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' | b'\'' => {
                let end = if byte == b'"' { copy_double(line, at + 1, out) } else { copy_single(line, at + 1, out) };
                let end = end.ok_or(ProtocolError::UnbalancedQuotes)?;
                return match line.get(end) {
                    Some(&next) if !is_space(next) => Err(ProtocolError::UnbalancedQuotes),
                    _ => Ok(end),
                };
            }
            _ if is_space(byte) => break,
            _ => out.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

/// Copies up to the closing double quote; returns the place after it, `None` without one.
fn copy_double(line: &[u8], start: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut at = start;
    loop {
        match *line.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match (line.get(at + 1), line.get(at + 2), line.get(at + 3)) {
                (Some(b'x'), Some(&high), Some(&low)) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push(hex(high) << 4 | hex(low));
                    at += 4;
                }
                (Some(&escaped), _, _) => {
                    out.push(unescape(escaped));
                    at += 2;
                }
                (None, _, _) => return None,
            },
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// Copies up to the closing single quote; returns the place after it, `None` without one.
fn copy_single(line: &[u8], start: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut at = start;
    loop {
        match *line.get(at)? {
            b'\'' => return Some(at + 1),
            b'\\' if line.get(at + 1) == Some(&b'\'') => {
                out.push(b'\'');
                at += 2;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn next_word(line: &[u8], at: usize) -> Option<usize> {
    line[at..].iter().position(|&byte| !is_space(byte)).map(|skipped| at + skipped)
}

/// White space as C has it; unlike `is_ascii_whitespace` with the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// The value of a digit that `is_ascii_hexdigit` has accepted.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
