// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random operations from any node, beside a naive tree that does the same.

use super::world::World;
use abi::Errno;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// The naive tree: every path with its content; `None` is a directory.
#[derive(Default)]
struct Model {
    files: BTreeMap<String, Option<Vec<u8>>>,
}

impl Model {
    fn parent_is_directory(&self, path: &str) -> Result<(), Errno> {
        match path.rsplit_once('/').map(|(dir, _)| self.files.get(dir)) {
            Some(Some(None)) => Ok(()),
            Some(Some(Some(_))) => Err(Errno::ENOTDIR),
            Some(None) | None => Err(self.why_missing(path)),
        }
    }

    /// ENOTDIR if a file stands in the way, else ENOENT.
    fn why_missing(&self, path: &str) -> Errno {
        let mut dir = path;
        while let Some((up, _)) = dir.rsplit_once('/') {
            if matches!(self.files.get(up), Some(Some(_))) {
                return Errno::ENOTDIR;
            }
            dir = up;
        }
        Errno::ENOENT
    }

    fn children(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        let below = self.files.keys().filter_map(|it| it.strip_prefix(&prefix));
        below.filter(|it| !it.contains('/')).map(String::from).collect()
    }

    fn put(&mut self, path: &str, data: &[u8]) -> Result<(), Errno> {
        self.parent_is_directory(path)?;
        if matches!(self.files.get(path), Some(None)) {
            return Err(Errno::EISDIR);
        }
        self.files.insert(path.to_string(), Some(data.to_vec()));
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, Errno> {
        match self.files.get(path) {
            Some(Some(data)) => Ok(data.clone()),
            Some(None) => Err(Errno::EISDIR),
            None => Err(self.why_missing(path)),
        }
    }

    fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        self.parent_is_directory(path)?;
        if self.files.contains_key(path) {
            return Err(Errno::EEXIST);
        }
        self.files.insert(path.to_string(), None);
        Ok(())
    }

    fn remove(&mut self, path: &str, directory: bool) -> Result<(), Errno> {
        let there = self.files.get(path).ok_or_else(|| self.why_missing(path))?;
        match (there.is_none(), directory) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            (true, true) if !self.children(path).is_empty() => return Err(Errno::ENOTEMPTY),
            (true, true) | (false, false) => {}
        }
        self.files.remove(path);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let source = self.files.get(from).ok_or_else(|| self.why_missing(from))?.is_none();
        self.parent_is_directory(to)?;
        if source && to.starts_with(&format!("{from}/")) {
            return Err(Errno::EINVAL);
        }
        if from == to {
            return Ok(());
        }
        match self.files.get(to).map(Option::is_none) {
            Some(false) if source => return Err(Errno::ENOTDIR),
            Some(true) if !source => return Err(Errno::EISDIR),
            Some(true) if !self.children(to).is_empty() => return Err(Errno::ENOTEMPTY),
            Some(_) | None => {}
        }
        let below = format!("{from}/");
        let moved: Vec<String> =
            self.files.keys().filter(|it| *it == from || it.starts_with(&below)).cloned().collect();
        for path in moved {
            let content = self.files.remove(&path).expect("listed a moment ago");
            self.files.insert(format!("{to}{}", &path[from.len()..]), content);
        }
        Ok(())
    }
}

fn pick<'a>(random: &mut ChaCha8Rng, paths: &'a [String]) -> &'a str {
    &paths[random.next_u32() as usize % paths.len()]
}

fn one_step(w: &World, model: &mut Model, random: &mut ChaCha8Rng, paths: &[String]) {
    let at = random.next_u32() as usize % w.nodes();
    let path = pick(random, paths);
    match random.next_u32() % 8 {
        0 | 1 => {
            let data: Vec<u8> = (0..random.next_u32() % 6000).map(|i| i as u8).collect();
            assert_eq!(w.put(at, path, &data), model.put(path, &data), "put {path}");
        }
        2 => assert_eq!(w.mkdir(at, path), model.mkdir(path), "mkdir {path}"),
        3 => assert_eq!(w.unlink(at, path), model.remove(path, false), "unlink {path}"),
        4 => assert_eq!(w.rmdir(at, path), model.remove(path, true), "rmdir {path}"),
        5 | 6 => {
            let to = pick(random, paths);
            assert_eq!(w.rename(at, path, to), model.rename(path, to), "rename {path} {to}");
        }
        _ => assert_eq!(w.get(at, path), model.get(path), "get {path}"),
    }
}

fn run(seed: u64, nodes: u16, top: &str, start: &[(&str, Option<usize>)]) {
    let w = World::new(nodes);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut model = Model::default();
    model.files.insert(top.to_string(), None);
    for (path, len) in start {
        model.files.insert(path.to_string(), len.map(|len| std::vec![b'#'; len]));
    }
    let mut paths = Vec::new();
    for a in ["a", "b", "words"] {
        paths.push(format!("{top}/{a}"));
        paths.extend(["a", "b", "c"].map(|b| format!("{top}/{a}/{b}")));
        paths.extend(["a", "b"].map(|b| format!("{top}/{a}/{b}/a")));
    }
    for _ in 0..600 {
        one_step(&w, &mut model, &mut random, &paths);
    }
    for at in 0..w.nodes() {
        for (path, content) in &model.files {
            match content {
                Some(data) => assert_eq!(w.get(at, path).as_ref(), Ok(data)),
                None => assert_eq!(w.list(at, path), Ok(model.children(path))),
            }
        }
        assert_eq!(w.open_files(at), 0);
    }
}

#[test]
fn random_operations_do_what_the_naive_tree_does() {
    for seed in 0..8 {
        run(seed, 1, "/tmp", &[]);
        run(seed, 3, "/tmp", &[]);
    }
}

#[test]
fn random_operations_over_the_image_do_what_the_naive_tree_does() {
    let words = [("/usr/share/words", Some(50))];
    for seed in 100..108 {
        run(seed, 1, "/usr/share", &words);
        run(seed, 3, "/usr/share", &words);
    }
}
