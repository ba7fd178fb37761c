// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs other programs and turns their failure into a sentence.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// What `command` prints; its own error output goes through.
///
/// # Errors
/// It cannot be started, fails, or prints what is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {name}: is it installed?"))?;
    if !out.status.success() {
        bail!("{name} failed ({})", out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("{name} printed what is not UTF-8"))
}

/// Runs `command` to its end; what it prints goes through.
///
/// # Errors
/// It cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status =
        command.status().with_context(|| format!("cannot start {name}: is it installed?"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// The command as one could type it.
pub fn typed(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

fn name(command: &Command) -> String {
    let first = command.get_args().next().unwrap_or(OsStr::new(""));
    format!("`{} {}`", command.get_program().to_string_lossy(), first.to_string_lossy())
}

/// A word in single quotes where a shell needs them.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_command_is_quoted_where_needed() {
        let mut command = Command::new("echo");
        command.args(["a b", "it's", "plain=1"]);
        assert_eq!(typed(&command), r"echo 'a b' 'it'\''s' plain=1");
    }

    #[test]
    fn failing_program_is_named() {
        let error = run(&mut Command::new("false")).expect_err("it fails");
        assert!(error.to_string().starts_with("`false"), "{error}");
    }
}
