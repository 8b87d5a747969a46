//! Text with columns in it: `tick:{update_id}`.
//!
//! `{name}` stands for a column, `{name?}` for a column that a row may lack, `{{` and `}}` for braces. A text without
//! braces that looks like a name is the name of a column, so that `--key update_id` does what it says; any other text
//! is written as it stands, in every row the same.

use super::error::TemplateProblem;

/// A template that has been read, with columns by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Written as it stands.
    Literal(String),
    /// Replaced by a column.
    Column {
        /// Its name.
        name: String,
        /// Whether a row without it makes nothing of it; otherwise such a row is refused.
        is_optional: bool,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong, and at which character, from 1.
    pub fn parse(text: &str) -> Result<Self, (usize, TemplateProblem)> {
        if text.is_empty() {
            return Err((1, TemplateProblem::Empty));
        }
        if is_name(text) {
            let column = Part::Column { name: text.to_owned(), is_optional: false };
            return Ok(Self { text: format!("{{{text}}}"), parts: vec![column] });
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut characters = text.chars().enumerate().peekable();
        while let Some((index, character)) = characters.next() {
            let is_doubled = characters.peek().is_some_and(|(_, next)| *next == character);
            match character {
                '{' | '}' if is_doubled => {
                    characters.next();
                    literal.push(character);
                }
                '{' => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    let name: String = characters.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    let is_closed = text.chars().nth(index + 1 + name.chars().count()).is_some();
                    parts.push(column(index, &name, is_closed)?);
                }
                '}' => return Err((index + 1, TemplateProblem::Unopened)),
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Returns the template as it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns its pieces, in order; at least one.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

fn column(index: usize, name: &str, is_closed: bool) -> Result<Part, (usize, TemplateProblem)> {
    if !is_closed || name.contains('{') {
        return Err((index + 1, TemplateProblem::Unclosed));
    }
    let (name, is_optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    if name.is_empty() {
        return Err((index + 2, TemplateProblem::NoName));
    }
    Ok(Part::Column { name: name.to_owned(), is_optional })
}

/// Whether a text without braces is meant as the name of a column.
fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> Part {
        Part::Column { name: name.to_owned(), is_optional: false }
    }

    fn literal(text: &str) -> Part {
        Part::Literal(text.to_owned())
    }

    #[test]
    fn templates_are_literals_and_columns() {
        let parts = |text: &str| Template::parse(text).expect("a template").parts;
        assert_eq!(parts("tick:{update_id}"), [literal("tick:"), column("update_id")]);
        assert_eq!(parts("{bid},{ask}"), [column("bid"), literal(","), column("ask")]);
        assert_eq!(parts("update_id"), [column("update_id")]);
        assert_eq!(parts("data.u"), [column("data.u")]);
        assert_eq!(parts("px:BTCUSDT"), [literal("px:BTCUSDT")]);
        assert_eq!(parts("{{{a b}}}"), [literal("{"), column("a b"), literal("}")]);
        assert_eq!(parts("é{ü?}"), [literal("é"), Part::Column { name: "ü".to_owned(), is_optional: true }]);
    }

    #[test]
    fn a_broken_template_says_where() {
        let problem = |text: &str| Template::parse(text).expect_err("broken");
        assert_eq!(problem(""), (1, TemplateProblem::Empty));
        assert_eq!(problem("a:{b"), (3, TemplateProblem::Unclosed));
        assert_eq!(problem("a:{"), (3, TemplateProblem::Unclosed));
        assert_eq!(problem("a:{b{c}"), (3, TemplateProblem::Unclosed));
        assert_eq!(problem("a}:b"), (2, TemplateProblem::Unopened));
        assert_eq!(problem("a:{}"), (4, TemplateProblem::NoName));
        assert_eq!(problem("é:{?}"), (4, TemplateProblem::NoName));
    }
}
