// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds and times of net-server. Times are nanoseconds of the node's clock.

use core::fmt;

const MS: u64 = 1_000_000;

/// The formats of frames that a node can speak. Not spoken any more are format 1, of frames that nobody
/// authenticated, format 2, whose handshakes renew no session, and format 3: its frames are as these, but what
/// servers say in them of views is not, so that such nodes are better refused here, where people see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    /// The oldest one: at most one before the newest.
    pub oldest: u8,
    /// The newest one.
    pub newest: u8,
}

/// What this build speaks.
pub const VERSIONS: Versions = Versions { oldest: 5, newest: 5 };

impl Versions {
    /// The newest format that both speak.
    pub fn common(self, other: Self) -> Option<u8> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "{}", self.newest),
            false => write!(f, "{} and {}", self.oldest, self.newest),
        }
    }
}

/// Frames that a key seals in one direction, about 140 MiB of pages; then it is replaced.
pub const REKEY_FRAMES: u64 = 1 << 14;
/// Frames by which one may arrive late: far more than both lanes' windows. What comes later is lost,
/// and its content is sent again in a new frame.
pub const REPLAY_FRAMES: u64 = 1024;

/// Longest message: a window, and what a header adds fits it (runtime's `NODE_BODY_BYTES`).
pub const MESSAGE_BYTES: usize = abi::limits::WINDOW_BYTES;
/// Messages that wait in one lane of a link, those under way not counted; the next gets EAGAIN.
pub const SEND_MESSAGES_MAX: usize = 256;
/// Bytes that wait in one lane of a link; the next message gets EAGAIN.
pub const SEND_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Messages that wait in one lane where the next one is owed to the peer: an answer or cancel for each
/// call that a server may have open, and facts. Beyond it the link goes down.
pub const OWED_MESSAGES_MAX: usize = SEND_MESSAGES_MAX + runtime::limits::NODE_CALLS_MAX;
/// Bytes of these above [`SEND_BYTES_MAX`]: they are short.
pub const OWED_BYTES_MAX: usize = 512 * 1024;
/// Frames of one lane under way: as many as a selective acknowledgement names.
pub const WINDOW_FRAMES: u64 = 64;
/// Bytes of one lane under way: what fits the socket buffer of a virtual network with room to spare.
pub const WINDOW_BYTES: usize = 128 * 1024;
/// Messages of one lane that wait for one server to take them; then its links stop acknowledging.
pub const INBOX_MESSAGES_MAX: usize = 256;
/// Bytes of control that wait for one server to take them: its messages are short.
pub const INBOX_CONTROL_BYTES_MAX: usize = 256 * 1024;
/// Bytes of pages that wait for one server to take them.
pub const INBOX_PAGES_BYTES_MAX: usize = 1024 * 1024;
/// Smallest and largest payload of an Ethernet frame that a configuration may name.
pub const MTU_MIN: u16 = 1500;
/// See [`MTU_MIN`].
pub const MTU_MAX: u16 = 9000;

/// An acknowledgement waits so long for a frame to travel with.
pub const ACK_DELAY_NS: u64 = 10 * MS;
/// Frames that may be left without acknowledgement.
pub const ACK_FRAMES: u32 = 2;
/// First retransmission time-out, before any round trip was measured: a loaded virtual machine
/// answers late.
pub const RTO_FIRST_NS: u64 = 100 * MS;
/// Shortest retransmission time-out: longer than [`ACK_DELAY_NS`].
pub const RTO_MIN_NS: u64 = 20 * MS;
/// Longest retransmission time-out, so that several attempts fit [`SILENCE_NS`].
pub const RTO_MAX_NS: u64 = 400 * MS;
/// An idle link says that it lives so often.
pub const KEEPALIVE_NS: u64 = 200 * MS;
/// A node that was silent for so long is down: what needs it ends within two seconds.
pub const SILENCE_NS: u64 = 1500 * MS;
/// A node that did not look at the clock for so long stood still: it looks at least every
/// [`KEEPALIVE_NS`]. What the others said meanwhile may be lost.
pub const STANDSTILL_NS: u64 = 2 * KEEPALIVE_NS;
/// While a node is down it is greeted so often.
pub const HELLO_NS: u64 = 200 * MS;
/// A handshake that got no further for so long is begun anew.
pub const ATTEMPT_NS: u64 = SILENCE_NS;
/// A session that was made with a key that does not count any more ends after so long, if it was not renewed
/// with the new one: time for several attempts, none to settle down.
pub const RENEWAL_NS: u64 = 2 * SILENCE_NS;
/// Private keys that a node holds: that of its image, and two that its disk kept; the oldest that does not
/// count makes room for one more.
pub const SECRETS_MAX: usize = 3;
/// A frame counts as lost when so many later ones have arrived.
pub const REORDER_FRAMES: usize = 3;
/// Requests of one series of null requests; more get EINVAL.
pub const PINGS_MAX: u64 = 1_000_000;
/// Bytes of one load; more get EINVAL.
pub const LOAD_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a message of a load.
pub const LOAD_MESSAGE_BYTES: usize = 32 * 1024;
/// Bytes of a load that wait in a lane: enough that its window is always full, little of the heap.
pub const LOAD_QUEUED_BYTES: usize = 128 * 1024;
