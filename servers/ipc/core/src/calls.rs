// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations, one by one.

use crate::descriptions::SETTABLE;
use crate::event::{Counter, VALUE_BYTES, value_of};
use crate::files::{Kind, PipeNo};
use crate::limits::{COUNTERS_MAX, PIPES_MAX, POLLERS_MAX};
use crate::pipe::{End, Pipe};
use crate::transfer::{Poller, Source, Taken, Target, Writer, check_kept, kept_bytes, one_step};
use crate::{Ipc, home_of, local_only, node_of};
use abi::linux::general::{
    O_ACCMODE, O_CLOEXEC, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, POLLIN, POLLRDNORM,
};
use abi::linux::ioctl::FIONREAD;
use abi::{Errno, FileId};
use alloc::vec::Vec;
use ipc_api::between::{Deliver, SendFrom};
use ipc_api::epoll::{EpollAgain, EpollControl, EpollCreate, EpollWait, Nest, Sync, Watch};
use ipc_api::file::{
    Caller, Ioctl, IoctlReply, Moved, Poll, PollWait, Read, Ready, TerminalRead, Write,
};
use ipc_api::peer::{PutBack, REMOTE_BYTES, ReadFrom, WriteTo};
use ipc_api::socket::{Receive, Send, SetOption, SocketCreate};
use ipc_api::timer::{TimerCreate, TimerGet, TimerSet};
use ipc_api::{CounterCreate, CounterMade, FifoOpen, SignalsCreate, SignalsMade};
use ipc_api::{PipeCreate, PipeEnds, RescueEnd, RescueWrite, TerminalOpen, TerminalOpened};
use runtime::{Answer, Bulk, Client, Cx, Msg, Operation, Wire};

/// Longest text of [`RescueWrite`].
const RESCUE_TEXT_BYTES: usize = 512;

impl Ipc {
    pub(crate) fn call(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        if let Some(answer) = crate::slots::elsewhere(cx, from, op, msg)? {
            return Ok(answer);
        }
        if (SocketCreate::NUMBER..=SetOption::NUMBER).contains(&op) {
            return match op {
                Send::NUMBER => self.send(cx, from, Send::get(msg)?),
                Receive::NUMBER => self.receive(cx, from, Receive::get(msg)?),
                _ => self.call_on_socket(cx, from, op, msg),
            };
        }
        if (SendFrom::NUMBER..=Deliver::NUMBER).contains(&op) {
            return self.call_between(cx, from, op, msg, bulk);
        }
        match op {
            Read::NUMBER => self.read(cx, from, &Read::get(msg)?, None),
            TerminalRead::NUMBER => {
                let TerminalRead { file, space, addr, len, caller } = TerminalRead::get(msg)?;
                self.read(cx, from, &Read { file, space, addr, len }, Some(caller))
            }
            Write::NUMBER => self.write(cx, from, &Write::get(msg)?),
            ReadFrom::NUMBER => self.read_from(cx, from, &ReadFrom::get(msg)?, bulk),
            WriteTo::NUMBER => self.write_to(cx, from, WriteTo::get(msg)?.file, bulk),
            PutBack::NUMBER => self.put_back(cx, from, PutBack::get(msg)?.file, bulk),
            Poll::NUMBER => self.poll(cx, from, Poll::get(msg)?),
            PollWait::NUMBER => self.poll_wait(cx, from, PollWait::get(msg)?),
            Ioctl::NUMBER => self.ioctl(cx, from, &Ioctl::get(msg)?),
            PipeCreate::NUMBER => self.pipe_create(cx, from, PipeCreate::get(msg)?),
            TimerCreate::NUMBER => self.timer_create(cx, from, TimerCreate::get(msg)?),
            TimerSet::NUMBER => self.timer_set(cx, from, TimerSet::get(msg)?),
            TimerGet::NUMBER => self.timer_get(cx, from, TimerGet::get(msg)?),
            SignalsCreate::NUMBER => self.signals_create(cx, from, SignalsCreate::get(msg)?),
            FifoOpen::NUMBER => self.fifo_open(cx, from, FifoOpen::get(msg)?),
            EpollCreate::NUMBER => self.epoll_create(cx, from),
            EpollControl::NUMBER => self.epoll_control(cx, from, EpollControl::get(msg)?),
            EpollWait::NUMBER => self.epoll_wait(cx, from, EpollWait::get(msg)?),
            EpollAgain::NUMBER => self.epoll_again(cx, from, &EpollAgain::get(msg)?),
            Watch::NUMBER => self.watch(cx, from, Watch::get(msg)?),
            Sync::NUMBER => Ok(Answer::reply(&())),
            Nest::NUMBER => self.nest(cx, from, Nest::get(msg)?),
            CounterCreate::NUMBER => self.counter_create(cx, from, CounterCreate::get(msg)?),
            TerminalOpen::NUMBER => self.terminal_open(cx, from, TerminalOpen::get(msg)?),
            RescueWrite::NUMBER => self.rescue_write(cx, from, &RescueWrite::get(msg)?),
            RescueEnd::NUMBER => self.rescue_end(from),
            _ => self.call_on_description(cx, from, op, msg),
        }
    }

