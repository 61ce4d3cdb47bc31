//! The metadata region and the parent locator ([MS-VHDX] 2.6).

use super::header::{Guid, Region};
use super::{MIB, damaged, unsupported};
use crate::Error;
use crate::field::{array, le16, le32, le64, narrow, utf16, wide};
use crate::file::HostFile;

const TABLE_BYTES: usize = 64 << 10;
/// Most entries of the table, by the specification.
const ENTRIES_MAX: u16 = 2047;
/// Largest item: the specification's own limit.
const ITEM_BYTES_MAX: u64 = MIB;
/// Most keys of a parent locator; Windows writes five.
const LOCATOR_KEYS_MAX: u16 = 64;
/// Largest disk, by the specification.
const SIZE_MAX: u64 = 64 << 40;

/// caa16737-fa36-4d43-b3b6-33f0aa44e76b
const FILE_PARAMETERS: Guid = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
/// 2fa54224-cd1b-4876-b211-5dbed83bf4b8
const VIRTUAL_DISK_SIZE: Guid = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
/// beca12ab-b2e6-4523-93ef-c309e000c746
const VIRTUAL_DISK_ID: Guid = *b"\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46";
/// 8141bf1d-a96f-4709-ba47-f233a8faab5f
const LOGICAL_SECTOR_SIZE: Guid = *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
/// cda348c7-445d-4471-9cc9-e9885251c556
const PHYSICAL_SECTOR_SIZE: Guid = *b"\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56";
/// a8d35f2d-b30b-454d-abf7-d3d84834ab0c
const PARENT_LOCATOR: Guid = *b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";
/// b04aefb7-d19e-4a81-b789-25b8e9445913: a parent that is a VHDX
const LOCATOR_TYPE: Guid = *b"\xb7\xef\x4a\xb0\x9e\xd1\x81\x4a\xb7\x89\x25\xb8\xe9\x44\x59\x13";

/// What a reader needs to know of the metadata.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) size: u64,
    pub(super) block_bytes: u64,
    pub(super) sector_bytes: u64,
    pub(super) parent: Option<Locator>,
}

/// Where a parent may be, and which it is.
#[derive(Debug, Default)]
pub(super) struct Locator {
    pub(super) linkages: Vec<Guid>,
    pub(super) paths: Vec<String>,
}

impl Metadata {
    pub(super) fn read(host: &HostFile, region: &Region) -> Result<Self, Error> {
        let mut table = vec![0; TABLE_BYTES];
        if !host.holds(region.offset, wide(TABLE_BYTES)) || region.bytes < wide(TABLE_BYTES) {
            return Err(damaged("the metadata table is not inside the file", region.offset));
        }
        host.read("read metadata table", region.offset, &mut table)?;
        let count = le16(&table, 10).filter(|&count| count <= ENTRIES_MAX);
        let count = count.filter(|_| table.starts_with(b"metadata"));
        let count = count.ok_or_else(|| damaged("there is no sound metadata table", region.offset))?;
        let (mut parameters, mut size, mut sector, mut locator) = (None, None, None, None);
        let entries = table.get(32..).unwrap_or_default().as_chunks::<32>().0;
        for entry in entries.iter().take(usize::from(count)) {
            let flags = le32(entry, 24).unwrap_or(0);
            let (user, required) = (flags & 1 != 0, flags & 4 != 0);
            let slot = match array(entry, 0) {
                Some(FILE_PARAMETERS) if !user => &mut parameters,
                Some(VIRTUAL_DISK_SIZE) if !user => &mut size,
                Some(LOGICAL_SECTOR_SIZE) if !user => &mut sector,
                Some(PARENT_LOCATOR) if !user => &mut locator,
                Some(VIRTUAL_DISK_ID | PHYSICAL_SECTOR_SIZE) if !user => continue,
                _ if required => return Err(unsupported("an unknown metadata item that is required")),
                _ => continue,
            };
            if slot.replace(item(host, region, entry)?).is_some() {
                return Err(damaged("a metadata item is there twice", region.offset));
            }
        }
        let missing = || damaged("a metadata item is missing or too short", region.offset);
        let parameters = parameters.ok_or_else(missing)?;
        let has_parent = le32(&parameters, 4).ok_or_else(missing)? & 2 != 0;
        let parent = match (has_parent, locator) {
            (true, Some(locator)) => Some(Locator::parse(&locator, region.offset)?),
            (true, None) => return Err(damaged("a differencing image names no parent", region.offset)),
            (false, _) => None,
        };
        let metadata = Self {
            size: size.and_then(|size| le64(&size, 0)).ok_or_else(missing)?,
            block_bytes: le32(&parameters, 0).map(u64::from).ok_or_else(missing)?,
            sector_bytes: sector.and_then(|sector| le32(&sector, 0)).map(u64::from).ok_or_else(missing)?,
            parent,
        };
        metadata.check(region.offset)?;
        Ok(metadata)
    }

