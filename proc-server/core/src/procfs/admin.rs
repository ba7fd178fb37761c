// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/sys/cluster/admin`: a program writes a command line and reads the answer.
//!
//! # Model
//! Each open makes a *conversation*, which descriptors that are copies of one another share. A write
//! sends its words to the shell server as a request; replies collect in the conversation; a read
//! takes what is there, and waits while more is to come. The stream ends with a line `\x1estatus N`.
//!
//! # Limits
//! [`CONVERSATIONS_MAX`] conversations: the oldest makes room. [`ANSWER_BYTES_MAX`] unread bytes of
//! an answer: what comes beyond is dropped, and the stream says so.

use crate::ProcCore;
use crate::files::Wait;
use crate::files::local::Content;
use crate::files::table::Target;
use crate::machine::Machine;
use crate::syscall::{self, Call, Next, SysResult};
use abi::{Errno, ServerId, ThreadId};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use proc_api::{AdminReply, AdminRequest, EVENT_ADMIN};
use runtime::Cx;

/// Conversations kept at a time.
pub const CONVERSATIONS_MAX: usize = 64;
/// Unread bytes of one answer.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// What ends an answer that nobody can give any more.
const NO_SHELL: &str =
    "the shell server of this node died, and administration with it; programs go on\n";
const DROPPED: &[u8] = b"\n(the rest was dropped: read faster)\n";

/// One program's exchange with the administration.
#[derive(Default)]
struct Conversation {
    request: Option<u64>,
    answer: Vec<u8>,
    dropped: bool,
    ended: bool,
    reader: Option<ThreadId>,
}

/// What files of proc-server itself wait for.
#[derive(Default)]
pub struct ProcFs {
    conversations: BTreeMap<u64, Conversation>,
    next: u64,
    no_shell: bool,
}

impl ProcFs {
    /// Begins a conversation.
    pub fn open(&mut self) -> u64 {
        while self.conversations.len() >= CONVERSATIONS_MAX {
            self.conversations.pop_first();
        }
        self.next += 1;
        self.conversations.insert(self.next, Conversation::default());
        self.next
    }

    /// A descriptor of the conversation closes: one that is over, or never began, is forgotten.
    pub fn close(&mut self, number: u64) {
        let over = |it: &Conversation| it.request.is_none() || it.ended && it.answer.is_empty();
        if self.conversations.get(&number).is_some_and(over) {
            self.conversations.remove(&number);
        }
    }

    /// The shell server died: every answer ends; the threads to wake.
    fn shell_down(&mut self) -> Vec<ThreadId> {
        self.no_shell = true;
        let open = self.conversations.values().filter(|it| !it.ended);
        let requests: Vec<u64> = open.filter_map(|it| it.request).collect();
        let end = |request| AdminReply { request, text: NO_SHELL.into(), status: Some(1) };
        requests.into_iter().filter_map(|request| self.reply(&end(request))).collect()
    }

    /// Adds a part of an answer; the thread to wake.
    fn reply(&mut self, reply: &AdminReply) -> Option<ThreadId> {
        let wanted = Some(reply.request);
        let mut open = self.conversations.values_mut();
        let conversation = open.find(|it| it.request == wanted && !it.ended)?;
        if conversation.answer.len() + reply.text.len() > ANSWER_BYTES_MAX {
            conversation.dropped = true;
        } else {
            conversation.answer.extend_from_slice(reply.text.as_bytes());
        }
        if let Some(status) = reply.status {
            if conversation.dropped {
                conversation.answer.extend_from_slice(DROPPED);
            }
            let last = format!("\x1estatus {status}\n");
            conversation.answer.extend_from_slice(last.as_bytes());
            conversation.ended = true;
        }
        conversation.reader.take()
    }
}

/// The shell server answers.
pub(crate) fn admin_reply<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, reply: AdminReply) {
    if let Some(reader) = core.procfs.reply(&reply) {
        core.wake_rerun(cx, reader);
    }
}

/// The shell server died.
pub(crate) fn shell_down<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>) {
    for reader in core.procfs.shell_down() {
        core.wake_rerun(cx, reader);
    }
}

