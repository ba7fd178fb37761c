// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs' names, what they take, and their `--help`.

/// One program.
#[derive(Debug)]
pub(crate) struct Applet {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    details: &'static str,
    /// Fewest arguments.
    least: usize,
    /// Most arguments.
    most: usize,
}

pub(crate) const APPLETS: &[Applet] = &[
    Applet {
        name: "nodes",
        usage: "nodes",
        about: "lists the cluster's nodes",
        details: "STATE is here, up, down, joins or leaves; RTT_US is the link's round-trip time in\n\
                  microseconds.",
        least: 0,
        most: 0,
    },
    Applet {
        name: "node",
        usage: "node drain|remove|replace NODE [--force], node add NODE [--key KEY --mac ADDRESS], node key NODE KEY, or node revoke NODE",
        about: "lets a node leave the cluster in good order, takes it back, or changes its key",
        details: "drain: moves all processes and slots of NODE to the others; remove: and then stops it; replace:\n\
                  and then starts it again, and waits until it takes part. add: takes a drained node back, or\n\
                  waits until one that is started has joined; with --key and --mac it is a new node, which the\n\
                  images of the others need not name: its image says the line to type. What cannot move is named and stays where it is;\n\
                  --force kills such processes, and removes or replaces the node all the same. key: the cluster\n\
                  takes KEY, 64 hexadecimal digits, for the public key of NODE from now on, whatever images say;\n\
                  give NODE the private half first (`linkkey` at its rescue prompt, Ctrl-]), and nothing is lost.\n\
                  revoke: it takes no key of NODE any more, and lets it go at once, with what lives there.",
        least: 2,
        most: 6,
    },
    Applet {
        name: "ps",
        usage: "ps [NODE]",
        about: "lists processes",
        details: "Of all nodes, or of one. (busybox's own ps is `busybox ps`.)",
        least: 0,
        most: 1,
    },
    Applet {
        name: "migrate",
        usage: "migrate PID NODE",
        about: "moves a running process to another node",
        details: "Ends when all its memory has arrived, and says how long the process stood still.\n\
                  `echo NODE >/proc/PID/node` does the same without figures.",
        least: 2,
        most: 2,
    },
    Applet {
        name: "onnode",
        usage: "onnode NODE PROGRAM [ARGUMENT...]",
        about: "runs a program on another node",
        details: "It has this terminal, directory and environment, and its exit status is the\n\
                  command's. 127: no such program; 126: it cannot be run; 125: the node cannot be\n\
                  reached.",
        least: 2,
        most: usize::MAX,
    },
    Applet {
        name: "mem",
        usage: "mem [NODE]",
        about: "shows the nodes' memory",
        details: "Of all nodes, or of one, in KiB.",
        least: 0,
        most: 1,
    },
    Applet {
        name: "net",
        usage: "net [NODE|all], or net --ping NODE [COUNT], or net --load NODE MIB [raw]",
        about: "shows the links between nodes",
        details: "Those of this node, of another one, or of all. With --ping: sends COUNT null requests\n\
                  (10 if it is left out) to the net-server of NODE, each when the one before is\n\
                  answered, and says how long the round trips took. With --load: sends MIB encrypted\n\
                  MiB there and says how long that took; raw: frames that NODE counts and drops.",
        least: 0,
        most: 4,
    },
    Applet {
        name: "disks",
        usage: "disks [NODE|all], or disks --check [NODE|all]",
        about: "shows the nodes' disks, or tries whether they keep what is written",
        details: "Of all nodes, or of one: size and regions in KiB, requests since boot, or why there is no\n\
                  disk. ERRORS counts what a disk failed or answered without sense. With --check: writes 64\n\
                  KiB that are kept for it, flushes, reads them back, and says whether those of the check\n\
                  before were still there.",
        least: 0,
        most: 2,
    },
    Applet {
        name: "ipcs",
        usage: "ipcs [-m] [-s] [-q]",
        about: "lists the cluster's System V objects",
        details: "Shared memory (-m), semaphores (-s) and message queues (-q) of all nodes that answer; all three if\n\
                  none is named. Sizes are in bytes.",
        least: 0,
        most: 4,
    },
    Applet {
        name: "ipcrm",
        usage: "ipcrm -m|-s|-q ID, or ipcrm -M|-S|-Q KEY, as often as wanted",
        about: "removes System V objects",
        details: "`ipcs` shows ids and keys; numbers that begin with 0x are hexadecimal. Shared memory goes with its\n\
                  last attachment. What waits at an object ends with EIDRM.",
        least: 1,
        most: usize::MAX,
    },
    Applet {
        name: "klog",
        usage: "klog [NODE|all]",
        about: "shows what the servers of a node logged",
        details: "Of this node, of another one, or of all.",
        least: 0,
        most: 1,
    },
    Applet {
        name: "halt",
        usage: "halt [NODE|all]",
        about: "stops this node, another one, or all",
        details: "Programs are not asked first, and files in memory are gone.",
        least: 0,
        most: 1,
    },
    Applet {
        name: "reboot",
        usage: "reboot [NODE|all]",
        about: "stops and starts this node, another one, or all",
        details: "Programs are not asked first, and files in memory are gone.",
        least: 0,
        most: 1,
    },
    Applet {
        name: "crash",
        usage: "crash SERVER [NODE]",
        about: "makes a server fault, for tests and drills",
        details: "SERVER is one of console, timer, net, disk, mem, fs, ipc, proc, shell, of this node or\n\
                  of another one. It is not started again, and what depends on it ends with errors:\n\
                  the console says which. `reboot` starts the node anew.",
        least: 1,
        most: 2,
    },
];

