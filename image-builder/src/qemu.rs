// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's command line for a node, and which accelerator can run it.

use abi::image::NodeEntry;
use std::fmt;
use std::fs::OpenOptions;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The emulator's program.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// What executes the guest's instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// As cluster.toml admits it.
const PATIENCE_MAX: usize = 20;

impl Accelerator {
    /// KVM only where a hardware module is loaded: a paravirtual /dev/kvm would emulate the kernel
    /// instruction by instruction.
    pub fn find() -> Self {
        let module = ["kvm_intel", "kvm_amd"]
            .into_iter()
            .any(|name| Path::new("/sys/module").join(name).is_dir());
        let usable = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        if module && usable { Self::Kvm } else { Self::Tcg }
    }

    /// How many times longer than real machines nodes must wait for each other, when they have so many
    /// `cores` together: they share the host's processors with each other, and translated ones with the
    /// translator and whatever else runs there.
    pub fn patience(self, cores: usize) -> u8 {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        self.patience_on(cores.div_ceil(processors).max(1))
    }

    /// The same, where each of the host's processors has so many cores to run.
    fn patience_on(self, share: usize) -> u8 {
        let patience = match self {
            Self::Kvm => share,
            // So long that what needs a dead node still ends within two seconds, where that can be.
            Self::Tcg if share <= 2 => 3,
            Self::Tcg => 2 * share,
        };
        patience.min(PATIENCE_MAX) as u8
    }

    fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG (no kvm_intel or kvm_amd is loaded: instructions are translated)",
        })
    }
}

/// A node whose time is its instructions, for figures that are the same in every run: one tick of
/// its time stamp counter is one instruction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counting {
    /// What QEMU logs meanwhile, if anything.
    pub trace: Option<Trace>,
    /// Idle time passes as fast as the host's; else it is skipped. Nodes that listen to each other need
    /// it: where one idles through seconds that the other works through, it takes the other for dead.
    pub idles: bool,
}

/// A log of the node's blocks of code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Where QEMU writes the registers at each block of code that begins in `filter`.
    pub log: PathBuf,
    /// Ranges of addresses, as `-dfilter` takes them.
    pub filter: String,
}

/// One node's machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The node.
    pub node: NodeEntry,
    /// The kernel, 32-bit ELF.
    pub kernel: PathBuf,
    /// The node's module.
    pub module: PathBuf,
    /// What executes it.
    pub accelerator: Accelerator,
    /// Text of `-netdev`, without an id of its own for the device: it must be `n0`.
    pub netdev: Option<String>,
    /// Its disk, if it has one: an image of its bytes.
    pub disk: Option<PathBuf>,
    /// How its instructions are counted, if they are.
    pub counting: Option<Counting>,
}

impl Machine {
    /// The command line; the console is on standard input and output.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["-machine", "pc", "-nodefaults", "-no-user-config", "-no-reboot"]);
        match &self.counting {
            None => command.args(["-accel", self.accelerator.option(), "-cpu", "max,-la57"]),
            Some(counting) => command
                // Without erms and fsrm: QEMU counts every turn of a `rep movsb`, where processors
                // with them copy whole lines.
                .args(["-accel", "tcg,thread=single", "-cpu", "max,-la57,-erms,-fsrm"])
                .args([
                    "-icount",
                    if counting.idles { "shift=0,sleep=on" } else { "shift=0,sleep=off" },
                ]),
        };
        if let Some(trace) = self.counting.as_ref().and_then(|counting| counting.trace.as_ref()) {
            command.args(["-d", "exec,cpu", "-dfilter", &trace.filter, "-D"]).arg(&trace.log);
        }
        command.args(["-smp", &self.node.cores.to_string()]);
        command.args(["-m", &self.node.memory_mib.to_string()]);
        command.args(["-display", "none", "-chardev", "stdio,id=console,signal=off"]);
        command.args(["-serial", "chardev:console"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.module);
        if let Some(netdev) = &self.netdev {
            let mac = self.node.mac.map(|byte| format!("{byte:02x}")).join(":");
            // No boot ROM: the node never boots from the network.
            let device = format!("virtio-net-pci,netdev=n0,mac={mac},romfile=");
            command.args(["-netdev", netdev, "-device", &device]);
        }
        if let Some(disk) = &self.disk {
            // QEMU locks the image: a second one that is given the same ends at once. A comma would end the
            // path.
            let path = disk.to_string_lossy().replace(',', ",,");
            let drive = format!("if=none,id=d0,format=raw,cache=writeback,file={path}");
            let device = "virtio-blk-pci,drive=d0,disable-legacy=on";
            command.args(["-drive", &drive, "-device", device]);
        }
        command
    }
}

/// `command`, started so that it ends when the tool does, even if that is killed.
pub fn tied_to_us(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    tied
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::typed;

    #[test]
    fn command_names_kernel_module_and_network() {
        let mac = [0x52, 0x54, 0, 0, 0, 1];
        let node = NodeEntry { id: 1, cores: 2, memory_mib: 256, disk_mib: 64, mac };
        let machine = Machine {
            node,
            kernel: "k".into(),
            module: "m".into(),
            accelerator: Accelerator::Tcg,
            netdev: Some("dgram,id=n0".into()),
            disk: Some("a,b.disk".into()),
            counting: None,
        };
        let text = typed(&machine.command());
        for part in ["-smp 2", "-m 256", "-kernel k", "-initrd m", "mac=52:54:00:00:00:01"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("icount"), "{text}");
        assert!(text.contains("cache=writeback,file=a,,b.disk"), "{text}");
        assert!(text.contains("virtio-blk-pci,drive=d0,disable-legacy=on"), "{text}");
        let trace = Trace { log: "l".into(), filter: "0x1..0x2".into() };
        let counting = Counting { trace: Some(trace), idles: false };
        let text = typed(&Machine { counting: Some(counting), ..machine }.command());
        assert!(text.contains("-icount shift=0,sleep=off"), "{text}");
        assert!(text.contains("-dfilter 0x1..0x2 -D l"), "{text}");
    }
}
