// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done to a running cluster from outside: its power switches and its cables.
//!
//! It exists apart from the scenarios because `./korrigan ctl` gives the same orders in the same
//! words: there is one grammar, and [`Order::parse`] is it.

use std::fmt;

/// Longest time that a link can be told to take, in milliseconds.
pub const SLOW_MS_MAX: u64 = 60_000;
/// Ends an order about a link that changes the way from A to B only.
pub const ONE_WAY: &str = "--one-way";

/// Something done to a node or a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Ends a node at once, as a power cut would.
    Kill {
        /// The node's number.
        node: u16,
    },
    /// Boots a node again that was killed or has ended.
    Boot {
        /// The node's number.
        node: u16,
    },
    /// Stops a node in its tracks.
    Pause {
        /// The node's number.
        node: u16,
    },
    /// Lets a paused node go on.
    Resume {
        /// The node's number.
        node: u16,
    },
    /// Changes one thing about a link and leaves the others as they are.
    Worsen {
        /// Which link.
        link: Between,
        /// What becomes of it.
        fault: Fault,
    },
    /// Makes links good again.
    Heal {
        /// Which link, both ways; every link if none is named.
        link: Option<(u16, u16)>,
    },
}

/// A link between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Between {
    /// One node's number.
    pub a: u16,
    /// The other's.
    pub b: u16,
    /// Only what goes from `a` to `b` is meant.
    pub one_way: bool,
}

/// What can be wrong with a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing passes.
    Cut,
    /// Everything takes this many milliseconds longer; with 0, no longer.
    SlowMs(u64),
    /// This many frames of a hundred are lost.
    LosePercent(u32),
}

impl Order {
    /// The order that the words of `text` make.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let one_way = words.last() == Some(&ONE_WAY);
        words.truncate(words.len() - usize::from(one_way));
        let between = |a, b| Ok::<_, String>(Between { a: node(a)?, b: node(b)?, one_way });
        let worsen = |link, fault| Order::Worsen { link, fault };
        let order = match words[..] {
            ["kill", n] => Self::Kill { node: node(n)? },
            ["boot", n] => Self::Boot { node: node(n)? },
            ["pause", n] => Self::Pause { node: node(n)? },
            ["resume", n] => Self::Resume { node: node(n)? },
            ["cut", a, b] => worsen(between(a, b)?, Fault::Cut),
            ["slow", a, b, ms] => worsen(between(a, b)?, Fault::SlowMs(milliseconds(ms)?)),
            ["lose", a, b, share] => worsen(between(a, b)?, Fault::LosePercent(percent(share)?)),
            ["heal"] => Self::Heal { link: None },
            ["heal", a, b] => Self::Heal { link: Some((node(a)?, node(b)?)) },
            _ => return Err(usage(words.first().copied().unwrap_or_default())),
        };
        order.check(one_way)?;
        Ok(order)
    }

    fn check(&self, one_way: bool) -> Result<(), String> {
        match *self {
            Self::Worsen { link: Between { a, b, .. }, .. } | Self::Heal { link: Some((a, b)) }
                if a == b =>
            {
                Err(format!("a link is between two nodes, and both ends of this one are {a}"))
            }
            Self::Worsen { .. } => Ok(()),
            Self::Kill { .. }
            | Self::Boot { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Heal { .. }
                if one_way =>
            {
                Err(format!("{ONE_WAY} belongs to cut, slow and lose"))
            }
            Self::Kill { .. }
            | Self::Boot { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Heal { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node } => write!(f, "kill {node}"),
            Self::Boot { node } => write!(f, "boot {node}"),
            Self::Pause { node } => write!(f, "pause {node}"),
            Self::Resume { node } => write!(f, "resume {node}"),
            Self::Worsen { link: Between { a, b, one_way }, fault } => {
                match fault {
                    Fault::Cut => write!(f, "cut {a} {b}"),
                    Fault::SlowMs(ms) => write!(f, "slow {a} {b} {ms}"),
                    Fault::LosePercent(percent) => write!(f, "lose {a} {b} {percent}"),
                }?;
                if *one_way { write!(f, " {ONE_WAY}") } else { Ok(()) }
            }
            Self::Heal { link: None } => f.write_str("heal"),
            Self::Heal { link: Some((a, b)) } => write!(f, "heal {a} {b}"),
        }
    }
}

/// How an order with this verb is written, or which verbs there are.
fn usage(verb: &str) -> String {
    let form = match verb {
        "kill" | "boot" | "pause" | "resume" => format!("{verb} NODE"),
        "cut" => format!("cut A B [{ONE_WAY}]"),
        "slow" => format!("slow A B MS [{ONE_WAY}]"),
        "lose" => format!("lose A B PERCENT [{ONE_WAY}]"),
        "heal" => "heal, or heal A B".to_owned(),
        _ => {
            return format!(
                "unknown `{verb}`: there are kill, boot, pause, resume, cut, slow, lose and heal"
            );
        }
    };
    format!("this is written `{form}`")
}

fn node(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` must be a node's number"))
}

fn milliseconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(ms @ 0..=SLOW_MS_MAX) => Ok(ms),
        _ => Err(format!("`{text}` must be milliseconds, from 0 to {SLOW_MS_MAX}")),
    }
}

fn percent(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(percent @ 0..=100) => Ok(percent),
        _ => Err(format!("`{text}` must be a percentage, from 0 to 100")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_read_as_it_is_written() {
        let all = [
            "kill 3",
            "boot 3",
            "pause 2",
            "resume 2",
            "cut 1 2",
            "cut 1 2 --one-way",
            "slow 1 2 25",
            "slow 2 1 0 --one-way",
            "lose 1 2 10",
            "lose 1 2 100 --one-way",
            "heal",
            "heal 1 2",
        ];
        for text in all {
            assert_eq!(Order::parse(text).map(|order| order.to_string()), Ok(text.to_owned()));
        }
        let link = Between { a: 1, b: 2, one_way: true };
        let slow = Order::Worsen { link, fault: Fault::SlowMs(25) };
        assert_eq!(Order::parse(" slow  1 2 25 --one-way "), Ok(slow));
    }

    #[test]
    fn mistake_says_what_would_be_right() {
        for (text, part) in [
            ("", "there are kill"),
            ("dance 1", "unknown `dance`"),
            ("kill", "`kill NODE`"),
            ("kill 1 2", "`kill NODE`"),
            ("kill one", "node's number"),
            ("kill 70000", "node's number"),
            ("kill 1 --one-way", "belongs to cut"),
            ("heal 1", "heal A B"),
            ("heal --one-way", "belongs to cut"),
            ("cut 1", "`cut A B"),
            ("cut 2 2", "both ends"),
            ("heal 2 2", "both ends"),
            ("slow 1 2", "MS"),
            ("slow 1 2 60001", "to 60000"),
            ("slow 1 2 -1", "milliseconds"),
            ("lose 1 2 101", "percentage"),
        ] {
            let error = Order::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
