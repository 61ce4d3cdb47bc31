//! Writes a new qcow2 image in one pass (QEMU docs/interop/qcow2.txt).
//!
//! The file is: header, L1 table, data clusters and L2 tables in the order in which
//! they fill up, then refcount blocks and the refcount table. The header is written
//! last, so a file that was not finished is not an image.

use crate::field::{narrow, wide};
use crate::file::io;
use crate::write::{ImageWriter, check_write, create, is_zero};
use crate::{Error, Format};
use std::fs::File;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const CLUSTER_LEN: usize = 1 << CLUSTER_BITS;
/// Clusters of the disk that one L2 table maps.
const TABLE_ENTRIES: u64 = CLUSTER / 8;
/// Clusters of the file that one refcount block counts, at 16 bits each.
const BLOCK_ENTRIES: u64 = CLUSTER / 2;
/// Refcount is exactly one.
const COPIED: u64 = 1 << 63;
const HEADER_BYTES: u32 = 112;

/// Streams a disk into a new version 3 image of 64 KiB clusters. Clusters of zeros take no space.
#[derive(Debug)]
pub struct Writer {
    file: File,
    size: u64,
    written: u64,
    /// First free cluster of the file.
    next: u64,
    l1: Vec<u64>,
    /// The L2 table that is being filled, and its number.
    l2: Vec<u64>,
    l2_index: u64,
    /// A cluster that was written in part, and its number.
    partial: Vec<u8>,
    partial_index: Option<u64>,
}

impl Writer {
    /// Creates the image of a disk of `virtual_size` bytes; the file must not exist.
    ///
    /// The image's size is rounded up to a whole sector: QEMU would cut off the rest of one.
    pub fn create(path: &Path, virtual_size: u64) -> Result<Self, Error> {
        const SIZE_MAX: u64 = (32 << 20) / 8 * TABLE_ENTRIES * CLUSTER;
        if virtual_size > SIZE_MAX {
            return Err(Error::Unsupported {
                format: Format::Qcow2,
                what: format!("a disk of {virtual_size} bytes"),
            });
        }
        let virtual_size = virtual_size.next_multiple_of(512);
        let entries = virtual_size.div_ceil(CLUSTER).div_ceil(TABLE_ENTRIES);
        let l1_clusters = entries.saturating_mul(8).div_ceil(CLUSTER);
        Ok(Self {
            file: create(path)?,
            size: virtual_size,
            written: 0,
            next: l1_clusters.saturating_add(1),
            l1: vec![0; narrow(entries)],
            l2: Vec::new(),
            l2_index: 0,
            partial: Vec::new(),
            partial_index: None,
        })
    }

    fn put(&self, cluster: u64, bytes: &[u8]) -> Result<(), Error> {
        let offset = cluster.saturating_mul(CLUSTER);
        self.file.write_all_at(bytes, offset).map_err(io("write image", offset))
    }

