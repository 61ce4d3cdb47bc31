//! Runs the command, reads its JSON, and looks into what it writes.

use airlock_testkit::loopback::Service;
use airlock_testkit::{Encoding, Ext4Image, Ext4Options, PlantedDisk, PlantedDiskBuilder, Spot, Tool, Tree};
use airlock_testkit::{Kind, Planted, residue};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a director may take to say that it listens.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Stands in files of clean disks, and must never be seen where a director keeps things.
pub(crate) const MARKER: &str = "the quick marker jumps over the sealed chamber";

/// Where what takes long to build is kept between runs: below the target folder.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("testkit")
}

/// A folder of one test, with a home of its own for the command.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(parent).expect("the target folder can be written");
        let folder = tempfile::tempdir_in(parent).expect("a temporary directory");
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Prepares a run of the command; JSON on standard output, nothing of the environment's settings.
    pub(crate) fn airlock(&self, verb: &str) -> Run {
        Run { command: self.command(verb), input: None }
    }

    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airlock"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AIRLOCK_"))
        {
            command.env_remove(name);
        }
        command.env("AIRLOCK_HOME", self.home()).env("AIRLOCK_FORMAT", "json").arg(verb);
        command
    }

    /// Starts a director on a free port of 127.0.0.1.
    pub(crate) fn director(&self, data: &Path, args: &[&OsStr]) -> DirectorProcess {
        self.director_at(data, "127.0.0.1:0", None, args)
    }

    /// Starts a director at an address, perhaps in a network namespace.
    pub(crate) fn director_at(
        &self,
        data: &Path,
        address: &str,
        namespace: Option<&str>,
        args: &[&OsStr],
    ) -> DirectorProcess {
        let wrap = |command| within(namespace, command);
        self.started(data, address, args, wrap).expect("the director says where it listens")
    }

    /// Starts a director in something, such as `strace`. Nothing if it ends before it listens.
    pub(crate) fn director_wrapped(
        &self,
        data: &Path,
        args: &[&OsStr],
        wrap: impl FnOnce(Command) -> Command,
    ) -> Option<DirectorProcess> {
        self.started(data, "127.0.0.1:0", args, wrap).ok()
    }

    fn started(
        &self,
        data: &Path,
        address: &str,
        args: &[&OsStr],
        wrap: impl FnOnce(Command) -> Command,
    ) -> airlock_testkit::Result<DirectorProcess> {
        let mut command = self.command("director");
        command.arg("--data").arg(data).args(["--listen", address]).args(args);
        let mut service = Service::start("the director", wrap(command)).expect("the director starts");
        let line = service.wait_for_line(START_LIMIT, |line| line.contains("airlock.director/1"))?;
        let hello: Value = serde_json::from_str(&line).expect("one JSON object");
        let text = |name: &str| hello[name].as_str().expect("a text").to_owned();
        Ok(DirectorProcess {
            url: format!("airlock://{}/default", text("address")),
            identity: text("identity").into(),
            service,
        })
    }

    /// Starts a transfer as a child that can be killed.
    pub(crate) fn start_transfer(&self, args: &[&OsStr]) -> Service {
        self.start("transfer", args)
    }

    /// Starts a transfer as a child in a network namespace.
    pub(crate) fn start_transfer_in(&self, namespace: &str, args: &[&OsStr]) -> Service {
        let mut command = self.command("transfer");
        command.args(args);
        Service::start("transfer", within(Some(namespace), command)).expect("it starts")
    }

    /// Starts a verb as a child.
    pub(crate) fn start(&self, verb: &str, args: &[&OsStr]) -> Service {
        let mut command = self.command(verb);
        command.args(args);
        Service::start(verb, command).expect("it starts")
    }

    /// Starts a verb with its standard error on a terminal, and nothing of what it prints kept.
    pub(crate) fn spawn_on(&self, verb: &str, image: &Path, terminal: File) -> std::process::Child {
        let mut command = self.command(verb);
        command.arg(image).stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal);
        command.spawn().expect("the command runs")
    }

    /// Writes the built-in policy with replacements, each of which must apply.
    pub(crate) fn policy(&self, name: &str, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = self.airlock("policy").arg("init").env("AIRLOCK_FORMAT", "table").expect(0).out;
        for (from, to) in changes {
            assert!(text.contains(from), "the built-in policy has no {from:?}");
            text = text.replace(from, to);
        }
        let path = self.path(name);
        fs::write(&path, text).expect("write the policy");
        path
    }

    /// The built-in policy, but secrets are held, too: every planted value is.
    pub(crate) fn strict_policy(&self) -> PathBuf {
        let warn = "{check: secrets, confidence: 0.5, scope: file, action: warn}";
        self.policy("strict.yaml", &[(warn, &warn.replace("warn", "hold"))])
    }

    /// A policy without any rule.
    pub(crate) fn lax_policy(&self) -> PathBuf {
        let path = self.policy("lax.yaml", &[]);
        let text = fs::read_to_string(&path).expect("read the policy");
        let (head, rest) = text.split_once("\nrules:\n").expect("rules");
        let (_, tail) = rest.split_once("\n\n").expect("the end of the rules");
        fs::write(&path, format!("{head}\nrules: []\n\n{tail}")).expect("write the policy");
        path
    }

    /// Builds a disk of 64 MiB with 200 planted values.
    pub(crate) fn planted(
        &self,
        shape: impl FnOnce(PlantedDiskBuilder) -> PlantedDiskBuilder,
    ) -> PlantedDisk {
        shape(PlantedDisk::builder(self.path("planted"), 7)).build().expect("the planted disk")
    }

    /// Builds a disk that passes: some texts with [`MARKER`] on every line, and noise.
    pub(crate) fn clean_disk(&self, noise_bytes: usize) -> PathBuf {
        let mut tree = Tree::new(self.path("clean-tree"), 11).expect("tree");
        for index in 0..8 {
            let text = format!("{MARKER}\n").repeat(2000);
            tree.write(&format!("/srv/notes/{index}.txt"), text.as_bytes()).expect("write");
            tree.noise(&format!("/srv/noise/{index}.bin"), noise_bytes / 8).expect("noise");
        }
        let bytes = (noise_bytes as u64 * 9 / 8 + (24 << 20)).next_multiple_of(1 << 20);
        let image = self.path("clean.img");
        Ext4Image::build(tree.root(), &image, &Ext4Options::new(bytes)).expect("image");
        image
    }

    /// Exports a VM and returns the image.
    pub(crate) fn export(&self, vm: &str, vault: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        self.airlock("export").arg(vm).arg("--vault").arg(vault).arg("--to").arg(&path).expect(0);
        path
    }
}

