//! Tells disk images from other files by their first bytes.

use crate::file::HostFile;
use crate::{Error, Format, qcow2, vhd};
use std::path::Path;

/// How many bytes [`probe_bytes`] looks at, at most.
const PROBE_BYTES: usize = 68 << 10;

/// What the first bytes of a file look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// An image format that [`crate::open`] reads.
    Image(Format),
    /// Raw bytes that begin like a disk: a partition table or a file system.
    Disk,
    /// A disk image in a format that is not read, by its name.
    Foreign(&'static str),
    /// Some file.
    Unknown,
}

/// Formats that are read: what they are, offset, magic.
const IMAGES: [(Format, usize, &[u8]); 9] = [
    (Format::Qcow2, 0, b"QFI\xfb\x00\x00\x00\x02"),
    (Format::Qcow2, 0, b"QFI\xfb\x00\x00\x00\x03"),
    (Format::Vmdk, 0, b"KDMV"),
    (Format::Vmdk, 0, b"COWD"),
    (Format::Vmdk, 0, b"\xbe\xba\xfe\xca\0\0\0\0"),
    (Format::Vmdk, 0, b"# Disk DescriptorFile"),
    (Format::Vhd, 0, b"conectix"),
    (Format::Vhdx, 0, b"vhdxfile"),
    (Format::Vdi, 64, b"\x7f\x10\xda\xbe"),
];

/// Formats that are recognised and not read: name, offset, magic.
const FOREIGN: [(&str, usize, &[u8]); 4] = [
    ("qcow", 0, b"QFI\xfb\x00\x00\x00\x01"),
    ("QED", 0, b"QED\0"),
    ("Parallels", 0, b"WithoutFreeSpace"),
    ("EWF", 0, b"EVF\x09\x0d\x0a\xff\0"),
];

/// What a disk or a volume begins with: offset, magic.
const DISK: [(usize, &[u8]); 17] = [
    (510, b"\x55\xaa"),
    (512, b"EFI PART"),
    (4096, b"EFI PART"),
    (1080, b"\x53\xef"),
    (0, b"XFSB"),
    (3, b"NTFS    "),
    (3, b"EXFAT   "),
    (3, b"-FVE-FS-"),
    (0, b"LUKS\xba\xbe"),
    (65_600, b"_BHRfS_M"),
    (32_769, b"CD001"),
    (4086, b"SWAPSPACE2"),
    (65_526, b"SWAPSPACE2"),
    (536, b"LVM2 001"),
    (0, b"hsqs"),
    (4096, b"\xfc\x4e\x2b\xa9"),
    (32, b"NXSB"),
];

/// Tells what a file is whose first bytes (68 KiB are enough) are `first`.
///
/// A guest can write whatever it likes at the start of a raw disk, so the answer is
/// a guess for convenience; where the format matters, the caller pins it.
pub fn probe_bytes(first: &[u8]) -> Probe {
    let has = |at: usize, magic: &[u8]| first.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((name, ..)) = FOREIGN.iter().find(|(_, at, magic)| has(*at, magic)) {
        return Probe::Foreign(name);
    }
    if let Some((format, ..)) = IMAGES.iter().find(|(_, at, magic)| has(*at, magic)) {
        return Probe::Image(*format);
    }
    if has(0, &qcow2::MAGIC) {
        // A later version: its reader says so.
        return Probe::Image(Format::Qcow2);
    }
    if DISK.iter().any(|(at, magic)| has(*at, magic)) {
        return Probe::Disk;
    }
    Probe::Unknown
}

/// Tells what the file at `path` is, by its start and, for a fixed VHD, by its end.
///
/// A guest can write at the end of a raw disk as well as at its start: see [`probe_bytes`].
pub fn probe(path: &Path) -> Result<Probe, Error> {
    probe_host(&HostFile::open(path)?)
}

pub(crate) fn probe_host(host: &HostFile) -> Result<Probe, Error> {
    let mut last = [0; 512];
    if let Some(offset) = host.bytes.checked_sub(512) {
        host.read("read the end of image", offset, &mut last)?;
    }
    // What the start of a fixed disk looks like is the guest's business.
    if vhd::is_fixed_footer(&last, host.bytes) {
        return Ok(Probe::Image(Format::Vhd));
    }
    let mut first = vec![0; PROBE_BYTES.min(crate::field::narrow(host.bytes))];
    host.read("read the start of image", 0, &mut first)?;
    Ok(probe_bytes(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_format() {
        let check = |at: usize, magic: &[u8], expected| {
            let mut bytes = vec![0; at];
            bytes.extend_from_slice(magic);
            assert_eq!(probe_bytes(&bytes), expected, "{magic:?}");
        };
        check(0, b"QFI\xfb\0\0\0\x03", Probe::Image(Format::Qcow2));
        check(0, b"QFI\xfb\0\0\0\x02", Probe::Image(Format::Qcow2));
        check(0, b"QFI\xfb\0\0\0\x01", Probe::Foreign("qcow"));
        check(0, b"QFI\xfb\0\0\0\x04", Probe::Image(Format::Qcow2));
        check(0, b"KDMV\x01\0\0\0", Probe::Image(Format::Vmdk));
        check(0, b"# Disk DescriptorFile\r\n", Probe::Image(Format::Vmdk));
        check(0, b"vhdxfile", Probe::Image(Format::Vhdx));
        check(64, b"\x7f\x10\xda\xbe", Probe::Image(Format::Vdi));
        check(0, b"QED\0", Probe::Foreign("QED"));
        check(510, b"\x55\xaa", Probe::Disk);
        check(1080, b"\x53\xef", Probe::Disk);
        check(0, b"{\"json\": 1}", Probe::Unknown);
        check(0, b"", Probe::Unknown);
    }
}
