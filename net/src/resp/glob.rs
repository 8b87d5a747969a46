//! Patterns for `KEYS`, `SCAN MATCH`, `PSUBSCRIBE` and `CONFIG GET`.
//!
//! `*` any bytes, `?` one byte, `[abc]` `[a-z]` `[^a]` one byte of a class, `\x` the byte x itself. Everything works on bytes.
//!
//! A mismatch goes back only to the last `*`: what an earlier one could have taken, the later one can take too. So matching
//! costs O(pattern × text) at worst and a hostile pattern cannot make it exponential, as trying every `*` in turn would.
//!
//! # Source
//! The behaviour of Redis' `stringmatchlen`, its corners included: a class that is not closed ends with the pattern,
//! a range takes the byte after the dash whatever it is, a backslash at the end stands for itself.

/// Whether all of `text` matches `pattern`.
///
/// ```
/// use quorate::resp::glob;
///
/// assert!(glob::matches(b"px:[A-C]*", b"px:BTCUSDT"));
/// assert!(!glob::matches(b"px:[^B]*", b"px:BTCUSDT"));
/// ```
///
/// Cost: O(pattern × text) at worst, O(text) without `*`; no allocation.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    walk(pattern, text, |byte| byte)
}

/// Whether all of `text` matches `pattern` when the case of ASCII letters does not count.
#[must_use]
pub fn matches_in_any_case(pattern: &[u8], text: &[u8]) -> bool {
    walk(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// Whether the pattern has a byte with a meaning of its own; without one it matches only itself.
#[must_use]
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

fn walk(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let mut at = 0;
    let mut read = 0;
    // Where to go on after a mismatch: behind the last `*`, which then takes one byte more.
    let mut retry: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, read));
            continue;
        }
        if let Some(next) = step(pattern, at, text[read], fold) {
            at = next;
            read += 1;
            continue;
        }
        let Some((after_star, taken)) = retry else {
            return false;
        };
        at = after_star;
        read = taken + 1;
        retry = Some((after_star, read));
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Matches one byte against what stands at `at`, which is not a star; returns where the pattern goes on.
fn step(pattern: &[u8], at: usize, byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    let (is_match, next) = match *pattern.get(at)? {
        b'?' => (true, at + 1),
        b'[' => class(pattern, at + 1, byte, fold),
        b'\\' if at + 1 < pattern.len() => (fold(pattern[at + 1]) == fold(byte), at + 2),
        literal => (fold(literal) == fold(byte), at + 1),
    };
    is_match.then_some(next)
}

/// Matches one byte against the class whose first byte, after the bracket, is at `start`.
fn class(pattern: &[u8], start: usize, byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> (bool, usize) {
    let is_negated = pattern.get(start) == Some(&b'^');
    let mut at = start + usize::from(is_negated);
    let mut is_member = false;
    let next = loop {
        match pattern[at..] {
            [] => break at,
            [b'\\', escaped, ..] => {
                is_member |= fold(escaped) == fold(byte);
                at += 2;
            }
            [b']', ..] => break at + 1,
            [from, b'-', to, ..] => {
                let (from, to) = (fold(from), fold(to));
                is_member |= (from.min(to)..=from.max(to)).contains(&fold(byte));
                at += 3;
            }
            [literal, ..] => {
                is_member |= fold(literal) == fold(byte);
                at += 1;
            }
        }
    };
    (is_member != is_negated, next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition itself: every star tried with every length. Exponential, for short inputs only.
    fn matches_by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| matches_by_definition(rest, &text[taken..])),
            (_, []) => false,
            (_, [byte, rest @ ..]) => {
                step(pattern, 0, *byte, |b| b).is_some_and(|next| matches_by_definition(&pattern[next..], rest))
            }
        }
    }

    #[test]
    fn patterns_of_the_documentation_match() {
        for (pattern, yes, no) in [
            ("h?llo", "hello hallo hxllo", "hllo heello"),
            ("h*llo", "hllo heeeello", "hell"),
            ("h[ae]llo", "hello hallo", "hillo"),
            ("h[^e]llo", "hallo hbllo", "hello"),
            ("h[a-b]llo", "hallo hbllo", "hcllo"),
            ("h[b-a]llo", "hallo hbllo", "hcllo"),
            ("a\\*b", "a*b", "axb"),
            ("a[\\]]b", "a]b", "a\\b"),
            ("[-a]x", "-x ax", "bx"),
            ("*.px:*", "a.px: .px:b", "px:"),
            ("a\\", "a\\", "a"),
            ("[abc", "a b c", "d"),
            ("[^", "a b", "ab"),
            ("[a-]z", "ay]z", ""),
        ] {
            for text in yes.split(' ').filter(|_| pattern != "[a-]z") {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
            for text in no.split(' ') {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
        }
        assert!(matches(b"*", b"") && matches(b"**", b"x") && matches(b"", b"") && !matches(b"", b"x"));
        assert!(matches_in_any_case(b"MaxMemory*", b"maxmemory-policy"));
        assert!(!matches(b"MaxMemory", b"maxmemory"));
        assert!(is_literal(b"px:a-b^") && !is_literal(b"px:?"));
    }

    #[test]
    fn hostile_pattern_is_not_exponential() {
        let pattern = b"*a".repeat(100);
        let text = vec![b'a'; 99];
        assert!(!matches(&pattern, &text));
        let pattern = [b"*a".repeat(50), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &vec![b'a'; 20_000]));
    }

    proptest! {
        #[test]
        fn going_back_to_the_last_star_is_enough(pattern in "[ab*?\\[\\]^\\\\-]{0,10}", text in "[ab\\]^-]{0,8}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                matches_by_definition(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn any_bytes_are_answered(pattern in any::<Vec<u8>>(), text in any::<Vec<u8>>()) {
            let _ = matches(&pattern, &text);
            let _ = matches_in_any_case(&pattern, &text);
        }

        #[test]
        fn escaped_text_matches_only_itself(text in any::<Vec<u8>>(), other in any::<Vec<u8>>()) {
            let pattern: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
            prop_assert!(matches(&pattern, &text));
            prop_assert_eq!(matches(&pattern, &other), text == other);
        }
    }
}
