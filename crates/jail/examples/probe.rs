//! Enters the jail and tries to do one thing there, for the tests. What it could do it says on stdout.

use airlock_jail::{Limits, confine, enter};
use std::io::{Error, ErrorKind, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

const LIMITS: Limits = Limits { memory_bytes: 256 << 20, cpu_seconds: 1 };

fn attempt(what: &str, parent: rustix::process::Pid) -> Result<(), Error> {
    match what {
        "nothing" => Ok(()),
        "work" => work(),
        "read-file" => std::fs::read("/etc/hostname").map(drop),
        "list-folder" => std::fs::read_dir("/proc/self/fd").map(drop),
        "write-file" => std::fs::write(std::env::temp_dir().join("airlock-jail-probe"), b"x"),
        "remove-file" => std::fs::remove_file("/tmp/airlock-jail-probe-none"),
        "memory-file" => {
            rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::empty())?;
            Ok(())
        }
        "connect" => TcpStream::connect("127.0.0.1:1").map(drop),
        "listen" => TcpListener::bind("127.0.0.1:0").map(drop),
        "datagram" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "unix-socket" => UnixStream::pair().map(drop),
        "program" => std::process::Command::new("/bin/true").status().map(drop),
        "thread" => std::thread::Builder::new().spawn(|| ())?.join().map_err(|_| ErrorKind::Other.into()),
        "trace" => nix::sys::ptrace::attach(nix::unistd::Pid::from_raw(parent.as_raw_nonzero().get()))
            .map_err(Error::from),
        "signal" => Ok(rustix::process::test_kill_process(parent)?),
        "raise-limit" => {
            let limit = rustix::process::Rlimit { current: Some(1 << 40), maximum: Some(1 << 40) };
            Ok(rustix::process::setrlimit(rustix::process::Resource::Data, limit)?)
        }
        "memory" => {
            let mut all = Vec::new();
            for _ in 0..1024 {
                all.push(vec![1_u8; 1 << 20]);
            }
            drop(all);
            Ok(())
        }
        "time" => {
            let mut state = 1_u64;
            loop {
                state = std::hint::black_box(state.wrapping_mul(3));
            }
        }
        "panic" => panic!("as asked"),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

/// Does what a worker does: computes, allocates, talks over what it has.
fn work() -> Result<(), Error> {
    let table: std::collections::HashMap<u64, Vec<u8>> =
        (0..100).map(|key| (key, vec![1; 100_000])).collect();
    let sum: usize = table.values().map(Vec::len).sum();
    assert_eq!(sum, 10_000_000);
    std::io::stderr().write_all(b"still here\n")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (walls, what) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let parent = rustix::process::getppid().ok_or("nobody has started it")?;
    match walls.as_str() {
        "none" => {}
        "landlock" => confine(LIMITS)?,
        _ => enter(LIMITS, || ())?,
    }
    let said = match attempt(&what, parent) {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    };
    std::io::stdout().write_all(said.as_bytes())?;
    Ok(())
}
