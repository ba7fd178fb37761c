// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each mistake that a person can make in cluster.toml, and the line it is reported on.

use super::*;

fn lines(text: &str) -> Vec<(usize, String)> {
    match parse("cluster.toml", text, Path::new("")) {
        Ok(_) => Vec::new(),
        Err(error) => error.mistakes.into_iter().map(|m| (m.line, m.text)).collect(),
    }
}

fn one(text: &str, line: usize, contains: &str) {
    let found = lines(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, line, "{found:?}");
    assert!(found[0].1.contains(contains), "{found:?}");
}

#[test]
fn least_configuration_gets_the_defaults() {
    let cluster = parse("c", "[[node]]\nid = 7\n", Path::new("")).expect("it is right");
    assert_eq!(cluster.nodes[0].mac, [0x52, 0x54, 0, 0x4b, 0, 7]);
    assert_eq!(cluster.nodes[0].memory_mib, MEMORY_MIB_DEFAULT);
    assert_eq!(cluster.nodes[0].disk_mib, DISK_MIB_DEFAULT);
    assert_eq!(cluster.mtu, MTU_DEFAULT);
}

#[test]
fn keys_folder_starts_at_the_file() {
    let text = "keys = \"secret\"\n[[node]]\nid = 1\n";
    let cluster = parse("c", text, Path::new("/etc/korrigan")).expect("it is right");
    assert_eq!(cluster.keys.as_deref(), Some(Path::new("/etc/korrigan/secret")));
    one("keys = 3\n[[node]]\nid = 1\n", 1, "a folder");
}

#[test]
fn node_without_disk_says_0() {
    let cluster = parse("c", "[[node]]\nid = 7\ndisk = 0\n", Path::new("")).expect("it is right");
    assert_eq!(cluster.nodes[0].disk_mib, 0);
}

#[test]
fn node_that_joins_says_so_and_needs_somebody_to_join() {
    let text =
        "[[node]]\nid = 1\n[[node]]\nid = 9\njoins = true\n[[node]]\nid = 3\njoins = false\n";
    let cluster = parse("c", text, Path::new("")).expect("it is right");
    assert_eq!(cluster.joining, [9]);
    one("[[node]]\nid = 1\njoins = true\n", 3, "none founds");
    one("[[node]]\nid = 1\n[[node]]\nid = 2\njoins = 1\n", 5, "true or false");
    one("views = \"static\"\n[[node]]\nid = 1\n[[node]]\nid = 2\njoins = true\n", 6, "static");
}

