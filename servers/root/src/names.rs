// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names for the console: what a dead server was doing, and what its loss means.

use abi::ServerId;
use runtime::node::{NET_SEND, NET_TAKE, TIMER_ARM};
use runtime::system;

/// The name of an operation of a server.
pub fn operation(server: ServerId, op: u16) -> &'static str {
    if let Some(name) = system::operation_name(op) {
        return name;
    }
    match (server, op) {
        (ServerId::Console, _) => ipc_api::console::operation_name(op),
        (ServerId::Timer, TIMER_ARM) => "Arm",
        (ServerId::Net, NET_SEND) => "Send",
        (ServerId::Net, NET_TAKE) => "TakeMessage",
        (ServerId::Net, _) => net_api::operation_name(op),
        (ServerId::Disk, _) => disk_api::operation_name(op),
        (ServerId::Mem, _) => mem_api::operation_name(op),
        (ServerId::Fs | ServerId::Ipc, 1..32) => fs_api::file::operation_name(op),
        (ServerId::Fs, _) => fs_api::name::operation_name(op),
        (ServerId::Ipc, _) => ipc_api::operation_name(op),
        (ServerId::Proc, _) => proc_api::operation_name(op),
        (ServerId::Shell, _) => shell_api::operation_name(op),
        (ServerId::Views, _) => views_api::operation_name(op),
        (ServerId::Timer | ServerId::Ckpt, _) => "unknown operation",
    }
}

/// What is lost with a server, and what an administrator can do. The sentence begins with "without"
/// and the server's name.
pub fn consequence(server: ServerId) -> &'static str {
    match server {
        ServerId::Console => {
            "nothing can be typed or read here; from another node: `klog`, `migrate`, `reboot` NODE"
        }
        ServerId::Timer => "nothing on this node can wait for time: it starts again",
        ServerId::Net => {
            "this node is cut off: if there are others it starts again, and joins them"
        }
        ServerId::Mem | ServerId::Proc => {
            "no program of this node can go on; Ctrl-] gives the rescue prompt: `halt` or `reboot`"
        }
        ServerId::Fs => "no program of this node can use files; `reboot` starts it again",
        ServerId::Ipc => {
            "no program of this node can use pipes and terminals; Ctrl-] gives the rescue prompt: \
             `halt` or `reboot`"
        }
        ServerId::Disk => {
            "nothing on this node's disk can be read or written; `reboot` starts it again"
        }
        ServerId::Ckpt => "there are no checkpoints; all else goes on",
        ServerId::Views => {
            "this node is let go by the cluster, and its programs wait; `reboot` lets it join again"
        }
        ServerId::Shell => "this node cannot be administered, also not from others; programs go on",
    }
}
