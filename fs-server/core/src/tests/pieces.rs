// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of files whose slot moves: how they go, and what a joiner does not take.

use super::moves::Move;
use super::world::World;
use crate::limits::MOVED_BYTES_MAX;
use crate::pieces::RECORD_BYTES;
use abi::Errno;
use abi::limits::PAGE_BYTES;
use fs_api::file::{Resize, Seek};
use runtime::limits::{NODE_BODY_BYTES, SLOT_BYTES_MAX};
use runtime::{Core, Export};
use std::format;
use std::vec;
use std::vec::Vec;

const PAGE: usize = PAGE_BYTES;

/// Bytes of a file with holes: every third stretch of 100 KiB is written.
fn holed(len: usize, salt: usize) -> Vec<u8> {
    let byte = |at: usize| if at / 102_400 % 3 == 1 { (at % 251 + salt) as u8 } else { 0 };
    (0..len).map(byte).collect()
}

#[test]
fn files_of_several_mebibytes_move_with_their_holes() {
    let w = World::with_room(2, 16 << 20);
    let it = Move::of_share(&w);
    let lens = [5 << 20, 1, PAGE, PAGE + 1, 700_000];
    for (at, len) in lens.iter().enumerate() {
        let bytes = if *len < 5000 { vec![7; *len] } else { holed(*len, at) };
        w.put_long(0, &format!("/usr/share/f{at}"), &bytes).expect("room");
    }
    let zeroes = w.open(0, "/usr/share/zeroes", 0o1102).expect("made");
    w.call(0, &Resize { file: zeroes, len: 3 << 20 }).expect("a hole");
    w.close(0, zeroes);
    let objects = w.objects();
    let messages = w.messages();
    assert!(it.give(&w));
    let pages = lens.iter().map(|len| len / 3 / PAGE).sum::<usize>() as u64;
    let parts = (w.messages() - messages) / 2;
    assert!(parts < pages / 10, "{parts} parts for {pages} pages: holes do not travel");
    it.end(&w, true, 0);
    assert_eq!(w.objects(), objects, "a file of zeroes alone had none, and has none");
    for (at, len) in lens.iter().enumerate() {
        let bytes = if *len < 5000 { vec![7; *len] } else { holed(*len, at) };
        assert!(w.get(1, &format!("/usr/share/f{at}")).expect("there") == bytes, "{len}");
    }
    assert!(w.get(0, "/usr/share/zeroes").expect("there") == vec![0; 3 << 20]);
}

#[test]
fn export_gives_pieces_that_a_message_carries_and_looks_at_few_pages_each() {
    let w = World::with_room(2, 16 << 20);
    let it = Move::of_share(&w);
    w.put_long(0, "/usr/share/f", &holed(2 << 20, 1)).expect("room");
    let head = w.step(it.from, |fs, cx| fs.export(cx, it.slot));
    assert!(matches!(head, Export::Head(head) if head.len() < 1000));
    let (mut at, mut empty, mut last) = (Some([0, 0]), 0, 0);
    while let Some(cursor) = at {
        let piece = w.step(it.from, |fs, cx| fs.export_more(cx, it.slot, cursor)).expect("ready");
        assert!(piece.bytes.len() <= NODE_BODY_BYTES);
        empty += u32::from(piece.bytes.is_empty());
        at = piece.next;
        last += 1;
        assert!(last < 100);
    }
    assert!(empty <= 1, "a hole of 200 KiB is passed in one step");
    // As often as it is asked.
    let again = w.step(it.from, |fs, cx| fs.export_more(cx, it.slot, [0, 0])).expect("ready");
    assert_eq!(again.bytes.len() % RECORD_BYTES, 0);
}

