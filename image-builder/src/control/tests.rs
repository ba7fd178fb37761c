// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said, and the server over a real socket with a cluster that is none.

use super::client::{call, connect};
use super::*;
use crate::cluster::{Console, Event};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// A folder, a server in it, and the events that a cluster would take.
struct Stage {
    run: tempfile::TempDir,
    server: Option<Server>,
    events: Option<Receiver<Event>>,
    consoles: [Arc<Console>; 2],
}

/// Events that wait.
const EVENTS: usize = 4;

fn stage() -> Stage {
    let run = tempfile::tempdir().expect("a folder");
    let (sender, events) = sync_channel(EVENTS);
    let consoles = [Arc::<Console>::default(), Arc::default()];
    let ids = (1..).zip(consoles.iter().cloned()).collect();
    let patience = Patience {
        request: Duration::from_millis(300),
        answer: Duration::from_millis(300),
        write: Duration::from_millis(300),
    };
    let server = Server::start(run.path(), sender, ids, patience).expect("it starts");
    Stage { run, server: Some(server), events: Some(events), consoles }
}

impl Stage {
    /// A cluster that obeys every order.
    fn play(&mut self) {
        let events = self.events.take().expect("it does not play yet");
        std::thread::spawn(move || {
            for event in events {
                if let Event::Asked(Asked { request, answer }) = event {
                    answer.send(Answer::Done(format!("{request:?}"))).expect("there is room");
                }
            }
        });
    }

    fn ask(&self, text: &str) -> Answer {
        let call = Call::parse(&format!("korrigan 1 {text}")).expect("it is right");
        self::call(self.run.path(), &call).expect("it is answered").0
    }

    /// What is answered to bytes that may be no request.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = connect(self.run.path()).expect("it is served");
        stream.write_all(bytes).expect("there is room");
        answer(stream)
    }

    fn look(&self, node: u16) -> UnixStream {
        let (answer, stream) = call(self.run.path(), &Call::Console(node)).expect("it is answered");
        assert_eq!(answer, Answer::Console);
        stream
    }
}

fn answer(mut stream: UnixStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out is taken");
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    // A connection that is closed before all was read from it ends as one that breaks.
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..len]);
    }
    String::from_utf8(text).expect("it is text")
}

fn refused(answer: &Answer, part: &str) {
    let Answer::Refused(why) = answer else { panic!("{answer:?}") };
    assert!(why.contains(part), "{why}");
}

#[test]
fn every_call_is_read_as_it_is_written() {
    for text in ["list", "console 3", "kill 3", "cut 1 2 --one-way", "heal"] {
        let line = format!("korrigan 1 {text}\n");
        assert_eq!(Call::parse(line.trim_end()).expect(text).line(), line);
    }
}

