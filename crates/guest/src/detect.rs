//! Tells what is on a volume by its magic numbers, as `blkid` does.

use crate::field::{has, le16, le32, wide};
use crate::window::Window;
use crate::{Error, btrfs, exfat, ext, fat, fs, iso9660, ntfs, squashfs, xfs};
use airlock_model::PlaceKind;

/// Bytes at the start of a volume in which nearly every magic number lies.
const HEAD_BYTES: usize = 72 << 10;

/// Name, offset, magic of volumes that are kept raw and named for people and policies.
const NAMED: &[(&str, usize, &[u8])] = &[
    ("refs", 3, b"ReFS\0\0\0\0"),
    ("lvm2", 24, b"LVM2 001"),
    ("lvm2", 536, b"LVM2 001"),
    ("lvm2", 1048, b"LVM2 001"),
    ("lvm2", 1560, b"LVM2 001"),
    ("md", 0, b"\xfc\x4e\x2b\xa9"),
    ("md", 4096, b"\xfc\x4e\x2b\xa9"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("iso9660", 32_769, b"CD001"),
    ("reiserfs", 65_588, b"ReIsEr"),
    ("jfs", 32_768, b"JFS1"),
    ("apfs", 32, b"NXSB"),
    ("hfsplus", 1024, b"H+\0\x04"),
    ("hfsplus", 1024, b"HX\0\x05"),
    ("bcache", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
];

/// Page sizes behind which the kernel looks for the swap signature.
const SWAP_PAGES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];

/// What a volume holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is taken for as a whole, unless a file system reader divides it.
    pub(crate) kind: PlaceKind,
    /// Reads the file system, where one is understood.
    pub(crate) reader: Option<fs::Reader>,
}

/// Looks at a volume.
pub(crate) fn detect(volume: &Window<'_>) -> Result<Content, Error> {
    const WHAT: &str = "the start of a volume";
    let plain = |name, kind| Content { name, kind, reader: None };
    let understood = |name, reader: fs::Reader| Content { name, kind: PlaceKind::Raw, reader: Some(reader) };
    let head = volume.bytes_at(WHAT, 0, HEAD_BYTES)?;
    if has(&head, 0, b"LUKS\xba\xbe") {
        return Ok(plain("luks", PlaceKind::Encrypted));
    }
    if has(&head, 3, b"-FVE-FS-") {
        return Ok(plain("bitlocker", PlaceKind::Encrypted));
    }
    // A FAT begins in the second sector, and may hold anything.
    if le16(&head, 1080) == 0xef53 && (ext::is_there(volume) || !fat::is_there(volume, &head)) {
        return Ok(understood("ext4", ext::read));
    }
    if has(&head, 0, b"XFSB") {
        return Ok(understood("xfs", xfs::read));
    }
    if has(&head, 65_600, b"_BHRfS_M") {
        return Ok(understood("btrfs", btrfs::read));
    }
    if has(&head, 0, b"hsqs") {
        return Ok(understood("squashfs", squashfs::read));
    }
    if has(&head, 3, b"NTFS    ") {
        return Ok(understood("ntfs", ntfs::read));
    }
    if has(&head, 3, b"EXFAT   ") {
        return Ok(understood("exfat", exfat::read));
    }
    if iso9660::is_there(volume)? {
        return Ok(understood("iso9660", iso9660::read));
    }
    if fat::is_there(volume, &head) {
        return Ok(understood("vfat", fat::read));
    }
    let signature = |page: &usize| {
        let at = page.saturating_sub(10);
        has(&head, at, b"SWAPSPACE2") || has(&head, at, b"SWAP-SPACE")
    };
    if SWAP_PAGES.iter().any(signature) {
        return Ok(plain("swap", PlaceKind::Swap));
    }
    if let Some((name, ..)) = NAMED.iter().find(|(_, at, magic)| has(&head, *at, magic)) {
        return Ok(plain(name, PlaceKind::Raw));
    }
    if fat::is_named(&head) {
        return Ok(understood("vfat", fat::read));
    }
    if has(&head, 9564, b"\x54\x19\x01\x00") || has(&head, 66_908, b"\x19\x01\x54\x19") {
        return Ok(plain("ufs", PlaceKind::Raw));
    }
    if has(&volume.bytes_at(WHAT, 1 << 20, 4)?, 0, b"\x0d\xd0\x01\xc0") {
        return Ok(plain("vmfs", PlaceKind::Raw));
    }
    if is_zfs(volume)? {
        return Ok(plain("zfs", PlaceKind::Raw));
    }
    if is_md_at_the_end(volume)? {
        return Ok(plain("md", PlaceKind::Raw));
    }
    if ext::has_copy(volume) {
        return Ok(understood("ext4", ext::read));
    }
    if xfs::has_copy(volume) {
        return Ok(understood("xfs", xfs::read));
    }
    if ntfs::has_copy(volume) {
        return Ok(understood("ntfs", ntfs::read));
    }
    if fat::has_copy(volume) {
        return Ok(understood("vfat", fat::read));
    }
    if btrfs::has_copy(volume) {
        return Ok(understood("btrfs", btrfs::read));
    }
    if exfat::has_copy(volume) {
        return Ok(understood("exfat", exfat::read));
    }
    Ok(plain("unknown", PlaceKind::Raw))
}

/// The first uberblocks of the first ZFS label are at 128 KiB, at least 1 KiB apart.
fn is_zfs(volume: &Window<'_>) -> Result<bool, Error> {
    let ring = volume.bytes_at("a ZFS label", 128 << 10, 128 << 10)?;
    let magic = [*b"\x0c\xb1\xba\0\0\0\0\0", *b"\0\0\0\0\0\xba\xb1\x0c"];
    let found = ring.chunks(1024).filter(|uberblock| magic.iter().any(|magic| has(uberblock, 0, magic)));
    Ok(found.count() >= 2)
}

/// Superblocks of md 0.90 and 1.0 are near the end of the device.
fn is_md_at_the_end(volume: &Window<'_>) -> Result<bool, Error> {
    const MAGIC: u32 = 0xa92b_4efc;
    const TAIL: u64 = 128 << 10;
    let bytes = volume.bytes() & !511;
    let start = bytes.saturating_sub(TAIL);
    let old = (bytes & !0xffff).saturating_sub(0x1_0000);
    let new = bytes.saturating_sub(8192) & !4095;
    for at in [old, new] {
        if at < start || at.saturating_add(wide(512)) > bytes {
            continue;
        }
        let sector = volume.bytes_at("the end of a volume", at, 512)?;
        if le32(&sector, 0) == MAGIC {
            return Ok(true);
        }
    }
    Ok(false)
}
