// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last things that happened in a run, to be read by people when it failed.

use crate::worker::Choice;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Lines kept.
const LINES_MAX: usize = 40_000;

enum Line {
    Text(String),
    Choice(Choice),
}

thread_local! {
    static LINES: RefCell<VecDeque<(u64, Line)>> = const { RefCell::new(VecDeque::new()) };
}

fn push(now_ns: u64, line: Line) {
    LINES.with_borrow_mut(|lines| {
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back((now_ns, line));
    });
}

/// Something of the run.
pub fn text(now_ns: u64, text: impl FnOnce() -> String) {
    push(now_ns, Line::Text(text()));
}

/// What chance chose.
pub fn choice(now_ns: u64, choice: Choice) {
    push(now_ns, Line::Choice(choice));
}

/// A new run begins.
pub fn clear() {
    LINES.with_borrow_mut(VecDeque::clear);
}

/// All lines, oldest first: nanoseconds, then what happened.
pub fn read() -> String {
    let mut out = String::new();
    LINES.with_borrow(|lines| {
        for (now_ns, line) in lines {
            out += &match line {
                Line::Text(text) => format!("{now_ns:>14} {text}\n"),
                Line::Choice(choice) => format!("{now_ns:>14} {choice:?}\n"),
            };
        }
    });
    out
}
