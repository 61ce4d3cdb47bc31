//! Compression and archives.

use crate::record::{layer, layers, sh, text, trails};
use airlock_model::Reason;
use std::fs;

fn check(command: &str, name: &str) {
    let folder = tempfile::tempdir().expect("folder");
    for size in [1, 100, 300_000] {
        let text = text(size);
        let file = sh(folder.path(), command, &text);
        assert!(layer(&file, name) == text, "{command}: {size}");
    }
}

#[test]
fn compressed_files_are_opened() {
    check("gzip -9", "gzip");
    check("gzip -N < /dev/stdin", "gzip");
    check("bzip2 -1", "bzip2");
    check("xz -T1 -0", "xz");
    check("xz -9", "xz");
    check("xz --format=lzma", "lzma");
    check("zstd -1", "zstd");
    check("zstd --ultra -20", "zstd");
    check("lz4 -1", "lz4");
    check("lz4 -9 -B4 -BD", "lz4");
    check(
        "python3 -c 'import sys, zlib; o = sys.stdout.buffer; o.write(zlib.compress(sys.stdin.buffer.read()))'",
        "zlib",
    );
}

#[test]
fn members_behind_each_other_are_one_stream() {
    let folder = tempfile::tempdir().expect("folder");
    for (tool, name) in [("gzip", "gzip"), ("bzip2", "bzip2"), ("xz", "xz"), ("zstd", "zstd"), ("lz4", "lz4")]
    {
        let command = format!("head -c 1000 > a; {{ cat a | {tool} -c; cat a | {tool} -c; }}");
        let text = text(1000);
        let file = sh(folder.path(), &command, &text);
        assert!(layer(&file, name) == [&*text, &*text].concat(), "{tool}");
    }
}

#[test]
fn layers_nest_and_say_where_they_are() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::create_dir(path.join("srv")).expect("folder");
    fs::write(path.join("srv/one.txt"), text(700)).expect("file");
    fs::write(path.join("srv/two.txt"), text(90_000)).expect("file");
    let file =
        sh(path, "gzip -n srv/one.txt; tar cf - --format=ustar srv/one.txt.gz srv/two.txt | zstd", b"");
    let (layers, reasons) = layers(&file);
    assert_eq!(reasons, []);
    assert_eq!(
        trails(&layers),
        [
            "zstd@0 > tar:srv/one.txt.gz@512 > gzip@0",
            "zstd@0 > tar:srv/one.txt.gz@512",
            &*format!("zstd@0 > tar:srv/two.txt@{}", 512 + 512 * layers[1].bytes.len().div_ceil(512) + 512),
            "zstd@0"
        ]
    );
    assert!(layers[0].bytes == text(700) && layers[2].bytes == text(90_000));
}

#[test]
fn every_form_of_tar_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    fs::create_dir(path.join("d".repeat(90))).expect("folder");
    fs::write(path.join(&long), text(5000)).expect("file");
    for format in ["gnu", "pax", "ustar", "oldgnu"] {
        let file = sh(path, &format!("tar cf - --format={format} {long}"), b"");
        assert!(layer(&file, &format!("tar:{long}")) == text(5000), "{format}");
    }
    fs::write(path.join("s"), text(5000)).expect("file");
    assert!(layer(&sh(path, "tar cf - --format=v7 s", b""), "tar:s") == text(5000));
}

#[test]
fn every_method_of_zip_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("a b.txt"), text(50_000)).expect("file");
    for options in ["-0", "-6", "-Z bzip2", "-fz-", "-fz"] {
        let file = sh(path, &format!("rm -f x.zip; zip -q {options} x.zip 'a b.txt'; cat x.zip"), b"");
        assert!(layer(&file, "zip:a b.txt") == text(50_000), "{options}");
        let behind = [b"#!/bin/sh\n exit 0\n".as_slice(), &file].concat();
        assert!(layer(&behind, "zip:a b.txt") == text(50_000), "behind a program, {options}");
    }
    let streamed = sh(path, "cat 'a b.txt' | zip -q - - | cat", b"");
    assert!(layer(&streamed, "zip:-") == text(50_000));
    let lzma = "import sys,zipfile as z; f=z.ZipFile('l.zip','w',z.ZIP_LZMA); f.write('a b.txt'); f.close()";
    let file = sh(path, &format!("python3 -c \"{lzma}\"; cat l.zip"), b"");
    assert!(layer(&file, "zip:a b.txt") == text(50_000));
}

