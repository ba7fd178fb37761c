// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending and receiving.
//!
//! Words 4 and up of a message lie in the IPC buffer: write them with [`ipc`](crate::ipc) before a
//! send, read them after a receive.

use crate::cap::{Cap, Endpoint, Notification, Reply};
use crate::message::{Message, MessageInfo, Received};
use crate::syscall::{Number, enter};

const EMPTY: MessageInfo = MessageInfo::new(0, 0);

impl Cap<Endpoint> {
    /// Sends and waits for the answer. The capability needs the write and grant rights.
    #[inline]
    pub fn call(self, info: MessageInfo, words: [u64; 4]) -> Message {
        let r = enter(Number::Call, self.bits(), info, words);
        Message { info: r.info, words: r.words }
    }

    /// [`call`](Self::call) with exactly four words: the kernel's fast path.
    #[inline]
    pub fn call4(self, label: u64, words: [u64; 4]) -> Message {
        self.call(MessageInfo::new(label, 4), words)
    }

    /// Sends, and blocks until somebody receives.
    #[inline]
    pub fn send(self, info: MessageInfo, words: [u64; 4]) {
        enter(Number::Send, self.bits(), info, words);
    }

    /// Sends if somebody is waiting; else the message is lost.
    #[inline]
    pub fn nb_send(self, info: MessageInfo, words: [u64; 4]) {
        enter(Number::NbSend, self.bits(), info, words);
    }

    /// Waits for a message, or for a signal of the notification bound to this thread.
    #[inline]
    #[must_use]
    pub fn recv(self) -> Received {
        enter(Number::Recv, self.bits(), EMPTY, [0; 4])
    }

    /// Takes a message that waits already; all zero if there is none.
    #[inline]
    #[must_use]
    pub fn nb_recv(self) -> Received {
        enter(Number::NbRecv, self.bits(), EMPTY, [0; 4])
    }

    /// Answers the last caller, then waits for the next message. Without a caller to answer, it only
    /// waits.
    #[inline]
    #[must_use]
    pub fn reply_recv(self, info: MessageInfo, words: [u64; 4]) -> Received {
        enter(Number::ReplyRecv, self.bits(), info, words)
    }
}

impl Cap<Notification> {
    /// Sets this capability's badge bits, and wakes the waiter if there is one. Never blocks.
    #[inline]
    pub fn signal(self) {
        enter(Number::Send, self.bits(), EMPTY, [0; 4]);
    }

    /// Waits until any bit is set; takes and clears them all.
    #[inline]
    #[must_use]
    pub fn wait(self) -> u64 {
        enter(Number::Recv, self.bits(), EMPTY, [0; 4]).badge
    }

    /// Takes and clears the bits that are set now; 0 for none.
    #[inline]
    #[must_use]
    pub fn poll(self) -> u64 {
        enter(Number::NbRecv, self.bits(), EMPTY, [0; 4]).badge
    }
}

impl Cap<Reply> {
    /// Answers the call that [`Slot::save_caller`](crate::Slot::save_caller) put here. The slot is
    /// empty afterwards. Never blocks.
    #[inline]
    pub fn send(self, info: MessageInfo, words: [u64; 4]) {
        enter(Number::Send, self.bits(), info, words);
    }
}

/// Answers the last caller without waiting for the next one.
#[inline]
pub fn reply(info: MessageInfo, words: [u64; 4]) {
    enter(Number::Reply, 0, info, words);
}

/// Answers a system call of a Linux thread: it goes on after its `syscall` with `rax` set.
#[inline]
pub fn reply_with(rax: u64) {
    reply(MessageInfo::new(0, 1), [rax, 0, 0, 0]);
}

/// Lets the next thread of this priority run on this core.
#[inline]
pub fn yield_now() {
    enter(Number::Yield, 0, EMPTY, [0; 4]);
}
