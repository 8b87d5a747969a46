//! From what was written to a value of a key's type and range.
//!
//! The file has types of its own (a quoted string is no number), the environment and the flags have none; [`Raw`] is
//! what all three have in common. Everything in it is hostile until [`Value::read`] returns `Ok`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::keys::Kind;
use super::nearest::nearest;
use super::types::{CpuPlan, Endpoint, Secret};
use super::units::{format_size, format_span, parse_size, parse_span};

/// What was written, before anyone asked what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A quoted string of the file.
    Text(String),
    /// Text without a type, from the environment or a flag: what it is depends on the key.
    Bare(String),
    /// A whole number of the file; `None` if not even 128 bits hold it.
    Integer(Option<i128>),
    /// `true` or `false` in the file.
    Boolean(bool),
    /// An array of the file.
    List(Vec<Self>),
    /// Something that no key takes, by name: `a float`, `a date`, `a table`.
    Other(&'static str),
}

/// A value that fits its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// [`Kind::Name`].
    Name(String),
    /// [`Kind::Secret`].
    Secret(Secret),
    /// [`Kind::Count`].
    Count(u64),
    /// [`Kind::Size`], in bytes.
    Size(u64),
    /// [`Kind::Span`].
    Span(Duration),
    /// [`Kind::Flag`].
    Flag(bool),
    /// [`Kind::Choice`].
    Word(&'static str),
    /// [`Kind::Address`].
    Address(SocketAddr),
    /// [`Kind::Ip`].
    Ip(IpAddr),
    /// [`Kind::Endpoint`].
    Endpoint(Endpoint),
    /// [`Kind::Path`].
    Path(PathBuf),
    /// [`Kind::Cpus`].
    Cpus(CpuPlan),
}

/// Why what was written is no value of its key. The text follows the name of the key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueProblem {
    /// A number where a string belongs, and the like.
    #[error("is {found}; expected {expected}")]
    WrongType {
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: String,
    },
    /// The right type, outside its range.
    #[error("is {found}; allowed is {min} to {max}")]
    OutOfRange {
        /// What was written.
        found: String,
        /// The least, inclusive.
        min: String,
        /// The most, inclusive.
        max: String,
    },
    /// The right type, but it cannot be read.
    #[error("is {found:?}; expected {expected}")]
    Malformed {
        /// What was written, cut to a readable length.
        found: String,
        /// What it should look like.
        expected: String,
    },
    /// A word that is not among those allowed.
    #[error("is {found:?}; allowed is {allowed}{}", did_you_mean(.nearest.as_deref()))]
    NotAWord {
        /// What was written, cut to a readable length.
        found: String,
        /// The words.
        allowed: String,
        /// The word that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A word of a part that does not exist yet.
    #[error("is {word:?}, which is not built yet; use {instead:?}")]
    NotBuilt {
        /// The word.
        word: &'static str,
        /// What to write today.
        instead: &'static str,
    },
    /// The list of CPUs names one of them twice.
    #[error("names CPU {cpu} twice; each thread needs a CPU of its own")]
    CpuTwice {
        /// The CPU.
        cpu: u16,
    },
}

