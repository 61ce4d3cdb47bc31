//! A small VM between two sites that can be made to fail at any system call, and what must be so afterwards.

use crate::support::{Bench, DirectorProcess, Ran, assert_no_residue, files_ending, text_of};
use airlock_testkit::loopback::{Ended, Service};
use airlock_testkit::{Document, Encoding, Ext4Image, Ext4Options, Kind, Planted, Tree, require};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything may take that is not stuck.
const LIMIT: Duration = Duration::from_mins(2);
/// How long whoever comes back may take until it has finished or refused.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);
/// System calls on files, folders and sockets.
pub(crate) const CALLS: &str = "openat,read,pread64,write,pwrite64,writev,sendto,recvfrom,fsync,fdatasync,rename,\
    unlink,unlinkat,mkdir,ftruncate,flock,fcntl,connect,accept4,bind,listen,shutdown,close,getdents64,lseek,statx";

/// A fault, in the words of `strace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The system call.
    pub(crate) call: String,
    /// Which calls of each thread: `5` is the fifth, `5+` that and all behind it.
    pub(crate) when: String,
    /// What happens: `signal=KILL`, `error=EIO`, `delay_enter=20000`.
    pub(crate) what: &'static str,
}

impl Fault {
    pub(crate) fn kill(call: &str, at: u64) -> Self {
        Self { call: call.to_owned(), when: at.to_string(), what: "signal=KILL" }
    }

    /// Puts a command under the fault; its process stays the child.
    pub(crate) fn around(&self, log: &Path, command: &Command) -> Command {
        let inject = format!("inject={}:{}:when={}", self.call, self.what, self.when);
        traced(command, log, &self.call, &["-e", &inject])
    }
}

