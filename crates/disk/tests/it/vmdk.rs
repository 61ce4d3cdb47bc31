use crate::fixture::{allowing, check_reads, data_bytes, disk_bytes, run, text, write_sparse};
use crate::mutate::check_mutants;
use airlock_disk::{Error, Format, OpenOptions, Opened, Probe, SpanKind, open, probe};
use std::path::Path;

/// What `qemu-img` writes.
const SUBFORMATS: [&str; 5] =
    ["monolithicSparse", "streamOptimized", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"];

fn convert(raw: &Path, image: &Path, options: &str) {
    run("qemu-img", &["convert", "-f", "raw", "-O", "vmdk", "-o", options, text(raw), text(image)]);
}

fn opened(image: &Path) -> Opened {
    open(image, &allowing(image.parent().expect("directory"))).expect("open")
}

/// Returns what QEMU reads of an image.
fn by_qemu(image: &Path) -> Vec<u8> {
    let raw = image.with_extension("by-qemu");
    run("qemu-img", &["convert", "-f", "vmdk", "-O", "raw", text(image), text(&raw)]);
    std::fs::read(raw).expect("read")
}

fn check_refused(image: &Path, expected: &str) {
    let error = open(image, &allowing(image.parent().expect("directory"))).expect_err(expected);
    assert!(error.to_string().contains(expected), "{error} and not {expected}");
}

#[test]
fn every_subformat_is_read() {
    for size in [(24 << 20) + 1536, 65_536, 512] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let raw = directory.path().join("disk.raw");
        let disk = disk_bytes(size);
        write_sparse(&raw, &disk);
        for subformat in SUBFORMATS {
            let image = directory.path().join(format!("{subformat}.vmdk"));
            convert(&raw, &image, &format!("subformat={subformat}"));
            assert_eq!(probe(&image).expect("probe"), Probe::Image(Format::Vmdk), "{subformat}");
            let opened = opened(&image);
            assert!(opened.probed);
            assert_eq!(opened.source.format(), Format::Vmdk);
            check_reads(&*opened.source, &disk);
            let alone = ["monolithicSparse", "streamOptimized"].contains(&subformat);
            assert_eq!(opened.files.len(), if alone { 1 } else { 2 });
            let closed = open(&image, &OpenOptions::default());
            assert!(alone == closed.is_ok(), "{subformat}: {closed:?}");
        }
        let zeroed = directory.path().join("zeroed.vmdk");
        convert(&raw, &zeroed, "zeroed_grain=on");
        check_reads(&*opened(&zeroed).source, &disk);
    }
}

#[test]
fn zeroed_grains_and_scattered_writes_are_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.vmdk");
    run("qemu-img", &["create", "-q", "-f", "vmdk", "-o", "zeroed_grain=on", text(&image), "100M"]);
    let writes = ["write -P 1 0 8M", "write -z 1M 1M", "write -P 2 99M 1M", "write -P 3 50M 512"];
    for write in writes {
        run("qemu-io", &["-f", "vmdk", "-c", write, text(&image)]);
    }
    let opened = opened(&image);
    check_reads(&*opened.source, &by_qemu(&image));
    assert_eq!(opened.source.span_at(1 << 20).expect("span").kind, SpanKind::Zero);
}

#[test]
fn a_huge_sparse_disk_costs_nothing() {
    for subformat in ["monolithicSparse", "streamOptimized", "monolithicFlat", "twoGbMaxExtentSparse"] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let image = directory.path().join("disk.vmdk");
        let options = format!("subformat={subformat}");
        // QEMU writes sparse extents of at most 2 TiB.
        let size: u64 = if subformat == "monolithicFlat" { 4 << 40 } else { 2 << 40 };
        let size = if subformat == "twoGbMaxExtentSparse" { size / 16 } else { size };
        let size_text = size.to_string();
        run("qemu-img", &["create", "-q", "-f", "vmdk", "-o", &options, text(&image), &size_text]);
        let opened = opened(&image);
        assert_eq!(opened.source.size(), size);
        // The file of a flat extent may have a block of its own.
        assert!(data_bytes(&*opened.source) <= 64 << 10);
        let mut end = [1; 4096];
        opened.source.read_at(size - 4096, &mut end).expect("read");
        assert_eq!(end, [0; 4096]);
    }
}

