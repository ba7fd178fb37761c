// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a scenario. README.md beside this crate explains the format.

use crate::{Action, Header, Order, Scenario, Status, Step};
use std::fmt;

/// A line that is not right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Line of the file, from 1.
    pub line: usize,
    /// What would be right.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl std::error::Error for Mistake {}

/// The scenario that `text` describes.
///
/// # Errors
/// The first line that is not right.
pub fn parse(text: &str) -> Result<Scenario, Mistake> {
    let mut reader = Reader { header: Header::default(), steps: Vec::new(), open: Open::Header };
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        reader.line(number, line).map_err(|text| Mistake { line: number, text })?;
    }
    if reader.steps.is_empty() {
        return Err(Mistake { line: 1, text: "a scenario has at least one step".to_owned() });
    }
    Ok(Scenario { header: reader.header, steps: reader.steps })
}

/// What the next line may continue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Header,
    /// A command: more of it, or what it prints.
    Command,
    /// What a command prints.
    Output,
    Nothing,
}

struct Reader {
    header: Header,
    steps: Vec<Step>,
    open: Open,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.starts_with('#') {
            return Ok(());
        }
        if line.is_empty() {
            if self.open != Open::Header {
                self.open = Open::Nothing;
            }
            return Ok(());
        }
        let (mark, rest) = match line.split_once(' ') {
            Some((mark, rest)) => (mark, rest),
            None => (line, ""),
        };
        match mark {
            "$" => self.begin(number, command(rest), Open::Command),
            "=" => self.begin(number, Action::AsOnLinux { text: rest.to_owned() }, Open::Command),
            "@" => self.begin(number, directive(rest)?, Open::Nothing),
            ">" => self.more(rest),
            "?" => self.status(rest),
            _ if self.open == Open::Header => self.header_line(line),
            _ => self.output(line),
        }
    }

    fn begin(&mut self, line: usize, action: Action, open: Open) -> Result<(), String> {
        self.steps.push(Step { line, action });
        self.open = open;
        Ok(())
    }

    fn header_line(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line
            .split_once(':')
            .ok_or("a header's line is `key: value`, and a step begins with $, = or @")?;
        self.header.set(key.trim(), value.trim())
    }

    fn more(&mut self, rest: &str) -> Result<(), String> {
        let action = self.steps.last_mut().map(|step| &mut step.action);
        match (self.open, action) {
            (Open::Command, Some(Action::Command { text, .. } | Action::AsOnLinux { text })) => {
                text.push('\n');
                text.push_str(rest);
                Ok(())
            }
            _ => Err("`>` continues a command: it follows `$`, `=` or another `>`".to_owned()),
        }
    }

    fn status(&mut self, rest: &str) -> Result<(), String> {
        let action = self.steps.last_mut().map(|step| &mut step.action);
        let (Open::Command | Open::Output, Some(Action::Command { status, .. })) =
            (self.open, action)
        else {
            return Err("`?` says how the command of a `$` ends, and follows it".to_owned());
        };
        *status = match rest {
            "any" => Status::Any,
            "failure" => Status::Failure,
            number => {
                Status::Is(number.parse().map_err(|_| "`?` takes 0 to 255, `failure` or `any`")?)
            }
        };
        self.open = Open::Nothing;
        Ok(())
    }

    fn output(&mut self, line: &str) -> Result<(), String> {
        let action = self.steps.last_mut().map(|step| &mut step.action);
        let (Open::Command | Open::Output, Some(Action::Command { output, .. })) =
            (self.open, action)
        else {
            return Err("what a command prints follows its `$`, without an empty line between \
                        (an empty line it prints is written as \\)"
                .to_owned());
        };
        output.push(line.strip_prefix('\\').unwrap_or(line).to_owned());
        self.open = Open::Output;
        Ok(())
    }
}

fn command(text: &str) -> Action {
    Action::Command { text: text.to_owned(), output: Vec::new(), status: Status::Is(0) }
}

fn directive(text: &str) -> Result<Action, String> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    match verb {
        "type" => {
            let (node, bytes) = node_and_text(rest)?;
            Ok(Action::Type { node, bytes })
        }
        "wait" => {
            let (node, text) = node_and_text(rest)?;
            Ok(Action::Wait { node, text })
        }
        "disturb" => {
            let numbers: Result<Vec<u64>, _> = rest.split_whitespace().map(str::parse).collect();
            match numbers.as_deref() {
                Ok([seconds]) => Ok(Action::Disturb { seconds: *seconds, seed: None }),
                Ok([seconds, seed]) => Ok(Action::Disturb { seconds: *seconds, seed: Some(*seed) }),
                _ => Err("how long is it to last? `@ disturb SECONDS [SEED]`".to_owned()),
            }
        }
        _ => match Order::parse(text) {
            Ok(order) => Ok(Action::Order(order)),
            Err(why) => Err(format!("{why} (`@` takes type, wait and disturb, too)")),
        },
    }
}

fn node(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` must be a node's number"))
}

/// `[NODE] "text"`, with the escapes \n \r \t \e \\ \" and \xHH.
fn node_and_text(text: &str) -> Result<(u16, Vec<u8>), String> {
    let start = text.find('"').ok_or("a text in double quotes must follow")?;
    let number = text[..start].trim();
    let node = if number.is_empty() { 1 } else { node(number)? };
    let inner = text[start + 1..].strip_suffix('"').ok_or("the text's closing quote is missing")?;
    Ok((node, unescape(inner)?))
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let (mut out, mut chars) = (Vec::new(), text.chars());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        out.push(match chars.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('e') => 0x1b,
            Some('\\') => b'\\',
            Some('"') => b'"',
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).map_err(|_| "\\x takes two hex digits")?
            }
            _ => return Err("the escapes are \\n \\r \\t \\e \\\\ \\\" and \\xHH".to_owned()),
        });
    }
    Ok(out)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
