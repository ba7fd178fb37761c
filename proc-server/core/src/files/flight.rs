// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors in flight: SCM_RIGHTS.
//!
//! # Model
//! ```text
//! sendmsg:  a flight here keeps a count of each file, as a descriptor does; the message has its number
//! recvmsg:  on this node:  the counts become descriptors
//!           on another:    TakeRights --> its node holds each file too --> answered; the flight ends
//! a message that nobody will receive: the ipc server of its home says so, proc-server there tells here
//! ```
//! So closing the sender's descriptors closes nothing, and a message can move from home to home.
//!
//! # Limits
//! [`FLIGHT_FILES_MAX`] files of a node at a time. Files of proc-server itself do not fly (EINVAL). A socket
//! that flies over itself stays until its node ends.
//!
//! # Failure
//! What flies from a node that died arrives without descriptors (MSG_CTRUNC), and so does what was sent
//! although the sender heard an error. Flights of a socket that was lost with its home end with it.

use super::glue;
use super::table::{Descriptor, OpenFile, Target};
use crate::ProcCore;
use crate::limits::FLIGHT_FILES_MAX;
use crate::machine::Machine;
use crate::syscall::{AskResult, Call};
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::vec::Vec;
use cluster::View;
use fs_api::file::Hold;
use ipc_api::RightsDropped;
use ipc_api::socket::Rights;
use proc_api::peer::{DropRights, TakeRights};
use runtime::collections::HashMap;
use runtime::{Answer, Client, Cx};

/// Most descriptors of one message (SCM_MAX_FD on Linux).
pub const RIGHTS_MAX: usize = 253;

/// Files that fly with one message.
#[derive(Debug)]
struct Flight {
    /// The socket that sent them.
    socket: FileId,
    files: Vec<OpenFile>,
}

/// Files that another node takes.
#[derive(Debug)]
struct Taking {
    ticket: Ticket,
    /// Which of them that node holds.
    held: Vec<OpenFile>,
    /// Answers that have not come.
    left: usize,
    /// What ends here when all have.
    files: Vec<OpenFile>,
}

/// The flights that began on this node.
#[derive(Default)]
pub struct Flights {
    rows: HashMap<u64, Flight>,
    last: u64,
    takings: HashMap<u64, Taking>,
    /// Asks under way: which taking, and which file.
    holds: HashMap<u64, (u64, OpenFile)>,
}

impl Flights {
    fn files(&self) -> usize {
        let flying: usize = self.rows.values().map(|flight| flight.files.len()).sum();
        flying + self.takings.values().map(|taking| taking.files.len()).sum::<usize>()
    }
}

/// Files of these descriptors begin to fly.
///
/// # Errors
/// EBADF, EINVAL; ETOOMANYREFS: too many fly.
pub fn begin<M: Machine>(
    call: &mut Call<'_, '_, M>,
    socket: FileId,
    descriptors: &[u32],
) -> Result<Option<Rights>, Errno> {
    if descriptors.is_empty() {
        return Ok(None);
    }
    if descriptors.len() > RIGHTS_MAX {
        return Err(Errno::EINVAL);
    }
    let mut files = Vec::new();
    for fd in descriptors {
        match &call.process().own.files.get(u64::from(*fd))?.target {
            Target::File(file) => files.push(*file),
            Target::Local(_) => return Err(Errno::EINVAL),
        }
    }
    let core = &mut *call.core;
    if core.flights.files() + files.len() > FLIGHT_FILES_MAX {
        return Err(Errno::ETOOMANYREFS);
    }
    for file in &files {
        core.holders.add(*file);
    }
    core.flights.last += 1;
    let (token, count) = (core.flights.last, files.len() as u32);
    core.flights.rows.insert(token, Flight { socket, files });
    Ok(Some(Rights { node: core.node, token, count }))
}

/// A message that was received has brought these: files with a count for each descriptor to be.
pub fn take_here<M: Machine>(core: &mut ProcCore<M>, token: u64, keep: bool) -> Vec<OpenFile> {
    if keep {
        let files = core.flights.rows.get(&token).map(|flight| flight.files.clone());
        let files = files.unwrap_or_default();
        for file in &files {
            core.holders.add(*file);
        }
        return files;
    }
    core.flights.rows.remove(&token).map(|flight| flight.files).unwrap_or_default()
}

