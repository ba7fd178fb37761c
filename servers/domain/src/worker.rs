// SPDX-License-Identifier: MIT OR Apache-2.0
//! A worker's receive loop: the one place where messages, faults and notifications come in.

use crate::platform::{Sel4Platform, Shared};
use crate::{crash, frame, heap};
use abi::startup::{DEAD_BIT, IRQ_BIT, THREAD_BADGE, badge_parties};
use abi::{CoreId, Errno, ServerId, ThreadId};
use microkernel_sys::{Cap, Endpoint, IrqHandler, MessageInfo, Received};
use proc_core::Registers;
use proc_task::KICK_BIT;
use runtime::{Bulk, Msg, Service, Status, system};

/// What to answer to the last message.
struct Reply {
    info: MessageInfo,
    words: [u64; 4],
}

/// Serves for good.
pub fn run(shared: &'static Shared, core: CoreId) -> ! {
    let endpoint: Cap<Endpoint> =
        Cap::new(shared.startup.workers[usize::from(core.0)].endpoint_slot);
    let mut platform = Sel4Platform::new(shared, core);
    if core.0 == 0 {
        for service in shared.services() {
            service.start(&mut platform);
        }
    }
    let mut reply: Option<Reply> = None;
    loop {
        drain(shared, &mut platform);
        let received = match reply.take() {
            Some(reply) => endpoint.reply_recv(reply.info, reply.words),
            None => endpoint.recv(),
        };
        reply = serve(shared, &mut platform, &received);
    }
}

fn serve(
    shared: &'static Shared,
    platform: &mut Sel4Platform,
    received: &Received,
) -> Option<Reply> {
    if frame::is_signal(received.info) {
        notified(shared, platform, received.badge);
        return None;
    }
    if received.badge & THREAD_BADGE != 0 {
        return fault(shared, platform, received);
    }
    let Some((client, server)) = badge_parties(received.badge) else {
        return Some(fail(Errno::EPERM));
    };
    let Some(service) = shared.hosted[server as usize] else { return Some(fail(Errno::ENOSYS)) };
    Some(request(platform, service, client, received))
}

fn request(
    platform: &mut Sel4Platform,
    service: &dyn Service,
    client: ServerId,
    received: &Received,
) -> Reply {
    let Ok(op) = u16::try_from(received.info.label()) else { return fail(Errno::ENOSYS) };
    platform.performing(client, service.id(), op);
    let mut msg = Msg::default();
    let lengths = frame::get(received.info, received.words, &mut msg);
    let buf = match lengths.capacity.max(lengths.bulk) {
        0 => &mut [],
        len => platform.client_window(client, len),
    };
    let len = lengths.bulk.min(buf.len());
    let mut bulk = Bulk { buf, len, answered: false };
    let status = match crash::asked(client, op) {
        Some(status) => status,
        None => service.request(platform, client, op, &mut msg, &mut bulk),
    };
    let answered = bulk.answered.then_some(bulk.len);
    let info = frame::put_answer(status, &mut msg, answered);
    Reply { info, words: msg.words }
}

fn fail(errno: Errno) -> Reply {
    let info = frame::put_answer(Status::Failed(errno), &mut Msg::default(), None);
    Reply { info, words: [0; 4] }
}

/// A Linux thread faulted.
fn fault(
    shared: &'static Shared,
    platform: &mut Sel4Platform,
    received: &Received,
) -> Option<Reply> {
    let proc = shared.proc?;
    platform.performing(ServerId::Proc, ServerId::Proc, system::THREAD);
    let mut registers = Registers::default();
    let fault = proc_task::decode(received, &mut registers)?;
    let thread = ThreadId::from_badge(received.badge);
    let answer = proc.step(platform, |core, cx| core.fault(cx, thread, fault));
    let reply = proc_task::Reply::of(answer)?;
    Some(Reply { info: reply.info, words: reply.words })
}

fn notified(shared: &'static Shared, platform: &mut Sel4Platform, word: u64) {
    // Here and not at each request: every server is told of something now and then.
    heap::watch(shared.startup);
    platform.pending |= word & ((1 << ServerId::ALL.len()) - 1);
    if word & (1 << DEAD_BIT) != 0 {
        servers_down(shared, platform);
    }
    if let (Some(proc), true) = (shared.proc, word & (1 << KICK_BIT) != 0) {
        platform.performing(ServerId::Proc, ServerId::Proc, system::THREAD);
        proc.step(platform, |core, cx| core.kicked(cx));
    }
    for interrupt in &shared.startup.interrupts {
        if word >> IRQ_BIT & (1 << interrupt.bit) == 0 {
            continue;
        }
        let Some(service) = shared.hosted[interrupt.server as usize] else { continue };
        platform.performing(service.id(), service.id(), system::INTERRUPT);
        runtime::handle_interrupt(service, platform, interrupt.bit, || {
            // It fails only if the capability is gone, and then there is no interrupt.
            let _ = Cap::<IrqHandler>::new(interrupt.handler_slot).ack();
        });
    }
}

/// Root says that servers of other domains died.
fn servers_down(shared: &'static Shared, platform: &mut Sel4Platform) {
    let new = platform.newly_dead();
    for dead in ServerId::ALL.into_iter().filter(|server| new & 1 << *server as u64 != 0) {
        for service in shared.services() {
            platform.performing(dead, service.id(), system::SERVER_DOWN);
            service.server_down(platform, dead);
        }
    }
}

/// Collects what other servers hold for those of this domain, until nothing is left.
fn drain(shared: &'static Shared, platform: &mut Sel4Platform) {
    while platform.pending != 0 {
        let bit = platform.pending.trailing_zeros();
        platform.pending &= platform.pending - 1;
        let Some(from) = u8::try_from(bit).ok().and_then(ServerId::from_number) else { continue };
        for service in shared.services().filter(|service| service.id() != from) {
            platform.performing(from, service.id(), system::TAKE);
            service.collect(platform, from);
        }
    }
}
