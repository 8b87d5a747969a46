//! The arguments of a command as a tree, for `COMMAND DOCS`, the help of redis-cli and the reference page.

use std::fmt;

/// One argument, or a group of them.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Lower case with dashes; unique among its siblings.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: ArgumentKind,
    /// The word that comes before the value, or is the argument.
    pub token: Option<&'static str>,
    /// The version that added it, if later than its command.
    pub since: Option<&'static str>,
    /// May be left out.
    pub is_optional: bool,
    /// May be repeated.
    pub is_multiple: bool,
    /// When repeated, the token is repeated too.
    pub is_multiple_token: bool,
    /// Parts of a block, choices of a one-of.
    pub arguments: &'static [Argument],
}

/// What kind of value an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// Any bytes.
    String,
    /// A signed 64-bit integer.
    Integer,
    /// A double.
    Double,
    /// A key; the number is the index of its key specification.
    Key(u8),
    /// A glob pattern.
    Pattern,
    /// A point in time, integer, since the Unix epoch.
    UnixTime,
    /// Only a word.
    PureToken,
    /// One of its arguments.
    OneOf,
    /// All of its arguments, in order.
    Block,
}

impl ArgumentKind {
    /// The published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key(_) => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }
}

impl Argument {
    const fn new(name: &'static str, kind: ArgumentKind) -> Self {
        Self {
            name,
            kind,
            token: None,
            since: None,
            is_optional: false,
            is_multiple: false,
            is_multiple_token: false,
            arguments: &[],
        }
    }

    pub(super) const fn string(name: &'static str) -> Self {
        Self::new(name, ArgumentKind::String)
    }

    pub(super) const fn integer(name: &'static str) -> Self {
        Self::new(name, ArgumentKind::Integer)
    }

    pub(super) const fn double(name: &'static str) -> Self {
        Self::new(name, ArgumentKind::Double)
    }

    pub(super) const fn key(name: &'static str) -> Self {
        Self::new(name, ArgumentKind::Key(0))
    }

    pub(super) const fn pattern(name: &'static str) -> Self {
        Self::new(name, ArgumentKind::Pattern)
    }

    pub(super) const fn unix_time(name: &'static str) -> Self {
        Self::new(name, ArgumentKind::UnixTime)
    }

    pub(super) const fn word(name: &'static str, token: &'static str) -> Self {
        Self::new(name, ArgumentKind::PureToken).token(token)
    }

    pub(super) const fn one_of(name: &'static str, choices: &'static [Argument]) -> Self {
        let mut argument = Self::new(name, ArgumentKind::OneOf);
        argument.arguments = choices;
        argument
    }

    pub(super) const fn block(name: &'static str, parts: &'static [Argument]) -> Self {
        let mut argument = Self::new(name, ArgumentKind::Block);
        argument.arguments = parts;
        argument
    }

    pub(super) const fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    pub(super) const fn since(mut self, version: &'static str) -> Self {
        self.since = Some(version);
        self
    }

    pub(super) const fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    pub(super) const fn multiple(mut self) -> Self {
        self.is_multiple = true;
        self
    }

    pub(super) const fn multiple_token(mut self) -> Self {
        self.is_multiple = true;
        self.is_multiple_token = true;
        self
    }

    /// Writes the argument without brackets and repetition.
    fn write_once(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(token) = self.token {
            f.write_str(token)?;
            if self.kind == ArgumentKind::PureToken {
                return Ok(());
            }
            f.write_str(" ")?;
        }
        match self.kind {
            ArgumentKind::OneOf if self.is_optional && self.token.is_none() => write_list(f, self.arguments, " | "),
            ArgumentKind::OneOf => {
                f.write_str("<")?;
                write_list(f, self.arguments, " | ")?;
                f.write_str(">")
            }
            ArgumentKind::Block => write_list(f, self.arguments, " "),
            _ => f.write_str(self.name),
        }
    }
}

/// Writes the argument as a line of help shows it: `[EX seconds | PX milliseconds]`, `key [key ...]`.
impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_optional {
            f.write_str("[")?;
        }
        self.write_once(f)?;
        if self.is_multiple {
            f.write_str(" [")?;
            match (self.is_multiple_token, self.token, self.kind) {
                (false, Some(_), _) => f.write_str(self.name)?,
                _ => self.write_once(f)?,
            }
            f.write_str(" ...]")?;
        }
        if self.is_optional {
            f.write_str("]")?;
        }
        Ok(())
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, arguments: &[Argument], separator: &str) -> fmt::Result {
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{argument}")?;
    }
    Ok(())
}

/// The key of almost every command.
pub(super) const KEY: Argument = Argument::key("key");
