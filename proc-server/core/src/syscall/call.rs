// SPDX-License-Identifier: MIT OR Apache-2.0
//! The surroundings of one step of a system call.

use super::{Fail, Next, SysResult, Wait};
use crate::ProcCore;
use crate::layout::Layout;
use crate::machine::Machine;
use crate::process::{Process, ProcessNo};
use crate::thread::{Interrupt, OpenAsk, Progress, Restart, Thread};
use abi::limits::{PATH_BYTES, WINDOW_BYTES};
use abi::{Errno, NodeId, ServerId, SpaceId, ThreadId};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::task::Poll;
use fs_api::file::Caller;
use fs_api::name::Credentials;
use mem_api::{CopyIn, CopyOut, CopyString, FetchAbsent};
use runtime::{Bulk, Cx, Operation};

/// Strings of a program are read so far at first: most are shorter.
const SHORT_STRING_BYTES: usize = 256;

/// One step of a system call: who calls, with what, and what it may do.
pub struct Call<'a, 'c, M> {
    /// The core.
    pub core: &'a mut ProcCore<M>,
    /// The surroundings of the core's step.
    pub cx: &'a mut Cx<'c>,
    /// The calling thread.
    pub thread: ThreadId,
    /// Its process.
    pub process: ProcessNo,
    /// The call's arguments.
    pub args: [u64; 6],
    /// Why the call was interrupted, if it was.
    pub interrupt: Option<Interrupt>,
    pub(crate) wait: Option<Wait>,
    pub(crate) asks: Vec<OpenAsk>,
    pub(crate) timer: Option<(u64, u64)>,
}

impl<M: Machine> Call<'_, '_, M> {
    /// The calling thread.
    pub fn thread(&self) -> &Thread {
        self.core.threads.get(self.thread).expect("a thread exists while its call is handled")
    }

    /// The calling thread, to change it.
    pub fn thread_mut(&mut self) -> &mut Thread {
        self.core.threads.get_mut(self.thread).expect("a thread exists while its call is handled")
    }

    /// The calling process.
    pub fn process(&self) -> &Process {
        self.core.processes.get(self.process).expect("a process exists while its thread does")
    }

    /// The calling process, to change it.
    pub fn process_mut(&mut self) -> &mut Process {
        self.core.processes.get_mut(self.process).expect("a process exists while its thread does")
    }

    /// The calling process's space.
    ///
    /// # Errors
    /// ESRCH: it has none yet, and so makes no calls.
    pub fn space(&self) -> Result<SpaceId, Errno> {
        self.process().space()
    }

    /// Whose permissions count for names.
    pub fn credentials(&self) -> Credentials {
        let own = &self.process().own;
        Credentials { uid: own.ids.uid, gid: own.ids.gid, mask: own.umask }
    }

    /// Who calls, for terminals.
    pub fn caller(&self) -> Caller {
        let own = &self.process().own;
        Caller { pid: own.pid.get(), group: own.group, session: own.session }
    }