impl Value {
    /// Reads `raw` as a value of `kind`.
    ///
    /// # Errors
    /// [`ValueProblem`]: wrong type, out of range, unreadable, unknown word, not built yet.
    pub fn read(kind: Kind, raw: &Raw) -> Result<Self, ValueProblem> {
        match kind {
            Kind::Name { len_max } => read_name(text(kind, raw)?, len_max).map(Self::Name),
            Kind::Secret { bytes_max } => read_secret(text(kind, raw)?, bytes_max).map(Self::Secret),
            Kind::Count { min, max } => Ok(Self::Count(read_count(kind, raw, min, max)?)),
            Kind::Size { min, max } => Ok(Self::Size(read_size(kind, raw, min, max)?)),
            Kind::Span { min, max } => Ok(Self::Span(read_span(kind, raw, min, max)?)),
            Kind::Flag => Ok(Self::Flag(read_flag(kind, raw)?)),
            Kind::Choice { words, later } => Ok(Self::Word(read_word(text(kind, raw)?, words, later)?)),
            Kind::Address => Ok(Self::Address(read_address(kind, text(kind, raw)?)?)),
            Kind::Ip => {
                let text = text(kind, raw)?;
                let ip = text.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast());
                ip.map(Self::Ip).ok_or_else(|| malformed(kind, text))
            }
            Kind::Endpoint => {
                let text = text(kind, raw)?;
                Endpoint::parse(text).map(Self::Endpoint).ok_or_else(|| malformed(kind, text))
            }
            Kind::Path { bytes_max } => Ok(Self::Path(read_path(kind, text(kind, raw)?, bytes_max)?)),
            Kind::Cpus { count_max } => Ok(Self::Cpus(read_cpus(kind, raw, count_max)?)),
        }
    }

    /// Writes the value as it stands in the file; a secret is never written.
    #[must_use]
    pub fn to_toml(&self) -> String {
        match self {
            Self::Secret(_) => quoted("(hidden)"),
            Self::Name(text) => quoted(text),
            Self::Word(word) => quoted(word),
            Self::Path(path) => quoted(&path.to_string_lossy()),
            Self::Size(bytes) => quoted(&format_size(*bytes)),
            Self::Span(span) => quoted(&format_span(*span)),
            Self::Address(address) => quoted(&address.to_string()),
            Self::Ip(ip) => quoted(&ip.to_string()),
            Self::Endpoint(endpoint) => quoted(&endpoint.to_string()),
            Self::Count(count) => count.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Cpus(plan) => plan.to_string(),
        }
    }

    /// Writes the value for a program: sizes in bytes, durations in nanoseconds, a secret as whether it is set.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Secret(_) => "(hidden)".into(),
            Self::Name(text) => text.as_str().into(),
            Self::Word(word) => (*word).into(),
            Self::Path(path) => path.to_string_lossy().into(),
            Self::Count(number) | Self::Size(number) => (*number).into(),
            Self::Span(span) => u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).into(),
            Self::Address(address) => address.to_string().into(),
            Self::Ip(ip) => ip.to_string().into(),
            Self::Endpoint(endpoint) => endpoint.to_string().into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Cpus(CpuPlan::Count(count)) => (*count).into(),
            Self::Cpus(CpuPlan::Pinned(cpus)) => cpus.clone().into(),
        }
    }
}

impl Kind {
    /// Says in words what a key of this kind takes.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Name { len_max } => format!("1 to {len_max} letters, digits, '.', '_' or '-', in quotes"),
            Self::Secret { bytes_max } => format!("a password of 1 to {bytes_max} bytes, in quotes"),
            Self::Count { min, max } => format!("a whole number, {min} to {max}"),
            Self::Size { min, max } => {
                format!("a size like \"64 MiB\", {} to {}", format_size(*min), format_size(*max))
            }
            Self::Span { min, max } => {
                format!("a duration like \"100 ms\", {} to {}", format_span(*min), format_span(*max))
            }
            Self::Flag => "true or false".to_owned(),
            Self::Choice { words, .. } => listed(words),
            Self::Address => format!("IP:PORT like \"127.0.0.1:7400\", ports 1 to {}", u16::MAX),
            Self::Ip => String::from("an IP address like \"10.0.0.4\" that others can connect to"),
            Self::Endpoint => format!("HOST:PORT like \"127.0.0.1:7620\" or \"node2:7600\", ports 1 to {}", u16::MAX),
            Self::Path { bytes_max } => format!("a path of 1 to {bytes_max} bytes, in quotes"),
            Self::Cpus { count_max } => {
                format!("how many CPUs, 1 to {count_max}, or a list of CPU numbers like [2, 3]")
            }
        }
    }
}

fn text(kind: Kind, raw: &Raw) -> Result<&str, ValueProblem> {
    match raw {
        Raw::Text(text) | Raw::Bare(text) => Ok(text),
        Raw::Integer(_) | Raw::Boolean(_) | Raw::List(_) | Raw::Other(_) => Err(wrong_type(kind, raw)),
    }
}

fn read_name(text: &str, len_max: usize) -> Result<String, ValueProblem> {
    let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if is_name && (1..=len_max).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(malformed(Kind::Name { len_max }, text))
}

