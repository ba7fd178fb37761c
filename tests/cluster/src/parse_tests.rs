// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each kind of line, right and wrong.

use super::*;
use crate::{Between, Fault};

fn mistake(text: &str, line: usize, part: &str) {
    let mistake = parse(text).expect_err("it is not right");
    assert_eq!(mistake.line, line, "{mistake}");
    assert!(mistake.text.contains(part), "{mistake}");
}

#[test]
fn header_and_steps_are_read() {
    let text = "# what it shows\nnodes: 3\ncores: 1 2\ncompositions: isolated fast\n\n\
                $ cat <<END\n> one\n> END\none\n\n$ false\n? 1\n\n= seq 3\n\n@ kill 2\n";
    let scenario = parse(text).expect("it is right");
    assert_eq!(scenario.header.nodes, 3);
    assert_eq!(scenario.header.variants().len(), 4);
    let few = scenario.header.few_variants();
    let few: Vec<_> = few.iter().map(|it| (it.composition.as_str(), it.cores)).collect();
    assert_eq!(few, [("isolated", 1), ("fast", 2)]);
    let lines: Vec<usize> = scenario.steps.iter().map(|step| step.line).collect();
    assert_eq!(lines, [6, 11, 14, 16]);
    let first = Action::Command {
        text: "cat <<END\none\nEND".to_owned(),
        output: vec!["one".to_owned()],
        status: Status::Is(0),
    };
    assert_eq!(scenario.steps[0].action, first);
    assert_eq!(scenario.steps[2].action, Action::AsOnLinux { text: "seq 3".to_owned() });
}

#[test]
fn output_that_looks_like_a_step_is_escaped() {
    let scenario = parse("$ x\n\\$ y\n\\\n\\\\z\n").expect("it is right");
    let Action::Command { output, .. } = &scenario.steps[0].action else { panic!("a command") };
    assert_eq!(output, &["$ y", "", "\\z"]);
}

#[test]
fn directives_are_read() {
    let text = "@ type 2 \"a\\r\\x03\\\"\"\n@ wait \"x y\"\n@ slow 1 2 5\n@ heal\n";
    let steps = parse(text).expect("it is right").steps;
    assert_eq!(steps[0].action, Action::Type { node: 2, bytes: b"a\r\x03\"".to_vec() });
    assert_eq!(steps[1].action, Action::Wait { node: 1, text: b"x y".to_vec() });
    let link = Between { a: 1, b: 2, one_way: false };
    let slow = Order::Worsen { link, fault: Fault::SlowMs(5) };
    assert_eq!(steps[2].action, Action::Order(slow));
    assert_eq!(steps[3].action, Action::Order(Order::Heal { link: None }));
}

#[test]
fn mistakes_name_their_line() {
    mistake("", 1, "at least one step");
    mistake("hello\n", 1, "key: value");
    mistake("nodes: 0\n", 1, "1 to 64");
    mistake("colour: red\n", 1, "unknown key");
    mistake("$ x\n\nstray\n", 3, "without an empty line");
    mistake("$ x\n? 256\n", 2, "0 to 255");
    mistake("= x\n? 1\n", 2, "`$`");
    mistake("@ kill x\n", 1, "node's number");
    mistake("@ cut 1\n", 1, "cut A B");
    mistake("@ type x\n", 1, "double quotes");
    mistake("@ dance\n", 1, "type, wait and disturb");
    mistake("@ disturb\n", 1, "SECONDS");
    mistake("@ disturb soon\n", 1, "SECONDS");
    mistake("$ x\nout\n> y\n", 3, "continues a command");
}

#[test]
fn shipped_scenarios_are_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "test") {
            let text = std::fs::read_to_string(entry.path()).expect("it can be read");
            if let Err(mistake) = parse(&text) {
                panic!("{}: {mistake}", entry.path().display());
            }
            count += 1;
        }
    }
    assert!(count > 0);
}
