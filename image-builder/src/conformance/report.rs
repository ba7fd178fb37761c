// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run found, beside what is recorded of Linux.

use std::collections::BTreeMap;
use std::fmt;

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// It was not made: something that it needs is not there.
    Untested,
    /// It passed.
    Pass,
    /// It did not.
    Fail,
}

/// The line that says so begins with one of these.
const WORDS: [(&str, Verdict); 4] = [
    ("PASS: ", Verdict::Pass),
    ("FAIL: ", Verdict::Fail),
    ("SKIPPED: ", Verdict::Untested),
    ("UNTESTED: ", Verdict::Untested),
];

/// All cases of a run, by name. Of several with one name the worst counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdicts(BTreeMap<String, Verdict>);

impl Verdicts {
    /// Reads what a suite printed, or a record; other lines say nothing.
    pub fn read(text: &str) -> Self {
        let mut all = BTreeMap::new();
        for line in text.lines() {
            let line = line.trim_end();
            let found =
                WORDS.iter().find_map(|(word, verdict)| Some((line.strip_prefix(word)?, *verdict)));
            if let Some((name, verdict)) = found {
                let now = all.entry(name.to_owned()).or_insert(verdict);
                *now = verdict.max(*now);
            }
        }
        Self(all)
    }

    /// How many there are of each.
    pub fn counts(&self) -> String {
        let count = |wanted| self.0.values().filter(|it| **it == wanted).count();
        let (pass, fail) = (count(Verdict::Pass), count(Verdict::Fail));
        format!("{pass} passed, {fail} failed, {} untested", count(Verdict::Untested))
    }

    /// The record of a run on Linux.
    pub fn text(&self, suite: &str) -> String {
        let mut text = format!(
            "# What cases of \"{suite}\" do on Linux: `./korrigan conformance {suite} --on-linux` wrote this.\n"
        );
        for (name, verdict) in &self.0 {
            let word = WORDS.iter().rfind(|(_, it)| it == verdict).map_or("", |(word, _)| word);
            text.push_str(&format!("{word}{name}\n"));
        }
        text
    }
}

/// What is known beforehand.
pub struct Record {
    linux: Verdicts,
    /// Reasons of differences, by the case's name.
    known: BTreeMap<String, String>,
}

impl Record {
    /// `known` has lines of a suite's name, a case's, and a reason, with ` | ` between them.
    pub fn new(suite: &str, linux: &str, known: &str) -> Self {
        let entry = |line: &str| {
            let mut parts = line.splitn(3, " | ").map(str::trim);
            let (of, name, reason) = (parts.next()?, parts.next()?, parts.next()?);
            (of == suite).then(|| (name.to_owned(), reason.to_owned()))
        };
        Self { linux: Verdicts::read(linux), known: known.lines().filter_map(entry).collect() }
    }

    /// A run beside it. Of one that was not `whole` only what it made counts.
    pub fn compare(&self, here: &Verdicts, whole: bool) -> Report {
        let mut report = Report::default();
        for (name, on_linux) in &self.linux.0 {
            let left_out = !whole && !here.0.contains_key(name);
            if *on_linux != Verdict::Pass || left_out {
                continue;
            }
            report.wanted += 1;
            let reason = self.known.get(name).cloned();
            match here.0.get(name) {
                Some(Verdict::Pass) => {
                    report.passed += 1;
                    report.mended.extend(reason.map(|_| name.clone()));
                }
                Some(Verdict::Fail) => report.differ.push((name.clone(), "fails", reason)),
                Some(Verdict::Untested) => {
                    report.differ.push((name.clone(), "is untested", reason))
                }
                None => report.differ.push((name.clone(), "is missing", reason)),
            }
        }
        report
    }
}

/// What differs from Linux.
#[derive(Default)]
pub struct Report {
    wanted: usize,
    passed: usize,
    /// Names, what happened, and the reason if it is known.
    differ: Vec<(String, &'static str, Option<String>)>,
    /// Cases that pass although a reason is recorded why they do not.
    mended: Vec<String>,
}

impl Report {
    /// Whether enough passed, and each difference is explained.
    pub fn is_good(&self, share_min: usize) -> bool {
        let explained = self.differ.iter().all(|(_, _, reason)| reason.is_some());
        self.wanted > 0 && self.passed * 100 >= self.wanted * share_min && explained
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, what, reason) in &self.differ {
            let reason =
                reason.as_deref().unwrap_or("NOT EXPLAINED in tests/conformance/differences");
            writeln!(f, "{name}: {what} ({reason})")?;
        }
        for name in &self.mended {
            writeln!(
                f,
                "{name}: passes now; tests/conformance/differences still explains why it does not"
            )?;
        }
        let share = self.passed as f64 * 100.0 / self.wanted.max(1) as f64;
        writeln!(
            f,
            "{} of the {} that pass on Linux pass here, {share:.1} %",
            self.passed, self.wanted
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "noise\r\nPASS: a\r\nFAIL: b c\r\nSKIPPED: d (not built)\nPASS: b c\n";

    #[test]
    fn worst_of_a_name_counts_and_other_lines_say_nothing() {
        let verdicts = Verdicts::read(PRINTED);
        assert_eq!(verdicts.counts(), "1 passed, 1 failed, 1 untested");
        assert_eq!(Verdicts::read(&verdicts.text("x")), verdicts);
    }

    #[test]
    fn difference_without_a_reason_is_not_good() {
        let linux = "PASS: a\nPASS: b\nFAIL: c\n";
        let here = Verdicts::read("PASS: a\nFAIL: b\nPASS: c\n");
        let report = Record::new("x", linux, "y | b | of another suite").compare(&here, true);
        assert!(!report.is_good(50));
        let record = Record::new("x", linux, "x | b | there is no clock");
        let report = record.compare(&here, true);
        assert!(report.is_good(50) && !report.is_good(51));
        assert!(report.to_string().contains("1 of the 2"), "c fails on Linux");
        assert!(!record.compare(&Verdicts::default(), true).is_good(0), "a is missing");
        let part = record.compare(&Verdicts::read("PASS: a\n"), false);
        assert!(part.is_good(100), "b was left out");
    }

    #[test]
    fn reason_that_is_out_of_date_is_named() {
        let record = Record::new("x", "PASS: a\n", "x | a | not yet");
        let report = record.compare(&Verdicts::read("PASS: a\n"), true).to_string();
        assert!(report.contains("a: passes now"), "{report}");
    }
}
