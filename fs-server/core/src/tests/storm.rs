// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations from all nodes at once: every one ends, all nodes see the same tree, nothing is lost
//! or left behind, also when a node ends in the middle.

use super::world::{BUFFER, SPACE, World, path_of};
use abi::{Errno, FileId};
use fs_api::file::{Release, Write};
use fs_api::name::{MakeDirectory, Named, Open, Rename, Unlink};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::format;
use std::string::String;
use std::vec::Vec;

#[derive(Clone, Copy)]
pub(super) enum Begun {
    Open,
    Name,
    File,
}

/// Calls under way: node, cookie, what.
pub(super) struct Storm {
    random: ChaCha8Rng,
    pub(super) calls: Vec<(usize, u64, Begun)>,
    pub(super) open: Vec<(usize, FileId)>,
}

impl Storm {
    pub(super) fn new(seed: u64) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { random, calls: Vec::new(), open: Vec::new() }
    }

    pub(super) fn number(&mut self, below: usize) -> usize {
        self.random.next_u32() as usize % below
    }

    fn path(&mut self) -> String {
        let top = ["/tmp", "/usr/share", "/home", "/usr", "/"][self.number(5)];
        let name = ["words", "a", "b", "a/b", "empty", "share/words"][self.number(6)];
        format!("{top}/{name}")
    }

    pub(super) fn begin(&mut self, w: &World, at: usize) {
        let path = self.path();
        let (cookie, kind) = match self.number(8) {
            0..3 => {
                let open = Open { at: path_of(&path), flags: 0o1102, mode: 0o600 };
                (w.begin(at, &open), Begun::Open)
            }
            3 => {
                let make = MakeDirectory { at: path_of(&path), mode: 0o777 };
                (w.begin(at, &make), Begun::Name)
            }
            4 => {
                let directory = self.number(2) == 0;
                (w.begin(at, &Unlink { at: path_of(&path), directory }), Begun::Name)
            }
            5 => {
                let to_path = self.path();
                let rename = Rename { from: path_of(&path), to_dir: None, to_path, flags: 0 };
                (w.begin(at, &rename), Begun::Name)
            }
            _ => {
                let Some(mine) = self.open.iter().rposition(|(holder, _)| *holder == at) else {
                    return;
                };
                let file = self.open[mine].1;
                if self.number(2) == 0 {
                    self.open.remove(mine);
                    (w.begin(at, &Release { file }), Begun::File)
                } else {
                    let write = Write { file, space: SPACE, addr: BUFFER, len: 5000 };
                    (w.begin(at, &write), Begun::File)
                }
            }
        };
        self.calls.push((at, cookie, kind));
    }

    /// Collects answers; `dead` nodes give none.
    pub(super) fn collect(&mut self, w: &World, dead: Option<usize>) {
        for (at, cookie, kind) in core::mem::take(&mut self.calls) {
            if Some(at) == dead {
                continue;
            }
            match kind {
                Begun::Open => match w.answer::<Open>(at, cookie) {
                    Some(Ok(Named::Here(opened))) => self.open.push((at, opened.file)),
                    Some(Ok(Named::Elsewhere(_)) | Err(_)) => {}
                    None => self.calls.push((at, cookie, kind)),
                },
                Begun::Name => {
                    if w.answer::<Unlink>(at, cookie).is_none() {
                        self.calls.push((at, cookie, kind));
                    }
                }
                Begun::File => {
                    if w.answer::<Write>(at, cookie).is_none() {
                        self.calls.push((at, cookie, kind));
                    }
                }
            }
        }
    }
}

pub(super) fn remove_all(w: &World, dir: &str) {
    for name in w.list(0, dir).expect("a directory") {
        let path = format!("{dir}/{name}");
        match w.unlink(0, &path) {
            Ok(()) => {}
            Err(Errno::EISDIR) => {
                remove_all(w, &path);
                w.rmdir(0, &path).expect("empty now");
            }
            Err(errno) => panic!("{path}: {errno}"),
        }
    }
}

fn storm(seed: u64, dead: Option<usize>) -> (World, Storm) {
    let w = World::new(3);
    let mut s = Storm::new(seed);
    for round in 0..300 {
        let at = s.number(3);
        let lives = Some(at) != dead || round < 150;
        if lives {
            s.begin(&w, at);
        }
        let to = s.number(3);
        w.deliver(to);
        w.answers();
        s.collect(&w, dead.filter(|_| round >= 150));
        if let Some(dead) = dead.filter(|_| round == 150) {
            w.kill(dead);
            s.open.retain(|(at, _)| *at != dead);
        }
    }
    w.settle();
    s.collect(&w, dead);
    (w, s)
}

#[test]
fn storm_of_operations_leaves_one_tree_and_no_loss() {
    for seed in 0..10 {
        let (w, mut s) = storm(seed, None);
        assert!(s.calls.is_empty(), "seed {seed}: {} calls hang", s.calls.len());
        for (at, file) in core::mem::take(&mut s.open) {
            w.close(at, file);
        }
        for dir in ["/", "/tmp", "/usr", "/home"] {
            let names = w.list(0, dir);
            assert_eq!((w.list(1, dir), w.list(2, dir)), (names.clone(), names), "seed {seed}");
        }
        for dir in ["/tmp", "/home", "/usr"] {
            remove_all(&w, dir);
        }
        assert_eq!((0..3).map(|at| w.open_files(at)).sum::<usize>(), 0, "seed {seed}");
    }
}

#[test]
fn storm_in_which_a_node_ends_lets_every_other_call_end() {
    for seed in 0..12 {
        let dead = (seed % 3) as usize;
        let (w, mut s) = storm(seed, Some(dead));
        assert!(s.calls.is_empty(), "seed {seed}: {} calls hang", s.calls.len());
        for (at, file) in core::mem::take(&mut s.open) {
            let _ = w.call(at, &Release { file });
        }
        for at in (0..3).filter(|at| *at != dead) {
            assert_eq!(w.open_files(at), 0, "seed {seed}, node {at}");
        }
    }
}
