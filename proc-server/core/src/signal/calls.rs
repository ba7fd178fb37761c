// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls on signals.

use super::deliver::signal_of;
use super::frame;
use super::queue::{SI_TKILL, SI_USER};
use super::{Action, Default, Info, SignalSet, Target, number};
use crate::layout::signal::{SIGSET_BYTES, SigAction, SigInfo, StackT};
use crate::layout::time::Timespec;
use crate::machine::Machine;
use crate::syscall::{AskResult, Call, Fail, Next, SysResult, Wait};
use crate::thread::{AltStack, Restart};
use abi::Errno;
use abi::linux::general::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK};

type C<'a, 'b, 'c, M> = &'a mut Call<'b, 'c, M>;

/// rt_sigaction(2).
pub(crate) fn sys_sigaction<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [signal, new, old, size, ..] = call.args;
    let signal = signal as u32;
    if size != SIGSET_BYTES || !(1..=number::MAX).contains(&signal) {
        return Err(Errno::EINVAL.into());
    }
    let new = if new == 0 { None } else { Some(call.read::<SigAction>(new)?) };
    if new.is_some() && SignalSet::UNSTOPPABLE.has(signal) {
        return Err(Errno::EINVAL.into());
    }
    if old != 0 {
        let action = call.process().own.actions.get(signal);
        let layout = SigAction {
            handler: action.handler,
            flags: action.flags,
            restorer: action.restorer,
            mask: action.mask.0,
        };
        call.write(old, &layout)?;
    }
    let Some(new) = new else { return Ok(Next::Done(0)) };
    let action = Action {
        handler: new.handler,
        flags: new.flags,
        restorer: new.restorer,
        mask: SignalSet::from_program(new.mask),
    };
    let process = call.process_mut();
    process.own.actions.set(signal, action);
    if process.own.actions.ignores(signal) {
        let gone = SignalSet::of(&[signal]);
        process.own.pending.remove(gone);
        for id in process.threads.clone() {
            if let Some(thread) = call.core.threads.get_mut(id) {
                thread.own.pending.remove(gone);
            }
        }
    }
    Ok(Next::Done(0))
}

/// rt_sigprocmask(2).
pub(crate) fn sys_sigprocmask<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [how, new, old, size, ..] = call.args;
    if size != SIGSET_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let mask = call.thread().own.mask;
    let wanted = if new == 0 {
        mask
    } else {
        let set = SignalSet::from_program(call.read::<u64>(new)?);
        match how as u32 {
            SIG_BLOCK => mask.union(set),
            SIG_UNBLOCK => mask.minus(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        }
    };
    if old != 0 {
        call.write(old, &mask.0)?;
    }
    call.set_mask(wanted);
    Ok(Next::Done(0))
}

/// rt_sigpending(2).
pub(crate) fn sys_sigpending<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let own = call.thread().own.pending.set();
    let all = own.union(call.process().own.pending.set());
    let blocked = all.meet(call.thread().own.mask);
    call.write(call.args[0], &blocked.0)?;
    Ok(Next::Done(0))
}

/// rt_sigsuspend(2).
pub(crate) fn sys_sigsuspend<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    if call.args[1] != SIGSET_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let mask = SignalSet::from_program(call.read::<u64>(call.args[0])?);
    call.set_temporary_mask(mask);
    Ok(call.keep_waiting(Wait::Signal))
}

/// pause(2).
pub(crate) fn sys_pause<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    Ok(call.keep_waiting(Wait::Signal))
}

/// rt_sigtimedwait(2).
pub(crate) fn sys_sigtimedwait<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [set, _, timeout, size, ..] = call.args;
    if size != SIGSET_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let set = SignalSet::from_program(call.read::<u64>(set)?);
    let timeout_ns = match timeout {
        0 => None,
        addr => Some(call.read::<Timespec>(addr)?.to_ns()?),
    };
    if let Some((info, _)) = call.take_signal_of(set) {
        return wait_done(call, info);
    }
    if timeout_ns == Some(0) {
        return Err(Errno::EAGAIN.into());
    }
    if let Some(timeout_ns) = timeout_ns {
        let deadline_ns = call.cx.now_ns().saturating_add(timeout_ns);
        call.timeout_at(deadline_ns)?;
    }
    Ok(call.keep_waiting(Wait::SignalOf(set)))
}

/// Goes on with rt_sigtimedwait(2).
pub(crate) fn wait_resume<M: Machine>(
    call: C<'_, '_, '_, M>,
    set: SignalSet,
    result: AskResult,
) -> SysResult {
    if let Some((info, _)) = call.take_signal_of(set) {
        return wait_done(call, info);
    }
    match result {
        Err(Errno::ETIMEDOUT) => Err(Errno::EAGAIN.into()),
        Ok(_) | Err(_) => Err(Fail::Interrupted(Restart::NoHandler)),
    }
}

fn wait_done<M: Machine>(call: C<'_, '_, '_, M>, info: Info) -> SysResult {
    let addr = call.args[1];
    if addr != 0
        && let Err(errno) = call.write(addr, &info.layout())
    {
        // Not lost: it waits again.
        let _ = call.thread_mut().own.pending.add(info);
        return Err(errno.into());
    }
    Ok(Next::Done(u64::from(info.signal)))
}

/// sigaltstack(2).
pub(crate) fn sys_sigaltstack<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [new, old, ..] = call.args;
    let new = if new == 0 { None } else { Some(call.read::<StackT>(new)?) };
    let rsp = call.thread().own.registers.rsp;
    let now = call.thread().own.alt_stack;
    if old != 0 {
        call.write(old, &now.layout(rsp))?;
    }
    if let Some(new) = new {
        if now.holds(rsp) && !now.autodisarm {
            return Err(Errno::EPERM.into());
        }
        call.thread_mut().own.alt_stack = AltStack::from_layout(&new)?;
    }
    Ok(Next::Done(0))
}

