//! Tells from its first bytes what content is.

use crate::escapes::{self, Style};
use crate::{
    binhex, cab, closed, cpio, dump, ebcdic, gzip, lzw, mail, ole, pdf, rpm, rtf, sqlite, utf32, uuencode,
    xml,
};
use airlock_model::Reason;
use airlock_model::field::{be32, le32, le64};

/// Bytes of the beginning of a layer that are looked at.
pub const HEAD_BYTES: usize = 4096;

/// What content can be opened as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// bzip2.
    Bzip2,
    /// The .xz format.
    Xz,
    /// The older .lzma format.
    Lzma,
    /// RFC 8878.
    Zstd,
    /// The frame format of LZ4.
    Lz4,
    /// Deflate with 64 KiB of window; only within zip.
    Deflate64,
    /// A zip archive, whatever is in it.
    Zip,
    /// A tape archive: POSIX ustar, pax, GNU.
    Tar,
    /// The archive format of Unix libraries and Debian packages.
    Ar,
    /// An archive of cpio.
    Cpio,
    /// A file as text, `BinHex` 4.0.
    Binhex,
    /// A Microsoft cabinet.
    Cab,
    /// A compound file, such as an old document of Office.
    Ole,
    /// A document of the Rich Text Format.
    Rtf,
    /// UTF-32, the low byte first.
    Utf32Le,
    /// UTF-32, the high byte first.
    Utf32Be,
    /// A mail or a mailbox.
    Mail,
    /// XML or HTML whose text is split by its markup.
    Markup,
    /// A PDF document.
    Pdf,
    /// A `SQLite` database.
    Sqlite,
    /// A write-ahead log of `SQLite`.
    SqliteLog,
    /// Nearly every character outside of words is percent-encoded.
    Percent,
    /// What `compress` wrote.
    Lzw,
    /// What `uuencode` wrote.
    Uuencode,
    /// A package of RPM.
    Rpm,
    /// Text in EBCDIC.
    Ebcdic,
    /// Characters that are spelled by their numbers.
    Escapes(Style),
    /// A dump of bytes.
    Dump,
    /// A container that is known and not opened, and why.
    Closed(Reason),
}

impl Kind {
    /// Whether its parts refer to each other, so that it must be read in any order.
    pub(crate) fn in_any_order(self) -> bool {
        matches!(self, Self::Zip | Self::Pdf | Self::Sqlite | Self::SqliteLog | Self::Cab | Self::Ole)
    }
}

/// Returns what content that begins with `head` can be opened as. `depth` is 0 for a file.
pub(crate) fn sniff(head: &[u8], depth: usize) -> Option<Kind> {
    let second = *head.get(1)?;
    match *head.first()? {
        0x1f if second == 0x8b && is_gzip(head) => return Some(Kind::Gzip),
        0x50 if is_zip(head) => return Some(Kind::Zip),
        0x78 | 0x58 | 0x68 | 0x48 if gzip::inflates(head) => return Some(Kind::Zlib),
        0x42 if is_bzip2(head) => return Some(Kind::Bzip2),
        0xfd if head.starts_with(b"\xfd7zXZ\0") => return Some(Kind::Xz),
        0x5d if is_lzma(head) => return Some(Kind::Lzma),
        0x28 if is_zstd(head) => return Some(Kind::Zstd),
        0x50..=0x5f if second == 0x2a && is_zstd(head) => return Some(Kind::Zstd),
        0x04 if le32(head, 0) == Some(0x184D_2204) => return Some(Kind::Lz4),
        b'{' if head.starts_with(rtf::MAGIC) => return Some(Kind::Rtf),
        b'S' if head.starts_with(sqlite::MAGIC) => return Some(Kind::Sqlite),
        b'%' if head.starts_with(pdf::MAGIC) => return Some(Kind::Pdf),
        0x37 if sqlite::is_log(head) => return Some(Kind::SqliteLog),
        b'<' | 0xef | b' ' | b'\r' | b'\n' if xml::is_office(head) || (depth > 0 && xml::is_markup(head)) => {
            return Some(Kind::Markup);
        }
        b'A'..=b'Z' | b'a'..=b'z' if mail::is_mail(head) => return Some(Kind::Mail),
        b'M' if head.starts_with(cab::MAGIC) => return Some(Kind::Cab),
        0xd0 if head.starts_with(ole::MAGIC) => return Some(Kind::Ole),
        b'0' | 0xc7 if cpio::is_header(head) => return Some(Kind::Cpio),
        b'(' if head.starts_with(binhex::MAGIC) => return Some(Kind::Binhex),
        0x21 if head.starts_with(b"!<arch>\n") => return Some(Kind::Ar),
        0x1f if lzw::is_header(head) => return Some(Kind::Lzw),
        0xed if head.starts_with(rpm::MAGIC) => return Some(Kind::Rpm),
        b'b' if uuencode::is_header(head) => return Some(Kind::Uuencode),
        _ => {}
    }
    if let Some(reason) = closed::reason(head) {
        return Some(Kind::Closed(reason));
    }
    if crate::tar::is_header(head) {
        return Some(Kind::Tar);
    }
    if let Some(big) = utf32::order_of(head) {
        return Some(if big { Kind::Utf32Be } else { Kind::Utf32Le });
    }
    if is_percent(head) {
        return Some(Kind::Percent);
    }
    if dump::is_dump(head) {
        return Some(Kind::Dump);
    }
    if ebcdic::is_text(head) {
        return Some(Kind::Ebcdic);
    }
    escapes::style_of(head).map(Kind::Escapes)
}

