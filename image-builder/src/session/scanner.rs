// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the marks of a session in what a console prints.
//!
//! # Model
//! The typed line spells its marks with backslashes (`\036B\036`), so the echo of what was typed
//! never holds one; only what `printf` makes of it does. The prompt begins with OSC 133;A.
//!
//! # Limits
//! A mark is at most [`MARK_BYTES_MAX`] bytes; a longer beginning is output.

/// Begins and ends a mark: the ASCII record separator, which programs hardly print.
const SEPARATOR: u8 = 0x1e;
/// What the prompt begins with.
const PROMPT: &[u8] = b"\x1b]133;A\x07";
/// Longest mark: separator, status, separator.
const MARK_BYTES_MAX: usize = 8;

/// What stands in a console's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// Bytes that a command printed, line ends as the command wrote them.
    Output(Vec<u8>),
    /// A prompt begins.
    Prompt,
    /// A command's output begins.
    Begin,
    /// A command ended with this status.
    Status(u8),
}

/// Splits a console's output into tokens, across the boundaries of what is read at a time.
#[derive(Default)]
pub struct Scanner {
    pending: Vec<u8>,
}

/// What the bytes at a place are.
enum Here {
    Mark(Token, usize),
    Plain,
    /// More bytes are needed to tell.
    Unknown,
}

impl Scanner {
    /// Takes what was read and returns what is known now.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Token> {
        self.pending.extend_from_slice(bytes);
        let (mut tokens, mut output, mut at) = (Vec::new(), Vec::new(), 0);
        while at < self.pending.len() {
            match look(&self.pending[at..]) {
                Here::Unknown => break,
                Here::Plain => {
                    let rest = &self.pending[at..];
                    // The terminal made "\r\n" of the command's "\n".
                    let cooked = rest.starts_with(b"\r\n");
                    output.push(if cooked { b'\n' } else { rest[0] });
                    at += if cooked { 2 } else { 1 };
                }
                Here::Mark(token, len) => {
                    flush(&mut output, &mut tokens);
                    tokens.push(token);
                    at += len;
                }
            }
        }
        flush(&mut output, &mut tokens);
        self.pending.drain(..at);
        tokens
    }
}

fn flush(output: &mut Vec<u8>, tokens: &mut Vec<Token>) {
    if !output.is_empty() {
        tokens.push(Token::Output(std::mem::take(output)));
    }
}

fn look(bytes: &[u8]) -> Here {
    match bytes[0] {
        b'\r' if bytes.len() == 1 => Here::Unknown,
        0x1b if bytes.starts_with(PROMPT) => Here::Mark(Token::Prompt, PROMPT.len()),
        0x1b if PROMPT.starts_with(bytes) => Here::Unknown,
        SEPARATOR => mark(bytes),
        _ => Here::Plain,
    }
}

fn mark(bytes: &[u8]) -> Here {
    let inner = &bytes[1..];
    let len = inner.iter().take_while(|&&byte| byte == b'B' || byte.is_ascii_digit()).count();
    if inner.get(len).is_none() && bytes.len() < MARK_BYTES_MAX {
        return Here::Unknown;
    }
    if inner.get(len) != Some(&SEPARATOR) {
        return Here::Plain;
    }
    let token = match &inner[..len] {
        b"B" => Some(Token::Begin),
        digits => {
            std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).map(Token::Status)
        }
    };
    token.map_or(Here::Plain, |token| Here::Mark(token, len + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(tokens: Vec<Token>) -> Vec<Token> {
        let mut merged: Vec<Token> = Vec::new();
        for token in tokens {
            match (merged.last_mut(), token) {
                (Some(Token::Output(before)), Token::Output(more)) => before.extend(more),
                (_, token) => merged.push(token),
            }
        }
        merged
    }

    const STREAM: &[u8] =
        b"\x1b]133;A\x07node1:/# echo \\036B\\036\r\n\x1eB\x1ehi\r\nx\ry\x1e12\x1e\x1b]133;A\x07";

    fn expected() -> Vec<Token> {
        vec![
            Token::Prompt,
            Token::Output(b"node1:/# echo \\036B\\036\n".to_vec()),
            Token::Begin,
            Token::Output(b"hi\nx\ry".to_vec()),
            Token::Status(12),
            Token::Prompt,
        ]
    }

    #[test]
    fn stream_is_split_at_its_marks() {
        assert_eq!(merged(Scanner::default().feed(STREAM)), expected());
    }

    #[test]
    fn stream_read_byte_by_byte_gives_the_same() {
        let mut scanner = Scanner::default();
        let tokens = STREAM.iter().flat_map(|&byte| scanner.feed(&[byte])).collect();
        assert_eq!(merged(tokens), expected());
    }

    #[test]
    fn separators_that_are_no_mark_are_output() {
        let stream = b"\x1ehello, world\x1e\x1e999\x1ez\x1e-1\x1e\x1b[0m";
        let tokens = merged(Scanner::default().feed(stream));
        assert_eq!(tokens, [Token::Output(stream.to_vec())]);
    }
}
