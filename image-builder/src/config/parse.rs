// SPDX-License-Identifier: MIT OR Apache-2.0
//! cluster.toml to [`Cluster`].

use super::composition::{self, NAMES};
use super::fields::{At, Fields};
use super::mistakes::{ConfigError, Mistakes};
use super::{
    CORES_DEFAULT, Cluster, DISK_MIB_DEFAULT, ExtraFile, LOGIN_DEFAULT, MEMORY_MIB_DEFAULT,
    MEMORY_MIB_MAX, MEMORY_MIB_MIN, MTU_DEFAULT, RootContent, default_mac,
};
use abi::ServerId;
use abi::id::NODES_MAX;
use abi::image::{DomainEntry, NodeEntry};
use abi::limits::{CORES_MAX, NODES_CONFIGURED_MAX};
use disk_api::limits::{DISK_MIB_MAX, DISK_MIB_MIN};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::de::DeTable;

/// Longest name of a cluster or domain, in bytes: it must fit a line of the console.
const NAME_BYTES_MAX: usize = 32;
/// Most heap of a domain, in KiB.
const HEAP_KIB_MAX: i64 = 1024 * 1024;

type Table<'t, 'i> = (&'t DeTable<'i>, Range<usize>);

/// The cluster that `text` describes; paths in it start at `folder`.
///
/// # Errors
/// All mistakes of the file.
pub fn parse(file: &str, text: &str, folder: &Path) -> Result<Cluster, ConfigError> {
    let mut mistakes = Mistakes::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut last_line = 0;
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        // The parser's second complaint about a line follows from its first.
        let line = mistakes.line(span.start);
        if line != std::mem::replace(&mut last_line, line) {
            mistakes.add(span, format!("not TOML: {}", error.message()));
        }
    }
    if !errors.is_empty() {
        // What follows would only report the broken syntax a second time.
        return mistakes.finish(Cluster::standard());
    }
    let known = [
        "name",
        "mtu",
        "views",
        "patience",
        "login",
        "keys",
        "composition",
        "node",
        "domain",
        "root",
    ];
    let top = Fields::new(document.get_ref(), 0..0, "the cluster", &known, &mut mistakes);
    let agreed_views = views(&top, &mut mistakes);
    let (nodes, joining) = nodes(&top, agreed_views, &mut mistakes);
    let cluster = Cluster {
        name: name(&top, &mut mistakes).unwrap_or_else(|| "korrigan".to_owned()),
        mtu: top
            .integer("mtu", 1500..=9000, " bytes", &mut mistakes)
            .map_or(MTU_DEFAULT, |mtu| mtu.value as u16),
        agreed_views,
        patience: top
            .integer("patience", 1..=20, " times", &mut mistakes)
            .map(|patience| patience.value as u8),
        nodes,
        joining,
        domains: domains(&top, &mut mistakes),
        login: login(&top, &mut mistakes),
        root: root(&top, folder, &mut mistakes),
        keys: top
            .text("keys", "a folder, like \"keys\"", &mut mistakes)
            .map(|keys| folder.join(keys.value)),
        // Where disks are is the run's affair: the command line says it.
        disks: None,
    };
    mistakes.finish(cluster)
}

/// A name of letters, digits, `-` and `_`.
fn name(fields: &Fields<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let right = "a text of letters, digits, - and _";
    let name = fields.text("name", right, mistakes)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.value.is_empty() || name.value.len() > NAME_BYTES_MAX || !name.value.chars().all(plain)
    {
        mistakes.add(name.span, format!("`name` must be {right}, 1 to {NAME_BYTES_MAX} of them"));
        return None;
    }
    Some(name.value)
}

/// Whether nodes agree on views, by the name of the way.
pub fn agreed(name: &str) -> Option<bool> {
    match name {
        "static" => Some(false),
        "agreed" => Some(true),
        _ => None,
    }
}

fn views(top: &Fields<'_, '_>, mistakes: &mut Mistakes<'_>) -> bool {
    let right = "\"static\" or \"agreed\"";
    let Some(views) = top.text("views", right, mistakes) else { return true };
    let agreed = agreed(&views.value);
    if agreed.is_none() {
        mistakes.add(views.span, format!("`views` must be {right}"));
    }
    agreed.unwrap_or(true)
}

fn login(top: &Fields<'_, '_>, mistakes: &mut Mistakes<'_>) -> Vec<String> {
    let right = "a list of texts, like [\"/bin/sh\", \"-l\"]";
    let Some(words) = top.texts("login", right, mistakes) else {
        return LOGIN_DEFAULT.map(str::to_owned).to_vec();
    };
    if !words.value.first().is_some_and(|word| word.value.starts_with('/')) {
        mistakes.add(words.span, format!("`login` must begin with a program's full path: {right}"));
    }
    words.value.into_iter().map(|word| word.value).collect()
}

