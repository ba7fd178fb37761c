// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scenario's header: `key: value` lines that say which clusters it runs on.

/// Seconds that a scenario may take, from the nodes' start, when it does not say.
const TIMEOUT_S_DEFAULT: u64 = 120;
/// Longest time-out that a scenario of the normal test run may ask for, in seconds.
const TIMEOUT_S_MAX: u64 = 14400;

/// Which clusters a scenario runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Nodes of the cluster.
    pub nodes: u16,
    /// So many of them, the last ones, join: the others' images do not name them.
    pub newcomers: u16,
    /// The node whose login shell gets the commands.
    pub console: u16,
    /// It runs once with each of these numbers of cores.
    pub cores: Vec<u8>,
    /// How nodes know who is a member.
    pub views: Option<String>,
    /// It runs once with each of these compositions.
    pub compositions: Vec<String>,
    /// Memory of each node in MiB.
    pub memory_mib: u32,
    /// Seconds that it may take, from the nodes' start.
    pub timeout_s: u64,
    /// Source files in `programs/` that are built and put into /usr/test.
    pub programs: Vec<String>,
    /// Only `test --full` runs it.
    pub full: bool,
}

/// One of the clusters that a scenario runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant {
    /// Cores of each node.
    pub cores: u8,
    /// The composition.
    pub composition: String,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            nodes: 1,
            newcomers: 0,
            console: 1,
            cores: vec![1],
            views: None,
            compositions: vec!["isolated".to_owned()],
            memory_mib: 256,
            timeout_s: TIMEOUT_S_DEFAULT,
            programs: Vec::new(),
            full: false,
        }
    }
}

impl Header {
    /// Every cluster that it can run on.
    pub fn variants(&self) -> Vec<Variant> {
        let variant = |composition: &String| {
            let composition = composition.clone();
            move |&cores: &u8| Variant { cores, composition: composition.clone() }
        };
        self.compositions.iter().flat_map(|it| self.cores.iter().map(variant(it))).collect()
    }

    /// As few of them as have each number of cores and each composition.
    pub fn few_variants(&self) -> Vec<Variant> {
        let (cores, compositions) = (self.cores.iter(), self.compositions.iter());
        let count = cores.len().max(compositions.len());
        let pairs = cores.cycle().zip(compositions.cycle()).take(count);
        pairs.map(|(&cores, it)| Variant { cores, composition: it.clone() }).collect()
    }

    /// Takes one line of the header.
    ///
    /// # Errors
    /// What would be right.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "nodes" => self.nodes = number(value, 1, 64)?,
            "newcomers" => self.newcomers = number(value, 0, 63)?,
            "console" => self.console = number(value, 1, 64)?,
            "cores" => self.cores = numbers(value)?,
            "views" => self.views = words(value)?.into_iter().next(),
            "compositions" => self.compositions = words(value)?,
            "memory" => self.memory_mib = number(value, 64, 65_536)?,
            "timeout" => self.timeout_s = number(value, 1, TIMEOUT_S_MAX)?,
            "programs" => self.programs = words(value)?,
            "full" => self.full = yes_or_no(value)?,
            _ => {
                return Err(format!(
                    "unknown key `{key}`: a header has nodes, newcomers, console, cores, views, compositions, memory, \
                     timeout, programs, full"
                ));
            }
        }
        Ok(())
    }
}

fn number<T>(text: &str, low: T, high: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse() {
        Ok(value) if value >= low && value <= high => Ok(value),
        _ => Err(format!("`{text}` must be a number from {low} to {high}")),
    }
}

fn words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { Err("a list of words must follow".to_owned()) } else { Ok(words) }
}

fn numbers(text: &str) -> Result<Vec<u8>, String> {
    words(text)?.iter().map(|word| number(word, 1, 8)).collect()
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{text}` must be yes or no")),
    }
}
