// SPDX-License-Identifier: MIT OR Apache-2.0
//! The edits of the kernel's source: their file format, and how they are applied.
//!
//! # Model
//! One file per edit, `NN-name.edit`, applied in the order of their names:
//! ```text
//! # SPDX-License-Identifier: GPL-2.0-only
//! what: what is wrong, in plain words; more lines follow indented
//! bites: how it shows
//! upstream: where it was fixed, or that it was not
//! test: which test shows it
//! @@ file src/kernel/thread.c
//! @@ find
//! the lines to look for
//! @@ replace
//! the lines to put there
//! @@ end
//! ```
//! `@@ file` holds until the next one. `find` is compared line by line, white space and all.
//!
//! # Invariants
//! Every `find` matches exactly once, or the build ends with the edit's name: an edit never silently does nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The parts that the head of every edit has, in this order.
const HEAD: [&str; 4] = ["what: ", "bites: ", "upstream: ", "test: "];

/// What an edit starts with: the kernel is GPLv2, and so is what is put into it.
const LICENCE: &str = "# SPDX-License-Identifier: GPL-2.0-only";

/// One edit: a reason, and the hunks that follow from it.
#[derive(Debug)]
pub struct Edit {
    /// The file's name.
    pub name: String,
    /// The file's text.
    pub text: String,
    /// Its hunks, in the order in which they are applied.
    pub hunks: Vec<Hunk>,
}

/// One replacement of whole lines in one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Relative to the root of the kernel's source.
    pub file: PathBuf,
    /// Whole lines, each with its newline.
    pub find: String,
    /// Whole lines, each with its newline.
    pub replace: String,
}

/// Reads all edits of a folder, sorted by name.
///
/// # Errors
/// If the folder cannot be read, or an edit does not follow the format.
pub fn load(dir: &Path) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "edit") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            edits.push(parse(&name, &text)?);
        }
    }
    edits.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(edits)
}

/// Reads one edit.
///
/// # Errors
/// If it does not follow the format; the error names the edit and the line.
pub fn parse(name: &str, text: &str) -> Result<Edit> {
    check_head(name, text)?;
    let mut hunks = Vec::new();
    let mut file: Option<PathBuf> = None;
    let mut part = Part::Outside;
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("edit {name}, line {}: {what}", number + 1);
        part = match (part, line.strip_prefix("@@ ")) {
            (Part::Outside, Some(word)) => match word.strip_prefix("file ") {
                Some(path) => {
                    file = Some(PathBuf::from(path));
                    Part::Outside
                }
                None if word == "find" => Part::Find(String::new()),
                None => bail!(wrong("expected '@@ file PATH' or '@@ find'")),
            },
            (Part::Outside, None) => Part::Outside,
            (Part::Find(find), Some("replace")) => Part::Replace(find, String::new()),
            (Part::Replace(find, replace), Some("end")) => {
                let file = file.clone().with_context(|| wrong("a hunk before any '@@ file'"))?;
                hunks.push(Hunk { file, find, replace });
                Part::Outside
            }
            (Part::Find(find), None) => Part::Find(find + line + "\n"),
            (Part::Replace(find, replace), None) => Part::Replace(find, replace + line + "\n"),
            (Part::Find(_), Some(_)) => bail!(wrong("expected '@@ replace'")),
            (Part::Replace(..), Some(_)) => bail!(wrong("expected '@@ end'")),
        };
    }
    if !matches!(part, Part::Outside) {
        bail!("edit {name} ends inside a hunk");
    }
    if hunks.is_empty() {
        bail!("edit {name} has no hunks");
    }
    Ok(Edit { name: name.to_owned(), text: text.to_owned(), hunks })
}

/// Where the reader is in an edit.
enum Part {
    Outside,
    Find(String),
    Replace(String, String),
}

fn check_head(name: &str, text: &str) -> Result<()> {
    if text.lines().next() != Some(LICENCE) {
        bail!("edit {name} does not begin with '{LICENCE}'");
    }
    let head: Vec<&str> = text.lines().take_while(|l| !l.starts_with("@@ ")).collect();
    let mut from = 0;
    for part in HEAD {
        let place = head[from..].iter().position(|l| l.starts_with(part));
        from += 1 + place
            .with_context(|| format!("edit {name} does not say '{part}', in its place"))?;
    }
    Ok(())
}

