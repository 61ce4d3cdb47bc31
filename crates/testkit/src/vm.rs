//! A virtual machine that is small, boots under QEMU without KVM, and says what it reads.

use crate::error::IoContext;
use crate::loopback::Service;
use crate::packages::{Claim, download, stands_for, unpack};
use crate::partition::{PartitionTable, PartitionedDisk};
use crate::{Error, Ext4Image, Ext4Options, Result, Tool, Tree, require};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What the ramdisk loads; what these need is read from the modules themselves.
const MODULES: [&str; 2] = ["virtio_pci", "virtio_blk"];
const BOOT_BYTES: u64 = 40 << 20;
const ROOT_BYTES: u64 = 64 << 20;
/// A boot takes about 10 s alone; tests of other crates may hold every core.
const BOOT_LIMIT: Duration = Duration::from_mins(5);
/// The second that the ramdisk and the boot partition were made.
const BUILD_TIME: &str = "1700000000";

const INITRD_INIT: &str = r"#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do
    /bin/busybox insmod /modules/$module
done < /modules/order
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda2 ] && break
    /bin/busybox sleep 1
done
/bin/busybox mount -t ext4 -o ro /dev/vda2 /root || { echo BOOT-FAILED; /bin/busybox poweroff -f; }
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
";

const ROOT_INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo "BOOT-OK $(/bin/busybox uname -r)"
/bin/busybox find /data -type f | /bin/busybox sort | while read -r file; do
    sum=$(/bin/busybox sha256sum "$file") || sum=unreadable
    echo "SUM ${sum%% *} $(/bin/busybox stat -c %s "$file") $file"
done
echo BOOT-DONE
/bin/busybox poweroff -f
"#;

const SYSLINUX_CFG: &str = "\
SERIAL 0 115200
DEFAULT linux
PROMPT 0
LABEL linux
  KERNEL vmlinuz
  APPEND initrd=initrd.gz console=ttyS0 loglevel=3 panic=-1
";

/// What the guest says of one of its files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SumLine {
    /// Path within the guest.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// A disk that boots: a kernel of Debian, busybox, and an ext4 root with data files.
///
/// The second partition is the root; every file below `/data` is summed up at boot.
#[derive(Debug, Clone)]
pub struct PocketVm {
    image: PathBuf,
    root: Ext4Image,
    partition_offset: u64,
}

impl PocketVm {
    /// Builds the disk below `folder`, with six data files of `seed` and what `prepare` adds.
    ///
    /// `cache` keeps the kernel between builds; several processes may share it.
    pub fn build(
        cache: &Path,
        folder: &Path,
        seed: u64,
        prepare: impl FnOnce(&mut Tree) -> Result<()>,
    ) -> Result<Self> {
        let boot_files = boot_files(&cache.join("pocket"))?;
        fs::create_dir_all(folder).on("create", folder)?;
        let boot = folder.join("boot.img");
        boot_partition(&boot, &boot_files)?;

        let mut tree = Tree::new(folder.join("root"), seed)?;
        for (index, bytes) in [90_001, 4_096, 65_537, 1, 300_000].into_iter().enumerate() {
            tree.noise(&format!("/data/noise-{index}.bin"), bytes)?;
        }
        tree.filler("/data/letters.txt", 50_000)?;
        prepare(&mut tree)?;
        install_busybox(&tree)?;
        for name in ["proc", "dev", "sys", "tmp"] {
            let path = tree.root().join(name);
            fs::create_dir_all(&path).on("create", &path)?;
        }
        executable(&tree, "/sbin/init", ROOT_INIT.as_bytes())?;
        let options = Ext4Options::new(ROOT_BYTES).label("pocket");
        let root = Ext4Image::build(tree.root(), folder.join("root.img"), &options)?;

        let contents = [boot.as_path(), root.path()];
        let disk = PartitionedDisk::build(folder.join("pocket.img"), PartitionTable::Mbr, &contents)?;
        make_bootable(&disk.path)?;
        let partition_offset = disk.offsets.get(1).copied().unwrap_or(0);
        Ok(Self { image: disk.path, root, partition_offset })
    }

    /// Returns the disk, raw.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Returns the root file system alone.
    pub fn root(&self) -> &Ext4Image {
        &self.root
    }