fn conversation_of<M: Machine>(call: &Call<'_, '_, M>, fd: u64) -> Result<u64, Errno> {
    match &call.process().own.files.get(fd)?.target {
        Target::Local(local) => match local.content {
            Content::Admin { conversation } => Ok(conversation),
            Content::Text(_) | Content::Directory(_) | Content::Node { .. } => Err(Errno::EBADF),
        },
        Target::File(_) => Err(Errno::EBADF),
    }
}

/// A command line was written.
pub(crate) fn admin_write<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    text: &[u8],
) -> SysResult {
    let number = conversation_of(call, fd)?;
    let line = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let words: Vec<String> = line.split_whitespace().map(String::from).collect();
    if words.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    let (pid, uid) = (call.process().own.pid.get(), call.process().own.ids.uid);
    let procfs = &mut call.core.procfs;
    if procfs.no_shell {
        return Err(Errno::EIO.into());
    }
    procfs.next += 1;
    let request = procfs.next;
    let conversation = procfs.conversations.get_mut(&number).ok_or(Errno::EIO)?;
    *conversation = Conversation { request: Some(request), ..Conversation::default() };
    call.cx.raise(ServerId::Shell, EVENT_ADMIN, &AdminRequest { request, pid, uid, words });
    Ok(Next::Done(text.len() as u64))
}

/// Reads of the answer what there is; waits if that is nothing yet.
pub(crate) fn admin_read<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    addr: u64,
    len: u64,
) -> SysResult {
    let number = conversation_of(call, fd)?;
    let thread = call.thread;
    // A conversation that moved away with its process, or made room for others, is lost.
    let conversation = call.core.procfs.conversations.get_mut(&number).ok_or(Errno::EIO)?;
    if conversation.answer.is_empty() && !conversation.ended && conversation.request.is_some() {
        conversation.reader = Some(thread);
        return Ok(call.keep_waiting(syscall::Wait::Files(Wait::Admin)));
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(conversation.answer.len());
    let part: Vec<u8> = conversation.answer[..len].to_vec();
    call.copy_out(addr, &part)?;
    if let Some(conversation) = call.core.procfs.conversations.get_mut(&number) {
        conversation.answer.drain(..len);
    }
    Ok(Next::Done(len as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(request: u64, text: &str, status: Option<u8>) -> AdminReply {
        AdminReply { request, text: text.into(), status }
    }

    #[test]
    fn answer_ends_with_the_status() {
        let mut procfs = ProcFs::default();
        let number = procfs.open();
        procfs.conversations.get_mut(&number).expect("it is open").request = Some(9);
        assert_eq!(procfs.reply(&part(8, "not mine", None)), None);
        procfs.reply(&part(9, "a\n", None));
        procfs.reply(&part(9, "b\n", Some(3)));
        procfs.reply(&part(9, "late", None));
        let answer = &procfs.conversations[&number].answer;
        assert_eq!(answer, b"a\nb\n\x1estatus 3\n");
    }

    #[test]
    fn answer_of_a_dead_shell_server_ends_with_a_sentence() {
        let mut procfs = ProcFs::default();
        let number = procfs.open();
        let reader = ThreadId { index: 3, generation: 1 };
        let conversation = procfs.conversations.get_mut(&number).expect("it is open");
        (conversation.request, conversation.reader) = (Some(9), Some(reader));
        assert_eq!(procfs.shell_down(), [reader]);
        let answer = &procfs.conversations[&number].answer;
        assert!(answer.ends_with(b"programs go on\n\x1estatus 1\n"));
    }

    #[test]
    fn too_long_an_answer_is_cut_and_says_so() {
        let mut procfs = ProcFs::default();
        let number = procfs.open();
        procfs.conversations.get_mut(&number).expect("it is open").request = Some(1);
        for _ in 0..5 {
            procfs.reply(&part(1, &"x".repeat(100_000), None));
        }
        procfs.reply(&part(1, "", Some(0)));
        let answer = &procfs.conversations[&number].answer;
        assert!(answer.len() < ANSWER_BYTES_MAX + 100);
        assert!(answer.ends_with(b"read faster)\n\x1estatus 0\n"));
    }

    #[test]
    fn conversations_are_bounded() {
        let mut procfs = ProcFs::default();
        for _ in 0..100 {
            procfs.open();
        }
        assert_eq!(procfs.conversations.len(), CONVERSATIONS_MAX);
        procfs.close(100);
        assert_eq!(procfs.conversations.len(), CONVERSATIONS_MAX - 1);
    }
}
