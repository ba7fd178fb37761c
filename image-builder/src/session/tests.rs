// SPDX-License-Identifier: MIT OR Apache-2.0
//! The session against scripted consoles, and against a real busybox shell on a pseudo-terminal.

use super::*;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PROMPT: &[u8] = b"\x1b]133;A\x07node1:/# ";

fn ready() -> Session {
    let mut session = Session::default();
    assert_eq!(session.feed(PROMPT), [Action::Type(PREPARE.to_vec())]);
    assert_eq!(session.feed(PROMPT), [Action::Ready]);
    session
}

#[test]
fn command_yields_output_and_status() {
    let mut session = ready();
    let line = session.start("echo hi").expect("it can be typed");
    assert_eq!(line, b"printf '\\036B\\036'; eval 'echo hi'; printf '\\036%d\\036' $?\n");
    let mut printed = line.clone();
    printed.extend(b"\x1eB\x1ehi\r\n\x1e0\x1e");
    assert_eq!(session.feed(&printed), [Action::Output(b"hi\n".to_vec())]);
    assert_eq!(session.feed(PROMPT), [Action::Done(0)]);
}

#[test]
fn line_given_up_is_asked_for_its_status() {
    let mut session = ready();
    session.start("(").expect("it can be typed");
    let actions = session.feed(b"\x1eB\x1esyntax error\r\n\x1b]133;A\x07");
    assert_eq!(actions[1], Action::Type(ASK_STATUS.to_vec()));
    assert!(session.feed(b"\x1e2\x1e").is_empty());
    assert_eq!(session.feed(PROMPT), [Action::Done(2)]);
}

#[test]
fn prompts_before_the_command_begins_mean_nothing() {
    let mut session = ready();
    session.start("true").expect("it can be typed");
    assert!(session.feed(PROMPT).is_empty() && session.feed(PROMPT).is_empty());
    assert!(session.feed(b"\x1eB\x1e\x1e0\x1e").is_empty());
    assert_eq!(session.feed(PROMPT), [Action::Done(0)]);
}

#[test]
fn too_long_line_is_refused_with_a_way_out() {
    let error = ready().start(&"x".repeat(5000)).expect_err("it is too long");
    assert!(error.to_string().contains("--overlay"), "{error}");
    assert!(ready().start(&"echo x\n".repeat(2000)).is_ok());
    assert!(ready().start("echo \x03").is_err());
}

/// A busybox login shell on a pseudo-terminal, as a node's console shows it.
struct Pty {
    child: Child,
    stdin: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// The shell reads it when it starts.
    _profile: tempfile::NamedTempFile,
}

/// The busybox that `./korrigan` unpacked for the cluster, or the one that is installed.
fn busybox() -> String {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        std::path::PathBuf::from,
    );
    let unpacked =
        ["bin", "usr/bin"].map(|folder| target.join("debian").join(folder).join("busybox"));
    let found = unpacked.iter().find(|path| path.exists());
    found.map_or_else(|| "busybox".to_owned(), |path| path.display().to_string())
}

impl Pty {
    fn start() -> Self {
        let profile = tempfile::NamedTempFile::new().expect("a file");
        let prompt = r"PS1='\[\e]133;A\007\]\h:\w\$ '";
        std::fs::write(profile.path(), prompt).expect("it is written");
        let mut child = Command::new("script")
            .args(["-qfc", &format!("{} sh", busybox()), "/dev/null"])
            .env("ENV", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script (Debian package bsdutils) and busybox are installed");
        let stdin = child.stdin.take().expect("it is piped");
        let mut stdout = child.stdout.take().expect("it is piped");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, output, _profile: profile }
    }

    fn until_done(&mut self, session: &mut Session) -> (Vec<u8>, Option<u8>) {
        let mut printed = Vec::new();
        loop {
            let bytes = self.output.recv_timeout(Duration::from_secs(20)).expect("it answers");
            for action in session.feed(&bytes) {
                match action {
                    Action::Type(line) => self.stdin.write_all(&line).expect("it reads"),
                    Action::Output(bytes) => printed.extend(bytes),
                    Action::Done(status) => return (printed, Some(status)),
                    Action::Ready => return (printed, None),
                }
            }
        }
    }

    fn run(&mut self, session: &mut Session, command: &str) -> (String, u8) {
        let line = session.start(command).expect("it can be typed");
        self.stdin.write_all(&line).expect("it reads");
        let (printed, status) = self.until_done(session);
        (String::from_utf8(printed).expect("it is text"), status.expect("it has ended"))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn real_shell_answers_every_kind_of_command() {
    let (mut pty, mut session) = (Pty::start(), Session::default());
    pty.until_done(&mut session);
    let mut is = |command: &str, output: &str, status: u8| {
        assert_eq!(pty.run(&mut session, command), (output.to_owned(), status), "{command}");
    };
    is("echo hi", "hi\n", 0);
    is("printf 'a\\nb'; false", "a\nb", 1);
    is("x=\"it's\"; (exit 37)", "", 37);
    is("echo $x", "it's\n", 0);
    is("cat <<END\none\ntwo '$x'\nEND", "one\ntwo 'it's'\n", 0);
    is("for i in 1 2\ndo echo $i\ndone", "1\n2\n", 0);
    is(&format!("echo {} | wc -c", "y".repeat(3000)), "3001\n", 0);
    is("sh -c 'kill -TERM $$'; echo $?", "Terminated\n143\n", 0);
    let (printed, status) = pty.run(&mut session, "if then");
    assert!(printed.contains("syntax error") && status == 2, "{printed} {status}");
}
