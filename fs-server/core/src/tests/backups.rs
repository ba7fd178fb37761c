// SPDX-License-Identifier: MIT OR Apache-2.0
//! Homes that die, and the tree that goes on at their backups.

use super::storm::{Storm, remove_all};
use super::world::{World, node};
use abi::{Epoch, Errno, FileId};
use alloc::collections::BTreeSet;
use cluster::{Delta, Draft, Policy, View};
use fs_api::file::{Fsync, Hold, Resize};
use std::format;
use std::string::String;
use std::vec::Vec;

/// The view without a node: its slots' backups take over.
pub(super) fn without(view: &View, left: usize) -> View {
    let mut draft = Draft::new(view);
    View::slot_numbers().for_each(|slot| draft.avoid(slot));
    draft.leave(node(left as u16 + 1));
    draft.settle(Policy { backups: true });
    view.apply(&draft.finish().expect("somebody leaves")).expect("it is lawful")
}

/// Each slot in which something lives gets a backup again, the only other node.
fn backed(w: &World, view: &View, nodes: [usize; 2]) -> View {
    let enter = |view: &View| nodes.iter().for_each(|at| w.enter(*at, view));
    let slots: Vec<_> = View::slot_numbers()
        .filter(|slot| {
            let alone = view.slot(*slot).backup.is_none();
            let home = usize::from(view.home(*slot).get()) - 1;
            alone && w.step(home, |core, _| runtime::Core::occupies(core, *slot))
        })
        .collect();
    let with = |view: &View, change: &dyn Fn(cluster::Slot) -> cluster::Slot| {
        let slots = slots.iter().map(|slot| (*slot, change(*view.slot(*slot)))).collect();
        let delta = Delta { slots, ..Delta::new(view.epoch()) };
        view.apply(&delta).expect("it is lawful")
    };
    let other = |row: &cluster::Slot| {
        let home = usize::from(row.primary.get()) - 1;
        nodes.into_iter().find(|at| *at != home).expect("two nodes")
    };
    let joining = with(view, &|row| cluster::Slot {
        joining: Some(cluster::Joining {
            node: node(other(&row) as u16 + 1),
            goal: cluster::Goal::Backup,
        }),
        ..row
    });
    enter(&joining);
    for slot in &slots {
        let row = joining.slot(*slot);
        let home = usize::from(row.primary.get()) - 1;
        assert!(w.give(home, *slot, other(row)), "{slot} is given");
    }
    let next = Epoch(joining.epoch().0 + 1);
    let joined = with(&joining, &|row| row.joined(next).expect("it joins"));
    enter(&joined);
    w.settle();
    joined
}

/// A path, and what is behind it: bytes, mode, links.
type Line = (String, Result<Vec<u8>, Errno>, u32, u32);

/// All names below a directory.
fn listing(w: &World, at: usize, dir: &str) -> Vec<Line> {
    let mut all = Vec::new();
    for name in w.list(at, dir).expect("a directory") {
        let path = format!("{}/{name}", dir.trim_end_matches('/'));
        // proc-server's are no files of this server.
        let Ok(stat) = w.stat(at, &path) else { continue };
        let kind = stat.mode & 0o170_000;
        if kind == 0o010_000 {
            // A FIFO has no bytes here.
            all.push((path, Ok(Vec::new()), stat.mode, stat.links));
        } else if kind == 0o040_000 {
            all.push((path.clone(), Ok(Vec::new()), stat.mode, stat.links));
            // The image has links that lead round.
            if path.matches('/').count() < 5 {
                all.extend(listing(w, at, &path));
            }
        } else {
            all.push((path.clone(), w.get(at, &path), stat.mode, stat.links));
        }
    }
    all
}

const CREATE: u32 = 0o102;

