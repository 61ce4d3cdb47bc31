//! Physical volumes of LVM2 whose metadata lies: volumes in circles, over each other, behind the end.

use super::bytes::put_le;
use super::volumes::{DISK_BYTES, SECTOR};
use super::{Case, Expected};

/// All of them, as raw disks.
pub(super) fn volumes() -> Vec<Case> {
    let striped = |on: &str| segment("striped", &format!("stripe_count = 1\nstripes = [\n\"{on}\", 0\n]"));
    let snapshot = segment("snapshot", "chunk_size = 8\norigin = \"one\"\ncow_store = \"one\"");
    let mirror = segment("mirror", "mirror_count = 2\nmirrors = [\n\"one\", 0,\n\"one\", 0\n]");
    let many: String = (0..500).map(|number| volume(&format!("l{number}"), &striped("pv0"))).collect();
    let shapes: [(&str, String); 9] = [
        ("as it should be", volume("one", &striped("pv0"))),
        ("a volume on itself", volume("one", &striped("one"))),
        ("two volumes on each other", volume("one", &striped("two")) + &volume("two", &striped("one"))),
        ("a snapshot of itself", volume("one", &snapshot)),
        ("a mirror of mirrors", volume("one", &mirror)),
        ("five hundred over each other", many),
        ("thousands of braces", "a {\n".repeat(5000)),
        ("a text without end", "one { id = \"".to_owned() + &"x".repeat(40_000)),
        ("four billion segments", volume("one", "segment_count = 4294967295\n")),
    ];
    let mut cases = Vec::new();
    for (what, volumes) in shapes {
        for extents in ["8", "0", "18446744073709551615", "-1"] {
            let name = format!("LVM {what}, extents of {extents}");
            let disk = physical_volume(group(extents, &volumes).as_bytes());
            cases.push(Case::new(name, "disk.img", disk, Expected::Ends));
        }
    }
    cases
}

fn segment(kind: &str, more: &str) -> String {
    format!(
        "segment_count = 1\nsegment1 {{\nstart_extent = 0\nextent_count = 8\ntype = \"{kind}\"\n{more}\n}}\n"
    )
}

fn volume(name: &str, segments: &str) -> String {
    format!("{name} {{\nid = \"{name}\"\nstatus = [\"READ\", \"VISIBLE\"]\nflags = []\n{segments}}}\n")
}

fn group(extents: &str, volumes: &str) -> String {
    format!(
        "vg {{\nid = \"vvvvvv-vvvv-vvvv-vvvv-vvvv-vvvv-vvvvvv\"\nseqno = 1\nformat = \"lvm2\"\n\
         status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nextent_size = {extents}\nmax_lv = 0\nmax_pv = 0\n\
         physical_volumes {{\npv0 {{\nid = \"pppppp-pppp-pppp-pppp-pppp-pppp-pppppp\"\ndev_size = 2048\n\
         pe_start = 256\npe_count = {extents}\n}}\n}}\nlogical_volumes {{\n{volumes}}}\n}}\n"
    )
}

/// The label, header and metadata area of a physical volume (LVM2 text format).
fn physical_volume(text: &[u8]) -> Vec<u8> {
    const AREA: usize = 4096;
    let mut disk = vec![0; DISK_BYTES];
    let label = &mut disk[SECTOR..2 * SECTOR];
    label[..8].copy_from_slice(b"LABELONE");
    put_le(label, 8, 8, 1);
    put_le(label, 20, 4, 32);
    label[24..32].copy_from_slice(b"LVM2 001");
    label[32..64].fill(b'p');
    let areas = [(64, DISK_BYTES as u64), (72, 128 << 10), (104, AREA as u64), (112, 124 << 10)];
    for (at, value) in areas {
        put_le(label, at, 8, value);
    }
    let label_sum = sum(&label[20..]);
    put_le(label, 16, 4, u64::from(label_sum));
    let text = &text[..text.len().min(120 << 10)];
    disk[AREA + SECTOR..AREA + SECTOR + text.len()].copy_from_slice(text);
    let header = &mut disk[AREA..AREA + SECTOR];
    header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    put_le(header, 20, 4, 1);
    for (at, value) in [(24, AREA as u64), (32, 124 << 10), (40, SECTOR as u64), (48, text.len() as u64)] {
        put_le(header, at, 8, value);
    }
    put_le(header, 56, 4, u64::from(sum(text)));
    let header_sum = sum(&header[4..]);
    put_le(header, 0, 4, u64::from(header_sum));
    disk
}

/// CRC-32 as LVM2 has it: another beginning, and not inverted.
fn sum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
    bytes.iter().fold(0xf597_a6cf, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
