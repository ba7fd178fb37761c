// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where TCP differs from Unix streams: connections are made without their caller, and end in two directions.

use super::jobs::{Connecting, Job};
use super::{Socket, State};
use crate::Ipc;
use abi::{Errno, FileId};
use ipc_api::file::Moved;
use runtime::{Answer, Client, Cx};

impl Connecting {
    /// Ends the call, if one waits.
    pub(super) fn end(&self, cx: &mut Cx<'_>, result: Result<(), Errno>) {
        if let Some(ticket) = self.ticket {
            cx.complete(ticket, result);
        }
    }
}

impl Socket {
    /// Whether closing it is a reset: SO_LINGER of no time.
    pub(super) fn closes_hard(&self) -> bool {
        self.is_tcp() && self.internet.linger == 1
    }
}

impl Ipc {
    /// A connection that is being made is waited for.
    pub(super) fn await_connection(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
    ) -> Result<Answer, Errno> {
        let connecting = self.jobs.values_mut().find_map(|job| match job {
            Job::Find(it) | Job::Join { connecting: it, .. } if it.file == file => Some(it),
            _ => None,
        });
        // One call can wait for it.
        let connecting = connecting.filter(|it| it.ticket.is_none()).ok_or(Errno::EALREADY)?;
        let ticket = cx.open_ticket(from)?;
        connecting.ticket = Some(ticket);
        Ok(Answer::Pending(ticket))
    }

    /// Nobody needs the connection any more: what was asked for it keeps its slot from moving.
    pub(super) fn cancel_connection(&mut self, cx: &mut Cx<'_>, file: FileId) {
        for (cookie, job) in &mut self.jobs {
            match job {
                Job::Find(it) if it.file == file => it.given_up = true,
                Job::Join { connecting: it, .. } if it.file == file => {}
                _ => continue,
            }
            return cx.cancel(*cookie);
        }
    }

    /// Nobody is there, or could be asked.
    pub(super) fn tcp_not_connected(
        &mut self,
        cx: &mut Cx<'_>,
        mut connecting: Connecting,
        errno: Errno,
    ) {
        let file = connecting.file;
        if connecting.ticket.is_some() {
            connecting.end(cx, Err(errno));
            return self.tcp_hears(cx, file, None);
        }
        // Slots move, and no call would come again.
        if errno == Errno::ERESTART && connecting.tries > 0 {
            connecting.tries -= 1;
            return self.find_listener(cx, connecting);
        }
        let errno = if errno == Errno::ERESTART { Errno::ETIMEDOUT } else { errno };
        self.tcp_hears(cx, file, Some(errno));
    }

    /// Whoever waits at a socket hears that its connection was not made.
    fn tcp_hears(&mut self, cx: &mut Cx<'_>, file: FileId, error: Option<Errno>) {
        if let Some(socket) = self.sockets.get_mut(&file) {
            socket.error = error.or(socket.error);
            socket.came();
            socket.roomy();
            self.pump(cx, file);
        }
    }

    /// What a call that sends gets where there is nobody to send to; `None`: there is.
    pub(super) fn tcp_sends(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        len: usize,
        nonblocking: bool,
    ) -> Result<Option<Answer>, Errno> {
        let socket = self.socket(file)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        match socket.state {
            _ if socket.no_send => Err(Errno::EPIPE),
            State::Idle | State::Listening(_) => Err(Errno::EPIPE),
            State::Connecting(_) if nonblocking => Err(Errno::EAGAIN),
            State::Connecting(_) => Err(Errno::ENOTCONN),
            State::Connected(_) => Ok(None),
            State::Gone => {
                // The other end has closed: it answers with a reset, of which the next call hears.
                if len > 0 {
                    socket.no_send = true;
                    socket.error = Some(Errno::EPIPE);
                    socket.came();
                    socket.roomy();
                    self.pump(cx, file);
                }
                Ok(Some(Answer::reply(&Moved { bytes: len as u64 })))
            }
        }
    }
}
