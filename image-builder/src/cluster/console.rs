// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a node's console shows, for those who look on from outside the tool.
//!
//! It exists apart from the [`super::Event`]s because these have one reader, who must not wait for
//! somebody else's terminal.
//!
//! # Model
//! The console outlives the node's QEMU: who looks on sees the node go and come back.
//!
//! # Limits
//! A viewer that has not taken [`PIECES_MAX`] pieces is dropped: its receiver ends.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that a new viewer is shown of what was printed before: about a screen.
const RECALL_BYTES: usize = 4096;
/// Pieces of output that wait for a viewer, each as much as is read from a console at a time.
const PIECES_MAX: usize = 64;

/// A node's console.
#[derive(Default)]
pub struct Console {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    recent: VecDeque<u8>,
    viewers: Vec<SyncSender<Vec<u8>>>,
}

impl Console {
    /// Shows bytes to everybody who looks on; never waits.
    pub fn show(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.recent.extend(bytes);
        let surplus = inner.recent.len().saturating_sub(RECALL_BYTES);
        inner.recent.drain(..surplus);
        inner.viewers.retain(|viewer| viewer.try_send(bytes.to_vec()).is_ok());
    }

    /// What is shown from now on, and before it about a screen of what was.
    pub fn watch(&self) -> Receiver<Vec<u8>> {
        let mut inner = self.lock();
        let (viewer, pieces) = sync_channel(PIECES_MAX);
        // A new queue has room for one piece.
        let _ = viewer.try_send(inner.recent.iter().copied().collect());
        inner.viewers.push(viewer);
        pieces
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewer_sees_what_was_shown_before_and_what_comes() {
        let console = Console::default();
        console.show(b"old ");
        let pieces = console.watch();
        console.show(b"new");
        assert_eq!(pieces.try_iter().collect::<Vec<_>>().concat(), b"old new");
    }

    #[test]
    fn only_the_end_is_recalled() {
        let console = Console::default();
        console.show(&[b'x'; RECALL_BYTES]);
        console.show(b"end");
        let recalled = console.watch().recv().expect("it is there");
        assert_eq!(recalled.len(), RECALL_BYTES);
        assert!(recalled.ends_with(b"xend"));
    }

    #[test]
    fn viewer_that_takes_nothing_is_dropped_and_the_others_see_all() {
        let console = Console::default();
        let (idle, busy) = (console.watch(), console.watch());
        for _ in 0..2 * PIECES_MAX {
            console.show(b"x");
            assert!(busy.try_iter().count() > 0);
        }
        assert_eq!(idle.iter().count(), PIECES_MAX);
    }
}
