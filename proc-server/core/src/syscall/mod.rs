// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls: their surroundings, how they end, and the table by number.

mod call;
mod exec;
mod exit;
mod fork;
mod futex;
mod identity;
mod memory;
mod misc;
mod sysv;
mod table;
mod time;
mod timers;
mod wait;

pub use crate::cluster::PeerWait;
pub use call::Call;
pub(crate) use call::copy_out;
pub use exec::ExecWait;
pub(crate) use exec::{exec_resume, first_exec};
pub(crate) use exit::{wait_status_exit, wait_status_signal};
pub(crate) use fork::vfork_resume;
pub(crate) use futex::{futex_resume, woken_resume};
pub use memory::MapWait;
pub(crate) use memory::map_resume;
pub use misc::RELEASE;
pub use sysv::SysvWait;
pub(crate) use sysv::resume as sysv_resume;
pub(crate) use table::dispatch;
pub use time::SleepWait;
pub(crate) use time::sleep_resume;

use crate::files;
use crate::thread::Restart;
use abi::Errno;
use runtime::NodeReply;

/// How a system call goes on.
#[derive(Debug)]
pub enum Next {
    /// It ends with this in rax.
    Done(u64),
    /// It waits: [`Call::ask`] or one of its relatives was called.
    Wait,
    /// The thread's registers are as they shall be: rt_sigreturn(2), execve(2).
    Resume,
    /// The thread has ended.
    Gone,
}

/// How a system call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// With this error.
    Errno(Errno),
    /// A page of the program rests elsewhere: it is fetched, then the call runs again from its start.
    Absent,
    /// A signal or a move has interrupted it.
    Interrupted(Restart),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ERESTART => Self::Absent,
            Errno::ECANCELED => Self::Interrupted(Restart::Call),
            errno => Self::Errno(errno),
        }
    }
}

/// What a step of a system call answers.
pub type SysResult = Result<Next, Fail>;

/// The tag that [`files::resume`] and the others see when a call's time is over.
pub const TAG_TIMER: u32 = u32::MAX;

/// What a system call waits for, and what it needs to go on.
#[derive(Debug)]
pub enum Wait {
    /// A page; then the call runs again from its start.
    Rerun,
    /// A page of a handler's stack; then the thread settles.
    Settle,
    /// A page; then the boxed wait goes on.
    Fetched(alloc::boxed::Box<Wait>),
    /// Files.
    Files(files::Wait),
    /// execve(2).
    Exec(alloc::boxed::Box<ExecWait>),
    /// A child, wait4(2): runs again from its start when one changes.
    Child,
    /// A signal, pause(2) and sigsuspend(2).
    Signal,
    /// A signal of this set, sigtimedwait(2).
    SignalOf(crate::signal::SignalSet),
    /// The clock.
    Sleep(SleepWait),
    /// A futex.
    Futex {
        /// When it stops waiting, since boot.
        deadline_ns: Option<u64>,
        /// Its time is over, and it waits for the end of the cancelled call.
        timed_out: bool,
    },
    /// System V objects.
    Sysv(SysvWait),
    /// Waiters at a futex of another node.
    Woken,
    /// vfork(2): the child's exec or end; its pid.
    Vfork(u32),
    /// The object behind a file, mmap(2).
    MapFile(MapWait),
    /// Ids to be counted; then the call runs again from its start.
    Settled,
    /// Other nodes' answers.
    Peer(PeerWait),
    /// The end of a move of a process, asked for through /proc/PID/node: bytes to answer.
    Move(u64),
}

/// The answer of an ask, as a wait gets it.
pub type AskResult = Result<NodeReply, Errno>;
