// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ipcs` and `ipcrm`: the cluster's System V objects, listed and removed.
//!
//! The standard library has no call for these objects, so this file alone calls the C library.

use crate::{say, show};
use std::fmt::Write;
use std::io::Error;

pub(crate) const LIST: &str = "ipcs";
pub(crate) const REMOVE: &str = "ipcrm";

/// What the C library's headers call SHM_STAT, SEM_STAT, MSG_STAT: the object with an index.
const STAT: [i32; 3] = [13, 18, 11];
/// SHM_INFO, SEM_INFO, MSG_INFO: answers the highest index.
const INFO: [i32; 3] = [14, 19, 12];
/// SHM_DEST: it goes with its last attachment.
const CONDEMNED: u32 = 0o1000;

/// A kind of objects: its index in the tables above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Memory = 0,
    Semaphores = 1,
    Messages = 2,
}

/// An object, as a line shows it.
#[derive(PartialEq, Eq, Debug)]
struct Row {
    key: i32,
    id: i32,
    owner: u32,
    mode: u32,
    /// Bytes and attachments; semaphores; bytes and messages.
    figures: [u64; 2],
}

/// Lists the kinds that are asked for, or all; the exit status.
pub(crate) fn list(arguments: &[String]) -> u8 {
    let mut kinds = Vec::new();
    for word in arguments {
        match word.as_str() {
            "-m" => kinds.push(Kind::Memory),
            "-s" => kinds.push(Kind::Semaphores),
            "-q" => kinds.push(Kind::Messages),
            "-a" => {}
            _ => {
                say(&format!("ipcs: {word}: only -m, -s, -q and -a are known\n"));
                return 2;
            }
        }
    }
    if kinds.is_empty() {
        kinds = vec![Kind::Messages, Kind::Memory, Kind::Semaphores];
    }
    for kind in kinds {
        match rows(kind) {
            Ok(rows) => show(&table(kind, &rows)),
            Err(error) => {
                say(&format!("ipcs: {error}\n"));
                return 1;
            }
        }
    }
    0
}

