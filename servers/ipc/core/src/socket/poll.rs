// SPDX-License-Identifier: MIT OR Apache-2.0
//! What poll(2) says of sockets.

use super::{Socket, State};
use crate::Ipc;
use crate::transfer::wake_pollers;
use crate::watch::note;
use abi::linux::general::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRNORM};
use abi::{Errno, FileId};
use runtime::Cx;

impl Ipc {
    /// Which of `events` hold; POLLERR and POLLHUP always count.
    pub(crate) fn socket_ready(&self, file: FileId, events: u32) -> Result<u32, Errno> {
        let socket = self.sockets.get(&file).ok_or(Errno::EIO)?;
        let mut ready = 0;
        let arrived =
            matches!(&socket.state, State::Listening(listener) if !listener.arrivals.is_empty());
        if !socket.queue.is_empty() || socket.no_receive || arrived {
            ready |= POLLIN | POLLRDNORM;
        }
        if socket.no_receive {
            ready |= POLLRDHUP;
        }
        let unconnected = match socket.state {
            State::Idle => !socket.is_datagram(),
            State::Connecting(_) => !socket.is_tcp(),
            State::Gone => !socket.is_datagram() && !socket.is_tcp(),
            State::Listening(_) | State::Connected(_) => false,
        };
        if socket.no_receive && socket.no_send || unconnected {
            ready |= POLLHUP;
        }
        if socket.error.is_some() {
            ready |= POLLERR;
            if socket.version().is_some() {
                ready |= POLLIN | POLLRDNORM;
            }
        }
        if self.takes_more(file, socket) {
            ready |= POLLOUT | POLLWRNORM;
        }
        Ok(ready & (events | POLLERR | POLLHUP))
    }

    /// Whether something can be sent without waiting. What another home has is not asked.
    fn takes_more(&self, file: FileId, socket: &Socket) -> bool {
        match socket.state {
            State::Listening(_) => return false,
            State::Connecting(_) if socket.is_tcp() => return false,
            State::Idle | State::Connecting(_) | State::Connected(_) | State::Gone => {}
        }
        let Some(peer) = socket.peer().and_then(|peer| self.sockets.get(&peer)) else {
            return true;
        };
        // Only a peer that is connected back wakes who looks.
        peer.peer() != Some(file) || peer.queued * 4 <= socket.send_limit
    }

    /// Ends the polls of a socket that are satisfied.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, file: FileId) {
        let Some(socket) = self.sockets.get_mut(&file) else { return };
        let mut pollers = core::mem::take(&mut socket.pollers);
        wake_pollers(cx, &mut pollers, |poller| {
            self.socket_ready(file, poller.events).unwrap_or(POLLERR)
        });
        if let Some(socket) = self.sockets.get_mut(&file) {
            socket.pollers = pollers;
        }
        note(cx, file);
    }
}