    fn pipe_create(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: PipeCreate,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if request.flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        if self.pipes.len() >= PIPES_MAX {
            return Err(Errno::ENFILE);
        }
        self.files.check_room(2)?;
        let flags = request.flags & O_NONBLOCK;
        let holder = cx.node();
        let (read, write) = (self.files.new_id(cx)?, self.files.new_id(cx)?);
        let pipe = PipeNo(read);
        let kind = |end| Kind::Pipe { pipe, end };
        self.files.open(read, holder, kind(End::Read), O_RDONLY | flags);
        self.files.open(write, holder, kind(End::Write), O_WRONLY | flags);
        self.pipes.insert(pipe, Pipe::new(read));
        Ok(Answer::reply(&PipeEnds { read, write }))
    }

    fn counter_create(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: CounterCreate,
    ) -> Result<Answer, Errno> {
        let CounterCreate { count, semaphore, flags } = request;
        local_only(from)?;
        // eventfd(2) starts with 32 bits.
        if flags & !O_NONBLOCK != 0 || u32::try_from(count).is_err() {
            return Err(Errno::EINVAL);
        }
        if self.counters.len() >= COUNTERS_MAX {
            return Err(Errno::ENFILE);
        }
        self.files.check_room(1)?;
        let file = self.files.new_id(cx)?;
        self.files.open(file, cx.node(), Kind::Counter, O_RDWR | flags);
        self.counters.insert(file, Counter::new(file, count, semaphore));
        Ok(Answer::reply(&CounterMade { file }))
    }

    fn signals_create(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: SignalsCreate,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if request.flags & !O_NONBLOCK != 0 {
            return Err(Errno::EINVAL);
        }
        self.files.check_room(1)?;
        let file = self.files.new_id(cx)?;
        self.files.open(file, cx.node(), Kind::Signals, O_RDWR | request.flags);
        Ok(Answer::reply(&SignalsMade { file }))
    }

    fn terminal_open(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: TerminalOpen,
    ) -> Result<Answer, Errno> {
        if request.node == cx.node() {
            self.terminal.check()?;
        } else {
            if !cx.view().contains(request.node) {
                return Err(Errno::ENXIO);
            }
            return self.forward(cx, from, request.node, &request);
        }
        let flags = request.flags & (SETTABLE | O_ACCMODE);
        let holder = node_of(cx, from);
        self.files.check_room(1)?;
        let file = self.files.new_id(cx)?;
        self.files.open(file, holder, Kind::Terminal, flags);
        Ok(Answer::reply(&TerminalOpened { file }))
    }

    fn rescue_write(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: &RescueWrite,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if request.text.len() > RESCUE_TEXT_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        self.terminal.rescue_write(cx, &request.text)?;
        Ok(Answer::reply(&()))
    }

