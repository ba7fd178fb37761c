// SPDX-License-Identifier: MIT OR Apache-2.0
//! signalfd, timerfd and FIFOs: what proc-server decides of them.

use super::failed;
use super::world::{BASE, World};
use crate::layout::IntoBytes;
use crate::layout::signal::SignalfdInfo;
use crate::layout::time::{Itimerspec, Timespec};
use crate::signal::{Info, SI_TIMER, number};
use abi::linux::general::*;
use abi::{Errno, FileId, InodeId};
use fs_api::file::{Flags, GetFlags};
use fs_api::name::{FileKind, MakeFifo, Named, Open, Opened};
use ipc_api::timer::{TimerCreate, TimerMade, TimerSet, TimerValue};
use ipc_api::{FifoOpen, FifoOpened, SignalsCreate, SignalsMade};

const USR1: u32 = 10;
const USR2: u32 = 12;

fn set_of(signals: &[u32]) -> [u8; 8] {
    signals.iter().fold(0_u64, |set, signal| set | 1 << (signal - 1)).to_le_bytes()
}

/// A process that blocks SIGUSR1 and SIGUSR2, and a descriptor for the first.
fn world() -> (World, u64) {
    let mut world = World::new();
    world.put(BASE, &set_of(&[USR1, USR2]));
    assert_eq!(world.call(__NR_rt_sigprocmask, &[u64::from(SIG_BLOCK), BASE, 0, 8]), Some(0));
    world.put(BASE, &set_of(&[USR1]));
    world.expect::<SignalsCreate>(Ok(SignalsMade { file: FileId::from_raw(9) }));
    let fd = world.call(__NR_signalfd4, &[u64::MAX, BASE, 8, 0]).expect("it ends");
    (world, fd as u64)
}

fn send(world: &mut World, signal: u32) {
    let thread = world.thread;
    let info = Info::sent(signal, 0, 77, 5);
    world.host.step(&mut world.node, |core, cx| core.signal_thread(cx, thread, info));
}

fn first_words(world: &World, addr: u64) -> [u32; 5] {
    let bytes = world.get(addr, 20);
    core::array::from_fn(|at| u32::from_le_bytes(bytes[at * 4..at * 4 + 4].try_into().expect("4")))
}

#[test]
fn read_takes_the_signals_of_the_set() {
    let (mut world, fd) = world();
    send(&mut world, USR2);
    send(&mut world, USR1);
    assert_eq!(world.call(__NR_read, &[fd, BASE, 300]), Some(128));
    assert_eq!(first_words(&world, BASE), [USR1, 0, 0, 77, 5]);
    assert_eq!(world.call(__NR_read, &[fd, BASE, 127]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_write, &[fd, BASE, 128]), failed(Errno::EINVAL));
    world.expect::<GetFlags>(Ok(Flags { flags: O_NONBLOCK }));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 128]), failed(Errno::EAGAIN));
    // Another set: the other signal waits already.
    world.put(BASE, &set_of(&[USR2]));
    assert_eq!(world.call(__NR_signalfd4, &[fd, BASE, 8, 0]), Some(fd as i64));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 128]), Some(128));
    assert_eq!(first_words(&world, BASE)[0], USR2);
}

fn send_to_process(world: &mut World, info: Info) {
    let no = crate::process::ProcessNo(0);
    world.host.step(&mut world.node, |core, cx| core.signal_process(cx, no, info));
}

/// How many signals wait for the thread, and for the process.
fn waiting(world: &mut World) -> [usize; 2] {
    let thread = world.thread;
    world.host.step(&mut world.node, |core, _| {
        let own = &mut core.threads.get_mut(thread).expect("it lives").own;
        let of_thread = own.pending.queue_mut().count();
        let process = core.processes.get_mut(crate::process::ProcessNo(0)).expect("it lives");
        [of_thread, process.own.pending.queue_mut().count()]
    })
}

#[test]
fn signal_of_the_process_that_does_not_fit_stays_the_process_s() {
    let (mut world, fd) = world();
    send_to_process(&mut world, Info::sent(USR1, 0, 77, 5));
    let parts = [BASE + 1024, 100, BASE + 2048, 100].map(u64::to_le_bytes).concat();
    world.put(BASE, &parts);
    assert_eq!(world.call(__NR_readv, &[fd, BASE, 2]), failed(Errno::EINVAL));
    assert_eq!(waiting(&mut world), [0, 1]);
    assert_eq!(world.call(__NR_read, &[fd, 8, 128]), failed(Errno::EFAULT));
    assert_eq!(waiting(&mut world), [0, 1]);
    send(&mut world, USR1);
    assert_eq!(world.call(__NR_read, &[fd, BASE, 200]), Some(128));
    assert_eq!(waiting(&mut world), [0, 1], "the thread's own come first");
    assert_eq!(world.call(__NR_read, &[fd, BASE, 128]), Some(128));
    assert_eq!(waiting(&mut world), [0, 0]);
}

#[test]
fn signal_of_a_timer_names_it_and_its_overruns() {
    let (mut world, fd) = world();
    let words = [7 | 3 << 32, 0xfeed_0000_beef, 0];
    send_to_process(&mut world, Info { signal: USR1, code: SI_TIMER, words });
    assert_eq!(world.call(__NR_read, &[fd, BASE, 128]), Some(128));
    let read: SignalfdInfo = world.read(BASE);
    assert_eq!((read.code, read.pid, read.uid), (SI_TIMER, 0, 0));
    assert_eq!((read.tid, read.overrun), (7, 3));
    assert_eq!((read.int, read.ptr), (0xbeef, 0xfeed_0000_beef));
}

