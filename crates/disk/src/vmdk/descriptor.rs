//! The text descriptor (Virtual Disk Format 5.0, "The Descriptor File").

use super::{damaged, unsupported};
use airlock_model::Escaped;

/// Longest descriptor: 16,000 extents of 64 characters.
pub(super) const DESCRIPTOR_BYTES_MAX: u64 = 1 << 20;

/// Most extents: a disk of 4 TiB in extents of 2 GiB, and some.
const EXTENTS_MAX: usize = 4000;

/// What stands for "there is no parent".
const NO_PARENT: u32 = 0xffff_ffff;

/// What a reader needs to know of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Changes whenever the content does.
    pub(super) cid: u32,
    /// CID and file name of the parent.
    pub(super) parent: Option<(u32, Vec<u8>)>,
    pub(super) extents: Vec<ExtentLine>,
}

/// How an extent keeps its sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtentKind {
    Flat,
    Zero,
    /// Hosted sparse, COWD or space-efficient: its header tells.
    Sparse,
}

/// One line of the extent description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExtentLine {
    pub(super) sectors: u64,
    pub(super) kind: ExtentKind,
    pub(super) name: Vec<u8>,
    /// First sector in the file, of a flat extent.
    pub(super) offset: u64,
}

impl Descriptor {
    /// Reads a descriptor. What is not understood and not needed is passed over.
    pub(super) fn parse(text: &[u8]) -> Result<Self, crate::Error> {
        let (mut cid, mut parent_cid, mut hint) = (None, None, None);
        let mut extents = Vec::new();
        for line in text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if let Some(extent) = extent(line)? {
                if extents.len() >= EXTENTS_MAX {
                    return Err(unsupported(format!("more than {EXTENTS_MAX} extents")));
                }
                extents.push(extent);
                continue;
            }
            let Some(equals) = line.iter().position(|&byte| byte == b'=') else {
                continue;
            };
            let (key, value) = line.split_at(equals);
            let key = key.trim_ascii().to_ascii_lowercase();
            let value = unquoted(value.get(1..).unwrap_or_default().trim_ascii());
            match key.as_slice() {
                b"cid" => once(&mut cid, hex(value))?,
                b"parentcid" => once(&mut parent_cid, hex(value))?,
                b"parentfilenamehint" => once(&mut hint, Some(value.to_vec()))?,
                key if key.starts_with(b"encryption") => return Err(unsupported("encrypted")),
                _ => {}
            }
        }
        let cid = cid.ok_or_else(|| damaged("the descriptor has no CID", 0))?;
        let parent = match (parent_cid, hint) {
            (None | Some(NO_PARENT), None) => None,
            (Some(cid), Some(hint)) if cid != NO_PARENT => Some((cid, hint)),
            (Some(_), None) => return Err(damaged("the descriptor has a parent CID and no parent", 0)),
            (_, Some(_)) => return Err(damaged("the descriptor has a parent and no parent CID", 0)),
        };
        if extents.is_empty() {
            return Err(damaged("the descriptor has no extents", 0));
        }
        Ok(Self { cid, parent, extents })
    }
}

/// Keeps the value of a key that may be said once.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), crate::Error> {
    let value = value.ok_or_else(|| damaged("a number of the descriptor is none", 0))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(damaged("the descriptor says something twice", 0)),
    }
}

fn hex(value: &[u8]) -> Option<u32> {
    u32::from_str_radix(str::from_utf8(value).ok()?, 16).ok()
}

