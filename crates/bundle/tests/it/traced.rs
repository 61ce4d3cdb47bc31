//! Hostile images under `strace`: whatever they name, no file outside of the allowed folder is opened.
//!
//! The test runs itself once more under `strace`, which opens everything in a folder with and
//! without leave to open other files there; between two marks, only what lies in that folder may
//! be opened. One mutant in two has its names changed, so that they lead elsewhere still.

use airlock_bundle::{Options, open};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder to the process that is traced.
const FOLDER: &str = "AIRLOCK_TEST_TRACED";
const BEGIN: &str = "/airlock-test-begin";
const END: &str = "/airlock-test-end";
/// Changed copies of each file.
const MUTANTS: usize = 20;
/// What the allocator of the C library looks at.
const ALLOCATOR: &str = "</proc/sys/vm/overcommit_memory>";
const THIS: &str = "traced::no_file_outside_the_folder_is_opened";

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let run = Command::new(program).current_dir(folder).args(arguments).output();
    let run = run.unwrap_or_else(|error| panic!("{program} (see `TEST` in xtask/src/packages.rs): {error}"));
    assert!(run.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
}

/// Replaces bytes by others of the same length or shorter ones; there must be some.
fn patch(path: &Path, from: &str, to: &str) {
    let mut bytes = fs::read(path).unwrap();
    let mut found = 0;
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from.as_bytes()) {
        let rest = bytes.split_off(at + from.len());
        bytes.truncate(at);
        bytes.extend(to.bytes().chain(std::iter::repeat_n(b' ', from.len().saturating_sub(to.len()))));
        bytes.extend(rest);
        found += 1;
    }
    assert!(found > 0, "{} has no {from}", path.display());
    fs::write(path, bytes).unwrap();
}

/// Makes a differencing VHD whose parent has this name.
fn differencing_vhd(path: &Path, parent: &str) {
    let mut bytes = fs::read(path).unwrap();
    let sum = |bytes: &mut [u8], at: usize| {
        bytes[at..at + 4].fill(0);
        let sum = !bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    };
    let end = bytes.len() - 512;
    for footer in [0, end] {
        bytes[footer + 60..footer + 64].copy_from_slice(&4_u32.to_be_bytes());
        sum(&mut bytes[footer..footer + 512], 64);
    }
    let name: Vec<u8> = parent.encode_utf16().flat_map(u16::to_be_bytes).collect();
    bytes[512 + 64..][..name.len()].copy_from_slice(&name);
    let locator: Vec<u8> = parent.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at = bytes.len() - 1024;
    let fields = [u32::from_be_bytes(*b"W2ku"), 512, u32::try_from(locator.len()).unwrap(), 0, 0];
    let fields = fields.iter().flat_map(|field| field.to_be_bytes());
    bytes[512 + 576..][..20].iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
    bytes[512 + 576 + 16..][..8].copy_from_slice(&u64::try_from(at).unwrap().to_be_bytes());
    bytes[at..at + locator.len()].copy_from_slice(&locator);
    sum(&mut bytes[512..1536], 36);
    fs::write(path, bytes).unwrap();
}

