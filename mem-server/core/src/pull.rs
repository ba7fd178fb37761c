// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of a moved space on their way: the target asks for runs of them, the source sends and frees them.
//!
//! # Model
//! ```text
//! target                                     source
//!   fetches reserved --Pull(first, pages)-->   takes the pages out of what was left
//!   pages in their place <--Pulled(first, bytes)--   frees them
//! ```
//! Nobody else can want these pages, so that there is no directory, no round, and nothing to acknowledge: either
//! the link brings what was sent, or it goes down, and with it the space ([`moving`](crate::moving)).

use crate::MemCore;
use crate::handover::Left;
use crate::limits::{PAGE, PAGE_TOP};
use crate::machine::Machine;
use crate::object::{Store, home};
use crate::pages::{Entry, Hold};
use crate::post::Note;
use crate::resolve::Wanted;
use abi::limits::PAGE_BYTES;
use abi::{Errno, NodeId, ObjectId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use mem_api::Access;
use mem_api::peer::{Lost, PULL_PAGES_MAX, Pull, Pulled, Refusal};
use runtime::Cx;

impl Left {
    /// Whether all of these pages are here.
    fn has(&self, run: Range<u64>) -> bool {
        run.into_iter().all(|page| self.pages.get(page).page.is_some())
    }
}

impl<M: Machine> MemCore<M> {
    /// Where the pages of a moved space rest; `None`: the object is none.
    pub(crate) fn source_of(&self, object: ObjectId) -> Option<NodeId> {
        let Store::Private(id) = self.objects.get(object).ok()?.store else { return None };
        Some(self.spaces.get(id).ok()?.moving.as_ref()?.from)
    }

    /// Reserves a place for each page of the run and asks for them; how many it asked for, which are fewer where
    /// memory is short.
    pub(crate) fn pull(
        &mut self,
        cx: &mut Cx<'_>,
        object: ObjectId,
        run: Range<u64>,
    ) -> Result<u64, Errno> {
        let Some(from) = self.source_of(object) else { return Err(Errno::ESTALE) };
        let first = run.start;
        let mut reserved = Ok(());
        let mut pages = 0;
        for page in run {
            reserved = self.reserve(Wanted { object, page, access: Access::Write });
            if reserved.is_err() {
                break;
            }
            pages += 1;
        }
        if pages > 0 {
            self.post(cx, from, Note::Pull(Pull { object, first, pages }));
        }
        reserved.map(|()| pages).or_else(|errno| if pages > 0 { Ok(pages) } else { Err(errno) })
    }

    /// The target of a moved space asks for pages of it.
    pub(crate) fn pulled_from(&mut self, cx: &mut Cx<'_>, to: NodeId, op: Pull) {
        let Pull { object, first, pages } = op;
        let sane = (1..=PULL_PAGES_MAX).contains(&pages) && first < PAGE_TOP;
        if !sane || home(cx, object) != to || self.down.contains(&to) {
            return;
        }
        let Some(bytes) = self.take_left(to, object, first..first + pages) else {
            let refusal = Refusal { errno: Errno::EIO.number(), access: Access::Write };
            let lost = Lost { object, page: first, round: 0, refusal };
            return self.post(cx, to, Note::Lost(lost));
        };
        self.post(cx, to, Note::Pulled(Pulled { object, first }, bytes));
    }

    /// The bytes of pages that were left for this node, which are here no more.
    fn take_left(&mut self, to: NodeId, object: ObjectId, run: Range<u64>) -> Option<Box<[u8]>> {
        let Self { objects, frames, .. } = self;
        let Store::Left(left) = &mut objects.get_mut(object).ok()?.store else { return None };
        if left.to != to || !left.has(run.clone()) {
            return None;
        }
        let mut bytes = Vec::with_capacity((run.end - run.start) as usize * PAGE_BYTES);
        for page in run {
            let entry = left.pages.get(page);
            let (frame, _) = entry.page?;
            if let Some(mapping) = entry.mapping {
                frames.machine.unmap(left.hard, page * PAGE, mapping.handle);
            }
            left.pages.set(page, Entry::default());
            bytes.extend_from_slice(frames.machine.bytes(frame));
            frames.release(frame);
        }
        Some(bytes.into_boxed_slice())
    }

    /// The source of a moved space sends pages of it. What was not asked for is not used.
    pub(crate) fn got_pulled(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Pulled, bytes: &[u8]) {
        let Some(id) = self.moved_space(from, op.object) else { return };
        for (page, bytes) in (op.first..PAGE_TOP).zip(bytes.as_chunks::<PAGE_BYTES>().0) {
            let key = (op.object, page);
            let Some(frame) = self.fetches.get(&key).and_then(|fetch| fetch.frame) else {
                continue;
            };
            *self.frames.machine.bytes_mut(frame) = *bytes;
            self.arrived(cx, key, Hold::Only, true);
        }
        self.fetch_ahead(cx, id);
        self.check_moved(cx, id);
    }
}
