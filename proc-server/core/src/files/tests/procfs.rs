// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that fs-server leaves to proc-server.

use super::failed;
use super::world::{BASE, World, pipe};
use crate::layout::stat::StatLayout;
use abi::linux::general::*;
use abi::{Errno, FileId, InodeId, NodeId, ServerId};
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::name::{Enter, FileKind, NameStat, Named, Open, Opened, ReadLink};
use ipc_api::{TerminalOpen, TerminalOpened};
use proc_api::AdminReply;
use runtime::testing::{self, Net};

fn open(world: &mut World, path: &str, flags: u32) -> Option<i64> {
    let mut bytes = Vec::from(path);
    bytes.push(0);
    world.put(BASE, &bytes);
    world.expect::<Open>(Ok(Named::Elsewhere(path.into())));
    world.call(__NR_open, &[BASE, flags.into(), 0])
}

fn read(world: &mut World, fd: i64) -> String {
    let count = world.call(__NR_read, &[fd as u64, BASE + 0x1000, 4096]).expect("it ends");
    let bytes = world.get(BASE + 0x1000, usize::try_from(count).expect("no error"));
    String::from_utf8(bytes).expect("a text")
}

#[test]
fn stat_of_a_process_is_a_snapshot_with_an_offset() {
    let mut world = World::new();
    let fd = open(&mut world, "/proc/1/stat", O_RDONLY).expect("it ends");
    let text = read(&mut world, fd);
    assert!(text.starts_with("1 (test) R 0 1 1 1281 "), "{text}");
    assert_eq!(read(&mut world, fd), "");
    assert_eq!(world.call(__NR_lseek, &[fd as u64, 2, 0]), Some(2));
    assert!(read(&mut world, fd).starts_with("(test)"));
}

#[test]
fn self_leads_to_the_process_itself() {
    let mut world = World::new();
    world.put(BASE, b"/proc/self/comm\0");
    world.expect::<Open>(Ok(Named::Elsewhere("/proc/self/comm".into())));
    world.expect::<Open>(Ok(Named::Elsewhere("/proc/1/comm".into())));
    let fd = world.call(__NR_open, &[BASE, 0, 0]).expect("it ends");
    assert_eq!(read(&mut world, fd), "test\n");
    world.put(BASE, b"/proc/self\0");
    world.expect::<ReadLink>(Ok(Named::Elsewhere("/proc/self".into())));
    assert_eq!(world.call(__NR_readlink, &[BASE, BASE + 64, 10]), Some(1));
    assert_eq!(world.get(BASE + 64, 1), b"1");
}

#[test]
fn arguments_are_read_from_the_program() {
    let mut world = World::new();
    let fd = open(&mut world, "/proc/1/environ", O_RDONLY).expect("it ends");
    assert_eq!(read(&mut world, fd), "");
    world.put(BASE, b"/proc/1/cmdline\0");
    world.expect::<Open>(Ok(Named::Elsewhere("/proc/1/cmdline".into())));
    let fd = world.call(__NR_open, &[BASE, 0, 0]).expect("it ends");
    assert_eq!(read(&mut world, fd), "/proc/");
}

#[test]
fn names_that_do_not_exist_and_writes_are_refused() {
    let mut world = World::new();
    assert_eq!(open(&mut world, "/proc/99/stat", O_RDONLY), failed(Errno::ENOENT));
    assert_eq!(open(&mut world, "/proc/nothing", O_RDONLY), failed(Errno::ENOENT));
    assert_eq!(open(&mut world, "/proc/1/stat", O_WRONLY), failed(Errno::EACCES));
    assert_eq!(open(&mut world, "/proc/1", O_RDWR), failed(Errno::EISDIR));
    assert_eq!(open(&mut world, "/proc/1/stat", O_DIRECTORY), failed(Errno::ENOTDIR));
}