#[test]
fn read_that_waits_is_ended_by_a_signal_of_the_set_only() {
    let (mut world, fd) = world();
    world.expect::<GetFlags>(Ok(Flags { flags: 0 }));
    assert_eq!(world.call(__NR_read, &[fd, BASE, 128]), None);
    send(&mut world, USR2);
    assert_eq!(world.result(), None);
    send(&mut world, USR1);
    assert_eq!(world.result(), Some(128));
    assert_eq!(first_words(&world, BASE)[0], USR1);
}

#[test]
fn poll_that_waits_is_ended_by_a_signal_of_the_set_only() {
    let (mut world, fd) = world();
    let row = crate::layout::io::Pollfd { fd: fd as i32, events: POLLIN as i16, returned: 0 };
    world.put(BASE, row.as_bytes());
    assert_eq!(world.call(__NR_poll, &[BASE, 1, 0]), Some(0));
    assert_eq!(world.call(__NR_poll, &[BASE, 1, u64::MAX]), None);
    send(&mut world, USR2);
    assert_eq!(world.result(), None);
    send(&mut world, USR1);
    assert_eq!(world.result(), Some(1));
    let row: crate::layout::io::Pollfd = world.read(BASE);
    assert_eq!(row.returned, POLLIN as i16);
    assert_eq!(world.call(__NR_poll, &[BASE, 1, u64::MAX]), Some(1), "it was not taken");
}

#[test]
fn signalfd_of_what_is_none_is_refused() {
    let (mut world, fd) = world();
    let other = world.open(super::world::pipe(1));
    assert_eq!(world.call(__NR_signalfd4, &[other, BASE, 8, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_signalfd4, &[50, BASE, 8, 0]), failed(Errno::EBADF));
    assert_eq!(world.call(__NR_signalfd4, &[fd, BASE, 4, 0]), failed(Errno::EINVAL));
    assert_eq!(world.call(__NR_signalfd4, &[fd, BASE, 8, 1]), failed(Errno::EINVAL));
    assert_eq!(number::MAX, 64);
}

fn spec(first: i64, interval: i64) -> Itimerspec {
    let time = |seconds| Timespec { seconds, nanoseconds: 0 };
    Itimerspec { interval: time(interval), value: time(first) }
}

#[test]
fn timer_of_a_clock_is_set_by_its_distance_from_now() {
    for (clock, base_s) in [(CLOCK_MONOTONIC, 0), (CLOCK_REALTIME, 1_700_000_000)] {
        let mut world = World::new();
        world.expect::<TimerCreate>(Ok(TimerMade { file: FileId::from_raw(9) }));
        let fd = world.call(__NR_timerfd_create, &[u64::from(clock), 0]).expect("it ends") as u64;
        world.node.now_ns = 100_000_000_000;
        for (flags, first, first_ns) in [
            (0, 3, Some(3_000_000_000)),
            (TFD_TIMER_ABSTIME, base_s + 99, Some(-1_000_000_000)),
            (TFD_TIMER_ABSTIME, 0, None),
        ] {
            world.put(BASE, spec(first, 2).as_bytes());
            let before = TimerValue { left_ns: 1_000_000_000, interval_ns: 0 };
            world.expect::<TimerSet>(Ok(before));
            let args = [fd, u64::from(flags), BASE, BASE + 64];
            assert_eq!(world.call(__NR_timerfd_settime, &args), Some(0));
            let asked = world.last::<TimerSet>();
            assert_eq!((asked.first_ns, asked.interval_ns), (first_ns, 2_000_000_000));
            assert_eq!(world.read::<Itimerspec>(BASE + 64), spec(1, 0));
        }
    }
}

#[test]
fn fifo_is_opened_by_its_inode() {
    let mut world = World::new();
    world.put(BASE, b"/tmp/f\0");
    world.expect::<MakeFifo>(Ok(Named::Here(InodeId::from_raw(1234))));
    let mode = u64::from(S_IFIFO | 0o640);
    assert_eq!(world.call(__NR_mknod, &[BASE, mode, 0]), Some(0));
    assert_eq!(world.last::<MakeFifo>().mode, 0o640);
    let device = u64::from(S_IFCHR | 0o640);
    assert_eq!(world.call(__NR_mknod, &[BASE, device, 0]), failed(Errno::EPERM));
    let found = Opened { file: FileId::from_raw(1234), kind: FileKind::Pipe };
    world.expect::<Open>(Ok(Named::Here(found)));
    world.expect_later::<FifoOpen>(Ok(FifoOpened { file: FileId::from_raw(55) }));
    assert_eq!(world.call(__NR_open, &[BASE, u64::from(O_WRONLY | O_CLOEXEC), 0]), None);
    assert_eq!(
        world.last::<FifoOpen>(),
        FifoOpen { inode: InodeId::from_raw(1234), flags: O_WRONLY }
    );
    assert_eq!(world.end_one(), Some(0));
    assert_eq!(world.held(), 1);
}
