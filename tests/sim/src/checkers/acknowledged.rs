// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing acknowledged is lost, nothing is done twice: records that clients append to one file.
//!
//! A record that was acknowledged stands in the file once; one that was not, once or not at all; and those
//! of one client stand in the order in which it wrote them.

use std::collections::BTreeMap;

/// A record: the client's number and its own count.
pub type Record = (u64, u64);

/// Checks what a file holds in the end against what was begun and what was acknowledged.
///
/// # Errors
/// A sentence about the first violation.
pub fn check(file: &[Record], begun: &[Record], acknowledged: &[Record]) -> Result<(), String> {
    let mut counts: BTreeMap<Record, usize> = BTreeMap::new();
    for record in file {
        *counts.entry(*record).or_default() += 1;
    }
    for (record, count) in &counts {
        if !begun.contains(record) {
            return Err(format!("record {record:?} was never written"));
        }
        if *count > 1 {
            return Err(format!("record {record:?} was appended {count} times"));
        }
    }
    if let Some(lost) = acknowledged.iter().find(|record| !counts.contains_key(record)) {
        return Err(format!("record {lost:?} was acknowledged and is lost"));
    }
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for (client, count) in file {
        if last.insert(*client, *count).is_some_and(|before| before > *count) {
            return Err(format!("record {count} of client {client} stands behind a later one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    const BEGUN: [(u64, u64); 3] = [(1, 1), (1, 2), (2, 1)];

    #[test]
    fn what_was_not_acknowledged_may_be_there_or_not() {
        assert_eq!(check(&[(1, 1), (2, 1), (1, 2)], &BEGUN, &[(1, 1)]), Ok(()));
        assert_eq!(check(&[(1, 1)], &BEGUN, &[(1, 1)]), Ok(()));
    }

    #[test]
    fn lost_record_is_found() {
        assert!(check(&[(1, 1)], &BEGUN, &[(1, 1), (2, 1)]).is_err_and(|it| it.contains("lost")));
    }

    #[test]
    fn record_that_stands_twice_is_found() {
        let found = check(&[(1, 1), (1, 1)], &BEGUN, &[]);
        assert!(found.is_err_and(|it| it.contains("2 times")));
    }

    #[test]
    fn record_that_nobody_wrote_is_found() {
        assert!(check(&[(3, 1)], &BEGUN, &[]).is_err_and(|it| it.contains("never")));
    }

    #[test]
    fn order_that_is_not_the_clients_is_found() {
        assert!(check(&[(1, 2), (1, 1)], &BEGUN, &[]).is_err_and(|it| it.contains("behind")));
    }
}
