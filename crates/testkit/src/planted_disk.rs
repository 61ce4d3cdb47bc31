//! One disk with 200 values in 40 files, in every spot that a disk has.

use crate::error::IoContext;
use crate::text::Page;
use crate::tree::Spot;
use crate::{
    Document, Encoding, Error, Ext4Image, Ext4Options, Fragmented, Kind, PartitionTable, PartitionedDisk,
    Planted, Result, Rng, Tree,
};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENTS: [Document; 4] = [Document::Csv, Document::JsonLines, Document::Notes, Document::Html];
/// How the straddling files are cut: blocks of each piece.
const PIECES: [&[u64]; 4] = [&[1, 1], &[3, 2], &[2, 1, 2], &[1, 4, 1]];

/// A file in which nothing was planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanFile {
    /// Its path, with a leading slash.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

/// A disk, what was planted on it, and what must stay as it is.
#[derive(Debug)]
pub struct PlantedDisk {
    image: PathBuf,
    file_system: Ext4Image,
    partition_offset: u64,
    planted: Vec<Planted>,
    clean: Vec<CleanFile>,
}

/// Says how a [`PlantedDisk`] is made.
#[derive(Debug, Clone)]
pub struct PlantedDiskBuilder {
    folder: PathBuf,
    seed: u64,
    options: Ext4Options,
    table: Option<PartitionTable>,
    clean_bytes: usize,
}

impl PlantedDisk {
    /// Starts a disk of 64 MiB, without partitions, below `folder`.
    pub fn builder(folder: impl Into<PathBuf>, seed: u64) -> PlantedDiskBuilder {
        PlantedDiskBuilder {
            folder: folder.into(),
            seed,
            options: Ext4Options::new(64 << 20),
            table: None,
            clean_bytes: 6 << 20,
        }
    }

    /// Returns the disk image, raw.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Returns the file system alone, as it lies in the partition.
    pub fn file_system(&self) -> &Ext4Image {
        &self.file_system
    }

    /// Returns where the file system begins on the disk.
    pub fn partition_offset(&self) -> u64 {
        self.partition_offset
    }

    /// Returns the planted values: 200 in 40 files. Each has its offset on the disk,
    /// except in a file that is small enough to lie within its inode (feature `inline_data`).
    pub fn planted(&self) -> &[Planted] {
        &self.planted
    }

    /// Returns the files in which nothing was planted.
    pub fn clean_files(&self) -> &[CleanFile] {
        &self.clean
    }
}

impl PlantedDiskBuilder {
    /// Puts the file system into a partition of a GUID partition table.
    #[must_use]
    pub fn gpt(mut self) -> Self {
        self.table = Some(PartitionTable::Gpt);
        self
    }

    /// Puts the file system into a primary partition.
    #[must_use]
    pub fn mbr(mut self) -> Self {
        self.table = Some(PartitionTable::Mbr);
        self
    }

    /// Sets how the file system is made.
    #[must_use]
    pub fn ext4(mut self, options: Ext4Options) -> Self {
        self.options = options;
        self
    }

    /// Sets how many bytes of clean files lie beside the planted ones.
    #[must_use]
    pub fn clean_bytes(mut self, bytes: usize) -> Self {
        self.clean_bytes = bytes;
        self
    }

