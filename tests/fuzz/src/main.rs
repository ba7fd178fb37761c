// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzes net-server's decoder: mutated scripts of frames, for as long as the command line says.
//!
//! # Model
//! It begins with the scripts in `corpus/frames`, changes them by chance, and keeps in memory what
//! shows something that none before has shown ([`net_core::fuzz::script`] tells). The seed is printed.
//!
//! # Failure
//! A script that breaks an invariant is written to a file before the panic ends the program, and the
//! command that repeats it is printed.
//!
//! `cargo-fuzz/` has the same target for cargo-fuzz, which knows coverage but needs nightly Rust.

#![forbid(unsafe_code)]

mod mutate;

use mutate::{Mutator, Rng};
use net_core::fuzz::script;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

/// Scripts that are kept, those of the corpus among them.
const KEPT_MAX: usize = 1000;

/// The script that runs now, for the file that a failure leaves.
static RUNNING: Mutex<Vec<u8>> = Mutex::new(Vec::new());

const USAGE: &str = "usage: fuzz [--seconds N] [--seed N] [--input FILE]";

struct Options {
    seconds: u64,
    seed: u64,
    input: Option<PathBuf>,
}

fn options() -> Option<Options> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = Options { seconds: 5, seed: now.as_nanos() as u64, input: None };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seconds" => options.seconds = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--input" => options.input = Some(value.into()),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if let Some(path) = &options.input {
        return match fs::read(path) {
            Ok(bytes) => {
                println!("it holds; seen: {:#x}", script(&bytes));
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("cannot read {}: {error}", path.display());
                ExitCode::FAILURE
            }
        };
    }
    keep_what_fails();
    match fuzz(&options) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot read the corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fuzz(options: &Options) -> std::io::Result<String> {
    println!("seed {}", options.seed);
    let mut mutator = Mutator::new(Rng::new(options.seed), corpus()?);
    let mut seen = BTreeSet::new();
    for index in 0..mutator.count() {
        seen.insert(run(&mutator.script(index)));
    }
    let (begun, known) = (seen.len(), mutator.count());
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut runs = 0u64;
    while Instant::now() < end {
        let bytes = mutator.next();
        if seen.insert(run(&bytes)) && mutator.count() < KEPT_MAX {
            mutator.keep(bytes);
        }
        runs += 1;
    }
    Ok(format!(
        "{runs} scripts from {known}: {} ways to behave, {begun} of them the corpus's",
        seen.len()
    ))
}

fn run(bytes: &[u8]) -> u64 {
    *RUNNING.lock().expect("no panic holds it") = bytes.to_vec();
    script(bytes)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/frames")
}

fn corpus() -> std::io::Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(folder())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// Writes the script that runs when a panic comes.
fn keep_what_fails() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        let path = env::temp_dir().join(format!("fuzz-{}.script", std::process::id()));
        let Ok(bytes) = RUNNING.try_lock() else { return };
        match fs::write(&path, &*bytes) {
            Ok(()) => eprintln!("repeat: cargo run -p fuzz -- --input {}", path.display()),
            Err(error) => eprintln!("cannot write {}: {error}", path.display()),
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each file of the corpus is there for what it shows: see its name.
    #[test]
    fn corpus_shows_what_it_is_there_for() {
        let scripts = corpus().expect("it is in the repository");
        let seen = scripts.iter().fold(0, |seen, bytes| seen | script(bytes));
        let delivered = 1u64 << 48;
        let (challenge, response) = (1u64 << 34, 1u64 << 36);
        // All causes but the two that need another node and another length than Ethernet has.
        let causes = 0b11_1111_1100u64;
        for (name, bits) in [
            ("a message that arrives", delivered),
            ("a challenge", challenge),
            ("every cause at the link", causes),
        ] {
            assert_eq!(seen & bits, bits, "the corpus shows {name}: {seen:#x}");
        }
        // Only a member's proposal that names the challenge is answered: no script knows it.
        assert_eq!(seen & response, 0);
    }

    #[test]
    fn fuzzer_finds_more_than_the_corpus_shows_and_nothing_that_breaks() {
        let options = Options { seconds: 5, seed: 1, input: None };
        println!("{}", fuzz(&options).expect("the corpus is there"));
    }
}
