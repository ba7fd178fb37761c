// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes: what is asked of fs-server.

use super::failed;
use super::world::{BASE, World, pipe, regular};
use abi::linux::general::*;
use abi::{Errno, InodeId};
use fs_api::file::{Inode, InodeOf};
use fs_api::name::{GetExtra, Named, RemoveExtra, SetExtra};

#[test]
fn attributes_are_asked_for_by_path_link_and_descriptor() {
    let mut world = World::new();
    world.put(BASE, b"/tmp/x\0");
    world.put(BASE + 64, b"user.a\0value");
    let (path, name, value) = (BASE, BASE + 64, BASE + 71);
    world.expect::<SetExtra>(Ok(Named::Here(())));
    assert_eq!(world.call(__NR_lsetxattr, &[path, name, value, 5, 1]), Some(0));
    let set = world.last::<SetExtra>();
    assert_eq!((set.at.path.as_str(), set.name.as_str(), set.follow), ("/tmp/x", "user.a", false));
    assert_eq!((set.addr, set.len, set.flags), (value, 5, XATTR_CREATE));
    world.expect::<GetExtra>(Ok(Named::Here(17)));
    assert_eq!(world.call(__NR_getxattr, &[path, name, BASE + 200, 50]), Some(17));
    let get = world.last::<GetExtra>();
    assert_eq!((get.addr, get.len, get.follow), (BASE + 200, 50, true));
    let fd = world.open(regular(3));
    world.expect::<InodeOf>(Ok(Inode { inode: InodeId::from_raw(9) }));
    world.expect::<GetExtra>(Err(Errno::ERANGE));
    assert_eq!(world.call(__NR_flistxattr, &[fd, BASE + 200, 50]), failed(Errno::ERANGE));
    let list = world.last::<GetExtra>();
    assert_eq!((list.at.dir, list.name.as_str()), (Some(InodeId::from_raw(9)), ""));
    world.expect::<RemoveExtra>(Ok(Named::Here(())));
    assert_eq!(world.call(__NR_removexattr, &[path, name]), Some(0));
    world.expect::<RemoveExtra>(Ok(Named::Elsewhere("/proc/1/stat".into())));
    assert_eq!(world.call(__NR_removexattr, &[path, name]), failed(Errno::EOPNOTSUPP));
}

#[test]
fn attributes_that_cannot_be_are_refused_without_an_ask() {
    let mut world = World::new();
    world.put(BASE, b"/tmp/x\0");
    world.put(BASE + 64, b"\0");
    world.put(BASE + 80, b"user.a\0");
    world.put(BASE + 1000, &[b'n'; 300]);
    let (path, name) = (BASE, BASE + 80);
    let set = |world: &mut World, args: &[u64]| world.call(__NR_setxattr, args);
    assert_eq!(set(&mut world, &[path, BASE + 64, BASE, 1, 0]), failed(Errno::ERANGE));
    assert_eq!(set(&mut world, &[path, BASE + 1000, BASE, 1, 0]), failed(Errno::ERANGE));
    assert_eq!(set(&mut world, &[path, name, BASE, 1, 4]), failed(Errno::EINVAL));
    assert_eq!(set(&mut world, &[path, name, BASE, 65_537, 0]), failed(Errno::E2BIG));
    assert_eq!(set(&mut world, &[path, name, BASE, 65_536, 0]), failed(Errno::ENOSPC));
    assert_eq!(set(&mut world, &[path, 8, BASE, 1, 0]), failed(Errno::EFAULT));
    let fd = world.open(pipe(3));
    assert_eq!(world.call(__NR_fgetxattr, &[fd, name, 0, 0]), failed(Errno::EOPNOTSUPP));
    assert_eq!(world.call(__NR_fgetxattr, &[77, name, 0, 0]), failed(Errno::EBADF));
    assert!(world.asked().is_empty());
}