/// rt_sigreturn(2).
pub(crate) fn sys_sigreturn<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let space = call.space()?;
    let registers = call.thread().own.registers;
    let back = match frame::pop(call.cx, space, &registers) {
        Ok(back) => back,
        Err(Errno::ERESTART) => return Err(Fail::Absent),
        Err(errno) => {
            call.core.force(call.thread, Info::kernel(signal_of(errno)));
            return Ok(Next::Resume);
        }
    };
    if let (Some(fpu), Some(slot)) = (&back.fpu, call.thread().slot) {
        call.core.machine.write_fpu(slot, fpu);
    }
    let thread = call.thread_mut();
    thread.own.registers = back.registers;
    if let Some(alt_stack) = back.alt_stack {
        thread.own.alt_stack = alt_stack;
    }
    thread.own.restart = None;
    call.set_mask(back.mask);
    Ok(Next::Resume)
}

/// kill(2).
pub(crate) fn sys_kill<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let pid = call.args[0] as u32 as i32;
    let signal = crate::ProcCore::<M>::check_signal(call.args[1])?;
    let own = &call.process().own;
    let info = Info::sent(signal, SI_USER, own.pid.get(), own.ids.uid);
    let target = match pid {
        0 => Target::Group(own.group),
        -1 => Target::All(own.pid.get()),
        pid if pid > 0 => Target::Process(pid.unsigned_abs()),
        pid => Target::Group(pid.unsigned_abs()),
    };
    crate::cluster::signal(call, target, info)
}

/// tkill(2).
pub(crate) fn sys_tkill<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [tid, signal, ..] = call.args;
    send_to_thread(call, 0, tid as u32, signal)
}

/// tgkill(2).
pub(crate) fn sys_tgkill<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [pid, tid, signal, ..] = call.args;
    if pid as u32 == 0 {
        return Err(Errno::EINVAL.into());
    }
    send_to_thread(call, pid as u32, tid as u32, signal)
}

fn send_to_thread<M: Machine>(
    call: C<'_, '_, '_, M>,
    pid: u32,
    tid: u32,
    signal: u64,
) -> SysResult {
    let signal = crate::ProcCore::<M>::check_signal(signal)?;
    if tid == 0 || tid > i32::MAX as u32 {
        return Err(Errno::EINVAL.into());
    }
    let own = &call.process().own;
    let info = Info::sent(signal, SI_TKILL, own.pid.get(), own.ids.uid);
    crate::cluster::signal(call, Target::Thread(tid, pid), info)
}

/// rt_sigqueueinfo(2) and rt_tgsigqueueinfo(2).
pub(crate) fn sys_sigqueue<M: Machine>(call: C<'_, '_, '_, M>, thread: bool) -> SysResult {
    let [pid, a, b, c, ..] = call.args;
    let (signal, addr) = if thread { (b, c) } else { (a, b) };
    let signal = crate::ProcCore::<M>::check_signal(signal)?;
    let given = call.read::<SigInfo>(addr)?;
    if given.code >= 0 || given.code == SI_TKILL {
        return Err(Errno::EPERM.into());
    }
    let words = [given.fields[0], given.fields[1], given.fields[2]];
    let info = Info { signal, code: given.code, words };
    let target =
        if thread { Target::Thread(a as u32, pid as u32) } else { Target::Process(pid as u32) };
    crate::cluster::signal(call, target, info)
}

impl<M: Machine> Call<'_, '_, M> {
    /// Blocks exactly these signals.
    pub(crate) fn set_mask(&mut self, mask: SignalSet) {
        let process = self.process().own.pending.set();
        let thread = self.thread_mut();
        thread.own.mask = mask;
        if !thread.own.pending.set().union(process).minus(mask).is_empty() {
            thread.attention = true;
        }
    }

    /// Blocks exactly these signals until the call ends; a handler that runs then still sees this
    /// mask, and the former one comes back behind it: sigsuspend(2), ppoll(2), pselect(2).
    pub fn set_temporary_mask(&mut self, mask: SignalSet) {
        let thread = self.thread_mut();
        let before = thread.own.mask;
        thread.own.saved_mask = Some(thread.own.saved_mask.unwrap_or(before));
        thread.own.mask = mask;
        thread.attention = true;
    }

    /// Whether one of these waits for the thread or its process.
    pub(crate) fn has_signal_of(&self, set: SignalSet) -> bool {
        let own = self.thread().own.pending.set();
        !own.union(self.process().own.pending.set()).meet(set).is_empty()
    }

    /// Gives back what [`Self::take_signal_of`] took, to the thread or to the process.
    pub(crate) fn put_signal_back(&mut self, info: Info, to_thread: bool) {
        if to_thread {
            self.thread_mut().own.pending.put_back(info);
        } else {
            self.process_mut().own.pending.put_back(info);
        }
    }

    /// Takes the first signal of the set; and whether it was the thread's, not the process's.
    pub(crate) fn take_signal_of(&mut self, set: SignalSet) -> Option<(Info, bool)> {
        let own = self.thread().own.pending.set().meet(set);
        let shared = self.process().own.pending.set().meet(set);
        let signal = own.union(shared).first()?;
        let info = if own.has(signal) {
            self.thread_mut().own.pending.take(signal)
        } else {
            self.process_mut().own.pending.take(signal)
        };
        let info = info.inspect(|info| self.process_mut().own.timers.taken(info))?;
        Some((info, own.has(signal)))
    }
}

impl Default {
    /// Whether it ends the process.
    pub fn ends(self) -> bool {
        matches!(self, Self::End { .. })
    }
}
