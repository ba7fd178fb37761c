// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run with everything: clients on several nodes do random operations and are moved about, while faults
//! begin and end; then the world heals, and everything must end in time and be right.

use crate::check;
use crate::checkers::acknowledged;
use crate::checkers::linear::{
    NameOperation, Names, Register, RegisterOperation, Timed, is_linearizable,
};
use crate::faults::{Chaos, DRIFT_PPM, Fault};
use crate::history::Seen;
use crate::programs;
use crate::rng::Rng;
use crate::scenario::{boot_image, find, type_line, wait_exit};
use crate::trace;
use crate::wire::Weather;
use crate::workload::{Deed, Workload, reader, records};
use crate::world::{Setting, World, node};
use abi::NodeId;
use proc_api::Migrate;

const MS: u64 = 1_000_000;
/// After the world has healed all operations end within this time.
pub const HEAL_NS: u64 = 10_000 * MS;
/// Clients: nodes that no fault kills.
const CLIENTS_MAX: u16 = 3;
/// Operations of a client.
const OPERATIONS: u64 = 24;
/// Between two moves.
const MOVE_NS: u64 = 60 * MS;

/// A run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Chance.
    pub seed: u64,
    /// Nodes, at least 2.
    pub nodes: u16,
    /// CPU cores of each.
    pub cores: u8,
    /// Milliseconds of the world until it heals.
    pub ticks: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// What a run that went well had in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Operations that ended.
    pub operations: usize,
    /// Faults.
    pub faults: u64,
    /// Moves that were asked for.
    pub moves: u64,
    /// Messages between servers.
    pub messages: u64,
    /// Slots were lost with both copies: what clients got was not judged.
    pub lost: bool,
}

/// Runs.
///
/// # Panics
/// With the first thing that is wrong.
pub fn run(options: &Options) -> Report {
    trace::clear();
    let has = |fault| options.faults.contains(&fault);
    let mut rng = Rng::new(options.seed ^ 0x570_0123);
    let clients = client_nodes(options);
    let workload = Workload::new(u64::from(clients), OPERATIONS, &mut rng);
    let mut image = programs::image();
    for client in 1..=clients {
        let program = workload.program(u64::from(client), &mut rng);
        image = image.program(&format!("client{client}"), &program);
    }
    image = image.program("reader", &reader(workload.deeds.len()));
    let setting = Setting {
        seed: options.seed,
        nodes: options.nodes,
        cores: options.cores,
        frames: 2048,
        weather: Weather::FAIR,
        drift_ppm: if has(Fault::Drift) { DRIFT_PPM } else { 0 },
        old_percent: if has(Fault::Epoch) { 3 } else { 0 },
        ..Setting::new(options.seed)
    };
    let mut world = boot_image(&setting, &image);
    for client in 1..=clients {
        type_line(&mut world, options.home(client), &format!("/bin/client{client}"));
    }
    let victims = (options.nodes, options.victims());
    let mut chaos = Chaos::new(&options.faults, victims, rng.bits());
    let moves = disturb(&mut world, &mut chaos, options, &mut rng);
    world.heal();
    trace::text(world.now_ns, || "the world heals".to_string());
    let ended =
        |world: &mut World| (1..=clients).all(|it| exit_of(world, options.home(it)).is_some());
    let in_time = world.run_until(HEAL_NS, ended);
    let outputs: Vec<String> = world.nodes().map(|node| node.output()).collect();
    if !in_time {
        let open =
            world.nodes().flat_map(|it| it.open().into_iter().map(move |line| (it.id, line)));
        open.for_each(|(node, line)| trace::text(world.now_ns, || format!("node {node}: {line}")));
    }
    assert!(in_time, "all operations end within 10 s after the last fault: {outputs:?}");
    let first = options.home(1);
    // Both copies of a slot may be gone, if a node is let go while another is dead. Then what was in it is.
    let lost = world.node(first).has_lost_slots();
    for client in 1..=clients {
        let status = exit_of(&world, options.home(client));
        assert!(status == Some(0) || lost, "client {client} finds everything right: {outputs:?}");
    }
    type_line(&mut world, first, "/bin/reader");
    let status = wait_exit(&mut world, first);
    let lost = lost || world.node(first).has_lost_slots();
    let operations = world.history.operations();
    if !lost {
        judge(&workload, &operations, status == 0);
    }
    let messages = world.links.borrow().sent;
    Report { operations: operations.len(), faults: chaos.count, moves, messages, lost }
}

