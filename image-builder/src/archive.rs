// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lays the boot image's archive out in bytes; `abi::image` says what is in it.

use crate::rootfs::Packed;
use abi::image::{ArchiveHeader, ENTRIES, HEADER_BYTES, NodeConfig};
use abi::limits::PAGE_BYTES;
use anyhow::{Context, Result};

/// The archive of one node; `link_key` is its private key, or nothing.
///
/// # Errors
/// The configuration or the index cannot be encoded.
pub fn encode(
    config: &NodeConfig,
    domain: &[u8],
    root: &Packed,
    link_key: &[u8],
) -> Result<Vec<u8>> {
    let config = postcard::to_stdvec(config).context("cannot encode the node's configuration")?;
    let index = postcard::to_stdvec(&root.index).context("cannot encode the root's index")?;
    let parts: [&[u8]; ENTRIES] = [&config, domain, &index, &root.data, link_key];
    let mut entries = [(0, 0); ENTRIES];
    let mut offset = pages(HEADER_BYTES);
    for (entry, part) in entries.iter_mut().zip(parts) {
        *entry = (offset as u64, part.len() as u64);
        offset += pages(part.len());
    }
    let header = ArchiveHeader { total: offset as u64, entries };
    let mut out = Vec::with_capacity(offset);
    out.extend(header.encode());
    for (part, (place, _)) in parts.iter().zip(entries) {
        out.resize(place as usize, 0);
        out.extend_from_slice(part);
    }
    out.resize(offset, 0);
    Ok(out)
}

/// Bytes of the whole pages that hold `bytes`.
fn pages(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cluster;
    use crate::rootfs::Tree;
    use abi::image::{Entry, RootEntry, RootKind};

    fn part(archive: &[u8], entry: Entry) -> &[u8] {
        let header = ArchiveHeader::decode(archive).expect("the header is right");
        let (offset, len) = header.entries[entry as usize];
        &archive[offset as usize..(offset + len) as usize]
    }

    #[test]
    fn archive_reads_back_as_root_reads_it() {
        let mut tree = Tree::new();
        tree.file("bin/hello", 0o755, b"hello".to_vec()).expect("the path is right");
        tree.symlink("bin/hi", "hello").expect("the path is right");
        let config = Cluster::standard().node_config(2, Vec::new());
        let archive =
            encode(&config, b"\x7fELF domain", &tree.pack(), &[9; 32]).expect("it encodes");

        assert_eq!(archive.len() % PAGE_BYTES, 0);
        assert_eq!(part(&archive, Entry::Domain), b"\x7fELF domain");
        assert_eq!(part(&archive, Entry::LinkKey), [9; 32]);
        let read: NodeConfig =
            postcard::from_bytes(part(&archive, Entry::Config)).expect("the config is right");
        assert_eq!(read, config);
        let index: Vec<RootEntry> =
            postcard::from_bytes(part(&archive, Entry::RootIndex)).expect("the index is right");
        let data = part(&archive, Entry::RootData);
        let hello = index.iter().find(|entry| entry.path == "bin/hello").expect("it is there");
        let RootKind::File { offset, len } = hello.kind else { panic!("it is a file") };
        assert_eq!(offset as usize % PAGE_BYTES, 0);
        assert_eq!(&data[offset as usize..(offset + len) as usize], b"hello");
    }
}