/// The nodes, and the numbers of those that join.
fn nodes(
    top: &Fields<'_, '_>,
    agreed_views: bool,
    mistakes: &mut Mistakes<'_>,
) -> (Vec<NodeEntry>, Vec<u16>) {
    let tables = top.tables("node", "written as [[node]] tables", mistakes);
    if tables.is_empty() {
        top.missing("node", "add a [[node]] table with an id for each node", mistakes);
    }
    if let Some((_, span)) = tables.get(NODES_CONFIGURED_MAX) {
        let text = format!("a cluster has at most {NODES_CONFIGURED_MAX} nodes: drop the rest");
        mistakes.add(span.clone(), text);
    }
    let mut seen = Seen::default();
    let mut nodes: Vec<_> =
        tables.into_iter().filter_map(|table| node(table, &mut seen, mistakes)).collect();
    nodes.sort_by_key(|node| node.id);
    if let Some((first, span)) = seen.joining.first_key_value() {
        if !agreed_views {
            let text = format!("node {first} cannot join: with `views = \"static\"` nobody can");
            mistakes.add(span.clone(), text);
        } else if nodes.iter().all(|node| seen.joining.contains_key(&node.id)) {
            mistakes.add(span.clone(), "all nodes join, and none founds a cluster: drop this line");
        }
    }
    (nodes, seen.joining.into_keys().collect())
}

/// Where each id and address was seen first.
#[derive(Default)]
struct Seen {
    ids: BTreeMap<u16, usize>,
    macs: BTreeMap<[u8; 6], usize>,
    /// The nodes that join, and where it says so.
    joining: BTreeMap<u16, Range<usize>>,
}

fn node(
    (table, span): Table<'_, '_>,
    seen: &mut Seen,
    mistakes: &mut Mistakes<'_>,
) -> Option<NodeEntry> {
    let known = ["id", "cores", "memory", "disk", "mac", "joins"];
    let fields = Fields::new(table, span, "a node", &known, mistakes);
    fields.missing("id", "a number of its own, like id = 1", mistakes);
    let cores = fields.integer("cores", 1..=CORES_MAX as i64, "", mistakes);
    let memory_range = i64::from(MEMORY_MIB_MIN)..=i64::from(MEMORY_MIB_MAX);
    let memory = fields.integer("memory", memory_range, " MiB", mistakes);
    let disk = disk(&fields, mistakes);
    let given_mac = mac(&fields, mistakes);
    let joins = fields.flag("joins", mistakes);
    let id = fields.integer("id", 1..=i64::from(NODES_MAX), "", mistakes)?;
    let (id, id_span) = (id.value as u16, id.span);
    let line = mistakes.line(id_span.start);
    let again = seen.ids.insert(id, line);
    if let Some(first) = again {
        let text = format!("node {id} is on line {first} already: give this one another id");
        mistakes.add(id_span.clone(), text);
    }
    if let Some(At { span, .. }) = joins.filter(|joins| joins.value) {
        seen.joining.insert(id, span);
    }
    let mac = given_mac.unwrap_or(At { value: default_mac(id), span: id_span });
    // An id that comes twice brings its address along; one complaint is enough.
    if let (Some(first), None) = (seen.macs.insert(mac.value, line), again) {
        let text = format!("the node on line {first} has this mac already: give each its own");
        mistakes.add(mac.span, text);
    }
    Some(NodeEntry {
        id,
        cores: cores.map_or(CORES_DEFAULT, |cores| cores.value as u8),
        memory_mib: memory.map_or(MEMORY_MIB_DEFAULT, |memory| memory.value as u32),
        disk_mib: disk.unwrap_or(DISK_MIB_DEFAULT),
        mac: mac.value,
    })
}

