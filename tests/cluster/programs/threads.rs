// SPDX-License-Identifier: MIT OR Apache-2.0
//! A static Rust program with std: threads, channels, locks, time, files, hashing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u64 = 8;
const ROUNDS: u64 = 2000;

fn main() {
    locks();
    channels();
    condition();
    files();
    let start = Instant::now();
    thread::sleep(Duration::from_millis(20));
    println!("slept {}", start.elapsed() >= Duration::from_millis(20));
    let names: HashMap<_, _> = (0..100).map(|n| (n, format!("name {n}"))).collect();
    println!("map of {}: {}", names.len(), names[&42]);
    let result = thread::spawn(|| -> u64 { panic!("on purpose") }).join();
    println!("a panic ends {}", if result.is_err() { "its thread" } else { "nothing" });
}

fn locks() {
    let (sum, count) = (Arc::new(Mutex::new(0)), Arc::new(AtomicU64::new(0)));
    let barrier = Arc::new(Barrier::new(THREADS as usize));
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let (sum, count, barrier) = (sum.clone(), count.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                for _ in 0..ROUNDS {
                    *sum.lock().unwrap() += n;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("sum {} of {}", *sum.lock().unwrap(), count.load(Ordering::Relaxed));
}

fn channels() {
    let (sender, receiver) = mpsc::sync_channel(4);
    for n in 0..THREADS {
        let sender = sender.clone();
        thread::spawn(move || (0..100).for_each(|m| sender.send(n * 100 + m).unwrap()));
    }
    drop(sender);
    let mut all: Vec<u64> = receiver.iter().collect();
    all.sort();
    println!("received {} in order {}", all.len(), all.iter().copied().eq(0..THREADS * 100));
}

fn condition() {
    let turn = Arc::new((Mutex::new(0), Condvar::new()));
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let turn = turn.clone();
            thread::spawn(move || {
                for round in 0..50 {
                    let mut now = turn.0.lock().unwrap();
                    while *now != round * 4 + n {
                        now = turn.1.wait(now).unwrap();
                    }
                    *now += 1;
                    turn.1.notify_all();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("turns {}", *turn.0.lock().unwrap());
}

fn files() {
    let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    std::fs::write("rust.txt", &text).unwrap();
    println!("file {}", std::fs::read_to_string("rust.txt").unwrap() == text);
    std::fs::remove_file("rust.txt").unwrap();
}
