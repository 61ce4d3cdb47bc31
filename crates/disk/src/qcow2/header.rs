//! The header of a qcow2 image and its extensions (QEMU docs/interop/qcow2.txt,
//! "Header" and "Header extensions").

use crate::decompress::Compression;
use crate::field::{be32, be64, narrow, wide};
use crate::file::HostFile;
use crate::{Error, Format};

/// First bytes of every qcow2 image.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Most bytes of an L1 table, the limit of QEMU (`QCOW_MAX_L1_SIZE`).
const L1_BYTES_MAX: u64 = 32 << 20;

/// Longest name of a backing file that the format allows.
const NAME_BYTES_MAX: u32 = 1023;

/// Most header extensions that are looked at.
const EXTENSIONS_MAX: usize = 64;

const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_BITMAPS: u32 = 0x2385_2875;

/// What a reader needs to know of the header.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) cluster_bits: u32,
    pub(crate) size: u64,
    pub(crate) l1_offset: u64,
    /// Entries that the virtual size needs; the table may have more.
    pub(crate) l1_entries: u64,
    pub(crate) compression: Compression,
    pub(crate) extended_l2: bool,
    pub(crate) backing: Option<Vec<u8>>,
    pub(crate) backing_format: Option<Vec<u8>>,
    pub(crate) data_file: Option<Vec<u8>>,
    /// Number of internal snapshots, and where the table of them is.
    pub(crate) snapshots: (u64, u64),
    /// Number of bitmaps, and size and place of their directory.
    pub(crate) bitmaps: Option<(u64, u64, u64)>,
    /// Whether nothing changed the image that does not know bitmaps (autoclear bit 0).
    pub(crate) bitmaps_are_current: bool,
}

pub(crate) fn damaged(what: &'static str, offset: u64) -> Error {
    Format::Qcow2.damaged(what, offset)
}

pub(crate) fn unsupported(what: impl Into<String>) -> Error {
    Format::Qcow2.unsupported(what)
}

/// The incompatible feature bits of version 3.
struct Features {
    data_file: bool,
    extended_l2: bool,
}

fn features(bits: u64) -> Result<Features, Error> {
    const CORRUPT: u32 = 1;
    const KNOWN: u32 = 5;
    let has = |bit: u32| bits.checked_shr(bit).unwrap_or(0) & 1 == 1;
    if has(CORRUPT) {
        return Err(damaged("the image is marked as corrupt", 72));
    }
    if let Some(bit) = (KNOWN..64).find(|&bit| has(bit)) {
        return Err(unsupported(format!("unknown incompatible feature bit {bit}")));
    }
    Ok(Features { data_file: has(2), extended_l2: has(4) })
}

