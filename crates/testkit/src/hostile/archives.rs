//! Archives that grow, lie over themselves, go on without end, or read in two ways.

use super::bytes::{crc32, deflated_zeros, gzip, put_le, stored};
use super::names::tar_member;
use super::{Case, Expected};
use crate::{Kind, Rng};

/// One member of a ZIP archive.
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    pub(super) method: u64,
    pub(super) packed: &'a [u8],
    pub(super) crc: u32,
    pub(super) plain: u64,
}

impl<'a> Member<'a> {
    pub(super) fn stored(name: &'a [u8], bytes: &'a [u8]) -> Self {
        Self { name, method: 0, packed: bytes, crc: crc32(bytes), plain: bytes.len() as u64 }
    }

    fn header(&self, magic: [u8; 4], central: bool) -> Vec<u8> {
        let mut header = vec![0; if central { 46 } else { 30 }];
        header[..4].copy_from_slice(&magic);
        let at = if central { 6 } else { 4 };
        for (field, width, value) in [
            (0, 2, 20),
            (4, 2, self.method),
            (10, 4, u64::from(self.crc)),
            (14, 4, self.packed.len() as u64),
            (18, 4, self.plain),
            (22, 2, self.name.len() as u64),
        ] {
            put_le(&mut header, at + field, width, value);
        }
        header
    }
}

