//! ext4 images by `mke2fs -d`, changed and read with `debugfs`; nothing is mounted.

use crate::error::IoContext;
use crate::{Error, Result, Tool};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// 2023-11-14 22:13:20 UTC: the time of everything in an image.
const BUILD_TIME: u64 = 1_700_000_000;

/// How an image is made.
#[derive(Debug, Clone)]
pub struct Ext4Options {
    size_bytes: u64,
    block_bytes: u32,
    features: Vec<String>,
    label: String,
    uuid: String,
    inodes: Option<u64>,
    normalise: bool,
}

impl Ext4Options {
    /// Starts with the features that `mke2fs` gives an ext4, and blocks of 4 KiB.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            block_bytes: 4096,
            features: Vec::new(),
            label: "testkit".to_owned(),
            uuid: "6b1d5e0a-0001-4c7e-9b5e-000000000001".to_owned(),
            inodes: None,
            normalise: true,
        }
    }

    /// Sets the block size: 1024 to 65536.
    #[must_use]
    pub fn block_bytes(mut self, bytes: u32) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Adds a feature as `mke2fs -O` takes it, such as `inline_data` or `^has_journal`.
    #[must_use]
    pub fn feature(mut self, feature: &str) -> Self {
        self.features.push(feature.to_owned());
        self
    }

    /// Sets the volume label.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }

    /// Sets the UUID of the file system.
    #[must_use]
    pub fn uuid(mut self, uuid: &str) -> Self {
        uuid.clone_into(&mut self.uuid);
        self
    }

    /// Sets the number of inodes.
    #[must_use]
    pub fn inodes(mut self, count: u64) -> Self {
        self.inodes = Some(count);
        self
    }

    /// Keeps owners and times as they are in the directory, instead of setting
    /// them to root and to one fixed time.
    #[must_use]
    pub fn keep_attributes(mut self) -> Self {
        self.normalise = false;
        self
    }
}

/// Blocks that follow one another in a file and on the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRun {
    /// First block within the file.
    pub logical: u64,
    /// First block within the file system.
    pub physical: u64,
    /// Number of blocks.
    pub blocks: u64,
}

/// An ext4 file system in a file.
#[derive(Debug, Clone)]
pub struct Ext4Image {
    path: PathBuf,
    block_bytes: u32,
    holes: bool,
}

impl Ext4Image {
    /// Makes an image of the files under `root`.
    ///
    /// The image is the same, byte for byte, whenever the files are the same.
    pub fn build(root: &Path, image: impl Into<PathBuf>, options: &Ext4Options) -> Result<Self> {
        let image = image.into();
        let file = File::create(&image).on("create", &image)?;
        file.set_len(options.size_bytes).on("size", &image)?;
        drop(file);
        let extended = format!(
            "hash_seed={},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard",
            options.uuid
        );
        let mut tool = Tool::new("mke2fs")?
            .env("E2FSPROGS_FAKE_TIME", BUILD_TIME.to_string())
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-U", &options.uuid, "-L", &options.label])
            .args(["-b", &options.block_bytes.to_string(), "-E", &extended]);
        if !options.features.is_empty() {
            tool = tool.args(["-O", &options.features.join(",")]);
        }
        if let Some(inodes) = options.inodes {
            tool = tool.args(["-N", &inodes.to_string()]);
        }
        tool.arg("-d").arg(root).arg(&image).run()?;
        let built = Self { path: image, block_bytes: options.block_bytes, holes: false };
        if options.normalise {
            built.normalise(root)?;
        }
        Ok(built)
    }

    /// Opens an image that was made before.
    pub fn open(image: impl Into<PathBuf>) -> Result<Self> {
        let path = image.into();
        let mut built = Self { path, block_bytes: 0, holes: false };
        let text = built.query("show_super_stats -h")?;
        built.block_bytes = text
            .lines()
            .find_map(|line| line.strip_prefix("Block size:"))
            .and_then(|value| value.trim().parse().ok())
            .ok_or_else(|| Error::Layout(format!("no block size in {}", built.path.display())))?;
        Ok(built)
    }

