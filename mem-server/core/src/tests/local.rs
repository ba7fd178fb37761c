// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node: mappings, faults, copies, copy-on-write, objects, futexes, threads.

use super::*;
use abi::ObjectId;
use proptest::prelude::*;
use runtime::Completion;

const PAGE: u64 = 4096;

fn root_file(it: &mut Node, len: u64) -> ObjectId {
    it.call(&ObjectCreate { content: Content::Root { offset: 0, len }, slot: None })
        .expect("an object")
        .object
}

fn zero_object(it: &mut Node) -> ObjectId {
    it.call(&ObjectCreate { content: Content::Zero, slot: None }).expect("an object").object
}

fn of_object(space: SpaceId, object: ObjectId, pages: u64, shared: bool) -> Map {
    Map { backing: Backing::Object { object, offset: 0 }, shared, ..anonymous(space, pages) }
}

#[test]
fn memory_that_was_never_written_reads_as_zeroes_without_a_frame() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(anonymous(space, 4));
    assert_eq!(it.load(space, addr + 5), Ok(0));
    assert_eq!(it.with(|core| core.frames.allocated()), 0);
    it.store(space, addr + 5, 7).unwrap();
    assert_eq!(it.load(space, addr + 5), Ok(7));
    assert_eq!(it.peek(space, addr + 4, 3), Ok(vec![0, 7, 0]));
    it.call(&SpaceDestroy { space }).unwrap();
    it.assert_empty();
}

#[test]
fn copy_out_is_seen_through_a_mapping_that_showed_zeroes() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(anonymous(space, 1));
    assert_eq!(it.load(space, addr), Ok(0));
    it.poke(space, addr, &[9]).unwrap();
    assert_eq!(it.load(space, addr), Ok(9));
}

#[test]
fn fault_outside_mappings_is_efault_and_outside_rights_eacces() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(Map { protection: READ_ONLY, ..anonymous(space, 1) });
    assert_eq!(it.store(space, addr, 1), Err(Errno::EACCES));
    assert_eq!(it.poke(space, addr, &[1]), Err(Errno::EFAULT));
    assert_eq!(it.load(space, addr + PAGE), Err(Errno::EFAULT));
    assert_eq!(it.load(space, u64::MAX), Err(Errno::EFAULT));
    assert_eq!(it.poke(space, u64::MAX - 1, &[1, 2, 3]), Err(Errno::EFAULT));
    let stale = SpaceId { generation: 77, ..space };
    assert_eq!(it.call(&Fault { space: stale, addr, access: Access::Read }), Err(Errno::ESRCH));
}

#[test]
fn copy_out_over_a_hole_writes_nothing() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(anonymous(space, 2));
    it.call(&Unmap { space, addr: addr + PAGE, len: PAGE }).unwrap();
    assert_eq!(it.poke(space, addr + PAGE - 2, &[1, 2, 3, 4]), Err(Errno::EFAULT));
    assert_eq!(it.peek(space, addr + PAGE - 2, 2), Ok(vec![0, 0]));
}

#[test]
fn copy_string_ends_at_the_zero_byte_across_pages() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(anonymous(space, 2));
    it.poke(space, addr + PAGE - 3, b"hello\0x").unwrap();
    let mut buf = [0; 64];
    let op = CopyString { space, addr: addr + PAGE - 3 };
    let (count, len) = it.with_bulk(&op, &mut buf).unwrap();
    assert_eq!((count.count, &buf[..len]), (5, &b"hello"[..]));
    let short = it.with_bulk(&op, &mut buf[..5]);
    assert_eq!(short.map(|_| ()), Err(Errno::ENAMETOOLONG));
}

#[test]
fn fork_shares_frames_until_one_side_writes() {
    let mut it = Node::alone(16);
    let parent = it.space();
    let addr = it.map(anonymous(parent, 2));
    it.store(parent, addr, 1).unwrap();
    it.store(parent, addr + PAGE, 2).unwrap();
    let child = it.call(&SpaceFork { space: parent }).unwrap().space;
    assert_eq!(it.with(|core| core.frames.allocated()), 2);
    it.store(parent, addr, 3).unwrap();
    assert_eq!(it.load(child, addr), Ok(1));
    it.store(child, addr, 4).unwrap();
    assert_eq!(it.load(parent, addr), Ok(3));
    assert_eq!(it.with(|core| core.frames.allocated()), 3);
    it.call(&SpaceDestroy { space: parent }).unwrap();
    it.store(child, addr + PAGE, 5).unwrap();
    assert_eq!(it.with(|core| core.frames.allocated()), 2);
    it.call(&SpaceDestroy { space: child }).unwrap();
    it.assert_empty();
}

