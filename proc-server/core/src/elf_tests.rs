// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of [`super`].

use super::*;
use alloc::vec;
use proptest::prelude::*;

struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    addr: u64,
    file_bytes: u64,
    memory_bytes: u64,
}

fn file(kind: u16, entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&EM_X86_64.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&entry.to_le_bytes());
    out.extend_from_slice(&64u64.to_le_bytes());
    out.extend_from_slice(&0u64.to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, headers.len() as u16, 64, 0, 0] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    for header in headers {
        out.extend_from_slice(&header.kind.to_le_bytes());
        out.extend_from_slice(&header.flags.to_le_bytes());
        let words = [header.offset, header.addr, header.addr, header.file_bytes];
        for word in words.into_iter().chain([header.memory_bytes, PAGE]) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
    out
}

fn load(flags: u32, offset: u64, addr: u64, file_bytes: u64, memory_bytes: u64) -> Header {
    Header { kind: PT_LOAD, flags, offset, addr, file_bytes, memory_bytes }
}

fn two_segments(kind: u16, base: u64) -> Vec<u8> {
    let text = load(PF_R | PF_X, 0, base, 0x1234, 0x1234);
    let data = load(PF_R | PF_W, 0x1234, base + 0x3234, 0x100, 0x3000);
    file(kind, base + 0x200, &[text, data])
}

#[test]
fn image_with_bss_zeroes_the_rest_of_its_last_file_page() {
    let image = Image::parse(&two_segments(ET_EXEC, 0x40_0000), 0x4000).unwrap();
    let plan = image.plan(PIE_BASE).unwrap();
    assert_eq!((plan.bias, plan.entry, plan.end), (0, 0x40_0200, 0x40_7000));
    assert_eq!(plan.headers_addr, 0x40_0040);
    let text = &plan.segments[0];
    assert_eq!(text.file, Some((0x40_0000..0x40_2000, 0)));
    assert_eq!((text.zero.clone(), text.anonymous.clone()), (None, None));
    let data = &plan.segments[1];
    assert_eq!(data.file, Some((0x40_3000..0x40_4000, 0x1000)));
    assert_eq!(data.zero, Some(0x40_3334..0x40_4000));
    assert_eq!(data.anonymous, Some(0x40_4000..0x40_7000));
}

/// ld.so takes what is left of the page behind its data for its first heap.
#[test]
fn page_is_zeroed_to_its_end_beyond_a_short_bss() {
    let data = load(PF_R | PF_W, 0x900, 0x40_0900, 0x100, 0x180);
    let image = Image::parse(&file(ET_EXEC, 0x40_0900, &[data]), 0x4000).unwrap();
    let plan = image.plan(PIE_BASE).unwrap();
    assert_eq!(plan.segments[0].zero, Some(0x40_0a00..0x40_1000));
    assert_eq!(plan.segments[0].anonymous, None);
}

#[test]
fn relocatable_image_stands_at_the_base() {
    let image = Image::parse(&two_segments(ET_DYN, 0), 0x4000).unwrap();
    let plan = image.plan(PIE_BASE).unwrap();
    assert_eq!((plan.bias, plan.entry), (PIE_BASE, PIE_BASE + 0x200));
    assert_eq!(plan.end, PIE_BASE + 0x7000);
}

#[test]
fn segment_without_file_part_is_anonymous() {
    let bytes = file(ET_EXEC, 0x40_0000, &[load(PF_R | PF_W, 0x33, 0x40_0010, 0, 0x10)]);
    let plan = Image::parse(&bytes, 0x1000).unwrap().plan(0).unwrap();
    let segment = &plan.segments[0];
    assert_eq!((segment.file.clone(), segment.zero.clone()), (None, None));
    assert_eq!(segment.anonymous, Some(0x40_0000..0x40_1000));
}

#[test]
fn image_that_contradicts_itself_is_refused() {
    let refused = |header: Header| {
        let bytes = file(ET_EXEC, 0, &[header]);
        let parsed = Image::parse(&bytes, 0x1_0000);
        parsed.and_then(|image| image.plan(0)).unwrap_err()
    };
    for header in [
        load(PF_R, 0, 0, 0x10, 0x10),
        load(PF_R, 0, 0x40_0000, 0x20, 0x10),
        load(PF_R, 1, 0x40_0000, 0x20, 0x20),
        load(PF_R, 0, 0x40_0000, 0x2_0000, 0x2_0000),
        load(PF_R, 0, USER_TOP - PAGE, 0x10, 0x2000),
        load(PF_R, u64::MAX, u64::MAX, 0x10, 0x10),
    ] {
        assert_eq!(refused(header), Errno::ENOEXEC);
    }
    let overlap = [load(PF_R, 0, 0x40_0000, 16, 0x2000), load(PF_R, 0, 0x40_1000, 16, 16)];
    assert!(Image::parse(&file(ET_EXEC, 0, &overlap), 0x1000).is_err());
    let mut other = two_segments(ET_EXEC, 0x40_0000);
    other[18] = 3;
    assert!(Image::parse(&other, 0x4000).is_err());
    assert!(Image::parse(b"#!/bin/sh\n", 10).is_err());
}

#[test]
fn this_test_program_itself_can_be_planned() {
    let path = std::env::current_exe().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let image = Image::parse(&bytes[..HEAD_BYTES], bytes.len() as u64).unwrap();
    let plan = image.plan(PIE_BASE).unwrap();
    let path = image.interpreter.unwrap();
    let path = &bytes[path.start as usize..path.end as usize];
    assert_eq!(path, b"/lib64/ld-linux-x86-64.so.2");
    assert!(plan.segments.len() > 2 && plan.headers_addr == PIE_BASE + 64);
}

proptest! {
    #[test]
    fn image_of_arbitrary_headers_never_panics(
        kind in prop_oneof![Just(ET_EXEC), Just(ET_DYN)],
        headers in proptest::collection::vec(
            (0u32..8, any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..6),
        small in any::<bool>(),
        base in any::<u64>(),
    ) {
        let cut = |word: u64| if small { word % 0x8000 } else { word };
        let headers: Vec<_> = headers
            .into_iter()
            .map(|(kind, flags, offset, addr, file_bytes, memory_bytes)| Header {
                kind, flags, offset: cut(offset), addr: cut(addr),
                file_bytes: cut(file_bytes), memory_bytes: cut(memory_bytes),
            })
            .collect();
        let parsed = Image::parse(&file(kind, 0, &headers), 0x1_0000);
        let Ok(plan) = parsed.and_then(|image| image.plan(base & !(PAGE - 1))) else {
            return Ok(());
        };
        for segment in plan.segments {
            let file = segment.file.map(|(range, _)| range);
            for range in [file, segment.anonymous].into_iter().flatten() {
                prop_assert!(range.start < range.end && range.end <= USER_TOP);
                prop_assert!(range.start % PAGE == 0 && range.end % PAGE == 0);
            }
        }
    }

    #[test]
    fn image_of_arbitrary_bytes_never_panics(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let start = two_segments(ET_EXEC, 0x40_0000);
        for (to, from) in bytes.iter_mut().zip(&start).take(20) {
            *to = *from;
        }
        let _ = Image::parse(&bytes, u64::MAX).and_then(|image| image.plan(PIE_BASE));
    }
}