    /// Builds the disk; what was in the folder before is replaced.
    pub fn build(self) -> Result<PlantedDisk> {
        fs::create_dir_all(&self.folder).on("create", &self.folder)?;
        let mut tree = Tree::new(self.folder.join("tree"), self.seed)?;
        let mut clean = plant_clean(&mut tree, self.clean_bytes)?;
        plant_files(&mut tree)?;
        let deleted = plant_deleted(&mut tree)?;
        let slack_files = plant_slack_owners(&mut tree, &mut clean)?;

        let image = self.folder.join("file-system.img");
        let mut fs_image = Ext4Image::build(tree.root(), image, &self.options)?;
        let mut planted = tree.planted().to_vec();
        planted.extend(write_straddling(&mut fs_image, tree.rng())?);
        let offsets = disk_offsets(&fs_image, &planted)?;
        for (value, offset) in planted.iter_mut().zip(offsets) {
            value.disk_offset = offset;
        }
        planted.extend(write_slack(&fs_image, &slack_files, tree.rng())?);
        for path in deleted {
            fs_image.delete(&path)?;
            for value in planted.iter_mut().filter(|value| value.path == path) {
                value.spot = Spot::Deleted;
            }
        }
        fs_image.check()?;

        let (image, partition_offset) = self.partition(&fs_image)?;
        for value in &mut planted {
            value.disk_offset = value.disk_offset.map(|offset| offset + partition_offset);
        }
        Ok(PlantedDisk { image, file_system: fs_image, partition_offset, planted, clean })
    }

    fn partition(&self, fs_image: &Ext4Image) -> Result<(PathBuf, u64)> {
        let Some(table) = self.table else { return Ok((fs_image.path().to_owned(), 0)) };
        let disk = PartitionedDisk::build(self.folder.join("disk.img"), table, &[fs_image.path()])?;
        Ok((disk.path, disk.offsets.first().copied().unwrap_or(0)))
    }
}

fn clean_file(path: &str, content: &[u8]) -> CleanFile {
    CleanFile {
        path: path.to_owned(),
        size: content.len() as u64,
        sha256: hex::encode(Sha256::digest(content)),
    }
}

fn plant_clean(tree: &mut Tree, bytes: usize) -> Result<Vec<CleanFile>> {
    let mut clean = Vec::new();
    for index in 0..24_usize {
        let size = bytes / 24 + index * 37;
        let (path, full) = if index % 3 == 2 {
            let path = format!("/var/lib/app/blob-{index:02}.bin");
            let full = tree.noise(&path, size)?;
            (path, full)
        } else {
            let path = format!("/usr/share/doc/manual-{index:02}.txt");
            let full = tree.filler(&path, size)?;
            (path, full)
        };
        clean.push(clean_file(&path, &fs::read(&full).on("read", &full)?));
    }
    tree.write("/srv/archive/README", b"Written by the archive job.\n")?;
    tree.write("/etc/hostname", b"planted\n")?;
    Ok(clean)
}

/// 31 files, 171 values: 28 documents with six each, two keys, one test virus.
fn plant_files(tree: &mut Tree) -> Result<()> {
    let folders = ["/srv/pay", "/home/ana", "/var/log/shop", "/opt/crm/export"];
    for index in 0..28_usize {
        let encoding = match index % 28 {
            4 | 9 | 14 | 19 | 24 => Encoding::Utf16Le,
            6 | 13 | 20 => Encoding::Utf16Be,
            _ => Encoding::Ascii,
        };
        let document = DOCUMENTS[index % 4];
        let suffix = match document {
            Document::Csv => "csv",
            Document::JsonLines => "jsonl",
            Document::Html => "html",
            Document::Notes | Document::Bare => "txt",
        };
        let kinds: Vec<Kind> = (0..6).map(|step| Kind::SHORT[(index + step) % Kind::SHORT.len()]).collect();
        let path = format!("{}/{index:02}.{suffix}", folders[index / 7]);
        tree.plant(&path, document, &kinds, encoding)?;
    }
    tree.plant("/home/ana/.ssh/id_rsa", Document::Bare, &[Kind::PrivateKey], Encoding::Ascii)?;
    tree.plant("/etc/ssl/private/notes", Document::Notes, &[Kind::PrivateKey], Encoding::Ascii)?;
    tree.plant("/home/ana/Downloads/sample.com", Document::Bare, &[Kind::Eicar], Encoding::Ascii)?;
    Ok(())
}

/// 3 files, 21 values.
fn plant_deleted(tree: &mut Tree) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for (index, document) in [Document::Csv, Document::JsonLines, Document::Notes].into_iter().enumerate() {
        let path = format!("/var/tmp/export-{index}.old");
        let encoding = if index == 1 { Encoding::Utf16Le } else { Encoding::Ascii };
        tree.plant(&path, document, &Kind::SHORT, encoding)?;
        paths.push(path);
    }
    Ok(paths)
}