impl Options {
    /// The nodes that crash: the first, which is home to all that clients share, or the last. Where there are enough,
    /// the first and the second, which takes over from it.
    fn victims(&self) -> Vec<u16> {
        let crashes = self.faults.iter().any(|it| matches!(it, Fault::Crash | Fault::Disk));
        let first = self.seed.is_multiple_of(2) && self.nodes > 2;
        match (crashes, first) {
            (false, _) => vec![],
            (true, true) if self.nodes > 3 => vec![1, 2],
            (true, true) => vec![1],
            (true, false) => vec![self.nodes],
        }
    }

    /// The node of a client: none is lost.
    fn home(&self, client: u16) -> NodeId {
        let victims = self.victims();
        node(client + if victims.first() == Some(&1) { victims.len() as u16 } else { 0 })
    }
}

fn client_nodes(options: &Options) -> u16 {
    let spared = options.victims().len() as u16;
    options.nodes.saturating_sub(spared).clamp(1, CLIENTS_MAX)
}

/// Faults and moves, until it is time to heal.
fn disturb(world: &mut World, chaos: &mut Chaos, options: &Options, rng: &mut Rng) -> u64 {
    let clients = client_nodes(options);
    let end_ns = world.now_ns + options.ticks * MS;
    let mut move_ns = world.now_ns + MOVE_NS;
    let mut moves = 0;
    while world.now_ns < end_ns {
        world.run_for(MS);
        chaos.act(world);
        check::own_life(world);
        if world.now_ns < move_ns {
            continue;
        }
        move_ns = world.now_ns + rng.below(2 * MOVE_NS);
        let name = format!("client{}", 1 + rng.below(u64::from(clients)));
        let mut some = || options.home(1 + rng.below(u64::from(clients)) as u16);
        let (to, by) = (some(), some());
        let Some((at, pid)) = find(world, &name) else { continue };
        trace::text(world.now_ns, || format!("{name}, on node {at}, is to move to node {to}"));
        // Whether it moves is its own affair; that it is somewhere and goes on is checked.
        let _ = world.node(by).ask_proc(&Migrate { pid, node: to }, world.now_ns);
        moves += 1;
    }
    moves
}

/// The status that a prompt printed first.
fn exit_of(world: &World, on: NodeId) -> Option<u64> {
    let output = world.lives(on).then(|| world.node(on).output())?;
    output.split("exit ").nth(1)?.split_once('\n')?.0.trim().parse().ok()
}

fn judge(workload: &Workload, operations: &[Seen], log_exists: bool) {
    let (mut word, mut names, mut begun, mut acknowledged) = (vec![], vec![], vec![], vec![]);
    for seen in operations.iter().filter(|seen| seen.index < workload.deeds.len()) {
        let (client, deed) = workload.deeds[seen.index];
        let (ended, value) = seen.ended.map_or((usize::MAX, None), |(at, it)| (at, Some(it)));
        let began = seen.began;
        let success = value.map(|value| value >= 0);
        let name = |operation| Timed { began, ended, operation };
        let register = |operation| Timed { began, ended, operation };
        match deed {
            Deed::Write(it) => {
                assert!(value.is_none_or(|got| got == 8), "operation {} got {value:?}", seen.index);
                word.push(register(RegisterOperation::Write(it)));
            }
            Deed::Read => {
                assert!(success != Some(false), "operation {} got {value:?}", seen.index);
                let got = value.map(i64::cast_unsigned);
                word.push(register(RegisterOperation::Read(got)));
            }
            Deed::Append(count) => {
                begun.push((client, count));
                assert!(value.is_none_or(|got| got == 8), "operation {} got {value:?}", seen.index);
                acknowledged.extend(value.map(|_| (client, count)));
            }
            Deed::Create(it) => names.push(name(NameOperation::Create(it, success))),
            Deed::Remove(it) => names.push(name(NameOperation::Remove(it, success))),
            Deed::Rename(a, b) => names.push(name(NameOperation::Rename(a, b, success))),
            Deed::Child => {}
        }
    }
    assert!(log_exists, "the log can be read");
    let log = records(operations, workload.deeds.len());
    acknowledged::check(&log, &begun, &acknowledged).unwrap_or_else(|found| panic!("{found}"));
    assert!(is_linearizable::<Register>(&word), "the word is not linearizable: {word:?}");
    assert!(is_linearizable::<Names>(&names), "the names are not linearizable: {names:?}");
}
