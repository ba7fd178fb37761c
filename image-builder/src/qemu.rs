// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's command line for a node, and which accelerator can run it.

use abi::image::NodeEntry;
use std::fmt;
use std::fs::OpenOptions;
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
}

impl Machine {
    /// The command line; the console is on standard input and output.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["-machine", "pc", "-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-accel", self.accelerator.option(), "-cpu", "max,-la57"]);
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
        let node = NodeEntry { id: 1, cores: 2, memory_mib: 256, mac: [0x52, 0x54, 0, 0, 0, 1] };
        let machine = Machine {
            node,
            kernel: "k".into(),
            module: "m".into(),
            accelerator: Accelerator::Tcg,
            netdev: Some("dgram,id=n0".into()),
        };
        let text = typed(&machine.command());
        for part in ["-smp 2", "-m 256", "-kernel k", "-initrd m", "mac=52:54:00:00:00:01"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