/// Writes a ZIP archive (APPNOTE 4.3): what stands there, and the directory that says so.
pub(super) fn zip(members: &[Member<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut offsets = Vec::new();
    for member in members {
        offsets.push(out.len() as u64);
        out.extend(member.header(*b"PK\x03\x04", false));
        out.extend_from_slice(member.name);
        out.extend_from_slice(member.packed);
    }
    let entries: Vec<(&Member<'_>, u64)> = members.iter().zip(offsets).collect();
    directory(&mut out, &entries);
    out
}

fn directory(out: &mut Vec<u8>, entries: &[(&Member<'_>, u64)]) {
    let start = out.len();
    for (member, offset) in entries {
        let mut header = member.header(*b"PK\x01\x02", true);
        put_le(&mut header, 42, 4, *offset);
        out.extend(header);
        out.extend_from_slice(member.name);
    }
    let mut end = vec![0; 22];
    end[..4].copy_from_slice(b"PK\x05\x06");
    let (count, bytes) = (entries.len() as u64 & 0xffff, (out.len() - start) as u64);
    for (at, width, value) in [(8, 2, count), (10, 2, count), (12, 4, bytes), (16, 4, start as u64)] {
        put_le(&mut end, at, width, value);
    }
    out.extend(end);
}

/// A text that a scan of either reading must find.
pub(super) fn cards(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let line = |_| format!("card number {}\n", Kind::Pan.make(&mut rng).expose());
    (0..20).map(line).collect::<String>().into_bytes()
}

/// All of them, as plain files.
pub fn archives() -> Vec<Case> {
    let mut cases = Vec::new();
    bombs(&mut cases);
    nests(&mut cases);
    two_readings(&mut cases);
    absurd(&mut cases);
    cases
}

fn bombs(cases: &mut Vec<Case>) {
    const GIB: u64 = 1 << 30;
    // Whoever reads all of it may call it clean if nothing is in it; with something at its end, nobody may.
    for (what, text, expected) in
        [("zeros", Vec::new(), Expected::Ends), ("zeros, then cards", cards(11), Expected::NotClean)]
    {
        let zeros = deflated_zeros(8 * GIB, &text);
        let member = |name| Member { name, method: 8, packed: &zeros, crc: 0, plain: 0xffff_ffff };
        let mut push = |how: &str, main: &str, bytes: Vec<u8>| {
            cases.push(Case::new(format!("{how} of 8 GiB of {what}"), main, bytes, expected));
        };
        push("gzip", "a.gz", gzip(&zeros, (0, 0)));
        push("zip", "a.zip", zip(&[member(b"zeros")]));
        push("gzip in gzip", "a.gz.gz", gzip(&stored(&gzip(&zeros, (0, 0))), (0, 0)));
    }

    let small = deflated_zeros(64 << 20, &cards(12));
    for count in [100_usize, 2000, 65_535] {
        let names: Vec<Vec<u8>> = (0..count).map(|index| format!("{index}").into_bytes()).collect();
        let of = |name| Member { name, method: 8, packed: &small, crc: 0, plain: 64 << 20 };
        let members: Vec<Member<'_>> = names.iter().map(|name| of(name)).collect();
        let mut out = members[0].header(*b"PK\x03\x04", false);
        out.extend_from_slice(members[0].name);
        out.extend_from_slice(&small);
        let entries: Vec<(&Member<'_>, u64)> = members.iter().map(|member| (member, 0)).collect();
        directory(&mut out, &entries);
        cases.push(Case::new(
            format!("zip of {count} names for the same 64 MiB"),
            "a.zip",
            out,
            Expected::NotClean,
        ));
    }
    // Each member's bytes are all the members behind it: 2,000 of them read 2,000 times.
    let mut out: Vec<u8> = Vec::new();
    let names: Vec<Vec<u8>> = (0..2000_u32).map(|index| format!("n{index}").into_bytes()).collect();
    let kernel = b"x".repeat(1000);
    let mut tail = kernel;
    for name in names.iter().rev() {
        let mut with = Member { name, method: 0, packed: &tail, crc: 0, plain: tail.len() as u64 }
            .header(*b"PK\x03\x04", false);
        with.extend_from_slice(name);
        with.extend_from_slice(&tail);
        tail = with;
    }
    out.extend_from_slice(&tail);
    let mut at = 0_u64;
    let total = out.len();
    let sizes: Vec<(u64, usize)> = names
        .iter()
        .map(|name| {
            let start = at;
            at += 30 + name.len() as u64;
            (start, total - usize::try_from(at).expect("small"))
        })
        .collect();
    let body = out.clone();
    let members: Vec<Member<'_>> = names
        .iter()
        .zip(&sizes)
        .map(|(name, (_, length))| Member {
            name,
            method: 0,
            packed: &body[total - length..],
            crc: 0,
            plain: *length as u64,
        })
        .collect();
    let entries: Vec<(&Member<'_>, u64)> =
        members.iter().zip(&sizes).map(|(member, (at, _))| (member, *at)).collect();
    directory(&mut out, &entries);
    cases.push(Case::new("zip of 2,000 members in each other", "a.zip", out, Expected::Ends));
}

fn nests(cases: &mut Vec<Case>) {
    for depth in [4_usize, 16, 64, 1000] {
        let mut bytes = cards(depth as u64);
        for _ in 0..depth {
            let plain = (crc32(&bytes), u32::try_from(bytes.len()).expect("small"));
            bytes = gzip(&stored(&bytes), plain);
        }
        cases.push(Case::new(format!("cards in {depth} gzips"), "a.gz", bytes, Expected::NotClean));
        let mut bytes = cards(depth as u64 + 1);
        for _ in 0..depth {
            bytes = zip(&[Member::stored(b"in.zip", &bytes)]);
        }
        cases.push(Case::new(format!("cards in {depth} zips"), "a.zip", bytes, Expected::NotClean));
        let mut bytes = cards(depth as u64 + 2);
        for _ in 0..depth {
            bytes = tar_member(b"in.tar", &bytes);
            bytes.resize(bytes.len() + 1024, 0);
        }
        cases.push(Case::new(format!("cards in {depth} tars"), "a.tar", bytes, Expected::NotClean));
    }
    // Twelve in each of twelve in each of twelve...
    let mut bytes = b"nothing\n".repeat(1000);
    for _ in 0..7 {
        let names: Vec<Vec<u8>> = (0..12).map(|index| format!("{index}.zip").into_bytes()).collect();
        let members: Vec<Member<'_>> = names.iter().map(|name| Member::stored(name, &bytes)).collect();
        if bytes.len() > 3 << 20 {
            break;
        }
        bytes = zip(&members);
    }
    cases.push(Case::new("zips in zips, twelve in each", "a.zip", bytes, Expected::Ends));
}

fn two_readings(cases: &mut Vec<Case>) {
    let (text, decoy) = (cards(7), b"nothing to see here\n".repeat(30));
    let hidden = Expected::NotClean;
    let mut push = |name: &str, main: &str, bytes: Vec<u8>| cases.push(Case::new(name, main, bytes, hidden));
    let packed = gzip(&stored(&text), (crc32(&text), u32::try_from(text.len()).expect("small")));
    push("decoy, then gzip", "a.txt", [&decoy[..], &packed].concat());
    push("gzip, then decoy", "a.gz", [&packed[..], &decoy].concat());
    let whole = zip(&[Member::stored(b"a", &packed)]);
    push("zip behind a text", "a.txt", [&decoy[..], &whole].concat());
    push("zip before a text", "a.zip", [&whole[..], &decoy].concat());
    push("zip before another zip", "a.zip", [&whole[..], &zip(&[Member::stored(b"b", &decoy)])].concat());
    push("zip behind another zip", "a.zip", [&zip(&[Member::stored(b"b", &decoy)])[..], &whole].concat());

    // The directory does not list what stands there.
    let (shown, unlisted) = (Member::stored(b"shown", &decoy), Member::stored(b"hidden", &packed));
    let mut out = unlisted.header(*b"PK\x03\x04", false);
    out.extend_from_slice(unlisted.name);
    out.extend_from_slice(unlisted.packed);
    let at = out.len() as u64;
    out.extend(shown.header(*b"PK\x03\x04", false));
    out.extend_from_slice(shown.name);
    out.extend_from_slice(shown.packed);
    directory(&mut out, &[(&shown, at)]);
    push("zip member that no directory lists", "a.zip", out);

    // The directory says stored, the member says deflated.
    let deflated = stored(&packed);
    let real =
        Member { name: b"m", method: 8, packed: &deflated, crc: crc32(&packed), plain: packed.len() as u64 };
    let lie =
        Member { name: b"m", method: 0, packed: &deflated, crc: crc32(&packed), plain: packed.len() as u64 };
    let mut out = real.header(*b"PK\x03\x04", false);
    out.extend_from_slice(real.name);
    out.extend_from_slice(&deflated);
    directory(&mut out, &[(&lie, 0)]);
    push("zip member that is deflated and said to be stored", "a.zip", out);

    let mut tar = tar_member(b"shown", &decoy);
    tar.extend(tar_member(b"hidden", &packed));
    tar[124..135].copy_from_slice(b"00000000000");
    push("tar member of no bytes that has some", "a.tar", tar);
    let mut tar = tar_member(b"shown", &decoy);
    tar.resize(tar.len() + 1024, 0);
    tar.extend(tar_member(b"behind the end", &packed));
    push("tar member behind the end", "a.tar", tar);
    push("tar in the shape of a zip", "a.tar", [tar_member(b"a", &decoy), whole].concat());
}

fn absurd(cases: &mut Vec<Case>) {
    let text = cards(9);
    let base = zip(&[Member::stored(b"a", &text)]);
    let (local, central, end) = (0, base.len() - 22 - 47, base.len() - 22);
    for (field, at, width) in [
        ("packed bytes", local + 18, 4),
        ("plain bytes", local + 22, 4),
        ("name bytes", local + 26, 2),
        ("extra bytes", local + 28, 2),
        ("listed packed bytes", central + 20, 4),
        ("listed plain bytes", central + 24, 4),
        ("listed name bytes", central + 28, 2),
        ("listed offset", central + 42, 4),
        ("members", end + 10, 2),
        ("directory bytes", end + 12, 4),
        ("directory offset", end + 16, 4),
        ("comment bytes", end + 20, 2),
    ] {
        for value in super::extremes(width) {
            let mut bytes = base.clone();
            put_le(&mut bytes, at, width, value);
            cases.push(Case::new(format!("zip {field} {value:#x}"), "a.zip", bytes, Expected::NotClean));
        }
    }
    for (what, size) in [("77777777777", 8_u64), ("\u{7f}\u{7f}garbage", 0), ("-0000000001", 0)] {
        let mut tar = tar_member(b"a", &text);
        let digits = what.as_bytes();
        tar[124..124 + digits.len().min(12)].copy_from_slice(&digits[..digits.len().min(12)]);
        tar.extend_from_slice(&vec![0; usize::try_from(size).expect("small")]);
        cases.push(Case::new(format!("tar member of {what:?} bytes"), "a.tar", tar, Expected::NotClean));
    }
    let mut sparse = Case::new("a file of 1 TiB of nothing", "disk.img", text, Expected::Ends);
    sparse.hole = 1 << 40;
    cases.push(sparse);
}
