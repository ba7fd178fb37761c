// SPDX-License-Identifier: MIT OR Apache-2.0
//! Times, timers, resource use and limits.

use super::layouts;
use abi::Errno;

/// Nanoseconds of a second.
pub const NS_PER_S: u64 = 1_000_000_000;
/// Ticks of times(2), /proc and AT_CLKTCK in a second.
pub const TICKS_PER_S: u64 = 100;

layouts! {
    /// `struct timespec`.
    Timespec = 16 { seconds: i64, nanoseconds: i64 }
    /// `struct timeval`.
    Timeval = 16 { seconds: i64, microseconds: i64 }
    /// `struct timezone`.
    Timezone = 8 { minutes_west: i32, dst_time: i32 }
    /// `struct itimerval`.
    Itimerval = 32 { interval: Timeval, value: Timeval }
    /// `struct itimerspec`.
    Itimerspec = 32 { interval: Timespec, value: Timespec }
    /// `struct tms`, in ticks.
    Tms = 32 { user: i64, system: i64, children_user: i64, children_system: i64 }
    /// `struct rlimit` and `struct rlimit64`.
    Rlimit = 16 { current: u64, maximum: u64 }
    /// `struct rusage`.
    Rusage = 144 {
        user: Timeval,
        system: Timeval,
        max_rss_kib: i64,
        ix_rss: i64,
        id_rss: i64,
        is_rss: i64,
        minor_faults: i64,
        major_faults: i64,
        swaps: i64,
        blocks_in: i64,
        blocks_out: i64,
        messages_sent: i64,
        messages_received: i64,
        signals: i64,
        voluntary_switches: i64,
        involuntary_switches: i64,
    }
    /// `struct utimbuf`.
    Utimbuf = 16 { access_s: i64, modification_s: i64 }
}

/// No limit: `RLIM_INFINITY`.
pub const RLIM_INFINITY: u64 = u64::MAX;

impl Timespec {
    /// The time of `ns` nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / NS_PER_S) as i64, nanoseconds: (ns % NS_PER_S) as i64 }
    }

    /// The time of `ns` nanoseconds, which may be before 1970.
    pub const fn from_signed_ns(ns: i64) -> Self {
        let per_s = NS_PER_S as i64;
        Self { seconds: ns.div_euclid(per_s), nanoseconds: ns.rem_euclid(per_s) }
    }

    /// In nanoseconds; one longer than 292 years counts as that.
    ///
    /// # Errors
    /// EINVAL: negative, or not below a second in its second field.
    pub fn to_ns(self) -> Result<u64, Errno> {
        let seconds = u64::try_from(self.seconds).map_err(|_| Errno::EINVAL)?;
        let part = u64::try_from(self.nanoseconds).map_err(|_| Errno::EINVAL)?;
        if part >= NS_PER_S {
            return Err(Errno::EINVAL);
        }
        Ok(seconds.saturating_mul(NS_PER_S).saturating_add(part).min(i64::MAX.unsigned_abs()))
    }
}

impl Timeval {
    /// The time of `ns` nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self { seconds: (ns / NS_PER_S) as i64, microseconds: (ns % NS_PER_S / 1000) as i64 }
    }

    /// In nanoseconds; one longer than 292 years counts as that.
    ///
    /// # Errors
    /// EINVAL: negative, or not below a second in its second field.
    pub fn to_ns(self) -> Result<u64, Errno> {
        let nanoseconds = self.microseconds.checked_mul(1000).ok_or(Errno::EINVAL)?;
        Timespec { seconds: self.seconds, nanoseconds }.to_ns()
    }
}