    /// Copies from the program's memory.
    ///
    /// # Errors
    /// EFAULT, ERESTART.
    pub fn copy_in(&mut self, addr: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let space = self.space()?;
        let mut at = addr;
        for part in bytes.chunks_mut(WINDOW_BYTES) {
            let len = part.len() as u64;
            self.cx.leaf_bulk(&CopyIn { space, addr: at, len }, &mut Bulk::new(part))?;
            at = at.checked_add(len).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// Copies to the program's memory.
    ///
    /// # Errors
    /// EFAULT, ERESTART.
    pub fn copy_out(&mut self, addr: u64, bytes: &[u8]) -> Result<(), Errno> {
        let space = self.space()?;
        copy_out(self.cx, space, addr, bytes)
    }

    /// A structure of the program's memory.
    ///
    /// # Errors
    /// EFAULT, ERESTART.
    pub fn read<T: Layout>(&mut self, addr: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.copy_in(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a structure to the program's memory.
    ///
    /// # Errors
    /// EFAULT, ERESTART.
    pub fn write<T: Layout>(&mut self, addr: u64, value: &T) -> Result<(), Errno> {
        self.copy_out(addr, value.as_bytes())
    }

    /// Bytes of the program's memory up to a zero byte, at most `max` of them.
    ///
    /// # Errors
    /// EFAULT, ERESTART, ENAMETOOLONG.
    pub fn zero_ended(&mut self, addr: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut short = [0; SHORT_STRING_BYTES];
        let room = max.min(short.len());
        match self.copy_string(addr, &mut short[..room]) {
            Err(Errno::ENAMETOOLONG) if max > SHORT_STRING_BYTES => {
                self.copy_string(addr, &mut alloc::vec![0; max.min(WINDOW_BYTES)])
            }
            copied => copied,
        }
    }

    /// The string, in no more memory than it needs: who waits for another server keeps it.
    fn copy_string(&mut self, addr: u64, buffer: &mut [u8]) -> Result<Vec<u8>, Errno> {
        let space = self.space()?;
        let mut bulk = Bulk::new(buffer);
        self.cx.leaf_bulk(&CopyString { space, addr }, &mut bulk)?;
        Ok(bulk.data().to_vec())
    }

    /// A path of the program's memory.
    ///
    /// # Errors
    /// EFAULT, ERESTART, ENAMETOOLONG; EINVAL: not UTF-8.
    pub fn string(&mut self, addr: u64) -> Result<String, Errno> {
        let bytes = self.zero_ended(addr, PATH_BYTES - 1)?;
        String::from_utf8(bytes).map_err(|_| Errno::EINVAL)
    }

    /// Asks another server; the call goes on with `wait` when the answer is there.
    pub fn ask<O: Operation>(&mut self, op: &O, wait: Wait) -> Next {
        self.ask_server(O::SERVER, op, 0, wait)
    }

    /// The same, at a given server (files: fs or ipc) and with a tag that tells several asks apart.
    pub fn ask_server<O: Operation>(
        &mut self,
        server: ServerId,
        op: &O,
        tag: u32,
        wait: Wait,
    ) -> Next {
        let cookie = self.new_cookie();
        self.asks.push(OpenAsk { cookie, tag });
        self.cx.ask_server(server, op, cookie);
        self.keep_waiting(wait)
    }

    /// Calls proc-server on another node.
    pub fn call_node<O: Operation>(
        &mut self,
        node: NodeId,
        op: &O,
        bulk: Vec<u8>,
        wait: Wait,
    ) -> Next {
        let cookie = self.new_cookie();
        self.asks.push(OpenAsk { cookie, tag: 0 });
        self.cx.call_node(node, op, bulk, cookie);
        self.keep_waiting(wait)
    }

    /// Calls a leaf operation that may end later: its reply, or `None` and the call waits with
    /// `wait`.
    ///
    /// # Errors
    /// What the server answers.
    pub fn leaf_or_wait<O: Operation>(
        &mut self,
        op: &O,
        wait: Wait,
    ) -> Result<Option<O::Reply>, Errno> {
        let cookie = self.new_cookie();
        match self.cx.leaf_or_wait(op, cookie)? {
            Poll::Ready(reply) => Ok(Some(reply)),
            Poll::Pending => {
                self.asks.push(OpenAsk { cookie, tag: 0 });
                self.keep_waiting(wait);
                Ok(None)
            }
        }
    }

    /// Fetches the page that the last ERESTART named; then the call goes on with `wait`, with an
    /// empty answer.
    pub fn fetch_then(&mut self, wait: Wait) -> SysResult {
        let space = self.space()?;
        let cookie = self.new_cookie();
        match self.cx.leaf_or_wait(&FetchAbsent { space }, cookie)? {
            Poll::Pending => {
                self.asks.push(OpenAsk { cookie, tag: 0 });
                Ok(self.keep_waiting(Wait::Fetched(Box::new(wait))))
            }
            Poll::Ready(()) => {
                let thread = self.thread_mut();
                thread.reruns += 1;
                if thread.reruns > crate::limits::RERUNS_MAX {
                    return Err(Fail::Errno(Errno::EAGAIN));
                }
                let empty = runtime::NodeReply { msg: runtime::Msg::default(), bulk: Vec::new() };
                crate::entry::resume_wait(self, wait, 0, Ok(empty))
            }
        }
    }

    /// Goes on waiting for what has been asked, or for an event of proc-server itself.
    pub fn keep_waiting(&mut self, wait: Wait) -> Next {
        self.wait = Some(wait);
        Next::Wait
    }

    /// Ends the waiting at `deadline_ns` since boot: the wait is resumed with ETIMEDOUT and
    /// [`super::TAG_TIMER`]. A deadline set before is forgotten.
    ///
    /// # Errors
    /// EAGAIN: too many timers.
    pub fn timeout_at(&mut self, deadline_ns: u64) -> Result<(), Errno> {
        let cookie = self.new_cookie();
        if let Some((deadline_ns, cookie)) = self.timer.take() {
            self.cx.disarm(deadline_ns, cookie);
        }
        self.cx.arm(deadline_ns, cookie)?;
        self.timer = Some((deadline_ns, cookie));
        Ok(())
    }

    /// Ends an interrupted call that has moved `done` bytes (more than 0): a signal makes it answer
    /// that count; after a move it goes on from there, see [`Self::progress`].
    ///
    /// # Errors
    /// Interrupted: it goes on later.
    pub fn partial(&mut self, done: u64) -> SysResult {
        if self.interrupt == Some(Interrupt::Freeze) {
            self.thread_mut().own.progress = Some(Progress::Bytes(done));
            return Err(Fail::Interrupted(Restart::Always));
        }
        Ok(Next::Done(done))
    }

    /// What this call did before it was interrupted without the program's knowledge.
    pub fn progress(&self) -> Option<Progress> {
        self.thread().own.progress
    }

    /// Bytes that this call has moved before it was interrupted.
    pub fn bytes_done(&self) -> u64 {
        match self.progress() {
            Some(Progress::Bytes(done)) => done,
            Some(Progress::Deadline(_)) | None => 0,
        }
    }

    pub(crate) fn new_cookie(&mut self) -> u64 {
        let id = self.thread;
        let thread = self.thread_mut();
        thread.sequence = thread.sequence.wrapping_add(1);
        crate::entry::thread_cookie(id, thread.sequence)
    }
}

/// Copies to a program's memory.
///
/// # Errors
/// EFAULT, ERESTART.
pub(crate) fn copy_out(
    cx: &mut Cx<'_>,
    space: SpaceId,
    addr: u64,
    bytes: &[u8],
) -> Result<(), Errno> {
    let mut at = addr;
    for part in bytes.chunks(WINDOW_BYTES) {
        // A request's data is only read; the window is the caller's own.
        let mut part = part.to_vec();
        cx.leaf_bulk(&CopyOut { space, addr: at }, &mut Bulk::new(&mut part))?;
        at = at.checked_add(part.len() as u64).ok_or(Errno::EFAULT)?;
    }
    Ok(())
}
