//! Partition tables and file systems with circles, overlaps and absurd numbers.

use super::bytes::{crc32, put_be, put_le};
use super::references::put;
use super::{Case, Expected, extremes};

pub(super) const SECTOR: usize = 512;
pub(super) const DISK_BYTES: usize = 1 << 20;

/// All of them, as raw disks.
pub fn volumes() -> Vec<Case> {
    let mut cases = Vec::new();
    partitions(&mut cases);
    gpt(&mut cases);
    let fields: [(&str, usize, usize); 15] = [
        ("inodes", 1024, 4),
        ("blocks", 1028, 4),
        ("first block", 1044, 4),
        ("block size", 1048, 4),
        ("blocks of a group", 1056, 4),
        ("inodes of a group", 1064, 4),
        ("revision", 1100, 4),
        ("first inode", 1108, 4),
        ("inode bytes", 1112, 2),
        ("compatible features", 1116, 4),
        ("incompatible features", 1120, 4),
        ("journal inode", 1248, 4),
        ("descriptor bytes", 1278, 2),
        ("blocks, high", 1360, 4),
        ("first meta group", 1284, 4),
    ];
    each(&mut cases, "ext", &ext(), &fields, false);
    let fields: [(&str, usize, usize); 11] = [
        ("sector bytes", 11, 2),
        ("sectors of a cluster", 13, 1),
        ("reserved sectors", 14, 2),
        ("tables", 16, 1),
        ("root entries", 17, 2),
        ("sectors", 19, 2),
        ("sectors of a table", 22, 2),
        ("sectors, long", 32, 4),
        ("first chain", 2560 + 26, 2),
        ("file bytes", 2560 + 28, 4),
        ("chain", 512 + 3, 2),
    ];
    each(&mut cases, "FAT", &fat(), &fields, false);
    let fields: [(&str, usize, usize); 7] = [
        ("sector bytes", 11, 2),
        ("sectors of a cluster", 13, 1),
        ("sectors", 40, 8),
        ("file table", 48, 8),
        ("second file table", 56, 8),
        ("record bytes", 64, 1),
        ("index bytes", 68, 1),
    ];
    each(&mut cases, "NTFS", &ntfs(), &fields, false);
    let fields: [(&str, usize, usize); 11] = [
        ("block bytes", 4, 4),
        ("blocks", 8, 8),
        ("root inode", 56, 8),
        ("blocks of a group", 84, 4),
        ("groups", 88, 4),
        ("inode bytes", 104, 2),
        ("inodes of a block", 106, 2),
        ("log of block bytes", 120, 1),
        ("log of inodes", 123, 1),
        ("log of a group", 124, 1),
        ("log of a directory block", 192, 1),
    ];
    each(&mut cases, "XFS", &xfs(), &fields, true);
    iso(&mut cases);
    cases.extend(super::lvm::volumes());
    cases
}

fn each(cases: &mut Vec<Case>, what: &str, disk: &[u8], fields: &[(&str, usize, usize)], big: bool) {
    for (field, at, width) in fields {
        for value in extremes(*width) {
            let mut disk = disk.to_vec();
            put(&mut disk, *at, *width, value, big);
            cases.push(Case::new(format!("{what} {field} {value:#x}"), "disk.img", disk, Expected::Ends));
        }
    }
}

fn entry(table: &mut [u8], slot: usize, kind: u8, first: u64, sectors: u64) {
    let at = 446 + 16 * slot;
    table[at + 4] = kind;
    put_le(table, at + 8, 4, first);
    put_le(table, at + 12, 4, sectors);
    table[510..512].copy_from_slice(&[0x55, 0xaa]);
}

