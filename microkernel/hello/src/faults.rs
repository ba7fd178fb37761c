// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults of a child: page fault, Linux system call, invalid instruction.

use core::arch::naked_asm;

use microkernel_rt::println;
use microkernel_sys::{Cap, Endpoint, Fault, Registers, Tcb, UnknownSyscall, init, reply_with};

use crate::machine::Region;
use crate::resources::Resources;

const BADGE: u64 = 0x1234;
/// Above 4 GiB, where a kernel with a known defect cuts fault addresses.
const BAD_ADDRESS: u64 = 0x6000_1234_5678;
const SYSCALL_NUMBER: u64 = 39;
const RESULT: u64 = 4711;

static STACK: Region<16384> = Region::new();

pub fn check(resources: &mut Resources) {
    let endpoint: Cap<Endpoint> = resources.create(0);
    let fault_endpoint = resources.badged(endpoint, BADGE);
    let child = resources.foreign_thread(fault_endpoint, init::VSPACE);
    let start = Registers { rsp: STACK.top(), rdi: BAD_ADDRESS, ..Registers::default() };
    let at = |entry: unsafe extern "C" fn()| Registers { rip: entry as usize as u64, ..start };
    check_page_fault(child, endpoint, &at(touch));
    check_syscall(child, endpoint, &at(call_linux));
    check_exception(child, endpoint, &at(invalid));
}

fn next(endpoint: Cap<Endpoint>) -> Fault {
    let message = endpoint.recv();
    assert_eq!(message.badge, BADGE);
    Fault::decode(&message).unwrap_or_else(|| panic!("not a fault: {message:?}"))
}

fn check_page_fault(child: Cap<Tcb>, endpoint: Cap<Endpoint>, start: &Registers) {
    child.write_registers(true, start).expect("the thread is stopped");
    let Fault::Vm(fault) = next(endpoint) else { panic!("no page fault") };
    println!("page fault: {fault:x?}");
    assert_eq!((fault.address, fault.ip), (BAD_ADDRESS, start.rip));
    assert!(fault.is_write() && !fault.is_protection() && !fault.is_fetch());
}

fn check_syscall(child: Cap<Tcb>, endpoint: Cap<Endpoint>, start: &Registers) {
    child.write_registers(true, start).expect("the thread is stopped");
    let Fault::UnknownSyscall(call) = next(endpoint) else { panic!("no system call") };
    println!("system call {}: {:x?}", call.number, call.registers);
    let UnknownSyscall { registers, number } = call;
    assert_eq!((number, registers.rdx, registers.rsp), (SYSCALL_NUMBER, 42, start.rsp));
    reply_with(RESULT);
    // The child stores the result where it may not: a fault that shows it.
    let Fault::Vm(fault) = next(endpoint) else { panic!("no page fault") };
    assert_eq!(fault.address, RESULT);
    println!("system call answered: ok");
}

fn check_exception(child: Cap<Tcb>, endpoint: Cap<Endpoint>, start: &Registers) {
    child.write_registers(true, start).expect("the thread is stopped");
    let Fault::UserException(fault) = next(endpoint) else { panic!("no exception") };
    assert_eq!((fault.number, fault.ip), (6, start.rip));
    println!("exception: {fault:x?}");
}

#[unsafe(naked)]
extern "C" fn touch() {
    naked_asm!("mov qword ptr [rdi], 1", "ud2")
}

#[unsafe(naked)]
extern "C" fn call_linux() {
    naked_asm!("mov eax, 39", "mov edx, 42", "syscall", "mov byte ptr [rax], 1", "ud2")
}

#[unsafe(naked)]
extern "C" fn invalid() {
    naked_asm!("ud2")
}
