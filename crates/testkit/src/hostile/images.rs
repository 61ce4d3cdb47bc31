//! Disk images whose tables are circles, lie over each other, or claim absurd sizes.

use super::bytes::{put_be, put_le};
use super::references::{put, qcow2, vhd_dynamic, vhd_footer, vhd_sum};
use super::{Case, Expected, extremes};

/// A number in a header: its name, first byte, and width in bytes.
type Field = (&'static str, usize, usize);

/// Every number of every header, at values that its writer did not think of; and tables that point at themselves.
pub fn images() -> Vec<Case> {
    let mut cases = Vec::new();
    let fields: [Field; 15] = [
        ("version", 4, 4),
        ("backing offset", 8, 8),
        ("backing length", 16, 4),
        ("cluster bits", 20, 4),
        ("size", 24, 8),
        ("encryption", 32, 4),
        ("L1 entries", 36, 4),
        ("L1 offset", 40, 8),
        ("refcount offset", 48, 8),
        ("refcount clusters", 56, 4),
        ("snapshots", 60, 4),
        ("snapshots offset", 64, 8),
        ("incompatible features", 72, 8),
        ("refcount order", 96, 4),
        ("header length", 100, 4),
    ];
    each(&mut cases, "qcow2", "disk.qcow2", &qcow2(), &fields, true, |_| ());
    qcow2_tables(&mut cases);
    let fields: [Field; 9] = [
        ("header length", 72, 4),
        ("type", 76, 4),
        ("map offset", 340, 4),
        ("data offset", 344, 4),
        ("sector bytes", 360, 4),
        ("size", 368, 8),
        ("block bytes", 376, 4),
        ("extra bytes", 380, 4),
        ("blocks", 384, 4),
    ];
    each(&mut cases, "VDI", "disk.vdi", &vdi(), &fields, false, |_| ());
    for block in [0, 1, 3, 0x7fff_ffff, 0xffff_fffd] {
        let mut image = vdi();
        for entry in 0..4 {
            put_le(&mut image, 512 + 4 * entry, 4, block);
        }
        cases.push(Case::new(format!("VDI all blocks at {block:#x}"), "disk.vdi", image, Expected::Ends));
    }
    let fields: [Field; 5] = [
        ("map offset", 528, 8),
        ("version", 536, 4),
        ("entries", 540, 4),
        ("block bytes", 544, 4),
        ("data offset", 520, 8),
    ];
    each(&mut cases, "VHD", "disk.vhd", &vhd(), &fields, true, |image| vhd_sum(&mut image[512..1536], 36));
    let fields: [Field; 4] =
        [("header offset", 16, 8), ("original size", 40, 8), ("size", 48, 8), ("type", 60, 4)];
    each(&mut cases, "VHD footer", "disk.vhd", &vhd(), &fields, true, |image| {
        vhd_sum(&mut image[..512], 64);
        let (first, last) = (image[..512].to_vec(), image.len() - 512);
        image[last..].copy_from_slice(&first);
    });
    for sector in [0_u64, 1, 3, 0x7fff_ffff, 0xffff_fffe] {
        let mut image = vhd();
        put_be(&mut image, 1536, 4, sector);
        put_be(&mut image, 1540, 4, sector);
        cases.push(Case::new(
            format!("VHD both blocks at sector {sector:#x}"),
            "disk.vhd",
            image,
            Expected::Ends,
        ));
    }
    let fields: [Field; 9] = [
        ("version", 4, 4),
        ("flags", 8, 4),
        ("capacity", 12, 8),
        ("grain", 20, 8),
        ("descriptor offset", 28, 8),
        ("descriptor size", 36, 8),
        ("entries of a table", 44, 4),
        ("second directory", 48, 8),
        ("directory", 56, 8),
    ];
    each(&mut cases, "VMDK", "disk.vmdk", &vmdk_sparse(), &fields, false, |_| ());
    for sector in [0_u64, 1, 21, 22, 0xffff_ffff] {
        let mut image = vmdk_sparse();
        put_le(&mut image, 21 * 512, 4, sector);
        cases.push(Case::new(
            format!("VMDK table at sector {sector}"),
            "disk.vmdk",
            image.clone(),
            Expected::Ends,
        ));
        put_le(&mut image, 21 * 512, 4, 22);
        for entry in 0..512 {
            put_le(&mut image, 22 * 512 + 4 * entry, 4, sector);
        }
        cases.push(Case::new(
            format!("VMDK all grains at sector {sector}"),
            "disk.vmdk",
            image,
            Expected::Ends,
        ));
    }
    cases
}

fn each(
    cases: &mut Vec<Case>,
    what: &str,
    main: &str,
    image: &[u8],
    fields: &[Field],
    big: bool,
    seal: fn(&mut Vec<u8>),
) {
    for (field, at, width) in fields {
        for value in extremes(*width) {
            let mut image = image.to_vec();
            put(&mut image, *at, *width, value, big);
            seal(&mut image);
            cases.push(Case::new(format!("{what} {field} {value:#x}"), main, image, Expected::Ends));
        }
    }
}

/// L1 and L2 tables that are each other, themselves, the header, or everything at once.
fn qcow2_tables(cases: &mut Vec<Case>) {
    const COPIED: u64 = 1 << 63;
    const COMPRESSED: u64 = 1 << 62;
    for (what, entry) in [
        ("itself", 3 << 16),
        ("the header", 0x1),
        ("the refcounts", 1 << 16),
        ("the end", 4 << 16),
        ("far behind the end", 0x00ff_ffff_ffff_0000),
        ("between clusters", (2 << 16) + 512),
        ("reserved bits", 0x7f00_0000_0000_01ff),
    ] {
        let mut image = qcow2();
        put_be(&mut image, 3 << 16, 8, entry | COPIED);
        cases.push(Case::new(
            format!("qcow2 L1 entry is {what}"),
            "disk.qcow2",
            image.clone(),
            Expected::Ends,
        ));
        put_be(&mut image, 3 << 16, 8, (4 << 16) | COPIED);
        for kind in [0, COPIED, COMPRESSED] {
            let mut image = image.clone();
            image.resize(5 << 16, 0);
            for slot in 0..16 {
                put_be(&mut image, (4 << 16) + 8 * slot, 8, entry | kind);
            }
            let name = format!("qcow2 all L2 entries are {what}, {kind:#x}");
            cases.push(Case::new(name, "disk.qcow2", image, Expected::Ends));
        }
    }
    let mut backing = qcow2();
    put_be(&mut backing, 8, 8, 512);
    put_be(&mut backing, 16, 4, 10);
    backing[512..522].copy_from_slice(b"disk.qcow2");
    cases.push(Case::new("qcow2 backed by itself", "disk.qcow2", backing, Expected::Refused));
}

/// A dynamic VDI of 4 MiB without data.
fn vdi() -> Vec<u8> {
    let mut image = vec![0; 2048];
    image[..39].copy_from_slice(b"<<< Oracle VM VirtualBox Disk Image >>>");
    for (at, width, value) in [
        (64, 4, 0xbeda_107f_u64),
        (68, 4, 0x0001_0001),
        (72, 4, 400),
        (76, 4, 1),
        (340, 4, 512),
        (344, 4, 1024),
        (360, 4, 512),
        (368, 8, 4 << 20),
        (376, 4, 1 << 20),
        (384, 4, 4),
    ] {
        put_le(&mut image, at, width, value);
    }
    image[512..528].fill(0xff);
    image
}

fn vhd() -> Vec<u8> {
    let mut image = vhd_dynamic(3);
    image.extend(vhd_footer(3, 4 << 20));
    image
}

/// A sparse extent of 1 MiB: descriptor at sector 1, directory at 21, one table at 22.
fn vmdk_sparse() -> Vec<u8> {
    let mut image = vec![0; 128 * 512];
    image[..4].copy_from_slice(b"KDMV");
    for (at, width, value) in [
        (4, 4, 1),
        (8, 4, 3),
        (12, 8, 2048),
        (20, 8, 128),
        (28, 8, 1),
        (36, 8, 20),
        (44, 4, 512),
        (48, 8, 0),
        (56, 8, 21),
        (64, 8, 128),
    ] {
        put_le(&mut image, at, width, value);
    }
    image[73..77].copy_from_slice(b"\n \r\n");
    let descriptor = super::references::vmdk("RW 2048 SPARSE \"disk.vmdk\"", "");
    let descriptor =
        String::from_utf8(descriptor).expect("text").replace("monolithicFlat", "monolithicSparse");
    image[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
    put_le(&mut image, 21 * 512, 4, 22);
    image
}
