// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listener's side of connections: ends that arrive, and who accepts them.

use super::jobs::{Fact, Job};
use super::{Acceptor, Arrival, Connector, Listener, Socket, State};
use crate::limits::BACKLOG_MAX;
use crate::{Ipc, home_of, node_of};
use abi::linux::general::O_NONBLOCK;
use abi::{Errno, FileId, NodeId};
use alloc::vec::Vec;
use ipc_api::between::{Claim, Enqueue, Joined, Refuse};
use ipc_api::socket::{Accept, Accepted, NAME_BYTES};
use runtime::{Answer, Client, Cx};

impl Ipc {
    /// Performs [`Enqueue`].
    pub(crate) fn enqueue(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Enqueue,
    ) -> Result<Answer, Errno> {
        let Enqueue { listener: file, end, kind, text, waits } = request;
        let node = node_of(cx, from);
        if cx.view().home(end.slot()) != node || text.len() > NAME_BYTES {
            return Err(Errno::EPERM);
        }
        let socket = self.sockets.get_mut(&file).ok_or(Errno::ECONNREFUSED)?;
        let (name, owner) = (socket.name.clone(), socket.owner);
        let refuses = socket.kind != kind || socket.no_receive;
        let State::Listening(listener) = &mut socket.state else { return Err(Errno::ECONNREFUSED) };
        if refuses {
            return Err(Errno::ECONNREFUSED);
        }
        let arrival = Arrival { end, text };
        // As on Linux one more may wait than listen(2) says.
        if listener.arrivals.len() > listener.backlog {
            if !waits || listener.connectors.len() >= BACKLOG_MAX {
                return Err(Errno::EAGAIN);
            }
            let ticket = cx.open_ticket(from)?;
            listener.connectors.push_back(Connector { ticket, from: node, arrival });
            return Ok(Answer::Pending(ticket));
        }
        listener.arrivals.push_back(arrival);
        socket.came();
        self.serve_acceptors(cx, file);
        Ok(Answer::reply(&Joined { name, owner }))
    }

    /// There may be room for who waits to be queued.
    pub(super) fn admit_connectors(&mut self, cx: &mut Cx<'_>, file: FileId) {
        let Some(socket) = self.sockets.get_mut(&file) else { return };
        let (name, owner) = (socket.name.clone(), socket.owner);
        let State::Listening(listener) = &mut socket.state else { return };
        while listener.arrivals.len() <= listener.backlog {
            let Some(connector) = listener.connectors.pop_front() else { return };
            listener.arrivals.push_back(connector.arrival);
            socket.changes.ins = socket.changes.ins.wrapping_add(1);
            cx.complete(connector.ticket, Ok(Joined { name: name.clone(), owner }));
        }
    }

