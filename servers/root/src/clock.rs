// SPDX-License-Identifier: MIT OR Apache-2.0
//! What time it is, how fast the time-stamp counter runs, and random bytes.
//!
//! # Source
//! Intel 8254 (PIT) and MC146818 (CMOS clock) data sheets.

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};
use microkernel_sys::Error;
use microkernel_sys::init::IO_PORT;

const PIT_HZ: u64 = 1_193_182;
const PIT_CHANNEL_2: u64 = 0x42;
const PIT_MODE: u64 = 0x43;
/// Channel 2, low byte then high byte, mode 0: output rises at the end of the count.
const CHANNEL_2_ONE_SHOT: u64 = 0xb0;
const GATE_IN: u16 = 0x61;
const GATE_OUT: u64 = 0x61;
const GATE_ON: u8 = 1;
const SPEAKER_ON: u8 = 2;
const OUTPUT_HIGH: u8 = 1 << 5;
/// About 20 ms.
const COUNT: u64 = 23_864;
/// A measurement that another load on the host disturbed is too long, so the shortest one is right.
const MEASUREMENTS: u32 = 5;

const CMOS_INDEX: u64 = 0x70;
const CMOS_DATA: u16 = 0x71;

/// The time-stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: reads a counter.
    unsafe { _rdtsc() }
}

/// Ticks of the time-stamp counter per second.
pub fn measure_hz() -> u64 {
    let measured = (0..MEASUREMENTS).filter_map(|_| measure_once().ok()).min();
    measured.unwrap_or(1) * PIT_HZ / COUNT
}

fn measure_once() -> Result<u64, Error> {
    let gate = IO_PORT.in8(GATE_IN)? & !SPEAKER_ON;
    IO_PORT.out8(GATE_OUT, u64::from(gate | GATE_ON))?;
    IO_PORT.out8(PIT_MODE, CHANNEL_2_ONE_SHOT)?;
    IO_PORT.out8(PIT_CHANNEL_2, COUNT & 0xff)?;
    IO_PORT.out8(PIT_CHANNEL_2, COUNT >> 8)?;
    let start = ticks();
    while IO_PORT.in8(GATE_IN)? & OUTPUT_HIGH == 0 {}
    Ok(ticks() - start)
}

/// Nanoseconds since 1970 by the CMOS clock; 0 if it tells no sane time.
pub fn wall_ns() -> i64 {
    read_cmos().map_or(0, |seconds| seconds * 1_000_000_000)
}

fn read_cmos() -> Option<i64> {
    // The clock may tick while it is read: two equal readings in a row are right.
    let mut last = cmos_fields().ok()?;
    for _ in 0..10 {
        let fields = cmos_fields().ok()?;
        if fields == last {
            break;
        }
        last = fields;
    }
    let [second, minute, hour, day, month, year, status_b] = last;
    let binary = |value: u8| {
        if status_b & 4 != 0 {
            i64::from(value)
        } else {
            i64::from(value >> 4) * 10 + i64::from(value & 15)
        }
    };
    let hour_24 = match (status_b & 2 != 0, hour & 0x80 != 0) {
        (true, _) => binary(hour),
        (false, pm) => binary(hour & 0x7f) % 12 + if pm { 12 } else { 0 },
    };
    let days = days_since_1970(2000 + binary(year), binary(month), binary(day));
    Some(((days * 24 + hour_24) * 60 + binary(minute)) * 60 + binary(second))
}

fn cmos_fields() -> Result<[u8; 7], Error> {
    let mut fields = [0; 7];
    for (field, register) in fields.iter_mut().zip([0u64, 2, 4, 7, 8, 9, 11]) {
        IO_PORT.out8(CMOS_INDEX, register)?;
        *field = IO_PORT.in8(CMOS_DATA)?;
    }
    Ok(fields)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years start in March, so that the leap
/// day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// 32 random bytes of this boot: from the CPU if it has such an instruction, else only from the time.
pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        let word = random_word().unwrap_or_else(|| mix(ticks()));
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    seed
}

/// Whether [`seed`] comes from the CPU's random generator.
pub fn has_random() -> bool {
    __cpuid(0).eax >= 1 && __cpuid_count(1, 0).ecx & (1 << 30) != 0
}

fn random_word() -> Option<u64> {
    if !has_random() {
        return None;
    }
    for _ in 0..16 {
        let (word, valid): (u64, u8);
        // SAFETY: the CPU has the instruction, as cpuid says; it changes two registers and flags.
        unsafe {
            core::arch::asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) valid, options(nomem, nostack));
        }
        if valid != 0 {
            return Some(word);
        }
    }
    None
}

/// splitmix64's finaliser: spreads the few changing bits of a time.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