fn traced(command: &Command, log: &Path, calls: &str, more: &[&str]) -> Command {
    let mut traced = Command::new(require("strace").expect("strace"));
    traced.args(["-D", "-I", "2", "-f", "-qq", "-y", "-e"]).arg(format!("trace={calls}")).args(more);
    traced
        .args(["-e", "signal=none", "-o"])
        .arg(log)
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// Both sites' inputs, and a director's directory that holds one VM already.
pub(crate) struct Bed {
    pub(crate) bench: Bench,
    pub(crate) image: PathBuf,
    pub(crate) planted: Vec<Planted>,
    policy: PathBuf,
    template: PathBuf,
}

impl Bed {
    /// A disk of 8 MiB of which the destination withholds one file.
    pub(crate) fn new() -> Self {
        let bench = Bench::new();
        let mut tree = Tree::new(bench.path("tree"), 3).expect("tree");
        let planted =
            tree.plant("/srv/cards.csv", Document::Csv, &[Kind::Pan; 40], Encoding::Ascii).expect("plant");
        tree.noise("/srv/noise.bin", 600 << 10).expect("noise");
        tree.filler("/usr/share/doc/manual.txt", 100_000).expect("filler");
        let image = bench.path("disk.img");
        Ext4Image::build(tree.root(), &image, &Ext4Options::new(8 << 20)).expect("image");
        let lax = fs::read_to_string(bench.lax_policy()).expect("read the policy");
        let rule = "rules:\n  - {check: financial, confidence: 0.8, scope: file, action: hold, where: [destination]}\n";
        let policy = bench.path("policy.yaml");
        fs::write(&policy, lax.replace("rules: []\n", rule)).expect("write the policy");
        let template = bench.path("template");
        let bed = Self { bench, image, planted, policy, template };
        bed.keep_the_first();
        bed
    }

    /// Another VM is kept before anything fails, with a director that has made all its keys.
    fn keep_the_first(&self) {
        let mut tree = Tree::new(self.bench.path("first-tree"), 4).expect("tree");
        tree.noise("/srv/other.bin", 200 << 10).expect("noise");
        let image = self.bench.path("first.img");
        Ext4Image::build(tree.root(), &image, &Ext4Options::new(4 << 20)).expect("image");
        let template = self.template.clone();
        let director = self.director(&template);
        let ran = self.bench.airlock("transfer").arg(image).arg(&director.url);
        ran.arg("--identity").arg(&director.identity).args(["--name", "first"]).expect(0);
        director.stop();
        // A cache that is as large as it may ever be.
        fs::remove_dir_all(template.join("memo")).expect("removed");
    }

    /// A director's directory with the first VM in it.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        let data = self.bench.path(name);
        if data.exists() {
            fs::remove_dir_all(&data).expect("removed");
        }
        copy(&self.template, &data);
        data
    }

    /// The director's directory that [`Bed::data`] copies.
    pub(crate) fn template(&self) -> &Path {
        &self.template
    }

    /// Starts a director. Nothing if it cannot; then it has said why.
    pub(crate) fn director_if(&self, data: &Path) -> Option<DirectorProcess> {
        self.bench.director_wrapped(data, &self.director_args(), |command| command)
    }

    /// Says of a transfer into a directory which system calls touch the directory: their numbers in the thread that
    /// makes most of them.
    pub(crate) fn calls_on_data(&self) -> BTreeMap<String, Vec<u64>> {
        let data = self.data("counting");
        let to = data.display().to_string();
        let command = traced(&self.transfer_command(&to, None), &self.log(), CALLS, &[]);
        let ended = Service::start("transfer", command).expect("it starts").wait(LIMIT).expect("it ends");
        assert_eq!(ended.code, Some(3), "{:?}", ended.lines);
        let mut threads: BTreeMap<(String, String), (u64, Vec<u64>)> = BTreeMap::new();
        for line in complete(&self.log()).lines() {
            let Some((thread, call)) = call_of(line) else { continue };
            let (count, on_data) = threads.entry((call.to_owned(), thread.to_owned())).or_default();
            *count += 1;
            if line.contains(&to) {
                on_data.push(*count);
            }
        }
        let mut calls: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for ((call, _), (_, on_data)) in threads {
            let most = calls.entry(call).or_default();
            if on_data.len() > most.len() {
                *most = on_data;
            }
        }
        calls
    }

    fn director_args(&self) -> [&OsStr; 4] {
        ["--policy".as_ref(), self.policy.as_ref(), "--progress".as_ref(), "none".as_ref()]
    }

    pub(crate) fn director(&self, data: &Path) -> DirectorProcess {
        self.bench.director(data, &self.director_args())
    }

    /// Starts a director in something. Nothing if it ends before it listens.
    pub(crate) fn director_in(
        &self,
        data: &Path,
        wrap: impl FnOnce(Command) -> Command,
    ) -> Option<DirectorProcess> {
        self.bench.director_wrapped(data, &self.director_args(), wrap)
    }

    /// The policy of both sites: the destination holds card numbers, and the source does not look.
    pub(crate) fn policy(&self) -> &PathBuf {
        &self.policy
    }

    /// Starts a director under a fault. Nothing if it ends before it listens.
    pub(crate) fn director_under(&self, data: &Path, fault: &Fault) -> Option<DirectorProcess> {
        let wrap = |command: Command| fault.around(&self.log(), &command);
        self.bench.director_wrapped(data, &self.director_args(), wrap)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.bench.path("calls")
    }

    /// Runs something without faults and counts the system calls of its busiest thread.
    pub(crate) fn director_calls(&self, transfer: impl FnOnce(&DirectorProcess)) -> BTreeMap<String, u64> {
        let data = self.data("counted");
        let wrap = |command: Command| traced(&command, &self.log(), CALLS, &[]);
        let director = self.bench.director_wrapped(&data, &self.director_args(), wrap).expect("it listens");
        transfer(&director);
        director.stop();
        counted(&self.log())
    }

    fn transfer_args(&self, to: &str, identity: Option<&Path>) -> Vec<std::ffi::OsString> {
        let mut args: Vec<std::ffi::OsString> = vec![self.image.clone().into(), to.into()];
        args.extend(
            ["--name", "vm", "--on-fail", "withhold", "--streams", "2", "--no-memo", "--progress", "none"]
                .map(Into::into),
        );
        args.push("--policy".into());
        args.push(self.policy.clone().into());
        match identity {
            Some(identity) => args.extend(["--identity".into(), identity.into()]),
            None => args.extend(["--dest-policy".into(), self.policy.clone().into()]),
        }
        args
    }

    /// The transfer of the VM to a director.
    pub(crate) fn transfer(&self, director: &DirectorProcess, more: &[&str]) -> Ran {
        let args = self.transfer_args(&director.url, Some(&director.identity));
        self.bench.airlock("transfer").args(args).args(more).end()
    }

    /// The transfer of the VM into a directory: both sites in one process.
    pub(crate) fn transfer_into(&self, data: &Path, more: &[&str]) -> Ran {
        let args = self.transfer_args(&data.display().to_string(), None);
        self.bench.airlock("transfer").args(args).args(more).end()
    }

    fn transfer_command(&self, to: &str, identity: Option<&Path>) -> Command {
        let mut command = self.bench.command("transfer");
        command.args(self.transfer_args(to, identity));
        command
    }

    /// The same under a fault.
    pub(crate) fn transfer_under(&self, to: &str, identity: Option<&Path>, fault: &Fault) -> Ended {
        let command = fault.around(&self.log(), &self.transfer_command(to, identity));
        let ended = Service::start("transfer", command).expect("it starts").wait(LIMIT);
        ended.unwrap_or_else(|error| panic!("{fault:?}: {error}"))
    }

    pub(crate) fn transfer_calls(&self, to: &str, identity: Option<&Path>) -> BTreeMap<String, u64> {
        let command = traced(&self.transfer_command(to, identity), &self.log(), CALLS, &[]);
        let ended = Service::start("transfer", command).expect("it starts").wait(LIMIT).expect("it ends");
        assert_eq!(ended.code, Some(3), "{:?}", ended.lines);
        counted(&self.log())
    }

    /// After an end: both VMs are there, the evidence verifies, nothing has rotted, nothing held can be read.
    pub(crate) fn assert_sound(&self, what: &str, data: &Path) {
        let scrub = self.bench.airlock("scrub").arg("--data").arg(data).end();
        assert_eq!(scrub.code, Some(0), "{what}: {}{}", scrub.out, scrub.err);
        let list = self.bench.airlock("list").arg("--vault").arg(data).expect(0).json();
        let names: Vec<&str> =
            list["vms"].as_array().expect("VMs").iter().map(|vm| text_of(&vm["vm"])).collect();
        assert!(names.contains(&"first") && names.contains(&"vm"), "{what}: {names:?}");
        for vm in list["vms"].as_array().expect("VMs") {
            let evidence = data.join("evidence").join(format!("{}.json", text_of(&vm["transfer"])));
            let ran = self.bench.airlock("verify").arg(evidence).arg("--vault").arg(data).end();
            assert_eq!(ran.code, Some(0), "{what}: {}{}", ran.out, ran.err);
        }
        assert_eq!(files_ending(&data.join("chamber"), "key").len(), 0, "{what}: a key is left");
        assert_no_residue(data, &self.planted);
        assert_no_residue(&self.bench.home(), &self.planted);
    }

    /// In the middle: what was acknowledged opens, and nothing held can be read.
    pub(crate) fn assert_nothing_lost(&self, what: &str, data: &Path) -> Value {
        let scrub = self.bench.airlock("scrub").arg("--data").arg(data).end();
        assert_eq!(scrub.code, Some(0), "{what}: {}{}", scrub.out, scrub.err);
        assert_no_residue(data, &self.planted);
        scrub.json()
    }
}

