// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors and every system call on files.
//!
//! # Model
//! A call that needs another server's answer leaves a [`Wait`] behind; [`resume`] goes on with it.
//! Nothing of a call survives its end but descriptors and their counts ([`Holders`]).

mod descriptors;
mod dispatch;
mod epoll;
mod extras;
pub mod flight;
mod glue;
pub mod holders;
mod ioctl;
pub mod local;
mod local_file;
pub(crate) mod locks;
pub(crate) mod meta;
pub(crate) mod name_call;
pub(crate) mod names;
pub mod path;
mod poll;
mod seek;
pub(crate) mod signalfd;
pub mod socket;
pub mod table;
#[cfg(test)]
pub(crate) mod tests;
mod timer;
mod transfer;

pub(crate) use dispatch::dispatch;
pub(crate) use glue::{close_all, insert, install_terminal};
pub use holders::Holders;
pub use path::{Directory, absolute};
pub use table::{
    ATTACHMENTS_MAX, Attachment, DESCRIPTORS_MAX, DESCRIPTORS_SOFT, Descriptor, FdTable, OpenFile,
    Target, UNDOS_MAX,
};

use crate::machine::Machine;
use crate::syscall::{AskResult, Call, Next, SysResult};
use alloc::boxed::Box;
use name_call::{NameCall, StatOut};
use transfer::Transfer;

/// What a call on files waits for, and what it needs to go on.
#[derive(Debug)]
pub enum Wait {
    /// Sockets.
    Socket(Box<socket::Wait>),
    /// Nothing but the end: it answers 0.
    Zero,
    /// The inode of a directory that a path starts from.
    Start {
        /// The call.
        name: Box<NameCall>,
        /// Links of proc-server followed.
        hops: u8,
    },
    /// fs-server's answer about a name.
    Name {
        /// The call.
        name: Box<NameCall>,
        /// Links of proc-server followed.
        hops: u8,
    },
    /// A step of a transfer.
    Transfer {
        /// The transfer.
        transfer: Transfer,
        /// Bytes asked for.
        asked: u64,
    },
    /// The page for the next step of a transfer.
    Again(Transfer),
    /// The signal that stops a reader in the background.
    Turn(Transfer),
    /// F_GETFL.
    GetFlags,
    /// The present flags, to change some.
    ChangeFlags {
        /// The file.
        file: OpenFile,
        /// Which.
        mask: u32,
        /// How.
        flags: u32,
    },
    /// A new pipe.
    Pipe {
        /// Where the two numbers go.
        addr: u64,
        /// O_ flags.
        flags: u32,
    },
    /// The lock in the way, F_GETLK.
    TestLock(crate::layout::io::Flock),
    /// A new event counter: O_ flags.
    Counter(u32),
    /// A position, lseek(2).
    Seek,
    /// A count of bytes, getdents64(2).
    Moved,
    /// fstat(2).
    Stat(StatOut),
    /// Figures for statfs(2), and where they go.
    Statfs(u64),
    /// The path of the working directory.
    Cwd {
        /// Where it goes.
        addr: u64,
        /// Bytes there.
        len: u64,
    },
    /// The inode of a directory to enter, fchdir(2).
    EnterInode,
    /// A directory to enter is being opened.
    Enter(abi::InodeId),
    /// ioctl(2).
    Ioctl {
        /// Where the structure goes; 0 if there is none.
        addr: u64,
        /// Bytes of it.
        bytes: usize,
    },
    /// A FIFO, which may wait for its other end: O_ flags.
    Fifo(u32),
    /// A new signalfd(2): its signals, and O_ flags.
    SignalsMade(crate::signal::SignalSet, u32),
    /// Whether a read of one may wait.
    SignalFlags(signalfd::Reading),
    /// One of its signals.
    SignalRead(signalfd::Reading),
    /// A new timer: its clock, and O_ flags.
    TimerMade(fs_api::name::TimerClock, u32),
    /// A timer's value, and where it goes.
    TimerValue(u64),
    /// The page for a timer's value.
    TimerPut(u64, ipc_api::timer::TimerValue),
    /// A new epoll instance: O_ flags.
    EpollMade(u32),
    /// epoll_wait(2).
    Epoll(Box<epoll::Waiting>),
    /// poll(2), select(2).
    Poll(Box<poll::Poll>),
    /// A terminal that is being opened: O_ flags.
    Terminal(u32),
    /// A text of proc-server on another node.
    Text(Box<crate::procfs::TextWait>),
    /// The answer to an administrator's command; then the read runs again.
    Admin,
}

