// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks the shell server: writes a line of words to `/sys/cluster/admin`, and shows what can then be
//! read there until a last line that begins with the byte 0x1e: `status N`.
//!
//! Words travel between single spaces. None holds a space, as all are names and numbers.

use crate::say;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

const ADMIN: &str = "/sys/cluster/admin";
/// Begins the line with the status.
const MARK: u8 = 0x1e;

/// Runs the command; its exit status.
pub(crate) fn run(name: &str, arguments: &[String]) -> u8 {
    let opened = OpenOptions::new().read(true).write(true).open(ADMIN);
    let asked = opened.and_then(|file| ask(file, name, arguments));
    let mut answer = match asked {
        Ok(file) => file,
        Err(error) => {
            say(&format!(
                "{name}: cannot ask the cluster through {ADMIN}: {error}\n\
                 Ctrl-] on the console gives a prompt with the same commands\n"
            ));
            return 1;
        }
    };
    match copy(&mut answer, &mut io::stdout()) {
        Ok(Some(status)) => status,
        Ok(None) => {
            say(&format!("{name}: the answer breaks off: try again, and see `klog`\n"));
            1
        }
        Err(error) => {
            say(&format!("{name}: {error}\n"));
            1
        }
    }
}

fn ask(mut file: File, name: &str, arguments: &[String]) -> io::Result<File> {
    let mut line = name.to_owned();
    for word in arguments {
        line.push(' ');
        line.push_str(word);
    }
    line.push('\n');
    // One write: it is one command.
    file.write_all(line.as_bytes())?;
    Ok(file)
}

/// Copies the answer up to its status; `None` if none came.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<Option<u8>> {
    let mut buffer = [0; 4096];
    let mut end: Option<Vec<u8>> = None;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(end.as_deref().and_then(status)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut data = &buffer[..count];
        if end.is_none() {
            let mark = data.iter().position(|byte| *byte == MARK);
            let (text, rest) = data.split_at(mark.unwrap_or(count));
            to.write_all(text)?;
            to.flush()?;
            end = mark.map(|_| Vec::new());
            data = rest;
        }
        if let Some(end) = &mut end {
            end.extend_from_slice(data);
            if end.ends_with(b"\n") {
                return Ok(status(end));
            }
        }
    }
}

fn status(line: &[u8]) -> Option<u8> {
    let line = std::str::from_utf8(line).ok()?;
    line.trim_start_matches(char::from(MARK)).trim_end().strip_prefix("status ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its pieces one by one.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn answer_in_pieces_gives_text_and_status() {
        let mut shown = Vec::new();
        let mut answer = Pieces(vec![b"one\ntw", b"o\n\x1est", b"atus 3", b"\n"]);
        assert_eq!(copy(&mut answer, &mut shown).expect("no error"), Some(3));
        assert_eq!(shown, b"one\ntwo\n");
    }

    #[test]
    fn answer_that_breaks_off_has_no_status() {
        let mut shown = Vec::new();
        assert_eq!(copy(&mut Pieces(vec![b"one\n"]), &mut shown).expect("no error"), None);
        assert_eq!(copy(&mut Pieces(vec![b"\x1estatus x\n"]), &mut shown).expect("no error"), None);
    }
}
