//! What is left on the device itself below a director, whatever became of a transfer.
//!
//! The director's directory, its temporary files, its working folder (for core dumps) and its log are on an ext4 file
//! system in a loop image. 10,000 card numbers come to the director, which alone may find them. After each end the bytes of the whole
//! device are searched: what was deleted is still there on a device, so nothing may ever have been written.

use crate::bed::{Bed, Fault, copy};
use crate::service::Provider;
use crate::support::{DirectorProcess, list, skipped, text_of};
use airlock_testkit::{Document, Encoding, Ext4Image, Ext4Options, Kind, Planted, Tool, Tree, residue};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Planted values, in files of 200.
const VALUES: usize = 10_000;
const DEVICE_BYTES: u64 = 160 << 20;
const LIMIT: Duration = Duration::from_mins(1);

/// A loop device that is mounted while this is there.
struct Device {
    image: PathBuf,
    at: PathBuf,
}

impl Device {
    fn new(bed: &Bed) -> Option<Self> {
        let (image, at) = (bed.bench.path("device.img"), bed.bench.path("device"));
        fs::create_dir(&at).expect("a folder");
        let file = fs::File::create(&image).expect("create");
        file.set_len(DEVICE_BYTES).expect("size");
        Tool::new("mke2fs")
            .expect("mke2fs")
            .args(["-q", "-t", "ext4"])
            .arg(&image)
            .run()
            .expect("a file system");
        let mount = Tool::new("mount").expect("mount").args(["-o", "loop"]).arg(&image).arg(&at).run();
        match mount {
            Ok(_) => Some(Self { image, at }),
            Err(error) => {
                skipped(&format!("a loop device needs root: {error}"));
                None
            }
        }
    }

    /// Waits until everything that was written is on the device.
    fn sync(&self) {
        Tool::new("sync").expect("sync").arg("-f").arg(&self.at).run().expect("synced");
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(Tool::new("umount").expect("umount").arg("-l").arg(&self.at).run());
    }
}

struct Search {
    needles: Vec<Vec<u8>>,
}

impl Search {
    /// Each value as it is written, in UTF-16, in hexadecimal and in base64 at each of its three offsets.
    fn new(planted: &[Planted]) -> Self {
        let mut needles = Vec::new();
        for value in planted {
            let plain = value.value.expose();
            needles.push(plain.as_bytes().to_vec());
            let mut wide = Encoding::Utf16Le.encode(plain);
            wide.pop();
            needles.push(wide);
            needles.push(hex::encode(plain).into_bytes());
            needles.extend(base64_forms(plain));
        }
        Self { needles }
    }

    fn hits(&self, place: &Path) -> usize {
        residue::find_bytes(place, &self.needles).expect("search").len()
    }
}

/// What of a text stands in base64 whatever is around it, for the three places where it may begin.
fn base64_forms(text: &str) -> [Vec<u8>; 3] {
    use base64::Engine as _;
    [0, 1, 2].map(|skipped| {
        let whole = &text[(3 - skipped) % 3..];
        let whole = &whole[..whole.len() / 3 * 3];
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(whole).into_bytes()
    })
}

/// Builds a disk with half of the values, and noise that no other has.
fn half(bed: &Bed, name: &str, seed: u64, noise_bytes: usize) -> (PathBuf, Vec<Planted>) {
    let mut tree = Tree::new(bed.bench.path(&format!("{name}-tree")), seed).expect("tree");
    let mut planted = Vec::new();
    for file in 0..VALUES / 2 / 200 {
        let (document, encoding) = match file % 3 {
            0 => (Document::Csv, Encoding::Ascii),
            1 => (Document::Notes, Encoding::Utf16Le),
            _ => (Document::JsonLines, Encoding::Ascii),
        };
        planted.extend(
            tree.plant(&format!("/srv/{file}"), document, &[Kind::Pan; 200], encoding).expect("plant"),
        );
    }
    tree.noise("/srv/noise.bin", noise_bytes).expect("noise");
    let image = bed.bench.path(&format!("{name}.img"));
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(32 << 20)).expect("image");
    (image, planted)
}

/// Starts a director whose every file is on the device, and that may dump core as it likes.
fn director(bed: &Bed, device: &Device, data: &Path, fault: Option<&Fault>) -> Option<DirectorProcess> {
    let (device, log) = (device.at.clone(), bed.log());
    bed.director_in(data, move |command| {
        let inner = fault.map_or_else(|| again(&command), |fault| fault.around(&log, &command));
        let mut shell = Command::new("sh");
        let script = "ulimit -c unlimited; cd \"$0\" && exec \"$@\" 2>>director.log";
        shell.args(["-c", script]).arg(&device).arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.env("TMPDIR", &device).env("SQLITE_TMPDIR", &device).env("AIRLOCK_LOG", "trace");
        shell
    })
}

fn again(command: &Command) -> Command {
    let mut same = Command::new(command.get_program());
    same.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => same.env(name, value),
            None => same.env_remove(name),
        };
    }
    same
}

