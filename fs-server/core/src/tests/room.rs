// SPDX-License-Identifier: MIT OR Apache-2.0
//! fallocate(2), and holes.

use super::backups::without;
use super::moves::Move;
use super::world::{World, node};
use crate::limits::FILE_BYTES_MAX;
use abi::linux::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};
use abi::{Errno, FileId};
use fs_api::file::{Allocate, FileStat, Hold, ObjectOf, Resize, Seek};
use fs_api::name::TreeUse;
use std::vec::Vec;

const CREATE: u32 = 0o102;
const PAGE: u64 = 4096;
const HOLE: u32 = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

fn allocate(w: &World, at: usize, file: FileId, mode: u32, range: [u64; 2]) -> Result<(), Errno> {
    let [offset, len] = range;
    w.call(at, &Allocate { file, mode, offset, len })
}

/// Size, and pages in use.
fn room(w: &World, at: usize, file: FileId) -> (u64, u64) {
    let stat = w.call(at, &FileStat { file }).expect("open");
    (stat.size, stat.blocks / 8)
}

fn next(w: &World, at: usize, file: FileId, offset: i64, whence: u32) -> Result<u64, Errno> {
    Ok(w.call(at, &Seek { file, offset, whence })?.offset)
}

#[test]
fn room_is_reserved_and_given_back() {
    for at in 0..2 {
        let w = World::new(2);
        let file = w.open(at, "/tmp/f", CREATE).expect("made");
        assert_eq!(allocate(&w, at, file, 0, [0, 3 * PAGE]), Ok(()));
        assert_eq!(room(&w, at, file), (3 * PAGE, 3));
        assert_eq!(allocate(&w, at, file, FALLOC_FL_KEEP_SIZE, [2 * PAGE, 2 * PAGE]), Ok(()));
        assert_eq!(room(&w, at, file), (3 * PAGE, 4));
        assert_eq!(w.write(at, file, &[7; 5000]), Ok(5000));
        assert_eq!(room(&w, at, file), (3 * PAGE, 4));
        let free = w.call(0, &TreeUse {}).expect("asked").bytes_free;
        assert_eq!(allocate(&w, at, file, HOLE, [10, 2 * PAGE]), Ok(()));
        assert_eq!(room(&w, at, file), (3 * PAGE, 3));
        assert_eq!(w.call(0, &TreeUse {}).expect("asked").bytes_free, free + PAGE);
        let bytes = w.get(at, "/tmp/f").expect("there");
        assert!(bytes[..10] == [7; 10] && bytes[10..].iter().all(|byte| *byte == 0));
        let much = [0, 1 << 30];
        assert_eq!(allocate(&w, at, file, 0, much), Err(Errno::ENOSPC));
        assert_eq!(allocate(&w, at, file, 0, [FILE_BYTES_MAX, 1]), Err(Errno::EFBIG));
        assert_eq!(allocate(&w, at, file, HOLE | 64, [0, 1]), Err(Errno::EOPNOTSUPP));
        assert_eq!(allocate(&w, at, file, FALLOC_FL_PUNCH_HOLE, [0, 1]), Err(Errno::EOPNOTSUPP));
        assert_eq!(room(&w, at, file), (3 * PAGE, 3));
        assert_eq!(allocate(&w, at, file, FALLOC_FL_ZERO_RANGE, [1, 5 * PAGE]), Ok(()));
        assert_eq!(room(&w, at, file), (5 * PAGE + 1, 6));
        assert!(w.get(at, "/tmp/f").expect("there")[1..].iter().all(|byte| *byte == 0));
        let reads = w.open(at, "/tmp/f", 0).expect("there");
        assert_eq!(allocate(&w, at, reads, 0, [0, 1]), Err(Errno::EBADF));
        let null = w.open(at, "/dev/null", 2).expect("there");
        assert_eq!(allocate(&w, at, null, 0, [0, 1]), Err(Errno::ENODEV));
    }
}