#[test]
fn private_file_mapping_shows_the_file_until_it_is_written() {
    let mut it = Node::alone(16);
    let space = it.space();
    let object = root_file(&mut it, 2 * PAGE);
    let addr = it.map(of_object(space, object, 3, false));
    it.call(&ObjectRelease { object }).unwrap();
    assert_eq!(it.load(space, addr + PAGE), Ok(b'b'));
    assert_eq!(it.with(|core| core.frames.allocated()), 0);
    it.store(space, addr + PAGE, b'!').unwrap();
    assert_eq!(it.peek(space, addr + PAGE, 2), Ok(vec![b'!', b'b']));
    assert_eq!(it.load(space, addr + 2 * PAGE), Err(Errno::EIO), "beyond the file's end");
    it.call(&SpaceDestroy { space }).unwrap();
    it.assert_empty();
}

#[test]
fn shared_mapping_of_a_root_file_cannot_become_writable() {
    let mut it = Node::alone(16);
    let space = it.space();
    let object = root_file(&mut it, PAGE);
    assert_eq!(it.call(&of_object(space, object, 1, true)), Err(Errno::EACCES));
    let read = Map { protection: READ_ONLY, ..of_object(space, object, 1, true) };
    let addr = it.map(read);
    let op = Protect { space, addr, len: PAGE, protection: RW };
    assert_eq!(it.call(&op), Err(Errno::EACCES));
}

#[test]
fn shared_memory_is_one_memory_for_both_sides_of_a_fork() {
    let mut it = Node::alone(16);
    let parent = it.space();
    let addr = it.map(Map { shared: true, ..anonymous(parent, 2) });
    let child = it.call(&SpaceFork { space: parent }).unwrap().space;
    it.store(child, addr + 8, 42).unwrap();
    assert_eq!(it.load(parent, addr + 8), Ok(42));
    it.call(&SpaceDestroy { space: parent }).unwrap();
    assert_eq!(it.load(child, addr + 8), Ok(42));
    it.call(&SpaceDestroy { space: child }).unwrap();
    it.assert_empty();
}

#[test]
fn object_read_and_write_agree_with_its_mappings() {
    let mut it = Node::alone(16);
    let space = it.space();
    let object = zero_object(&mut it);
    let mut data = vec![5; 6000];
    it.with_bulk(&ObjectWrite { object, offset: 100 }, &mut data).unwrap();
    let addr = it.map(of_object(space, object, 2, true));
    assert_eq!(it.load(space, addr + 99), Ok(0));
    assert_eq!(it.load(space, addr + 100), Ok(5));
    it.store(space, addr + 5000, 6).unwrap();
    let mut back = vec![1; 3];
    it.with_bulk(&ObjectRead { object, offset: 4999, len: 3 }, &mut back).unwrap();
    assert_eq!(back, [5, 6, 5]);
    it.with_bulk(&ObjectRead { object, offset: 1 << 30, len: 3 }, &mut back).unwrap();
    assert_eq!(back, [0, 0, 0]);
    it.call(&ObjectResize { object, len: 4000 }).unwrap();
    assert_eq!(it.load(space, addr + 5000), Err(Errno::EIO));
    it.call(&ObjectResize { object, len: 8192 }).unwrap();
    assert_eq!(it.load(space, addr + 4050), Ok(0), "what was cut off stays gone");
    it.call(&ObjectRelease { object }).unwrap();
    assert_eq!(it.call(&ObjectRelease { object }), Err(Errno::ESTALE));
    it.call(&SpaceDestroy { space }).unwrap();
    it.assert_empty();
}