/// A tree with something of everything, in slots of all three nodes.
fn build(w: &World) -> (FileId, Vec<u8>) {
    let long: Vec<u8> = (0..70_000u32).map(|at| (at / 7) as u8).collect();
    for (at, dir) in [(0, "/tmp"), (1, "/usr/share"), (2, "/home")] {
        w.mkdir(at, &format!("{dir}/d")).expect("made");
        w.put_long(at, &format!("{dir}/d/long"), &long).expect("made");
        w.put(at, &format!("{dir}/short"), dir.as_bytes()).expect("made");
        w.put((at + 1) % 3, &format!("{dir}/other"), b"from elsewhere").expect("made");
        w.link(at, &format!("{dir}/short"), &format!("{dir}/d/again")).expect("linked");
        w.symlink(at, "d/long", &format!("{dir}/link")).expect("made");
        w.socket(at, &format!("{dir}/socket")).expect("made");
        w.fifo(at, &format!("{dir}/fifo")).expect("made");
        w.chmod(at, &format!("{dir}/short"), 0o640).expect("root may");
        w.put(at, &format!("{dir}/gone"), b"gone").expect("made");
        w.unlink((at + 2) % 3, &format!("{dir}/gone")).expect("there");
        w.put(at, &format!("{dir}/cut"), b"a long text that is cut").expect("made");
        let cut = w.open(at, &format!("{dir}/cut"), CREATE).expect("there");
        for len in [6, 12] {
            w.call(at, &Resize { file: cut, len }).expect("it can be written");
        }
        w.close(at, cut);
        w.mkdir(at, &format!("{dir}/empty")).expect("made");
        w.rmdir(at, &format!("{dir}/empty")).expect("empty");
    }
    w.unlink(1, "/usr/share/words").expect("root may");
    let open = w.open(2, "/tmp/d/long", CREATE).expect("there");
    w.call(2, &Hold { file: open, node: node(2) }).expect("open");
    assert_eq!(w.read(2, open, 1000).expect("bytes"), long[..1000]);
    (open, long)
}

#[test]
fn tree_goes_on_at_the_backups_of_each_node_that_dies() {
    for dead in 0..3 {
        let (w, view) = World::with_backups(3);
        let (open, long) = build(&w);
        w.settle();
        let before: Vec<_> = ["/tmp", "/usr/share", "/home"].map(|dir| listing(&w, 0, dir)).into();
        w.kill(dead);
        let view = without(&view, dead);
        let left: Vec<usize> = (0..3).filter(|at| *at != dead).collect();
        left.iter().for_each(|at| w.enter(*at, &view));
        w.settle();
        for at in &left {
            let now: Vec<_> =
                ["/tmp", "/usr/share", "/home"].map(|dir| listing(&w, *at, dir)).into();
            assert!(now == before, "{dead} died, as {at} sees it: {now:?}");
        }
        // Open files go on where they stood.
        let reader = if dead == 2 { 1 } else { 2 };
        assert_eq!(w.read(reader, open, 1000).expect("bytes"), long[1000..2000], "{dead} died");
        // Another one gets a copy, and then the node dies that has taken over.
        w.put(left[0], "/tmp/later", b"later").expect("made");
        let view = backed(&w, &view, [left[0], left[1]]);
        let before = ["/tmp", "/usr/share", "/home"].map(|dir| listing(&w, left[0], dir));
        w.kill(left[0]);
        w.enter(left[1], &without(&view, left[0]));
        w.settle();
        let now = ["/tmp", "/usr/share", "/home"].map(|dir| listing(&w, left[1], dir));
        assert!(now == before, "{dead} and {} died", left[0]);
        assert_eq!(w.get(left[1], "/tmp/later"), Ok(b"later".to_vec()));
    }
}

#[test]
fn description_that_its_home_alone_holds_costs_no_message_and_ends_with_it() {
    let (w, view) = World::with_backups(3);
    w.put(0, "/tmp/f", b"text").expect("made");
    w.settle();
    // The first read notes the time of access.
    assert_eq!(w.get(0, "/tmp/f"), Ok(b"text".to_vec()));
    w.settle();
    let sent = w.messages();
    let file = w.open(0, "/tmp/f", 0).expect("there");
    assert_eq!(w.read(0, file, 10), Ok(b"text".to_vec()));
    w.settle();
    assert_eq!(w.messages(), sent);
    w.kill(0);
    let view = without(&view, 0);
    [1, 2].into_iter().for_each(|at| w.enter(at, &view));
    w.settle();
    assert_eq!((w.open_files(1), w.open_files(2)), (0, 0));
}

#[test]
fn unlinked_file_lives_as_long_as_somebody_has_it_open() {
    for closes in [false, true] {
        let (w, view) = World::with_backups(3);
        w.put(0, "/tmp/f", b"text").expect("made");
        let file = w.open(2, "/tmp/f", CREATE).expect("there");
        w.unlink(0, "/tmp/f").expect("there");
        if closes {
            w.close(2, file);
        }
        w.settle();
        w.kill(0);
        let view = without(&view, 0);
        [1, 2].into_iter().for_each(|at| w.enter(at, &view));
        w.settle();
        if closes {
            assert_eq!(w.read(2, file, 10), Err(Errno::EBADF));
        } else {
            assert_eq!(w.read(2, file, 10), Ok(b"text".to_vec()));
            w.close(2, file);
        }
        // What the dead node had is no more, but in this test.
        assert_eq!(w.objects(), usize::from(!closes), "the backup has given up its bytes");
    }
}

