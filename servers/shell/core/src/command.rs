// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an administrator can say.
//!
//! # Failure
//! A command that cannot be understood is answered with a sentence that says what would be right.

use crate::Stop;
use crate::drain::Deed;
use crate::limits::{LOAD_MIB_MAX, PINGS_DEFAULT};
use abi::image::KEY_BYTES;
use abi::{NodeId, Pid, ServerId};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cluster::{ADDRESS_BYTES, Newcomer, PublicKey, StationAddress};

/// Says "only the node that gets the command" between shell servers.
pub(crate) const HERE: &str = "here";

/// `disks` writes, and reads back.
const CHECK: &str = "--check";
/// `node drain` and its like kill what cannot move.
const FORCE: &str = "--force";
/// `linkkey` removes what it kept.
const FORGET: &str = "--forget";
/// `node add` names a node that images do not.
const KEY: &str = "--key";
/// See [`KEY`].
const MAC: &str = "--mac";
/// `net` sends null requests.
const PING: &str = "--ping";
const LOAD: &str = "--load";
const RAW: &str = "raw";

/// The node or nodes that a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// The node that got the command.
    Here,
    /// This one.
    Node(NodeId),
    /// All.
    All,
}

/// What one node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    Ps,
    Mem,
    Net,
    Disks,
    DiskCheck,
    Log,
    Stop(Stop),
    Crash(ServerId),
}

impl Task {
    /// The command's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ps => "ps",
            Self::Mem => "mem",
            Self::Net => "net",
            Self::Disks | Self::DiskCheck => "disks",
            Self::Log => "klog",
            Self::Stop(Stop::Halt) => "halt",
            Self::Stop(Stop::Reboot) => "reboot",
            Self::Crash(_) => "crash",
        }
    }

    /// The words that make another node do it.
    pub(crate) fn words(self) -> Vec<String> {
        let mut words = Vec::from([self.name()]);
        if let Self::Crash(server) = self {
            words.push(server.name());
        }
        if self == Self::DiskCheck {
            words.push(CHECK);
        }
        words.push(HERE);
        words.into_iter().map(String::from).collect()
    }
}

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// The cluster's nodes.
    Nodes,
    /// Something that each node in the scope does for itself.
    On(Task, Scope),
    /// Moves a process.
    Migrate(Pid, NodeId),
    /// Sends null requests to a node.
    Ping(NodeId, u64),
    /// Loads the link to a node with so many MiB, raw ones if that is true.
    Load(NodeId, u64, bool),
    /// Sends a signal.
    Kill(Pid, u32),
    /// A node comes or goes; with force if that is true.
    Node(Deed, NodeId, bool),
    /// The cluster takes this for the node's public key from now on, or none.
    NodeKey(NodeId, Option<PublicKey>),
    /// A node that images need not name is one of the cluster from now on.
    NewNode(Newcomer),
    /// Gives net-server the node's private key.
    LinkKey([u8; KEY_BYTES]),
    /// Removes it from the node's disk.
    ForgetKey,
    /// What can be said.
    Help,
    /// The rescue prompt ends.
    Exit,
}

impl Command {
    /// Whether it ends or changes what others use. Who is not root has kill(2) and `/proc/PID/node`, which
    /// look at whose process it is.
    pub(crate) fn needs_root(self) -> bool {
        match self {
            Self::On(Task::Stop(_) | Task::Crash(_) | Task::DiskCheck, _)
            | Self::Migrate(..)
            | Self::Load(..)
            | Self::Kill(..)
            | Self::Node(..)
            | Self::NodeKey(..)
            | Self::NewNode(_)
            | Self::LinkKey(_)
            | Self::ForgetKey => true,
            Self::On(Task::Ps | Task::Mem | Task::Net | Task::Disks | Task::Log, _)
            | Self::Nodes
            | Self::Ping(..)
            | Self::Help
            | Self::Exit => false,
        }
    }
}