    /// Returns the image file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the block size.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Runs `debugfs` commands, one per line, that may change the image.
    pub fn edit(&self, script: &str) -> Result<String> {
        Self::debugfs()?.args(["-w", "-f", "-"]).arg(&self.path).input(format!("{script}\n")).run()
    }

    /// Runs one `debugfs` command that reads.
    pub fn query(&self, command: &str) -> Result<String> {
        Self::debugfs()?.args(["-R", command]).arg(&self.path).run()
    }

    /// Runs `debugfs` commands that read, one per line, and returns the answer to each.
    pub fn queries(&self, commands: &[String]) -> Result<Vec<String>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        // An answer may be an error, such as for a file within its inode: it is empty then.
        let script = format!("{}\n", commands.join("\n"));
        let tool = Tool::new("debugfs")?.args(["-f", "-"]).arg(&self.path).input(script);
        let text = tool.accept(1).run()?;
        // The transcript repeats each command behind a prompt.
        let answers: Vec<String> = text
            .split("debugfs: ")
            .skip(1)
            .map(|part| part.split_once('\n').map_or("", |(_, rest)| rest).to_owned())
            .collect();
        if answers.len() < commands.len() {
            return Err(Error::Layout(format!(
                "debugfs answered {} of {} commands",
                answers.len(),
                commands.len()
            )));
        }
        Ok(answers)
    }

    /// `debugfs` exits with 0 after most errors, so what it says on standard error counts.
    fn debugfs() -> Result<Tool> {
        let tool = Tool::new("debugfs")?.env("E2FSPROGS_FAKE_TIME", BUILD_TIME.to_string());
        Ok(tool.errors_but("debugfs "))
    }

    /// Returns the content of a file.
    pub fn cat(&self, path: &str) -> Result<Vec<u8>> {
        let command = format!("cat {}", quoted(path)?);
        Self::debugfs()?.args(["-R", &command]).arg(&self.path).run_bytes()
    }

    /// Returns the runs of a file in logical order.
    pub fn extents(&self, path: &str) -> Result<Vec<BlockRun>> {
        let text = self.query(&format!("dump_extents -n -l {}", quoted(path)?))?;
        Ok(text.lines().skip(1).filter_map(parse_extent).collect())
    }

    /// Returns where byte `offset` of a file lies in the image; `None` in a hole or within the inode.
    pub fn disk_offset(&self, path: &str, offset: u64) -> Result<Option<u64>> {
        Ok(self.disk_offsets(&[(path, offset)])?.first().copied().flatten())
    }

    /// Returns where each byte of a list of paths and offsets lies in the image.
    pub fn disk_offsets(&self, places: &[(&str, u64)]) -> Result<Vec<Option<u64>>> {
        let block_bytes = u64::from(self.block_bytes);
        let commands = places
            .iter()
            .map(|(path, offset)| Ok(format!("bmap {} {}", quoted(path)?, offset / block_bytes)))
            .collect::<Result<Vec<_>>>()?;
        let answers = self.queries(&commands)?;
        Ok(places
            .iter()
            .zip(answers)
            .map(|((_, offset), answer)| {
                let block: u64 = answer.split_whitespace().next()?.parse().ok()?;
                (block > 0).then(|| block * block_bytes + offset % block_bytes)
            })
            .collect())
    }

    /// Deletes a file. Its content stays in what is now free space.
    pub fn delete(&mut self, path: &str) -> Result<()> {
        self.edit(&format!("rm {}", quoted(path)?))?;
        self.holes = true;
        Ok(())
    }

    /// Returns whether free blocks lie between used ones, which a new file would fill first.
    pub(crate) fn has_holes(&self) -> bool {
        self.holes
    }

    pub(crate) fn set_has_holes(&mut self) {
        self.holes = true;
    }

    /// Writes `bytes` into the last block of a file, `skip` bytes behind its end,
    /// and returns their offset counted from the start of the file.
    pub fn write_slack(&self, path: &str, skip: u64, bytes: &[u8]) -> Result<u64> {
        let size = self.size(path)?;
        let block_bytes = u64::from(self.block_bytes);
        let start = size + skip;
        let room = size.next_multiple_of(block_bytes);
        if size == 0 || start + bytes.len() as u64 > room {
            return Err(Error::Layout(format!(
                "the last block of {path} has no room for {} bytes behind byte {start}",
                bytes.len()
            )));
        }
        let disk = self
            .disk_offset(path, size - 1)?
            .ok_or_else(|| Error::Layout(format!("{path} has no last block on the disk")))?;
        self.write_raw(disk + 1 + skip, bytes)?;
        Ok(start)
    }

    /// Overwrites bytes of the image itself.
    pub fn write_raw(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path).on("open", &self.path)?;
        file.write_all_at(bytes, offset).on("write", &self.path)
    }

    /// Returns bytes of the image itself.
    pub fn read_raw(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let file = File::open(&self.path).on("open", &self.path)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).on("read", &self.path)?;
        Ok(bytes)
    }

    /// Returns the size of a file in bytes.
    pub fn size(&self, path: &str) -> Result<u64> {
        let text = self.query(&format!("stat {}", quoted(path)?))?;
        text.split_once(" Size: ")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| Error::Layout(format!("{path} is not in {}", self.path.display())))
    }

    /// Checks the file system with `e2fsck -fn`; an error says what it found.
    pub fn check(&self) -> Result<()> {
        Tool::new("e2fsck")?.arg("-fn").arg(&self.path).run().map(drop)
    }

    /// Sets owner and times of every file, so that only names and content matter.
    fn normalise(&self, root: &Path) -> Result<()> {
        let mut script = String::new();
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            normalise_one(&mut script, if prefix.is_empty() { "/" } else { &prefix });
            for entry in fs::read_dir(&folder).on("list", &folder)? {
                let entry = entry.on("list", &folder)?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let path = format!("{prefix}/{name}");
                let kind = entry.file_type().on("inspect", entry.path())?;
                if quoted(&path).is_err() {
                    continue;
                }
                if kind.is_dir() {
                    folders.push((entry.path(), path));
                } else {
                    normalise_one(&mut script, &path);
                }
            }
        }
        normalise_one(&mut script, "/lost+found");
        self.edit(&script).map(drop)
    }
}