/// Whether at least one byte in sixteen is a percent sign with two hexadecimal digits behind it.
fn is_percent(head: &[u8]) -> bool {
    const MARKS_MIN: usize = 8;
    let few = head.get(..HEAD_BYTES / 8).unwrap_or(head);
    if memchr::memchr(b'%', few).is_none() {
        return false;
    }
    let is_mark = |place: &usize| match head.get(*place..) {
        Some([b'%', high, low, ..]) => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    };
    memchr::memchr_iter(b'%', head).filter(is_mark).count() >= MARKS_MIN.max(head.len() / 16)
}

/// RFC 1952, section 2.3: deflate is the only method, and three flags are reserved.
fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b, 8]) && head.get(3).is_some_and(|flags| flags & 0xe0 == 0)
}

/// A local header, an empty archive, or the first part of a split one (APPNOTE 4.3.7, 4.3.16, 8.5.4).
fn is_zip(head: &[u8]) -> bool {
    [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00"].iter().any(|magic| head.starts_with(*magic))
}

/// The signature, the size of blocks, and the signature of a block or of the end.
fn is_bzip2(head: &[u8]) -> bool {
    let level = head.starts_with(b"BZh") && head.get(3).is_some_and(|level| matches!(level, b'1'..=b'9'));
    let magic = be32(head, 4);
    level && matches!(magic, Some(0x3141_5926 | 0x1772_4538))
}

/// RFC 8878, sections 3.1.1 and 3.1.2.
fn is_zstd(head: &[u8]) -> bool {
    matches!(le32(head, 0), Some(0xFD2F_B528 | 0x184D_2A50..=0x184D_2A5F))
}

/// The header has no signature: the usual properties, a usual dictionary, and a size that is
/// unknown or below a tebibyte. A stream begins with a zero byte.
fn is_lzma(head: &[u8]) -> bool {
    let dictionary = le32(head, 1).unwrap_or(0);
    let usual = (1 << 12..=1 << 30).contains(&dictionary) && dictionary.is_power_of_two();
    let size = le64(head, 5).unwrap_or(0);
    usual && (size == u64::MAX || (1..1 << 40).contains(&size)) && head.get(13) == Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &[u8], expected: Option<Kind>) {
        assert_eq!(sniff(head, 0), expected, "{head:?}");
    }

    #[test]
    fn content_is_told_by_its_first_bytes() {
        check(b"", None);
        check(b"\x1f", None);
        check(b"\x1f\x8b\x08\0more", Some(Kind::Gzip));
        check(b"\x1f\x8b\x08\xe0more", None);
        check(b"PK\x03\x04more", Some(Kind::Zip));
        check(b"PKware is a firm", None);
        check(b"BZh91AY&SYmore", Some(Kind::Bzip2));
        check(b"BZh9 is no magic", None);
        check(b"(\xb5/\xfdmore", Some(Kind::Zstd));
        check(b"\x50\x2a\x4d\x18\0\0\0\0", Some(Kind::Zstd));
        check(b"xylophone", None);
        check(b"7z\xbc\xaf\x27\x1c\0\x04", Some(Kind::Closed(Reason::Unsupported)));
        check(b"just a text, ", None);
    }
}
