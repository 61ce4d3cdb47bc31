//! Names that command a terminal, climb out of a folder, or are no text.

use super::archives::{Member, cards, zip};
use super::{Case, Expected};

/// Names, each with something in it.
pub const HOSTILE_NAMES: [&[u8]; 18] = [
    b"\x1b[2J\x1b[H\x1b[31mcleared.txt",
    b"\x1b]0;title\x07.txt",
    b"\x1b]8;;http://127.0.0.1/\x1b\\link\x1b]8;;\x1b\\",
    b"\x9b31mone byte for two",
    b"\xc2\x9b31mthe same in UTF-8",
    b"two\nlines",
    b"back\x08\x08\x08space",
    b"carriage\rreturn",
    b"tab\tand\x0bmore",
    b"del\x7fete",
    b"\xe2\x80\xaegnp.exe",
    b"\xff\xfe\x80no text",
    b"../../../../etc/cron.d/x",
    b"/etc/passwd",
    b"a/../../b",
    b"..\\..\\windows\\system32\\x",
    b"CON",
    b"{\"code\":0}\",\"x\":\"",
];

/// Each name, with card numbers behind it so that it is shown, in ZIP, tar and cpio archives.
pub fn names() -> Vec<Case> {
    let text = cards(3);
    let mut cases = Vec::new();
    for (number, name) in HOSTILE_NAMES.iter().enumerate() {
        let shown = String::from_utf8_lossy(name).escape_debug().to_string();
        let mut push = |what: &str, main: &str, bytes: Vec<u8>| {
            cases.push(Case::new(format!("{what} name {number} {shown}"), main, bytes, Expected::NotClean));
        };
        push("zip", "a.zip", zip(&[Member::stored(name, &text)]));
        let mut tar = tar_member(name, &text);
        tar.resize(tar.len() + 1024, 0);
        push("tar", "a.tar", tar);
        push("cpio", "a.cpio", cpio(name, &text));
    }
    let long = b"long/".repeat(4000);
    cases.push(Case::new(
        "zip name of 20,000 bytes",
        "a.zip",
        zip(&[Member::stored(&long, &text)]),
        Expected::NotClean,
    ));
    cases
}

/// A member of a tar archive (POSIX ustar), without the end of the archive.
pub(super) fn tar_member(name: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend_from_slice(bytes);
    let whole = header.len().next_multiple_of(512);
    header.resize(whole, 0);
    header
}

/// An archive of one member, in the "newc" form of cpio.
fn cpio(name: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes, mode) in [(name, bytes, 0o10_0644), (&b"TRAILER!!!"[..], &b""[..], 0)] {
        let fields = [1, mode, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
        out.extend_from_slice(b"070701");
        for field in fields {
            out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        out.extend_from_slice(name);
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
