//! A real distribution on ext4, for end-to-end tests and benchmarks. Needs root.

use crate::error::IoContext;
use crate::packages::{Claim, archive_address, download, stands_for, unpack};
use crate::partition::{PartitionTable, PartitionedDisk};
use crate::{Ext4Image, Ext4Options, Result, Rng, Tool};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A Debian root file system, bare and in a partition.
#[derive(Debug, Clone)]
pub struct DebianImages {
    /// The ext4 file system alone.
    pub bare: PathBuf,
    /// A disk with a GUID partition table that holds the same file system.
    pub disk: PathBuf,
    /// Where the file system begins on the disk.
    pub partition_offset: u64,
}

/// Builds a Debian bookworm root file system with `debootstrap`, unless `cache` holds it.
///
/// `size_bytes` is the size of the file system; the files take about 250 MB. It
/// takes about a minute, and needs root and the archive that apt uses. Several
/// processes may ask for it at once: one builds, the others wait.
pub fn debian_root(cache: &Path, size_bytes: u64) -> Result<DebianImages> {
    let folder = cache.join("debian");
    let _claim = Claim::take(&folder)?;
    let images = DebianImages {
        bare: folder.join(format!("debian-{size_bytes}.ext4")),
        disk: folder.join(format!("debian-{size_bytes}.img")),
        partition_offset: 1 << 20,
    };
    if images.disk.is_file() {
        return Ok(images);
    }
    let root = bootstrap(&folder)?;
    let part = folder.join("bare.part");
    Ext4Image::build(&root, &part, &options(size_bytes).label("debian"))?;
    fs::rename(&part, &images.bare).on("rename", &part)?;
    let part = folder.join("disk.part");
    let contents = [images.bare.as_path()];
    PartitionedDisk::build(&part, PartitionTable::Gpt, &contents)?;
    fs::rename(&part, &images.disk).on("rename", &part)?;
    Ok(images)
}

/// Debian's own files keep their owners and times.
fn options(size_bytes: u64) -> Ext4Options {
    Ext4Options::new(size_bytes).keep_attributes()
}

/// Returns a folder with a minimal Debian; the caller has claimed `folder`.
fn bootstrap(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    let part = folder.join("root.part");
    if part.exists() {
        fs::remove_dir_all(&part).on("remove", &part)?;
    }
    Tool::new("debootstrap")?
        .args(["--variant=minbase", "bookworm"])
        .arg(&part)
        .arg(archive_address()?)
        .run()?;
    fs::rename(&part, &root).on("rename", &part)?;
    Ok(root)
}

const BENCH_BYTES: u64 = 3 << 30;
const NGINX_LOG_BYTES: u64 = 200 << 20;
const APP_LOG_BYTES: u64 = 150 << 20;

/// What the bench disk holds beside a minimal Debian: programs, libraries, text, Java archives.
const BENCH_PACKAGES: &[&str] = &[
    "cpp-12",
    "g++-12",
    "gcc-12",
    "git",
    "golang-1.19-src",
    "libicu72",
    "libllvm14",
    "libnode108",
    "libperl5.36",
    "libpython3.11-stdlib",
    "libstdc++-12-dev",
    "mariadb-server-core",
    "nginx",
    "nginx-common",
    "openjdk-17-jdk-headless",
    "openjdk-17-jre-headless",
    "perl-doc",
    "perl-modules-5.36",
    "postgresql-15",
    "postgresql-client-15",
    "postgresql-doc-15",
    "python3.11-doc",
    "python3.11-minimal",
    "vim-runtime",
];