/// Says that a test has not been made, and why.
pub(crate) fn skipped(why: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Puts a command into a network namespace.
pub(crate) fn within(namespace: Option<&str>, command: Command) -> Command {
    let Some(namespace) = namespace else { return command };
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside
}

/// A director that runs as a child, and is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct DirectorProcess {
    pub(crate) service: Service,
    pub(crate) url: String,
    pub(crate) identity: PathBuf,
}

impl DirectorProcess {
    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) {
        self.service.terminate().expect("terminate");
        let ended = self.service.wait(START_LIMIT).expect("the director ends");
        assert_eq!(ended.code, Some(0), "{:?}", ended.lines);
    }
}

/// One run of the command.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    input: Option<PathBuf>,
}

impl Run {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it a file as its standard input.
    pub(crate) fn input(mut self, path: &Path) -> Self {
        self.input = Some(path.to_path_buf());
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it to its end, and fails if it ends with another code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        let arguments: Vec<_> = self.command.get_args().map(OsStr::to_owned).collect();
        let ran = self.end();
        let head: String = ran.out.chars().take(3000).collect();
        assert_eq!(ran.code, Some(code), "{arguments:?}\n{head}\n{}", ran.err);
        ran
    }

    /// Runs it to its end.
    pub(crate) fn end(mut self) -> Ran {
        let input = self.input.map_or_else(Stdio::null, |path| File::open(path).expect("input").into());
        let output = self.command.stdin(input).output().expect("the command runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// What a run printed.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Reads standard output as one JSON object.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("standard output is one JSON object")
    }

    /// Fails if any form of any of the values was printed.
    pub(crate) fn assert_shows_no_value(&self, bench: &Bench, planted: &[Planted]) {
        let path = bench.path("printed");
        fs::write(&path, format!("{}\n{}", self.out, self.err)).expect("write");
        assert_no_residue(&path, planted);
    }
}

/// Fails if any form of any of the values is under `place`.
pub(crate) fn assert_no_residue(place: &Path, planted: &[Planted]) {
    let hits = residue::find(place, planted).expect("search");
    assert!(hits.is_empty(), "{} values remain, the first at {:?}", hits.len(), hits.first());
}

/// Adds up the classes of a coverage; the sum must be the size of the disk (invariant I2).
pub(crate) fn assert_coverage_sums(coverage: &Value, size: u64) {
    let classes =
        ["cleared", "held", "hole", "known", "dropped"].iter().map(|class| u64_of(&coverage[class]));
    let unscannable = coverage["unscannable"].as_object().expect("reasons").values().map(u64_of);
    assert_eq!(classes.chain(unscannable).sum::<u64>(), size, "{coverage}");
    assert_eq!(u64_of(&coverage["total"]), size, "{coverage}");
}

/// Reads a number.
#[track_caller]
pub(crate) fn u64_of(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Reads a text.
#[track_caller]
pub(crate) fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Fails unless each planted value is among the findings, where it was planted.
pub(crate) fn assert_all_reported(findings: &Value, disk: &PlantedDisk) {
    let findings = findings.as_array().expect("findings");
    let mut missing = Vec::new();
    for value in disk.planted() {
        let deleted = value.spot == Spot::Deleted;
        let found = findings.iter().any(|finding| {
            finding["detector"] == value.detector
                && finding["disk_offset"].as_u64() == value.disk_offset
                && finding["deleted"] == deleted
                && if deleted {
                    finding["path"].is_null()
                } else {
                    finding["path"] == *value.path && finding["offset"] == value.offset
                }
                && (value.kind == Kind::PrivateKey || finding["length"] == value.length)
        });
        if !found {
            let near: Vec<&Value> = findings
                .iter()
                .filter(|finding| finding["disk_offset"].as_u64() == value.disk_offset)
                .collect();
            missing.push(format!("{value:?}, instead {near:?}"));
        }
    }
    assert!(
        missing.is_empty(),
        "{} of {} are not reported:\n{}",
        missing.len(),
        disk.planted().len(),
        missing.join("\n")
    );
    let clean: BTreeSet<&str> = disk.clean_files().iter().map(|file| file.path.as_str()).collect();
    let false_alarms: Vec<&Value> = findings
        .iter()
        .filter(|finding| {
            finding["place"] == "file" && finding["path"].as_str().is_some_and(|path| clean.contains(path))
        })
        .collect();
    assert!(false_alarms.is_empty(), "{false_alarms:?}");
}

/// Fails unless the exported file system is sound, its held files read as zeros, and the others are as they were.
pub(crate) fn assert_rest_is_intact(bench: &Bench, disk: &PlantedDisk, export: &Path) {
    let before = disk.file_system();
    let size = fs::metadata(before.path()).expect("the file system").len();
    let carved = carve(export, disk.partition_offset(), size, bench.path("carved.img"));
    let after = Ext4Image::open(carved).expect("the exported file system opens");
    after.check().expect("the exported file system is sound");
    let held: BTreeSet<&str> = disk
        .planted()
        .iter()
        .filter(|value| matches!(value.spot, Spot::File | Spot::Straddling))
        .map(|value| value.path.as_str())
        .collect();
    for path in held {
        let length = before.size(path).expect("size");
        let content = after.cat(path).expect("cat");
        assert_eq!(content.len() as u64, length, "the size of {path}");
        assert!(content.iter().all(|byte| *byte == 0), "{path} reads as zeros");
    }
    let clean = disk.clean_files().iter().map(|file| file.path.as_str());
    for path in clean.chain(["/srv/archive/README", "/etc/hostname"]) {
        assert!(before.cat(path).expect("cat") == after.cat(path).expect("cat"), "{path} has changed");
    }
}

/// Copies a part of a disk into a file, and leaves zeros out.
pub(crate) fn carve(disk: &Path, offset: u64, length: u64, to: PathBuf) -> PathBuf {
    use std::os::unix::fs::FileExt;
    let mut from = File::open(disk).expect("open");
    from.seek(SeekFrom::Start(offset)).expect("seek");
    let file = File::create(&to).expect("create");
    file.set_len(length).expect("size");
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let part = usize::try_from((length - at).min(1 << 20)).expect("small");
        from.read_exact(&mut buffer[..part]).expect("read");
        if buffer[..part].iter().any(|byte| *byte != 0) {
            file.write_all_at(&buffer[..part], at).expect("write");
        }
        at += part as u64;
    }
    to
}

/// Fails unless `qemu-img` finds the same content in both images.
pub(crate) fn assert_identical(one: &Path, other: &Path) {
    let format =
        |path: &Path| if path.extension().is_some_and(|ending| ending == "qcow2") { "qcow2" } else { "raw" };
    let said = Tool::new("qemu-img")
        .expect("qemu-img")
        .args(["compare", "-f", format(one), "-F", format(other)])
        .arg(one)
        .arg(other)
        .run()
        .expect("the images are identical");
    assert!(said.contains("identical"), "{said}");
}

/// Makes an image of another format of a raw one; `options` are those of `qemu-img convert`.
pub(crate) fn converted(raw: &Path, to: PathBuf, format: &str, options: &[&str]) -> PathBuf {
    let tool = Tool::new("qemu-img").expect("qemu-img");
    tool.args(["convert", "-f", "raw", "-O", format]).args(options).arg(raw).arg(&to).run().expect("convert");
    to
}

/// Returns every file under a folder with this ending.
pub(crate) fn files_ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = residue::files(folder).expect("list");
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files
}