/// Cancels every unfinished transfer, as whoever runs the site does.
fn cancel(data: &Path, director: &DirectorProcess) {
    let provider = Provider::of(director, data);
    let transfers = provider.ask("GET", "/transfers", &Value::Null);
    let all = transfers["items"].as_array().unwrap_or_else(|| panic!("{transfers}"));
    let unfinished = all.iter().filter(|transfer| transfer["state"] == "staging");
    let ids: Vec<&str> = unfinished.map(|transfer| text_of(&transfer["id"])).collect();
    assert!(!ids.is_empty(), "nothing to cancel: {transfers}");
    for id in ids {
        provider.ask("POST", &format!("/transfers/{id}/cancel"), &Value::Null);
    }
}

#[test]
fn no_value_is_ever_on_the_device() {
    let bed = Bed::new();
    let Some(device) = Device::new(&bed) else { return };
    let (image, mut planted) = half(&bed, "one", 21, 4 << 20);
    let (large, others) = half(&bed, "two", 22, 12 << 20);
    planted.extend(others);
    let search = Search::new(&planted);
    assert_eq!(planted.len(), VALUES);
    assert!(search.hits(&image) + search.hits(&large) >= VALUES, "the search finds them where they are");
    let assert_none = |what: &str| {
        device.sync();
        assert_eq!(search.hits(&device.image), 0, "on the device after: {what}");
        assert_eq!(search.hits(&bed.bench.home()), 0, "at the source after: {what}");
    };
    let send = |director: &DirectorProcess, more: &[&str]| {
        let args: [&dyn AsRef<std::ffi::OsStr>; 8] = [
            &image,
            &director.url,
            &"--identity",
            &director.identity,
            &"--no-memo",
            &"--policy",
            bed.policy(),
            &"--name",
        ];
        bed.bench.airlock("transfer").args(list(&args)).arg("vm").args(more).end().code
    };
    let data = device.at.join("data");
    copy(bed.template(), &data);

    let running = director(&bed, &device, &data, None).expect("it listens");
    assert_eq!(send(&running, &[]), Some(4), "refused");
    assert_none("a refusal");
    assert_eq!(send(&running, &["--on-fail", "withhold"]), Some(3), "withheld");
    assert_none("withholding");

    let args: [&dyn AsRef<std::ffi::OsStr>; 10] = [
        &large,
        &running.url,
        &"--identity",
        &running.identity,
        &"--no-memo",
        &"--policy",
        bed.policy(),
        &"--name",
        &"slow",
        &"--bwlimit=2M",
    ];
    let slow = bed.bench.start_transfer(&list(&args));
    std::thread::sleep(Duration::from_millis(1500));
    cancel(&data, &running);
    assert!(slow.wait(LIMIT).expect("it ends").code.is_some_and(|code| code != 0 && code != 3), "cancelled");
    assert_none("a cancellation");

    let slow = bed.bench.start_transfer(&list(&args));
    std::thread::sleep(Duration::from_millis(1500));
    Tool::new("kill")
        .expect("kill")
        .args(["-ABRT", &running.service.id().to_string()])
        .run()
        .expect("killed");
    assert_eq!(running.service.wait(LIMIT).expect("it ends").code, None, "aborted");
    drop(slow.wait(LIMIT).expect("it ends"));
    assert_none("an abort, with a core dump if there is one");

    for number in [3, 20] {
        let fault = Fault::kill("pwrite64", number);
        if let Some(running) = director(&bed, &device, &data, Some(&fault)) {
            send(&running, &[]);
        }
        assert_none("a crash");
    }

    let running = director(&bed, &device, &data, None).expect("it listens");
    assert_eq!(send(&running, &["--resume"]), Some(4), "refused at last");
    running.stop();
    fill(&device.at);
    if let Some(running) = director(&bed, &device, &data, None) {
        assert!(matches!(send(&running, &[]), Some(1 | 4 | 11)), "full");
        drop(running);
    }
    assert_none("a full disk");
    fs::remove_file(device.at.join("filler")).expect("removed");

    // The search is one that finds: a value that was written and deleted is still there.
    let stray = device.at.join("stray");
    fs::write(&stray, planted[4711].value.expose().repeat(100)).expect("write");
    device.sync();
    fs::remove_file(&stray).expect("removed");
    device.sync();
    assert!(search.hits(&device.image) > 0, "what was deleted is found");
    airlock_testkit::score(
        "marker values of 10,000 absent from the raw device",
        VALUES as u64,
        VALUES as u64,
        "",
    );
}

/// Fills a file system but for a little.
fn fill(at: &Path) {
    let said = Tool::new("df").expect("df").args(["-k", "--output=avail"]).arg(at).run().expect("df");
    let free: usize = said.lines().last().expect("a line").trim().parse().expect("a number");
    fs::write(at.join("filler"), vec![0xa5; (free - 1500) << 10]).expect("filled");
}
