// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes wrong in a run, and when.
//!
//! # Model
//! From one seed, faults begin and end while a run goes on. They stay within what is promised: no link
//! and no node is silent for as long as it takes to count as down, but for nodes that crash, and those
//! boot again. A run has nodes that leave or disks that are lost, not both.

use crate::rng::Rng;
use crate::trace;
use crate::wire::Weather;
use crate::world::{World, node};
use abi::NodeId;

const MS: u64 = 1_000_000;
/// Longest silence of a link or a node: net-server waits for 1.5 s, and repeats what was lost after
/// 0.4 s at the latest.
const SILENCE_MAX_NS: u64 = 600 * MS;
/// Between the end of a silence and the next.
const REST_NS: u64 = 1000 * MS;
/// Clocks differ by at most so much: 500 parts of a million is a bad quartz.
pub const DRIFT_PPM: u64 = 500;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Frames are lost.
    Loss,
    /// Frames arrive twice.
    Double,
    /// Frames overtake each other.
    Reorder,
    /// All frames are late.
    Delay,
    /// A link is cut for a while.
    Cut,
    /// A link is cut in one direction.
    OneWay,
    /// A link is slow in one direction.
    Slow,
    /// A node stands still for a while.
    Pause,
    /// The last node crashes, and boots again with its disk.
    Crash,
    /// The last node crashes, and boots again with another disk.
    Disk,
    /// A node wishes to leave the cluster for a while: its slots move away with what lives in them.
    Drain,
    /// Clocks run at different rates.
    Drift,
    /// A message arrives once more, from an older view.
    Epoch,
}

impl Fault {
    /// All of them, with their names on the command line.
    pub const ALL: [(Self, &str); 13] = [
        (Self::Loss, "loss"),
        (Self::Double, "double"),
        (Self::Reorder, "reorder"),
        (Self::Delay, "delay"),
        (Self::Cut, "cut"),
        (Self::OneWay, "oneway"),
        (Self::Slow, "slow"),
        (Self::Pause, "pause"),
        (Self::Crash, "crash"),
        (Self::Disk, "disk"),
        (Self::Drain, "drain"),
        (Self::Drift, "drift"),
        (Self::Epoch, "epoch"),
    ];

    /// Reads a list: names with commas, `all` or `none`.
    ///
    /// # Errors
    /// The name that is none.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        match text {
            "all" => return Ok(Self::ALL.iter().map(|(fault, _)| *fault).collect()),
            "none" => return Ok(Vec::new()),
            _ => {}
        }
        let find = |name: &str| {
            let found = Self::ALL.iter().find(|(_, known)| *known == name);
            found.map(|(fault, _)| *fault).ok_or_else(|| format!("there is no fault {name:?}"))
        };
        text.split(',').map(find).collect()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }
}

/// What ends a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Weather,
    Mend(NodeId, NodeId),
    Speed(NodeId, NodeId),
    Resume(NodeId),
    Boot(NodeId),
    Stay(NodeId),
}

/// The faults of a run.
pub struct Chaos {
    faults: Vec<Fault>,
    nodes: u16,
    /// The nodes that crash, one at a time.
    victims: Vec<u16>,
    rng: Rng,
    next_ns: u64,
    /// No link or node falls silent before.
    rest_until_ns: u64,
    active: Vec<(u64, End)>,
    /// How many of them there were.
    pub count: u64,
}

impl Chaos {
    /// Faults of these kinds on so many nodes, of which some may crash.
    pub fn new(faults: &[Fault], (nodes, victims): (u16, Vec<u16>), seed: u64) -> Self {
        // Drift and old messages are there from the start: they are the world's.
        let mut faults: Vec<Fault> = faults.to_vec();
        faults.retain(|it| !matches!(it, Fault::Drift | Fault::Epoch));
        let (mut rng, active) = (Rng::new(seed), Vec::new());
        // Of three voters two are left while one leaves: then no disk may be lost with what it promised.
        if faults.contains(&Fault::Disk) && faults.contains(&Fault::Drain) {
            let but = if rng.below(2) == 0 { Fault::Disk } else { Fault::Drain };
            faults.retain(|it| *it != but);
        }
        Self { faults, nodes, victims, rng, next_ns: 0, rest_until_ns: 0, active, count: 0 }
    }

    /// Begins and ends what is due.
    pub fn act(&mut self, world: &mut World) {
        let now_ns = world.now_ns;
        let due: Vec<End> =
            self.active.iter().filter(|(at, _)| *at <= now_ns).map(|(_, end)| *end).collect();
        self.active.retain(|(at, _)| *at > now_ns);
        for end in due {
            trace::text(now_ns, || format!("fault ends: {end:?}"));
            finish(world, end);
        }
        if now_ns < self.next_ns || self.faults.is_empty() {
            return;
        }
        self.next_ns = now_ns + 10 * MS + self.rng.below(150 * MS);
        let fault = self.faults[self.rng.below(self.faults.len() as u64) as usize];
        self.begin(world, fault);
    }

