//! A refusal of the destination reaches the source while most of the disk has not left it.

use crate::support::{Bench, assert_no_residue, bytes_under, text_of, u64_of};
use airlock_testkit::{Document, Encoding, Ext4Image, Ext4Options, Kind, Tree};

/// Folders, each with a table of card numbers and a long file that passes: whichever comes first ends it all.
const FOLDERS: usize = 12;
const NOISE_BYTES: usize = 8 << 20;

/// The source is asked to look for nothing; the destination finds in one of the first files what ends it all.
#[test]
fn a_refusal_is_heard_at_once() {
    let bench = Bench::new();
    let mut tree = Tree::new(bench.path("tree"), 5).expect("a tree");
    for folder in 0..FOLDERS {
        let path = format!("/srv/{folder}/cards.csv");
        tree.plant(&path, Document::Csv, &[Kind::SHORT[0]; 6], Encoding::Ascii).expect("planted");
        tree.noise(&format!("/srv/{folder}/noise.bin"), NOISE_BYTES).expect("noise");
    }
    let image = bench.path("disk.img");
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(128 << 20)).expect("an image");
    let (data, lax, there) = (bench.path("data"), bench.lax_policy(), bench.path("there.yaml"));
    let strict = std::fs::read_to_string(bench.strict_policy()).expect("a policy");
    let there_only = strict.replace("scope: file,", "scope: file, where: [destination],");
    std::fs::write(&there, there_only).expect("written");
    let director = bench.director(&data, &["--policy".as_ref(), there.as_ref()]);

    let run = bench.airlock("transfer").arg(&image).arg(&director.url).arg("--identity");
    let run = run.arg(&director.identity).arg("--policy").arg(&lax);
    let run = run.args(["--bwlimit", "24M", "--streams", "2"]).expect(4);
    run.assert_shows_no_value(&bench, tree.planted());
    let json = run.json();
    assert_eq!(json["transfer"]["state"], "discarded");
    let (sent, cleared) = (u64_of(&json["stats"]["bytes_sent"]), u64_of(&json["coverage"]["cleared"]));
    assert!(cleared > (FOLDERS * NOISE_BYTES) as u64, "the source has not inspected all of it");
    assert!(sent < cleared / 2, "{sent} of {cleared} bytes were sent");
    director.stop();
    assert_eq!(bytes_under(&data.join("segments")), 0);
    assert_no_residue(&data, tree.planted());

    bench.airlock("verify").arg(text_of(&json["evidence"])).expect(0);
    let evidence = std::fs::read(text_of(&json["evidence"])).expect("evidence");
    let statement = airlock_evidence::verify(&evidence, [None, None]).expect("it is true");
    let reason = statement.predicate.transfer.reason.expect("a reason");
    assert!(reason.starts_with("refused before"), "{reason}");
}