fn read_secret(text: &str, bytes_max: usize) -> Result<Secret, ValueProblem> {
    if (1..=bytes_max).contains(&text.len()) {
        return Ok(Secret::new(text));
    }
    let found = format!("{} bytes long", text.len());
    Err(ValueProblem::OutOfRange { found, min: "1".to_owned(), max: bytes_max.to_string() })
}

fn read_count(kind: Kind, raw: &Raw, min: u64, max: u64) -> Result<u64, ValueProblem> {
    let number = match raw {
        Raw::Integer(number) => *number,
        Raw::Bare(text) if is_digits(text) => text.parse().ok(),
        Raw::Bare(text) => return Err(malformed(kind, text)),
        Raw::Text(_) | Raw::Boolean(_) | Raw::List(_) | Raw::Other(_) => return Err(wrong_type(kind, raw)),
    };
    in_range(number, min, max, |bound| bound.to_string())
}

fn read_size(kind: Kind, raw: &Raw, min: u64, max: u64) -> Result<u64, ValueProblem> {
    let number = match raw {
        Raw::Integer(number) => *number,
        Raw::Text(text) | Raw::Bare(text) => Some(parse_size(text).ok_or_else(|| malformed(kind, text))?.into()),
        Raw::Boolean(_) | Raw::List(_) | Raw::Other(_) => return Err(wrong_type(kind, raw)),
    };
    in_range(number, min, max, format_size)
}

fn read_span(kind: Kind, raw: &Raw, min: Duration, max: Duration) -> Result<Duration, ValueProblem> {
    let text = text(kind, raw)?;
    let span = parse_span(text).ok_or_else(|| malformed(kind, text))?;
    if (min..=max).contains(&span) {
        return Ok(span);
    }
    Err(ValueProblem::OutOfRange { found: format_span(span), min: format_span(min), max: format_span(max) })
}

fn read_flag(kind: Kind, raw: &Raw) -> Result<bool, ValueProblem> {
    match raw {
        Raw::Boolean(flag) => Ok(*flag),
        Raw::Bare(text) => match text.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(malformed(kind, text)),
        },
        Raw::Text(_) | Raw::Integer(_) | Raw::List(_) | Raw::Other(_) => Err(wrong_type(kind, raw)),
    }
}

fn read_word(
    text: &str,
    words: &'static [&'static str],
    later: &'static [(&'static str, &'static str)],
) -> Result<&'static str, ValueProblem> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
    }
    if let Some((word, instead)) = later.iter().find(|(word, _)| *word == text) {
        return Err(ValueProblem::NotBuilt { word, instead });
    }
    let nearest = nearest(text, words.iter().copied());
    Err(ValueProblem::NotAWord { found: cut(text), allowed: listed(words), nearest })
}

fn read_address(kind: Kind, text: &str) -> Result<SocketAddr, ValueProblem> {
    // The one name that means the same address everywhere.
    let address = match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        None => text.parse().ok(),
    };
    // A port of the system's choice would leave no port for base + 1 + CPU, and nobody could be told.
    address.filter(|address| address.port() != 0).ok_or_else(|| malformed(kind, text))
}

fn read_path(kind: Kind, text: &str, bytes_max: usize) -> Result<PathBuf, ValueProblem> {
    if (1..=bytes_max).contains(&text.len()) && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    Err(malformed(kind, text))
}

fn read_cpus(kind: Kind, raw: &Raw, count_max: usize) -> Result<CpuPlan, ValueProblem> {
    let max = u64::try_from(count_max).expect("a number of CPUs fits 64 bits");
    let numbers: Vec<Raw> = match raw {
        Raw::List(list) => list.clone(),
        Raw::Bare(text) if text.contains([',', '[']) => {
            let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
            inner.split(',').map(|number| Raw::Bare(number.trim().to_owned())).collect()
        }
        Raw::Integer(_) | Raw::Bare(_) => {
            let count = in_range(whole(kind, raw)?, 1, max, |bound| bound.to_string())?;
            return Ok(CpuPlan::Count(u16::try_from(count).expect("checked to be at most CPUS_MAX")));
        }
        Raw::Text(_) | Raw::Boolean(_) | Raw::Other(_) => return Err(wrong_type(kind, raw)),
    };
    if !(1..=count_max).contains(&numbers.len()) {
        let found = format!("a list of {}", numbers.len());
        return Err(ValueProblem::OutOfRange { found, min: "1".to_owned(), max: count_max.to_string() });
    }
    let mut cpus = Vec::with_capacity(numbers.len());
    for number in &numbers {
        let cpu = in_range(whole(kind, number)?, 0, CPU_NUMBER_MAX, |bound| bound.to_string())?;
        let cpu = u16::try_from(cpu).expect("checked to be at most CPU_NUMBER_MAX");
        if cpus.contains(&cpu) {
            return Err(ValueProblem::CpuTwice { cpu });
        }
        cpus.push(cpu);
    }
    Ok(CpuPlan::Pinned(cpus))
}