    fn begin(&mut self, world: &mut World, fault: Fault) {
        let now_ns = world.now_ns;
        let lasts_ns = 20 * MS + self.rng.below(SILENCE_MAX_NS - 20 * MS);
        let (from, to) = self.pair();
        let silences = matches!(fault, Fault::Cut | Fault::OneWay | Fault::Pause);
        if silences {
            if now_ns < self.rest_until_ns {
                return;
            }
            self.rest_until_ns = now_ns + lasts_ns + REST_NS;
        }
        let mut weather = world.wire.weather();
        let end = match fault {
            Fault::Loss => {
                weather.loss_percent = 1 + self.rng.below(10);
                End::Weather
            }
            Fault::Double => {
                weather.double_percent = 1 + self.rng.below(30);
                End::Weather
            }
            Fault::Reorder => {
                weather.delay_max_ns = weather.delay_min_ns + MS + self.rng.below(4 * MS);
                End::Weather
            }
            Fault::Delay => {
                weather.delay_min_ns = MS + self.rng.below(4 * MS);
                weather.delay_max_ns = weather.delay_max_ns.max(weather.delay_min_ns + MS);
                End::Weather
            }
            Fault::Cut => {
                world.wire.set_cut(from, to, true);
                End::Mend(from, to)
            }
            Fault::OneWay => {
                world.wire.set_way_cut(from, to, true);
                End::Mend(from, to)
            }
            Fault::Slow => {
                world.wire.set_slow(from, to, 5 * MS + self.rng.below(30 * MS));
                End::Speed(from, to)
            }
            Fault::Pause => {
                world.pause(from);
                End::Resume(from)
            }
            Fault::Crash | Fault::Disk => {
                let Some(victim) = self.victim(world, fault) else { return };
                world.crash(victim);
                if fault == Fault::Disk {
                    world.lose_disk(victim);
                }
                End::Boot(victim)
            }
            // One at a time, so that there is always somebody to take over.
            Fault::Drain if !self.active.iter().any(|(_, end)| matches!(end, End::Stay(_))) => {
                world.wish(from, true);
                End::Stay(from)
            }
            Fault::Drain | Fault::Drift | Fault::Epoch => return,
        };
        world.wire.set_weather(weather);
        self.count += 1;
        let crashes = matches!(fault, Fault::Crash | Fault::Disk);
        let is_long = crashes || fault == Fault::Drain;
        let lasts_ns = if is_long { self.rng.below(3000 * MS) } else { lasts_ns };
        self.active.push((now_ns + lasts_ns, end));
        trace::text(now_ns, || {
            format!("fault begins: {} between {from} and {to}, {weather:?}", fault.name())
        });
    }

    /// Who crashes now: none while another is down, or where that would take the only copy of something. One disk
    /// only is lost, as two might be those of a majority.
    fn victim(&mut self, world: &World, fault: Fault) -> Option<NodeId> {
        let last = self.victims.len().checked_sub(1)?;
        let chosen =
            if fault == Fault::Disk { last } else { self.rng.below(last as u64 + 1) as usize };
        let victim = node(self.victims[chosen]);
        let all_live = self.victims.iter().all(|it| world.is_member(node(*it)));
        (all_live && !world.has_only_copy(victim)).then_some(victim)
    }

    /// Two nodes.
    fn pair(&mut self) -> (NodeId, NodeId) {
        let nodes = u64::from(self.nodes);
        let first = self.rng.below(nodes);
        let second = (first + 1 + self.rng.below((nodes - 1).max(1))) % nodes;
        (node(1 + first as u16), node(1 + second as u16))
    }
}

fn finish(world: &mut World, end: End) {
    match end {
        End::Weather => world.wire.set_weather(Weather::FAIR),
        End::Mend(a, b) => world.wire.set_cut(a, b, false),
        End::Speed(from, to) => world.wire.set_slow(from, to, 0),
        End::Resume(id) => world.resume(id),
        End::Stay(id) => world.wish(id, false),
        End::Boot(id) => {
            if !world.lives(id) {
                world.boot(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn list_of_names_is_read_and_a_wrong_name_is_told() {
        assert_eq!(Fault::list("loss,cut"), Ok(vec![Fault::Loss, Fault::Cut]));
        assert_eq!(Fault::list("all").map(|all| all.len()), Ok(Fault::ALL.len()));
        assert_eq!(Fault::list("none"), Ok(vec![]));
        assert!(Fault::list("loss,rain").is_err_and(|it| it.contains("rain")));
    }
}