fn normalise_one(script: &mut String, path: &str) {
    for (field, value) in [("uid", "0"), ("gid", "0")] {
        let _ = writeln!(script, "sif \"{path}\" {field} {value}");
    }
    for field in ["atime", "ctime", "mtime", "crtime"] {
        let _ = writeln!(script, "sif \"{path}\" {field} @{BUILD_TIME}");
    }
}

/// Returns a path as `debugfs` takes it, or an error where its syntax cannot say it.
fn quoted(path: &str) -> Result<String> {
    if path.contains(['"', '\\', '\n']) {
        return Err(Error::Layout(format!("debugfs cannot name {path:?}")));
    }
    Ok(format!("\"{path}\""))
}

/// Reads a line of `dump_extents`: ` 0/ 0   1/  3     0 -     1  2074 -  2075      2 Uninit`.
fn parse_extent(line: &str) -> Option<BlockRun> {
    let words: Vec<&str> =
        line.split(|c: char| c.is_whitespace() || c == '/' || c == '-').filter(|w| !w.is_empty()).collect();
    let number = |index: usize| words.get(index)?.parse().ok();
    Some(BlockRun { logical: number(4)?, physical: number(6)?, blocks: number(8)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_line_is_read() {
        let line = " 0/ 0   2/  3     2 -     3  2174 -  2175      2 ";
        let run = BlockRun { logical: 2, physical: 2174, blocks: 2 };
        assert_eq!(parse_extent(line), Some(run));
        assert_eq!(parse_extent("Level Entries       Logical"), None);
    }
}