impl Header {
    /// Reads and checks the header at the start of `host`.
    pub(crate) fn read(host: &HostFile) -> Result<Self, Error> {
        let mut fixed = [0; 112];
        host.read_padded("read qcow2 header", 0, &mut fixed)?;
        let short = || damaged("the header is cut off", 0);
        let field32 = |at| be32(&fixed, at).ok_or_else(short);
        let field64 = |at| be64(&fixed, at).ok_or_else(short);
        if fixed.first_chunk() != Some(&MAGIC) {
            return Err(damaged("there is no qcow2 magic", 0));
        }
        let version = field32(4)?;
        if !(2..=3).contains(&version) {
            return Err(unsupported(format!("version {version}")));
        }
        let cluster_bits = field32(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged("the cluster size is not 512 bytes to 2 MiB", 20));
        }
        match field32(32)? {
            0 => {}
            1 => return Err(unsupported("encrypted (AES)")),
            2 => return Err(unsupported("encrypted (LUKS)")),
            method => return Err(unsupported(format!("encryption method {method}"))),
        }
        let (features, header_bytes) =
            if version == 3 { (features(field64(72)?)?, field32(100)?) } else { (features(0)?, 72) };
        let cluster_bytes = 1_u64.checked_shl(cluster_bits).unwrap_or(0);
        if u64::from(header_bytes) > cluster_bytes || (version == 3 && header_bytes < 104) {
            return Err(damaged("the header length is impossible", 100));
        }
        let compression = match (version, header_bytes, fixed.get(104)) {
            (3, 105.., Some(1)) => Compression::Zstd,
            (3, 105.., Some(&kind)) if kind > 1 => {
                return Err(unsupported(format!("compression type {kind}")));
            }
            _ => Compression::Deflate,
        };
        let size = field64(24)?;
        let (l1_offset, l1_entries) =
            l1_table(host, &fixed, cluster_bits, features.extended_l2).ok_or_else(short)??;
        let mut header = Self {
            cluster_bits,
            size,
            l1_offset,
            l1_entries,
            compression,
            extended_l2: features.extended_l2,
            backing: None,
            backing_format: None,
            data_file: None,
            snapshots: (u64::from(field32(60)?), field64(64)?),
            bitmaps: None,
            bitmaps_are_current: version == 3 && field64(88)? & 1 == 1,
        };
        header.read_names(host, &fixed, header_bytes)?;
        if features.data_file && header.data_file.is_none() {
            return Err(unsupported("external data file without a name"));
        }
        if !features.data_file {
            header.data_file = None;
        }
        Ok(header)
    }

    /// Returns the size of a cluster in bytes.
    pub(crate) fn cluster_bytes(&self) -> u64 {
        1_u64.checked_shl(self.cluster_bits).unwrap_or(u64::MAX)
    }

    /// Reads the header extensions and the name of the backing file, all in the first cluster.
    fn read_names(&mut self, host: &HostFile, fixed: &[u8], header_bytes: u32) -> Result<(), Error> {
        let mut first = vec![0; narrow(self.cluster_bytes().min(host.bytes))];
        host.read("read qcow2 header", 0, &mut first)?;
        let mut at = narrow(u64::from(header_bytes));
        for _ in 0..EXTENSIONS_MAX {
            let (Some(kind), Some(length)) = (be32(&first, at), be32(&first, at.saturating_add(4))) else {
                break;
            };
            let start = at.saturating_add(8);
            let length = narrow(u64::from(length));
            let Some(body) = first.get(start..start.saturating_add(length)) else {
                if kind == 0 {
                    break;
                }
                return Err(damaged("a header extension is cut off", wide(at)));
            };
            match kind {
                0 => break,
                EXTENSION_BACKING_FORMAT => self.backing_format = Some(body.to_vec()),
                EXTENSION_DATA_FILE => self.data_file = Some(body.to_vec()),
                EXTENSION_BITMAPS => {
                    let (count, length, offset) = (be32(body, 0), be64(body, 8), be64(body, 16));
                    let list = count.zip(length).zip(offset);
                    let list = list.map(|((count, length), offset)| (u64::from(count), length, offset));
                    let short = || damaged("the bitmaps extension is cut off", wide(at));
                    self.bitmaps = Some(list.ok_or_else(short)?);
                }
                _ => {}
            }
            at = start.saturating_add(length.next_multiple_of(8));
        }
        let offset = be64(fixed, 8).unwrap_or(0);
        let length = be32(fixed, 16).unwrap_or(0);
        if offset != 0 && length != 0 {
            if length > NAME_BYTES_MAX {
                return Err(damaged("the backing file name is too long", 16));
            }
            let start = narrow(offset);
            let end = start.saturating_add(narrow(u64::from(length)));
            let name = first.get(start..end);
            let outside = || damaged("the backing file name is not in the first cluster", 8);
            self.backing = Some(name.ok_or_else(outside)?.to_vec());
        }
        Ok(())
    }
}

/// Returns where the L1 table is and how many entries the virtual size needs.
fn l1_table(
    host: &HostFile,
    fixed: &[u8],
    cluster_bits: u32,
    extended_l2: bool,
) -> Option<Result<(u64, u64), Error>> {
    let size = be64(fixed, 24)?;
    let entries = u64::from(be32(fixed, 36)?);
    let offset = be64(fixed, 40)?;
    let entry_bits = if extended_l2 { 4 } else { 3 };
    let l2_covers = 1_u64.checked_shl(cluster_bits.checked_mul(2)?.checked_sub(entry_bits)?)?;
    let needed = size.div_ceil(l2_covers);
    let bytes = needed.saturating_mul(8);
    if bytes > L1_BYTES_MAX {
        return Some(Err(unsupported("the virtual size needs an L1 table above 32 MiB")));
    }
    if entries < needed {
        return Some(Err(damaged("the L1 table is too small for the virtual size", 36)));
    }
    if needed > 0 && (offset.checked_add(bytes)? > host.bytes || offset.trailing_zeros() < 9) {
        return Some(Err(damaged("the L1 table is not inside the file", 40)));
    }
    Some(Ok((offset, needed)))
}