#[test]
fn hole_in_an_object_is_zeroes_and_gives_its_pages_back() {
    let mut it = Node::alone(16);
    let space = it.space();
    let object = zero_object(&mut it);
    let mut data = vec![5; 4 * PAGE as usize];
    it.with_bulk(&ObjectWrite { object, offset: 0 }, &mut data).unwrap();
    let addr = it.map(of_object(space, object, 4, true));
    for page in 0..4 {
        assert_eq!(it.load(space, addr + page * PAGE), Ok(5));
    }
    it.call(&ObjectPunch { object, first: 1, pages: 2 }).unwrap();
    for (page, byte) in (0..4).zip([5, 0, 0, 5]) {
        assert_eq!(it.load(space, addr + page * PAGE), Ok(byte));
    }
    it.store(space, addr + PAGE, 7).unwrap();
    let mut back = vec![1; 1];
    it.with_bulk(&ObjectRead { object, offset: PAGE, len: 1 }, &mut back).unwrap();
    assert_eq!(back, [7]);
    it.call(&ObjectPunch { object, first: 0, pages: 1 << 40 }).unwrap();
    let beyond = ObjectPunch { object, first: 2, pages: u64::MAX };
    assert_eq!(it.call(&beyond), Err(Errno::EINVAL));
    it.call(&SpaceDestroy { space }).unwrap();
    it.call(&ObjectRelease { object }).unwrap();
    assert_eq!(it.call(&ObjectPunch { object, first: 0, pages: 1 }), Err(Errno::ESTALE));
    it.assert_empty();
}

#[test]
fn object_copy_moves_bytes_between_file_and_program() {
    let mut it = Node::alone(64);
    let space = it.space();
    let addr = it.map(anonymous(space, 20));
    let object = zero_object(&mut it);
    let data: Vec<u8> = (0..30_000u32).map(|i| (i % 251) as u8).collect();
    it.poke(space, addr + 77, &data).unwrap();
    let len = data.len() as u64;
    let write =
        ObjectCopy { object, offset: 1234, space, addr: addr + 77, len, access: Access::Write };
    it.call(&write).unwrap();
    let to = addr + 10 * PAGE + 1;
    let read = ObjectCopy { addr: to, access: Access::Read, ..write };
    it.call(&read).unwrap();
    assert_eq!(it.peek(space, to, data.len()), Ok(data));
    assert_eq!(it.call(&ObjectCopy { addr: 0x5000, ..read }), Err(Errno::EFAULT));
    assert_eq!(it.call(&ObjectCopy { len: COPY_BYTES + 1, ..read }), Err(Errno::EMSGSIZE));
}

#[test]
fn stack_grows_down_to_its_guard_gap_and_not_further() {
    let mut it = Node::alone(64);
    let space = it.space();
    let top = 0x7fff_0000_0000;
    it.map(Map { addr: top - PAGE, fixed: true, grows_down: true, ..anonymous(space, 1) });
    it.store(space, top - 20 * PAGE, 1).unwrap();
    let size = it.call(&SpaceSize { space }).unwrap();
    assert_eq!(size.stack, 20 * PAGE);
    it.map(Map { addr: top - 400 * PAGE, fixed: true, ..anonymous(space, 1) });
    assert_eq!(it.store(space, top - 390 * PAGE, 1), Err(Errno::EFAULT));
    assert_eq!(it.store(space, top - 9 * 1024 * 1024, 1), Err(Errno::EFAULT));
}

#[test]
fn protect_takes_rights_at_once_and_gives_them_back_on_demand() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(anonymous(space, 3));
    for page in 0..3 {
        it.store(space, addr + page * PAGE, 1).unwrap();
    }
    let middle = Protect { space, addr: addr + PAGE, len: PAGE, protection: READ_ONLY };
    it.call(&middle).unwrap();
    assert_eq!(it.store(space, addr + PAGE, 2), Err(Errno::EACCES));
    assert_eq!(it.load(space, addr + PAGE), Ok(1));
    let none = Protection { read: false, ..READ_ONLY };
    it.call(&Protect { protection: none, ..middle }).unwrap();
    assert_eq!(it.load(space, addr + PAGE), Err(Errno::EACCES));
    assert_eq!(it.call(&Regions { space, after: 0 }).unwrap().0.len(), 3);
    it.call(&Protect { protection: RW, ..middle }).unwrap();
    it.store(space, addr + PAGE, 3).unwrap();
    assert_eq!(it.call(&Regions { space, after: 0 }).unwrap().0.len(), 1, "areas join again");
    let beyond = Protect { space, addr, len: 4 * PAGE, protection: RW };
    assert_eq!(it.call(&beyond), Err(Errno::ENOMEM));
}

