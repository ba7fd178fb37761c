// SPDX-License-Identifier: MIT OR Apache-2.0
//! ioctl_tty(2).

use super::Terminal;
use super::termios::{TERMIOS_BYTES, Termios};
use abi::Errno;
use abi::linux::general::{
    SIGCONT, SIGHUP, SIGWINCH, TCIFLUSH, TCIOFF, TCIOFLUSH, TCION, TCOFLUSH, TCOOFF, TCOON,
};
use abi::linux::ioctl::{
    FIONREAD, TCFLSH, TCGETS, TCGETS2, TCSBRK, TCSBRKP, TCSETS, TCSETS2, TCSETSF, TCSETSF2,
    TCSETSW, TCSETSW2, TCXONC, TIOCGPGRP, TIOCGSID, TIOCGWINSZ, TIOCNOTTY, TIOCOUTQ, TIOCSCTTY,
    TIOCSPGRP, TIOCSWINSZ,
};
use alloc::vec::Vec;
use ipc_api::file::{Caller, Ioctl, IoctlReply};
use runtime::Cx;

/// Bytes of `struct winsize`.
const WINSIZE_BYTES: usize = 8;

impl Terminal {
    /// Performs the request.
    ///
    /// # Errors
    /// ENOTTY: unknown, or not this caller's terminal. EINVAL: an argument of wrong size or value.
    /// EPERM: the terminal belongs to another session.
    pub(crate) fn ioctl(&mut self, cx: &mut Cx<'_>, call: &Ioctl) -> Result<IoctlReply, Errno> {
        let data = match call.request {
            TCGETS => self.line.termios.encode(),
            TCGETS2 => self.line.termios.encode2(),
            TIOCGWINSZ => self.window.iter().flat_map(|size| size.to_le_bytes()).collect(),
            TIOCGPGRP => word(self.own(&call.caller)?.1),
            TIOCGSID => word(self.own(&call.caller)?.0),
            FIONREAD => word(self.line.readable(1).unwrap_or(0) as u32),
            TIOCOUTQ => word(self.output.len() as u32),
            _ => {
                self.change(cx, call)?;
                Vec::new()
            }
        };
        Ok(IoctlReply { value: 0, data })
    }

    fn change(&mut self, cx: &mut Cx<'_>, call: &Ioctl) -> Result<(), Errno> {
        match call.request {
            TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2 => {
                if matches!(call.request, TCSETSF | TCSETSF2) {
                    self.line.flush();
                }
                let data = call.data.get(..TERMIOS_BYTES).ok_or(Errno::EINVAL)?;
                self.line.set(Termios::decode(data)?);
                self.pump(cx);
                Ok(())
            }
            TIOCSWINSZ => self.set_window(cx, &call.data),
            TIOCSPGRP => self.set_foreground(call),
            TIOCSCTTY => self.set_session(call),
            TIOCNOTTY => self.leave_session(cx, &call.caller),
            TCFLSH => self.flush(cx, call.arg),
            TCXONC => self.flow(cx, call.arg),
            // A break means nothing on a console, and what was written is on its way.
            TCSBRK | TCSBRKP => Ok(()),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Session and foreground group, if it is the caller's terminal.
    fn own(&self, caller: &Caller) -> Result<(u32, u32), Errno> {
        if self.job.session == 0 || caller.session != self.job.session {
            return Err(Errno::ENOTTY);
        }
        Ok((self.job.session, self.job.foreground))
    }

    fn set_window(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Result<(), Errno> {
        let data: &[u8; WINSIZE_BYTES] = data.first_chunk().ok_or(Errno::EINVAL)?;
        let size = |at: usize| u16::from_le_bytes([data[at], data[at + 1]]);
        let window = [size(0), size(2), size(4), size(6)];
        if window != self.window {
            self.window = window;
            self.signal(cx, self.job.foreground, SIGWINCH);
        }
        Ok(())
    }

    fn set_foreground(&mut self, call: &Ioctl) -> Result<(), Errno> {
        self.own(&call.caller)?;
        let group: [u8; 4] = *call.data.first_chunk().ok_or(Errno::EINVAL)?;
        let group = u32::from_le_bytes(group);
        if group == 0 || i32::try_from(group).is_err() {
            return Err(Errno::EINVAL);
        }
        self.job.foreground = group;
        Ok(())
    }

    /// TIOCSCTTY; argument 1 takes the terminal from another session.
    fn set_session(&mut self, call: &Ioctl) -> Result<(), Errno> {
        let caller = &call.caller;
        if self.job.session == caller.session && caller.session != 0 {
            return Ok(());
        }
        let leader = caller.pid != 0 && caller.pid == caller.session;
        if !leader || (self.job.session != 0 && call.arg != 1) {
            return Err(Errno::EPERM);
        }
        self.job.session = caller.session;
        self.job.foreground = caller.group;
        Ok(())
    }

    fn leave_session(&mut self, cx: &mut Cx<'_>, caller: &Caller) -> Result<(), Errno> {
        let (session, foreground) = self.own(caller)?;
        if caller.pid == session {
            self.signal(cx, foreground, SIGHUP);
            self.signal(cx, foreground, SIGCONT);
            self.job.session = 0;
            self.job.foreground = 0;
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Cx<'_>, queue: u64) -> Result<(), Errno> {
        let queue = u32::try_from(queue).map_err(|_| Errno::EINVAL)?;
        match queue {
            TCIFLUSH => self.line.flush(),
            TCOFLUSH => self.output.clear(),
            TCIOFLUSH => {
                self.line.flush();
                self.output.clear();
            }
            _ => return Err(Errno::EINVAL),
        }
        self.pump(cx);
        Ok(())
    }

    fn flow(&mut self, cx: &mut Cx<'_>, action: u64) -> Result<(), Errno> {
        match u32::try_from(action).map_err(|_| Errno::EINVAL)? {
            TCOOFF => self.output.stopped = true,
            TCOON => {
                self.output.stopped = false;
                self.pump(cx);
            }
            // The console's sender cannot be stopped.
            TCIOFF | TCION => {}
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

fn word(value: u32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}
