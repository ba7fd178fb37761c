// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls to a second thread, on the same core and on another; long messages; signals.

use microkernel_rt::{println, thread};
use microkernel_sys::{Cap, Endpoint, MessageInfo, Notification, Received, ipc, yield_now};

use crate::machine::{Region, ticks};
use crate::resources::Resources;

const BADGE: u64 = 0x77;
const LABEL_ADD_BADGE: u64 = 1;
const LABEL_ECHO_BYTES: u64 = 2;
const CALLS: u64 = 1000;
/// The bytes that fit behind the four words in registers.
const LONG_BYTES: usize = (120 - 4) * 8;

static STACK: Region<16384> = Region::new();

pub fn check(resources: &mut Resources, cores: u64) {
    let endpoint: Cap<Endpoint> = resources.create(0);
    let client = resources.badged(endpoint, BADGE);
    let server = resources.thread(Cap::NULL);
    let registers = thread::start_registers(serve, STACK.top(), endpoint.bits(), 0);
    server.write_registers(true, &registers).expect("the thread is stopped");
    check_words(client);
    check_long(client);
    println!("call + reply_recv, same core: {} ticks", time_calls(client));
    if cores > 1 {
        server.set_affinity(1).expect("core 1 is there");
        check_words(client);
        check_long(client);
        println!("call + reply_recv, other core: {} ticks", time_calls(client));
    }
    server.suspend().expect("the thread is there");
    check_signals(resources);
}

/// Answers four words with the badge added, and long messages with their bytes inverted.
extern "C" fn serve(endpoint: u64, _: u64) -> ! {
    let endpoint: Cap<Endpoint> = Cap::new(endpoint);
    let mut request = endpoint.recv();
    loop {
        let words = request.words.map(|w| w + request.badge);
        if request.info.label() == LABEL_ECHO_BYTES {
            invert_bytes(&request);
        }
        request = endpoint.reply_recv(MessageInfo::new(0, request.info.length()), words);
    }
}

fn invert_bytes(request: &Received) {
    let mut bytes = [0; LONG_BYTES];
    let bytes = &mut bytes[..request.words[0] as usize];
    ipc::read_bytes(4, bytes);
    bytes.iter_mut().for_each(|b| *b = !*b);
    ipc::write_bytes(4, bytes);
}

fn check_words(client: Cap<Endpoint>) {
    let answer = client.call4(LABEL_ADD_BADGE, [1, 2, 3, u64::MAX - BADGE]);
    assert_eq!(answer.words, [1 + BADGE, 2 + BADGE, 3 + BADGE, u64::MAX]);
    assert_eq!((answer.info.label(), answer.info.length()), (0, 4));
    println!("words and badge: ok");
}

fn check_long(client: Cap<Endpoint>) {
    for length in [1, 8, 13, LONG_BYTES] {
        let sent: [u8; LONG_BYTES] = core::array::from_fn(|i| (i * 3) as u8);
        let used = ipc::write_bytes(4, &sent[..length]);
        let info = MessageInfo::new(LABEL_ECHO_BYTES, 4 + used);
        let answer = client.call(info, [length as u64, 0, 0, 0]);
        assert_eq!(answer.info.length(), 4 + used);
        let mut got = [0; LONG_BYTES];
        ipc::read_bytes(4, &mut got[..length]);
        assert!(got[..length].iter().zip(&sent).all(|(g, s)| *g == !*s), "{length} bytes");
    }
    println!("long messages: ok");
}

fn time_calls(client: Cap<Endpoint>) -> u64 {
    let start = ticks();
    for i in 0..CALLS {
        client.call4(LABEL_ADD_BADGE, [i, 0, 0, 0]);
    }
    (ticks() - start) / CALLS
}

fn check_signals(resources: &mut Resources) {
    let notification: Cap<Notification> = resources.create(0);
    assert_eq!(notification.poll(), 0);
    notification.signal();
    yield_now();
    // The kernel's own capability has no badge, so the signal is the empty set of bits.
    assert_eq!(notification.wait(), 0);
    println!("signals: ok");
}