#[test]
fn remap_moves_pages_and_grows_in_place_where_there_is_room() {
    let mut it = Node::alone(32);
    let space = it.space();
    let low = 0x10_0000;
    it.map(Map { addr: low, fixed: true, ..anonymous(space, 2) });
    it.store(space, low + PAGE, 9).unwrap();
    let op =
        Remap { space, addr: low, len: 2 * PAGE, new_len: 4 * PAGE, may_move: false, fixed: None };
    assert_eq!(it.call(&op).unwrap().addr, low);
    it.map(Map { addr: low + 4 * PAGE, fixed: true, protection: READ_ONLY, ..anonymous(space, 1) });
    let grow = Remap { len: 4 * PAGE, new_len: 8 * PAGE, ..op };
    assert_eq!(it.call(&grow), Err(Errno::ENOMEM));
    let moved = it.call(&Remap { may_move: true, ..grow }).unwrap().addr;
    assert_ne!(moved, low);
    assert_eq!(it.load(space, moved + PAGE), Ok(9));
    assert_eq!(it.load(space, low), Err(Errno::EFAULT));
    it.store(space, moved + 7 * PAGE, 1).unwrap();
    let shrink = Remap { addr: moved, len: 8 * PAGE, new_len: PAGE, ..op };
    it.call(&shrink).unwrap();
    assert_eq!(it.load(space, moved + PAGE), Err(Errno::EFAULT));
    it.call(&SpaceDestroy { space }).unwrap();
    it.assert_empty();
}

#[test]
fn map_checks_address_length_and_what_is_there() {
    let mut it = Node::alone(16);
    let space = it.space();
    let fixed = Map { addr: 0x20_0000, fixed: true, ..anonymous(space, 1) };
    it.map(fixed.clone());
    let there = Map { fixed: false, no_replace: true, ..fixed.clone() };
    assert_eq!(it.call(&there), Err(Errno::EEXIST));
    assert_eq!(it.call(&Map { len: 0, ..fixed.clone() }), Err(Errno::EINVAL));
    assert_eq!(it.call(&Map { addr: 0x20_0001, ..fixed.clone() }), Err(Errno::EINVAL));
    assert_eq!(it.call(&Map { addr: 0, ..fixed.clone() }), Err(Errno::EPERM));
    assert_eq!(it.call(&Map { len: u64::MAX, ..fixed.clone() }), Err(Errno::ENOMEM));
    assert_eq!(it.call(&Map { len: 1 << 47, ..anonymous(space, 1) }), Err(Errno::ENOMEM));
    let hint = it.map(Map { addr: 0x30_0000, ..anonymous(space, 1) });
    assert_eq!(hint, 0x30_0000);
    let object = ObjectId::from_raw(99);
    assert_eq!(it.call(&of_object(space, object, 1, false)), Err(Errno::ESTALE));
}

#[test]
fn out_of_frames_is_enomem_and_leaves_nothing_behind() {
    let mut it = Node::alone(4);
    let space = it.space();
    let addr = it.map(anonymous(space, 8));
    for page in 0..3 {
        it.store(space, addr + page * PAGE, 1).unwrap();
    }
    assert_eq!(it.store(space, addr + 3 * PAGE, 1), Err(Errno::ENOMEM));
    it.call(&SpaceDestroy { space }).unwrap();
    it.assert_empty();
}

fn wait(it: &mut Node, space: SpaceId, addr: u64, value: u32) -> Result<abi::Ticket, Errno> {
    match it.status(&FutexWait { space, addr, value, bitset_shared: 0xffff_ffff }) {
        Err(Status::Pending(ticket)) => Ok(ticket),
        Err(Status::Failed(errno)) => Err(errno),
        other => panic!("{other:?}"),
    }
}