#[test]
fn seek_finds_data_and_holes_unless_programs_write_through_mappings() {
    let w = World::new(2);
    let file = w.open(1, "/tmp/f", CREATE).expect("made");
    for page in [1, 2, 5] {
        next(&w, 1, file, (page * PAGE) as i64, 0).expect("open");
        w.write(1, file, &[1; PAGE as usize]).expect("room");
    }
    w.call(1, &Resize { file, len: 8 * PAGE + 9 }).expect("room");
    let (data, hole) = (3, 4);
    let page = |page: u64, more: i64| (page * PAGE) as i64 + more;
    assert_eq!(next(&w, 1, file, 5, data), Ok(PAGE));
    assert_eq!(next(&w, 1, file, 5, hole), Ok(5));
    assert_eq!(next(&w, 1, file, page(1, 7), data), Ok(PAGE + 7));
    assert_eq!(next(&w, 1, file, page(1, 7), hole), Ok(3 * PAGE));
    assert_eq!(next(&w, 1, file, page(3, 0), data), Ok(5 * PAGE));
    assert_eq!(next(&w, 1, file, 0, 1), Ok(5 * PAGE), "it stands there");
    assert_eq!(next(&w, 1, file, page(6, 0), data), Err(Errno::ENXIO));
    assert_eq!(next(&w, 1, file, page(8, 8), hole), Ok(8 * PAGE + 8));
    assert_eq!(next(&w, 1, file, page(8, 9), hole), Err(Errno::ENXIO));
    assert_eq!(next(&w, 1, file, -1, hole), Err(Errno::ENXIO));
    let reads = w.open(0, "/tmp/f", 0).expect("there");
    w.call(0, &ObjectOf { file: reads }).expect("mapped");
    assert_eq!(next(&w, 1, file, 0, hole), Ok(0), "nobody writes through that");
    w.call(1, &ObjectOf { file }).expect("mapped");
    assert_eq!(next(&w, 1, file, 5, data), Ok(5));
    assert_eq!(next(&w, 1, file, 5, hole), Ok(8 * PAGE + 9));
    let words = w.open(0, "/usr/share/words", 0).expect("there");
    assert_eq!((next(&w, 0, words, 3, data), next(&w, 0, words, 3, hole)), (Ok(3), Ok(50)));
}

#[test]
fn hole_in_a_file_that_other_nodes_hold_is_refused() {
    let w = World::new(2);
    let file = w.open(0, "/tmp/f", CREATE).expect("made");
    w.write(0, file, &[1; 9000]).expect("room");
    w.hold_elsewhere();
    assert_eq!(allocate(&w, 0, file, HOLE, [0, 8192]), Err(Errno::EOPNOTSUPP));
    assert_eq!(room(&w, 0, file), (9000, 3));
}

#[test]
fn files_of_a_tib_cost_what_is_in_them() {
    let w = World::new(2);
    let file = w.open(1, "/tmp/f", CREATE).expect("made");
    // The bytes of these tests' objects stand in memory: only what is said of them is so large.
    w.call(1, &Resize { file, len: FILE_BYTES_MAX }).expect("only holes");
    assert_eq!(room(&w, 1, file), (FILE_BYTES_MAX, 0));
    assert_eq!(next(&w, 1, file, 0, 3), Err(Errno::ENXIO));
    assert_eq!(next(&w, 1, file, 1 << 39, 4), Ok(1 << 39));
    assert_eq!(allocate(&w, 1, file, HOLE, [0, FILE_BYTES_MAX]), Ok(()));
    let far = [FILE_BYTES_MAX - PAGE, PAGE];
    assert_eq!(allocate(&w, 1, file, 0, far), Ok(()));
    assert_eq!(next(&w, 1, file, 0, 3), Ok(FILE_BYTES_MAX - PAGE));
    assert_eq!(room(&w, 1, file), (FILE_BYTES_MAX, 1));
}

#[test]
fn holes_and_room_are_the_same_at_the_backup_and_at_another_home() {
    let (w, view) = World::with_backups(3);
    let file = w.open(1, "/tmp/f", CREATE).expect("made");
    w.call(1, &Hold { file, node: node(2) }).expect("open");
    let bytes: Vec<u8> = (0..6 * PAGE as u32).map(|at| (at / 100 + 1) as u8).collect();
    w.write(1, file, &bytes).expect("room");
    assert_eq!(allocate(&w, 1, file, HOLE, [PAGE + 10, 3 * PAGE]), Ok(()));
    assert_eq!(allocate(&w, 1, file, HOLE, [100, 50]), Ok(()), "less than a page");
    assert_eq!(allocate(&w, 1, file, 0, [8 * PAGE, PAGE]), Ok(()));
    let (before, is) = (w.get(1, "/tmp/f"), room(&w, 1, file));
    w.settle();
    w.kill(0);
    let view = without(&view, 0);
    [1, 2].into_iter().for_each(|at| w.enter(at, &view));
    w.settle();
    assert!(w.get(2, "/tmp/f") == before);
    assert_eq!(room(&w, 1, file), is);
    assert_eq!(next(&w, 1, file, 0, 4), Ok(2 * PAGE));

    let w = World::new(3);
    let it = Move::of_share(&w);
    let file = w.open(1, "/usr/share/f", CREATE).expect("made");
    w.write(1, file, &bytes).expect("room");
    assert_eq!(allocate(&w, 1, file, HOLE, [0, 2 * PAGE]), Ok(()));
    assert_eq!(allocate(&w, 1, file, FALLOC_FL_KEEP_SIZE, [7 * PAGE, PAGE]), Ok(()));
    let (before, is) = (w.get(1, "/usr/share/f"), room(&w, 1, file));
    assert!(it.give(&w));
    it.end(&w, true, 0);
    assert!(w.get(2, "/usr/share/f") == before);
    assert_eq!(room(&w, 1, file), is);
    assert_eq!(next(&w, 1, file, 0, 3), Ok(2 * PAGE));
}
