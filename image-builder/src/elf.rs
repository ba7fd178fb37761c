// SPDX-License-Identifier: MIT OR Apache-2.0
//! Appends the archive to the root program as one more segment.
//!
//! # Model
//! The result is a new ELF file of header, program headers and segments: what the kernel's loader
//! reads, and nothing else. Every segment keeps its address; the archive's begins at the first page
//! boundary at or above the linker's symbol `_end`, where root looks for it.
//!
//! # Invariants
//! The kernel maps the image as one range of pages from the lowest to the highest address, so the
//! segments may share no byte and the lowest address is page aligned.
//!
//! # Failure
//! An input that is no such program is refused with a sentence.

use abi::limits::PAGE_BYTES;
use anyhow::{Context, Result, bail, ensure};
use object::elf::{EM_X86_64, ET_EXEC, FileHeader64, PF_R, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol};

const PAGE: u64 = PAGE_BYTES as u64;
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
/// More than aligns one section after another.
const PADDING_MAX: u64 = 16;

/// A segment that is loaded.
#[derive(Clone, Debug, PartialEq)]
struct Segment<'d> {
    address: u64,
    memory_bytes: u64,
    flags: u32,
    data: &'d [u8],
}

/// The program `root` with `archive` appended.
///
/// # Errors
/// `root` is no static x86-64 program with a symbol `_end`, or there is no room for the archive.
pub fn append_archive(root: &[u8], archive: &[u8]) -> Result<Vec<u8>> {
    let file = parse(root).context("the root program")?;
    let end = end_symbol(&file)?;
    let mut segments = segments(&file, root)?;
    let address = end.checked_next_multiple_of(PAGE).context("`_end` is above all pages")?;
    segments.push(Segment {
        address,
        memory_bytes: archive.len() as u64,
        flags: PF_R.0,
        data: archive,
    });
    check(&segments)?;
    Ok(write(file.entry(), &segments))
}

/// The program `domain` without what only debuggers and unwinders read: every node carries it in memory, and
/// nothing is ever unwound there.
///
/// # Errors
/// It is no static x86-64 program.
pub fn slim(domain: &[u8]) -> Result<Vec<u8>> {
    let file = parse(domain).context("the domain program")?;
    let mut segments = segments(&file, domain)?;
    let unwinding = file.sections().filter(|section| {
        section.name().is_ok_and(|name| [".eh_frame_hdr", ".eh_frame"].contains(&name))
    });
    cut(&mut segments, unwinding.map(|section| (section.address(), section.size())).collect());
    check(&segments)?;
    Ok(write(file.entry(), &segments))
}

/// Takes parts of segments away, each a first address and a length, where nothing follows in the segment.
fn cut(segments: &mut [Segment<'_>], mut parts: Vec<(u64, u64)>) {
    // The linker puts them one after the other: the last goes first. Between them may be padding.
    parts.sort_unstable();
    for (address, bytes) in parts.into_iter().rev() {
        let holds =
            |it: &&mut Segment<'_>| (it.address..it.address + it.memory_bytes).contains(&address);
        let Some(segment) = segments.iter_mut().find(holds) else { continue };
        let rest = segment.address + segment.memory_bytes;
        if rest.saturating_sub(address + bytes) < PADDING_MAX {
            segment.memory_bytes = address - segment.address;
            let kept = segment.data.len().min(segment.memory_bytes as usize);
            segment.data = &segment.data[..kept];
        }
    }
}

fn parse(program: &[u8]) -> Result<ElfFile64<'_, LittleEndian>> {
    let file = ElfFile64::<LittleEndian>::parse(program).context("this is no ELF file")?;
    let header: &FileHeader64<LittleEndian> = file.elf_header();
    ensure!(
        header.e_type(LittleEndian) == ET_EXEC && header.e_machine(LittleEndian) == EM_X86_64,
        "this is no static x86-64 program: link it with -no-pie"
    );
    Ok(file)
}

fn end_symbol(file: &ElfFile64<'_, LittleEndian>) -> Result<u64> {
    file.symbols()
        .find(|symbol| symbol.name() == Ok("_end") && symbol.is_definition())
        .map(|symbol| symbol.address())
        .context("the root program has no symbol `_end`: it must refer to it, and not be stripped")
}

fn segments<'d>(file: &ElfFile64<'d, LittleEndian>, bytes: &'d [u8]) -> Result<Vec<Segment<'d>>> {
    let endian = LittleEndian;
    let mut segments = Vec::new();
    for header in file.elf_program_headers() {
        if header.p_type(endian) != PT_LOAD || header.p_memsz(endian) == 0 {
            continue;
        }
        let Ok(data) = header.data(endian, bytes) else {
            bail!("a segment lies outside of the program's file");
        };
        segments.push(Segment {
            address: header.p_vaddr(endian),
            memory_bytes: header.p_memsz(endian),
            flags: header.p_flags(endian).0,
            data,
        });
    }
    segments.sort_by_key(|segment| segment.address);
    ensure!(!segments.is_empty(), "the program has nothing to load");
    Ok(segments)
}

