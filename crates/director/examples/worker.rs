//! A worker for the tests of the director: one that serves it, or one that misbehaves when it is well under
//! way.

use airlock_director::worker::{run, run_tampered};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers after which the misbehaviour begins: in the middle of the files.
const ANSWERS: usize = 60;

fn misbehave(how: &str, frame: Vec<u8>) -> Vec<u8> {
    match how {
        "hang" => loop {
            std::thread::park();
        },
        "eat" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 16 << 20]);
            }
        }
        "overflow" => deeper(frame),
        "panic" => panic!("as asked"),
        "open-socket" => std::net::TcpStream::connect("127.0.0.1:1").map(|_| frame).unwrap_or_default(),
        "noise" => frame.iter().map(|byte| byte.wrapping_mul(7).wrapping_add(131)).collect(),
        "huge" => vec![255; 64],
        // A unit that was asked for and one that was not are told by the same answer: no piece.
        "empty" => [vec![5, 0, 0, 0, 0, 0, 0, 0], vec![6, 0, 0, 0, 0]].concat(),
        _ => frame,
    }
}

#[expect(unconditional_recursion, reason = "that is what is tried")]
fn deeper(mut frame: Vec<u8>) -> Vec<u8> {
    frame.push(1);
    let mut below = deeper(std::hint::black_box(frame));
    below.push(1);
    below
}

/// Misbehaves as the first argument says if the file that the second one names can be removed: once.
fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(how), Some(once)) = (arguments.next(), arguments.next()) else { return run() };
    if std::fs::remove_file(once).is_err() {
        return run();
    }
    if how == "leave" {
        return Ok(());
    }
    let answers = AtomicUsize::new(0);
    run_tampered(Box::new(move |frame| {
        if answers.fetch_add(1, Ordering::Relaxed) < ANSWERS { frame } else { misbehave(&how, frame) }
    }))
}