#[test]
fn joiner_without_memory_refuses_and_gives_everything_back() {
    for writes in [0, 1, 20, 100] {
        let w = World::with_room(2, 16 << 20);
        let it = Move::of_share(&w);
        let bytes = holed(2 << 20, 1);
        w.put(0, "/usr/share/a", b"a").expect("room");
        w.put_long(0, "/usr/share/f", &bytes).expect("room");
        let objects = w.objects();
        w.end_memory_after(Some(writes));
        assert!(!it.give(&w), "{writes}");
        assert_eq!(w.objects(), objects, "{writes}: given back at once");
        it.end(&w, false, 0);
        w.end_memory_after(None);
        assert!(w.get(1, "/usr/share/f").expect("there") == bytes);
        w.put(1, "/usr/share/g", b"g").expect("it goes on");
    }
}

#[test]
fn slot_with_a_head_too_long_for_a_heap_stays() {
    let w = World::new(2);
    let it = Move::of_share(&w);
    let mut names = 0;
    let name = |number: usize| format!("/usr/share/{number:0200}");
    w.put(0, "/usr/share/one", b"").expect("room");
    // Beside the name there is what it leads to.
    while names * 200 < SLOT_BYTES_MAX {
        w.link(0, "/usr/share/one", &name(names)).expect("room");
        names += 1;
    }
    assert!(w.step(it.from, |fs, _| fs.stays(it.slot)));
    assert!(!it.give(&w));
    it.end(&w, false, 0);
    for number in names / 2..names {
        w.unlink(0, &name(number)).expect("there");
    }
    assert!(!w.step(it.from, |fs, _| fs.stays(it.slot)));
}

#[test]
fn slot_whose_files_are_as_long_as_may_be_moves() {
    let w = World::with_room(2, 1 << 20);
    let it = Move::of_share(&w);
    let file = w.open(0, "/usr/share/f", 0o1102).expect("made");
    let end = MOVED_BYTES_MAX as i64 - 1;
    w.call(0, &Seek { file, offset: end, whence: 0 }).expect("open");
    w.write(0, file, b"x").expect("room");
    assert!(it.give(&w));
    it.end(&w, true, 0);
    w.call(0, &Seek { file, offset: end - 1, whence: 0 }).expect("open");
    assert_eq!(w.read(0, file, 10), Ok(b"\0x".into()));
    w.close(0, file);
}

/// A record of a piece.
fn record(inode: u64, page: u64, byte: u8) -> Vec<u8> {
    let mut record = inode.to_le_bytes().to_vec();
    record.extend(page.to_le_bytes());
    record.resize(RECORD_BYTES, byte);
    record
}

/// A slot whose head the joiner has admitted: with two files of two pages and a half, and a directory.
struct Admitted {
    w: World,
    it: Move,
    files: [u64; 2],
    directory: u64,
}

impl Admitted {
    fn new() -> Self {
        let w = World::new(2);
        let it = Move::of_share(&w);
        for path in ["/usr/share/a", "/usr/share/b"] {
            w.put(0, path, &[5; PAGE * 5 / 2]).expect("room");
        }
        w.put(0, "/usr/share/empty", b"").expect("room");
        w.mkdir(0, "/usr/share/d").expect("made");
        let [a, b, directory] = ["a", "b", "d"]
            .map(|name| w.stat(0, &format!("/usr/share/{name}")).expect("there").inode);
        let Export::Head(head) = w.step(it.from, |fs, cx| fs.export(cx, it.slot)) else {
            panic!("it has files")
        };
        assert_eq!(w.step(it.to, |fs, cx| fs.admits(cx, it.slot, &head)), Ok(()));
        Self { w, it, files: [a.min(b), a.max(b)], directory }
    }

    fn piece(&self, piece: &[u8]) -> Result<(), Errno> {
        self.w.step(self.it.to, |fs, cx| fs.admits_more(cx, self.it.slot, piece))
    }
}

