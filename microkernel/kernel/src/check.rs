// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the linked kernel: what the source asks for must also be what the compiler and the linker made of it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The kernel finds the top of its stack by rounding the stack pointer, so every stack is aligned to its size.
pub const STACK_ALIGNMENT_BYTES: u64 = 4096;

/// The processor aligns the stack to this before it pushes an interrupt frame, and the kernel looks for the frame at a
/// fixed place: in each core's part of `ksSMP`, where it is aligned as much as the whole.
const IRQ_STACK_ALIGNMENT_BYTES: u64 = 16;

/// Flags cleared at `syscall`: TF, IF, DF, IOPL, NT, AC (edit 01).
pub const SYSCALL_FLAG_MASK: u64 = 0x47700;

/// The number of the model-specific register that holds that mask.
const FMASK_MSR: &str = "$0xc0000084,%ecx";

/// How many instructions the mask may stand away from the register's number.
const FMASK_WINDOW: usize = 6;

/// Runs all checks.
///
/// # Errors
/// If one fails, or binutils cannot be run; the text says which.
pub fn image(elf: &Path) -> Result<()> {
    let symbols = tool("nm", &[], elf)?;
    aligned(&symbols, "kernel_stack_alloc", STACK_ALIGNMENT_BYTES)?;
    aligned(&symbols, "ksSMP", IRQ_STACK_ALIGNMENT_BYTES)?;
    code(&tool("objdump", &["-d", "--no-show-raw-insn"], elf)?)
}

/// Checks that a symbol's address is a multiple of `bytes`; takes the output of `nm`.
pub fn aligned(symbols: &str, name: &str, bytes: u64) -> Result<()> {
    let line = symbols.lines().find(|l| l.split_whitespace().nth(2) == Some(name));
    let line = line.with_context(|| format!("there is no symbol {name}"))?;
    let address = line.split_whitespace().next().unwrap_or_default();
    let address = u64::from_str_radix(address, 16)
        .with_context(|| format!("{name}: bad address {address}"))?;
    ensure!(address.is_multiple_of(bytes), "{name} is at {address:#x}, not a multiple of {bytes}");
    Ok(())
}

/// Checks the instructions; takes the output of `objdump -d --no-show-raw-insn`.
pub fn code(disassembly: &str) -> Result<()> {
    for line in disassembly.lines() {
        let Some((_, instruction)) = line.split_once(":\t") else { continue };
        if instruction.contains("%xmm") {
            bail!(
                "vector registers hold the user's values, and the kernel uses one: {}",
                line.trim()
            );
        }
        let mut words = instruction.split_whitespace();
        let branch = matches!(words.next(), Some("jmp" | "call" | "jmpq" | "callq" | "notrack"));
        if branch && words.any(|w| w.starts_with('*')) {
            bail!("an indirect branch, which a user can mistrain: {}", line.trim());
        }
    }
    flag_mask(disassembly)
}

/// Checks that the flags which would hurt the kernel are cleared at `syscall`.
fn flag_mask(disassembly: &str) -> Result<()> {
    let lines: Vec<&str> = disassembly.lines().collect();
    let places: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(FMASK_MSR)).collect();
    ensure!(!places.is_empty(), "nothing sets the flag mask of syscall");
    let wanted = format!("${SYSCALL_FLAG_MASK:#x},%eax");
    for at in places {
        let near = &lines[at.saturating_sub(FMASK_WINDOW)..(at + FMASK_WINDOW).min(lines.len())];
        ensure!(
            near.iter().any(|l| l.contains(&wanted)),
            "the flag mask of syscall is not {SYSCALL_FLAG_MASK:#x}"
        );
    }
    Ok(())
}

fn tool(program: &str, args: &[&str], elf: &Path) -> Result<String> {
    let output = Command::new(program).args(args).arg(elf).output();
    let output = output.with_context(|| format!("cannot run {program} (binutils)"))?;
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "f:\n a:\tmov    $0xc0000084,%ecx\n b:\tmov    $0x47700,%eax\n c:\tjmp    d <f>\n";

    #[test]
    fn code_good_passes() {
        code(GOOD).unwrap();
    }

    #[test]
    fn code_stock_flag_mask_is_refused() {
        assert!(code(&GOOD.replace("0x47700", "0x300")).is_err());
        assert!(code("").is_err());
    }

    #[test]
    fn code_vector_register_is_refused() {
        assert!(code(&format!("{GOOD} d:\tmovaps %xmm0,(%rsp)\n")).is_err());
    }

    #[test]
    fn code_indirect_branch_is_refused() {
        assert!(code(&format!("{GOOD} d:\tjmp    *%rax\n")).is_err());
        assert!(code(&format!("{GOOD} d:\tcall   *0x8(%rax)\n")).is_err());
    }

    #[test]
    fn aligned_looks_at_the_named_symbol() {
        let symbols = "ffffffff80729030 b other\nffffffff8072a000 b kernel_stack_alloc\n";
        aligned(symbols, "kernel_stack_alloc", 4096).unwrap();
        assert!(aligned(symbols, "other", 4096).is_err());
        assert!(aligned(symbols, "missing", 1).is_err());
    }
}