    /// Returns where the root file system begins on the disk.
    pub fn partition_offset(&self) -> u64 {
        self.partition_offset
    }

    /// Boots a disk image and returns what the guest says of its files.
    ///
    /// The image is not changed: QEMU keeps what the guest writes in a temporary file.
    pub fn boot(image: &Path, format: &str) -> Result<Vec<SumLine>> {
        let mut command = Command::new(require("qemu-system-x86_64")?);
        command
            .args(["-accel", "tcg,thread=multi", "-m", "256", "-nographic", "-no-reboot", "-nic", "none"])
            .args(["-snapshot", "-device", "virtio-blk-pci,drive=d", "-drive"])
            .arg(format!("if=none,id=d,format={format},file={}", comma_safe(image)));
        let ended = Service::start("the guest", command)?.wait(BOOT_LIMIT)?;
        let lines = ended.lines;
        let done = lines.iter().any(|line| line.contains("BOOT-DONE"));
        if !done || !lines.iter().any(|line| line.contains("BOOT-OK")) {
            let end = lines[lines.len().saturating_sub(20)..].join("\n");
            return Err(Error::Layout(format!("{} did not boot:\n{end}", image.display())));
        }
        let mut sums: Vec<SumLine> = lines.iter().filter_map(|line| SumLine::parse(line)).collect();
        sums.sort();
        Ok(sums)
    }
}

impl SumLine {
    /// Reads `SUM <sha256> <size> <file>`; terminal codes may stand before it.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line[line.find("SUM ")? + 4..].splitn(3, ' ');
        Some(Self {
            sha256: words.next()?.to_owned(),
            size: words.next()?.parse().ok()?,
            path: words.next()?.trim_end().to_owned(),
        })
    }
}

fn comma_safe(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// The kernel and the ramdisk.
#[derive(Debug)]
struct BootFiles {
    kernel: PathBuf,
    ramdisk: PathBuf,
}

fn boot_files(cache: &Path) -> Result<BootFiles> {
    let _claim = Claim::take(cache)?;
    // A ramdisk of another recipe has another name.
    let recipe = hex::encode(Sha256::digest(format!("{INITRD_INIT}{MODULES:?}").as_bytes()));
    let ramdisk_name = format!("initrd-{}.gz", &recipe[..12]);
    let files = BootFiles { kernel: cache.join("vmlinuz"), ramdisk: cache.join(ramdisk_name) };
    if files.ramdisk.is_file() && files.kernel.is_file() {
        return Ok(files);
    }
    let package = stands_for("linux-image-cloud-amd64", "linux-image-")?;
    let archives = download(cache, &[&package])?;
    let unpacked = cache.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).on("remove", &unpacked)?;
    }
    for archive in &archives {
        unpack(archive, &unpacked)?;
    }
    let version = package.trim_start_matches("linux-image-");
    let kernel = unpacked.join("boot").join(format!("vmlinuz-{version}"));
    let part = cache.join("vmlinuz.part");
    fs::copy(&kernel, &part).on("copy", &kernel)?;
    let modules = unpacked.join("lib/modules").join(version);
    ramdisk(cache, &modules, &files.ramdisk)?;
    fs::rename(&part, &files.kernel).on("rename", &part)?;
    let ramdisk_tree = cache.join("initrd");
    fs::remove_dir_all(&ramdisk_tree).on("remove", &ramdisk_tree)?;
    fs::remove_dir_all(&unpacked).on("remove", &unpacked)?;
    Ok(files)
}

fn ramdisk(cache: &Path, modules: &Path, target: &Path) -> Result<()> {
    let tree = Tree::new(cache.join("initrd"), 0)?;
    install_busybox(&tree)?;
    for name in ["dev", "root"] {
        let path = tree.root().join(name);
        fs::create_dir_all(&path).on("create", &path)?;
    }
    executable(&tree, "/init", INITRD_INIT.as_bytes())?;
    let known = crate::residue::files(modules)?;
    let mut order = Vec::new();
    for module in MODULES {
        load_order(&known, module, &tree, &mut order)?;
    }
    tree.write("/modules/order", (order.join("\n") + "\n").as_bytes())?;
    let mut names: Vec<String> = Vec::new();
    list(tree.root(), "", &mut names)?;
    names.sort();
    let archive = Tool::new("cpio")?
        .args(["-o", "-H", "newc", "--reproducible", "--quiet", "-R", "0:0"])
        .folder(tree.root())
        .input(names.join("\n") + "\n")
        .run_bytes()?;
    let packed = Tool::new("gzip")?.args(["-1", "-n"]).input(archive).run_bytes()?;
    fs::write(target, packed).on("write", target)
}

