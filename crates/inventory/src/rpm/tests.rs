use super::*;
use proptest::prelude::*;
use std::path::Path;
use std::process::{Command, Stdio};

/// The description of a package for `rpmbuild`, with a file list that makes its header long.
fn recipe(name: &str, epoch: &str, version: &str, files: usize) -> String {
    let list: Vec<_> = (0..files).map(|number| format!("/opt/{name}/folder/file-{number}")).collect();
    let list = list.join("\n");
    format!(
        "Name: {name}\n{epoch}Version: {version}\nRelease: 3.el9\nSummary: A test\nLicense: MIT and BSD\n\
         BuildArch: noarch\n%description\nA test.\n%package libs\nSummary: Part\n%description libs\nPart.\n\
         %install\nmkdir -p %{{buildroot}}/opt/{name}/folder\n\
         for n in $(seq 0 {last}); do echo $n > %{{buildroot}}/opt/{name}/folder/file-$n; done\n%files\n{list}\n\
         %files libs\n",
        last = files - 1,
    )
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds packages and installs them. Returns the database, and its headers as rpm itself tells them.
fn installed(folder: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let top = folder.join("build");
    let root = folder.join("root");
    let define = |what: &str| ["--define".to_owned(), what.to_owned()];
    std::fs::create_dir_all(&top).unwrap();
    for (name, epoch, version, files) in
        [("acme-tool", "Epoch: 2\n", "1.4.0", 400), ("zeta", "", "0.9~rc1", 1)]
    {
        let path = top.join(format!("{name}.spec"));
        std::fs::write(&path, recipe(name, epoch, version, files)).unwrap();
        run(Command::new("rpmbuild")
            .args(define(&format!("_topdir {}", top.display())))
            .arg("-bb")
            .arg(&path));
    }
    std::fs::create_dir_all(&root).unwrap();
    let packages = std::fs::read_dir(top.join("RPMS/noarch")).unwrap().map(|entry| entry.unwrap().path());
    run(Command::new("rpm")
        .args(["--root", root.to_str().unwrap()])
        .args(define("_dbpath /db"))
        .args(["-i", "--nodeps", "--justdb", "--noscripts"])
        .args(packages));
    let mut export = Command::new("rpmdb");
    export.args(["--root", root.to_str().unwrap()]).args(define("_dbpath /db")).arg("--exportdb");
    let export = export.output().unwrap().stdout;
    let mut headers = Vec::new();
    let mut rest = export.as_slice();
    while let Some(body) = rest.strip_prefix(b"\x8e\xad\xe8\x01\0\0\0\0") {
        let number = |at: usize| u32::from_be_bytes(*body[at..].first_chunk().unwrap()) as usize;
        let (header, behind) = body.split_at(8 + number(0) * 16 + number(4));
        headers.push(header.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty() && headers.len() == 4);
    (std::fs::read(root.join("db/rpmdb.sqlite")).unwrap(), headers)
}

/// Makes a database of rpm's own form, which rpm of Debian was not built with.
fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let numbers = |list: &[usize]| {
        list.iter().flat_map(|one| u32::try_from(*one).unwrap().to_le_bytes()).collect::<Vec<_>>()
    };
    let mut slots = [b"RpmP".to_vec(), numbers(&[0, 1, 1, headers.len() + 1, 0, 0, 0])].concat();
    let mut blobs = Vec::new();
    for (number, header) in (1..).zip(headers) {
        let (head, tail) = (numbers(&[number, 1, header.len()]), numbers(&[0, header.len()]));
        let mut blob = [b"BlbS", head.as_slice(), header, &tail, b"BlbE"].concat();
        blob.resize(blob.len().next_multiple_of(16), 0);
        slots.extend(b"Slot");
        slots.extend(numbers(&[number, (4096 + blobs.len()) / 16, blob.len() / 16]));
        blobs.extend(blob);
    }
    while slots.len() < 4096 {
        slots.extend([b"Slot".as_slice(), &[0; 12]].concat());
    }
    slots.extend(blobs);
    slots
}

/// Makes a table of Berkeley DB with these rows: today's rpm does not write it any more.
fn berkeley(folder: &Path, headers: &[Vec<u8>], order: &str) -> Vec<u8> {
    use std::io::Write;
    let path = folder.join(format!("Packages.{order}"));
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let mut dump =
        format!("VERSION=3\nformat=bytevalue\ntype=hash\ndb_lorder={order}\ndb_pagesize=4096\nHEADER=END\n");
    dump.push_str(" 00000000\n 03000000\n");
    for (number, header) in (1_u32..).zip(headers) {
        dump.push_str(&format!(" {}\n {}\n", hex(&number.to_le_bytes()), hex(header)));
    }
    dump.push_str("DATA=END\n");
    let mut load = Command::new("db5.3_load").arg(&path).stdin(Stdio::piped()).spawn().unwrap();
    load.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    assert!(load.wait().unwrap().success());
    std::fs::read(path).unwrap()
}

/// Returns what is found, as texts.
fn listed(bytes: &[u8]) -> (Vec<String>, u64) {
    let mut bytes = bytes;
    let found = database(b"", &mut bytes).unwrap();
    let text = |(_, one): &(u64, crate::Package)| {
        let source = one.source.as_deref().unwrap_or("-");
        let licence = one.licence.as_deref().unwrap_or("-");
        format!("{} {} {source} {licence}", one.name, one.version)
    };
    let mut list: Vec<String> = found.packages.iter().map(text).collect();
    list.sort();
    (list, found.left_out)
}

#[test]
fn databases_of_every_form_list_what_rpm_installed() {
    let folder = tempfile::tempdir().unwrap();
    let expected: Vec<String> = [
        "acme-tool 2:1.4.0-3.el9 acme-tool MIT and BSD",
        "acme-tool-libs 2:1.4.0-3.el9 acme-tool MIT and BSD",
        "zeta 0.9~rc1-3.el9 zeta MIT and BSD",
        "zeta-libs 0.9~rc1-3.el9 zeta MIT and BSD",
    ]
    .map(str::to_owned)
    .into();
    let (sqlite, rows) = installed(folder.path());
    assert_eq!(listed(&sqlite), (expected.clone(), 0), "sqlite");
    let ndb = ndb(&rows);
    assert_eq!(listed(&ndb), (expected.clone(), 0), "ndb");
    assert!(rows.iter().any(|row| row.len() > 8192), "one header is longer than a page");
    for order in ["1234", "4321"] {
        let table = berkeley(folder.path(), &rows, order);
        assert_eq!(listed(&table), (expected.clone(), 0), "bdb {order}");
        no_damage_panics(&table);
    }
    no_damage_panics(&sqlite);
    no_damage_panics(&ndb);
}

/// Cuts a database and changes its bytes: whatever is found, what cannot be read is counted.
fn no_damage_panics(bytes: &[u8]) {
    for length in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
        let _ = database(b"", &mut &bytes[..length]);
    }
    let whole = listed(bytes).0.len();
    for at in (0..bytes.len()).step_by(bytes.len() / 997 + 1) {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0xff;
        let (list, _) = listed(&damaged);
        assert!(list.len() <= whole, "byte {at}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, form in 0_usize..3) {
        let magic: &[u8] = [b"SQLite format 3\0".as_slice(), b"RpmP", &[0; 12]][form];
        let bytes = [magic, &[0x61, 0x15, 6, 0], &bytes].concat();
        let _ = database(b"", &mut bytes.as_slice());
        let _ = header::package(&bytes);
    }
}
