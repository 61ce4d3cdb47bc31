//! Runs programs of the distribution and names the package of one that is missing.

use crate::error::IoContext;
use crate::{Error, Result};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which Debian package holds which program.
const PACKAGES: &[(&str, &str)] = &[
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("busybox", "busybox-static"),
    ("certtool", "gnutls-bin"),
    ("cpio", "cpio"),
    ("debootstrap", "debootstrap"),
    ("debugfs", "e2fsprogs"),
    ("dpkg-deb", "dpkg"),
    ("e2fsck", "e2fsprogs"),
    ("gpg", "gpg"),
    ("gzip", "gzip"),
    ("mcopy", "mtools"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("nbdcopy", "libnbd-bin"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdkit", "nbdkit"),
    ("qemu-img", "qemu-utils"),
    ("qemu-nbd", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("prlimit", "util-linux"),
    ("rg", "ripgrep"),
    ("sfdisk", "fdisk"),
    ("sgdisk", "gdisk"),
    ("strace", "strace"),
    ("syslinux", "syslinux"),
];

/// Returns the full path of a program, or the error that names its package.
pub fn require(tool: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Error::MissingTool {
            tool: tool.to_owned(),
            package: PACKAGES
                .iter()
                .find(|(name, _)| *name == tool)
                .map_or("the package that holds it", |(_, package)| *package),
        })
}

/// One run of a program, with its output collected.
///
/// ```
/// let text = airlock_testkit::Tool::new("sh")?.args(["-c", "echo hello"]).run()?;
/// assert_eq!(text, "hello\n");
/// # Ok::<(), airlock_testkit::Error>(())
/// ```
#[derive(Debug)]
pub struct Tool {
    command: Command,
    input: Vec<u8>,
    accepted: Vec<i32>,
    banner: Option<&'static str>,
}

impl Tool {
    /// Prepares a run; fails if the program is not installed.
    pub fn new(tool: &str) -> Result<Self> {
        let mut command = Command::new(require(tool)?);
        command.env("LC_ALL", "C").env("TZ", "UTC");
        Ok(Self { command, input: Vec::new(), accepted: vec![0], banner: None })
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets what the program reads on its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Accepts one more exit code beside 0.
    #[must_use]
    pub fn accept(mut self, code: i32) -> Self {
        self.accepted.push(code);
        self
    }

    /// Takes anything on standard error, except lines that begin with `banner`, for a failure:
    /// for programs that report errors there and still exit with 0.
    #[must_use]
    pub fn errors_but(mut self, banner: &'static str) -> Self {
        self.banner = Some(banner);
        self
    }

    /// Runs the program and returns its standard output as text.
    pub fn run(self) -> Result<String> {
        self.run_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs the program and returns its standard output.
    pub fn run_bytes(mut self) -> Result<Vec<u8>> {
        let shown = describe(&self.command);
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .on("run", &shown)?;
        let stdin = child.stdin.take();
        let input = std::mem::take(&mut self.input);
        let writer = std::thread::spawn(move || {
            // A program that ends before it has read everything is judged by its exit code.
            stdin.map(|mut pipe| pipe.write_all(&input))
        });
        let output = child.wait_with_output().on("wait for", &shown)?;
        drop(writer.join());
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        let complained = self
            .banner
            .is_some_and(|banner| said.lines().any(|line| !line.is_empty() && !line.starts_with(banner)));
        if !complained && output.status.code().is_some_and(|code| self.accepted.contains(&code)) {
            return Ok(output.stdout);
        }
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        Err(Error::Failed {
            command: shown,
            status: output.status.to_string(),
            output: tail(said.trim(), 1500).to_owned(),
        })
    }
}

/// Returns the last `bytes` of a text, cut at a character.
pub(crate) fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    tail(&words.join(" "), 600).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = Tool::new("no-such-program").expect_err("it does not exist");
        assert!(error.to_string().contains("no-such-program"));
        assert!(PACKAGES.iter().any(|(tool, package)| *tool == "debugfs" && *package == "e2fsprogs"));
    }

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let error = Tool::new("sh").expect("sh").args(["-c", "echo no >&2; exit 3"]).run();
        let text = error.expect_err("exit 3").to_string();
        assert!(text.contains("no") && text.contains('3'), "{text}");
    }
}