fn table(kind: Kind, rows: &[Row]) -> String {
    let (title, columns) = match kind {
        Kind::Memory => ("Shared Memory Segments", ["shmid", "bytes", "nattch", "status"]),
        Kind::Semaphores => ("Semaphore Arrays", ["semid", "nsems", "", ""]),
        Kind::Messages => ("Message Queues", ["msqid", "used-bytes", "messages", ""]),
    };
    let [id, first, second, third] = columns;
    let mut text = format!("\n------ {title} --------\n");
    let head = format!(
        "{:<10} {id:<10} {:<10} {:<10} {first:<10} {second:<10} {third}",
        "key", "owner", "perms"
    );
    let _ = writeln!(text, "{}", head.trim_end());
    for Row { key, id, owner, mode, figures: [first, second] } in rows {
        let second = if kind == Kind::Semaphores { String::new() } else { second.to_string() };
        let status = if mode & CONDEMNED != 0 { "dest" } else { "" };
        let perms = format!("{:o}", mode & 0o777);
        let line = format!(
            "0x{key:08x} {id:<10} {:<10} {perms:<10} {first:<10} {second:<10} {status}",
            user(*owner)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A user's name, or number.
fn user(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}

/// Removes what is named; the exit status.
pub(crate) fn remove(arguments: &[String]) -> u8 {
    let mut status = 0;
    let mut words = arguments.iter();
    while let Some(option) = words.next() {
        let kind = match option.to_ascii_lowercase().as_str() {
            "-m" => Kind::Memory,
            "-s" => Kind::Semaphores,
            "-q" => Kind::Messages,
            _ => {
                say(&format!(
                    "ipcrm: {option}: only -m, -s, -q with an id and -M, -S, -Q with a key are known\n"
                ));
                return 2;
            }
        };
        let by_key = option.chars().any(|letter| letter.is_ascii_uppercase());
        let Some(number) = words.next().and_then(|word| number(word)) else {
            say(&format!("ipcrm: {option} needs a number; `ipcs` shows them\n"));
            return 2;
        };
        if let Err(error) = remove_one(kind, by_key, number) {
            let what = if by_key { "key" } else { "id" };
            say(&format!("ipcrm: {what} {number}: {error}\n"));
            status = 1;
        }
    }
    status
}

/// A number as `ipcs` shows it: hexadecimal with 0x. A key may have its highest bit set.
fn number(word: &str) -> Option<i32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok().map(u32::cast_signed),
        None => word.parse().ok(),
    }
}

fn remove_one(kind: Kind, by_key: bool, number: i32) -> Result<(), Error> {
    let id = if by_key { library::find(kind, number)? } else { number };
    library::remove(kind, id)
}

fn rows(kind: Kind) -> Result<Vec<Row>, Error> {
    let highest = library::highest_index(kind)?;
    // One that has gone meanwhile leaves an index free at the end.
    Ok((0..=highest).filter_map(|index| library::row(kind, index).ok()).collect())
}

/// The calls of the C library.
#[allow(unsafe_code, reason = "the standard library has none for these objects")]
mod library {
    use super::{Error, INFO, Kind, Row, STAT};

    /// Room for any of the structures: IPC_STAT's and those of the figures and limits have fewer bytes.
    type Room = [u64; 32];

    fn check(result: i32) -> Result<i32, Error> {
        if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
    }

    /// shmctl(2), semctl(2) or msgctl(2), with a command that takes no structure or writes one.
    fn control(kind: Kind, id: i32, command: i32, room: &mut Room) -> Result<i32, Error> {
        let room = room.as_mut_ptr();
        let result = match kind {
            // SAFETY: whatever structure the call writes fits the room.
            Kind::Memory => unsafe { libc::shmctl(id, command, room.cast()) },
            // SAFETY: the same.
            Kind::Semaphores => unsafe { libc::semctl(id, 0, command, room) },
            // SAFETY: the same.
            Kind::Messages => unsafe { libc::msgctl(id, command, room.cast()) },
        };
        check(result)
    }

    /// The highest index that an object of the kind has; 0 if there is none.
    pub(super) fn highest_index(kind: Kind) -> Result<i32, Error> {
        control(kind, 0, INFO[kind as usize], &mut [0; 32])
    }

    /// The object with this index.
    pub(super) fn row(kind: Kind, index: i32) -> Result<Row, Error> {
        let mut room = [0; 32];
        let id = control(kind, index, STAT[kind as usize], &mut room)?;
        Ok(parse(kind, id, &room))
    }

    /// Reads `struct shmid_ds`, `semid_ds` or `msqid_ds` of x86-64. Each begins with `struct ipc_perm`.
    fn parse(kind: Kind, id: i32, room: &Room) -> Row {
        let half = |at: usize| (room[at / 2] >> (32 * (at % 2))) as u32;
        let figures = match kind {
            Kind::Memory => [room[6], room[11]],
            Kind::Semaphores => [room[10], 0],
            Kind::Messages => [room[9], room[10]],
        };
        Row { key: half(0).cast_signed(), id, owner: half(1), mode: half(5), figures }
    }

    /// The object with this key.
    pub(super) fn find(kind: Kind, key: i32) -> Result<i32, Error> {
        check(match kind {
            // SAFETY: the call takes numbers only.
            Kind::Memory => unsafe { libc::shmget(key, 0, 0) },
            // SAFETY: the same.
            Kind::Semaphores => unsafe { libc::semget(key, 0, 0) },
            // SAFETY: the same.
            Kind::Messages => unsafe { libc::msgget(key, 0) },
        })
    }

    /// IPC_RMID.
    pub(super) fn remove(kind: Kind, id: i32) -> Result<(), Error> {
        control(kind, id, libc::IPC_RMID, &mut [0; 32]).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_columns_of_util_linux() {
        let rows = [Row { key: -1, id: 1024, owner: 4711, mode: 0o1600, figures: [4096, 2] }];
        let text = table(Kind::Memory, &rows);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "------ Shared Memory Segments --------",
                "key        shmid      owner      perms      bytes      nattch     status",
                "0xffffffff 1024       4711       600        4096       2          dest",
            ]
        );
        let text = table(Kind::Semaphores, &[]);
        assert!(text.ends_with("key        semid      owner      perms      nsems\n"));
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("0xffffffff"), Some(-1));
        assert_eq!(number("1024"), Some(1024));
        assert_eq!(number("0x"), None);
        assert_eq!(number("1k"), None);
    }

    #[test]
    fn objects_of_this_machine_are_listed_and_removed() {
        let key = 0x4b52_7001;
        let made = |kind| rows(kind).expect("a list").into_iter().find(|row| row.key == key);
        assert_eq!(library::find(Kind::Messages, key).ok(), None);
        // The tests run on Linux, which has these calls.
        let id = make_queue(key);
        let row = made(Kind::Messages).expect("it is there");
        assert_eq!((row.id, row.mode & 0o777, row.figures), (id, 0o600, [0, 0]));
        assert_eq!(remove(&["-Q".to_owned(), format!("{key:#x}")]), 0);
        assert_eq!(made(Kind::Messages), None);
        assert_eq!(remove(&["-q".to_owned(), id.to_string()]), 1);
        assert_eq!(remove(&["-x".to_owned()]), 2);
        assert_eq!(remove(&["-m".to_owned()]), 2);
    }

    #[allow(unsafe_code, reason = "the standard library has no call for it")]
    fn make_queue(key: i32) -> i32 {
        // SAFETY: the call takes numbers only.
        unsafe { libc::msgget(key, libc::IPC_CREAT | 0o600) }
    }
}