fn partitions(cases: &mut Vec<Case>) {
    let mut add = |what: &str, shape: &dyn Fn(&mut Vec<u8>)| {
        let mut disk = vec![0; DISK_BYTES];
        shape(&mut disk);
        cases.push(Case::new(format!("partitions {what}"), "disk.img", disk, Expected::Ends));
    };
    add("all over each other", &|disk| {
        (0..4).for_each(|slot| entry(disk, slot, 0x83, 1 + slot as u64, 1500));
    });
    add("that is the table", &|disk| entry(disk, 0, 0x83, 0, 2048));
    add("behind the end", &|disk| entry(disk, 0, 0x83, 0xffff_fff0, 0xffff_ffff));
    add("extended, in itself", &|disk| {
        entry(disk, 0, 5, 8, 100);
        entry(&mut disk[8 * SECTOR..], 1, 5, 0, 100);
    });
    add("extended, in a circle of two", &|disk| {
        entry(disk, 0, 5, 8, 200);
        entry(&mut disk[8 * SECTOR..], 1, 5, 8, 100);
        entry(&mut disk[16 * SECTOR..], 1, 5, 0, 100);
    });
    add("extended, four of them", &|disk| {
        (0..4).for_each(|slot| entry(disk, slot, 5, 8, 200));
        (0..4).for_each(|slot| entry(&mut disk[8 * SECTOR..], slot, 5, 8, 100));
        (0..4).for_each(|slot| entry(&mut disk[16 * SECTOR..], slot, 5, 0, 100));
    });
    add("extended, thousands deep", &|disk| {
        entry(disk, 0, 15, 1, 2047);
        for sector in 1..2040_usize {
            entry(&mut disk[sector * SECTOR..], 0, 0x83, 0, 1);
            entry(&mut disk[sector * SECTOR..], 1, 15, sector as u64, 1);
        }
    });
    add("in partitions, without end", &|disk| {
        for sector in (0..2000).step_by(4) {
            entry(&mut disk[sector * SECTOR..], 0, 0xa5, sector as u64 + 4, 2000 - sector as u64);
        }
    });
}

/// A protective table and a GPT with one entry.
fn gpt(cases: &mut Vec<Case>) {
    let mut disk = vec![0; DISK_BYTES];
    entry(&mut disk, 0, 0xee, 1, 2047);
    let header = SECTOR;
    disk[header..header + 8].copy_from_slice(b"EFI PART");
    for (at, width, value) in [
        (8, 4, 0x1_0000_u64),
        (12, 4, 92),
        (24, 8, 1),
        (32, 8, 2047),
        (40, 8, 34),
        (48, 8, 2014),
        (72, 8, 2),
        (80, 4, 128),
        (84, 4, 128),
    ] {
        put_le(&mut disk, header + at, width, value);
    }
    disk[2 * SECTOR..2 * SECTOR + 16].fill(7);
    put_le(&mut disk, 2 * SECTOR + 32, 8, 40);
    put_le(&mut disk, 2 * SECTOR + 40, 8, 2000);
    let sums = |disk: &mut Vec<u8>| {
        let table = crc32(&disk[2 * SECTOR..34 * SECTOR]);
        put_le(disk, header + 88, 4, u64::from(table));
        put_le(disk, header + 16, 4, 0);
        let sum = crc32(&disk[header..header + 92]);
        put_le(disk, header + 16, 4, u64::from(sum));
    };
    let fields: [(&str, usize, usize); 8] = [
        ("header bytes", header + 12, 4),
        ("own sector", header + 24, 8),
        ("other sector", header + 32, 8),
        ("table", header + 72, 8),
        ("entries", header + 80, 4),
        ("entry bytes", header + 84, 4),
        ("first sector", 2 * SECTOR + 32, 8),
        ("last sector", 2 * SECTOR + 40, 8),
    ];
    for (field, at, width) in fields {
        for value in extremes(width) {
            let mut disk = disk.clone();
            put_le(&mut disk, at, width, value);
            sums(&mut disk);
            cases.push(Case::new(format!("GPT {field} {value:#x}"), "disk.img", disk, Expected::Ends));
        }
    }
    let mut nested = disk.clone();
    (0..128).for_each(|slot| {
        let at = 2 * SECTOR + 128 * slot;
        nested[at..at + 16].fill(7);
        put_le(&mut nested, at + 32, 8, 34);
        put_le(&mut nested, at + 40, 8, 2014);
    });
    sums(&mut nested);
    cases.push(Case::new("GPT 128 entries of the same place", "disk.img", nested, Expected::Ends));
}