/// Goes on until it has come to an end, which must be soon. A director that does not know yet that its
/// manager is gone is busy.
pub(crate) fn finish(what: &str, transfer: impl Fn(&[&str]) -> Ran) {
    let started = Instant::now();
    loop {
        let ran = transfer(&["--resume"]);
        let busy = ran.code == Some(11);
        assert!(started.elapsed() < RECOVERY, "{what}: not within {RECOVERY:?}: {}", ran.err);
        if !busy {
            assert_eq!(ran.code, Some(3), "{what}: {}", ran.err);
            return;
        }
    }
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("list");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

/// Reads a log once the tracer has written all of it: it may still be at work when what it traces has ended.
pub(crate) fn complete(log: &Path) -> String {
    let mut text = String::new();
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(20));
        let now = fs::read_to_string(log).expect("the log");
        if now == text && !now.is_empty() {
            break;
        }
        text = now;
    }
    text
}

/// Returns the thread and the system call of a line of a log, where one begins.
fn call_of(line: &str) -> Option<(&str, &str)> {
    let (thread, rest) = line.split_once(' ').filter(|_| !line.contains("resumed>"))?;
    let (call, _) = rest.trim_start().split_once('(')?;
    Some((thread, call))
}

/// Counts the system calls in a log, each of the thread that makes most of them.
fn counted(log: &Path) -> BTreeMap<String, u64> {
    let mut threads: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in complete(log).lines() {
        let Some((thread, call)) = call_of(line) else { continue };
        *threads.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
    }
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for ((call, _), count) in threads {
        let most = calls.entry(call).or_default();
        *most = count.max(*most);
    }
    calls
}

/// Spreads so many points over the system calls, and over the calls of each.
pub(crate) fn spread(calls: &BTreeMap<String, u64>, points: u64) -> Vec<(String, u64)> {
    let total: u64 = calls.values().sum();
    let mut quotas: Vec<(&String, u64, u64)> = calls
        .iter()
        .map(|(call, count)| (call, *count, (count * points / total.max(1)).min(*count).max(1)))
        .collect();
    // Most-called ones give up what rounding up took, or take what it left.
    quotas.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    loop {
        let sum: u64 = quotas.iter().map(|(_, _, quota)| quota).sum();
        let fits = |(_, count, quota): &&mut (&String, u64, u64)| {
            if sum > points { *quota > 1 } else { *quota < *count }
        };
        if sum == points {
            break;
        }
        let Some((_, _, quota)) = quotas.iter_mut().find(fits) else { break };
        *quota = if sum > points { *quota - 1 } else { *quota + 1 };
    }
    let each = |(call, count, quota): (&String, u64, u64)| {
        let call = call.clone();
        (0..quota).map(move |step| (call.clone(), 1 + step * count / quota)).collect::<Vec<_>>()
    };
    quotas.into_iter().flat_map(each).collect()
}
