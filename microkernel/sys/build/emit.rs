// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes the Rust source: a constant for every label, a method of `Cap<Kind>` for every invocation.

use std::fmt::Write;

use crate::api::{Method, Param};

const WORD_BITS: u32 = 64;

/// How a parameter travels.
enum Passing {
    /// As an extra capability of the message.
    Capability,
    /// In the message's words; `bits` of one.
    Bits { bits: u32 },
}

/// `pub const UNTYPED_RETYPE: u64 = 1;` and so on.
pub fn labels(methods: &[Method]) -> String {
    let mut out = String::new();
    for (index, method) in methods.iter().enumerate() {
        let name = snake(&method.id).to_uppercase();
        writeln!(out, "/// `{}`: {}.", method.id, method.name).expect("a String grows");
        writeln!(out, "pub const {name}: u64 = {};", index + 1).expect("a String grows");
    }
    writeln!(out, "/// The first number that is no label.").expect("a String grows");
    writeln!(out, "pub const END: u64 = {};", methods.len() + 1).expect("a String grows");
    out
}

/// One `impl` per method. Left out: interfaces of hardware we do not drive (IOMMU), and the two that
/// pass whole register files, which `registers.rs` writes by hand.
pub fn invocations(methods: &[Method]) -> String {
    methods
        .iter()
        .filter_map(|m| receiver(&m.interface).map(|r| (m, r)))
        .filter(|(m, _)| m.params.iter().all(|p| rust_type(p).is_some()))
        .map(|(m, r)| invocation(m, r))
        .collect()
}

fn invocation(method: &Method, (generics, receiver): (&str, &str)) -> String {
    let inputs: Vec<&Param> = method.params.iter().filter(|p| !p.is_output).collect();
    let (value_type, value) = outputs(method);
    let error = if is_mapping(&method.id) { "MapError" } else { "Error" };
    let mut out = format!("impl{generics} Cap<{receiver}> {{\n");
    let brief = if method.brief.is_empty() { &method.name } else { &method.brief };
    let _ = writeln!(out, "    /// {}.", brief.trim_end_matches('.'));
    let _ = writeln!(out, "    ///\n    /// # Errors\n    /// What the kernel refuses, and why.");
    let _ = writeln!(out, "    #[inline]\n    #[allow(clippy::too_many_arguments)]");
    let name = if method.name == "Move" { "move_".to_owned() } else { snake(&method.name) };
    let _ = write!(out, "    pub fn {name}(self");
    for p in &inputs {
        let _ = write!(out, ", {}: {}", param_name(p), rust_type(p).expect("filtered"));
    }
    let _ = writeln!(out, ") -> Result<{value_type}, {error}> {{");
    let label = snake(&method.id).to_uppercase();
    let reply = if value == "()" { "_reply" } else { "reply" };
    let _ = writeln!(
        out,
        "        let {reply} = invoke(self.bits(), label::{label}, [{}], [{}])?;",
        caps(&inputs).join(", "),
        words(&inputs).join(", ")
    );
    let _ = writeln!(out, "        Ok({value})\n    }}\n}}\n");
    out
}

/// Type and expression of what a method answers: nothing, one value, or a tuple.
fn outputs(method: &Method) -> (String, String) {
    let outs: Vec<&Param> = method.params.iter().filter(|p| p.is_output).collect();
    let types: Vec<_> = outs.iter().map(|p| rust_type(p).expect("filtered")).collect();
    let values: Vec<_> = types
        .iter()
        .enumerate()
        .map(
            |(i, t)| if *t == "u64" { format!("reply[{i}]") } else { format!("reply[{i}] as {t}") },
        )
        .collect();
    match outs.len() {
        1 => (types[0].to_owned(), values[0].clone()),
        _ => (format!("({})", types.join(", ")), format!("({})", values.join(", "))),
    }
}

fn caps(inputs: &[&Param]) -> Vec<String> {
    inputs
        .iter()
        .filter(|p| matches!(passing(p), Passing::Capability))
        .map(|p| format!("{}.bits()", param_name(p)))
        .collect()
}

/// The message words. Small parameters that follow each other share one, each aligned to its size.
fn words(inputs: &[&Param]) -> Vec<String> {
    let mut words: Vec<Vec<String>> = Vec::new();
    let mut used_bits = WORD_BITS;
    for p in inputs {
        let Passing::Bits { bits } = passing(p) else { continue };
        let at = used_bits.next_multiple_of(bits);
        if at + bits > WORD_BITS {
            words.push(vec![word_expr(p, 0)]);
            used_bits = bits;
        } else {
            words.last_mut().expect("a word is open").push(word_expr(p, at));
            used_bits = at + bits;
        }
    }
    words.into_iter().map(|w| w.join(" | ")).collect()
}