/// The same from another node: this node holds each file already.
pub fn taken<M: Machine>(
    core: &mut ProcCore<M>,
    cx: &mut Cx<'_>,
    reply: &runtime::NodeReply,
) -> Vec<OpenFile> {
    let files: Vec<OpenFile> = postcard::from_bytes(&reply.bulk).unwrap_or_default();
    for file in &files {
        if core.holders.add_brought(*file) {
            core.release(cx, file.file, file.server());
        }
    }
    files
}

impl<M: Machine> ProcCore<M> {
    /// Nobody will receive these.
    pub(crate) fn drop_rights(&mut self, cx: &mut Cx<'_>, rights: Rights) {
        if rights.node == cx.node() {
            let files = take_here(self, rights.token, false);
            self.land(cx, files);
        } else {
            let op = DropRights { token: rights.token };
            // Flights of a node that is down are over.
            let _ = cx.inform_node(rights.node, &op, Vec::new());
        }
    }

    /// Files fly no more: their counts end.
    fn land(&mut self, cx: &mut Cx<'_>, files: Vec<OpenFile>) {
        for file in files {
            glue::close(self, cx, Descriptor::from(file));
        }
    }

    /// The ipc server says that nobody will receive descriptors.
    pub(crate) fn rights_dropped(&mut self, cx: &mut Cx<'_>, dropped: RightsDropped) {
        let RightsDropped { node, token } = dropped;
        self.drop_rights(cx, Rights { node, token, count: 0 });
    }

    /// Another node has received them: it is to hold each file, then the flight ends.
    pub(crate) fn rights_wanted(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        node: NodeId,
        request: TakeRights,
    ) -> Result<Answer, Errno> {
        let TakeRights { token, keep } = request;
        if !self.flights.rows.contains_key(&token) {
            return Err(Errno::ENOENT);
        }
        let ticket = cx.open_ticket(from)?;
        let files = take_here(self, token, keep);
        self.flights.last += 1;
        let number = self.flights.last;
        let left = files.len();
        for file in &files {
            let job = self.new_job();
            self.flights.holds.insert(job, (number, *file));
            let cookie = crate::entry::job_cookie(job);
            cx.ask_server(file.server(), &Hold { file: file.file, node }, cookie);
        }
        let taking = Taking { ticket, held: Vec::new(), left, files };
        self.flights.takings.insert(number, taking);
        Ok(Answer::Pending(ticket))
    }

    /// Whether a job is one of taking descriptors: a file's server has answered.
    pub(crate) fn right_held(&mut self, cx: &mut Cx<'_>, job: u64, result: &AskResult) -> bool {
        let Some((number, file)) = self.flights.holds.remove(&job) else { return false };
        let Some(taking) = self.flights.takings.get_mut(&number) else { return true };
        taking.left -= 1;
        if result.is_ok() {
            taking.held.push(file);
        }
        if taking.left == 0
            && let Some(Taking { ticket, held, files, .. }) = self.flights.takings.remove(&number)
        {
            // What is lost with its home is missing.
            let bytes = postcard::to_allocvec(&held).unwrap_or_default();
            cx.complete_bulk(ticket, Ok(()), bytes);
            self.land(cx, files);
        }
        true
    }

    /// Whether a ticket is one of taking descriptors: it ends soon, and with what was done.
    pub(crate) fn is_taking(&self, ticket: Ticket) -> bool {
        self.flights.takings.values().any(|taking| taking.ticket == ticket)
    }

    /// Flights end whose socket was lost with its home.
    pub(crate) fn flights_lost(&mut self, cx: &mut Cx<'_>, view: &View) {
        let lost = |socket: FileId| view.has_broken(socket.slot(), socket.serial());
        let gone = self.flights.rows.extract_if(|_, flight| lost(flight.socket));
        let gone: Vec<OpenFile> = gone.flat_map(|(_, flight)| flight.files).collect();
        self.land(cx, gone);
    }
}
