// SPDX-License-Identifier: MIT OR Apache-2.0
//! The read-only tree below: the boot image's files, and the directories and devices that every node
//! has. It is the same on every node, and so are its inode numbers.

use crate::device::Device;
use abi::image::{RootEntry, RootKind};
use abi::{InodeId, SlotNo};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use runtime::collections::HashMap;

/// Set in the serial of an inode of the image.
const LOWER_BIT: u64 = 1 << 53;

/// An inode of the image: its index, which counts from 0, the root.
pub type LowerNo = u32;
/// The root directory.
pub const ROOT: LowerNo = 0;

/// One file of the image.
#[derive(Debug)]
pub struct LowerNode {
    /// The directory that it is in; the root is in itself.
    pub parent: LowerNo,
    /// Its (first) name.
    pub name: Box<str>,
    /// Permission bits.
    pub mode: u32,
    /// Last change, seconds since 1970.
    pub mtime_s: i64,
    /// Links.
    pub links: u32,
    /// What it is.
    pub kind: LowerKind,
}

/// What a file of the image is.
#[derive(Debug)]
pub enum LowerKind {
    /// A directory: its entries, sorted by name.
    Directory(Vec<(Box<str>, LowerNo)>),
    /// Bytes of RootData.
    File {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// A symbolic link.
    Link(Box<str>),
    /// A device that fs-server has.
    Device(Device),
    /// Belongs to proc-server: a directory with all below it, or a device.
    Elsewhere {
        /// Whether it is a directory.
        directory: bool,
    },
}

/// The tree.
#[derive(Debug)]
pub struct Lower {
    nodes: Vec<LowerNode>,
}

/// Directories that programs write to, with their permissions unless the image says others. They
/// have a writable part from the start, so that nobody need be told; and one home, so that a file
/// can be renamed and linked between them. Their numbers follow the root's in this order.
const WRITABLE: [(&str, u32); 9] = [
    ("tmp", 0o1777),
    ("root", 0o700),
    ("home", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
    ("run", 0o755),
    ("dev", 0o755),
    ("dev/shm", 0o1777),
    ("etc", 0o755),
];
const LINKS: [(&str, &str); 4] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

impl Lower {
    /// Builds the tree.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the image's index.
    pub fn new(entries: &[RootEntry]) -> Result<Self, &'static str> {
        let root = LowerNode {
            parent: ROOT,
            name: "".into(),
            mode: 0o755,
            mtime_s: 0,
            links: 2,
            kind: LowerKind::Directory(Vec::new()),
        };
        let mut build = Build { nodes: vec![root], by_path: HashMap::default() };
        build.by_path.insert(String::new(), ROOT);
        for (path, mode) in WRITABLE {
            build.add(path, mode, 0, LowerKind::Directory(Vec::new()))?;
        }
        for entry in entries {
            build.entry(entry)?;
        }
        build.builtin()?;
        let mut lower = Self { nodes: build.nodes };
        for node in &mut lower.nodes {
            if let LowerKind::Directory(children) = &mut node.kind {
                children.sort_unstable();
            }
        }
        Ok(lower)
    }

    /// The directories that have a writable part from the start.
    pub fn writable() -> impl Iterator<Item = InodeId> {
        (1..=WRITABLE.len() as LowerNo).map(Self::id)
    }

    /// The inode's id: the slot of a directory's writable part follows from its number.
    pub fn id(number: LowerNo) -> InodeId {
        let shared = number as usize <= WRITABLE.len();
        let slot = if shared { 0 } else { (number.wrapping_mul(0x9e37_79b9) >> 22) as u16 };
        let slot = SlotNo::new(slot).expect("ten bits are a slot");
        InodeId::new(slot, LOWER_BIT | u64::from(number)).expect("the serial has 54 bits")
    }

    /// The inode of the image that this id names, if it is well-formed.
    pub fn number(&self, id: InodeId) -> Option<LowerNo> {
        if id.serial() & LOWER_BIT == 0 {
            return None;
        }
        let number = LowerNo::try_from(id.serial() & !LOWER_BIT).ok()?;
        ((number as usize) < self.nodes.len() && Self::id(number) == id).then_some(number)
    }

    /// Whether an id is one of the image's, or claims to be.
    pub fn is_lower(id: InodeId) -> bool {
        id.serial() & LOWER_BIT != 0
    }

    /// The file with this number.
    pub fn node(&self, number: LowerNo) -> &LowerNode {
        &self.nodes[number as usize]
    }

    /// A directory's entries; nothing else has any.
    pub fn entries(&self, dir: LowerNo) -> &[(Box<str>, LowerNo)] {
        match &self.node(dir).kind {
            LowerKind::Directory(children) => children,
            LowerKind::File { .. }
            | LowerKind::Link(_)
            | LowerKind::Device(_)
            | LowerKind::Elsewhere { .. } => &[],
        }
    }

    /// The position and number of a directory's entry.
    pub fn find(&self, dir: LowerNo, name: &str) -> Option<(usize, LowerNo)> {
        let entries = self.entries(dir);
        let at = entries.binary_search_by(|(entry, _)| (**entry).cmp(name)).ok()?;
        Some((at, entries[at].1))
    }

    /// The absolute path.
    pub fn path(&self, number: LowerNo) -> String {
        let mut names = Vec::new();
        let mut at = number;
        while at != ROOT {
            names.push(&*self.node(at).name);
            at = self.node(at).parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
    }
}

struct Build {
    nodes: Vec<LowerNode>,
    by_path: HashMap<String, LowerNo>,
}

impl Build {
    fn entry(&mut self, entry: &RootEntry) -> Result<(), &'static str> {
        let mode = u32::from(entry.mode);
        let kind = match &entry.kind {
            RootKind::Directory if entry.path.is_empty() => {
                self.nodes[0].mode = mode;
                return Ok(());
            }
            RootKind::Directory => {
                if let Some(&number) = self.by_path.get(&entry.path)
                    && number as usize <= WRITABLE.len()
                {
                    let node = &mut self.nodes[number as usize];
                    (node.mode, node.mtime_s) = (mode, entry.mtime_s);
                    return Ok(());
                }
                LowerKind::Directory(Vec::new())
            }
            RootKind::File { offset, len } => LowerKind::File { offset: *offset, len: *len },
            RootKind::Symlink(target) => LowerKind::Link(target.as_str().into()),
            RootKind::HardLink(path) => {
                let of = *self.by_path.get(path).ok_or("a hard link stands before its file")?;
                self.nodes[of as usize].links += 1;
                return self.name(&entry.path, of).map(|_| ());
            }
        };
        self.add(&entry.path, mode, entry.mtime_s, kind)
    }

    fn add(
        &mut self,
        path: &str,
        mode: u32,
        mtime_s: i64,
        kind: LowerKind,
    ) -> Result<(), &'static str> {
        let number = LowerNo::try_from(self.nodes.len()).map_err(|_| "the index is too long")?;
        let directory =
            matches!(kind, LowerKind::Directory(_) | LowerKind::Elsewhere { directory: true });
        let parent = self.name(path, number)?;
        if directory {
            self.nodes[parent as usize].links += 1;
        }
        let name = path.rsplit('/').next().unwrap_or(path).into();
        let links = if directory { 2 } else { 1 };
        self.nodes.push(LowerNode { parent, name, mode, mtime_s, links, kind });
        Ok(())
    }