/// A superblock of ext2 with 1 KiB blocks, and a root directory that lists itself.
fn ext() -> Vec<u8> {
    let mut disk = vec![0; DISK_BYTES];
    for (at, width, value) in [
        (0, 4, 128_u64),
        (4, 4, 1024),
        (20, 4, 1),
        (24, 4, 0),
        (32, 4, 8192),
        (36, 4, 8192),
        (40, 4, 128),
        (56, 2, 0xef53),
        (58, 2, 1),
        (76, 4, 1),
        (84, 4, 11),
        (88, 2, 128),
        (96, 4, 2),
    ] {
        put_le(&mut disk, 1024 + at, width, value);
    }
    for (at, value) in [(0, 3_u64), (4, 4), (8, 5)] {
        put_le(&mut disk, 2048 + at, 4, value);
    }
    // Inode 2, a directory in block 30 whose every entry is itself.
    let root = 5 * 1024 + 128;
    put_le(&mut disk, root, 2, 0o40755);
    put_le(&mut disk, root + 4, 4, 1024);
    put_le(&mut disk, root + 26, 2, 2);
    put_le(&mut disk, root + 40, 4, 30);
    for (at, name) in [(0, "."), (12, ".."), (24, "a")] {
        let at = 30 * 1024 + at;
        put_le(&mut disk, at, 4, 2);
        put_le(&mut disk, at + 4, 2, if name == "a" { 1000 } else { 12 });
        disk[at + 6] = u8::try_from(name.len()).expect("short");
        disk[at + 7] = 2;
        disk[at + 8..at + 8 + name.len()].copy_from_slice(name.as_bytes());
    }
    disk
}

