// SPDX-License-Identifier: MIT OR Apache-2.0
//! How figures look: people read them, and scripts may, so they stay as they are.

use crate::disk::Before;
use abi::image::NodeEntry;
use abi::{Errno, NodeId, Pid};
use alloc::format;
use alloc::string::String;
use cluster::{ChangedKey, Goal, Slot, View};
use disk_api::limits::{CHECK_SECTORS, SECTOR_BYTES};
use disk_api::{DiskInfo, Extent, State};
use mem_api::MemoryFigures;
use net_api::{Cause, Drops, Enrolled, LinkFigures, LoadFigures, PingFigures};
use proc_api::{Migrated, Moving, ProcessInfo};

pub(crate) const PS_HEADER: &str = "NODE     PID    PPID    PGID   UID STAT THR COMMAND\n";

pub(crate) fn ps_line(it: &ProcessInfo) -> String {
    let ProcessInfo { node, pid, parent, group, uid, state, threads, name, .. } = it;
    format!("{node:>4} {pid:>7} {parent:>7} {group:>7} {uid:>5} {state:<4} {threads:>3} {name}\n")
}

pub(crate) const MEM_HEADER: &str =
    "NODE TOTAL_KIB  FREE_KIB CACHED_KIB KERNEL_KIB POOLED_KIB SPACES OBJECTS THREADS  SLOTS\n";

pub(crate) fn mem_line(node: NodeId, it: &MemoryFigures) -> String {
    format!(
        "{:>4} {:>9} {:>9} {:>10} {:>10} {:>10} {:>6} {:>7} {:>7} {:>6}\n",
        node.get(),
        it.total / 1024,
        it.free / 1024,
        it.cached / 1024,
        it.kernel / 1024,
        it.pooled / 1024,
        it.spaces,
        it.objects,
        it.threads,
        it.slots
    )
}

pub(crate) const DISKS_HEADER: &str = "\
NODE STATE     SIZE_KIB JOURNAL_KIB KEYS_KIB CHECK_KIB FILES_KIB    READS   WRITES  FLUSHES  ERRORS
";

/// A node's disk, or why there is none.
pub(crate) fn disks_line(node: NodeId, it: &DiskInfo) -> String {
    let node = node.get();
    let (sectors, writable, regions) = match &it.state {
        State::Ready { sectors, writable, regions } => (*sectors, *writable, *regions),
        State::Absent(absence) => return format!("{node:>4} none      {absence}\n"),
        State::Stopped => {
            return format!("{node:>4} stopped   it did not answer; `reboot {node}` tries again\n");
        }
    };
    let state = if writable { "ready" } else { "read-only" };
    let kib = |extent: Extent| extent.sectors / (1024 / SECTOR_BYTES as u64);
    let [journal, keys, check, files] = regions.map(kib);
    let size = kib(Extent { first: 0, sectors });
    let disk_api::Figures { reads, writes, flushes, errors, strange } = it.figures;
    format!(
        "{node:>4} {state:<9} {size:>8} {journal:>11} {keys:>8} {check:>9} {files:>9} {reads:>8} \
         {writes:>8} {flushes:>8} {:>7}\n",
        errors + strange
    )
}

/// What `disks --check` found.
pub(crate) fn check_passed(node: NodeId, number: u64, before: Before, took_ns: u64) -> String {
    let kib = CHECK_SECTORS as usize * SECTOR_BYTES / 1024;
    let before = match before {
        Before::Nothing => String::from("it is the first"),
        Before::Whole(before) => format!("check {before} was still there"),
        Before::Spoilt => String::from("the one before was NOT as it had been written"),
    };
    let took = milliseconds(took_ns);
    format!(
        "node {node}: check {number}: {kib} KiB written, flushed and read back in {took}; {before}\n"
    )
}