#[test]
fn nodes_are_sorted_by_id() {
    let cluster = parse("c", "[[node]]\nid = 2\n[[node]]\nid = 1\n", Path::new("")).expect("right");
    assert_eq!(cluster.nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn broken_syntax_is_reported_with_its_line() {
    one("name = \"x\"\nmtu = = 3\n[[node]]\nid = 1\n", 2, "not TOML");
}

#[test]
fn unknown_key_gets_a_hint() {
    one("[[node]]\nid = 1\nmemroy = 64\n", 3, "did you mean `memory`?");
    one("zebra = 1\n[[node]]\nid = 1\n", 1, "the cluster takes name");
}

#[test]
fn missing_nodes_are_reported() {
    one("name = \"x\"\n", 1, "needs `node`");
    one("[[node]]\ncores = 1\n", 1, "needs `id`");
}

#[test]
fn duplicate_id_names_the_first_line() {
    one("[[node]]\nid = 1\n[[node]]\nid = 1\n", 4, "node 1 is on line 2 already");
}

#[test]
fn bad_mac_shows_a_good_one() {
    for mac in ["52:54", "52:54:00:00:00:0g", "52-54-00-00-00-01", "5:5:0:0:0:1"] {
        one(&format!("[[node]]\nid = 1\nmac = \"{mac}\"\n"), 3, "52:54:00:4b:00:01");
    }
    one("[[node]]\nid = 1\nmac = \"53:54:00:00:00:01\"\n", 3, "group address");
}

#[test]
fn duplicate_mac_is_reported() {
    let text = "[[node]]\nid = 1\nmac = \"52:54:00:4b:00:02\"\n[[node]]\nid = 2\n";
    one(text, 5, "has this mac already");
}

#[test]
fn values_out_of_range_are_reported() {
    one("mtu = 100\n[[node]]\nid = 1\n", 1, "1500 to 9000");
    one("[[node]]\nid = 0\n", 2, "1 to 1024");
    one("[[node]]\nid = 1\ncores = 99\n", 3, "1 to 8");
    one("[[node]]\nid = 1\nmemory = \"big\"\n", 3, "MiB");
    one("[[node]]\nid = 1\ndisk = -1\n", 3, "0 to 1048576 MiB");
    one("[[node]]\nid = 1\ndisk = 7\n", 3, "at least 8 MiB, or 0");
    one("[[node]]\nid = 1\ndisk = \"64\"\n", 3, "or 0 for none");
}

#[test]
fn unknown_composition_is_reported() {
    one("composition = \"slow\"\n[[node]]\nid = 1\n", 1, "isolated");
}

#[test]
fn composition_beside_domains_is_refused() {
    let text = "composition = \"fast\"\n[[node]]\nid = 1\n[[domain]]\nname = \"a\"\nservers = []\n";
    assert!(lines(text).iter().any(|(line, text)| *line == 4 && text.contains("line 1 names")));
}

fn composed(domains: &str) -> String {
    format!("[[node]]\nid = 1\n{domains}")
}

const ALONE: &str = "[[domain]]\nname = \"c\"\nservers = [\"console\"]\n[[domain]]\nname = \"t\"\n\
    servers = [\"timer\"]\n[[domain]]\nname = \"n\"\nservers = [\"net\"]\n[[domain]]\n\
    name = \"d\"\nservers = [\"disk\"]\n";

#[test]
fn complete_composition_is_taken() {
    let rest = "[[domain]]\nname = \"rest\"\nheap_kib = 9000\n\
                servers = [\"mem\", \"fs\", \"ipc\", \"proc\", \"shell\", \"views\"]\n";
    let text = composed(&format!("{ALONE}{rest}"));
    let cluster = parse("c", &text, Path::new("")).expect("it is right");
    assert_eq!(cluster.domains[4].servers, [3, 4, 5, 6, 8, 9]);
    assert_eq!(cluster.domains[4].heap_kib, 9000);
}

#[test]
fn driver_with_company_is_refused() {
    let text = composed("[[domain]]\nname = \"a\"\nservers = [\"console\", \"mem\"]\n");
    assert!(lines(&text).iter().any(|(line, text)| *line == 5 && text.contains("the driver")));
}

#[test]
fn unknown_missing_and_double_servers_are_all_reported() {
    let rest =
        "[[domain]]\nname = \"rest\"\nservers = [\"mem\", \"fss\", \"ipc\", \"proc\", \"mem\"]\n";
    let found = lines(&composed(&format!("{ALONE}{rest}")));
    let says = |part: &str| found.iter().any(|(_, text)| text.contains(part));
    assert!(says("did you mean \"fs\"?"), "{found:?}");
    assert!(says("no domain hosts the server \"shell\""), "{found:?}");
    assert!(says("\"mem\" is hosted on line 17 already"), "{found:?}");
}

#[test]
fn absent_overlay_and_file_are_reported() {
    let text = "[[node]]\nid = 1\n[root]\noverlay = [\"no-such-folder\"]\n[[root.file]]\n\
                path = \"bin/x\"\nfrom = \"no-such-file\"\n";
    let found = lines(text);
    let numbers: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(numbers, [4, 6, 7], "{found:?}");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    assert_eq!(lines("mtu = 1\nlogin = 3\n[[node]]\nid = 1\ncores = 0\n").len(), 3);
}
