// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mistakes in cluster.toml: collected, not thrown, so that one look at the list mends them all.

use std::fmt;
use std::ops::Range;

/// One mistake: where it is, what is wrong and what would be right.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mistake {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub text: String,
}

/// All mistakes found in one file.
#[derive(Debug)]
pub struct Mistakes<'a> {
    file: &'a str,
    source: &'a str,
    list: Vec<Mistake>,
}

impl<'a> Mistakes<'a> {
    /// No mistakes yet in `file`, whose text is `source`.
    pub fn new(file: &'a str, source: &'a str) -> Self {
        Self { file, source, list: Vec::new() }
    }

    /// Notes a mistake at these bytes of the source.
    pub fn add(&mut self, at: Range<usize>, text: impl Into<String>) {
        let line = self.line(at.start);
        self.list.push(Mistake { line, text: text.into() });
    }

    /// Line of the byte at this offset, from 1.
    pub fn line(&self, offset: usize) -> usize {
        let before = &self.source.as_bytes()[..offset.min(self.source.len())];
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// `Ok` if there are none.
    ///
    /// # Errors
    /// All mistakes, in the order of their lines.
    pub fn finish<T>(mut self, value: T) -> Result<T, ConfigError> {
        if self.list.is_empty() {
            return Ok(value);
        }
        self.list.sort();
        self.list.dedup();
        Err(ConfigError { file: self.file.to_owned(), mistakes: self.list })
    }
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    /// Path of the file as it was given.
    pub file: String,
    /// At least one, in the order of their lines.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, s) = (self.mistakes.len(), if self.mistakes.len() == 1 { "" } else { "s" });
        write!(f, "{} has {count} mistake{s}:", self.file)?;
        for mistake in &self.mistakes {
            write!(f, "\n{}:{}: {}", self.file, mistake.line, mistake.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The known word that is closest to `word`, if one is close enough to have been meant.
pub fn closest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        .map(|&candidate| (distance(word, candidate), candidate))
        .min()
        .filter(|&(distance, candidate)| distance <= 2 && distance < candidate.len())
        .map(|(_, candidate)| candidate)
}

/// Letters to change, add or drop to get from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_misspelt_word_is_found() {
        assert_eq!(closest("memroy", &["cores", "memory"]), Some("memory"));
        assert_eq!(closest("zebra", &["cores", "memory"]), None);
    }

    #[test]
    fn mistake_at_offset_names_its_line() {
        let mut mistakes = Mistakes::new("c.toml", "a\nb\nc");
        mistakes.add(4..5, "wrong");
        let error = mistakes.finish(()).expect_err("one mistake was added");
        assert_eq!(error.to_string(), "c.toml has 1 mistake:\nc.toml:3: wrong");
    }
}