/// Builds the disk that the benchmarks read, unless `cache` holds it: 3 GiB of ext4,
/// about 2.2 GiB of it files of Debian and logs.
pub fn bench_disk(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("debian");
    let image = folder.join("bench.ext4");
    let _claim = Claim::take(&folder)?;
    if image.is_file() {
        return Ok(image);
    }
    let base = bootstrap(&folder)?;
    let root = folder.join("bench.root");
    if root.exists() {
        fs::remove_dir_all(&root).on("remove", &root)?;
    }
    Tool::new("cp")?.args(["-a", "--reflink=auto"]).arg(&base).arg(&root).run()?;
    let kernel = stands_for("linux-image-amd64", "linux-image-")?;
    let mut packages = vec![kernel.as_str()];
    packages.extend(BENCH_PACKAGES);
    for archive in download(&folder.join("archives"), &packages)? {
        unpack(&archive, &root)?;
    }
    let logs = root.join("var/log/site");
    fs::create_dir_all(&logs).on("create", &logs)?;
    let mut rng = Rng::new(3);
    write_log(&logs.join("access.log"), NGINX_LOG_BYTES, |out| access_line(out, &mut rng))?;
    write_log(&logs.join("app.jsonl"), APP_LOG_BYTES, |out| app_line(out, &mut rng))?;

    let part = folder.join("bench.part");
    Ext4Image::build(&root, &part, &options(BENCH_BYTES).label("bench"))?;
    fs::rename(&part, &image).on("rename", &part)?;
    fs::remove_dir_all(&root).on("remove", &root)?;
    Ok(image)
}

fn write_log(
    path: &Path,
    bytes: u64,
    mut line: impl FnMut(&mut Vec<u8>) -> std::io::Result<()>,
) -> Result<()> {
    let mut out = BufWriter::new(File::create(path).on("create", path)?);
    let mut written = 0;
    let mut buffer = Vec::new();
    while written < bytes {
        buffer.clear();
        line(&mut buffer).on("write", path)?;
        out.write_all(&buffer).on("write", path)?;
        written += buffer.len() as u64;
    }
    out.flush().on("write", path)
}

const PATHS: &[&str] =
    &["/", "/login", "/static/site.css", "/api/items", "/api/cart", "/search", "/img/logo.svg"];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) Gecko Firefox",
    "Mozilla/5.0 (iPhone) AppleWebKit Safari",
    "curl/8.5.0",
];

/// Writes a line as nginx logs a request.
fn access_line(out: &mut Vec<u8>, rng: &mut Rng) -> std::io::Result<()> {
    writeln!(
        out,
        "10.{}.{}.{} - - [{:02}/Mar/2024:{:02}:{:02}:{:02} +0000] \"GET {}?page={} HTTP/1.1\" {} {} \"-\" \"{}\"",
        rng.below(256),
        rng.below(256),
        rng.below(256),
        1 + rng.below(28),
        rng.below(24),
        rng.below(60),
        rng.below(60),
        rng.pick(PATHS),
        rng.below(400),
        rng.pick(&[200, 200, 200, 304, 404, 500]),
        rng.below(90_000),
        rng.pick(AGENTS),
    )
}

/// Writes a line as a web application logs an event.
fn app_line(out: &mut Vec<u8>, rng: &mut Rng) -> std::io::Result<()> {
    let message = crate::filler(60, rng);
    writeln!(
        out,
        "{{\"time\":\"2024-03-{:02}T{:02}:{:02}:{:02}Z\",\"level\":\"{}\",\"request\":\"{:016x}\",\"user\":{},\
         \"path\":\"{}\",\"millis\":{},\"message\":\"{}\"}}",
        1 + rng.below(28),
        rng.below(24),
        rng.below(60),
        rng.below(60),
        rng.pick(&["info", "info", "warn", "error"]),
        rng.next_u64(),
        rng.below(50_000),
        rng.pick(PATHS),
        rng.below(3_000),
        message.trim_end().replace('\n', " "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_the_same_every_time() {
        let dir = tempfile::tempdir().expect("tempdir");
        let write = |name: &str| {
            let mut rng = Rng::new(3);
            let path = dir.path().join(name);
            write_log(&path, 10_000, |out| {
                access_line(out, &mut rng)?;
                app_line(out, &mut rng)
            })
            .expect("log");
            fs::read(path).expect("log")
        };
        let one = write("one");
        assert!(one.len() >= 10_000 && one.is_ascii());
        assert_eq!(one, write("two"));
    }
}