/// All commands, as `help` shows them.
pub(crate) const HELP: &str = "\
nodes               the cluster's nodes and whether they answer
node drain NODE [--force]   moves all processes and slots off a node
node remove NODE [--force]  drains a node and stops it
node replace NODE [--force] drains a node and starts it again
node add NODE       takes a drained node back, or waits until one joins
node add NODE --key KEY --mac ADDRESS   takes a new node into the cluster, and waits until it joins
node key NODE KEY   the cluster takes KEY for the node's public key from now on
node revoke NODE    the cluster takes no key of the node any more, and lets it go
ps [NODE]           processes of all nodes, or of one
kill PID [SIGNAL]   sends a signal (a number; 15 if none is given)
migrate PID NODE    moves a running process to another node
mem [NODE]          memory of all nodes, or of one
net [NODE|all]      links of this node, of one or of all
net --ping NODE [COUNT]   times null requests to another node
net --load NODE MIB [raw]   times so many MiB to another node, encrypted or raw
disks [NODE]        disks of all nodes, or of one
disks --check [NODE]   writes to them what is kept for that, and reads it back
linkkey KEY         gives this node a private key, before or after `node key`; its disk keeps it
linkkey --forget    removes all keys from this node's disk
klog [NODE|all]     what the servers of a node logged
halt [NODE|all]     stops this node, one or all
reboot [NODE|all]   stops and starts this node, one or all
crash SERVER [NODE] makes a server fault, to see what becomes of its node
";

/// Reads a command.
pub(crate) fn parse(words: &[String]) -> Result<Command, String> {
    let (name, arguments) = words.split_first().ok_or("no command: try help")?;
    let on = |task, default| scope(arguments, default).map(|scope| Command::On(task, scope));
    match name.as_str() {
        "nodes" => none(name, arguments, Command::Nodes),
        "node" => deed(arguments),
        "ps" => on(Task::Ps, Scope::All),
        "mem" => on(Task::Mem, Scope::All),
        "net" if arguments.first().is_some_and(|word| word == PING) => match &arguments[1..] {
            [to] => Ok(Command::Ping(node(to)?, PINGS_DEFAULT)),
            [to, count] => Ok(Command::Ping(node(to)?, requests(count)?)),
            _ => Err("net --ping needs a node: net --ping NODE [COUNT]".to_string()),
        },
        "net" if arguments.first().is_some_and(|word| word == LOAD) => match &arguments[1..] {
            [to, size] => Ok(Command::Load(node(to)?, mebibytes(size)?, false)),
            [to, size, raw] if raw == RAW => Ok(Command::Load(node(to)?, mebibytes(size)?, true)),
            _ => Err("net --load needs a node and a size: net --load NODE MIB [raw]".to_string()),
        },
        "net" => on(Task::Net, Scope::Here),
        "disks" if arguments.first().is_some_and(|word| word == CHECK) => {
            scope(&arguments[1..], Scope::All).map(|scope| Command::On(Task::DiskCheck, scope))
        }
        "disks" => on(Task::Disks, Scope::All),
        "klog" => on(Task::Log, Scope::Here),
        "halt" => on(Task::Stop(Stop::Halt), Scope::Here),
        "reboot" => on(Task::Stop(Stop::Reboot), Scope::Here),
        "crash" => crash(arguments),
        "migrate" => match arguments {
            [pid, to] => Ok(Command::Migrate(process(pid)?, node(to)?)),
            _ => Err("migrate needs a process and a node: migrate PID NODE".to_string()),
        },
        "kill" => match arguments {
            [pid] => Ok(Command::Kill(process(pid)?, 15)),
            [pid, number] => Ok(Command::Kill(process(pid)?, signal(number)?)),
            _ => Err("kill needs a process: kill PID [SIGNAL]".to_string()),
        },
        "linkkey" => match arguments {
            [word] if word == FORGET => Ok(Command::ForgetKey),
            [digits] => key(digits).map(Command::LinkKey),
            _ => Err("linkkey needs the key: linkkey KEY, or linkkey --forget".to_string()),
        },
        "help" => none(name, arguments, Command::Help),
        "exit" => none(name, arguments, Command::Exit),
        "onnode" => {
            Err("onnode starts a Linux program: use it from a Linux shell, not here".to_string())
        }
        _ => Err(format!("{name}: no such command; help lists them")),
    }
}

