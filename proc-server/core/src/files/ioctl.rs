// SPDX-License-Identifier: MIT OR Apache-2.0
//! ioctl(2).

use super::socket::interface;
use super::table::Target;
use super::{Wait, descriptors, glue};
use crate::layout::ioctl::{Argument, Request, request};
use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::linux::general::O_NONBLOCK;
use abi::linux::ioctl::{TIOCNOTTY, TIOCSCTTY};
use fs_api::file::{Ioctl, IoctlReply};
use fs_api::name::FileKind;
use runtime::{NodeReply, Wire};

/// ioctl(2).
pub fn ioctl<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, number, arg, ..] = call.args;
    let number = number as u32;
    let target = &call.process().own.files.get(fd)?.target;
    let is_socket = matches!(target, Target::File(it) if matches!(it.kind, FileKind::Socket(_)));
    if is_socket && interface::is_about(number) {
        return interface::ioctl(call, number, arg);
    }
    let argument = match request(number).ok_or(Errno::ENOTTY)? {
        Request::CloseOnExec(set) => {
            call.process_mut().own.files.get_mut(fd)?.close_on_exec = set;
            return Ok(Next::Done(0));
        }
        Request::NonBlocking => {
            let on: u32 = call.read(arg)?;
            let flags = if on == 0 { 0 } else { O_NONBLOCK };
            return descriptors::change_flags(call, fd, O_NONBLOCK, flags);
        }
        Request::File(argument) => argument,
    };
    let file = glue::file(call, fd, Errno::ENOTTY)?;
    let caller = call.caller();
    let (data, wait) = match argument {
        Argument::Number => (alloc::vec![], Wait::Ioctl { addr: 0, bytes: 0 }),
        Argument::In(bytes) => (glue::bytes(call, arg, bytes)?, Wait::Ioctl { addr: 0, bytes: 0 }),
        Argument::Out(bytes) => (alloc::vec![], Wait::Ioctl { addr: arg, bytes }),
    };
    remember_terminal(call, fd, number);
    let op = Ioctl { file: file.file, request: number, arg, data, caller };
    Ok(call.ask_server(file.server(), &op, 0, glue::wait(wait)))
}

/// Notes which node's terminal the session gets or gives up, for `/dev/tty`. If the terminal's
/// server refuses, opening `/dev/tty` is refused there too.
fn remember_terminal<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, number: u32) {
    let node = match &call.process().own.files.get(fd).map(|descriptor| &descriptor.target) {
        Ok(Target::File(file)) if file.kind == FileKind::Terminal => {
            call.cx.view().home(file.file.slot()).get()
        }
        Ok(_) | Err(_) => return,
    };
    match number {
        TIOCSCTTY => call.process_mut().own.terminal = node,
        TIOCNOTTY => call.process_mut().own.terminal = 0,
        _ => {}
    }
}

/// The server has answered.
pub fn answered<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    bytes: usize,
    reply: &NodeReply,
) -> SysResult {
    let IoctlReply { value, mut data } = IoctlReply::get(&reply.msg)?;
    if bytes > 0 {
        data.resize(bytes, 0);
        call.copy_out(addr, &data)?;
    }
    Ok(Next::Done(value))
}
