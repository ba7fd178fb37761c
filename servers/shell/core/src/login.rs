// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console's login shell: started when the node is in service, and again whenever it ends.

use crate::leave::leaves;
use crate::limits::{LOGIN_PAUSE_NS, READY_POLL_NS, READY_WAIT_NS};
use crate::{Machine, Shell, Wait};
use abi::{Errno, FileId, NodeId, Pid};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ipc_api::{TerminalOpen, TerminalOpened};
use net_api::LinkUse;
use proc_api::{List, Spawn, Spawned};
use runtime::{Cx, NodeReply, Wire};

/// O_RDWR, of open(2).
const READ_WRITE: u32 = 2;

/// ```text
/// Starting --spawned--> Running --exited--> Starting
///    ^                  `--hung up--> Ending --> Off, if the node is leaving
///    `-------------- it stays ---------------'
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Login {
    /// It is on its way.
    Starting,
    /// It runs, since this time.
    Running { pid: Pid, since_ns: u64 },
    /// The node is leaving, and it was hung up.
    Ending { pid: Pid },
    /// The node is leaving: nobody logs in any more.
    Off,
}

impl<M: Machine> Shell<M> {
    pub(crate) fn open_terminal(&mut self, cx: &mut Cx<'_>) {
        let open = TerminalOpen { node: cx.node(), flags: READ_WRITE };
        self.ask(cx, &open, Wait::Terminal);
    }

    pub(crate) fn terminal_opened(&mut self, cx: &mut Cx<'_>, result: &Result<NodeReply, Errno>) {
        let opened = result.as_ref().map_err(|errno| *errno);
        match opened.and_then(|reply| TerminalOpened::get(&reply.msg)) {
            Ok(opened) if self.announced => self.start_login(cx, Some(opened.file)),
            Ok(opened) => self.ask(cx, &List { after: 0 }, Wait::Probe(opened.file)),
            Err(errno) => {
                self.complain(cx, &format!("cannot open the console terminal: {errno}"));
                self.later(cx, LOGIN_PAUSE_NS, Wait::LoginPause(None));
            }
        }
    }

    /// proc-server answers, hence the servers below it are in service too.
    pub(crate) fn probed(
        &mut self,
        cx: &mut Cx<'_>,
        terminal: FileId,
        result: &Result<NodeReply, Errno>,
    ) {
        if let Err(errno) = result {
            self.complain(cx, &format!("proc-server answers: {errno}"));
        }
        let deadline_ns = cx.now_ns() + READY_WAIT_NS;
        self.wait_for_links(cx, terminal, deadline_ns);
    }

    /// Waits a little for the other nodes, which mostly boot at the same time, so that the first
    /// commands can use them.
    pub(crate) fn wait_for_links(&mut self, cx: &mut Cx<'_>, terminal: FileId, deadline_ns: u64) {
        let silent = silent_nodes(cx);
        if !silent.is_empty() && cx.now_ns() < deadline_ns {
            self.later(cx, READY_POLL_NS, Wait::Links { terminal, deadline_ns });
            return;
        }
        let node = cx.node();
        for silent in silent {
            self.print_console(cx, &format!("node {node}: node {silent} does not answer yet\n"));
        }
        self.print_console(cx, &format!("node {node}: ready\n"));
        self.announced = true;
        self.start_login(cx, Some(terminal));
    }

    pub(crate) fn start_login(&mut self, cx: &mut Cx<'_>, terminal: Option<FileId>) {
        let Some(terminal) = terminal else {
            self.open_terminal(cx);
            return;
        };
        let spawn = login_program(&self.setup.login, terminal);
        self.ask(cx, &spawn, Wait::Spawn(terminal));
    }

    pub(crate) fn spawned(
        &mut self,
        cx: &mut Cx<'_>,
        terminal: FileId,
        result: &Result<NodeReply, Errno>,
    ) {
        let spawned = result.as_ref().map_err(|errno| *errno);
        match spawned.and_then(|reply| Spawned::get(&reply.msg)) {
            Ok(spawned) => {
                self.login = Login::Running { pid: spawned.pid, since_ns: cx.now_ns() };
                self.follow_wish(cx);
            }
            Err(errno) => {
                let program = self.setup.login.first().map_or("", String::as_str);
                let text = format!(
                    "cannot start the login program {program:?}: {errno}; see `login` in \
                     cluster.toml. Ctrl-] gives the rescue prompt"
                );
                self.complain(cx, &text);
                // A reference that was not passed on is still ours.
                self.later(cx, LOGIN_PAUSE_NS, Wait::LoginPause(Some(terminal)));
            }
        }
    }

    pub(crate) fn exited(&mut self, cx: &mut Cx<'_>, ended: Pid) {
        match self.login {
            Login::Running { pid, .. } | Login::Ending { pid } if pid == ended && leaves(cx) => {
                self.login = Login::Off;
            }
            // The node stays after all.
            Login::Ending { pid } if pid == ended => {
                self.login = Login::Starting;
                self.open_terminal(cx);
            }
            Login::Running { pid, since_ns } if pid == ended => {
                self.login = Login::Starting;
                let ran_ns = cx.now_ns().saturating_sub(since_ns);
                if ran_ns >= LOGIN_PAUSE_NS {
                    self.open_terminal(cx);
                } else {
                    self.later(cx, LOGIN_PAUSE_NS - ran_ns, Wait::LoginPause(None));
                }
            }
            Login::Running { .. } | Login::Ending { .. } | Login::Starting | Login::Off => {}
        }
    }

    /// Says once what is wrong: a login that fails every second must not fill the console.
    pub(crate) fn complain(&mut self, cx: &mut Cx<'_>, text: &str) {
        if self.complaint != text {
            self.complaint = text.to_string();
            let line = format!("node {}: {text}\n", cx.node());
            self.print_console(cx, &line);
        }
    }
}

/// The other nodes that do not answer now.
fn silent_nodes(cx: &mut Cx<'_>) -> Vec<NodeId> {
    let me = cx.node();
    let mut others: Vec<NodeId> = cx.view().members().to_vec();
    others.retain(|node| *node != me && !cx.leaf(&LinkUse { node: *node }).is_ok_and(|it| it.up));
    others
}

fn login_program(login: &[String], terminal: FileId) -> Spawn {
    let path = login.first().cloned().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    // A dash in front of its name tells a shell that it is a login shell.
    let mut arguments = Vec::from([format!("-{name}")]);
    arguments.extend(login.iter().skip(1).cloned());
    let environment = [
        "HOME=/root",
        "PATH=/bin:/sbin:/usr/bin:/usr/sbin",
        "TERM=vt100",
        "USER=root",
        "LOGNAME=root",
        "SHELL=/bin/sh",
    ];
    Spawn {
        path,
        arguments,
        environment: environment.map(String::from).to_vec(),
        directory: "/root".to_string(),
        terminal,
    }
}