#[test]
fn mistake_in_a_call_says_what_would_be_right() {
    for (line, part) in [
        ("", "begins with `korrigan 1`"),
        ("GET / HTTP/1.1", "begins with `korrigan 1`"),
        ("korrigan one list", "begins with `korrigan 1`"),
        ("korrigan 2 list", "version 2"),
        ("korrigan 1", "there are kill"),
        ("korrigan 1 list all", "unknown `list`"),
        ("korrigan 1 console x", "node's number"),
        ("korrigan 1 kill", "`kill NODE`"),
    ] {
        let error = Call::parse(line).expect_err(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn every_answer_is_read_as_it_is_written() {
    let cluster = Status {
        accelerator: "TCG".to_owned(),
        nodes: Vec::new(),
        links: Vec::new(),
        frames_forwarded: 7,
    };
    let done = Answer::Done("it\nis \"done\"".to_owned());
    for answer in [done, Answer::Refused(String::new()), Answer::Cluster(cluster), Answer::Console]
    {
        let line = answer.line();
        assert!(line.starts_with("{\"version\":1,") && line.find('\n') == Some(line.len() - 1));
        assert_eq!(Answer::parse(&line).expect("it is right"), answer);
    }
    let error = Answer::parse("{\"version\":2,\"news\":1}").expect_err("it is another version");
    assert!(error.to_string().contains("version 2"), "{error}");
    assert!(Answer::parse("hello").is_err());
}

#[test]
fn order_reaches_the_cluster_and_its_answer_the_client() {
    let mut stage = stage();
    stage.play();
    let Answer::Done(what) = stage.ask("kill 3") else { panic!("it is done") };
    assert_eq!(what, "Order(Kill { node: 3 })");
    assert_eq!(stage.ask("list"), Answer::Done("List".to_owned()));
}

#[test]
fn only_the_owner_reaches_the_socket() {
    let stage = stage();
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let folder = stage.run.path().join(FOLDER);
    assert_eq!((mode(&folder), mode(&folder.join(SOCKET))), (0o700, 0o600));
}

#[test]
fn bad_input_is_refused_and_the_next_client_is_served() {
    let mut stage = stage();
    stage.play();
    for (bytes, part) in [
        (&b"kill 3\n"[..], "begins with"),
        (&[b'x'; 2 * REQUEST_BYTES_MAX][..], "more than 256 bytes"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b"korrigan 9 list\n", "version 9"),
        (b"\n", "begins with"),
    ] {
        let text = stage.send(bytes);
        assert!(text.contains("refused") && text.contains(part), "{text}");
    }
    assert_eq!(stage.ask("list"), Answer::Done("List".to_owned()));
}

#[test]
fn silent_clients_hold_up_nobody_for_long() {
    let mut stage = stage();
    stage.play();
    let silent: Vec<UnixStream> =
        (0..20).map(|_| connect(stage.run.path()).expect("it is served")).collect();
    // Those above the bound are told at once, the others when their time is up.
    let answers: Vec<String> = silent.into_iter().map(answer).collect();
    assert!(answers[0].contains("the time is up"), "{}", answers[0]);
    assert!(answers[19].contains("try again"), "{}", answers[19]);
    assert_eq!(stage.ask("list"), Answer::Done("List".to_owned()));
}

#[test]
fn cluster_that_does_not_answer_is_said_to_be_busy() {
    let mut stage = stage();
    for _ in 0..2 * EVENTS {
        refused(&stage.ask("list"), "try again");
    }
    stage.events = None;
    refused(&stage.ask("list"), "has just ended");
}

#[test]
fn console_shows_what_is_printed_and_takes_what_is_typed() {
    let stage = stage();
    stage.consoles[1].show(b"before ");
    let (mut one, mut other) = (stage.look(2), stage.look(2));
    let mut buffer = [0; 12];
    for stream in [&mut one, &mut other] {
        stream.read_exact(&mut buffer[..7]).expect("it is shown");
    }
    stage.consoles[0].show(b"not this");
    stage.consoles[1].show(b"after");
    for stream in [&mut one, &mut other] {
        stream.read_exact(&mut buffer[7..]).expect("it is shown");
        assert_eq!(&buffer, b"before after");
    }
    one.write_all(b"ls\r").expect("there is room");
    let events = stage.events.as_ref().expect("nobody plays");
    let event = events.recv_timeout(Duration::from_secs(10)).expect("it arrives");
    let Event::TypedAt { node: 1, bytes } = event else { panic!("{event:?}") };
    assert_eq!(bytes, b"ls\r");

    let (answer, _) = call(stage.run.path(), &Call::Console(7)).expect("it is answered");
    refused(&answer, "no node 7: it has 1, 2");
}

#[test]
fn viewer_that_reads_nothing_is_left_behind() {
    let stage = stage();
    let (mut idle, mut busy) = (stage.look(1), stage.look(1));
    let start = Instant::now();
    let mut buffer = vec![0; 16 * 1024];
    // As much as the connection and the queue hold, several times over.
    for _ in 0..500 {
        stage.consoles[0].show(&[b'x'; 16 * 1024]);
        busy.read_exact(&mut buffer).expect("it is shown");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "the one held up the other");
    idle.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out is taken");
    let mut shown = Vec::new();
    idle.read_to_end(&mut shown).expect("it is closed");
    assert!(shown.len() < 500 * 16 * 1024);
}

#[test]
fn consoles_have_a_bound_and_come_free_again() {
    let stage = stage();
    let viewers: Vec<UnixStream> = (0..8).map(|_| stage.look(1)).collect();
    let look = || call(stage.run.path(), &Call::Console(1)).expect("it is answered").0;
    refused(&look(), "leave one");
    for viewer in &viewers {
        viewer.shutdown(Shutdown::Both).expect("it is open");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while look() != Answer::Console {
        assert!(Instant::now() < deadline, "no place came free");
    }
}

#[test]
fn server_that_ends_closes_its_consoles_and_is_not_found() {
    let mut stage = stage();
    let runs = stage.run.path().parent().expect("it is in a folder").to_path_buf();
    let here = |found: &find::Found| found.folder == stage.run.path();
    assert!(find::all(&runs).iter().any(here));
    let stream = stage.look(1);
    drop(stage.server.take());
    assert_eq!(answer(stream), "");
    let here = |found: &find::Found| found.folder == stage.run.path();
    assert!(!find::all(&runs).iter().any(here));
}

#[test]
fn socket_of_a_killed_tool_is_passed_over() {
    let runs = tempfile::tempdir().expect("a folder");
    for id in ["1-10", "2-20"] {
        std::fs::create_dir_all(runs.path().join(id).join(FOLDER)).expect("a folder");
    }
    let bind = |id: &str| {
        let path = runs.path().join(id).join(FOLDER).join(SOCKET);
        UnixListener::bind(path).expect("it binds")
    };
    // The socket stays when its listener goes.
    drop(bind("1-10"));
    let _served = bind("2-20");
    let found: Vec<String> = find::all(runs.path()).into_iter().map(|run| run.id).collect();
    assert_eq!(found, ["2-20"]);
}

#[test]
fn run_with_a_long_path_is_reached() {
    let root = tempfile::tempdir().expect("a folder");
    let run = root.path().join("long".repeat(30)).join("long".repeat(30));
    std::fs::create_dir_all(&run).expect("a folder");
    let (sender, _events) = sync_channel(EVENTS);
    let server = Server::start(&run, sender, Vec::new(), Patience::default()).expect("it starts");
    let (answer, _) = call(&run, &Call::Console(1)).expect("it is answered");
    refused(&answer, "no node 1");
    drop(server);
}
