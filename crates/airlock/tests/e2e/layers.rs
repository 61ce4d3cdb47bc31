//! Values inside of archives, documents and databases.

use crate::support::{Bench, text_of};
use airlock_testkit::Tool;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Made-up card numbers that pass their check digit.
const CARDS: [&str; 4] =
    ["4539 1488 0343 6467", "4556 7375 8689 9855", "4916 3385 0608 2832", "4024 0071 0902 2144"];

/// A file system whose files hold values in layers.
fn image(bench: &Bench) -> PathBuf {
    let tree = bench.path("tree");
    fs::create_dir(&tree).expect("folder");
    let script = format!(
        "cd '{}'; printf 'id,card\\n1,{}\\n' > a.csv; tar -cf - --format=ustar a.csv | gzip -n > pay.tar.gz; \
         printf 'card {}\\n' > b.txt; zip -q b.zip b.txt; bzip2 b.txt; xz -c b.zip > b.zip.xz; \
         {{ printf 'card {}\\n'; seq 100; }} | gzip -n | base64 > c.txt; rm a.csv; echo clean > clean.txt; \
         python3 -c \"import sqlite3; c = sqlite3.connect('d.db'); \
         c.execute('create table t(a text, card text, b text)'); \
         c.execute('insert into t values(?,?,?)', ('Roe', '{}', 'x@example.org')); c.commit()\"",
        tree.display(),
        CARDS[0],
        CARDS[1],
        CARDS[2],
        CARDS[3].replace(' ', ""),
    );
    Tool::new("sh").expect("sh").args(["-euc", &script]).run().expect("the script runs");
    let image = bench.path("layers.raw");
    let mke2fs = Tool::new("mke2fs").expect("mke2fs");
    let (tree, path) = (tree.display().to_string(), image.display().to_string());
    mke2fs.args(["-q", "-F", "-t", "ext4", "-d", &tree, &path, "16M"]).run().expect("mke2fs runs");
    image
}

fn trails(json: &Value) -> Vec<(&str, &str)> {
    let findings = json["findings"].as_array().expect("findings");
    let mut trails: Vec<_> =
        findings.iter().map(|found| (text_of(&found["path"]), text_of(&found["trail"]))).collect();
    trails.sort_unstable();
    trails
}

/// Values in layers are found with their trail, and the outer file is withheld.
#[test]
fn a_value_in_a_layer_holds_the_outer_file() {
    let bench = Bench::new();
    let image = image(&bench);
    let scan = |threads: &str| bench.airlock("scan").arg(&image).args(["--threads", threads]).expect(3);
    let ran = scan("1");
    for card in CARDS {
        assert!(!ran.out.contains(card) && !ran.out.contains(&card.replace(' ', "")));
    }
    let json = ran.json();
    let found = trails(&json);
    let at = |path: &str, rest: &str| {
        let trail = format!("disk0:whole:{path}{rest}");
        assert!(found.contains(&(path, trail.as_str())), "no {trail} in {found:?}");
    };
    at("/pay.tar.gz", "@0 > gzip@512 > tar:a.csv@10");
    at("/b.txt.bz2", "@0 > bzip2@5");
    at("/c.txt", "@0 > base64@0 > gzip@5");
    assert!(found.iter().any(|(path, trail)| *path == "/b.zip.xz" && trail.ends_with(" > zip:b.txt@5")));
    assert!(found.iter().any(|(path, _)| *path == "/d.db"), "{found:?}");
    assert_eq!(trails(&scan("4").json()), found);

    let dest = bench.path("dest");
    let ran = bench
        .airlock("transfer")
        .args([&image, &dest])
        .args(["--on-fail", "withhold", "--name", "vm"])
        .expect(3);
    let json = ran.json();
    assert!(json["coverage"]["held"].as_u64() > Some(0));
    let raw = bench.export("vm", &dest, "out.raw");
    bench.airlock("scan").arg(&raw).expect(0);
}
