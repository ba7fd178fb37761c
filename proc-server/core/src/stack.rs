// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first content of a new program's stack.
//!
//! # Model
//! From low to high addresses, beginning at the first stack pointer (a multiple of 16):
//!
//! ```text
//! argc | argv[0..argc] | 0 | envp[..] | 0 | auxiliary vector, AT_NULL | padding
//! 16 random bytes | platform | strings of argv | strings of envp | path of the program | 8 zeroes
//! ```
//!
//! # Limits
//! [`ARGUMENT_BYTES_MAX`] for all strings and their pointers (Linux: a quarter of the stack's limit).
//!
//! # Source
//! System V ABI, AMD64 supplement, 3.4.1; getauxval(3).

use crate::elf::LoadPlan;
use crate::strings::Strings;
use abi::Errno;
use abi::limits::PAGE_BYTES;
use abi::linux::auxvec::{
    AT_BASE, AT_CLKTCK, AT_EGID, AT_ENTRY, AT_EUID, AT_EXECFN, AT_FLAGS, AT_GID, AT_HWCAP,
    AT_HWCAP2, AT_NULL, AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PLATFORM, AT_RANDOM, AT_SECURE,
    AT_UID,
};
use alloc::vec::Vec;

/// Bytes that arguments and environment may take, strings and pointers: bounds what execve(2)
/// copies twice. Linux's least is 128 KiB too.
pub const ARGUMENT_BYTES_MAX: usize = 128 * 1024;

/// Bytes of a program header.
const PROGRAM_HEADER_BYTES: u64 = 56;
const PLATFORM: &[u8] = b"x86_64\0";
/// Zeroes at the top, as Linux leaves them.
const TOP_BYTES: usize = 8;

/// What a program finds on its stack.
pub struct Start<'a> {
    /// End of the stack, a multiple of 16.
    pub top: u64,
    /// argv, without final zeroes.
    pub arguments: &'a Strings,
    /// envp, without final zeroes.
    pub environment: &'a Strings,
    /// The path that was executed.
    pub path: &'a [u8],
    /// The program.
    pub program: &'a LoadPlan,
    /// Where its interpreter was loaded, 0 without one.
    pub interpreter_base: u64,
    /// User and group.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// CPUID leaf 1, edx.
    pub hardware: u32,
    /// For the C library's stack guard.
    pub random: [u8; 16],
}

/// The bytes from `rsp` up to the stack's end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialStack {
    /// The first stack pointer.
    pub rsp: u64,
    /// What stands there.
    pub bytes: Vec<u8>,
}

impl Start<'_> {
    /// Lays the stack out.
    ///
    /// # Errors
    /// E2BIG: more than [`ARGUMENT_BYTES_MAX`].
    pub fn build(&self) -> Result<InitialStack, Errno> {
        let strings_bytes = self.strings().map(|string| string.len() + 1).sum::<usize>();
        let pointers = self.arguments.len() + self.environment.len();
        if strings_bytes + pointers * 8 > ARGUMENT_BYTES_MAX {
            return Err(Errno::E2BIG);
        }
        let data_bytes = 16 + PLATFORM.len() + strings_bytes + TOP_BYTES;
        let vector = self.auxiliary(0, 0, 0).len() * 16;
        let table_bytes = (1 + pointers + 2) * 8 + vector;
        let bytes_total = (table_bytes + data_bytes).next_multiple_of(16);
        let rsp = self.top - bytes_total as u64;
        let data = self.top - data_bytes as u64;
        let mut bytes = Vec::with_capacity(bytes_total);
        self.put_table(&mut bytes, data);
        bytes.resize(bytes_total - data_bytes, 0);
        bytes.extend_from_slice(&self.random);
        bytes.extend_from_slice(PLATFORM);
        for string in self.strings() {
            bytes.extend_from_slice(string);
            bytes.push(0);
        }
        bytes.resize(bytes_total, 0);
        Ok(InitialStack { rsp, bytes })
    }

    fn strings(&self) -> impl Iterator<Item = &[u8]> {
        self.arguments.iter().chain(self.environment.iter()).chain([self.path])
    }

    fn put_table(&self, bytes: &mut Vec<u8>, data: u64) {
        let platform = data + 16;
        let mut addr = platform + PLATFORM.len() as u64;
        put(bytes, self.arguments.len() as u64);
        for list in [self.arguments, self.environment] {
            for string in list.iter() {
                put(bytes, addr);
                addr += string.len() as u64 + 1;
            }
            put(bytes, 0);
        }
        for (key, value) in self.auxiliary(data, platform, addr) {
            put(bytes, u64::from(key));
            put(bytes, value);
        }
    }

    fn auxiliary(&self, random: u64, platform: u64, path: u64) -> [(u32, u64); 20] {
        let (uid, gid) = (u64::from(self.uid), u64::from(self.gid));
        [
            (AT_HWCAP, u64::from(self.hardware)),
            (AT_PAGESZ, PAGE_BYTES as u64),
            (AT_CLKTCK, crate::layout::time::TICKS_PER_S),
            (AT_PHDR, self.program.headers_addr),
            (AT_PHENT, PROGRAM_HEADER_BYTES),
            (AT_PHNUM, u64::from(self.program.headers_count)),
            (AT_BASE, self.interpreter_base),
            (AT_FLAGS, 0),
            (AT_ENTRY, self.program.entry),
            (AT_UID, uid),
            (AT_EUID, uid),
            (AT_GID, gid),
            (AT_EGID, gid),
            (AT_SECURE, 0),
            (AT_RANDOM, random),
            // Bit 1 would say that wrfsbase may be used: the kernel does not expect that.
            (AT_HWCAP2, 0),
            (AT_EXECFN, path),
            (AT_PLATFORM, platform),
            (AT_NULL, 0),
            (AT_NULL, 0),
        ]
    }
}

