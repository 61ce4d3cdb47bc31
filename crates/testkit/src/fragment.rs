//! Files that lie on the disk in distant pieces.
//!
//! `debugfs` gives a new file the first free blocks of its group. So a row of
//! ballast files takes the free blocks, those of them are deleted whose blocks
//! shall hold the pieces, the files are written into the holes, and the rest of
//! the ballast is deleted.

use crate::error::IoContext;
use crate::{BlockRun, Error, Ext4Image, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Blocks of ballast between two pieces: 256 KiB at 4 KiB a block.
const GAP_BLOCKS: u64 = 64;
/// More pieces would need a block for the extent tree, which would take a hole.
const PIECES_MAX: usize = 4;

/// A file to be written in pieces.
#[derive(Debug, Clone, Copy)]
pub struct Fragmented<'a> {
    /// Its path, in a folder that exists.
    pub path: &'a str,
    /// Its content; no block of it may be all zeros.
    pub content: &'a [u8],
    /// Blocks of each piece, which must sum to the blocks of the content: two to four pieces.
    pub pieces: &'a [u64],
}

impl Ext4Image {
    /// Writes new files whose pieces lie at least 64 blocks from one another.
    ///
    /// The layout is verified; the runs of each file are returned. Call it once
    /// for an image, and before anything is deleted: both leave free blocks in
    /// between, which would be filled first.
    pub fn write_fragmented(&mut self, files: &[Fragmented<'_>]) -> Result<Vec<Vec<BlockRun>>> {
        let block_bytes = u64::from(self.block_bytes());
        for file in files {
            let blocks: u64 = file.pieces.iter().sum();
            let count = file.pieces.len();
            if blocks != (file.content.len() as u64).div_ceil(block_bytes)
                || !(2..=PIECES_MAX).contains(&count)
            {
                return Err(Error::Layout(format!(
                    "{} bytes do not fill {count} pieces of {blocks} blocks in all",
                    file.content.len()
                )));
            }
        }
        if self.has_holes() {
            return Err(Error::Layout(
                "fragmented files are written once, before any file is deleted".to_owned(),
            ));
        }
        self.set_has_holes();
        let folder = self.path().with_extension("fragments");
        fs::create_dir_all(&folder).on("create", &folder)?;
        let written = self.write_into_holes(files, &folder);
        fs::remove_dir_all(&folder).on("remove", &folder)?;
        written?;
        files.iter().map(|file| self.verify_pieces(file)).collect()
    }

    fn write_into_holes(&self, files: &[Fragmented<'_>], folder: &Path) -> Result<()> {
        let block_bytes = u64::from(self.block_bytes());
        let mut ballast = String::from("mkdir /.ballast\n");
        let mut punch = String::new();
        let mut write = String::new();
        let mut clear = String::new();
        let mut sources = Vec::new();
        let mut source = |bytes: &[u8]| -> Result<String> {
            let path = folder.join(format!("source-{}", sources.len()));
            fs::write(&path, bytes).on("write", &path)?;
            sources.push(());
            Ok(path.display().to_string())
        };
        let filled = |blocks: u64| -> Result<Vec<u8>> {
            usize::try_from(blocks * block_bytes)
                .map(|bytes| vec![b'='; bytes])
                .map_err(|_| Error::Layout("the ballast is too large".to_owned()))
        };
        let gap = source(&filled(GAP_BLOCKS)?)?;
        // An empty file of the same name makes its folder grow now rather than into a hole.
        let empty = source(&[])?;
        for file in files {
            let _ = writeln!(ballast, "write \"{empty}\" \"{}\"", file.path);
            let _ = writeln!(punch, "rm \"{}\"", file.path);
        }
        for (number, file) in files.iter().enumerate() {
            for (index, piece) in file.pieces.iter().enumerate() {
                let name = format!("/.ballast/{number}-{index}");
                let _ = writeln!(ballast, "write \"{}\" {name}h", source(&filled(*piece)?)?);
                let _ = writeln!(ballast, "write \"{gap}\" {name}g");
                let _ = writeln!(punch, "rm {name}h");
                let _ = writeln!(clear, "rm {name}g");
            }
            let path = file.path;
            let _ = writeln!(write, "write \"{}\" \"{path}\"", source(file.content)?);
            let _ = writeln!(write, "sif \"{path}\" uid 0\nsif \"{path}\" gid 0");
            let _ = writeln!(write, "sif \"{path}\" mode 0100644");
        }
        clear.push_str("rmdir /.ballast");
        self.edit(&format!("{ballast}{punch}{write}{clear}")).map(drop)
    }

    fn verify_pieces(&self, file: &Fragmented<'_>) -> Result<Vec<BlockRun>> {
        let runs = self.extents(file.path)?;
        let as_asked = runs.len() == file.pieces.len()
            && runs.iter().zip(file.pieces).all(|(run, piece)| run.blocks == *piece)
            && runs.windows(2).all(|pair| pair[1].physical >= pair[0].physical + GAP_BLOCKS);
        if as_asked && self.cat(file.path)? == file.content {
            return Ok(runs);
        }
        Err(Error::Layout(format!(
            "{} was to lie in pieces {:?}, and lies in {runs:?}",
            file.path, file.pieces
        )))
    }
}