pub(crate) fn check_failed(node: NodeId, errno: Errno) -> String {
    let why = match errno {
        Errno::ENODEV => "it has no disk that can be used: see `disks`",
        Errno::EROFS => "its disk cannot be written",
        Errno::EIO => "its disk fails: see `disks`",
        Errno::EAGAIN => "its disk has too much to do: try again in a moment",
        other => return format!("node {node}: {other}\n"),
    };
    format!("node {node}: {why}\n")
}

pub(crate) const NET_HEADER: &str = "\
NODE  TO STATE   LIVES   RTT_US MSGS_OUT  MSGS_IN   KIB_OUT    KIB_IN FRAMES_OUT  FRAMES_IN REPEATED DROPPED
";

pub(crate) fn net_line(node: NodeId, to: NodeId, it: &LinkFigures) -> String {
    format!(
        "{:>4} {:>3} {:<7} {:>5} {:>8} {:>8} {:>8} {:>9} {:>9} {:>10} {:>10} {:>8} {:>7}\n",
        node.get(),
        to.get(),
        it.state(),
        it.lives,
        it.rtt_ns / 1000,
        it.messages_sent,
        it.messages_received,
        it.bytes_sent / 1024,
        it.bytes_received / 1024,
        it.frames_sent,
        it.frames_received,
        it.frames_repeated,
        it.drops.total(),
    )
}

/// Frames of `from` that were dropped, by cause; nothing if none were.
pub(crate) fn drops_line(node: NodeId, from: Option<NodeId>, it: &Drops) -> String {
    if it.total() == 0 {
        return String::new();
    }
    let mut line = match from {
        Some(from) => format!("{:>4} {:>3} dropped:", node.get(), from.get()),
        None => format!("{:>4}   - dropped:", node.get()),
    };
    for cause in Cause::ALL.into_iter().filter(|cause| it.of(*cause) > 0) {
        line.push_str(&format!(" {} {}", cause.name(), it.of(cause)));
    }
    line.push('\n');
    line
}

/// What became of `linkkey`, as a sentence, and its status.
pub(crate) fn enrolled(node: NodeId, result: Result<Enrolled, Errno>) -> (String, u8) {
    match result {
        Ok(Enrolled { counts: true, .. }) => {
            ("this node has its key; its links come up\n".into(), 0)
        }
        Ok(Enrolled { public, counts: false }) => {
            let digits: String = public.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = format!(
                "this node has this key too, and uses it with the nodes that know it. If they do not yet, say on a \
                 member:\n  node key {node} {digits}\n"
            );
            (text, 0)
        }
        Err(Errno::EEXIST) => ("linkkey: this node has this key already\n".into(), 1),
        Err(other) => (format!("linkkey: {other}\n"), 1),
    }
}

pub(crate) const NODES_HEADER: &str = "NODE STATE  ROLE   LIFE SLOTS CORES MEMORY_MIB   RTT_US\n";

/// `link` is of another node than this one. Of a node that was added the image may say nothing.
pub(crate) fn nodes_line(
    (node, entry): (NodeId, Option<&NodeEntry>),
    view: &View,
    leader: Option<NodeId>,
    link: Option<&LinkFigures>,
) -> String {
    let member = view.member(node);
    let slots = view.slots_of(node).count();
    let rtt = link.filter(|link| link.up).map(|link| format!("{}", link.rtt_ns / 1000));
    let state = match (link, member) {
        (None, _) => "here",
        (Some(_), Some(member)) if slots == 0 && !member.draining => "joins",
        (Some(link), Some(member)) if member.draining && link.up => "leaves",
        (Some(link), Some(_)) if link.up => "up",
        (Some(_), Some(_)) => "down",
        (Some(link), None) if link.up => "joins",
        (Some(_), None) => "down",
    };
    let votes = view.voters().iter().any(|voter| voter.node == node);
    let role = match member {
        None => "-",
        Some(_) if leader == Some(node) => "leader",
        Some(_) if votes => "voter",
        Some(_) => "member",
    };
    let life = member.map_or(String::from("-"), |member| format!("{}", member.incarnation));
    let figure =
        |of: fn(&NodeEntry) -> u32| entry.map_or(String::from("-"), |it| format!("{}", of(it)));
    let (cores, memory_mib) = (figure(|it| it.cores.into()), figure(|it| it.memory_mib));
    let id = node.get();
    let rtt = rtt.as_deref().unwrap_or("-");
    format!(
        "{id:>4} {state:<6} {role:<6} {life:>4} {slots:>5} {cores:>5} {memory_mib:>10} {rtt:>8}\n"
    )
}