    fn check(&self, offset: u64) -> Result<(), Error> {
        if !self.block_bytes.is_power_of_two() || !(MIB..=256 * MIB).contains(&self.block_bytes) {
            return Err(damaged("the block size is not 1 to 256 MiB", offset));
        }
        if ![512, 4096].contains(&self.sector_bytes) {
            return Err(damaged("the logical sector size is neither 512 nor 4096", offset));
        }
        if self.size > SIZE_MAX || self.size & self.sector_bytes.wrapping_sub(1) != 0 {
            return Err(damaged("the size of the disk is impossible", offset));
        }
        Ok(())
    }
}

/// Reads the item of an entry of the metadata table.
fn item(host: &HostFile, region: &Region, entry: &[u8]) -> Result<Vec<u8>, Error> {
    let offset = le32(entry, 16).map_or(0, u64::from);
    let length = le32(entry, 20).map_or(0, u64::from);
    let at = region.offset.saturating_add(offset);
    let fits = offset >= wide(TABLE_BYTES) && offset.saturating_add(length) <= region.bytes;
    if !fits || length > ITEM_BYTES_MAX || !host.holds(at, length) {
        return Err(damaged("a metadata item is not inside its region", at));
    }
    let mut bytes = vec![0; narrow(length)];
    host.read("read metadata item", at, &mut bytes)?;
    Ok(bytes)
}

impl Locator {
    /// Reads keys and values ([MS-VHDX] 2.6.2.6).
    fn parse(bytes: &[u8], offset: u64) -> Result<Self, Error> {
        let malformed = || damaged("the parent locator is malformed", offset);
        if array(bytes, 0) != Some(LOCATOR_TYPE) {
            return Err(unsupported("a parent that is no VHDX"));
        }
        let count = le16(bytes, 18).filter(|&count| count <= LOCATOR_KEYS_MAX).ok_or_else(malformed)?;
        let mut locator = Self::default();
        let mut paths: [Option<String>; 3] = [None, None, None];
        let entries = bytes.get(20..).unwrap_or_default().as_chunks::<12>().0;
        for entry in entries.iter().take(usize::from(count)) {
            let text = |at, length| {
                let start = narrow(u64::from(le32(entry, at)?));
                let length = usize::from(le16(entry, length)?);
                let text = bytes.get(start..start.checked_add(length)?)?;
                Some(utf16(text, u16::from_le_bytes))
            };
            let (key, value) = text(0, 8).zip(text(4, 10)).ok_or_else(malformed)?;
            match key.as_str() {
                "parent_linkage" | "parent_linkage2" => {
                    locator.linkages.push(guid(&value).ok_or_else(malformed)?);
                }
                "relative_path" => paths[0] = Some(value),
                "volume_path" => paths[1] = Some(value),
                "absolute_win32_path" => paths[2] = Some(value),
                _ => {}
            }
        }
        if locator.linkages.is_empty() {
            return Err(damaged("the parent locator does not say which file is the parent", offset));
        }
        locator.paths = paths.into_iter().flatten().collect();
        Ok(locator)
    }
}

/// Returns the bytes of `{83ed0ec3-24c8-49a6-a959-5e4bd1288015}`, whose first three fields are little-endian.
fn guid(text: &str) -> Option<Guid> {
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: String = text.split('-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = u128::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    for field in [0..4, 4..6, 6..8] {
        bytes.get_mut(field)?.reverse();
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_read_as_windows_writes_it() {
        let expected = *b"\xc3\x0e\xed\x83\xc8\x24\xa6\x49\xa9\x59\x5e\x4b\xd1\x28\x80\x15";
        assert_eq!(guid("{83ed0ec3-24c8-49A6-a959-5e4bd1288015}"), Some(expected));
        assert_eq!(guid("{83ed0ec3-24c8-49a6-a959-5e4bd128801}"), None);
        assert_eq!(guid("{+3ed0ec3-24c8-49a6-a959-5e4bd1288015}"), None);
    }
}
