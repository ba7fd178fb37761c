// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts of the PIT, through a notification bound to this thread.

use microkernel_rt::println;
use microkernel_sys::init::{CNODE, IO_PORT, IRQ_CONTROL, TCB};
use microkernel_sys::{Cap, Endpoint, Error, IrqHandler, MessageInfo, Notification};

use crate::resources::Resources;

const PIT_COUNTER: u64 = 0x40;
const PIT_MODE: u64 = 0x43;
/// Counter 0, low byte then high byte, rate generator, binary.
const PIT_PERIODIC: u64 = 0x34;
/// 1,193,182 Hz divided by this: about 100 Hz.
const PIT_DIVISOR: u64 = 11_932;
const IOAPIC_PIN: u64 = 2;
const IRQ: u64 = 40;
const BADGE: u64 = 0x4000;
const TICKS: u64 = 5;

pub fn check(resources: &mut Resources) {
    let notification: Cap<Notification> = resources.create(0);
    let badged = resources.badged(notification, BADGE);
    let slot = resources.slot();
    IRQ_CONTROL
        .get_ioapic(CNODE, slot.index, slot.depth.into(), 0, IOAPIC_PIN, 0, 0, IRQ)
        .expect("the interrupt is free");
    let handler: Cap<IrqHandler> = Cap::new(slot.index);
    handler.set_notification(badged).expect("it is a notification");
    TCB.bind_notification(notification).expect("none is bound yet");
    start_timer().expect("root has all ports");
    let endpoint: Cap<Endpoint> = resources.create(0);
    for _ in 0..TICKS {
        handler.ack().expect("it is a handler");
        let signal = endpoint.recv();
        assert_eq!((signal.badge, signal.info), (BADGE, MessageInfo::default()));
    }
    handler.clear().expect("it is a handler");
    TCB.unbind_notification().expect("one is bound");
    println!("{TICKS} timer interrupts: ok");
}

fn start_timer() -> Result<(), Error> {
    IO_PORT.out8(PIT_MODE, PIT_PERIODIC)?;
    IO_PORT.out8(PIT_COUNTER, PIT_DIVISOR & 0xff)?;
    IO_PORT.out8(PIT_COUNTER, PIT_DIVISOR >> 8)
}
