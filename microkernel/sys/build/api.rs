// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the interface descriptions: which methods exist, with which parameters.

use roxmltree::{Document, Node, ParsingOptions};

/// One invocation, in the order of the labels.
pub struct Method {
    /// The interface's name in the description, for example `seL4_TCB`.
    pub interface: String,
    /// The method's name, for example `SetSpace`.
    pub name: String,
    /// The label's name, for example `TCBSetSpace`.
    pub id: String,
    /// The first sentence about it; empty for the architecture's methods, which have none.
    pub brief: String,
    /// The parameters, inputs and outputs, as they stand.
    pub params: Vec<Param>,
}

/// One parameter of a method.
pub struct Param {
    pub name: String,
    pub kind: String,
    pub is_output: bool,
}

/// Appends the configured methods of one description to `methods`.
pub fn parse(text: &str, methods: &mut Vec<Method>) -> Result<(), String> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let doc = Document::parse_with_options(text, options).map_err(|e| e.to_string())?;
    for interface in doc.descendants().filter(|n| n.has_tag_name("interface")) {
        for node in interface.children().filter(|n| n.has_tag_name("method")) {
            if is_configured(node.attribute("condition").unwrap_or(""))? {
                methods.push(method(&attribute(interface, "name")?, node)?);
            }
        }
    }
    Ok(())
}

/// The invocations that our edits add to the kernel, after all others.
pub fn append_edits(methods: &mut Vec<Method>) {
    methods.push(Method {
        interface: "seL4_X86_PageTable".to_owned(),
        name: "Protect".to_owned(),
        id: "X86PageTableProtect".to_owned(),
        brief: "Take the right to write from all pages that this table maps, with one flush; \
                Remap gives it back, page by page"
            .to_owned(),
        params: Vec::new(),
    });
}

fn method(interface: &str, node: Node) -> Result<Method, String> {
    let params = node
        .children()
        .filter(|n| n.has_tag_name("param"))
        .map(param)
        .collect::<Result<_, String>>()?;
    let brief = node
        .children()
        .find(|n| n.has_tag_name("brief"))
        .map(|n| text_of(n).split_whitespace().collect::<Vec<_>>().join(" "))
        .unwrap_or_default();
    Ok(Method {
        interface: interface.to_owned(),
        name: attribute(node, "name")?,
        id: attribute(node, "id")?,
        brief,
        params,
    })
}

fn param(node: Node) -> Result<Param, String> {
    Ok(Param {
        name: attribute(node, "name")?,
        kind: attribute(node, "type")?,
        is_output: attribute(node, "dir")? == "out",
    })
}

/// The text of a node, with what its inline elements stand for.
fn text_of(node: Node) -> String {
    node.children().map(|n| n.text().or_else(|| n.attribute("name")).unwrap_or("")).collect()
}

fn attribute(node: Node, name: &str) -> Result<String, String> {
    node.attribute(name)
        .map(str::to_owned)
        .ok_or_else(|| format!("<{}> without {name}", node.tag_name().name()))
}

/// Whether a method with this condition is part of our kernel: SMP yes; no VT-x, no debug
/// registers. An unknown condition is an error, since every label after it would be off by one.
fn is_configured(condition: &str) -> Result<bool, String> {
    match condition {
        "" | "CONFIG_MAX_NUM_NODES > 1" => Ok(true),
        "defined(CONFIG_HARDWARE_DEBUG_API)" | "defined(CONFIG_VTX)" => Ok(false),
        other => Err(format!("unknown condition '{other}'")),
    }
}