    fn rescue_end(&mut self, from: Client) -> Result<Answer, Errno> {
        local_only(from)?;
        self.terminal.rescue_end();
        Ok(Answer::reply(&()))
    }

    fn read(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: &Read,
        caller: Option<Caller>,
    ) -> Result<Answer, Errno> {
        let Read { file, space, addr, len } = *request;
        local_only(from)?;
        let home = home_of(cx, file)?;
        if home != cx.node() {
            return self.forward_read(cx, from, home, (file, caller), (space, addr, len));
        }
        let target = Target::Program { space, addr };
        self.read_here(cx, from, (file, caller), target, one_step(len), &mut Bulk::none())
    }

    fn read_from(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: &ReadFrom,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let ReadFrom { file, len, caller } = *request;
        home_of(cx, file)?;
        let len = len.min(REMOTE_BYTES) as usize;
        self.read_here(cx, from, (file, caller), Target::Message, len, bulk)
    }

    fn read_here(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (file, caller): (FileId, Option<Caller>),
        target: Target,
        len: usize,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let node = node_of(cx, from);
        let open = self.files.get(file, node)?;
        let nonblocking = open.flags & O_NONBLOCK != 0;
        let kind = open.kind;
        let taken: Option<Taken> = match kind {
            Kind::Pipe { pipe, end } if end.reads() => self.pipe(pipe)?.read(cx, target, len)?,
            Kind::Pipe { .. } | Kind::Sysv(_) => return Err(Errno::EBADF),
            // proc-server asks to receive.
            Kind::Socket => return Err(Errno::EOPNOTSUPP),
            Kind::Epoll | Kind::Signals => return Err(Errno::EINVAL),
            Kind::Counter => self.counter(file)?.read(cx, target, len)?,
            Kind::Timer => {
                let taken = self.timer(file)?.read(cx, target, len);
                // It may have run out, or gone on, although it was not read.
                self.arm_timers(cx);
                taken?
            }
            Kind::Terminal => {
                if let Some(caller) = &caller {
                    self.terminal.check_reader(cx, caller)?;
                }
                self.terminal.read(cx, target, len)?
            }
        };
        if let Some(taken) = taken {
            return taken.answer(bulk);
        }
        if nonblocking {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        match kind {
            Kind::Pipe { pipe, .. } => {
                self.pipe(pipe)?.wait_to_read((ticket, node, file), target, len);
            }
            Kind::Counter => self.counter(file)?.wait_to_read(ticket, node, target),
            Kind::Timer => self.timer(file)?.wait_to_read(ticket, node, target),
            Kind::Socket => return Err(Errno::EOPNOTSUPP),
            Kind::Terminal => self.terminal.wait_to_read(cx, (ticket, node, file), target, len),
            Kind::Sysv(_) | Kind::Signals | Kind::Epoll => unreachable!("refused above"),
        }
        Ok(Answer::Pending(ticket))
    }

    fn pipe(&mut self, pipe: PipeNo) -> Result<&mut Pipe, Errno> {
        self.pipes.get_mut(&pipe).ok_or(Errno::EIO)
    }

    fn counter(&mut self, file: FileId) -> Result<&mut Counter, Errno> {
        self.counters.get_mut(&file).ok_or(Errno::EIO)
    }

    fn write(&mut self, cx: &mut Cx<'_>, from: Client, request: &Write) -> Result<Answer, Errno> {
        let Write { file, space, addr, len } = *request;
        local_only(from)?;
        let home = home_of(cx, file)?;
        if home != cx.node() {
            return self.forward_write(cx, from, home, file, (space, addr, len));
        }
        self.write_here(cx, from, file, Source::Program { space, addr }, one_step(len))
    }

    fn write_to(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        bulk: &Bulk<'_>,
    ) -> Result<Answer, Errno> {
        home_of(cx, file)?;
        let data = bulk.data().to_vec();
        if data.len() as u64 > REMOTE_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        let len = data.len();
        self.write_here(cx, from, file, Source::Message(data), len)
    }

    fn write_here(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        source: Source,
        len: usize,
    ) -> Result<Answer, Errno> {
        let node = node_of(cx, from);
        let open = self.files.get(file, node)?;
        let nonblocking = open.flags & O_NONBLOCK != 0;
        let kind = open.kind;
        if kind == Kind::Counter {
            return self.add(cx, from, (file, nonblocking), &source, len);
        }
        if len == 0 {
            return Ok(Answer::reply(&Moved { bytes: 0 }));
        }
        if self.files.short && matches!(kind, Kind::Pipe { .. }) {
            return Err(Errno::ENOMEM);
        }
        let done = match kind {
            Kind::Pipe { pipe, end } if end.writes() => self.pipe(pipe)?.write(cx, &source, len)?,
            Kind::Pipe { .. } | Kind::Sysv(_) | Kind::Counter => {
                return Err(Errno::EBADF);
            }
            // proc-server asks to send.
            Kind::Socket => return Err(Errno::EOPNOTSUPP),
            Kind::Epoll | Kind::Timer | Kind::Signals => return Err(Errno::EINVAL),
            Kind::Terminal => self.terminal.write(cx, &source, len)?,
        };
        if done == len || (nonblocking && done > 0) {
            return Ok(Answer::reply(&Moved { bytes: done as u64 }));
        }
        if nonblocking {
            return Err(Errno::EAGAIN);
        }
        match self.wait_to_write(cx, from, (file, kind), source, (len, done)) {
            Ok(answer) => Ok(answer),
            // What has been written has been written.
            Err(_) if done > 0 => Ok(Answer::reply(&Moved { bytes: done as u64 })),
            Err(errno) => Err(errno),
        }
    }

    /// Adds to a counter: as a whole, or later.
    fn add(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (file, nonblocking): (FileId, bool),
        source: &Source,
        len: usize,
    ) -> Result<Answer, Errno> {
        let value = value_of(cx, source, len)?;
        if self.counter(file)?.write(cx, value) {
            return Ok(Answer::reply(&Moved { bytes: VALUE_BYTES as u64 }));
        }
        if nonblocking {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        let node = node_of(cx, from);
        self.counter(file)?.wait_to_write(ticket, node, value);
        Ok(Answer::Pending(ticket))
    }

    fn wait_to_write(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (file, kind): (FileId, Kind),
        source: Source,
        (len, done): (usize, usize),
    ) -> Result<Answer, Errno> {
        let in_pipes: usize = self.pipes.values().map(|pipe| kept_bytes(&pipe.writers)).sum();
        check_kept(in_pipes + kept_bytes(&self.terminal.writers), &source)?;
        let ticket = cx.open_ticket(from)?;
        let writer = Writer { ticket, from: node_of(cx, from), file, source, len, done };
        match kind {
            Kind::Pipe { pipe, .. } => self.pipe(pipe)?.writers.push_back(writer),
            Kind::Counter | Kind::Timer | Kind::Signals | Kind::Socket => return Err(Errno::EBADF),
            Kind::Terminal => self.terminal.writers.push_back(writer),
            Kind::Sysv(_) | Kind::Epoll => unreachable!("refused above"),
        }
        Ok(Answer::Pending(ticket))
    }

    fn put_back(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        bulk: &Bulk<'_>,
    ) -> Result<Answer, Errno> {
        home_of(cx, file)?;
        if bulk.data().len() as u64 > REMOTE_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        match self.files.get(file, node_of(cx, from))?.kind {
            Kind::Pipe { pipe, end } if end.reads() => {
                self.pipe(pipe)?.put_back(cx, bulk.data())?;
            }
            Kind::Pipe { .. } | Kind::Sysv(_) => return Err(Errno::EBADF),
            Kind::Counter => self.counter(file)?.put_back(cx, bulk.data())?,
            Kind::Timer => self.timer(file)?.put_back(cx, bulk.data())?,
            Kind::Socket | Kind::Signals | Kind::Epoll => return Err(Errno::EOPNOTSUPP),
            Kind::Terminal => self.terminal.put_back(cx, bulk.data())?,
        }
        Ok(Answer::reply(&()))
    }

    /// Which of `events` hold; of an epoll instance as far as is known.
    pub(crate) fn ready(&mut self, file: FileId, kind: Kind, events: u32) -> Result<u32, Errno> {
        match kind {
            Kind::Pipe { pipe, end } => Ok(self.pipe(pipe)?.poll(end, events)),
            Kind::Counter => Ok(self.counter(file)?.poll(events)),
            Kind::Timer => Ok(self.timer(file)?.poll(events)),
            Kind::Socket => self.socket_ready(file, events),
            Kind::Terminal => Ok(self.terminal.poll(events)),
            Kind::Epoll => {
                let epoll = self.epolls.get(&file).ok_or(Errno::EIO)?;
                Ok(if epoll.has_ready() { (POLLIN | POLLRDNORM) & events } else { 0 })
            }
            Kind::Sysv(_) | Kind::Signals => Err(Errno::EBADF),
        }
    }

    fn poll(&mut self, cx: &mut Cx<'_>, from: Client, request: Poll) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        let kind = self.files.get(request.file, node_of(cx, from))?.kind;
        if kind == Kind::Epoll {
            return self.see_epoll(cx, from, request.file, (request.events, true));
        }
        Ok(Answer::reply(&Ready { events: self.ready(request.file, kind, request.events)? }))
    }

    fn poll_wait(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: PollWait,
    ) -> Result<Answer, Errno> {
        let PollWait { file, events } = request;
        let home = home_of(cx, file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        let node = node_of(cx, from);
        let kind = self.files.get(file, node)?.kind;
        if kind == Kind::Epoll {
            return self.see_epoll(cx, from, file, (events, false));
        }
        let ready = self.ready(file, kind, events)?;
        if ready != 0 {
            return Ok(Answer::reply(&Ready { events: ready }));
        }
        let short = self.files.short;
        let pollers = self.pollers(file, kind)?;
        // All of them are told in one step.
        if short || pollers.len() >= POLLERS_MAX {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        let end = if let Kind::Pipe { end, .. } = kind { end } else { End::Both };
        pollers.push(Poller { ticket, from: node, file, events, end });
        Ok(Answer::Pending(ticket))
    }

    fn pollers(&mut self, file: FileId, kind: Kind) -> Result<&mut Vec<Poller>, Errno> {
        Ok(match kind {
            Kind::Pipe { pipe, .. } => &mut self.pipe(pipe)?.pollers,
            Kind::Counter => &mut self.counter(file)?.pollers,
            Kind::Timer => &mut self.timer(file)?.pollers,
            Kind::Socket => &mut self.socket(file)?.pollers,
            Kind::Terminal => &mut self.terminal.pollers,
            Kind::Sysv(_) | Kind::Signals | Kind::Epoll => return Err(Errno::EBADF),
        })
    }

    fn ioctl(&mut self, cx: &mut Cx<'_>, from: Client, call: &Ioctl) -> Result<Answer, Errno> {
        let home = home_of(cx, call.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, call);
        }
        match self.files.get(call.file, node_of(cx, from))?.kind {
            Kind::Terminal => Ok(Answer::reply(&self.terminal.ioctl(cx, call)?)),
            Kind::Pipe { pipe, .. } if call.request == FIONREAD => {
                let len = self.pipe(pipe)?.len() as u32;
                Ok(Answer::reply(&IoctlReply { value: 0, data: len.to_le_bytes().to_vec() }))
            }
            Kind::Socket if call.request == FIONREAD => {
                let len = self.unread(call.file)?;
                Ok(Answer::reply(&IoctlReply { value: 0, data: len.to_le_bytes().to_vec() }))
            }
            Kind::Pipe { .. } | Kind::Counter | Kind::Timer | Kind::Socket | Kind::Epoll => {
                Err(Errno::ENOTTY)
            }
            Kind::Signals => Err(Errno::ENOTTY),
            Kind::Sysv(_) => Err(Errno::EBADF),
        }
    }
}