#[test]
fn a_delta_needs_the_parent_it_was_made_from() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    let disk = disk_bytes(4 << 20);
    write_sparse(&path("disk.raw"), &disk);
    convert(&path("disk.raw"), &path("base.vmdk"), "subformat=monolithicSparse");
    let mut below = "base.vmdk";
    for name in ["mid.vmdk", "top.vmdk"] {
        run("qemu-img", &["create", "-q", "-f", "vmdk", "-b", below, "-F", "vmdk", text(&path(name))]);
        run(
            "qemu-io",
            &["-f", "vmdk", "-c", "write -P 9 1M 100k", "-c", "write -P 7 3M 64k", text(&path(name))],
        );
        below = name;
    }
    let top = opened(&path("top.vmdk"));
    assert_eq!(top.files.len(), 3);
    check_reads(&*top.source, &by_qemu(&path("top.vmdk")));
    let closed = open(&path("top.vmdk"), &OpenOptions::default());
    assert!(matches!(closed, Err(Error::Reference { what: "parent", .. })), "{closed:?}");
    // The parent changed: its CID is another one.
    let mut bytes = std::fs::read(path("base.vmdk")).expect("read");
    let at = bytes.windows(5).position(|word| word == b"\nCID=").expect("CID") + 5;
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    std::fs::write(path("base.vmdk"), bytes).expect("write");
    check_refused(&path("top.vmdk"), "is not the one it was made from");
    std::fs::remove_file(path("base.vmdk")).expect("remove");
    check_refused(&path("top.vmdk"), "open a file");
    std::fs::copy(path("mid.vmdk"), path("base.vmdk")).expect("copy");
    check_refused(&path("top.vmdk"), "is not the one it was made from");
}

/// Appends words of 32 bits.
fn words32(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words64(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Returns a COWD extent that has the grains of `disk` for which `has` is true.
fn cowd(disk: &[u8], grain_sectors: u32, has: &dyn Fn(usize) -> bool) -> Vec<u8> {
    let grain = grain_sectors as usize * 512;
    let grains = disk.len().div_ceil(grain);
    let tables = grains.div_ceil(4096);
    let directory_sectors = (tables * 4).div_ceil(512);
    let mut next = 4 + directory_sectors;
    let mut directory = vec![0_u32; directory_sectors * 128];
    let mut body = Vec::new();
    for (table, place) in directory.iter_mut().enumerate().take(tables) {
        let inside = table * 4096..grains.min((table + 1) * 4096);
        if !inside.clone().any(has) {
            continue;
        }
        *place = next as u32;
        let mut entries = vec![0_u32; 4096];
        let mut data = Vec::new();
        for (index, number) in inside.enumerate() {
            if has(number) {
                entries[index] = (next + 32 + data.len() / 512) as u32;
                data.extend(&disk[number * grain..disk.len().min((number + 1) * grain)]);
                data.resize(data.len().next_multiple_of(512), 0);
            }
        }
        next += 32 + data.len() / 512;
        body.extend(words32(&entries));
        body.extend(data);
    }
    let sectors = (disk.len() / 512) as u32;
    let mut bytes = b"COWD".to_vec();
    bytes.extend(words32(&[1, 3, sectors, grain_sectors, 4, tables as u32, next as u32, 1, 1, 1]));
    bytes.resize(2048, 0);
    bytes.extend(words32(&directory));
    bytes.extend(body);
    bytes
}

/// Returns a space-efficient extent: 1 of 5 grains that `has` has not is a zero grain or unmapped.
fn sesparse(disk: &[u8], has: &dyn Fn(usize) -> bool, zero: &dyn Fn(usize) -> bool) -> Vec<u8> {
    let grains = disk.len().div_ceil(4096);
    let tables = grains.div_ceil(4096);
    let directory_sectors = (tables * 8).div_ceil(512);
    let (directory_at, tables_at) = (8, 8 + directory_sectors);
    let grains_at = (tables_at + tables * 64).next_multiple_of(8);
    let mut directory = vec![0_u64; directory_sectors * 64];
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (table, place) in directory.iter_mut().enumerate().take(tables) {
        *place = 0x1000_0000_0000_0000 | table as u64;
        for number in table * 4096..(table + 1) * 4096 {
            entries.push(if number < grains && has(number) {
                let at = (data.len() / 4096) as u64;
                data.extend(&disk[number * 4096..disk.len().min((number + 1) * 4096)]);
                data.resize(data.len().next_multiple_of(4096), 0);
                0x3000_0000_0000_0000 | ((at & 0xfff) << 48) | (at >> 12)
            } else if number < grains && zero(number) {
                if number % 2 == 0 { 0x1000_0000_0000_0000 } else { 0x2000_0000_0000_0000 }
            } else {
                0
            });
        }
    }
    let size = |sectors: usize| sectors as u64;
    let mut bytes = words64(&[0xcafe_babe, 0x2_0000_0001, (disk.len() / 512) as u64, 8, 64, 0, 0, 0, 0, 0]);
    bytes.extend(words64(&[1, 1, 2, 1, 3, 1, size(directory_at), size(directory_sectors)]));
    bytes.extend(words64(&[size(tables_at), size(tables * 64), 4, 1, 5, 1]));
    bytes.extend(words64(&[size(grains_at), (data.len() / 512) as u64]));
    bytes.resize(512, 0);
    bytes.extend(words64(&[0xcafe_cafe, 0, 0, 0]));
    bytes.resize(directory_at * 512, 0);
    bytes.extend(words64(&directory));
    bytes.extend(words64(&entries));
    bytes.resize(grains_at * 512, 0);
    bytes.extend(data);
    bytes
}

fn descriptor(create_type: &str, cids: (&str, &str), hint: &str, extents: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!("parentFileNameHint=\"{hint}\"\n") };
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={}\nparentCID={}\ncreateType=\"{create_type}\"\n{hint}\n\
         # Extent description\n{extents}\n\n# The Disk Data Base\n#DDB\nddb.adapterType = \"lsilogic\"\n",
        cids.0, cids.1
    )
}