#[test]
fn a_zip_without_its_directory_is_read_by_its_headers() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("a"), text(50_000)).expect("file");
    fs::write(path.join("b"), text(900)).expect("file");
    let file = sh(path, "zip -q x.zip a b; cat x.zip", b"");
    let end = memchr::memmem::find(&file, b"PK\x01\x02").expect("a directory");
    assert!(layer(&file[..end], "zip:a") == text(50_000));
    assert!(layer(&file[..end], "zip:b") == text(900));
    // The directory knows only one of two members.
    let second = memchr::memmem::rfind(&file, b"PK\x01\x02").expect("two entries");
    let mut hidden = [&file[..end], &file[second..]].concat();
    let length = u32::try_from(file.len() - 22 - second).expect("small");
    let at = hidden.len() - 10;
    hidden[at..at + 4].copy_from_slice(&length.to_le_bytes());
    let (layers, _) = layers(&hidden);
    assert_eq!(layers.len(), 2);
}

#[test]
fn a_zip_that_says_two_things_is_read_in_both_ways() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("a"), text(5000)).expect("file");
    let mut file = sh(path, "zip -q x.zip a; cat x.zip", b"");
    let entry = memchr::memmem::find(&file, b"PK\x01\x02").expect("a directory");
    // In the directory the member is stored.
    file[entry + 10] = 0;
    let (layers, reasons) = layers(&file);
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[0].trail, layers[1].trail);
    assert_ne!(layers[0].bytes, text(5000));
    assert!(layers[1].bytes == text(5000));
    assert_eq!(reasons, []);
}

#[test]
fn packages_of_debian_are_read() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("card.txt"), text(400)).expect("file");
    let command = "tar cJf data.tar.xz ./card.txt; echo 2.0 > debian-binary; ar r x.deb debian-binary \
                   data.tar.xz 2>/dev/null; cat x.deb";
    let file = sh(path, command, b"");
    assert!(layer(&file, "ar:data.tar.xz@132 > xz@0 > tar:./card.txt") == text(400));
}

#[test]
fn what_is_closed_is_said() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("a"), text(5000)).expect("file");
    let file = sh(path, "zip -q -P secret x.zip a; cat x.zip", b"");
    assert_eq!(layers(&file).1, [Reason::Encrypted]);
    assert_eq!(layers(b"7z\xbc\xaf\x27\x1c\0\x04rest").1, [Reason::Unsupported]);
    assert_eq!(layers(b"Rar!\x1a\x07\x01\0rest").1, [Reason::Unsupported]);
}

#[test]
fn a_stream_that_is_cut_is_opened_as_far_as_it_goes() {
    let folder = tempfile::tempdir().expect("folder");
    for (tool, name) in
        [("gzip", "gzip"), ("bzip2 -1", "bzip2"), ("xz", "xz"), ("zstd", "zstd"), ("lz4 -B4", "lz4")]
    {
        let text = text(3_000_000);
        let file = sh(folder.path(), &format!("{tool} -c"), &text);
        let (layers, reasons) = layers(&file[..file.len() * 3 / 4]);
        assert_eq!(reasons, [Reason::Unsupported], "{tool}");
        assert!(layers[0].trail.starts_with(name));
        assert!(layers[0].bytes.len() > text.len() / 3, "{tool}: {}", layers[0].bytes.len());
        assert!(text.starts_with(&layers[0].bytes), "{tool}");
    }
}

