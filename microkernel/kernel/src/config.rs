// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's configuration: one portable image for any number of cores up to [`MAX_CORES`].
//!
//! The numbers of invocation labels and object types follow from it: whoever generates bindings from the package's
//! interface XML must evaluate its conditions by [`defines`].

/// Cores that the image uses at most; more are ignored by the kernel.
pub const MAX_CORES: u32 = 8;

/// Slots of the root task's CNode, as a power of two; a slot is 32 bytes.
pub const ROOT_CNODE_SIZE_BITS: u32 = 16;

/// Untyped capabilities that the boot information lists at most; more memory regions than that are lost.
pub const UNTYPEDS_MAX: u32 = 230;

/// The kernel's timer tick in milliseconds.
pub const TICK_MS: u32 = 10;

/// How many ticks a thread runs before another of its priority does.
pub const TIME_SLICE_TICKS: u32 = 1;

/// Where the configuration goes in the source tree. The Makefile looks here before it looks in the build folder.
pub const AUTOCONF_PATH: &str = "include/plat/pc99/autoconf.h";

/// Set, with a number; of a release and a debug kernel alike.
const VALUES: &[(&str, u32)] = &[
    ("WORD_SIZE", 64),
    ("ROOT_CNODE_SIZE_BITS", ROOT_CNODE_SIZE_BITS),
    ("TIMER_TICK_MS", TICK_MS),
    ("TIME_SLICE", TIME_SLICE_TICKS),
    ("RETYPE_FAN_OUT_LIMIT", 256),
    ("MAX_NUM_WORK_UNITS_PER_PREEMPTION", 100),
    // Memory is cleared 64 KiB at a time between two looks at pending interrupts: some 10 us.
    ("RESET_CHUNK_BITS", 16),
    ("MAX_NUM_BOOTINFO_UNTYPED_CAPS", UNTYPEDS_MAX),
    ("NUM_DOMAINS", 1),
    ("NUM_PRIORITIES", 256),
    ("MAX_NUM_NODES", MAX_CORES),
    ("CACHE_LN_SZ", 64),
    ("KERNEL_STACK_BITS", 12),
    ("FPU_MAX_RESTORES_SINCE_SWITCH", 64),
    ("MAX_NUM_IOAPIC", 1),
    // Both arrays must not be empty, though there is no IOMMU.
    ("MAX_RMRR_ENTRIES", 1),
    ("MAX_NUM_TRACE_POINTS", 0),
    ("XSAVE_SIZE", 512),
    ("USER_STACK_TRACE_LENGTH", 4),
];

/// Switched on, in a release and a debug kernel alike. What is not named here is off: no VT-x, no IOMMU, no PCID, no
/// hardware debug API, no x2APIC.
const SWITCHES: &[&str] = &[
    "ARCH_X86",
    "ARCH_X86_64",
    "PLAT_PC99",
    "HAVE_FPU",
    "FASTPATH",
    "IRQ_IOAPIC",
    "XAPIC",
    "SYSCALL",
    // FXSAVE keeps CR4.OSXSAVE off: programs see no AVX, and the state fits one message.
    "FXSAVE",
    // Not the instructions: user code could use them behind the kernel's back, and qemu64 has none.
    "FSGSBASE_MSR",
    "HUGE_PAGE",
    "MULTIBOOT_GRAPHICS_MODE_NONE",
    "NO_BENCHMARKS",
];

/// Switched on in a debug kernel in addition.
const DEBUG_SWITCHES: &[&str] = &["DEBUG_BUILD", "PRINTING", "IRQ_REPORTING"];

/// Every macro that is set, by its full name (`CONFIG_...`), with its value.
pub fn defines(debug: bool) -> impl Iterator<Item = (String, u32)> {
    let extra: &[&str] = if debug { DEBUG_SWITCHES } else { &[] };
    let switches = SWITCHES.iter().chain(extra).map(|name| (*name, 1));
    switches.chain(VALUES.iter().copied()).map(|(name, value)| (format!("CONFIG_{name}"), value))
}

/// The configuration as the header that the kernel includes.
pub fn autoconf(debug: bool) -> String {
    let mut text = String::from("#define AUTOCONF_INCLUDED\n");
    for (name, value) in defines(debug) {
        text += &format!("#define {name} {value}\n");
    }
    text
}