fn word_expr(param: &Param, shift: u32) -> String {
    let name = param_name(param);
    let value = match rust_type(param).expect("filtered") {
        "u64" => name,
        "u8" | "u16" | "u32" | "bool" => format!("u64::from({name})"),
        _ => format!("{name}.bits()"),
    };
    if shift == 0 { value } else { format!("{value} << {shift}") }
}

fn passing(param: &Param) -> Passing {
    let bits = match rust_type(param).expect("filtered") {
        t if t.starts_with("Cap<") => return Passing::Capability,
        "bool" => 1,
        "u8" => 8,
        "u16" => 16,
        "u32" => 32,
        _ => WORD_BITS,
    };
    Passing::Bits { bits }
}

/// Mapping may fail because a table is missing, and the caller must know which.
fn is_mapping(id: &str) -> bool {
    matches!(id, "X86PageMap" | "X86PageTableMap" | "X86PageDirectoryMap" | "X86PDPTMap")
}

/// `impl` generics and the kind that an interface's methods belong to.
fn receiver(interface: &str) -> Option<(&'static str, &'static str)> {
    Some(match interface {
        "seL4_Untyped" => ("", "Untyped"),
        "seL4_TCB" => ("", "Tcb"),
        "seL4_CNode" => ("", "CNode"),
        "seL4_IRQControl" => ("", "IrqControl"),
        "seL4_IRQHandler" => ("", "IrqHandler"),
        "seL4_DomainSet" => ("", "DomainSet"),
        "seL4_X86_PDPT" => ("", "Pdpt"),
        "seL4_X86_PageDirectory" => ("", "PageDirectory"),
        "seL4_X86_PageTable" => ("", "PageTable"),
        "seL4_X86_Page" => ("<K: AnyFrame>", "K"),
        "seL4_X86_ASIDControl" => ("", "AsidControl"),
        "seL4_X86_ASIDPool" => ("", "AsidPool"),
        "seL4_X86_IOPort" => ("", "IoPort"),
        _ => return None,
    })
}

/// The Rust type of a parameter; `None` where we have none (IOMMU spaces, register files).
///
/// The description calls some capabilities by a bare or a wrong type; the name tells which is meant.
fn rust_type(param: &Param) -> Option<&'static str> {
    Some(match (param.kind.as_str(), param.name.as_str()) {
        ("seL4_CPtr", "vroot") | ("seL4_CNode", "vspace_root") | ("seL4_X64_PML4", _) => {
            "Cap<VSpace>"
        }
        ("seL4_CPtr", "bufferFrame") => "Cap<Frame>",
        ("seL4_CPtr", "notification") => "Cap<Notification>",
        ("seL4_CNode", _) => "Cap<CNode>",
        ("seL4_TCB", _) => "Cap<Tcb>",
        ("seL4_Untyped", _) => "Cap<Untyped>",
        ("seL4_Word", "type") => "ObjectType",
        ("seL4_Word" | "int", _) => "u64",
        ("seL4_Uint8", _) => "u8",
        ("seL4_Uint16", _) => "u16",
        ("seL4_Uint32", _) => "u32",
        ("seL4_Bool", _) => "bool",
        ("seL4_CapRights_t", _) => "Rights",
        ("seL4_CapData_t", _) => "CapData",
        ("seL4_PrioProps_t", _) => "Priorities",
        ("seL4_X86_VMAttributes", _) => "Caching",
        _ => return None,
    })
}

fn param_name(param: &Param) -> String {
    if param.name == "type" { "object_type".to_owned() } else { snake(&param.name) }
}

/// `SetIPCBuffer` to `set_ipc_buffer`, `X86IRQIssueIRQHandlerIOAPIC` to
/// `x86_irq_issue_irq_handler_ioapic`: a capital starts a word after a small letter or a digit, or
/// before a small letter.
fn snake(name: &str) -> String {
    let chars: Vec<char> = name.replace("CNode", "Cnode").chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let previous = i.checked_sub(1).map(|p| chars[p]);
        let before_small = chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        let starts = previous.is_some_and(|p| {
            p != '_'
                && (p.is_lowercase() || p.is_ascii_digit() || (p.is_uppercase() && before_small))
        });
        if c.is_uppercase() && starts {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