#[test]
fn fsync_waits_for_the_backup_and_write_does_not() {
    let (w, _) = World::with_backups(3);
    let file = w.open(0, "/tmp/f", CREATE).expect("made");
    w.settle();
    w.poke(0, b"text");
    let write = fs_api::file::Write {
        file,
        space: super::world::SPACE,
        addr: super::world::BUFFER,
        len: 4,
    };
    let cookie = w.begin(0, &write);
    w.answers();
    assert!(w.answer::<fs_api::file::Write>(0, cookie).is_some_and(|it| it.is_ok()));
    let cookie = w.begin(0, &Fsync { file });
    w.answers();
    assert_eq!(w.answer::<Fsync>(0, cookie), None);
    w.settle();
    assert_eq!(w.answer::<Fsync>(0, cookie), Some(Ok(())));
}

/// A node dies in the middle of everything. Every call ends, and what is left is one tree.
#[test]
fn storm_in_which_a_node_with_backups_ends_goes_on() {
    for seed in 0..400 {
        let dead = (seed % 3) as usize;
        let (w, mut view) = World::with_backups(3);
        let mut s = Storm::new(seed);
        let mut entered = BTreeSet::new();
        for round in 0..300 {
            let at = s.number(3);
            if at != dead || round < 150 {
                s.begin(&w, at);
            }
            if round == 150 {
                w.kill(dead);
                s.open.retain(|(at, _)| *at != dead);
                view = without(&view, dead);
            }
            let to = s.number(3);
            if round > 150 && to != dead && s.number(4) == 0 && entered.insert(to) {
                w.enter(to, &view);
            }
            w.deliver(to);
            w.answers();
            s.collect(&w, (round >= 150).then_some(dead));
        }
        let left: Vec<usize> = (0..3).filter(|at| *at != dead).collect();
        left.iter().for_each(|at| w.enter(*at, &view));
        w.settle();
        s.collect(&w, Some(dead));
        assert!(s.calls.is_empty(), "seed {seed}: {} calls hang", s.calls.len());
        for (at, file) in core::mem::take(&mut s.open) {
            w.close(at, file);
        }
        for dir in ["/tmp", "/usr", "/home"] {
            let [one, other] = [left[0], left[1]].map(|at| listing(&w, at, dir));
            assert!(one == other, "seed {seed}: {dir} is {one:?} or {other:?}");
        }
        assert_eq!(left.iter().map(|at| w.open_files(*at)).sum::<usize>(), 0, "seed {seed}");
        if dead != 0 {
            for dir in ["/tmp", "/home", "/usr"] {
                remove_all(&w, dir);
            }
            for path in ["/a", "/b", "/words", "/empty"] {
                if w.unlink(0, path) == Err(Errno::EISDIR) {
                    remove_all(&w, path);
                    w.rmdir(0, path).expect("empty now");
                }
            }
            w.settle();
            let objects = |at: &usize| w.step(*at, |core, _| core.tree.objects().len());
            assert_eq!(left.iter().map(objects).sum::<usize>(), 0, "seed {seed}");
        }
    }
}

#[test]
fn changes_that_no_tree_can_have_are_refused() {
    let (w, view) = World::with_backups(3);
    w.put(0, "/tmp/f", b"text").expect("made");
    w.settle();
    let slot = View::slot_numbers()
        .find(|slot| w.step(0, |core, _| runtime::Core::occupies(core, *slot)))
        .expect("something lives there");
    let backup = usize::from(view.slot(slot).backup.expect("it has one").get()) - 1;
    for seed in 0..2000u32 {
        let bytes: Vec<u8> = (0..seed % 60)
            .map(|at| (seed.wrapping_mul(2_654_435_761).wrapping_add(at * 40_503) >> 11) as u8)
            .collect();
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first %= 10;
        }
        // It changes something or not: what is there can be told.
        let _ = w.step(backup, |core, cx| runtime::Core::apply(core, cx, slot, &bytes));
    }
    w.kill(0);
    let view = without(&view, 0);
    [1, 2].into_iter().for_each(|at| w.enter(at, &view));
    w.settle();
    assert!(w.list(backup, "/tmp").is_ok());
    assert_eq!(w.list(1, "/tmp"), w.list(2, "/tmp"));
}