/// A disk's size in MiB; 0 is none.
fn disk(fields: &Fields<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<u32> {
    let disk =
        fields.integer("disk", 0..=i64::from(DISK_MIB_MAX), " MiB, or 0 for none", mistakes)?;
    let mib = disk.value as u32;
    if (1..DISK_MIB_MIN).contains(&mib) {
        let text = format!("`disk` must be at least {DISK_MIB_MIN} MiB, or 0 for none");
        mistakes.add(disk.span, text);
    }
    Some(mib)
}

fn mac(fields: &Fields<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<At<[u8; 6]>> {
    let right = "an Ethernet address like \"52:54:00:4b:00:01\"";
    let text = fields.text("mac", right, mistakes)?;
    let Some(mac) = mac_from_text(&text.value) else {
        mistakes.add(text.span, format!("`mac` must be {right}"));
        return None;
    };
    if mac[0] & 1 != 0 {
        let text_wrong = "`mac` is a group address: its first byte must be even, like 52";
        mistakes.add(text.span, text_wrong);
        return None;
    }
    Some(At { value: mac, span: text.span })
}

fn mac_from_text(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| {
            let hex = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        })
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

fn domains(top: &Fields<'_, '_>, mistakes: &mut Mistakes<'_>) -> Vec<DomainEntry> {
    let right = "\"isolated\" or \"fast\"";
    let chosen = top.text("composition", right, mistakes);
    let tables = top.tables("domain", "written as [[domain]] tables", mistakes);
    match (chosen, tables.first()) {
        (Some(chosen), Some((_, span))) => {
            let text = format!(
                "`composition` on line {} names the domains already: drop it, or the [[domain]] \
                 tables",
                mistakes.line(chosen.span.start)
            );
            mistakes.add(span.clone(), text);
            Vec::new()
        }
        (Some(chosen), None) => composition::named(&chosen.value).unwrap_or_else(|| {
            let text = format!(
                "`composition` must be {right} ({}), or [[domain]] tables instead of it",
                NAMES.join(", ")
            );
            mistakes.add(chosen.span, text);
            Vec::new()
        }),
        (None, None) => composition::isolated(),
        (None, Some((_, span))) => {
            let first = span.start;
            explicit(tables, first, mistakes)
        }
    }
}

fn explicit(
    tables: Vec<Table<'_, '_>>,
    first: usize,
    mistakes: &mut Mistakes<'_>,
) -> Vec<DomainEntry> {
    let (mut all, mut domains) = (Vec::new(), Vec::<DomainEntry>::new());
    for table in tables {
        let at = table.1.clone();
        let Some((entry, servers)) = domain(table, mistakes) else { continue };
        if domains.iter().any(|other| other.name == entry.name) {
            let text = format!("two domains are called \"{}\": rename one", entry.name);
            mistakes.add(at, text);
        }
        all.extend(servers);
        domains.push(entry);
    }
    composition::check_complete(&all, first, mistakes);
    domains
}

fn domain(
    (table, span): Table<'_, '_>,
    mistakes: &mut Mistakes<'_>,
) -> Option<(DomainEntry, Vec<At<ServerId>>)> {
    let known = ["name", "servers", "heap_kib"];
    let fields = Fields::new(table, span, "a domain", &known, mistakes);
    fields.missing("name", "what the console calls it", mistakes);
    fields.missing("servers", "the servers it hosts, like [\"mem\", \"fs\"]", mistakes);
    let heap = fields.integer("heap_kib", 64..=HEAP_KIB_MAX, " KiB", mistakes);
    let name = name(&fields, mistakes);
    let names = fields.texts("servers", "a list of servers, like [\"mem\", \"fs\"]", mistakes)?;
    if names.value.is_empty() {
        mistakes.add(names.span.clone(), "a domain hosts at least one server");
    }
    let servers = composition::servers(&names.value, mistakes);
    composition::check_drivers(&servers, mistakes);
    let ids: Vec<ServerId> = servers.iter().map(|server| server.value).collect();
    let entry = DomainEntry {
        name: name?,
        servers: ids.iter().map(|&id| id as u8).collect(),
        heap_kib: heap.map_or_else(|| composition::heap_kib(&ids), |heap| heap.value as u32),
    };
    Some((entry, servers))
}

fn root(top: &Fields<'_, '_>, folder: &Path, mistakes: &mut Mistakes<'_>) -> RootContent {
    let Some((table, span)) = top.table("root", "a [root] table", mistakes) else {
        return RootContent::default();
    };
    let fields = Fields::new(table, span, "root", &["overlay", "file"], mistakes);
    let mut content = RootContent::default();
    let right = "a list of folders, like [\"overlay\"]";
    for overlay in fields.texts("overlay", right, mistakes).map_or(Vec::new(), |list| list.value) {
        let path = folder.join(&overlay.value);
        if !path.is_dir() {
            let text = format!("there is no folder {}: make it, or correct it", path.display());
            mistakes.add(overlay.span, text);
        }
        content.overlays.push(path);
    }
    for table in fields.tables("file", "written as [[root.file]] tables", mistakes) {
        content.files.extend(file(table, folder, mistakes));
    }
    content
}

fn file(
    (table, span): Table<'_, '_>,
    folder: &Path,
    mistakes: &mut Mistakes<'_>,
) -> Option<ExtraFile> {
    let fields = Fields::new(table, span, "a file", &["path", "from", "mode"], mistakes);
    fields.missing("path", "its full path in the cluster, like \"/bin/prog\"", mistakes);
    fields.missing("from", "the file's path on this machine", mistakes);
    let mode = fields.integer("mode", 0..=0o7777, " (0o755 means rwxr-xr-x)", mistakes);
    let path = fields.text("path", "a full path, like \"/bin/prog\"", mistakes);
    let from = fields.text("from", "a path on this machine", mistakes)?;
    let host = folder.join(&from.value);
    if !host.is_file() {
        let text = format!("there is no file {}: make it, or correct `from`", host.display());
        mistakes.add(from.span, text);
    }
    let path = path?;
    let clean = path.value.strip_prefix('/').filter(|inner| {
        inner.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    });
    let Some(clean) = clean else {
        mistakes.add(path.span, "`path` must be a full path without . and .., like \"/bin/prog\"");
        return None;
    };
    Some(ExtraFile { path: clean.to_owned(), from: host, mode: mode.map(|mode| mode.value as u16) })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