/// Goes on with a call that waited.
pub(crate) fn resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: Wait,
    tag: u32,
    result: AskResult,
) -> SysResult {
    match wait {
        Wait::Transfer { transfer, asked } => transfer::stepped(call, transfer, asked, result),
        Wait::Again(transfer) => transfer::again(call, transfer, result),
        Wait::Turn(transfer) => transfer::turn(call, transfer, result),
        Wait::SignalRead(reading) => signalfd::resume(call, reading, result),
        Wait::Epoll(waiting) => epoll::resume(call, waiting, tag, result),
        Wait::Poll(poll) => poll::resume(call, poll, tag, result),
        Wait::Socket(wait) => socket::resume(call, *wait, result),
        Wait::Text(wait) => crate::procfs::text_came(call, *wait, result),
        wait => {
            let reply = result?;
            answered(call, wait, &reply)
        }
    }
}

/// The waits that an error ends.
fn answered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: Wait,
    reply: &runtime::NodeReply,
) -> SysResult {
    match wait {
        Wait::Zero => Ok(Next::Done(0)),
        Wait::Start { name, hops } => names::started(call, name, hops, reply),
        Wait::Name { name, hops } => names::answered(call, name, hops, reply),
        Wait::GetFlags => descriptors::flags_answered(reply),
        Wait::ChangeFlags { file, mask, flags } => {
            descriptors::flags_to_change(call, file, mask, flags, reply)
        }
        Wait::Pipe { addr, flags } => descriptors::pipe_made(call, addr, flags, reply),
        Wait::TestLock(flock) => locks::tested(call, flock, reply),
        Wait::Fifo(flags) => names::fifo_opened(call, flags, reply),
        Wait::SignalsMade(set, flags) => signalfd::made(call, set, flags, reply),
        Wait::SignalFlags(reading) => signalfd::flags_known(call, reading, reply),
        Wait::TimerMade(clock, flags) => timer::made(call, clock, flags, reply),
        Wait::TimerValue(addr) => timer::value_came(call, addr, reply),
        Wait::TimerPut(addr, value) => timer::put(call, addr, value),
        Wait::EpollMade(flags) => epoll::made(call, flags, reply),
        Wait::Counter(flags) => descriptors::counter_made(call, flags, reply),
        Wait::Seek => seek::answered(reply),
        Wait::Moved => seek::listed(reply),
        Wait::Stat(out) => meta::stat_answered(call, out, reply),
        Wait::Statfs(addr) => meta::statfs_answered(call, addr, reply),
        Wait::Cwd { addr, len } => meta::cwd_answered(call, addr, len, reply),
        Wait::EnterInode => meta::inode_known(call, reply),
        Wait::Enter(inode) => meta::entered(call, inode, reply),
        Wait::Ioctl { addr, bytes } => ioctl::answered(call, addr, bytes, reply),
        Wait::Terminal(flags) => meta::terminal_opened(call, flags, reply),
        Wait::Admin => Err(crate::syscall::Fail::Interrupted(crate::thread::Restart::Call)),
        Wait::Transfer { .. }
        | Wait::Again(_)
        | Wait::Turn(_)
        | Wait::Poll(_)
        | Wait::Epoll(_)
        | Wait::SignalRead(_)
        | Wait::Text(_)
        | Wait::Socket(_) => {
            unreachable!("taken out before")
        }
    }
}
