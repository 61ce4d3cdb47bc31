//! Services on this machine: free ports, and children that end with the test.

use crate::error::IoContext;
use crate::tool::tail;
use crate::{Error, Result};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Returns `count` different ports of 127.0.0.1 that nothing listens on.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).on("bind", "127.0.0.1"))
        .collect::<Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr().on("inspect", "127.0.0.1")?.port())).collect()
}

/// A child process whose output is collected, and that is killed when this is dropped.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a child ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Both of its outputs, line by line in order of arrival.
    pub lines: Vec<String>,
}

impl Service {
    /// Starts a command with no input.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .on("run", command.get_program())?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        let readers = outputs
            .into_iter()
            .flatten()
            .map(|pipe| {
                let lines = Arc::clone(&lines);
                thread::spawn(move || collect(pipe, &lines))
            })
            .collect();
        Ok(Self { name: name.to_owned(), child, lines, readers })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that it printed so far, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a line is printed for which `wanted` is true, and returns it.
    pub fn wait_for_line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().on("wait for", &self.name)?.is_some();
            if ended {
                self.join_readers();
            }
            if let Some(line) = self.lines().into_iter().find(|line| wanted(line)) {
                return Ok(line);
            }
            if ended || start.elapsed() > limit {
                return Err(self.timed_out(limit));
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until something accepts connections on a port of 127.0.0.1.
    pub fn wait_for_port(&mut self, port: u16, limit: Duration) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if self.child.try_wait().on("wait for", &self.name)?.is_some() || start.elapsed() > limit {
                return Err(self.timed_out(limit));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Asks it to end, with SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        crate::Tool::new("kill")?.args(["-TERM", &self.id().to_string()]).run().map(drop)
    }

    /// Ends it at once, with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().on("kill", &self.name)?;
        self.child.wait().on("wait for", &self.name).map(drop)
    }

    /// Waits until it has ended; after `limit` it is killed, and that is an error.
    pub fn wait(mut self, limit: Duration) -> Result<Ended> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().on("wait for", &self.name)? {
                self.join_readers();
                return Ok(Ended { code: status.code(), lines: self.lines() });
            }
            if start.elapsed() > limit {
                self.kill()?;
                return Err(self.timed_out(limit));
            }
            thread::sleep(POLL);
        }
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
    }

    fn timed_out(&self, limit: Duration) -> Error {
        Error::TimedOut {
            what: self.name.clone(),
            seconds: limit.as_secs(),
            tail: tail(&self.lines().join("\n"), 2000).to_owned(),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn collect(pipe: impl Read, lines: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Service {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Service::start("shell", command).expect("sh starts")
    }

    #[test]
    fn ports_are_different() {
        let mut ports = free_ports(8).expect("ports");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }

    #[test]
    fn a_line_is_waited_for_and_the_end_is_reported() {
        let mut service = shell("echo ready; echo detail >&2; exit 4");
        let limit = Duration::from_secs(20);
        assert_eq!(service.wait_for_line(limit, |line| line == "ready").expect("line"), "ready");
        let ended = service.wait(limit).expect("end");
        assert_eq!(ended.code, Some(4));
        assert!(ended.lines.contains(&"detail".to_owned()));
    }

    #[test]
    fn a_child_that_hangs_is_killed_and_its_output_shown() {
        let service = shell("echo stuck; exec sleep 600");
        let id = service.id();
        let error = service.wait(Duration::from_millis(700)).expect_err("it hangs");
        assert!(error.to_string().contains("stuck"));
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}
