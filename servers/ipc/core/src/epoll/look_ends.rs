// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks that end although not all homes have answered, and which homes are asked.

use crate::{Ipc, home_of};
use abi::FileId;
use alloc::vec::Vec;
use runtime::Cx;

/// The cookie of the one timer that is armed for all looks.
pub(crate) const LOOK_COOKIE: u64 = 6;

impl Ipc {
    /// Arms for the look that ends first. Without room for a timer the next look tries again.
    pub(crate) fn arm_looks(&mut self, cx: &mut Cx<'_>) {
        if self.looks_armed {
            return;
        }
        let waiters = self.epolls.values().flat_map(|epoll| epoll.waiters.iter());
        let first = waiters.filter(|it| it.looking > 0).map(|it| it.look_ends_ns).min();
        if let Some(first) = first {
            self.looks_armed = cx.arm(first, LOOK_COOKIE).is_ok();
        }
    }

    /// Some homes may not have answered in time: their files are told of when they do.
    pub(crate) fn looks_due(&mut self, cx: &mut Cx<'_>) {
        self.looks_armed = false;
        let now_ns = cx.now_ns();
        let mut ended: Vec<FileId> = Vec::new();
        for (file, epoll) in &mut self.epolls {
            let due = |it: &&mut super::Waiter| it.looking > 0 && it.look_ends_ns <= now_ns;
            let mut any = false;
            for waiter in epoll.waiters.iter_mut().filter(due) {
                waiter.looking = 0;
                any = true;
            }
            ended.extend(any.then_some(*file));
        }
        for file in ended {
            self.serve(cx, file);
        }
        self.arm_looks(cx);
    }

    /// A view came: the files that instances watch may have other homes.
    pub(crate) fn renew_homes(&mut self, cx: &Cx<'_>) {
        for epoll in self.epolls.values_mut() {
            let homes = epoll.items.keys().filter_map(|key| home_of(cx, key.1).ok());
            epoll.homes = homes.filter(|home| *home != cx.node()).collect();
        }
    }
}