    fn name(&mut self, path: &str, number: LowerNo) -> Result<LowerNo, &'static str> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." || name == ".." {
            return Err("an entry of the image has no name");
        }
        let parent = *self.by_path.get(dir).ok_or("an entry stands before its directory")?;
        let LowerKind::Directory(children) = &mut self.nodes[parent as usize].kind else {
            return Err("an entry stands in something that is no directory");
        };
        if self.by_path.insert(path.to_owned(), number).is_some() {
            return Err("a path stands twice in the index");
        }
        children.push((name.into(), number));
        Ok(parent)
    }

    fn builtin(&mut self) -> Result<(), &'static str> {
        self.unless_there("sys", 0o755, LowerKind::Directory(Vec::new()))?;
        for path in ["proc", "sys/cluster"] {
            // The image may hold the mount point; what is in it is not seen.
            let kind = LowerKind::Elsewhere { directory: true };
            match self.by_path.get(path) {
                Some(number) => self.nodes[*number as usize].kind = kind,
                None => self.add(path, 0o555, 0, kind)?,
            }
        }
        for device in Device::ALL {
            self.unless_there(device.path(), 0o666, LowerKind::Device(device))?;
        }
        for path in ["dev/tty", "dev/console"] {
            self.unless_there(path, 0o666, LowerKind::Elsewhere { directory: false })?;
        }
        for (path, target) in LINKS {
            self.unless_there(path, 0o777, LowerKind::Link(target.into()))?;
        }
        Ok(())
    }

    fn unless_there(&mut self, path: &str, mode: u32, kind: LowerKind) -> Result<(), &'static str> {
        let parent = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let parent_is_directory = self.by_path.get(parent).is_some_and(|number| {
            matches!(self.nodes[*number as usize].kind, LowerKind::Directory(_))
        });
        if self.by_path.contains_key(path) || !parent_is_directory {
            return Ok(());
        }
        self.add(path, mode, 0, kind)
    }
}
