// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root does when a domain dies: it says so, and sees that nobody waits for the dead.
//!
//! # Model
//! A worker that faults takes its domain with it: the others may hold half-done work, or wait for a
//! lock that nobody will open. All workers are stopped, and each becomes a thread of root's own that
//! answers EIO at the dead worker's endpoint: to whom it was serving, to who queued there, and to
//! everybody who comes later. Then the other domains are told, so that calls which the dead answered
//! "later" end too ([`abi::startup::DEAD_ROW`]).
//!
//! # Failure
//! A dead domain is not started again. Linux threads that fault to a dead proc-server stay stopped.

use crate::domain::{Domain, SERVER_PRIORITY};
use crate::names;
use crate::serial;
use abi::startup::{DEAD_ROW, IPC_BUFFERS_ADDR, PERFORMED_ROW, Performed, THREAD_BADGE};
use abi::{Errno, ServerId};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use microkernel_rt::thread::start_registers;
use microkernel_sys::{
    Cap, CapData, Endpoint, Fault, MessageInfo, Priorities, Received, Registers, init,
};

/// Bytes of the stack of a thread that answers for a dead worker; it calls nothing deep.
const STACK_BYTES: usize = 4096;
/// The CPU exception of an instruction that is none: how a panic stops its thread.
const INVALID_OPCODE: u64 = 6;
/// Lines of the log that are shown of a domain that panicked.
const PANIC_LINES: usize = 3;

/// A domain died of the fault that was received from its worker on `core`.
pub fn died(domains: &[Domain], received: &Received, index: usize, core: usize) {
    // First: words of the fault are in the IPC buffer, which every call uses.
    let fault = Fault::decode(received);
    let (Some(domain), Some(fault)) = (domains.get(index), fault) else { return };
    let Some(worker) = domain.workers.get(core) else { return };
    let registers = worker.tcb.read_registers(true).unwrap_or_default();
    let doing = doing(domain, core);
    bury(domain);
    let mut dead = 0;
    for server in &domain.servers {
        dead |= 1 << *server as u64;
    }
    for other in domains.iter().filter(|other| other.index != domain.index) {
        let before = other.status_word(DEAD_ROW);
        other.set_status_word(DEAD_ROW, before | dead);
        other.dead_signal.signal();
    }
    report(domain, core, &fault, &registers, &doing);
}

/// Stops all workers and puts threads of root's in their places, which answer EIO.
fn bury(domain: &Domain) {
    for worker in &domain.workers {
        // A thread that is already stopped refuses nothing.
        let _ = worker.tcb.suspend();
    }
    let priorities = Priorities { priority: SERVER_PRIORITY, max_controlled: SERVER_PRIORITY };
    for worker in &domain.workers {
        let (tcb, none) = (worker.tcb, CapData::NONE);
        let stack = Box::leak(Box::new([0u8; STACK_BYTES])).as_ptr_range().end as u64;
        let registers = start_registers(answer_for_the_dead, stack, worker.endpoint.bits(), 0);
        // Only who has an IPC buffer may make the kernel's system calls. Nothing is mapped there for
        // root: what is longer than the registers goes to the frame unread.
        let (buffer, frame) = (IPC_BUFFERS_ADDR, worker.ipc_buffer);
        let placed = tcb
            .unbind_notification()
            .and_then(|()| {
                tcb.configure(0, priorities, init::CNODE, none, init::VSPACE, none, buffer, frame)
            })
            .and_then(|()| tcb.write_registers(true, &registers));
        if let Err(error) = placed {
            serial::alarm(&format!("root: calls to a dead server may hang: {error}\n"));
        }
    }
}

/// What runs in place of a dead worker. The kernel still knows whom that was serving: the first
/// answer goes there.
extern "C" fn answer_for_the_dead(endpoint: u64, _: u64) -> ! {
    let endpoint: Cap<Endpoint> = Cap::new(endpoint);
    let refusal = MessageInfo::new(u64::from(Errno::EIO.number()), 0);
    let mut received = endpoint.reply_recv(refusal, [0; 4]);
    loop {
        received = if received.badge & THREAD_BADGE != 0 {
            // A Linux thread: an answer would let it go on without what it needs.
            endpoint.recv()
        } else {
            endpoint.reply_recv(refusal, [0; 4])
        };
    }
}

/// What a worker was doing, as far as its domain's word can be taken for it.
fn doing(domain: &Domain, core: usize) -> String {
    let Some(Performed { op, server, client }) =
        Performed::from_word(domain.status_word(PERFORMED_ROW + core))
    else {
        return String::from("it had not begun to serve");
    };
    let name = names::operation(server, op);
    let mut text = if client == server {
        format!("it performed {name} of {server}")
    } else {
        format!("it performed {name} (operation {op:#x}) of {server} for {client}")
    };
    let called = domain.status_word(core).checked_sub(1);
    if let Some(called) = called.and_then(|number| ServerId::from_number(number as u8)) {
        text.push_str(&format!(" and was calling {called}"));
    }
    text
}

fn report(domain: &Domain, core: usize, fault: &Fault, registers: &Registers, doing: &str) {
    let servers: Vec<_> = domain.servers.iter().map(|server| server.name()).collect();
    let mut text = format!(
        "\nroot: {} died on core {core}: {}\nroot: {doing}\n{}",
        servers.join("+"),
        cause(fault),
        table(registers),
    );
    if let Fault::UserException(exception) = fault
        && exception.number == INVALID_OPCODE
    {
        text.push_str("root: the log ends with:\n");
        text.push_str(&serial::last_lines(PANIC_LINES));
    }
    for server in &domain.servers {
        text.push_str(&format!("root: without {server} {}\n", names::consequence(*server)));
    }
    serial::alarm(&text);
}

fn cause(fault: &Fault) -> String {
    match fault {
        Fault::Vm(vm) => {
            let access = match (vm.is_fetch(), vm.is_write()) {
                (true, _) => "execution",
                (false, true) => "write",
                (false, false) => "read",
            };
            format!("{access} at address {:#x}, instruction {:#x}", vm.address, vm.ip)
        }
        Fault::UserException(it) => {
            format!("exception {} (code {:#x}), instruction {:#x}", it.number, it.code, it.ip)
        }
        Fault::UnknownSyscall(it) => {
            let at = it.registers.rip;
            format!("system call {} that is none, before {at:#x}", it.number)
        }
        Fault::Cap(it) => {
            format!("capability {:#x} that is none, instruction {:#x}", it.cap, it.ip)
        }
    }
}

fn table(r: &Registers) -> String {
    let rows = [
        [("rip", r.rip), ("rsp", r.rsp), ("rbp", r.rbp), ("flags", r.rflags)],
        [("rax", r.rax), ("rbx", r.rbx), ("rcx", r.rcx), ("rdx", r.rdx)],
        [("rsi", r.rsi), ("rdi", r.rdi), ("r8", r.r8), ("r9", r.r9)],
        [("r10", r.r10), ("r11", r.r11), ("r12", r.r12), ("r13", r.r13)],
        [("r14", r.r14), ("r15", r.r15), ("tls", r.tls_base), ("", 0)],
    ];
    let mut text = String::new();
    for row in rows {
        text.push_str("root:");
        for (name, value) in row.iter().filter(|(name, _)| !name.is_empty()) {
            text.push_str(&format!(" {name:<5} {value:016x}"));
        }
        text.push('\n');
    }
    text
}