fn decimal(word: &[u8]) -> Option<u64> {
    str::from_utf8(word).ok()?.parse().ok()
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Reads `ACCESS SECTORS KIND "NAME" OFFSET`, or returns nothing if the line is something else.
fn extent(line: &[u8]) -> Result<Option<ExtentLine>, crate::Error> {
    let mut words = line.splitn(4, u8::is_ascii_whitespace);
    match words.next() {
        Some(b"RW" | b"RDONLY") => {}
        Some(b"NOACCESS") => return Err(unsupported("an extent without access")),
        _ => return Ok(None),
    }
    let malformed = || damaged("a line of the extent description is malformed", 0);
    let sectors = words.next().and_then(decimal).ok_or_else(malformed)?;
    let kind = words.next().ok_or_else(malformed)?;
    let rest = words.next().unwrap_or_default().trim_ascii();
    let kind = match kind {
        b"ZERO" => ExtentKind::Zero,
        b"FLAT" | b"VMFS" => ExtentKind::Flat,
        b"SPARSE" | b"VMFSSPARSE" | b"SESPARSE" => ExtentKind::Sparse,
        other => return Err(unsupported(format!("an extent of type \"{}\"", Escaped(other)))),
    };
    if kind == ExtentKind::Zero {
        return Ok(Some(ExtentLine { sectors, kind, name: Vec::new(), offset: 0 }));
    }
    let rest = rest.strip_prefix(b"\"").ok_or_else(malformed)?;
    let end = rest.iter().position(|&byte| byte == b'"').ok_or_else(malformed)?;
    let (name, behind) = rest.split_at(end);
    let behind = behind.get(1..).unwrap_or_default().trim_ascii();
    let mut words = behind.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let offset = match words.next().filter(|_| kind == ExtentKind::Flat) {
        Some(word) => decimal(word).ok_or_else(malformed)?,
        None => 0,
    };
    Ok(Some(ExtentLine { sectors, kind, name: name.to_vec(), offset }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let error = Descriptor::parse(text.as_bytes()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error} and not {expected}");
    }

    #[test]
    fn a_descriptor_is_read_as_vmware_writes_it() {
        let text = "# Disk DescriptorFile\r\nversion=1\r\n encoding=\"UTF-8\"\r\nCID = fffffffe\r\n\
                    parentCID=1234abcd\r\nparentFileNameHint=\"base disk.vmdk\"\r\n\
                    createType=\"twoGbMaxExtentFlat\"\r\n\r\n# Extent description\r\n\
                    RW 4192256 FLAT \"a b-f001.vmdk\" 128\r\nRDONLY 5 ZERO\r\nRW 2048 SPARSE \"s\"\r\n\
                    ddb.adapterType = \"ide\"\r\n";
        let line = |sectors, kind, name: &str, offset| ExtentLine {
            sectors,
            kind,
            name: name.as_bytes().to_vec(),
            offset,
        };
        let expected = Descriptor {
            cid: 0xffff_fffe,
            parent: Some((0x1234_abcd, b"base disk.vmdk".to_vec())),
            extents: vec![
                line(4_192_256, ExtentKind::Flat, "a b-f001.vmdk", 128),
                line(5, ExtentKind::Zero, "", 0),
                line(2048, ExtentKind::Sparse, "s", 0),
            ],
        };
        assert_eq!(Descriptor::parse(text.as_bytes()).expect("descriptor"), expected);
    }

    #[test]
    fn what_would_hide_a_parent_is_refused() {
        check("CID=1\nCID=2\nRW 1 ZERO", "twice");
        check("CID=1\nparentCID=2\nparentCID=ffffffff\nRW 1 ZERO", "twice");
        check("CID=1\nparentCID=2\nRW 1 ZERO", "no parent");
        check("CID=1\nparentFileNameHint=\"x\"\nRW 1 ZERO", "no parent CID");
        check("CID=1\nparentCID=ffffffff\nparentFileNameHint=\"x\"\nRW 1 ZERO", "no parent CID");
        check("CID=xyz\nRW 1 ZERO", "number");
        check("parentCID=ffffffff\nRW 1 ZERO", "no CID");
        check("CID=1\n", "no extents");
        check("CID=1\nRW 1 VMFSRDM \"x\"", "VMFSRDM");
        check("CID=1\nNOACCESS 1 ZERO", "access");
        check("CID=1\nRW x FLAT \"x\"", "malformed");
        check("CID=1\nRW 1 FLAT x", "malformed");
        check("CID=1\nencryptionKeys = \"vmware:key\"\nRW 1 ZERO", "encrypted");
    }
}