#[test]
fn piece_with_a_page_that_no_file_of_the_head_has_is_refused() {
    let it = Admitted::new();
    let [first, second] = it.files;
    let empty = it.w.stat(0, "/usr/share/empty").expect("there").inode;
    let strange = [(it.directory, 0), (empty, 0), (second + 100, 0), (0, 0), (u64::MAX, u64::MAX)];
    for (inode, page) in strange {
        assert_eq!(it.piece(&record(inode, page, 1)), Err(Errno::EPROTO), "{inode} {page}");
    }
    for page in [3, 4, 1 << 52, u64::MAX / PAGE as u64 + 1, u64::MAX] {
        assert_eq!(it.piece(&record(first, page, 1)), Err(Errno::EPROTO), "{page}");
    }
    assert_eq!(it.w.objects(), 2, "nothing was made for them");
}

#[test]
fn piece_of_a_wrong_length_is_refused() {
    let it = Admitted::new();
    let [first, _] = it.files;
    let whole = record(first, 0, 1);
    for len in [1, 15, 16, RECORD_BYTES - 1] {
        assert_eq!(it.piece(&whole[..len]), Err(Errno::EPROTO), "{len}");
    }
    let more = [&whole[..], &[0]].concat();
    assert_eq!(it.piece(&more), Err(Errno::EPROTO));
    assert_eq!(it.piece(&[]), Ok(()), "a hole");
    assert_eq!(it.piece(&whole), Ok(()));
}

#[test]
fn piece_with_a_page_that_came_before_is_refused() {
    let it = Admitted::new();
    let [first, second] = it.files;
    assert_eq!(it.piece(&record(first, 1, 1)), Ok(()));
    assert_eq!(it.piece(&record(first, 1, 1)), Err(Errno::EPROTO));
    assert_eq!(it.piece(&record(first, 0, 1)), Err(Errno::EPROTO));
    assert_eq!(it.piece(&record(second, 2, 1)), Ok(()));
    assert_eq!(it.piece(&record(first, 2, 1)), Err(Errno::EPROTO));
    let twice = [record(second, 2, 1), record(second, 2, 1)].concat();
    assert_eq!(it.piece(&twice), Err(Errno::EPROTO));
    it.w.step(it.it.to, |fs, cx| fs.abandon(cx, it.it.slot));
    assert_eq!(it.w.objects(), 2, "what was made is given back");
}

#[test]
fn piece_of_a_slot_that_does_not_come_is_refused() {
    let it = Admitted::new();
    let [first, _] = it.files;
    it.w.step(it.it.to, |fs, cx| fs.abandon(cx, it.it.slot));
    assert_eq!(it.piece(&record(first, 0, 1)), Err(Errno::EPROTO));
    let here = it.w.step(it.it.from, |fs, cx| fs.admits_more(cx, it.it.slot, &[]));
    assert_eq!(here, Err(Errno::EPROTO));
    assert_eq!(it.w.objects(), 2);
}

#[test]
fn head_with_more_bytes_than_are_moved_is_refused() {
    let w = World::new(2);
    let it = Move::of_share(&w);
    w.put(0, "/usr/share/f", b"f").expect("room");
    let head = |len: u64| {
        let file = w.open(0, "/usr/share/f", 2).expect("there");
        w.call(0, &Resize { file, len }).expect("a hole");
        w.close(0, file);
        let head = w.step(it.from, |fs, cx| fs.export(cx, it.slot));
        if let Export::Head(head) = head { Some(head) } else { None }
    };
    assert!(head(MOVED_BYTES_MAX + 1).is_none());
    let sound = head(MOVED_BYTES_MAX).expect("it may move");
    // As postcard writes it, seven bits a byte.
    let size = [0x80, 0x80, 0x80, 0x20];
    let at = sound.windows(4).position(|bytes| bytes == size).expect("64 MiB");
    let mut forged = sound.clone();
    forged[at] = 0x81;
    assert_eq!(w.step(it.to, |fs, cx| fs.admits(cx, it.slot, &forged)), Err(Errno::EPROTO));
    assert_eq!(w.step(it.to, |fs, cx| fs.admits(cx, it.slot, &sound)), Ok(()));
}