fn deed(arguments: &[String]) -> Result<Command, String> {
    let usage = "node needs to know what to do with which node: node drain|remove|replace NODE [--force], \
                 node add NODE [--key KEY --mac ADDRESS], node key NODE KEY, or node revoke NODE";
    let (what, to, rest) = match arguments {
        [what, to, rest @ ..] => (what.as_str(), to, rest),
        _ => return Err(usage.to_string()),
    };
    let deed = match what {
        "key" => {
            return match rest {
                [digits] => Ok(Command::NodeKey(node(to)?, Some(public_key(digits)?))),
                _ => Err("node key needs a node and its public key: node key NODE KEY".to_string()),
            };
        }
        "revoke" => {
            return match rest {
                [] => Ok(Command::NodeKey(node(to)?, None)),
                [word, ..] => Err(format!("node revoke {to}: leave out {word:?}")),
            };
        }
        "add" if !rest.is_empty() => return newcomer(to, rest),
        "add" => Deed::Add,
        "drain" => Deed::Drain,
        "remove" => Deed::Remove,
        "replace" => Deed::Replace,
        _ => return Err(usage.to_string()),
    };
    match rest {
        [] => Ok(Command::Node(deed, node(to)?, false)),
        [word] if word == FORCE => Ok(Command::Node(deed, node(to)?, true)),
        [word, ..] => Err(format!("node {what} {to}: leave out {word:?}")),
    }
}

fn newcomer(to: &str, rest: &[String]) -> Result<Command, String> {
    let (digits, mac) = match rest {
        [first, digits, second, mac] if first == KEY && second == MAC => (digits, mac),
        [first, mac, second, digits] if first == MAC && second == KEY => (digits, mac),
        _ => {
            return Err(
                "node add needs key and address of a new node, and nothing of one that images name: \
                 node add NODE [--key KEY --mac ADDRESS]"
                    .to_string(),
            );
        }
    };
    let (node, key, address) = (node(to)?, public_key(digits)?, station(mac)?);
    Ok(Command::NewNode(Newcomer { node, key, address }))
}

fn station(word: &str) -> Result<StationAddress, String> {
    let byte = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit());
        u8::from_str_radix(part, 16).ok().filter(|_| digits)
    };
    let bytes: Option<Vec<u8>> = word.split(':').map(byte).collect();
    let bytes: Option<[u8; ADDRESS_BYTES]> = bytes.and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| {
        format!("{word:?} is no Ethernet address: give six bytes, like 52:54:00:4b:00:04")
    })?;
    StationAddress::new(bytes).ok_or_else(|| {
        format!("{word} is a group's address, or nobody's: give that of the node's network card")
    })
}

fn crash(arguments: &[String]) -> Result<Command, String> {
    let (name, rest) =
        arguments.split_first().ok_or("crash needs a server: crash SERVER [NODE]")?;
    let server = ServerId::from_name(name).ok_or_else(|| {
        let names: Vec<_> = ServerId::ALL.into_iter().map(ServerId::name).collect();
        format!("{name:?} is no server: servers are {}", names.join(", "))
    })?;
    match scope(rest, Scope::Here)? {
        Scope::All => Err("crash acts on one node at a time: crash SERVER [NODE]".to_string()),
        one => Ok(Command::On(Task::Crash(server), one)),
    }
}

fn none(name: &str, arguments: &[String], command: Command) -> Result<Command, String> {
    match arguments.first() {
        None => Ok(command),
        Some(word) => Err(format!("{name} takes no arguments, so leave out {word:?}")),
    }
}