    fn put_words(&self, cluster: u64, words: &[u64]) -> Result<(), Error> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(CLUSTER_LEN), 0);
        self.put(cluster, &bytes)
    }

    /// Takes `count` clusters at the end of the file and returns the first.
    fn allocate(&mut self, count: u64) -> u64 {
        let first = self.next;
        self.next = self.next.saturating_add(count);
        first
    }

    /// Enters that cluster `index` of the disk is cluster `host` of the file.
    fn enter(&mut self, index: u64, host: u64) -> Result<(), Error> {
        let table = index.wrapping_div(TABLE_ENTRIES);
        if table != self.l2_index {
            self.flush_table()?;
            self.l2_index = table;
        }
        if self.l2.is_empty() {
            self.l2.resize(narrow(TABLE_ENTRIES), 0);
        }
        if let Some(entry) = self.l2.get_mut(narrow(index.wrapping_rem(TABLE_ENTRIES))) {
            *entry = host.saturating_mul(CLUSTER) | COPIED;
        }
        Ok(())
    }

    fn flush_table(&mut self) -> Result<(), Error> {
        let table = mem::take(&mut self.l2);
        if table.is_empty() {
            return Ok(());
        }
        let host = self.allocate(1);
        self.put_words(host, &table)?;
        if let Some(entry) = self.l1.get_mut(narrow(self.l2_index)) {
            *entry = host.saturating_mul(CLUSTER) | COPIED;
        }
        Ok(())
    }

    fn flush_partial(&mut self) -> Result<(), Error> {
        let Some(index) = self.partial_index.take() else {
            return Ok(());
        };
        let mut bytes = mem::take(&mut self.partial);
        if !is_zero(&bytes) {
            bytes.resize(CLUSTER_LEN, 0);
            let host = self.allocate(1);
            self.put(host, &bytes)?;
            self.enter(index, host)?;
        }
        bytes.clear();
        self.partial = bytes;
        Ok(())
    }

    /// Writes whole clusters from cluster `index` of the disk on.
    fn write_clusters(&mut self, index: u64, bytes: &[u8]) -> Result<(), Error> {
        let (mut index, mut rest) = (index, bytes);
        while !rest.is_empty() {
            let zeros = rest.chunks(CLUSTER_LEN).take_while(|cluster| is_zero(cluster));
            let zeros = wide(zeros.count());
            index = index.saturating_add(zeros);
            let skipped = narrow(zeros.saturating_mul(CLUSTER));
            rest = rest.get(skipped..).unwrap_or_default();
            let data = rest.chunks(CLUSTER_LEN).take_while(|cluster| !is_zero(cluster));
            let data = wide(data.count());
            let (part, behind) = rest.split_at(narrow(data.saturating_mul(CLUSTER)));
            // A table that fills up in the middle goes behind the data, not into it.
            let host = self.allocate(data);
            self.put(host, part)?;
            for cluster in 0..data {
                let (index, host) = (index.saturating_add(cluster), host.saturating_add(cluster));
                self.enter(index, host)?;
            }
            index = index.saturating_add(data);
            rest = behind;
        }
        Ok(())
    }

    /// Writes refcount blocks and the table of them; every cluster of the file counts one.
    fn write_refcounts(&mut self) -> Result<(u64, u64), Error> {
        let (mut blocks, mut tables) = (0_u64, 0_u64);
        loop {
            let clusters = self.next.saturating_add(blocks).saturating_add(tables);
            let need_blocks = clusters.div_ceil(BLOCK_ENTRIES);
            let need_tables = need_blocks.div_ceil(TABLE_ENTRIES);
            if (need_blocks, need_tables) == (blocks, tables) {
                break;
            }
            (blocks, tables) = (need_blocks, need_tables);
        }
        let first_block = self.allocate(blocks);
        let table = self.allocate(tables);
        for block in 0..blocks {
            let counted = block.saturating_mul(BLOCK_ENTRIES);
            let used = narrow(self.next.saturating_sub(counted).min(BLOCK_ENTRIES));
            let mut bytes = 1_u16.to_be_bytes().repeat(used);
            bytes.resize(CLUSTER_LEN, 0);
            self.put(first_block.saturating_add(block), &bytes)?;
        }
        let words: Vec<u64> =
            (0..blocks).map(|block| first_block.saturating_add(block).saturating_mul(CLUSTER)).collect();
        self.put_words(table, &words)?;
        Ok((table, tables))
    }

    fn header(&self, refcount_table: u64, refcount_clusters: u64) -> Vec<u8> {
        let word = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
        let mut header = Vec::from(super::MAGIC);
        header.extend(3_u32.to_be_bytes());
        header.extend([0; 12]); // no backing file
        header.extend(CLUSTER_BITS.to_be_bytes());
        header.extend(self.size.to_be_bytes());
        header.extend([0; 4]); // no encryption
        header.extend(word(wide(self.l1.len())));
        header.extend(CLUSTER.to_be_bytes()); // the L1 table follows the header
        header.extend(refcount_table.saturating_mul(CLUSTER).to_be_bytes());
        header.extend(word(refcount_clusters));
        header.extend([0; 12]); // no snapshots
        header.extend([0; 24]); // no features
        header.extend(4_u32.to_be_bytes()); // refcounts of 1 << 4 bits
        header.extend(HEADER_BYTES.to_be_bytes());
        header.resize(CLUSTER_LEN, 0); // compression type and the end of extensions
        header
    }
}

impl ImageWriter for Writer {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.written = check_write(self.size, self.written, offset, bytes)?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let index = at.wrapping_div(CLUSTER);
            let into = narrow(at.wrapping_rem(CLUSTER));
            if self.partial_index.is_some_and(|partial| partial != index) {
                self.flush_partial()?;
            }
            let whole = if into == 0 && self.partial_index.is_none() {
                rest.len().wrapping_div(CLUSTER_LEN).saturating_mul(CLUSTER_LEN)
            } else {
                0
            };
            let length = if whole > 0 { whole } else { CLUSTER_LEN.saturating_sub(into).min(rest.len()) };
            let (part, behind) = rest.split_at(length);
            if whole > 0 {
                self.write_clusters(index, part)?;
            } else {
                self.partial_index = Some(index);
                self.partial.resize(into, 0);
                self.partial.extend_from_slice(part);
            }
            at = at.saturating_add(wide(length));
            rest = behind;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.flush_partial()?;
        self.flush_table()?;
        let (table, clusters) = self.write_refcounts()?;
        self.put_words(1, &self.l1)?;
        let sync = |file: &File| file.sync_all().map_err(io("finish image", 0));
        sync(&self.file)?;
        self.put(0, &self.header(table, clusters))?;
        sync(&self.file)
    }

    fn format(&self) -> Format {
        Format::Qcow2
    }
}