/// Returns a whole number of the file or of a flag, `None` when it is too large for any range.
fn whole(kind: Kind, raw: &Raw) -> Result<Option<i128>, ValueProblem> {
    match raw {
        Raw::Integer(number) => Ok(*number),
        Raw::Bare(text) if is_digits(text) => Ok(text.parse().ok()),
        Raw::Bare(text) => Err(malformed(kind, text)),
        Raw::Text(_) | Raw::Boolean(_) | Raw::List(_) | Raw::Other(_) => Err(wrong_type(kind, raw)),
    }
}

fn in_range(number: Option<i128>, min: u64, max: u64, write: fn(u64) -> String) -> Result<u64, ValueProblem> {
    match number.and_then(|number| u64::try_from(number).ok()) {
        Some(value) if (min..=max).contains(&value) => Ok(value),
        Some(value) => Err(ValueProblem::OutOfRange { found: write(value), min: write(min), max: write(max) }),
        None => {
            let found = number.map_or_else(|| "a number beyond 128 bits".to_owned(), |number| number.to_string());
            Err(ValueProblem::OutOfRange { found, min: write(min), max: write(max) })
        }
    }
}

fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn malformed(kind: Kind, text: &str) -> ValueProblem {
    ValueProblem::Malformed { found: cut(text), expected: kind.expected() }
}

fn wrong_type(kind: Kind, raw: &Raw) -> ValueProblem {
    let found = match raw {
        Raw::Text(_) | Raw::Bare(_) => "a string",
        Raw::Integer(_) => "a number",
        Raw::Boolean(_) => "true or false",
        Raw::List(_) => "a list",
        Raw::Other(name) => name,
    };
    ValueProblem::WrongType { found, expected: kind.expected() }
}

/// Writes a string of the file. Only quotes, backslashes and control characters need help.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Returns ` "a", "b" or "c"`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [word] => format!("{word:?}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("{word:?}")).collect();
            format!("{} or {last:?}", first.join(", "))
        }
    }
}

/// Cuts hostile text to what an error message can show.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(FOUND_LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes the suggestion behind a message, or nothing.
pub(super) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// The most characters of hostile text in one message.
const FOUND_LEN_MAX: usize = 60;