fn scope(arguments: &[String], default: Scope) -> Result<Scope, String> {
    match arguments {
        [] => Ok(default),
        [word] if word == "all" => Ok(Scope::All),
        [word] if word == HERE => Ok(Scope::Here),
        [word] => node(word).map(Scope::Node),
        [_, word, ..] => Err(format!("one node at most, so leave out {word:?}")),
    }
}

fn node(word: &str) -> Result<NodeId, String> {
    let number = word.parse().ok().and_then(NodeId::new);
    number.ok_or_else(|| format!("{word:?} is no node: nodes have numbers, see `nodes`"))
}

fn key(digits: &str) -> Result<[u8; KEY_BYTES], String> {
    let mut key = [0; KEY_BYTES];
    let right = digits.len() == 2 * KEY_BYTES && digits.bytes().all(|it| it.is_ascii_hexdigit());
    for (index, byte) in key.iter_mut().enumerate().filter(|_| right) {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap_or(0);
    }
    right.then_some(key).ok_or_else(|| {
        format!("a key has {} hexadecimal digits: see the node's .key file", 2 * KEY_BYTES)
    })
}

fn public_key(digits: &str) -> Result<PublicKey, String> {
    let digits = key(digits).map_err(|mistake| mistake.replace(".key", ".pub"))?;
    PublicKey::new(digits).ok_or_else(|| {
        "this is no key: anybody could speak for a node that has it. See the node's .pub file"
            .to_string()
    })
}

fn process(word: &str) -> Result<Pid, String> {
    let pid = word.parse().ok().and_then(Pid::new);
    pid.ok_or_else(|| format!("{word:?} is no process id: see `ps`"))
}

fn requests(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word:?} is no number of requests"))
}

fn mebibytes(word: &str) -> Result<u64, String> {
    let size = word.parse().ok().filter(|size| (1..=LOAD_MIB_MAX).contains(size));
    size.ok_or_else(|| format!("{word:?} is no size in MiB from 1 to {LOAD_MIB_MAX}"))
}