/// A key that is not that of the images.
pub(crate) fn key_line(it: &ChangedKey) -> String {
    let ChangedKey { node, key, address, since } = it;
    let since = since.0;
    match (key, address) {
        (Some(_), None) => format!("node {node}: its key was changed in view {since}\n"),
        (Some(_), Some(_)) => {
            format!("node {node}: added while the cluster runs, its key is of view {since}\n")
        }
        (None, _) => format!("node {node}: its key was revoked in view {since}\n"),
    }
}

/// The last line of `nodes`.
pub(crate) fn view_line(view: &View, leader: Option<NodeId>, may_act: bool) -> String {
    let slots = || View::slot_numbers().map(|number| view.slot(number));
    let moves = |slot: &&Slot| slot.joining.is_some_and(|it| it.goal == Goal::Primary);
    let moving = slots().filter(moves).count();
    // A lone member has nobody to keep copies.
    let alone = slots().filter(|slot| slot.backup.is_none() && view.members().len() > 1).count();
    let mut line = format!("view {}", view.epoch().0);
    if let Some(leader) = leader.filter(|_| may_act) {
        line.push_str(&format!(", led by node {leader}"));
    }
    if moving > 0 {
        line.push_str(&format!(", {moving} slots on their way"));
    }
    if alone > 0 {
        line.push_str(&format!(", {alone} slots with one copy only"));
    }
    if !may_act {
        line.push_str(", which this node has lost: it waits for a majority of the voters");
    }
    line.push('\n');
    line
}

fn milliseconds(ns: u64) -> String {
    format!("{}.{:03} ms", ns / 1_000_000, ns / 1000 % 1000)
}

pub(crate) fn migrated(pid: Pid, to: NodeId, it: &Migrated) -> String {
    format!(
        "process {pid} moved from node {} to node {to}\n\
         freeze {}, {} messages, {} bytes of state\n",
        it.from,
        milliseconds(it.freeze_ns),
        it.messages,
        it.state_bytes
    )
}

/// `total_ns`: since the move was asked for.
pub(crate) fn moving(it: &Moving, total_ns: u64) -> String {
    let rest = match it.left {
        0 => String::new(),
        left => format!(", {left} still to come"),
    };
    let Moving { on_demand, prefetched, .. } = it;
    let total = milliseconds(total_ns);
    format!("pages moved: {on_demand} on demand, {prefetched} by prefetch{rest}; total {total}\n")
}

/// A series of null requests, as ping(8) tells it.
pub(crate) fn pings(node: NodeId, it: &PingFigures) -> String {
    let PingFigures { sent, answered, least_ns, most_ns, sum_ns, .. } = *it;
    let mut text = format!("{sent} requests to node {node}, {answered} answered");
    if let Some(mean_ns) = sum_ns.checked_div(answered) {
        let [least, mean, most] = [least_ns, mean_ns, most_ns].map(milliseconds);
        text += &format!("\nround trip: least {least}, mean {mean}, most {most}");
    }
    text + "\n"
}

/// What a link carried.
pub(crate) fn load(node: NodeId, it: &LoadFigures, raw: bool) -> String {
    let LoadFigures { bytes, took_ns, .. } = *it;
    let kib = bytes >> 10;
    if took_ns == 0 {
        return format!("net: the link to node {node} went down after {kib} KiB: see `net`\n");
    }
    let rate = (bytes.saturating_mul(1_000_000_000) / took_ns) >> 10;
    let how = if raw { "left, raw; what arrived is dropped and counted there" } else { "arrived" };
    format!("{kib} KiB to node {node} in {}: {rate} KiB/s {how}\n", milliseconds(took_ns))
}