#[test]
fn proc_lists_processes_and_can_be_a_working_directory() {
    let mut world = World::new();
    let fd = open(&mut world, "/proc", O_RDONLY | O_DIRECTORY).expect("it ends");
    let count = world.call(__NR_getdents64, &[fd as u64, BASE + 0x1000, 4096]).expect("it ends");
    let bytes = world.get(BASE + 0x1000, usize::try_from(count).expect("no error"));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("meminfo\0") && text.contains("self\0") && text.contains("1\0"));
    assert_eq!(world.call(__NR_getdents64, &[fd as u64, BASE, 4096]), Some(0));
    world.put(BASE, b"/proc/1\0");
    world.expect::<Enter>(Ok(Named::Elsewhere("/proc/1".into())));
    assert_eq!(world.call(__NR_chdir, &[BASE]), Some(0));
    world.put(BASE, b"stat\0");
    world.expect::<NameStat>(Ok(Named::Elsewhere("/proc/1/stat".into())));
    assert_eq!(world.call(__NR_stat, &[BASE, BASE + 64]), Some(0));
    assert_eq!(world.last::<NameStat>().at.path, "/proc/1/stat");
    let stat: StatLayout = world.read(BASE + 64);
    assert_eq!(stat.mode, S_IFREG | 0o444);
}

#[test]
fn link_of_a_process_leads_on() {
    let mut world = World::new();
    world.put(BASE, b"/proc/1/exe\0");
    world.expect::<ReadLink>(Ok(Named::Elsewhere("/proc/1/exe".into())));
    assert_eq!(world.call(__NR_readlink, &[BASE, BASE + 64, 100]), Some(9));
    assert_eq!(world.get(BASE + 64, 9), b"/bin/test");
    world.expect::<Enter>(Ok(Named::Elsewhere("/proc/1/cwd/tmp".into())));
    world.expect::<Enter>(Ok(Named::Here(InodeId::from_raw(8))));
    let directory = Opened { file: FileId::from_raw(9), kind: FileKind::Directory };
    world.expect::<Open>(Ok(Named::Here(directory)));
    assert_eq!(world.call(__NR_chdir, &[BASE]), Some(0));
    assert_eq!(world.last::<Enter>().at.path, "/tmp");
}

#[test]
fn links_that_lead_in_circles_are_eloop() {
    let mut world = World::new();
    world.put(BASE, b"/proc/1/cwd\0");
    for _ in 0..9 {
        world.expect::<Enter>(Ok(Named::Elsewhere("/proc/1/root".into())));
    }
    assert_eq!(world.call(__NR_chdir, &[BASE]), failed(Errno::ELOOP));
}

#[test]
fn own_descriptor_is_opened_again_as_itself() {
    let mut world = World::new();
    world.open(pipe(4));
    assert_eq!(open(&mut world, "/proc/1/fd/0", O_RDONLY), Some(1));
    assert_eq!(world.held(), 1);
    assert_eq!(open(&mut world, "/proc/1/fd/7", O_RDONLY), failed(Errno::ENOENT));
}

#[test]
fn controlling_terminal_is_opened_at_the_ipc_server() {
    let mut world = World::new();
    world.expect::<Open>(Ok(Named::Elsewhere("/dev/tty".into())));
    world.expect::<TerminalOpen>(Ok(TerminalOpened { file: FileId::from_raw(6) }));
    world.put(BASE, b"/dev/tty\0");
    assert_eq!(world.call(__NR_open, &[BASE, O_RDWR.into()]), Some(0));
    assert_eq!(Some(world.last::<TerminalOpen>().node), NodeId::new(1));
}