fn signal(word: &str) -> Result<u32, String> {
    let number = word.trim_start_matches('-').parse().ok().filter(|number| *number <= 64);
    number.ok_or_else(|| format!("{word:?} is no signal: give a number from 0 to 64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        parse(&words)
    }

    #[test]
    fn command_scope_defaults_differ() {
        assert_eq!(read("ps"), Ok(Command::On(Task::Ps, Scope::All)));
        assert_eq!(read("klog"), Ok(Command::On(Task::Log, Scope::Here)));
        let two = NodeId::new(2).expect("a node");
        assert_eq!(read("halt 2"), Ok(Command::On(Task::Stop(Stop::Halt), Scope::Node(two))));
    }

    #[test]
    fn command_crash_names_its_server_to_another_node() {
        let two = NodeId::new(2).expect("a node");
        let task = Task::Crash(ServerId::Fs);
        assert_eq!(read("crash fs 2"), Ok(Command::On(task, Scope::Node(two))));
        assert_eq!(parse(&task.words()), Ok(Command::On(task, Scope::Here)));
    }

    #[test]
    fn command_disks_checks_if_told_so() {
        let two = NodeId::new(2).expect("a node");
        assert_eq!(read("disks"), Ok(Command::On(Task::Disks, Scope::All)));
        assert_eq!(read("disks --check 2"), Ok(Command::On(Task::DiskCheck, Scope::Node(two))));
        assert_eq!(parse(&Task::DiskCheck.words()), Ok(Command::On(Task::DiskCheck, Scope::Here)));
        assert!(Command::On(Task::DiskCheck, Scope::Here).needs_root());
    }

    #[test]
    fn command_with_a_key_reads_its_digits() {
        let digits = "0f".repeat(KEY_BYTES - 1) + "A0";
        let mut key = [0x0f; KEY_BYTES];
        key[KEY_BYTES - 1] = 0xa0;
        assert_eq!(read(&format!("linkkey {digits}")), Ok(Command::LinkKey(key)));
    }

    #[test]
    fn command_that_changes_a_key_reads_it() {
        let two = NodeId::new(2).expect("a node");
        let digits = "0f".repeat(KEY_BYTES);
        let key = PublicKey::new([0x0f; KEY_BYTES]);
        assert_eq!(read(&format!("node key 2 {digits}")), Ok(Command::NodeKey(two, key)));
        assert_eq!(read("node revoke 2"), Ok(Command::NodeKey(two, None)));
        assert!(
            Command::NodeKey(two, key).needs_root() && Command::NodeKey(two, None).needs_root()
        );
    }

    #[test]
    fn command_that_adds_a_node_reads_key_and_address_in_any_order() {
        let digits = "0f".repeat(KEY_BYTES);
        let new = Newcomer {
            node: NodeId::new(4).expect("a node"),
            key: PublicKey::new([0x0f; KEY_BYTES]).expect("a key"),
            address: StationAddress::new([0x52, 0x54, 0, 0x4b, 0, 4]).expect("an address"),
        };
        let mac = "52:54:00:4B:00:04";
        for line in [
            format!("node add 4 --key {digits} --mac {mac}"),
            format!("node add 4 --mac {mac} --key {digits}"),
        ] {
            assert_eq!(read(&line), Ok(Command::NewNode(new)));
        }
        assert!(Command::NewNode(new).needs_root());
    }

    #[test]
    fn command_mistakes_say_what_would_be_right() {
        for (line, says) in [
            ("migrate 5", "migrate PID NODE"),
            ("migrate x 2", "see `ps`"),
            ("migrate 5 0", "see `nodes`"),
            ("mem 1 2", "leave out"),
            ("nodes 1", "leave out"),
            ("net --ping", "net --ping NODE"),
            ("net --ping 2 many", "number of requests"),
            ("net --load 2", "net --load NODE MIB"),
            ("net --load 2 0", "size in MiB"),
            ("net --load 2 9 sealed", "net --load NODE MIB"),
            ("linkkey", "linkkey KEY"),
            ("linkkey 12", "64 hexadecimal digits"),
            ("node", "node drain"),
            ("node sell 2", "node drain"),
            ("node drain", "node add NODE"),
            ("node drain 0", "see `nodes`"),
            ("node add 2 --force", "--key KEY --mac ADDRESS"),
            ("node drain 2 --force now", "leave out"),
            ("node key 2", "node key NODE KEY"),
            ("node key 2 12", "64 hexadecimal digits: see the node's .pub file"),
            (
                "node key 2 00000000000000000000000000000000000000000000000000000000000000000",
                "64 hexadecimal",
            ),
            (
                "node key 2 0000000000000000000000000000000000000000000000000000000000000000",
                "no key",
            ),
            (
                "node key 2 0100000000000000000000000000000000000000000000000000000000000080",
                "no key",
            ),
            ("node add 4 --key", "--key KEY --mac ADDRESS"),
            ("node add 4 --mac 52:54:00:4b:00:04", "--key KEY --mac ADDRESS"),
            ("node add 4 --key 12 --mac 52:54:00:4b:00:04", "64 hexadecimal"),
            (
                "node add 4 --key 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --mac 52:54:00",
                "six bytes",
            ),
            (
                "node add 4 --key 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --mac ff:ff:ff:ff:ff:ff",
                "group",
            ),
            ("node revoke", "node revoke NODE"),
            ("node revoke 2 --force", "leave out"),
            ("frob", "help"),
            ("crash", "crash SERVER [NODE]"),
            ("crash dsk", "console, timer, net"),
            ("crash fs all", "one node"),
            ("onnode 2 ls", "Linux shell"),
            ("", "help"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
