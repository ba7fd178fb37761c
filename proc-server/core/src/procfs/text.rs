// SPDX-License-Identifier: MIT OR Apache-2.0
//! The texts of `/proc`, from plain figures.
//!
//! # Source
//! proc(5). Fields that we do not know read 0, as that page says of many of them.

use super::path::InNet;
use crate::layout::time::{NS_PER_S, TICKS_PER_S};
use abi::limits::PAGE_BYTES;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;
use mem_api::{Backing, MemoryFigures, Region};

/// What the texts of one process say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Process id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// Device number of its terminal, 0 without one.
    pub terminal: u64,
    /// R, S, T or Z.
    pub state: char,
    /// Name, at most 15 bytes.
    pub name: String,
    /// Threads.
    pub threads: u32,
    /// Owner.
    pub uid: u32,
    /// Group of the owner.
    pub gid: u32,
    /// umask(2).
    pub mask: u32,
    /// When it started, nanoseconds since the node's boot.
    pub start_ns: u64,
    /// CPU time in the program, nanoseconds.
    pub user_ns: u64,
    /// Bytes mapped.
    pub mapped_bytes: u64,
    /// Bytes present.
    pub resident_bytes: u64,
    /// Bytes of stack.
    pub stack_bytes: u64,
    /// Bytes of the program's text.
    pub text_bytes: u64,
    /// Signals that wait.
    pub pending: u64,
    /// Signals blocked.
    pub blocked: u64,
    /// Signals ignored.
    pub ignored: u64,
    /// Signals with a handler.
    pub caught: u64,
    /// Node where it runs.
    pub node: u16,
}

const KIB: u64 = 1024;

fn ticks(ns: u64) -> u64 {
    ns / (NS_PER_S / TICKS_PER_S)
}

/// The state as `/proc/PID/status` spells it.
fn state_name(state: char) -> &'static str {
    match state {
        'R' => "running",
        'T' => "stopped",
        'Z' => "zombie",
        _ => "sleeping",
    }
}

impl Facts {
    /// `/proc/PID/stat`.
    pub fn stat(&self) -> String {
        let pages = self.resident_bytes / PAGE_BYTES as u64;
        format!(
            "{pid} ({name}) {state} {parent} {group} {session} {terminal} -1 0 0 0 0 0 {user} 0 0 0 \
             20 0 {threads} 0 {start} {mapped} {pages} 18446744073709551615 0 0 0 0 0 {pending} \
             {blocked} {ignored} {caught} 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
            pid = self.pid,
            name = self.name,
            state = self.state,
            parent = self.parent,
            group = self.group,
            session = self.session,
            terminal = self.terminal,
            user = ticks(self.user_ns),
            threads = self.threads,
            start = ticks(self.start_ns),
            mapped = self.mapped_bytes,
            pending = self.pending,
            blocked = self.blocked,
            ignored = self.ignored,
            caught = self.caught,
        )
    }

    /// `/proc/PID/statm`.
    pub fn statm(&self) -> String {
        let pages = |bytes: u64| bytes.div_ceil(PAGE_BYTES as u64);
        let data = self.mapped_bytes.saturating_sub(self.text_bytes);
        format!(
            "{} {} 0 {} 0 {} 0\n",
            pages(self.mapped_bytes),
            pages(self.resident_bytes),
            pages(self.text_bytes),
            pages(data)
        )
    }