#[test]
fn futex_waits_only_while_the_word_has_the_value_and_wakes_in_order() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(anonymous(space, 1));
    it.poke(space, addr, &7u32.to_le_bytes()).unwrap();
    assert_eq!(wait(&mut it, space, addr, 8), Err(Errno::EAGAIN));
    let first = wait(&mut it, space, addr, 7).unwrap();
    let second = wait(&mut it, space, addr, 7).unwrap();
    let wake = FutexWake { space, addr, count: 1, bitset_shared: 0xffff_ffff };
    assert_eq!(it.call(&wake).unwrap().count, 1);
    let end = |ticket| Some(Completion::Ticket { ticket, result: Ok(runtime::Msg::default()) });
    assert_eq!(it.take(), end(first));
    assert_eq!(it.take(), None);
    let requeue = FutexRequeue {
        space,
        addr,
        to: addr + 4,
        wake: 0,
        requeue: 5,
        expected: Some(7),
        shared: false,
    };
    assert_eq!(it.call(&requeue).unwrap().count, 1);
    assert_eq!(it.call(&wake).unwrap().count, 0);
    assert_eq!(it.call(&FutexWake { addr: addr + 4, ..wake }).unwrap().count, 1);
    assert_eq!(it.take(), end(second));
}

#[test]
fn futex_wait_that_is_cancelled_or_loses_its_space_ends_with_ecanceled() {
    let mut it = Node::alone(16);
    let space = it.space();
    let addr = it.map(anonymous(space, 1));
    let first = wait(&mut it, space, addr, 0).unwrap();
    let second = wait(&mut it, space, addr, 0).unwrap();
    let mut msg = runtime::Msg { words: [first.to_word(), 0, 0, 0], ..Default::default() };
    let bulk = &mut runtime::Bulk::none();
    it.host.request(&mut it.platform, CLIENT, system::CANCEL, &mut msg, bulk);
    let end = |ticket| Some(Completion::Ticket { ticket, result: Err(Errno::ECANCELED) });
    assert_eq!(it.take(), end(first));
    it.call(&SpaceDestroy { space }).unwrap();
    assert_eq!(it.take(), end(second));
    it.assert_empty();
}

#[test]
fn shared_futex_is_one_queue_for_two_spaces() {
    let mut it = Node::alone(16);
    let parent = it.space();
    let addr = it.map(Map { shared: true, ..anonymous(parent, 1) });
    let child = it.call(&SpaceFork { space: parent }).unwrap().space;
    let bitset_shared = 1 << 32 | 1;
    let op = FutexWait { space: parent, addr, value: 0, bitset_shared };
    assert!(matches!(it.status(&op), Err(Status::Pending(_))));
    let wake = FutexWake { space: child, addr, count: 9, bitset_shared };
    assert_eq!(it.call(&wake).unwrap().count, 1);
}

#[test]
fn thread_objects_keep_the_hardware_space_until_they_are_released() {
    let mut it = Node::alone(16);
    let space = it.space();
    let slot = it.call(&ThreadCreate { space }).unwrap().slot;
    it.call(&SpaceDestroy { space }).unwrap();
    assert_eq!(it.call(&ThreadRelease { slot: slot + 1 }), Err(Errno::ESRCH));
    it.call(&ThreadRelease { slot }).unwrap();
    it.assert_empty();
}

#[test]
fn operations_of_other_nodes_are_refused_to_local_clients_and_the_reverse() {
    let mut it = Node::alone(16);
    let req = peer::Forget { object: ObjectId::from_raw(1) };
    assert_eq!(it.call(&req), Err(Errno::ENOSYS));
}