/// Grains that differ between the layers of a chain; about one of three.
fn some(number: usize) -> bool {
    (number / 3) % 3 == 1
}

#[test]
fn an_esx_chain_of_flat_redo_log_and_sesparse_is_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    let size = (24 << 20) + 4096;
    let sectors = size / 512;
    let base = disk_bytes(size);
    write_sparse(&path("vm-flat.vmdk"), &base);
    let text =
        descriptor("vmfs", ("aaaa0001", "ffffffff"), "", &format!("RW {sectors} VMFS \"vm-flat.vmdk\""));
    std::fs::write(path("vm.vmdk"), text).expect("write");
    check_reads(&*opened(&path("vm.vmdk")).source, &base);
    assert!(data_bytes(&*opened(&path("vm.vmdk")).source) < size as u64);

    for grain in [1_u32, 8] {
        let delta = cowd(&vec![0xd1; size], grain, &some);
        std::fs::write(path("vm-000001-delta.vmdk"), delta).expect("write");
        let extent = format!("RW {sectors} VMFSSPARSE \"vm-000001-delta.vmdk\"");
        let text = descriptor("vmfsSparse", ("bbbb0002", "aaaa0001"), "vm.vmdk", &extent);
        std::fs::write(path("vm-000001.vmdk"), text).expect("write");
        let disk = by_qemu(&path("vm-000001.vmdk"));
        assert!(disk != base);
        check_reads(&*opened(&path("vm-000001.vmdk")).source, &disk);
    }

    let newest = sesparse(&vec![0xe2; size], &|number| number % 7 == 2, &|number| number % 5 == 1);
    std::fs::write(path("vm-000002-sesparse.vmdk"), newest).expect("write");
    let extent = format!("RW {sectors} SESPARSE \"vm-000002-sesparse.vmdk\"");
    // A name from the host where it was made: the file beside the image is taken, if its CID is right.
    let hint = "/vmfs/volumes/4d2f/vm/vm-000001.vmdk";
    let text = descriptor("seSparse", ("cccc0003", "bbbb0002"), "vm-000001.vmdk", &extent);
    std::fs::write(path("vm-000002.vmdk"), text).expect("write");
    let disk = by_qemu(&path("vm-000002.vmdk"));
    check_reads(&*opened(&path("vm-000002.vmdk")).source, &disk);
    let text = descriptor("seSparse", ("cccc0003", "bbbb0002"), hint, &extent);
    std::fs::write(path("vm-000002.vmdk"), text).expect("write");
    check_reads(&*opened(&path("vm-000002.vmdk")).source, &disk);
    assert_eq!(opened(&path("vm-000002.vmdk")).files.len(), 6);

    for delta in ["vm-000001-delta.vmdk", "vm-000002-sesparse.vmdk"] {
        check_refused(&path(delta), "without its descriptor");
    }
    for (image, damaged) in [
        ("vm-000001.vmdk", "vm-000001-delta.vmdk"),
        ("vm-000002.vmdk", "vm-000002-sesparse.vmdk"),
        ("vm-000002.vmdk", "vm-000002.vmdk"),
    ] {
        let hot = [0..512, 2048..4096 + 8192, 4096..40_000];
        // Only a small disk is quick to write again and again.
        shorten(&path(damaged));
        check_mutants(&path(image), &path(damaged), &hot, 0..0);
    }
}