    /// `/proc/PID/status`.
    pub fn status(&self) -> String {
        let (uid, gid) = (self.uid, self.gid);
        format!(
            "Name:\t{name}\nUmask:\t{mask:04o}\nState:\t{state} ({state_name})\nTgid:\t{pid}\n\
             Pid:\t{pid}\nPPid:\t{parent}\nTracerPid:\t0\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n\
             Gid:\t{gid}\t{gid}\t{gid}\t{gid}\nVmSize:\t{size:8} kB\nVmRSS:\t{rss:8} kB\n\
             VmStk:\t{stack:8} kB\nVmExe:\t{text:8} kB\nThreads:\t{threads}\n\
             ShdPnd:\t{pending:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n\
             SigCgt:\t{caught:016x}\nNode:\t{node}\n",
            name = self.name,
            mask = self.mask,
            state = self.state,
            state_name = state_name(self.state),
            pid = self.pid,
            parent = self.parent,
            size = self.mapped_bytes / KIB,
            rss = self.resident_bytes / KIB,
            stack = self.stack_bytes / KIB,
            text = self.text_bytes / KIB,
            threads = self.threads,
            pending = self.pending,
            blocked = self.blocked,
            ignored = self.ignored,
            caught = self.caught,
            node = self.node,
        )
    }
}

/// One line of `/proc/PID/maps`.
pub fn map_line(region: &Region) -> String {
    let flag = |set: bool, letter: char| if set { letter } else { '-' };
    let (offset, inode) = match region.backing {
        Backing::Anonymous => (0, 0),
        Backing::Object { object, offset } => (offset, object.raw()),
    };
    let mut line = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} 00:00 {}",
        region.start,
        region.end,
        flag(region.protection.read, 'r'),
        flag(region.protection.write, 'w'),
        flag(region.protection.execute, 'x'),
        if region.shared { 's' } else { 'p' },
        offset,
        inode,
    );
    if region.grows_down {
        line.push_str("                          [stack]");
    }
    line.push('\n');
    line
}

/// `/proc/meminfo`.
pub fn meminfo(memory: &MemoryFigures) -> String {
    let mut out = String::new();
    for (name, bytes) in [
        ("MemTotal:", memory.total),
        ("MemFree:", memory.free),
        ("MemAvailable:", memory.free),
        ("Buffers:", 0),
        ("Cached:", memory.cached),
        ("SwapCached:", 0),
        ("SwapTotal:", 0),
        ("SwapFree:", 0),
        ("Shmem:", memory.cached),
        ("Slab:", memory.kernel + memory.pooled),
        ("SReclaimable:", memory.pooled),
        ("SUnreclaim:", memory.kernel),
    ] {
        put(&mut out, format_args!("{name:15}{:9} kB\n", bytes / KIB));
    }
    out
}

/// `/proc/uptime`. `idle_ns` is summed over the cores.
pub fn uptime(now_ns: u64, idle_ns: u64) -> String {
    let hundredths = |ns: u64| (ns / NS_PER_S, ns % NS_PER_S / 10_000_000);
    let ((up, up_part), (idle, idle_part)) = (hundredths(now_ns), hundredths(idle_ns));
    format!("{up}.{up_part:02} {idle}.{idle_part:02}\n")
}

/// `/proc/loadavg`. No averages are kept: all three are the threads that are runnable now.
pub fn loadavg(running: usize, processes: usize, last_pid: u32) -> String {
    format!("{running}.00 {running}.00 {running}.00 {running}/{processes} {last_pid}\n")
}

/// `/proc/stat` for `cores` cores which programs used for `user_ns` in all.
pub fn stat(
    cores: usize,
    now_ns: u64,
    user_ns: u64,
    boot_s: u64,
    running: usize,
    forks: u64,
) -> String {
    let cores_u64 = cores.max(1) as u64;
    let total = ticks(now_ns).saturating_mul(cores_u64);
    let user = ticks(user_ns).min(total);
    let mut out = format!("cpu  {user} 0 0 {} 0 0 0 0 0 0\n", total - user);
    for core in 0..cores {
        let (user, total) = (user / cores_u64, total / cores_u64);
        put(&mut out, format_args!("cpu{core} {user} 0 0 {} 0 0 0 0 0 0\n", total - user));
    }
    put(&mut out, format_args!("intr 0\nctxt 0\nbtime {boot_s}\nprocesses {forks}\n"));
    put(&mut out, format_args!("procs_running {running}\nprocs_blocked 0\n"));
    out
}

