// SPDX-License-Identifier: MIT OR Apache-2.0
//! The figures of one node: what the program in tests/bench prints, beside Linux's and the targets.

use super::entries::Tally;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Batches that the program measures of each operation.
const BATCHES: u64 = 15;

/// One operation: its name in tests/bench, in the order there, and what it is compared with.
struct Operation {
    name: &'static str,
    /// Instructions on Linux 6.1 under the same QEMU options; `None` where nobody measured it.
    linux: Option<u64>,
    /// Most instructions with `isolated` and with `fast`.
    targets: Option<[u64; 2]>,
}

const fn operation(name: &'static str, linux: u64) -> Operation {
    Operation { name, linux: Some(linux), targets: None }
}

const OPERATIONS: [Operation; 12] = [
    Operation { name: "loop", linux: None, targets: None },
    Operation { name: "null_syscall", linux: Some(359), targets: Some([2500, 2000]) },
    Operation { name: "page_fault", linux: Some(4647), targets: Some([6000; 2]) },
    Operation { name: "fork_exit_wait", linux: Some(201_194), targets: Some([450_000; 2]) },
    operation("fork_exec_wait", 342_461),
    operation("pipe_rtt", 12_562),
    operation("mmap_munmap", 11_068),
    operation("stat", 3664),
    operation("open_close", 6071),
    operation("file_read_4KiB", 1935),
    operation("file_read_64KiB", 17_487),
    operation("file_rewrite_64KiB", 20_973),
];

/// What the program measured of one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Measured {
    /// The operation.
    pub name: String,
    /// Repetitions in a batch.
    pub repetitions: u64,
    /// Instructions of one repetition: the fastest batch.
    pub least: u64,
    /// The batch in the middle.
    pub median: u64,
}

/// Reads what the program printed; lines that are not its are left out.
pub fn parse(text: &str) -> Vec<Measured> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Measured> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, repetitions, least, median] = words[..] else { return None };
    let number = |word: &str| word.parse().ok();
    let repetitions = number(repetitions).filter(|count| *count > 0)?;
    Some(Measured {
        name: name.to_owned(),
        repetitions,
        least: number(least)?,
        median: number(median)?,
    })
}

/// The table of one composition; `column` is its place among the targets.
pub fn table(measured: &[Measured], tallies: &BTreeMap<u64, Tally>, column: usize) -> String {
    let mut text = String::from(
        "| operation | instructions | target | Linux | kernel entries | address-space switches |\n\
         |---|---|---|---|---|---|\n",
    );
    for one in measured {
        let index = OPERATIONS.iter().position(|known| known.name == one.name);
        let known = index.map(|index| &OPERATIONS[index]);
        let target = known.and_then(|known| known.targets).map(|targets| targets[column]);
        let linux = known.and_then(|known| known.linux);
        let tally = index.and_then(|index| tallies.get(&(index as u64)));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            one.name,
            one.median,
            target.map_or_else(|| "-".to_owned(), |most| verdict(one.median, most)),
            linux.map_or_else(|| "-".to_owned(), |count| count.to_string()),
            per_repetition(tally, one, |tally| tally.entries),
            per_repetition(tally, one, |tally| tally.switches),
        );
    }
    text
}

fn verdict(found: u64, most: u64) -> String {
    if found <= most { format!("{most}: met") } else { format!("{most}: missed") }
}

/// A count for one repetition, with one decimal.
fn per_repetition(tally: Option<&Tally>, of: &Measured, count: fn(&Tally) -> u64) -> String {
    match tally {
        Some(tally) if tally.batches == BATCHES => {
            let repetitions = BATCHES * of.repetitions;
            let tenths = (count(tally) * 10 + repetitions / 2) / repetitions;
            format!("{}.{}", tenths / 10, tenths % 10)
        }
        // A batch without an end: the log is torn.
        Some(_) | None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_others_are_left_out() {
        let found = parse("~# bench\nnull_syscall 200 2351 2352\r\nloop 0 1 1\nstat 1 2 x\n");
        let wanted = Measured {
            name: "null_syscall".to_owned(),
            repetitions: 200,
            least: 2351,
            median: 2352,
        };
        assert_eq!(found, [wanted]);
    }

    #[test]
    fn table_says_whether_a_target_is_met() {
        let measured = parse("null_syscall 10 2000 2351\nnew 1 5 5");
        let tally = Tally { batches: BATCHES, entries: 20 * BATCHES, switches: 25 * BATCHES };
        let tallies = BTreeMap::from([(1, tally)]);
        let isolated = table(&measured, &tallies, 0);
        assert!(
            isolated.contains("| null_syscall | 2351 | 2500: met | 359 | 2.0 | 2.5 |"),
            "{isolated}"
        );
        assert!(isolated.contains("| new | 5 | - | - | - | - |"), "{isolated}");
        assert!(table(&measured, &tallies, 1).contains("| 2000: missed |"));
    }
}