/// The program called `name`, which may be a path.
pub(crate) fn find(name: &str) -> Option<&'static Applet> {
    let name = name.rsplit('/').next().unwrap_or(name);
    APPLETS.iter().find(|applet| applet.name == name)
}

impl Applet {
    pub(crate) fn help(&self) -> String {
        format!("Usage: {}\n{}.\n{}\n", self.usage, capital(self.about), self.details)
    }

    /// Checks what can be known without the cluster. Says what would be right.
    pub(crate) fn check(&self, arguments: &[String]) -> Result<(), String> {
        if arguments.len() < self.least {
            return Err("something is missing".to_string());
        }
        if let Some(word) = arguments.get(self.most) {
            return Err(format!("leave out {word:?}"));
        }
        let first = arguments.first().map(String::as_str);
        match (self.name, arguments) {
            ("migrate", [pid, node]) => number("process id", pid).and_then(|()| self.node(node)),
            ("net", [option, rest @ ..]) if option == "--ping" => match rest {
                [node] => self.node(node),
                [node, count] => self.node(node).and_then(|()| number("number of requests", count)),
                _ => Err("--ping needs a node".to_string()),
            },
            ("net", [option, rest @ ..]) if option == "--load" => match rest {
                [node, mib] => self.node(node).and_then(|()| number("number of MiB", mib)),
                [node, mib, raw] if raw == "raw" => {
                    self.node(node).and_then(|()| number("number of MiB", mib))
                }
                _ => Err("--load needs a node and a size".to_string()),
            },
            ("disks", [option, rest @ ..]) if option == "--check" => match rest {
                [node] if node != "all" => self.node(node),
                _ => Ok(()),
            },
            ("node", [what, rest @ ..]) if what == "key" => match rest {
                [node, key] => self.node(node).and_then(|()| public_key(key)),
                _ => Err("key needs a node and its public key".to_string()),
            },
            ("node", [what, node, rest @ ..]) if what == "add" => {
                match rest {
                    [] => self.node(node),
                    [first, key, second, _] if first == "--key" && second == "--mac" => {
                        self.node(node).and_then(|()| public_key(key))
                    }
                    [first, _, second, key] if first == "--mac" && second == "--key" => {
                        self.node(node).and_then(|()| public_key(key))
                    }
                    _ => Err("add takes a node, and of a new one --key KEY and --mac ADDRESS"
                        .to_string()),
                }
            }
            ("node", [_, _, _, word, ..]) => Err(format!("leave out {word:?}")),
            ("node", [what, _, ..])
                if !["drain", "remove", "replace", "revoke"].contains(&what.as_str()) =>
            {
                Err(format!("{what:?} is nothing to do with a node"))
            }
            ("node", [what, node, rest @ ..]) => match rest {
                [word] if word != "--force" || what == "revoke" => {
                    Err(format!("leave out {word:?}"))
                }
                _ => self.node(node),
            },
            ("net" | "disks", [_, word, ..]) => Err(format!("leave out {word:?}")),
            ("onnode", [node, ..]) | ("crash", [_, node]) => self.node(node),
            // The cluster knows its servers; the others look at their words themselves.
            ("crash" | crate::objects::LIST | crate::objects::REMOVE, _) => Ok(()),
            (_, []) => Ok(()),
            _ => match first {
                Some("all") | None => Ok(()),
                Some(node) => self.node(node),
            },
        }
    }

    fn node(&self, word: &str) -> Result<(), String> {
        number("node", word).map_err(|mistake| format!("{mistake}; `nodes` lists them"))
    }
}

fn public_key(word: &str) -> Result<(), String> {
    match word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(()),
        false => {
            Err(format!("{word:?} is no key: give the 64 hexadecimal digits of its .pub file"))
        }
    }
}

fn number(what: &str, word: &str) -> Result<(), String> {
    match word.parse::<u32>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(format!("{word:?} is no {what}: give a number")),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        find(&words[0]).expect("an applet").check(&words[1..])
    }

    #[test]
    fn applet_is_found_by_path() {
        assert_eq!(find("/bin/migrate").map(|applet| applet.name), Some("migrate"));
        assert!(find("cluster-tools").is_none());
    }

    #[test]
    fn applet_arguments_are_checked() {
        for right in [
            "nodes",
            "ps 2",
            "mem all",
            "migrate 4097 2",
            "onnode 2 ls -l /",
            "net --ping 2 9",
            "net --load 2 16 raw",
            "disks",
            "disks --check all",
            "disks --check 2",
            "crash fs",
            "node drain 2",
            "node remove 2 --force",
            "node add 3",
            "node add 4 --key 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff --mac 52:54:00:4b:00:04",
            "node add 4 --mac 52:54:00:4b:00:04 --key 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            "node revoke 3",
            "node key 3 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in [
            "net 1 2",
            "net --ping 2 0",
            "nodes 1",
            "ps x",
            "migrate 5",
            "migrate a 2",
            "migrate 5 0",
            "onnode 2",
            "net --ping",
            "net --load 2",
            "net --load 2 16 sealed",
            "disks 1 2",
            "disks --check x",
            "crash",
            "crash fs x",
            "node",
            "node drain",
            "node sell 2",
            "node drain x",
            "node add 2 --force",
            "node drain 2 now",
            "node drain 2 --force now",
            "node key 2 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff now",
            "node add 4 --key 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
            "node add 4 --key 12 --mac 52:54:00:4b:00:04",
            "node add 4 now",
            "node revoke 2 --force",
            "node key 2",
            "node key 2 12",
            "node key x 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn applet_help_begins_with_its_usage() {
        for applet in APPLETS {
            assert!(applet.help().starts_with(&format!("Usage: {}", applet.name)));
        }
    }
}