    /// accept(2).
    pub(crate) fn accept(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        waits: bool,
        request: Accept,
    ) -> Result<Answer, Errno> {
        let Accept { file, flags } = request;
        let node = node_of(cx, from);
        let socket = self.socket(file)?;
        if socket.is_datagram() {
            return Err(Errno::EOPNOTSUPP);
        }
        let refuses = socket.no_receive;
        let State::Listening(listener) = &mut socket.state else { return Err(Errno::EINVAL) };
        if refuses && listener.arrivals.is_empty() {
            return Err(Errno::EINVAL);
        }
        if !waits && (listener.arrivals.is_empty() || !listener.acceptors.is_empty()) {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        let flags = flags & O_NONBLOCK;
        let given_up = false;
        listener.acceptors.push_back(Acceptor { ticket, from: node, flags, waits, given_up });
        self.serve_acceptors(cx, file);
        Ok(Answer::Pending(ticket))
    }

    /// Claims arrivals for those that wait for them.
    fn serve_acceptors(&mut self, cx: &mut Cx<'_>, file: FileId) {
        while let Some(State::Listening(listener)) =
            self.sockets.get_mut(&file).map(|socket| &mut socket.state)
        {
            if listener.arrivals.is_empty() || listener.acceptors.is_empty() {
                break;
            }
            let (Some(arrival), Some(acceptor)) =
                (listener.arrivals.pop_front(), listener.acceptors.pop_front())
            else {
                break;
            };
            let Ok(home) = home_of(cx, arrival.end) else {
                // It was lost with its home.
                listener.acceptors.push_front(acceptor);
                continue;
            };
            let (node, flags) = (acceptor.from, acceptor.flags);
            let request = Claim { end: arrival.end, listener: file, node, flags };
            let job = Job::Claim { listener: file, acceptor, arrival };
            self.begin(cx, home, &request, Vec::new(), job);
        }
        self.refuse_unserved(cx, file);
        self.admit_connectors(cx, file);
        self.wake(cx, file);
    }

    /// Calls that do not wait end if nothing is left for them.
    fn refuse_unserved(&mut self, cx: &mut Cx<'_>, file: FileId) {
        if let Some(State::Listening(listener)) =
            self.sockets.get_mut(&file).map(|socket| &mut socket.state)
        {
            listener.acceptors.retain(|acceptor| {
                if !acceptor.waits {
                    cx.complete::<()>(acceptor.ticket, Err(Errno::EAGAIN));
                }
                acceptor.waits
            });
        }
    }

    /// The home of an arrival has answered.
    pub(super) fn claimed(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        acceptor: Acceptor,
        arrival: Arrival,
        result: Result<(), Errno>,
    ) {
        if result.is_ok() {
            let accepted = Accepted { file: arrival.end, text: arrival.text };
            return cx.complete(acceptor.ticket, Ok(accepted));
        }
        // Who connected must not wait for ever; a home that has it no more does not mind.
        self.tell(cx, Fact::Refused(Refuse { end: arrival.end, listener: file }));
        if acceptor.given_up {
            return cx.complete::<()>(acceptor.ticket, Err(Errno::ECANCELED));
        }
        // Who connected is gone: the call waits for the next one.
        match self.sockets.get_mut(&file).map(|socket| &mut socket.state) {
            Some(State::Listening(listener)) => {
                listener.acceptors.push_front(acceptor);
                self.serve_acceptors(cx, file);
            }
            Some(_) | None => cx.complete::<()>(acceptor.ticket, Err(Errno::EBADF)),
        }
    }

    /// Performs [`Claim`].
    pub(crate) fn claim(&mut self, cx: &Cx<'_>, node: NodeId, request: Claim) -> Result<(), Errno> {
        let Claim { end, listener, node: holder, flags } = request;
        if cx.view().home(listener.slot()) != node || !cx.view().contains(holder) {
            return Err(Errno::EPERM);
        }
        self.files.claim(end, listener, holder, flags & O_NONBLOCK)
    }

    /// Performs [`Refuse`].
    pub(crate) fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        node: NodeId,
        request: Refuse,
    ) -> Result<(), Errno> {
        let Refuse { end, listener } = request;
        let waits = self.files.waits_for(end) == Some(listener);
        if waits && cx.view().home(listener.slot()) == node {
            self.reset_end(cx, end);
        }
        Ok(())
    }

    /// An end that nobody will accept: its peer hears of a reset.
    fn reset_end(&mut self, cx: &mut Cx<'_>, end: FileId) {
        if let Some(peer) = self.sockets.get(&end).and_then(Socket::peer)
            && let Some(it) = self.sockets.get_mut(&peer)
            && it.peer() == Some(end)
        {
            it.error = Some(Errno::ECONNRESET);
            it.no_send = true;
        }
        self.remove_end(cx, end);
    }

    /// Ends whose listener was lost with its home are accepted by nobody.
    pub(crate) fn listeners_lost(&mut self, cx: &mut Cx<'_>) {
        for (end, listener) in self.files.unclaimed() {
            if home_of(cx, listener).is_err() {
                self.reset_end(cx, end);
            }
        }
    }

    /// A socket that listened is closed.
    pub(super) fn listener_closed(&mut self, cx: &mut Cx<'_>, file: FileId, listener: Listener) {
        for acceptor in listener.acceptors {
            cx.complete::<()>(acceptor.ticket, Err(Errno::EBADF));
        }
        for connector in listener.connectors {
            cx.complete::<()>(connector.ticket, Err(Errno::ECONNREFUSED));
        }
        for arrival in listener.arrivals {
            self.tell(cx, Fact::Refused(Refuse { end: arrival.end, listener: file }));
        }
    }
}