/// Checks that no segment reaches into the next one.
fn check(segments: &[Segment<'_>]) -> Result<()> {
    for pair in segments.windows(2) {
        let (low, high) = (&pair[0], &pair[1]);
        let end = low.address.checked_add(low.memory_bytes);
        ensure!(
            end.is_some_and(|end| end <= high.address),
            "the program's segment at {:#x} reaches into the one at {:#x}",
            low.address,
            high.address
        );
    }
    Ok(())
}

/// Writes header, program headers and data; data keeps its place within the page.
fn write(entry: u64, segments: &[Segment<'_>]) -> Vec<u8> {
    let mut out = header(entry, segments.len());
    let mut offset = (HEADER_BYTES + segments.len() * PROGRAM_HEADER_BYTES) as u64;
    let mut places = Vec::new();
    for segment in segments {
        offset = offset.next_multiple_of(PAGE) + segment.address % PAGE;
        places.push(offset);
        out.extend(program_header(segment, offset));
        offset += segment.data.len() as u64;
    }
    for (segment, place) in segments.iter().zip(places) {
        out.resize(place as usize, 0);
        out.extend_from_slice(segment.data);
    }
    out
}

fn header(entry: u64, segments: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    // Class 64 bit, little-endian, version 1, System V.
    out.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for half in [ET_EXEC.0, EM_X86_64.0] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    out.extend(entry.to_le_bytes());
    out.extend((HEADER_BYTES as u64).to_le_bytes());
    // No sections, no flags.
    out.extend(0u64.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    let sizes = [HEADER_BYTES, PROGRAM_HEADER_BYTES, segments, 0, 0, 0];
    for half in sizes {
        out.extend((half as u16).to_le_bytes());
    }
    out
}

fn program_header(segment: &Segment<'_>, offset: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(PROGRAM_HEADER_BYTES);
    out.extend(PT_LOAD.0.to_le_bytes());
    out.extend(segment.flags.to_le_bytes());
    let file_bytes = segment.data.len() as u64;
    // The physical address means nothing for a module; the virtual one stands in.
    let words = [offset, segment.address, segment.address, file_bytes, segment.memory_bytes, PAGE];
    for word in words {
        out.extend(word.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(address: u64, memory_bytes: u64, data: &[u8]) -> Segment<'_> {
        Segment { address, memory_bytes, flags: PF_R.0, data }
    }

    #[test]
    fn written_file_reads_back_with_addresses_kept() {
        let first = segment(0x40_0000, 5, b"code!");
        let second = segment(0x40_1010, 0x2000, b"data");
        let bytes = write(0x40_0000, &[first.clone(), second.clone()]);
        let file = ElfFile64::<LittleEndian>::parse(&*bytes).expect("it is an ELF file");
        assert_eq!(file.entry(), 0x40_0000);
        assert_eq!(segments(&file, &bytes).expect("segments are in the file"), [first, second]);
    }

    #[test]
    fn what_unwinders_read_is_cut_where_nothing_follows_it() {
        let mut segments = [segment(0x1000, 100, &[7; 100]), segment(0x2000, 9, b"text")];
        cut(&mut segments, vec![(0x1020, 36), (0x1048, 28)]);
        assert_eq!(segments, [segment(0x1000, 32, &[7; 32]), segment(0x2000, 9, b"text")]);
        let mut followed = [segment(0x1000, 100, &[7; 100])];
        cut(&mut followed, vec![(0x1020, 36), (0x9000, 4)]);
        assert_eq!(followed, [segment(0x1000, 100, &[7; 100])]);
    }

    #[test]
    fn overlapping_segments_are_refused() {
        assert!(check(&[segment(0x1000, 0x1001, b""), segment(0x2000, 1, b"")]).is_err());
        assert!(check(&[segment(0x1000, 0x1000, b""), segment(0x2000, 1, b"")]).is_ok());
        assert!(check(&[segment(u64::MAX, 2, b""), segment(0, 1, b"")]).is_err());
    }

    #[test]
    fn program_without_end_symbol_is_refused() {
        let bytes = write(0x40_0000, &[segment(0x40_0000, 5, b"code!")]);
        let error = append_archive(&bytes, b"archive").expect_err("there is no `_end`");
        assert!(error.to_string().contains("`_end`"), "{error}");
    }

    #[test]
    fn slim_program_loads_the_same() {
        let mut bytes = write(0x40_1002, &[segment(0x40_1000, 0x100, b"code!")]);
        let small = bytes.clone();
        bytes.extend([0xdd; 5000]);
        assert_eq!(slim(&bytes).expect("it is a program"), small);
    }

    #[test]
    fn text_is_no_program() {
        assert!(append_archive(b"#!/bin/sh", b"archive").is_err());
    }
}
