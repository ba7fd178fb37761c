// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forks, kills, moves of processes and of slots, nodes that fail and come back, links that fail, views that
//! each node enters at another time: in any order, from a seed.

use super::cluster::{Cluster, errno, node, slot_of};
use crate::process::ChildState;
use crate::signal::number;
use crate::thread::Run;
use abi::Errno;
use abi::linux::general::{__NR_fork, __NR_kill};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

const NODES: u16 = 4;
const STEPS: usize = 200;

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.below(of.len())]) }
    }
}

struct Storm {
    cluster: Cluster,
    random: Random,
    /// A process of each node that forks and kills, and does not move.
    roots: BTreeMap<u16, u32>,
    /// Children, with the node of their parent.
    children: BTreeMap<u32, u16>,
    /// Down, and whether the view knows.
    down: Option<(u16, bool)>,
    cuts: BTreeSet<(u16, u16)>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(NODES);
        let roots = (1..=NODES).map(|at| (at, cluster.spawn(at))).collect();
        let random = Random(seed);
        let (children, cuts) = (BTreeMap::new(), BTreeSet::new());
        Self { cluster, random, roots, children, down: None, cuts }
    }

    fn up(&self) -> Vec<u16> {
        self.cluster.nodes.keys().copied().collect()
    }

    /// A root that is in user mode, and its node.
    fn root(&mut self) -> Option<(u16, u32)> {
        let roots: Vec<(u16, u32)> = self.roots.iter().map(|(at, pid)| (*at, *pid)).collect();
        let (at, pid) = self.random.pick(&roots)?;
        let user = self.cluster.step(at, |core, _| {
            let id = core.thread_by_tid(pid).expect("a root lives");
            matches!(core.threads.get(id).expect("a root lives").run, Run::User)
        });
        user.then_some((at, pid))
    }

    fn child(&mut self) -> Option<u32> {
        let children: Vec<u32> = self.children.keys().copied().collect();
        self.random.pick(&children)
    }

    fn fork(&mut self) {
        let Some((at, root)) = self.root() else { return };
        if let Some(pid) = self.cluster.call(at, root, __NR_fork, &[]).filter(|pid| *pid > 0) {
            let pid = u32::try_from(pid).expect("a pid");
            assert_eq!(self.cluster.with(pid, |_| true), [at], "{pid} is new");
            self.children.insert(pid, at);
        }
    }

    fn kill(&mut self) {
        let (Some((at, root)), Some(pid)) = (self.root(), self.child()) else { return };
        let signal = if self.random.below(2) == 0 { number::KILL } else { 0 };
        self.cluster.call(at, root, __NR_kill, &[u64::from(pid), u64::from(signal)]);
    }

    fn migrate(&mut self) {
        let Some(pid) = self.child() else { return };
        let (at, up) = (self.cluster.lives_at(pid), self.up());
        if let (Some(at), Some(to)) = (at.first().copied(), self.random.pick(&up)) {
            std::println!("move {pid} {at} -> {to}");
            self.cluster.begin_move(at, pid, to);
        }
    }

    fn fail(&mut self) {
        let up = self.up();
        let Some(victim) = self.random.pick(&up).filter(|_| self.down.is_none()) else { return };
        std::println!("crash {victim}");
        self.cluster.crash(victim);
        self.roots.remove(&victim);
        self.down = Some((victim, false));
    }

    fn agree(&mut self) {
        match self.down {
            Some((node, false)) => {
                std::println!("agree without {node}");
                self.cluster.agree_without(&[node]);
                self.down = Some((node, true));
            }
            Some((node, true)) => {
                std::println!("boot {node}");
                self.cluster.boot(node);
                self.down = None;
                for cut in core::mem::take(&mut self.cuts) {
                    self.heal(cut);
                }
            }
            None => self.move_slot(),
        }
    }

    fn move_slot(&mut self) {
        let (Some(pid), up) = (self.child(), self.up()) else { return };
        let Some(to) = self.random.pick(&up) else { return };
        if self.cluster.home(pid) != to && self.cluster.view.contains(node(to)) {
            self.cluster.agree_moved(slot_of(pid), to);
        }
    }

    fn heal(&mut self, (a, b): (u16, u16)) {
        std::println!("heal {a} {b}");
        self.cluster.net.borrow_mut().cut(node(a), node(b), false);
    }

    fn cut(&mut self) {
        if let Some(cut) = self.cuts.pop_first() {
            return self.heal(cut);
        }
        let up = self.up();
        if let (Some(a), Some(b)) = (self.random.pick(&up), self.random.pick(&up))
            && a != b
        {
            std::println!("cut {a} {b}");
            self.cluster.net.borrow_mut().cut(node(a), node(b), true);
            self.cuts.insert((a, b));
        }
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0..4 => self.fork(),
            4..6 => self.kill(),
            6..9 => self.migrate(),
            9 if self.random.below(3) == 0 => self.fail(),
            10 => self.agree(),
            11 if self.random.below(3) == 0 => self.cut(),
            12..15 => {
                let up = self.up();
                if let Some(at) = self.random.pick(&up) {
                    std::println!("enter {at} {:?}", self.cluster.view.epoch());
                    self.cluster.enter(at);
                }
            }
            _ => {
                for _ in 0..self.random.below(4) {
                    let choice = self.random.below(1000);
                    self.cluster.deliver(choice);
                }
            }
        }
        for pid in self.children.keys().copied().collect::<Vec<_>>() {
            let lives = self.cluster.lives_at(pid);
            assert!(lives.len() < 2, "{pid} lives at {lives:?}");
        }
    }

    fn end(&mut self) {
        for cut in core::mem::take(&mut self.cuts) {
            self.heal(cut);
        }
        if let Some((node, false)) = self.down {
            self.cluster.agree_without(&[node]);
        }
        self.cluster.enter_all();
        for pid in self.children.clone().into_keys() {
            self.check(pid);
        }
        for at in self.up() {
            let left = self.cluster.step(at, |core, _| {
                let moves = &core.moves;
                let (given, arrivals) = (moves.given().count(), moves.arrivals.len());
                (given, arrivals, moves.incoming.len(), moves.outgoing.len())
            });
            assert_eq!(left, (0, 0, 0, 0), "node {at}");
        }
    }

    /// A child lives once and is found, or is dead everywhere; and its parent knows which.
    fn check(&mut self, pid: u32) {
        let lives = self.cluster.lives_at(pid);
        let known = self.roots.clone().into_iter().find_map(|(at, root)| {
            self.cluster.step(at, |core, _| {
                let no = core.pids.process(root)?;
                core.processes.get(no)?.own.children.get(&pid).map(|child| child.state)
            })
        });
        match (&lives[..], known) {
            ([], Some(ChildState::Ended(_)) | None) | ([_], Some(ChildState::Running) | None) => {}
            other => panic!("{pid}: {other:?}"),
        }
        let has_parent = self.cluster.with(pid, |process| process.own.parent != 0);
        assert!(has_parent.is_empty() || known.is_some(), "{pid} is an orphan");
        let there = self.cluster.with(pid, |_| true);
        // A zombie waits for its parent.
        assert!(there.len() < 2 && (there == lives || known.is_some()), "{pid}: {there:?}");
        let expected = if there.is_empty() { errno(Errno::ESRCH) } else { Some(0) };
        for (at, root) in self.roots.clone() {
            assert_eq!(self.cluster.kill(at, root, pid, 0), expected, "{pid} from node {at}");
        }
    }
}

fn run(seed: u64) {
    let mut run = Storm::new(seed);
    for _ in 0..STEPS {
        run.step();
    }
    run.end();
}

#[test]
fn storms_leave_every_process_once_and_known() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("KORRIGAN_FIRST_SEED").unwrap_or(0);
    for seed in first..first + number("KORRIGAN_SEEDS").unwrap_or(60) {
        std::println!("seed {seed}");
        run(seed);
    }
}
