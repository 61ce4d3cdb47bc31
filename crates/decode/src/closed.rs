//! Containers that are recognised and not opened, because they are encrypted or their format is not read.

use airlock_model::Reason;
use airlock_model::field::le16;
use std::sync::LazyLock;

/// Where a signature stands, and what it is.
type Magic = (usize, &'static [u8]);

/// Formats that are not read: 7z, RAR (both formats), ACE, LHA, zoo, `InstallShield`, WIM, `StuffIt`, xar, CHM,
/// lzip, lzop, lrzip, ZPAQ, Snappy frames, disk images within files (qcow2, VMDK, COWD, VHDX, VHD, VDI, `EnCase`, Partclone,
/// VMA), squashfs, cramfs, personal folders of Outlook, dumps of `PostgreSQL`, snapshots of Redis, Parquet, ORC, Avro.
const UNSUPPORTED: &[Magic] = &[
    (0, b"7z\xbc\xaf\x27\x1c"),
    (0, b"Rar!\x1a\x07"),
    (7, b"**ACE**"),
    (20, b"\xdc\xa7\xc4\xfd"),
    (0, b"ISc("),
    (0, b"MSWIM\0\0\0"),
    (0, b"StuffIt (c)"),
    (0, b"SIT!"),
    (0, b"xar!\0\x1c"),
    (0, b"ITSF\x03\0\0\0"),
    (0, b"\x89LZO\0\x0d\x0a\x1a\x0a"),
    (0, b"LRZI\0"),
    (0, b"LZIP\x01"),
    (0, b"7kSt\xa01\x83\xd3\x8c\xb2\x28\xb0\xd3zPQ"),
    (0, b"zPQ\x01"),
    (0, b"zPQ\x02"),
    (0, b"\xff\x06\0\0sNaPpY"),
    (0, b"QFI\xfb\0\0\0"),
    (0, b"KDMV"),
    (0, b"COWD\x01\0\0\0"),
    (0, b"vhdxfile"),
    (0, b"conectix"),
    (64, b"\x7f\x10\xda\xbe"),
    (0, b"EVF\x09\x0d\x0a\xff\0"),
    (0, b"partclone-image"),
    (0, b"VMA\0\0\0"),
    (0, b"hsqs"),
    (0, b"sqsh"),
    (0, b"\x45\x3d\xcd\x28"),
    (0, b"!BDN"),
    (0, b"PGDMP"),
    (0, b"REDIS00"),
    (0, b"PAR1\x15"),
    (0, b"ORC\x08"),
    (0, b"ORC\x0a"),
    (0, b"Obj\x01"),
];

/// What is encrypted: `openssl enc`, LUKS, Vim, Ansible's vaults, age, `KeePass`, armoured `OpenPGP` messages.
const ENCRYPTED: &[Magic] = &[
    (0, b"Salted__"),
    (0, b"LUKS\xba\xbe\0"),
    (0, b"VimCrypt~"),
    (0, b"$ANSIBLE_VAULT;"),
    (0, b"age-encryption.org/v1\n"),
    (0, b"-----BEGIN AGE ENCRYPTED FILE-----"),
    (0, b"\x03\xd9\xa2\x9a\x65\xfb\x4b\xb5"),
    (0, b"\x03\xd9\xa2\x9a\x66\xfb\x4b\xb5"),
    (0, b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5"),
    (0, b"-----BEGIN PGP MESSAGE-----"),
];

/// Which bytes the signatures begin with that stand at the beginning.
static FIRST_BYTES: LazyLock<[bool; 256]> = LazyLock::new(|| {
    let first = |(at, magic): &Magic| magic.first().filter(|_| *at == 0).copied();
    let mut firsts = [false; 256];
    for byte in UNSUPPORTED.iter().chain(ENCRYPTED).filter_map(first) {
        if let Some(slot) = firsts.get_mut(usize::from(byte)) {
            *slot = true;
        }
    }
    firsts
});

/// The object identifier `id-envelopedData` (RFC 5652, section 6.1) in DER.
const ENVELOPED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";

/// Returns why content that begins with `head` is not opened, if it is known and closed.
pub(crate) fn reason(head: &[u8]) -> Option<Reason> {
    let first = usize::from(*head.first()?);
    let begins = FIRST_BYTES.get(first).copied().unwrap_or(true);
    let has = |(at, magic): &Magic| {
        (*at > 0 || begins) && head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    if (begins && ENCRYPTED.iter().any(has)) || is_openpgp(head) || is_enveloped(head) {
        return Some(Reason::Encrypted);
    }
    (UNSUPPORTED.iter().any(has) || is_lha(head) || is_arj(head)).then_some(Reason::Unsupported)
}

/// A method `-lh0-` to `-lh7-`, `-lzs-`, `-lz4-`, `-lz5-`, behind the size and the checksum of a header.
fn is_lha(head: &[u8]) -> bool {
    matches!(
        head.get(2..7),
        Some([b'-', b'l', b'h', b'0'..=b'7' | b'd', b'-'] | [b'-', b'l', b'z', b's' | b'4' | b'5', b'-'])
    )
}

/// The signature, and a main header of a plausible size (ARJ TECHNOTE, "archive main header").
fn is_arj(head: &[u8]) -> bool {
    head.starts_with(b"\x60\xea") && le16(head, 2).is_some_and(|size| (30..=2600).contains(&size))
}

/// A packet with an encrypted session key (RFC 9580, sections 4.2, 5.1 and 5.3) stands before whatever is
/// encrypted. Compressed and literal packets are told by nothing that other content does not have, too.
fn is_openpgp(head: &[u8]) -> bool {
    // The old format, with a length of one or two bytes; then the new one.
    let ([0x84 | 0x8c, _, body @ ..]
    | [0x85 | 0x8d, _, _, body @ ..]
    | [0xc1 | 0xc3, 0..=191, body @ ..]
    | [0xc1 | 0xc3, 192..=223, _, body @ ..]) = head
    else {
        return false;
    };
    let is_public = matches!(head.first(), Some(0x84 | 0x85 | 0xc1));
    let cipher = |number: u8| (1..=13).contains(&number);
    match body {
        // Version 3: a key's identifier, and an algorithm with public keys.
        [3, _, _, _, _, _, _, _, _, algorithm, ..] if is_public => {
            matches!(algorithm, 1 | 2 | 16 | 18 | 25 | 26)
        }
        // Version 4: a cipher, a way from password to key, and a hash.
        [4, algorithm, way, hash, ..] if !is_public => {
            cipher(*algorithm) && matches!(way, 0 | 1 | 3 | 4) && (1..=14).contains(hash)
        }
        _ => false,
    }
}

/// A sequence in BER or DER that begins with the object identifier.
fn is_enveloped(head: &[u8]) -> bool {
    let ([0x30, 0..=0x80, rest @ ..]
    | [0x30, 0x81, _, rest @ ..]
    | [0x30, 0x82, _, _, rest @ ..]
    | [0x30, 0x83, _, _, _, rest @ ..]
    | [0x30, 0x84, _, _, _, _, rest @ ..]) = head
    else {
        return false;
    };
    rest.starts_with(ENVELOPED_DATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_told_with_the_reason() {
        let check = |head: &[u8], expected| assert_eq!(reason(head), expected, "{head:?}");
        check(b"7z\xbc\xaf\x27\x1c\0\x04", Some(Reason::Unsupported));
        check(b"!\x12-lh5-\0", Some(Reason::Unsupported));
        check(b"\x60\xea\x2c\0\x22", Some(Reason::Unsupported));
        check(b"\x60\xea\xff\xff\x22", None);
        check(b"hsqs\x10\0", Some(Reason::Unsupported));
        check(b"Salted__\x01\x02", Some(Reason::Encrypted));
        // `gpg --symmetric`, and a message to a key of RSA.
        check(b"\x8c\x0d\x04\x09\x03\x02\xaa\xbb\xcc", Some(Reason::Encrypted));
        check(b"\xc3\x0d\x04\x07\x03\x08\xaa\xbb\xcc", Some(Reason::Encrypted));
        check(b"\x85\x01\x0c\x03abcdefgh\x01\x07\xff", Some(Reason::Encrypted));
        // A key, and a text in some other language.
        check(b"\x99\x01\x0d\x04abcdefgh\x01\x07\xff", None);
        check(b"\xc3\xa4hnlich ist das nicht", None);
        check(b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03", Some(Reason::Encrypted));
        check(b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", None);
        check(b"just a text", None);
        check(b"", None);
    }
}
