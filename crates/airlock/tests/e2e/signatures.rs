//! Signatures of malicious files, with `clamscan` as the judge.

use crate::support::{Bench, text_of};
use airlock_testkit::{Rng, Tool};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Signatures of patterns, and for each an object with it and one without.
const PATTERNS: [(&str, &str, &[u8], &[u8]); 7] = [
    ("Test.Wild:0:*", "4d61726b??57696c64", b"..Mark-Wild..", b"..Mark--Wild.."),
    ("Test.Half:0:*", "4d61726b4?68616c66", b"MarkAhalf..", b"Markahalf.."),
    ("Test.Star:0:*", "5374617254*656e64206f66", b"StarT.....end of", b"end of..StarT"),
    ("Test.Gap:0:*", "4265676947{2-4}61706170", b"BegiG123apap..", b"BegiG1apap...."),
    ("Test.Choice:0:*", "63686f69(41|4242)63656365", b"choiBBcece....", b"choiCcece....."),
    ("Test.At:0:4", "617420666f7572", b"....at four...", b"...at four...."),
    ("Test.End:0:EOF-9", "6174206e696e65", b"......at nine..", b"......at nine."),
];

/// Writes an object as it is, in an archive of each kind, and in an archive in an archive.
fn pack(folder: &Path, name: &str, object: &[u8]) {
    fs::write(folder.join(name), object).expect("write");
    let tool = |tool: &str, args: &[&str]| {
        Tool::new(tool).expect("tool").args(args).folder(folder).run_bytes().expect("packs")
    };
    tool("zip", &["-q", &format!("{name}.zip"), name]);
    tool("zip", &["-q", &format!("{name}.nested.zip"), &format!("{name}.zip")]);
    tool("tar", &["-cf", &format!("{name}.tar"), name]);
    let packed = tool("gzip", &["-c", &format!("{name}.tar")]);
    fs::write(folder.join(format!("{name}.tar.gz")), packed).expect("write");
}

/// What `clamscan` says of a folder: names of files and of signatures.
fn judged(folder: &Path, bases: &[std::path::PathBuf]) -> BTreeSet<(String, String)> {
    let mut clamscan = Tool::new("clamscan").expect("clamscan");
    for base in bases {
        clamscan = clamscan.arg("-d").arg(base);
    }
    let out = clamscan.args(["-r", "-i", "-z", "--no-summary"]).arg(folder).accept(1).run().expect("judges");
    let lines = out.lines().filter_map(|line| line.strip_suffix(" FOUND")?.rsplit_once(": "));
    lines
        .map(|(path, name)| {
            let file = Path::new(path).file_name().expect("a name").to_string_lossy().into_owned();
            (file, name.trim_end_matches(".UNOFFICIAL").to_owned())
        })
        .collect()
}

#[test]
fn signatures_find_what_clamscan_finds() {
    let bench = Bench::new();
    let folder = bench.path("samples");
    fs::create_dir(&folder).expect("folder");
    let mut lines = String::new();
    for (number, (head, pattern, with, without)) in PATTERNS.iter().enumerate() {
        lines.push_str(&format!("{head}:{pattern}\n"));
        pack(&folder, &format!("with{number}"), with);
        pack(&folder, &format!("without{number}"), without);
    }
    let mut noise = vec![0; 3000];
    Rng::new(7).fill(&mut noise);
    pack(&folder, "noise", &noise);
    let bases = ["own.ndb", "own.hdb"].map(|name| bench.path(name));
    fs::write(&bases[0], lines).expect("write");
    let sum = Tool::new("md5sum").expect("md5sum").arg(folder.join("noise")).run().expect("sum");
    fs::write(&bases[1], format!("{}:3000:Test.Noise\n", &sum[..32])).expect("write");

    let expected = judged(&folder, &bases);
    assert!(expected.len() >= 5 * PATTERNS.len(), "{expected:?}");
    let mut run = bench.airlock("scan").arg(&folder);
    for base in &bases {
        run = run.arg("--signatures").arg(base);
    }
    let json = run.expect(3).json();
    let findings = json["findings"].as_array().expect("findings").iter();
    let found: BTreeSet<(String, String)> = findings
        .map(|finding| {
            let (_, name) = text_of(&finding["detector"]).split_once(':').expect("a kind");
            (text_of(&finding["path"]).trim_start_matches('/').to_owned(), name.to_owned())
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn signatures_that_are_not_understood_are_refused() {
    let bench = Bench::new();
    let base = bench.path("own.ndb");
    fs::write(&base, "Test.A:0:*:61626364\nTest.B:0:*:61626364(B)\n").expect("write");
    let refused = bench.airlock("scan").arg(&base).arg("--signatures").arg(&base).end();
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("line 2"), "{}", refused.err);
}