/// Makes images and descriptors that name files outside of the folder, in every way there is.
fn make(folder: &Path) {
    let outside = folder.parent().unwrap().join("outside");
    let secret = outside.join("secret.raw");
    let secret = secret.to_str().unwrap();
    let image = |arguments: &[&str]| run(folder, "qemu-img", arguments);
    image(&["create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", "backing.qcow2"]);
    image(&["create", "-q", "-f", "qcow2", "-b", "../outside/secret.raw", "-F", "raw", "relative.qcow2"]);
    image(&["create", "-q", "-f", "qcow2", "-o", "data_file=../outside/data", "data.qcow2", "1M"]);
    image(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"]);
    image(&["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "fine.qcow2"]);
    image(&["create", "-q", "-f", "vmdk", "../outside/parent.vmdk", "1M"]);
    image(&["create", "-q", "-f", "vmdk", "-b", "../outside/parent.vmdk", "-F", "vmdk", "delta.vmdk"]);
    for kind in ["monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse"] {
        let name = format!("{kind}.vmdk");
        image(&["create", "-q", "-f", "vmdk", "-o", &format!("subformat={kind}"), &name, "1M"]);
        patch(&folder.join(&name), &format!("\"{kind}-"), "\"../outside/secret.raw\" ");
    }
    image(&["create", "-q", "-f", "vpc", "child.vhd", "1M"]);
    differencing_vhd(&folder.join("child.vhd"), "..\\outside\\secret.raw");
    image(&["create", "-q", "-f", "vhdx", "disk.vhdx", "8M"]);
    image(&["create", "-q", "-f", "vdi", "disk.vdi", "1M"]);
    let mut vdi = fs::read(folder.join("disk.vdi")).unwrap();
    // Type 4 is a differencing image.
    vdi[76] = 4;
    fs::write(folder.join("child.vdi"), vdi).unwrap();

    let text = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    for (number, name) in
        [secret, "../outside/secret.raw", "file:///etc/passwd", "link.raw"].iter().enumerate()
    {
        text(
            &format!("{number}.ovf"),
            &format!(
                "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
                 xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"><References>\
                 <File ovf:href=\"{name}\" ovf:id=\"f\"/></References><DiskSection>\
                 <Disk ovf:capacity=\"1048576\" ovf:diskId=\"d\" ovf:fileRef=\"f\"/></DiskSection>\
                 <VirtualSystem ovf:id=\"vm\"/></Envelope>"
            ),
        );
        text(
            &format!("{number}.xml"),
            &format!(
                "<domain type='kvm'><name>vm</name><os><nvram>{name}</nvram></os><devices>\
                 <disk type='file' device='disk'><driver type='raw'/><source file='{name}'/>\
                 <target dev='vda'/></disk></devices></domain>"
            ),
        );
        let vmx = "displayName = \"vm\"\nscsi0.present = \"TRUE\"\nscsi0:0.present = \"TRUE\"\n";
        text(&format!("{number}.vmx"), &format!("{vmx}scsi0:0.fileName = \"{name}\"\nnvram = \"{name}\"\n"));
        text(
            &format!("{number}.vbox"),
            &format!(
                "<VirtualBox xmlns=\"http://www.virtualbox.org/\"><Machine name=\"vm\"><MediaRegistry>\
                 <HardDisks><HardDisk uuid=\"{{1}}\" location=\"{name}\" format=\"VDI\"/></HardDisks>\
                 </MediaRegistry></Machine></VirtualBox>"
            ),
        );
    }
    std::os::unix::fs::symlink("../outside/secret.raw", folder.join("link.raw")).unwrap();
    std::os::unix::fs::symlink("../outside", folder.join("up")).unwrap();
    image(&["create", "-q", "-u", "-f", "qcow2", "-b", "up/secret.raw", "-F", "raw", "link.qcow2", "1M"]);
}

/// Adds changed copies: names that lead elsewhere, and bytes that are anything.
fn mutate(folder: &Path) {
    const NAMES: [(&[u8], &[u8]); 4] = [
        (b"../outside/secret", b"../../../etc/host"),
        (b"outside", b"../../."),
        (b"base.qcow2", b"../o/x/y.q"),
        (b"raw", b"..."),
    ];
    let mut state = 0x5eed_u64;
    let mut random = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit.max(1)
    };
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in files.iter().filter(|path| fs::symlink_metadata(path).unwrap().is_file()) {
        let intact = fs::read(path).unwrap();
        let extension = path.extension().unwrap_or_default().to_str().unwrap();
        for mutant in 0..MUTANTS {
            let mut bytes = intact.clone();
            if mutant % 2 == 0 {
                let (from, to) = NAMES[random(NAMES.len())];
                let front = bytes.len().min(1 << 16);
                while let Some(at) = bytes[..front].windows(from.len()).position(|window| window == from) {
                    bytes[at..at + from.len()].copy_from_slice(to);
                }
            }
            for _ in 0..random(4) {
                let at = random(bytes.len().min(4096));
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            let name = path.file_stem().unwrap().to_str().unwrap();
            fs::write(folder.join(format!("{name}-{mutant}.{extension}")), bytes).unwrap();
        }
    }
}

/// Opens and reads all there is.
fn open_all(folder: &Path) {
    let _ = fs::File::open(BEGIN);
    let mut opened = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_symlink() {
            // Whoever names a link wants what it leads to.
            continue;
        }
        for allow_backing in [None, Some(folder.to_path_buf())] {
            let options = Options { allow_backing, ..Options::default() };
            if let Ok(bundle) = open(&path, &options) {
                let mut bytes = vec![0; usize::try_from(bundle.source.size().min(1 << 16)).unwrap()];
                opened += usize::from(bundle.source.read_at(0, &mut bytes).is_ok());
            }
        }
    }
    assert!(opened > 100, "most mutants are opened, or there is nothing to see");
    let _ = open(folder, &Options::default());
    let _ = fs::File::open(END);
}

#[test]
fn no_file_outside_the_folder_is_opened() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return open_all(Path::new(&folder));
    }
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let (folder, log) = (root.join("images"), root.join("log"));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(root.join("outside")).unwrap();
    fs::write(root.join("outside/secret.raw"), vec![b's'; 1 << 20]).unwrap();
    make(&folder);
    mutate(&folder);
    let this = std::env::current_exe().unwrap();
    // With `-y`, what a call returns has the path that it came to, through links or not.
    let traced = Command::new("strace")
        .args([
            "-f",
            "--seccomp-bpf",
            "-y",
            "-s",
            "4096",
            "-e",
            "trace=open,openat,openat2,creat,execve,connect",
            "-o",
        ])
        .args([log.as_os_str(), this.as_os_str()])
        .args(["--exact", THIS, "--nocapture", "--test-threads=1"])
        .env(FOLDER, &folder)
        .output()
        .expect("strace (Debian package strace)");
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    let at = |mark: &str| lines.iter().position(|line| line.contains(mark)).expect("a mark in the trace");
    let between = &lines[at(BEGIN) + 1..at(END)];
    let allowed = format!("<{}", folder.display());
    let inside =
        |path: &str| path.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.starts_with(['/', '>']));
    let mut opened = 0;
    for line in between {
        let Some((call, result)) = line.rsplit_once(" = ") else { continue };
        assert!(!call.contains("execve(") && !call.contains("connect("), "{line}");
        if let Some(path) = result.find('<').map(|at| &result[at..]) {
            assert!(inside(path) || path == ALLOCATOR, "{line}");
            opened += 1;
        }
    }
    assert!(opened > 1000, "{opened} files were opened");
}