#[test]
fn command_is_written_and_its_answer_read() {
    let mut world = World::new();
    let fd = open(&mut world, "/sys/cluster/admin", O_RDWR).expect("it ends");
    assert_eq!(read(&mut world, fd), "");
    world.put(BASE, b"nodes -v\n");
    assert_eq!(world.call(__NR_write, &[fd as u64, BASE, 9]), Some(9));
    assert_eq!(world.call(__NR_read, &[fd as u64, BASE, 100]), None);
    let reply = AdminReply { request: 2, text: "1 up\n".into(), status: Some(0) };
    let shell = ServerId::Shell;
    testing::call(&world.host, &mut world.node, shell, &reply, &mut []).expect("it is taken");
    assert_eq!(world.result(), Some(15));
    assert_eq!(world.get(BASE, 15), b"1 up\n\x1estatus 0\n");
    assert_eq!(read(&mut world, fd), "");
}

#[test]
fn unimplemented_calls_are_counted_by_name() {
    let mut world = World::new();
    assert_eq!(world.call(__NR_inotify_init1, &[0]), failed(Errno::ENOSYS));
    let fd = open(&mut world, "/sys/cluster/unimplemented", O_RDONLY).expect("it ends");
    assert_eq!(read(&mut world, fd), "294 inotify_init1 1\n");
}

/// Two nodes with a process each.
fn pair() -> ([World; 2], alloc::rc::Rc<core::cell::RefCell<Net>>) {
    let net = Net::shared();
    ([1, 2].map(|me| World::on(me, &[1, 2], net.clone())), net)
}

fn settle(worlds: &mut [World; 2], net: &core::cell::RefCell<Net>) {
    while !net.borrow().is_idle() {
        net.borrow_mut().deliver(0);
        for world in worlds.iter_mut() {
            world.host.collect(&mut world.node, ServerId::Net);
        }
    }
}

fn pid_of(world: &mut World) -> u32 {
    let pid = world.call(__NR_getpid, &[]).expect("it ends");
    u32::try_from(pid).expect("a pid")
}

#[test]
fn text_of_a_process_elsewhere_comes_from_its_node() {
    let (mut worlds, net) = pair();
    let pid = pid_of(&mut worlds[1]);
    let path = alloc::format!("/proc/{pid}/status");
    assert_eq!(open(&mut worlds[0], &path, O_RDONLY), None);
    settle(&mut worlds, &net);
    let fd = worlds[0].result().expect("it ends");
    let text = read(&mut worlds[0], fd);
    assert!(text.contains(&alloc::format!("Pid:\t{pid}\n")) && text.contains("Node:\t2\n"));
    let path = alloc::format!("/proc/{}/status", pid + 1);
    assert_eq!(open(&mut worlds[0], &path, O_RDONLY), None);
    settle(&mut worlds, &net);
    assert_eq!(worlds[0].result(), failed(Errno::ENOENT));
}

#[test]
fn proc_lists_the_processes_of_all_nodes() {
    let (mut worlds, net) = pair();
    let pid = pid_of(&mut worlds[1]);
    assert_eq!(open(&mut worlds[0], "/proc", O_RDONLY), None);
    settle(&mut worlds, &net);
    let fd = worlds[0].result().expect("it ends");
    let count = worlds[0].call(__NR_getdents64, &[fd as u64, BASE, 4096]).expect("it ends");
    let bytes = worlds[0].get(BASE, usize::try_from(count).expect("no error"));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains(&alloc::format!("{pid}\0")));
}

#[test]
fn proc_of_a_node_that_is_down_is_an_error_and_the_list_goes_on() {
    let (mut worlds, net) = pair();
    let pid = pid_of(&mut worlds[1]);
    let path = alloc::format!("/proc/{pid}/status");
    assert_eq!(open(&mut worlds[0], &path, O_RDONLY), None);
    net.borrow_mut().kill(NodeId::new(2).expect("a node"));
    worlds[0].host.collect(&mut worlds[0].node, ServerId::Net);
    assert_eq!(worlds[0].result(), failed(Errno::EHOSTDOWN));
    assert_eq!(open(&mut worlds[0], "/proc", O_RDONLY), Some(0));
}