/// FAT12 with one file and one directory whose chains are circles.
fn fat() -> Vec<u8> {
    let mut disk = vec![0; DISK_BYTES];
    disk[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
    disk[3..11].copy_from_slice(b"mkfs.fat");
    for (at, width, value) in [
        (11, 2, 512_u64),
        (13, 1, 4),
        (14, 2, 1),
        (16, 1, 2),
        (17, 2, 512),
        (19, 2, 2048),
        (21, 1, 0xf8),
        (22, 2, 2),
        (38, 1, 0x29),
    ] {
        put_le(&mut disk, at, width, value);
    }
    disk[54..62].copy_from_slice(b"FAT12   ");
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    // Cluster 2 goes on in 3 and 3 in 2.
    disk[512..518].copy_from_slice(&[0xf8, 0xff, 0xff, 0x03, 0x20, 0x00]);
    let same = disk[512..1536].to_vec();
    disk[1536..2560].copy_from_slice(&same);
    disk[2560..2571].copy_from_slice(b"CIRCLE  TXT");
    put_le(&mut disk, 2560 + 26, 2, 2);
    put_le(&mut disk, 2560 + 28, 4, 100_000);
    disk[2592..2603].copy_from_slice(b"FOLDER     ");
    disk[2592 + 11] = 0x10;
    put_le(&mut disk, 2592 + 26, 2, 3);
    disk
}

/// A boot sector of NTFS whose file table is the boot sector.
fn ntfs() -> Vec<u8> {
    let mut disk = vec![0; DISK_BYTES];
    disk[..3].copy_from_slice(&[0xeb, 0x52, 0x90]);
    disk[3..11].copy_from_slice(b"NTFS    ");
    for (at, width, value) in [
        (11, 2, 512_u64),
        (13, 1, 8),
        (21, 1, 0xf8),
        (40, 8, 2047),
        (48, 8, 4),
        (56, 8, 8),
        (64, 1, 0xf6),
        (68, 1, 1),
    ] {
        put_le(&mut disk, at, width, value);
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    for record in 0..16 {
        let at = 4 * 4096 + 1024 * record;
        disk[at..at + 4].copy_from_slice(b"FILE");
        for (field, width, value) in [
            (4, 2, 48_u64),
            (6, 2, 3),
            (20, 2, 56),
            (22, 2, 1),
            (24, 4, 400),
            (28, 4, 1024),
            (44, 4, record as u64),
        ] {
            put_le(&mut disk, at + field, width, value);
        }
        // A data attribute whose only run is the file table itself.
        for (field, width, value) in [
            (0, 4, 0x80_u64),
            (4, 4, 72),
            (8, 1, 1),
            (24, 8, 3),
            (32, 2, 64),
            (40, 8, 16384),
            (48, 8, 16384),
            (56, 8, 16384),
        ] {
            put_le(&mut disk, at + 56 + field, width, value);
        }
        disk[at + 120..at + 124].copy_from_slice(&[0x11, 4, 4, 0]);
        put_le(&mut disk, at + 128, 4, 0xffff_ffff);
    }
    disk
}

/// A superblock of XFS, version 4, whose root is in its own inode tree.
fn xfs() -> Vec<u8> {
    let mut disk = vec![0; DISK_BYTES];
    disk[..4].copy_from_slice(b"XFSB");
    for (at, width, value) in [
        (4, 4, 4096_u64),
        (8, 8, 256),
        (48, 8, 32),
        (56, 8, 64),
        (84, 4, 128),
        (88, 4, 2),
        (96, 4, 32),
        (100, 2, 0xb4a4),
        (102, 2, 512),
        (104, 2, 256),
        (106, 2, 16),
        (120, 1, 12),
        (121, 1, 9),
        (122, 1, 8),
        (123, 1, 4),
        (124, 1, 7),
    ] {
        put_be(&mut disk, at, width, value);
    }
    disk[1024..1028].copy_from_slice(b"XAGI");
    for (at, value) in [(4, 1_u64), (12, 128), (16, 64), (20, 3), (24, 2)] {
        put_be(&mut disk, 1024 + at, 4, value);
    }
    // A tree whose only child is itself.
    let tree = 3 * 4096;
    disk[tree..tree + 4].copy_from_slice(b"IABT");
    put_be(&mut disk, tree + 4, 2, 1);
    put_be(&mut disk, tree + 6, 2, 100);
    for child in 0..1000 {
        put_be(&mut disk, tree + 16 + 4 * child, 4, 3);
    }
    disk
}

/// ISO 9660 whose root directory is in itself, under many names, or absurdly large.
fn iso(cases: &mut Vec<Case>) {
    const BLOCK: usize = 2048;
    let record = |at: &mut [u8], name: &[u8], extent: u64, length: u64, flags: u8| -> usize {
        let bytes = (33 + name.len()).next_multiple_of(2);
        at[0] = u8::try_from(bytes).expect("short");
        put_le(at, 2, 4, extent);
        put_be(at, 6, 4, extent);
        put_le(at, 10, 4, length);
        put_be(at, 14, 4, length);
        at[25] = flags;
        at[28] = 1;
        at[31] = 1;
        at[32] = u8::try_from(name.len()).expect("short");
        at[33..33 + name.len()].copy_from_slice(name);
        bytes
    };
    for (what, extent, length) in [
        ("in itself", 20_u64, 2048_u64),
        ("as large as can be", 20, 0xffff_ffff),
        ("behind the end", 0xffff_fff0, 2048),
        ("that is the volume", 0, 1 << 20),
        ("of nothing", 20, 0),
    ] {
        let mut disk = vec![0; DISK_BYTES];
        let primary = &mut disk[16 * BLOCK..17 * BLOCK];
        primary[..7].copy_from_slice(b"\x01CD001\x01");
        put_le(primary, 80, 4, 512);
        put_be(primary, 84, 4, 512);
        put_le(primary, 120, 2, 1);
        put_le(primary, 124, 2, 1);
        put_le(primary, 128, 2, 2048);
        put_be(primary, 130, 2, 2048);
        record(&mut primary[156..], b"\0", extent, length, 2);
        disk[17 * BLOCK..17 * BLOCK + 7].copy_from_slice(b"\xffCD001\x01");
        let mut at = 20 * BLOCK;
        for name in [&b"\0"[..], b"\x01", b"A", b"B", b"C", b"D"] {
            at += record(&mut disk[at..], name, extent, length.max(2048), 2);
        }
        cases.push(Case::new(format!("ISO directory {what}"), "disk.iso", disk, Expected::Ends));
    }
}