#[derive(Clone, Debug)]
enum Step {
    Map { space: usize, at: u64, pages: u64, kind: u8 },
    Unmap { space: usize, at: u64, pages: u64 },
    Protect { space: usize, at: u64, pages: u64, write: bool },
    Remap { space: usize, at: u64, pages: u64, new_pages: u64 },
    Store { space: usize, at: u64, byte: u8 },
    Load { space: usize, at: u64 },
    Poke { space: usize, at: u64, byte: u8 },
    Fork { space: usize },
    Destroy { space: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (s, at, n) = (0..3usize, 0..24u64, 1..8u64);
    let step = prop_oneof![
        3 => (s.clone(), at.clone(), n.clone(), 0..4u8)
            .prop_map(|(space, at, pages, kind)| Step::Map { space, at, pages, kind }),
        1 => (s.clone(), at.clone(), n.clone())
            .prop_map(|(space, at, pages)| Step::Unmap { space, at, pages }),
        1 => (s.clone(), at.clone(), n.clone(), any::<bool>())
            .prop_map(|(space, at, pages, write)| Step::Protect { space, at, pages, write }),
        1 => (s.clone(), at.clone(), n.clone(), n)
            .prop_map(|(space, at, pages, new_pages)| Step::Remap { space, at, pages, new_pages }),
        6 => (s.clone(), at.clone(), any::<u8>())
            .prop_map(|(space, at, byte)| Step::Store { space, at, byte }),
        3 => (s.clone(), at.clone()).prop_map(|(space, at)| Step::Load { space, at }),
        3 => (s.clone(), at, any::<u8>())
            .prop_map(|(space, at, byte)| Step::Poke { space, at, byte }),
        1 => s.clone().prop_map(|space| Step::Fork { space }),
        1 => s.prop_map(|space| Step::Destroy { space }),
    ];
    proptest::collection::vec(step, 1..80)
}

const LOW: u64 = 0x10_0000;

/// One step; whether the memory that it names could be reached, for stores.
fn run(it: &mut Node, spaces: &mut Vec<SpaceId>, object: ObjectId, step: &Step) {
    let pick = |spaces: &Vec<SpaceId>, at: usize| spaces[at % spaces.len()];
    match *step {
        Step::Map { space, at, pages, kind } => {
            let space = pick(spaces, space);
            let base = Map { addr: LOW + at * PAGE, fixed: true, ..anonymous(space, pages) };
            let backing = Backing::Object { object, offset: at % 3 * PAGE };
            let _ = it.call(&match kind {
                0 => base,
                1 => Map { shared: true, ..base },
                2 => Map { backing, ..base },
                _ => Map { backing, shared: true, ..base },
            });
        }
        Step::Unmap { space, at, pages } => {
            let space = pick(spaces, space);
            it.call(&Unmap { space, addr: LOW + at * PAGE, len: pages * PAGE }).unwrap();
        }
        Step::Protect { space, at, pages, write } => {
            let protection = if write { RW } else { READ_ONLY };
            let (space, addr, len) = (pick(spaces, space), LOW + at * PAGE, pages * PAGE);
            let _ = it.call(&Protect { space, addr, len, protection });
        }
        Step::Remap { space, at, pages, new_pages } => {
            let (space, addr, len) = (pick(spaces, space), LOW + at * PAGE, pages * PAGE);
            let new_len = new_pages * PAGE;
            let _ = it.call(&Remap { space, addr, len, new_len, may_move: true, fixed: None });
        }
        Step::Store { space, at, byte } => {
            let (space, addr) = (pick(spaces, space), LOW + at * PAGE);
            if it.store(space, addr, byte).is_ok() {
                assert_eq!(it.peek(space, addr, 1), Ok(vec![byte]));
            }
        }
        Step::Load { space, at } => {
            let (space, addr) = (pick(spaces, space), LOW + at * PAGE);
            let seen = it.load(space, addr);
            assert_eq!(it.peek(space, addr, 1).ok(), seen.ok().map(|byte| vec![byte]));
        }
        Step::Poke { space, at, byte } => {
            let (space, addr) = (pick(spaces, space), LOW + at * PAGE);
            if it.poke(space, addr, &[byte]).is_ok() {
                assert_eq!(it.load(space, addr), Ok(byte));
            }
        }
        Step::Fork { space } => {
            if let Ok(child) = it.call(&SpaceFork { space: pick(spaces, space) }) {
                spaces.push(child.space);
            }
        }
        Step::Destroy { space } => {
            let space = spaces.swap_remove(space % spaces.len());
            it.call(&SpaceDestroy { space }).unwrap();
            if spaces.is_empty() {
                spaces.push(it.space());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
    #[test]
    fn whatever_happens_everything_is_free_after_the_last_space(
        steps in steps(),
        frames in prop_oneof![Just(400usize), 4..40usize],
    ) {
        let mut it = Node::alone(frames);
        let object = zero_object(&mut it);
        let _ = it.with_bulk(&ObjectWrite { object, offset: 0 }, &mut vec![3; 5 * 4096]);
        let mut spaces = vec![it.space()];
        for step in &steps {
            run(&mut it, &mut spaces, object, step);
        }
        for space in spaces {
            it.call(&SpaceDestroy { space }).unwrap();
        }
        it.call(&ObjectRelease { object }).unwrap();
        it.assert_empty();
    }
}
