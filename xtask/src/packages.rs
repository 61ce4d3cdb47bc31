//! The Debian packages that tests and benchmarks need, in one place.

use crate::run::{command, output, run};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// What the tests run, apart from what every Debian system has.
pub(crate) const TEST: &[&str] = &[
    "attr",
    "binutils",
    "btrfs-progs",
    "busybox-static",
    "bzip2",
    "clamav",
    "cpio",
    "curl",
    "db5.3-util",
    "debootstrap",
    "dosfstools",
    "e2fsprogs",
    "exfat-fuse",
    "exfatprogs",
    "fdisk",
    "g++",
    "gcab",
    "gdisk",
    "gnutls-bin",
    "gpg",
    "gpg-agent",
    "iproute2",
    "libnbd-bin",
    "libvirt-clients",
    "lvm2",
    "lz4",
    "mount",
    "mtools",
    "nbdkit",
    "nftables",
    "ntfs-3g",
    "procps",
    "python3",
    "python3-pip",
    "python3-venv",
    "rpm",
    "squashfs-tools",
    "strace",
    "syslinux",
    "syslinux-common",
    "systemd",
    "xfsprogs",
    "xorriso",
    "xz-utils",
    "zip",
    "zstd",
];

/// What the benchmarks run beside that.
pub(crate) const BENCH: &[&str] = &["ripgrep", "time"];

/// These must have one version. Some systems carry a newer `qemu-utils` from
/// another archive, which excludes the `qemu-system-x86` of the release.
const QEMU: &[&str] = &["qemu-system-x86", "qemu-utils", "qemu-block-extra"];

/// Makes sure that the packages are there: installs them as root, and names them otherwise.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let wanted: Vec<&str> = packages.iter().chain(QEMU).copied().collect();
    let present = present(&wanted)?;
    let missing: Vec<&str> =
        wanted.iter().filter(|package| !present.contains_key(**package)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    if output(&mut command("id", &["-u"]))?.trim() != "0" {
        bail!(
            "these Debian packages are missing: {0}\n  as root: apt-get update && apt-get install \
             --no-install-recommends {0}",
            missing.join(" ")
        );
    }
    println!("packages: installing {}", missing.join(" "));
    run(&mut command("apt-get", &["update", "-qq"]))?;
    let mut names: Vec<String> = missing
        .iter()
        .filter(|package| !QEMU.contains(package))
        .map(|package| (*package).to_owned())
        .collect();
    if missing.iter().any(|package| QEMU.contains(package)) {
        let version = candidate("qemu-system-x86")?;
        names.extend(QEMU.iter().map(|package| format!("{package}={version}")));
    }
    let mut install = command(
        "apt-get",
        &["install", "-y", "-qq", "--no-install-recommends", "--allow-downgrades", "-o", "Dpkg::Use-Pty=0"],
    );
    run(install.args(&names).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Returns the installed ones of `packages` with their versions.
pub(crate) fn present(packages: &[&str]) -> Result<BTreeMap<String, String>> {
    // The exit code only says that one of them is unknown.
    let listed = std::process::Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"])
        .args(packages)
        .output();
    let Ok(listed) = listed else { bail!("dpkg-query does not run: the tests need a Debian system") };
    Ok(String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| {
            let (package, version) = line.strip_prefix("installed ")?.split_once(' ')?;
            Some((package.to_owned(), version.to_owned()))
        })
        .collect())
}

fn candidate(package: &str) -> Result<String> {
    let policy = output(command("apt-cache", &["policy", package]).env("LC_ALL", "C"))?;
    match policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")) {
        Some(version) if version != "(none)" => Ok(version.to_owned()),
        _ => bail!("no archive of this system has {package}"),
    }
}