/// The highest CPU number that the kernel's fixed-size CPU set can hold.
const CPU_NUMBER_MAX: u64 = 1023;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: Kind, raw: Raw) -> String {
        Value::read(kind, &raw).expect_err("refused").to_string()
    }

    #[test]
    fn numbers_are_checked_for_type_and_range() {
        let kind = Kind::Count { min: 1, max: 7 };
        assert_eq!(Value::read(kind, &Raw::Integer(Some(7))), Ok(Value::Count(7)));
        assert_eq!(problem(kind, Raw::Integer(Some(8))), "is 8; allowed is 1 to 7");
        assert_eq!(problem(kind, Raw::Integer(Some(-3))), "is -3; allowed is 1 to 7");
        assert_eq!(problem(kind, Raw::Integer(None)), "is a number beyond 128 bits; allowed is 1 to 7");
        assert_eq!(problem(kind, Raw::Text("3".into())), "is a string; expected a whole number, 1 to 7");
        assert_eq!(problem(kind, Raw::Bare("three".into())), "is \"three\"; expected a whole number, 1 to 7");
        assert_eq!(problem(kind, Raw::Other("a float")), "is a float; expected a whole number, 1 to 7");
    }

    #[test]
    fn sizes_and_durations_show_their_range_with_units() {
        let size = Kind::Size { min: 1 << 20, max: 1 << 40 };
        assert_eq!(Value::read(size, &Raw::Integer(Some(1 << 21))), Ok(Value::Size(1 << 21)));
        assert_eq!(problem(size, Raw::Text("1 KiB".into())), "is 1 KiB; allowed is 1 MiB to 1 TiB");
        assert_eq!(
            problem(size, Raw::Text("1 Gb".into())),
            "is \"1 Gb\"; expected a size like \"64 MiB\", 1 MiB to 1 TiB"
        );
        let span = Kind::Span { min: Duration::from_millis(10), max: Duration::from_secs(10) };
        assert_eq!(
            problem(span, Raw::Integer(Some(100))),
            "is a number; expected a duration like \"100 ms\", 10 ms to 10 s"
        );
        assert_eq!(problem(span, Raw::Text("1 h".into())), "is 1 h; allowed is 10 ms to 10 s");
    }

    #[test]
    fn words_are_suggested_and_unbuilt_ones_named() {
        let kind = Kind::Choice { words: &["memory"], later: &[("sync", "memory")] };
        assert_eq!(
            problem(kind, Raw::Text("memroy".into())),
            "is \"memroy\"; allowed is \"memory\"; did you mean `memory`?"
        );
        assert_eq!(problem(kind, Raw::Text("sync".into())), "is \"sync\", which is not built yet; use \"memory\"");
        assert_eq!(problem(kind, Raw::Text("\u{1b}[2J".into())), "is \"\\u{1b}[2J\"; allowed is \"memory\"");
    }

    #[test]
    fn a_count_of_cpus_never_pins_and_a_list_does() {
        let kind = Kind::Cpus { count_max: 16 };
        let pinned = |cpus: &[u16]| Ok(Value::Cpus(CpuPlan::Pinned(cpus.to_vec())));
        assert_eq!(Value::read(kind, &Raw::Integer(Some(2))), Ok(Value::Cpus(CpuPlan::Count(2))));
        assert_eq!(Value::read(kind, &Raw::Bare("2".into())), Ok(Value::Cpus(CpuPlan::Count(2))));
        assert_eq!(Value::read(kind, &Raw::Bare("2,3".into())), pinned(&[2, 3]));
        assert_eq!(Value::read(kind, &Raw::Bare("[5]".into())), pinned(&[5]));
        assert_eq!(Value::read(kind, &Raw::List(vec![Raw::Integer(Some(0))])), pinned(&[0]));
        assert_eq!(problem(kind, Raw::Integer(Some(17))), "is 17; allowed is 1 to 16");
        assert_eq!(problem(kind, Raw::List(vec![])), "is a list of 0; allowed is 1 to 16");
        assert_eq!(problem(kind, Raw::Bare("1,1".into())), "names CPU 1 twice; each thread needs a CPU of its own");
        assert_eq!(problem(kind, Raw::Bare("1024,".into())), "is 1024; allowed is 0 to 1023");
    }

    #[test]
    fn passwords_are_bounded_and_never_repeated_in_the_message() {
        let kind = Kind::Secret { bytes_max: 4 };
        assert_eq!(problem(kind, Raw::Text(String::new())), "is 0 bytes long; allowed is 1 to 4");
        assert_eq!(problem(kind, Raw::Text("hunter2".into())), "is 7 bytes long; allowed is 1 to 4");
    }

    #[test]
    fn addresses_need_a_port() {
        assert_eq!(
            Value::read(Kind::Address, &Raw::Text("localhost:7400".into())),
            Ok(Value::Address(SocketAddr::from(([127, 0, 0, 1], 7400))))
        );
        for text in ["127.0.0.1", "127.0.0.1:0", "node:1", "127.0.0.1:70000"] {
            assert!(problem(Kind::Address, Raw::Text(text.into())).contains("expected IP:PORT"), "{text}");
        }
    }

    #[test]
    fn long_text_is_cut_in_messages() {
        let text = problem(Kind::Endpoint, Raw::Text("é".repeat(10_000)));
        assert!(text.chars().count() < 200, "{text}");
    }
}