fn put(bytes: &mut Vec<u8>, word: u64) {
    bytes.extend_from_slice(&word.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn program() -> LoadPlan {
        LoadPlan {
            bias: 0,
            entry: 0x40_1000,
            headers_addr: 0x40_0040,
            headers_count: 5,
            segments: vec![],
            end: 0x50_0000,
        }
    }

    fn build(arguments: &[Vec<u8>], environment: &[Vec<u8>]) -> Result<InitialStack, Errno> {
        let program = program();
        let (arguments, environment) = (&arguments.iter().collect(), &environment.iter().collect());
        let start = Start {
            top: 0x7fff_ffff_f000,
            arguments,
            environment,
            path: b"/bin/busybox",
            program: &program,
            interpreter_base: 0,
            uid: 0,
            gid: 7,
            hardware: 0x1234,
            random: [9; 16],
        };
        start.build()
    }

    fn word(stack: &InitialStack, index: usize) -> u64 {
        let bytes = stack.bytes[index * 8..].first_chunk().expect("a word");
        u64::from_le_bytes(*bytes)
    }

    fn text(stack: &InitialStack, addr: u64) -> &[u8] {
        let bytes = &stack.bytes[(addr - stack.rsp) as usize..];
        bytes.split(|byte| *byte == 0).next().expect("a string")
    }

    #[test]
    fn stack_shows_arguments_environment_and_vector() {
        let stack = build(&[b"sh".to_vec(), b"-c".to_vec()], &[b"A=b".to_vec()]).expect("fits");
        assert_eq!(stack.rsp % 16, 0);
        assert_eq!(stack.rsp + stack.bytes.len() as u64, 0x7fff_ffff_f000);
        assert_eq!(word(&stack, 0), 2);
        assert_eq!(text(&stack, word(&stack, 1)), b"sh");
        assert_eq!(text(&stack, word(&stack, 2)), b"-c");
        assert_eq!((word(&stack, 3), word(&stack, 5)), (0, 0));
        assert_eq!(text(&stack, word(&stack, 4)), b"A=b");
        let mut found = 0;
        let mut at = 6;
        while word(&stack, at) != 0 {
            let (key, value) = (word(&stack, at) as u32, word(&stack, at + 1));
            match key {
                AT_ENTRY => assert_eq!(value, 0x40_1000),
                AT_EXECFN => assert_eq!(text(&stack, value), b"/bin/busybox"),
                AT_PLATFORM => assert_eq!(text(&stack, value), b"x86_64"),
                AT_RANDOM => {
                    assert_eq!(stack.bytes[(value - stack.rsp) as usize..][..16], [9; 16]);
                }
                AT_GID => assert_eq!(value, 7),
                _ => continue_with(&mut found),
            }
            at += 2;
        }
        assert_eq!(found, 13);
    }

    fn continue_with(found: &mut u32) {
        *found += 1;
    }

    #[test]
    fn stack_with_too_many_arguments_is_refused() {
        let long = vec![vec![b'x'; 4096]; 40];
        assert_eq!(build(&long, &[]), Err(Errno::E2BIG));
        assert!(build(&long[..30], &[]).is_ok());
        assert!(build(&[], &[]).is_ok());
    }

    #[test]
    fn stack_pointer_is_aligned_for_any_lengths() {
        for len in 0..40 {
            let stack = build(&[vec![b'a'; len]], &[]).expect("fits");
            assert_eq!(stack.rsp % 16, 0);
            assert_eq!(text(&stack, word(&stack, 1)).len(), len);
        }
    }
}