/// Cuts off most data of an extent.
fn shorten(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).expect("open");
    let length = file.metadata().expect("metadata").len();
    file.set_len(length.min(1 << 20)).expect("truncate");
}

#[test]
fn extents_that_lead_elsewhere_or_do_not_fit_are_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let allowed = directory.path().join("allowed");
    std::fs::create_dir(&allowed).expect("directory");
    std::fs::write(directory.path().join("secret"), [7; 4096]).expect("write");
    std::fs::write(allowed.join("short"), [7; 2048]).expect("write");
    std::os::unix::fs::symlink("../secret", allowed.join("link")).expect("link");
    let image = allowed.join("disk.vmdk");
    let check = |extent: &str, expected: &str| {
        std::fs::write(&image, descriptor("custom", ("1", "ffffffff"), "", extent)).expect("write");
        check_refused(&image, expected);
    };
    check("RW 8 FLAT \"../secret\" 0", "not allowed");
    check("RW 8 FLAT \"link\" 0", "not allowed");
    check("RW 8 FLAT \"/etc/passwd\" 0", "not allowed");
    check("RW 8 FLAT \"short\" 0", "shorter");
    check("RW 4 FLAT \"short\" 1", "shorter");
    check("RW 4 FLAT \"short\" 18446744073709551615", "shorter");
    check("RW 4 SPARSE \"short\"", "no header");
    check("RW 18446744073709551615 ZERO", "too large");
    check("RW 18014398509481984 ZERO", "impossibly large");
    check("RW 8 FLAT \"nothing\" 0", "open a file");
    std::fs::write(&image, descriptor("custom", ("1", "ffffffff"), "", "RW 4 FLAT \"short\" 0\nRW 9 ZERO"))
        .expect("write");
    check_reads(&*opened(&image).source, &[vec![7; 2048], vec![0; 9 * 512]].concat());
    // QEMU writes no disk of no sectors.
    std::fs::write(&image, descriptor("custom", ("1", "ffffffff"), "", "RW 0 FLAT \"short\" 0"))
        .expect("write");
    check_reads(&*opened(&image).source, &[]);
}

#[test]
fn damaged_images_are_refused_or_read() {
    for subformat in SUBFORMATS {
        let directory = tempfile::tempdir().expect("temporary directory");
        let raw = directory.path().join("disk.raw");
        let image = directory.path().join("disk.vmdk");
        write_sparse(&raw, &disk_bytes(1 << 20));
        convert(&raw, &image, &format!("subformat={subformat}"));
        let length = std::fs::metadata(&image).expect("metadata").len() as usize;
        let hot = [0..80, 0..80, 512..1024, 0..70_000, length.saturating_sub(4096)..length];
        check_mutants(&image, &image, &hot, 0..4);
        let extent = directory.path().join("disk-s001.vmdk");
        if extent.exists() {
            check_mutants(&image, &extent, &[0..80, 512..8192], 0..4);
        }
    }
}