/// The files whose last blocks take slack: 2 files, clean themselves.
fn plant_slack_owners(tree: &mut Tree, clean: &mut Vec<CleanFile>) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for (index, size) in [700, 2_600].into_iter().enumerate() {
        let path = format!("/var/spool/report-{index}.txt");
        let full = tree.filler(&path, size)?;
        clean.push(clean_file(&path, &fs::read(&full).on("read", &full)?));
        paths.push(path);
    }
    Ok(paths)
}

fn write_slack(image: &Ext4Image, paths: &[String], rng: &mut Rng) -> Result<Vec<Planted>> {
    let mut planted = Vec::new();
    for (path, kind) in paths.iter().zip([Kind::Pan, Kind::Iban]) {
        let mut page = Page::new(Encoding::Ascii);
        page.text(&format!("former record {}: ", kind.label()));
        page.value(kind, kind.make(rng));
        page.text("\n");
        let start = image.write_slack(path, 3, &page.bytes)?;
        for mark in page.marks {
            let mut value = Planted::new(mark, path, Encoding::Ascii, Spot::Slack);
            value.offset += start;
            let last = image.size(path)? - 1;
            value.disk_offset = image.disk_offset(path, last)?.map(|disk| disk + value.offset - last);
            planted.push(value);
        }
    }
    Ok(planted)
}

/// 4 files, 6 values, each over the border of two pieces.
fn write_straddling(image: &mut Ext4Image, rng: &mut Rng) -> Result<Vec<Planted>> {
    let block = image.block_bytes() as usize;
    let kinds = [Kind::Pan, Kind::Iban, Kind::Ssn, Kind::PanGrouped, Kind::Track2, Kind::Pan];
    let mut kinds = kinds.into_iter();
    let mut pages = Vec::new();
    for (index, pieces) in PIECES.into_iter().enumerate() {
        let path = format!("/srv/archive/ledger-{index}.dat");
        let encoding = if index == 1 { Encoding::Utf16Le } else { Encoding::Ascii };
        let mut page = Page::new(encoding);
        let mut border = 0;
        for piece in &pieces[..pieces.len() - 1] {
            border += blocks_to_bytes(*piece, block)?;
            let Some(kind) = kinds.next() else { break };
            let value = kind.make(rng);
            let label = format!("\nname,{}\nAmara Osei,", kind.label());
            let units = value.expose().len();
            let before = 1 + usize::try_from(rng.below(units as u64 - 1)).unwrap_or(0);
            let start = border - before * encoding.unit_bytes();
            page.fill_to(start - label.len() * encoding.unit_bytes(), rng);
            page.text(&label);
            page.value(kind, value);
            page.text(",open\n");
        }
        let total: u64 = pieces.iter().sum();
        page.fill_to(blocks_to_bytes(total, block)? - 10, rng);
        pages.push((path, encoding, page, pieces));
    }
    let files: Vec<Fragmented<'_>> = pages
        .iter()
        .map(|(path, _, page, pieces)| Fragmented { path, content: &page.bytes, pieces })
        .collect();
    image.write_fragmented(&files)?;
    Ok(pages
        .into_iter()
        .flat_map(|(path, encoding, page, _)| {
            page.marks.into_iter().map(move |mark| Planted::new(mark, &path, encoding, Spot::Straddling))
        })
        .collect())
}

fn blocks_to_bytes(blocks: u64, block: usize) -> Result<usize> {
    usize::try_from(blocks)
        .ok()
        .and_then(|blocks| blocks.checked_mul(block))
        .ok_or_else(|| Error::Layout("a piece is too large".to_owned()))
}

fn disk_offsets(image: &Ext4Image, planted: &[Planted]) -> Result<Vec<Option<u64>>> {
    let places: Vec<(&str, u64)> = planted.iter().map(|value| (value.path.as_str(), value.offset)).collect();
    image.disk_offsets(&places)
}