#[test]
fn runs_of_base64_and_digits_are_found_in_text() {
    let folder = tempfile::tempdir().expect("folder");
    let secret = text(3000);
    let lines = sh(folder.path(), "base64", &secret);
    let one_line = sh(folder.path(), "base64 -w0", &secret);
    let digits = sh(folder.path(), "od -An -v -tx1 | tr -d ' \\n'", &secret);
    for (run, name) in [(lines, "base64"), (one_line, "base64"), (digits, "hex")] {
        for before in [0, 1, 77, 5000, 32_700, 65_500] {
            let file = [&text(before), b"\n\n".as_slice(), &run, b" \n\n--, and so on. "].concat();
            let (layers, reasons) = layers(&file);
            assert_eq!(reasons, [], "{name}");
            assert_eq!(trails(&layers), [&*format!("{name}@{}", before + 2)]);
            assert!(layers[0].bytes == secret, "{name} at {before}");
        }
    }
}

#[test]
fn archives_of_cpio_are_opened() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("one.txt"), text(701)).expect("file");
    fs::write(path.join("two.txt"), text(90_000)).expect("file");
    for format in ["bin", "odc", "newc", "crc"] {
        let command = format!("printf 'one.txt\\ntwo.txt\\n' | cpio --quiet -o -H {format}");
        let file = sh(path, &command, b"");
        assert!(layer(&file, "cpio:one.txt") == text(701), "{format}");
        assert!(layer(&file, "cpio:two.txt") == text(90_000), "{format}");
    }
    // An image for an early boot: two archives, the second one compressed.
    let command = "echo one.txt | cpio --quiet -o -H newc; echo two.txt | cpio --quiet -o -H newc | gzip -n";
    let file = sh(path, command, b"");
    assert!(layer(&file, "cpio:rest@1024 > gzip@0 > cpio:two.txt") == text(90_000));
}

#[test]
fn cabinets_are_opened() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("one.txt"), text(701)).expect("file");
    fs::write(path.join("two.txt"), text(190_000)).expect("file");
    for options in ["", "-z"] {
        let command = format!("gcab -c {options} out.cab one.txt two.txt 2> log; cat out.cab; rm out.cab");
        let file = sh(path, &command, b"");
        assert!(layer(&file, "cab:one.txt") == text(701), "{options}");
        assert!(layer(&file, "cab:two.txt") == text(190_000), "{options}");
        let (_, reasons) = layers(&file[..file.len() / 2]);
        assert_eq!(reasons, [Reason::Unsupported], "a cut cabinet");
    }
}

#[test]
fn compound_files_are_opened() {
    use std::io::Write;
    for version in [cfb::Version::V3, cfb::Version::V4] {
        let mut file = cfb::CompoundFile::create_with_version(version, std::io::Cursor::new(Vec::new()))
            .expect("a compound file");
        file.create_storage("/Storage").expect("a storage");
        let (mut small, mut large) = (
            file.create_stream("/small").expect("a stream"),
            file.create_stream("/Storage/large").expect("another"),
        );
        // Turn by turn, so that the sectors of both lie between each other.
        for (small_part, large_part) in text(3000).chunks(100).zip(text(300_000).chunks(10_000)) {
            small.write_all(small_part).expect("write");
            large.write_all(large_part).expect("write");
        }
        drop((small, large));
        let mut package = file.create_stream("/\u{1}Ole10Native").expect("a package");
        let head =
            [0_u32.to_le_bytes().as_slice(), b"\x02\0a.txt\0c:\\a.txt\0\0\0\x03\0\x05\0\0\0a.tx\0"].concat();
        package.write_all(&head).expect("write");
        package.write_all(&9000_u32.to_le_bytes()).expect("write");
        package.write_all(&text(9000)).expect("write");
        drop(package);
        let bytes = file.into_inner().into_inner();
        assert!(layer(&bytes, "ole:small") == text(3000));
        assert!(layer(&bytes, "ole:large") == text(300_000));
        assert!(layer(&bytes, "package:a.txt") == text(9000));
        for cut in [100, 600, bytes.len() / 2] {
            let (_, reasons) = layers(&bytes[..cut]);
            assert_eq!(reasons, [Reason::Unsupported], "cut at {cut}");
        }
    }
}