/// Returns the bytes in all files under a folder; 0 while it does not exist.
pub(crate) fn bytes_under(folder: &Path) -> u64 {
    let files = residue::files(folder).unwrap_or_default();
    files.iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

/// Fails if [`MARKER`] stands in any file under `place`, in one byte per character or two.
pub(crate) fn assert_no_marker(place: &Path) {
    let wide = Encoding::Utf16Le.encode(MARKER);
    let hits = residue::find_bytes(place, &[MARKER.as_bytes(), &wide]).expect("search");
    assert!(hits.is_empty(), "plain bytes in {:?}", hits.first());
}

/// Makes one argument list of texts and paths.
pub(crate) fn list<'a>(args: &'a [&'a dyn AsRef<OsStr>]) -> Vec<&'a OsStr> {
    args.iter().map(AsRef::as_ref).collect()
}

/// Flips one bit of a file while `check` runs, and puts the file back.
pub(crate) fn with_flipped_byte(path: &Path, position: usize, check: impl FnOnce()) {
    let original = fs::read(path).expect("read");
    let mut flipped = original.clone();
    flipped[position] ^= 1;
    fs::write(path, flipped).expect("write");
    check();
    fs::write(path, original).expect("restore");
}

/// Returns `count` positions spread evenly over a file, its first and its last byte among them.
pub(crate) fn positions(path: &Path, count: usize) -> BTreeSet<usize> {
    let length = usize::try_from(fs::metadata(path).expect("file").len()).expect("small");
    assert!(length > 0, "{} is empty", path.display());
    (0..count).map(|step| step * (length - 1) / (count - 1)).collect()
}
