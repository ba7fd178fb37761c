// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree's rules: parents, replacement, packing.

use super::*;

fn kinds(tree: &Tree) -> Vec<(String, RootKind)> {
    tree.pack().index.into_iter().map(|entry| (entry.path, entry.kind)).collect()
}

#[test]
fn parents_come_before_children() {
    let mut tree = Tree::new();
    tree.file("a/b/c", 0o644, b"x".to_vec()).expect("a good path");
    let paths: Vec<String> = tree.pack().index.into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, ["a", "a/b", "a/b/c"]);
}

#[test]
fn later_file_replaces_earlier_link() {
    let mut tree = Tree::new();
    tree.symlink("bin/ps", "busybox").expect("a good path");
    tree.file("bin/ps", 0o755, Vec::new()).expect("a good path");
    assert_eq!(kinds(&tree)[1].1, RootKind::File { offset: 0, len: 0 });
}

#[test]
fn path_through_linked_directory_follows_it() {
    let mut tree = Tree::new();
    tree.symlink("sbin", "bin").expect("a good path");
    tree.file("sbin/tool", 0o755, Vec::new()).expect("a good path");
    assert!(kinds(&tree).iter().any(|(path, _)| path == "bin/tool"));
}

#[test]
fn bad_paths_are_refused() {
    let mut tree = Tree::new();
    for path in ["", "/a", "a//b", "a/../b", ".", &"x".repeat(300), &"x/".repeat(500)] {
        assert!(tree.file(path, 0o644, Vec::new()).is_err(), "{path}");
    }
}

#[test]
fn file_in_place_of_directory_with_files_is_refused() {
    let mut tree = Tree::new();
    tree.file("etc/passwd", 0o644, Vec::new()).expect("a good path");
    assert!(tree.file("etc", 0o644, Vec::new()).is_err());
    assert!(tree.file("etc/passwd/x", 0o644, Vec::new()).is_err());
}

#[test]
fn equal_trees_pack_to_equal_bytes() {
    let mut one = Tree::new();
    let mut two = Tree::new();
    for (tree, names) in [(&mut one, ["a", "b"]), (&mut two, ["b", "a"])] {
        for name in names {
            tree.file(name, 0o644, name.repeat(5000).into_bytes()).expect("a good path");
        }
    }
    assert_eq!(one.pack().index, two.pack().index);
    assert_eq!(one.pack().data, two.pack().data);
    assert_eq!(one.pack().data.len(), 4 * PAGE_BYTES);
}

#[test]
fn tools_take_the_place_of_applets() {
    let busybox = Busybox::new(b"bb".to_vec(), "bin/sh\nusr/bin/ps\nsbin/halt\n");
    let tools = Tools { program: b"tools".to_vec(), applets: &["ps", "halt"] };
    let tree = build(&busybox, &tools, &RootContent::default()).expect("it builds");
    let kinds = kinds(&tree);
    let at = |path: &str| kinds.iter().find(|(other, _)| other == path).map(|(_, kind)| kind);
    assert_eq!(at("bin/ps"), Some(&RootKind::Symlink("cluster-tools".into())));
    assert_eq!(at("usr/bin/ps"), None);
    assert_eq!(at("sbin/halt"), None);
    assert_eq!(at("bin/sh"), Some(&RootKind::Symlink("busybox".into())));
    assert!(at("etc/profile").is_some() && at("tmp").is_some());
}

#[test]
fn overlay_keeps_modes_and_links() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    std::fs::write(bin.join("x"), b"x").expect("a file");
    std::fs::set_permissions(bin.join("x"), std::fs::Permissions::from_mode(0o751)).expect("mode");
    symlink("x", bin.join("y")).expect("a link");
    let mut tree = Tree::new();
    overlay::folder(&mut tree, folder.path()).expect("it copies");
    let index = tree.pack().index;
    assert_eq!((index[1].path.as_str(), index[1].mode), ("bin/x", 0o751));
    assert_eq!(index[2].kind, RootKind::Symlink("x".into()));
}
