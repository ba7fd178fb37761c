// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares what a command printed with what it should print.
//!
//! A line `...` stands for any lines, `[..]` within a line for anything. Two files that differ are
//! shown from the first line that does not fit.

use std::fmt;

/// Stands for any number of lines.
const ANY_LINES: &str = "...";
/// Stands for any text within a line.
const ANY_TEXT: &str = "[..]";
/// Lines shown of each side from the difference on.
const SHOWN_LINES: usize = 12;

/// What was printed and what should have been.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    wanted: Vec<String>,
    printed: Vec<String>,
    same: usize,
}

/// `None` if `printed` is what `wanted` describes; the last line feed may be missing.
pub fn compare(wanted: &[String], printed: &str) -> Option<Difference> {
    let lines: Vec<&str> = printed.lines().collect();
    if lines_fit(wanted, &lines) {
        return None;
    }
    let same = wanted.iter().zip(&lines).take_while(|(want, line)| line_fits(want, line)).count();
    Some(Difference {
        wanted: wanted.to_vec(),
        printed: lines.into_iter().map(str::to_owned).collect(),
        same,
    })
}

/// `None` if `printed` is `wanted`, byte for byte.
pub fn compare_exactly(wanted: &str, printed: &str) -> Option<Difference> {
    if wanted == printed {
        return None;
    }
    let split = |text: &str| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>();
    let (wanted, printed) = (split(wanted), split(printed));
    let same = wanted.iter().zip(&printed).take_while(|(want, line)| want == line).count();
    Some(Difference { wanted, printed, same })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from line {} of the output on", self.same + 1)?;
        for (name, lines) in [("wanted", &self.wanted), ("printed", &self.printed)] {
            let rest = lines.get(self.same..).unwrap_or_default();
            for line in rest.iter().take(SHOWN_LINES) {
                write!(f, "\n    {name:8} {line:?}")?;
            }
            match rest.len() {
                0 => write!(f, "\n    {name:8} nothing more")?,
                more if more > SHOWN_LINES => {
                    write!(f, "\n    {name:8} and {} lines more", more - SHOWN_LINES)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn lines_fit(wanted: &[String], lines: &[&str]) -> bool {
    match wanted.split_first() {
        None => lines.is_empty(),
        Some((want, rest)) if want == ANY_LINES => {
            (0..=lines.len()).any(|skip| lines_fit(rest, &lines[skip..]))
        }
        Some((want, rest)) => {
            lines.first().is_some_and(|line| line_fits(want, line)) && lines_fit(rest, &lines[1..])
        }
    }
}

fn line_fits(want: &str, line: &str) -> bool {
    let mut parts = want.split(ANY_TEXT);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(wanted: &[&str], printed: &str) -> bool {
        let wanted: Vec<String> = wanted.iter().map(|&line| line.to_owned()).collect();
        compare(&wanted, printed).is_none()
    }

    #[test]
    fn equal_lines_fit() {
        assert!(fits(&["a", "", "b"], "a\n\nb\n"));
        assert!(fits(&["a"], "a"));
        assert!(fits(&[], ""));
        assert!(!fits(&[], "a"));
        assert!(!fits(&["a"], ""));
        assert!(!fits(&["a"], "a\nb"));
    }

    #[test]
    fn dots_stand_for_any_lines() {
        assert!(fits(&["a", "...", "d"], "a\nb\nc\nd\n"));
        assert!(fits(&["a", "...", "d"], "a\nd\n"));
        assert!(fits(&["..."], ""));
        assert!(!fits(&["...", "d"], "a\nb\n"));
    }

    #[test]
    fn bracket_dots_stand_for_any_text() {
        assert!(fits(&["pid [..] on node [..]"], "pid 7 on node 2"));
        assert!(fits(&["[..]end"], "end"));
        assert!(fits(&["x[..]y[..]z"], "x12y34yz"));
        assert!(!fits(&["x[..]y"], "x12"));
        assert!(!fits(&["x[..]"], "yx"));
    }

    #[test]
    fn exact_comparison_knows_no_marks() {
        assert!(compare_exactly("...\n", "...\n").is_none());
        assert!(compare_exactly("...\n", "a\n").is_some());
        assert!(compare_exactly("a\n", "a").is_some());
    }

    #[test]
    fn difference_shows_both_sides_from_where_they_part() {
        let wanted = vec!["a".to_owned(), "b".to_owned()];
        let text = compare(&wanted, "a\nc\n").expect("they differ").to_string();
        assert!(text.starts_with("from line 2"), "{text}");
        assert!(text.contains("wanted   \"b\"") && text.contains("printed  \"c\""), "{text}");
    }
}
