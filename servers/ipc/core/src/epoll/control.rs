// SPDX-License-Identifier: MIT OR Apache-2.0
//! epoll_create(2), epoll_ctl(2).

use super::Epoll;
use super::item::{Item, State};
use crate::files::Kind;
use crate::limits::{EPOLLS_MAX, WATCHED_MAX};
use crate::watch::Key;
use crate::{Ipc, home_of, local_only, node_of};
use abi::linux::general::{
    EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLWAKEUP, O_RDWR,
};
use abi::{Errno, FileId};
use ipc_api::epoll::{Change, EpollAgain, EpollControl, EpollMade};
use runtime::{Answer, Client, Cx};

/// What EPOLLEXCLUSIVE may stand with, epoll_ctl(2).
const WITH_EXCLUSIVE: u32 =
    EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

impl Ipc {
    pub(crate) fn epoll_create(&mut self, cx: &mut Cx<'_>, from: Client) -> Result<Answer, Errno> {
        local_only(from)?;
        if self.epolls.len() >= EPOLLS_MAX {
            return Err(Errno::ENFILE);
        }
        self.files.check_room(1)?;
        let file = self.files.new_id(cx)?;
        self.files.open(file, cx.node(), Kind::Epoll, O_RDWR);
        self.epolls.insert(file, Epoll::default());
        Ok(Answer::reply(&EpollMade { file }))
    }

    pub(crate) fn epoll_control(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: EpollControl,
    ) -> Result<Answer, Errno> {
        let home = home_of(cx, request.epoll)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        if !self.files.get(request.epoll, node_of(cx, from))?.is_epoll() {
            return Err(Errno::EINVAL);
        }
        match request.change {
            Change::Add if request.nests => return self.add_nested(cx, from, request),
            Change::Add => self.add_watched(cx, request)?,
            Change::Modify => self.modify(cx, request)?,
            Change::Remove => self.remove(cx, request)?,
        }
        Ok(Answer::reply(&()))
    }

    fn item(&mut self, request: &EpollControl) -> Result<&mut Item, Errno> {
        let epoll = self.epolls.get_mut(&request.epoll).ok_or(Errno::EIO)?;
        epoll.items.get_mut(&(request.fd, request.file)).ok_or(Errno::ENOENT)
    }

    pub(crate) fn check_add(&mut self, request: &EpollControl) -> Result<(), Errno> {
        if request.epoll == request.file {
            return Err(Errno::EINVAL);
        }
        if request.events & EPOLLEXCLUSIVE != 0
            && (request.nests || request.events & !WITH_EXCLUSIVE != 0)
        {
            return Err(Errno::EINVAL);
        }
        if self.item(request).is_ok() { Err(Errno::EEXIST) } else { Ok(()) }
    }

    pub(crate) fn add_watched(
        &mut self,
        cx: &mut Cx<'_>,
        request: EpollControl,
    ) -> Result<(), Errno> {
        let EpollControl { epoll: file, fd, file: watched, nests, events, data, .. } = request;
        self.check_add(&request)?;
        let all: usize = self.epolls.values().map(|epoll| epoll.items.len()).sum();
        if all >= WATCHED_MAX {
            return Err(Errno::ENOSPC);
        }
        if self.files.short {
            return Err(Errno::ENOMEM);
        }
        let key = (fd, watched);
        let epoll = self.epolls.get_mut(&file).ok_or(Errno::EIO)?;
        epoll.items.insert(key, Item::new(nests, events, data));
        self.begin_watching(cx, file, key);
        Ok(())
    }

    fn modify(&mut self, cx: &mut Cx<'_>, request: EpollControl) -> Result<(), Errno> {
        let item = self.item(&request)?;
        if (item.events | request.events) & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let (file, key) = (request.epoll, (request.fd, request.file));
        self.stop_watching(cx, file, key);
        let item = self.item(&request)?;
        (item.events, item.data) = (request.events, request.data);
        item.renew();
        self.begin_watching(cx, file, key);
        Ok(())
    }

    fn remove(&mut self, cx: &mut Cx<'_>, request: EpollControl) -> Result<(), Errno> {
        self.item(&request)?;
        let (file, key) = (request.epoll, (request.fd, request.file));
        self.stop_watching(cx, file, key);
        if let Some(epoll) = self.epolls.get_mut(&file) {
            epoll.items.remove(&key);
        }
        Ok(())
    }

    fn begin_watching(&mut self, cx: &mut Cx<'_>, file: FileId, key: Key) {
        let above = self.above(file);
        let epoll = self.epolls.get(&file);
        let nests = epoll.and_then(|it| it.items.get(&key)).is_some_and(|item| item.nests);
        if nests && self.glance(cx, file, key, (None, above)) {
            return;
        }
        self.ask_after(cx, file, key, above);
    }

    /// Nothing is asked any more for an item.
    pub(crate) fn stop_watching(&mut self, cx: &mut Cx<'_>, file: FileId, key: Key) {
        let Some(epoll) = self.epolls.get_mut(&file) else { return };
        epoll.unlist(key);
        let Some(item) = epoll.items.get_mut(&key) else { return };
        match core::mem::replace(&mut item.state, State::Due) {
            State::Due | State::Ready { .. } => {}
            State::Here => self.unwatch_here(file, key),
            State::Asked(cookie) => self.forget_job(cx, cookie),
        }
    }

    /// What was told did not reach the program.
    pub(crate) fn epoll_again(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: &EpollAgain,
    ) -> Result<Answer, Errno> {
        let home = home_of(cx, request.file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, request);
        }
        self.files.get(request.file, node_of(cx, from))?;
        let epoll = self.epolls.get(&request.file).ok_or(Errno::EINVAL)?;
        let is_it = |key: &&Key| request.fds.contains(&key.0);
        let keys: alloc::vec::Vec<Key> = epoll.items.keys().filter(is_it).copied().collect();
        for key in keys {
            self.stop_watching(cx, request.file, key);
            let epoll = self.epolls.get_mut(&request.file);
            if let Some(item) = epoll.and_then(|it| it.items.get_mut(&key)) {
                item.renew();
            }
            self.begin_watching(cx, request.file, key);
        }
        Ok(Answer::reply(&()))
    }
}
