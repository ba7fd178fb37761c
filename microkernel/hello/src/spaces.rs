// SPDX-License-Identifier: MIT OR Apache-2.0
//! A foreign thread in an address space of its own: its system calls counted, its pages mapped on
//! demand, protected and given back.

use core::arch::naked_asm;

use microkernel_rt::println;
use microkernel_sys::{
    Caching, Cap, Endpoint, Fault, Frame, MessageInfo, PageTable, Received, Registers, Rights, Tcb,
    VSpace, VmFault, init,
};

use crate::machine::ticks;
use crate::resources::Resources;

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x7f00_0000_0000;
/// Where root sees the code page while it fills it: a large page of its own.
const WINDOW: u64 = 0x50_0000_0000;
const CODE_BYTES_MAX: usize = 64;
const CALLS: u64 = 1000;

struct Child {
    thread: Cap<Tcb>,
    endpoint: Cap<Endpoint>,
}

pub fn check(resources: &mut Resources) {
    let space: Cap<VSpace> = resources.create(0);
    init::ASID_POOL.assign(space).expect("the pool has room");
    let endpoint: Cap<Endpoint> = resources.create(0);
    let child = Child { thread: resources.confined_thread(endpoint, space), endpoint };
    let code = code_page(resources, call_and_write);
    resources.map(code, space, CODE);
    time_syscalls(&child);
    let (frame, table) = check_demand(resources, &child, space);
    check_protect(&child, space, frame, table);
}

/// A frame that holds a copy of `function`, which must not depend on its place.
fn code_page(resources: &mut Resources, function: extern "C" fn()) -> Cap<Frame> {
    let frame: Cap<Frame> = resources.create(0);
    resources.map(frame, init::VSPACE, WINDOW);
    let from = function as usize as *const u8;
    // SAFETY: the image is longer than that after any function, the window is mapped and ours.
    unsafe { core::ptr::copy_nonoverlapping(from, WINDOW as *mut u8, CODE_BYTES_MAX) };
    frame.unmap().expect("it is mapped");
    assert_eq!(frame.get_address().expect("a frame has an address") % 4096, 0);
    frame
}

/// rbx system calls, then a byte written at rdi, for ever.
#[unsafe(naked)]
extern "C" fn call_and_write() {
    naked_asm!(
        "2: mov eax, 39",
        "mov edx, -1", // what the kernel's own numbers look like
        "movsxd rdx, edx",
        "syscall",
        "dec rbx",
        "jnz 2b",
        "3: mov byte ptr [rdi], 1",
        "inc rdi",
        "jmp 3b",
    )
}

fn time_syscalls(child: &Child) {
    let start = Registers { rip: CODE, rdi: DATA, rbx: CALLS, ..Registers::default() };
    child.thread.write_registers(true, &start).expect("the thread is stopped");
    let mut message = child.endpoint.recv();
    let start_ticks = ticks();
    let mut calls = 0;
    while let Some(Fault::UnknownSyscall(call)) = Fault::decode(&message) {
        assert_eq!(call.number, 39);
        calls += 1;
        message = child.endpoint.reply_recv(MessageInfo::new(0, 1), [calls, 0, 0, 0]);
    }
    println!("null system call, own address space: {} ticks", (ticks() - start_ticks) / CALLS);
    assert_eq!(calls, CALLS);
    assert_eq!(vm_fault(&message).address, DATA);
}

fn vm_fault(message: &Received) -> VmFault {
    match Fault::decode(message) {
        Some(Fault::Vm(fault)) => fault,
        other => panic!("no page fault: {other:?}"),
    }
}

/// Maps the page that the child waits for, and sees it fault on the next one.
fn check_demand(
    resources: &mut Resources,
    child: &Child,
    space: Cap<VSpace>,
) -> (Cap<Frame>, Cap<PageTable>) {
    let frame: Cap<Frame> = resources.create(0);
    let table = resources.map(frame, space, DATA).expect("the first page there");
    let message = child.endpoint.reply_recv(MessageInfo::new(0, 0), [0; 4]);
    let fault = vm_fault(&message);
    assert_eq!(fault.address, DATA + 4096);
    assert!(fault.is_write() && !fault.is_protection());
    println!("demand paging: ok");
    (frame, table)
}

/// Protects the whole table: the child, sent back to the first page, faults on it until it is mapped
/// for writing again.
fn check_protect(child: &Child, space: Cap<VSpace>, frame: Cap<Frame>, table: Cap<PageTable>) {
    table.protect().expect("the table is mapped");
    let back = Registers { rip: CODE, rdi: DATA, rbx: 1, ..Registers::default() };
    child.thread.write_registers(true, &back).expect("the thread is there");
    let Some(Fault::UnknownSyscall(call)) = Fault::decode(&child.endpoint.recv()) else {
        panic!("no system call")
    };
    // Not replied to, but resumed by its registers: what a server does for a call that blocked.
    let Registers { rip, rsp, rflags, .. } = call.registers;
    child.thread.resume_with(rip, rsp, rflags, 0).expect("the thread is there");
    let message = child.endpoint.recv();
    let fault = vm_fault(&message);
    assert_eq!(fault.address, DATA);
    assert!(fault.is_write() && fault.is_protection());
    frame.remap(space, Rights::READ_WRITE, Caching::WriteBack).expect("it is mapped there");
    let message = child.endpoint.reply_recv(MessageInfo::new(0, 0), [0; 4]);
    assert_eq!(vm_fault(&message).address, DATA + 4096);
    println!("page table protect, page remap: ok");
}
