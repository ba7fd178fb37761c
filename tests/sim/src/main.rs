// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs scenarios of the simulator from seeds, without end or for one seed.

#![forbid(unsafe_code)]

use sim::scenario;
use sim::wire::Weather;
use sim::world::Setting;
use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: sim [--seed S] [--runs N] [--moves M]
Moves a counting program M times (100) over three nodes, with a good and a bad network, for N seeds
(1) from S (1) on. A failure prints its seed.
";

fn main() -> ExitCode {
    let mut numbers = [1, 1, 100];
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let which = ["--seed", "--runs", "--moves"].iter().position(|name| *name == word);
        let value = words.next().and_then(|value| value.parse::<u64>().ok());
        match (which, value) {
            (Some(which), Some(value)) => numbers[which] = value,
            (Some(_), None) | (None, _) => {
                print!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let [first, runs, moves] = numbers;
    for seed in first..first.saturating_add(runs) {
        println!("sim --seed {seed} --moves {moves}");
        for weather in [Weather::FAIR, Weather::STORM] {
            let setting = Setting { weather, ..Setting::new(seed) };
            scenario::counter_moves(&setting, u32::try_from(moves).unwrap_or(u32::MAX));
        }
    }
    ExitCode::SUCCESS
}