/// Applies edits in order to a source tree.
///
/// # Errors
/// If an edit does not fit; the error names it. The tree is then half edited and of no use.
pub fn apply_all(edits: &[Edit], tree: &Path) -> Result<()> {
    for edit in edits {
        for hunk in &edit.hunks {
            let path = tree.join(&hunk.file);
            let before = fs::read_to_string(&path).with_context(|| {
                format!("edit {}: cannot read {}", edit.name, hunk.file.display())
            })?;
            let after = apply(hunk, &before).with_context(|| {
                format!("edit {} does not fit {}", edit.name, hunk.file.display())
            })?;
            fs::write(&path, after).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// Applies one hunk to one text.
///
/// # Errors
/// If the lines to find are not there exactly once.
pub fn apply(hunk: &Hunk, text: &str) -> Result<String> {
    let at_line_start = |at: &usize| *at == 0 || text.as_bytes()[at - 1] == b'\n';
    let places: Vec<usize> =
        text.match_indices(&hunk.find).map(|(at, _)| at).filter(at_line_start).collect();
    let first_line = hunk.find.lines().next().unwrap_or_default().trim();
    match places[..] {
        _ if hunk.find.is_empty() => bail!("a hunk finds nothing: its '@@ find' is empty"),
        [at] => Ok([&text[..at], &hunk.replace, &text[at + hunk.find.len()..]].concat()),
        [] => bail!("the lines starting with '{first_line}' are not there"),
        [..] => bail!("the lines starting with '{first_line}' are there {} times", places.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# SPDX-License-Identifier: GPL-2.0-only\nwhat: w\nbites: b\nupstream: u\n\
        test: t\n@@ file a/b.c\n@@ find\none\n@@ replace\nONE\nmore\n@@ end\n";

    fn hunk(find: &str, replace: &str) -> Hunk {
        Hunk { file: "f".into(), find: find.into(), replace: replace.into() }
    }

    #[test]
    fn parse_good_edit_gives_its_hunks() {
        let edit = parse("01-x.edit", GOOD).unwrap();
        let expected =
            Hunk { file: "a/b.c".into(), find: "one\n".into(), replace: "ONE\nmore\n".into() };
        assert_eq!(edit.hunks, [expected]);
    }

    #[test]
    fn parse_edit_without_reason_is_refused() {
        let error = parse("x", &GOOD.replace("bites: ", "")).unwrap_err();
        assert!(error.to_string().contains("'bites: '"), "{error}");
    }

    #[test]
    fn parse_edit_without_licence_is_refused() {
        assert!(parse("x", &GOOD.replace("GPL-2.0-only", "MIT")).is_err());
    }

    #[test]
    fn parse_unfinished_hunk_is_refused() {
        assert!(parse("x", &GOOD.replace("@@ end\n", "")).is_err());
        assert!(parse("x", &GOOD.replace("@@ replace\n", "@@ end\n")).is_err());
        assert!(parse("x", &GOOD.replace("@@ file a/b.c\n", "")).is_err());
    }

    #[test]
    fn apply_single_match_replaces_it() {
        assert_eq!(apply(&hunk("b\n", "B\nC\n"), "a\nb\nd\n").unwrap(), "a\nB\nC\nd\n");
    }

    #[test]
    fn apply_no_match_is_refused() {
        assert!(apply(&hunk("x\n", ""), "a\nb\n").is_err());
    }

    #[test]
    fn apply_two_matches_are_refused() {
        assert!(apply(&hunk("a\n", ""), "a\nb\na\n").is_err());
    }

    #[test]
    fn apply_part_of_a_line_is_no_match() {
        assert!(apply(&hunk("b\n", ""), "ab\n").is_err());
    }

    #[test]
    fn apply_empty_find_is_refused() {
        assert!(apply(&hunk("", "x\n"), "a\n").is_err());
    }
}