/// Adds a module behind those that it needs to the ramdisk and to the order of loading.
fn load_order(known: &[PathBuf], module: &str, tree: &Tree, order: &mut Vec<String>) -> Result<()> {
    let name = format!("{module}.ko");
    if order.contains(&name) {
        return Ok(());
    }
    let path = known
        .iter()
        .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().replace('-', "_") == name))
        .ok_or_else(|| Error::Layout(format!("the kernel package has no {name}")))?;
    let content = fs::read(path).on("read", path)?;
    for needed in needs(&content) {
        load_order(known, &needed, tree, order)?;
    }
    tree.write(&format!("/modules/{name}"), &content)?;
    order.push(name);
    Ok(())
}

/// Returns the modules that a module needs: it says `depends=a,b` in its description.
fn needs(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .map(|list| String::from_utf8_lossy(list).into_owned())
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().on("inspect", entry.path())?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        }
        names.push(name);
    }
    Ok(())
}

fn install_busybox(tree: &Tree) -> Result<()> {
    let busybox = require("busybox")?;
    let content = fs::read(&busybox).on("read", &busybox)?;
    executable(tree, "/bin/busybox", &content)?;
    let shell = tree.root().join("bin/sh");
    symlink("busybox", &shell).on("link", &shell)
}

fn executable(tree: &Tree, path: &str, content: &[u8]) -> Result<()> {
    let full = tree.write(path, content)?;
    fs::set_permissions(&full, fs::Permissions::from_mode(0o755)).on("chmod", &full)
}

fn boot_partition(image: &Path, files: &BootFiles) -> Result<()> {
    let file = fs::File::create(image).on("create", image)?;
    file.set_len(BOOT_BYTES).on("size", image)?;
    drop(file);
    Tool::new("mkfs.vfat")?.args(["-F", "16", "--invariant", "-n", "BOOT"]).arg(image).run()?;
    let config = image.with_file_name("syslinux.cfg");
    fs::write(&config, SYSLINUX_CFG).on("write", &config)?;
    for (source, name) in
        [(&files.kernel, "::vmlinuz"), (&files.ramdisk, "::initrd.gz"), (&config, "::syslinux.cfg")]
    {
        Tool::new("mcopy")?
            .env("SOURCE_DATE_EPOCH", BUILD_TIME)
            .arg("-i")
            .arg(image)
            .arg(source)
            .arg(name)
            .run()?;
    }
    Tool::new("syslinux")?.arg("--install").arg(image).run().map(drop)
}

/// Writes the boot code before the partition table and marks the first partition.
fn make_bootable(disk: &Path) -> Result<()> {
    let code_path = Path::new("/usr/lib/syslinux/mbr/mbr.bin");
    if !code_path.is_file() {
        return Err(Error::MissingTool { tool: code_path.display().to_string(), package: "syslinux-common" });
    }
    let code = fs::read(code_path).on("read", code_path)?;
    let disk_image = fs::OpenOptions::new().write(true).open(disk).on("open", disk)?;
    std::os::unix::fs::FileExt::write_all_at(&disk_image, &code[..code.len().min(440)], 0)
        .on("write", disk)?;
    drop(disk_image);
    Tool::new("sfdisk")?.args(["--quiet", "--activate"]).arg(disk).arg("1").run().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(needs(b"\x7fELF\0name=b\0depends=virtio,virtio-ring\0x=y\0"), ["virtio", "virtio_ring"]);
        assert!(needs(b"\x7fELF\0depends=\0").is_empty());
    }

    #[test]
    fn a_sum_line_is_read_behind_terminal_codes() {
        let line = "\u{1b}[2JSUM ab12 300 /data/my file";
        let sum = SumLine { path: "/data/my file".to_owned(), size: 300, sha256: "ab12".to_owned() };
        assert_eq!(SumLine::parse(line), Some(sum));
        assert_eq!(SumLine::parse("CHECKSUM"), None);
    }
}