/// `/proc/cpuinfo` for `cores` cores with these features (CPUID leaf 1, edx).
pub fn cpuinfo(cores: usize, features: u32) -> String {
    let mut flags = String::new();
    for (bit, name) in FEATURES {
        if features & 1 << bit != 0 {
            flags.push_str(name);
            flags.push(' ');
        }
    }
    let mut out = String::new();
    for core in 0..cores {
        put(
            &mut out,
            format_args!(
                "processor\t: {core}\nmodel name\t: x86-64\nfpu\t\t: yes\nflags\t\t: {}\n\
                 address sizes\t: 40 bits physical, 48 bits virtual\n\n",
                flags.trim_end(),
            ),
        );
    }
    out
}

/// Names of the bits of CPUID leaf 1, edx, that programs look for.
const FEATURES: [(u32, &str); 16] = [
    (0, "fpu"),
    (1, "vme"),
    (2, "de"),
    (3, "pse"),
    (4, "tsc"),
    (5, "msr"),
    (6, "pae"),
    (8, "cx8"),
    (9, "apic"),
    (13, "pge"),
    (15, "cmov"),
    (19, "clflush"),
    (23, "mmx"),
    (24, "fxsr"),
    (25, "sse"),
    (26, "sse2"),
];

/// `/proc/mounts`.
pub const MOUNTS: &str = "korrigan / korrigan rw 0 0\nproc /proc proc rw 0 0\n";

/// `/proc/filesystems`.
pub const FILESYSTEMS: &str = "nodev\tproc\nnodev\tkorrigan\n";

/// `/proc/net`: the loopback. What goes over it is counted nowhere.
pub const fn net(file: InNet) -> &'static str {
    match file {
        InNet::Dev => {
            "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls \
             carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
"
        }
        InNet::IfInet6 => "00000000000000000000000000000001 01 80 10 80       lo\n",
        InNet::Route => {
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        }
    }
}

/// Appends; a string takes everything.
pub fn put(out: &mut String, text: core::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    assert!(written.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn facts() -> Facts {
        Facts {
            pid: 7,
            parent: 1,
            group: 7,
            session: 1,
            state: 'S',
            name: "cat".into(),
            threads: 1,
            start_ns: 2_500_000_000,
            mapped_bytes: 1 << 20,
            resident_bytes: 5 * 4096,
            node: 2,
            ..Facts::default()
        }
    }

    #[test]
    fn stat_has_the_52_fields_of_linux() {
        let line = facts().stat();
        let fields: Vec<_> = line.split_whitespace().collect();
        assert_eq!(fields.len(), 52);
        assert_eq!(fields[..6], ["7", "(cat)", "S", "1", "7", "1"]);
        assert_eq!((fields[19], fields[21], fields[22], fields[23]), ("1", "250", "1048576", "5"));
    }

    #[test]
    fn status_says_uid_and_state() {
        let text = facts().status();
        assert!(text.contains("State:\tS (sleeping)\n") && text.contains("Uid:\t0\t0\t0\t0\n"));
        assert!(text.contains("Node:\t2\n"));
    }

    #[test]
    fn meminfo_is_in_kib() {
        let memory = MemoryFigures { total: 2 << 20, free: 1 << 20, ..MemoryFigures::default() };
        let text = meminfo(&memory);
        assert!(text.starts_with("MemTotal:           2048 kB\nMemFree:            1024 kB\n"));
    }

    #[test]
    fn uptime_is_in_hundredths() {
        assert_eq!(uptime(12_340_000_000, 1_050_000_000), "12.34 1.05\n");
    }

    #[test]
    fn cpu_line_sums_to_the_time_since_boot() {
        let text = stat(2, 10_000_000_000, 3_000_000_000, 0, 1, 4);
        assert!(text.starts_with("cpu  300 0 0 1700 0 0 0 0 0 0\ncpu0 150 0 0 850 "));
    }
}