pub(crate) fn ping_refused(node: NodeId, errno: Errno) -> String {
    let why = match errno {
        Errno::EINVAL => "it is no other node of the cluster, or these are too many: see `nodes`",
        Errno::EHOSTDOWN => "the node does not answer: see `nodes`",
        Errno::EBUSY => "requests to it are under way already: try again in a moment",
        other => return format!("net: requests to node {node}: {other}\n"),
    };
    format!("net: requests to node {node}: {why}\n")
}

/// What became of `migrate`, as a sentence.
pub(crate) fn migrate_refused(pid: Pid, to: NodeId, errno: Errno) -> String {
    format!("migrate: process {pid} to node {to}: {}\n", why_not_moved(errno))
}

/// Why a process is not on another node.
pub(crate) fn why_not_moved(errno: Errno) -> &'static str {
    match errno {
        Errno::ESRCH => "there is no such process: see `ps`",
        Errno::EBUSY => "it is moving already: try again when it has arrived",
        Errno::EINVAL => "there is no such node: see `nodes`",
        Errno::EHOSTDOWN => "the node does not answer; the process goes on where it was",
        Errno::EPERM => "this process cannot be moved",
        Errno::ENOMEM => "the node has not enough memory: see `mem`",
        other => other.text(),
    }
}

/// The newest `max` bytes of `text` from a line's begin on, and whether something was cut.
pub(crate) fn newest(text: &str, max: usize) -> (&str, bool) {
    if text.len() <= max {
        return (text, false);
    }
    let mut start = text.len() - max;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let tail = &text[start..];
    let line = tail.find('\n').map_or(0, |at| at + 1);
    (&tail[line..], true)
}

/// The first `max` bytes of `text` at most, between two characters.
pub(crate) fn first(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_lines() {
        assert_eq!(first("aéb", 2), "a");
        assert_eq!(newest("one\ntwo\nthree\n", 10), ("three\n", true));
        assert_eq!(newest("one\n", 10), ("one\n", false));
    }

    #[test]
    fn dropped_frames_are_named_by_cause() {
        let node = NodeId::new(1).expect("a node");
        let mut drops = Drops::default();
        assert_eq!(drops_line(node, None, &drops), "");
        [Cause::Stale, Cause::Replayed, Cause::Stale].into_iter().for_each(|it| drops.count(it));
        let line = drops_line(node, Some(node), &drops);
        assert_eq!(line, "   1   1 dropped: replayed 1 stale 2\n");
        assert_eq!(drops_line(node, None, &drops), "   1   - dropped: replayed 1 stale 2\n");
    }

    #[test]
    fn table_lines_are_as_wide_as_their_headers() {
        let node = NodeId::new(1).expect("a node");
        let line = mem_line(node, &MemoryFigures::default());
        assert_eq!(line.len(), MEM_HEADER.len());
        let regions = [Extent::default(); 4];
        for writable in [true, false] {
            let state = State::Ready { sectors: 1 << 20, writable, regions };
            let line = disks_line(node, &DiskInfo { state, figures: Default::default() });
            assert_eq!(line.len(), DISKS_HEADER.len());
        }
        let line = net_line(node, node, &LinkFigures::default());
        assert_eq!(line.len(), NET_HEADER.len());
        let up = LinkFigures { phase: net_api::Phase::Refused, ..LinkFigures::default() };
        assert_eq!(net_line(node, node, &up).len(), NET_HEADER.len());
        let entry = NodeEntry { id: 1, cores: 1, memory_mib: 256, disk_mib: 0, mac: [0; 6] };
        for entry in [Some(&entry), None] {
            let line = nodes_line((node, entry), &View::outside(node), None, None);
            assert_eq!(line.len(), NODES_HEADER.len());
        }
    }
}
