//! Every cell of what two policies can say about one finding: the source's action, the destination's, who looks for
//! it, and what whoever runs the transfer asked for. 96 transfers, each to its end and through its evidence.

use crate::support::{Bench, assert_no_residue, text_of, u64_of};
use crate::transfer::assert_nothing_kept;
use airlock_testkit::{Document, Encoding, Ext4Image, Ext4Options, Kind, Planted, Tree, residue};
use serde_json::Value;
use std::path::{Path, PathBuf};

const FILE: &str = "/srv/pay/cards.csv";
/// From the least strict to the strictest.
const ACTIONS: [&str; 4] = ["allow", "warn", "hold", "terminate"];

/// One cell.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Actions of the source's policy and of the destination's, as positions in [`ACTIONS`].
    actions: [usize; 2],
    /// The sites that look.
    finders: &'static [&'static str],
    /// Whether the transfer may go on without what is held.
    withhold: bool,
}

/// What must come of a cell.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    code: i32,
    state: &'static str,
    decision: &'static str,
    /// Who withheld it, if it is kept without.
    hole: Option<&'static str>,
    /// Whether the values are in what is kept.
    kept: bool,
}

impl Cell {
    /// The stricter of both actions holds wherever somebody looks, and whoever looks first withholds.
    fn expected(&self) -> Expected {
        let end = |code, state, decision, hole, kept| Expected { code, state, decision, hole, kept };
        match (ACTIONS[self.actions[0].max(self.actions[1])], self.withhold) {
            ("allow", _) => end(0, "active", "allow", None, true),
            ("warn", _) => end(0, "active", "warn", None, true),
            ("hold", true) => end(3, "active-withheld", "withhold", Some(self.finders[0]), false),
            _ => end(4, "discarded", "terminate", None, false),
        }
    }
}

struct Bed {
    bench: Bench,
    image: PathBuf,
    planted: Vec<Planted>,
}

impl Bed {
    fn new() -> Self {
        let bench = Bench::new();
        let mut tree = Tree::new(bench.path("tree"), 3).expect("tree");
        let planted = tree.plant(FILE, Document::Csv, &[Kind::Pan; 4], Encoding::Ascii).expect("planted");
        tree.filler("/usr/share/doc/manual.txt", 100_000).expect("filler");
        let image = bench.path("disk.img");
        Ext4Image::build(tree.root(), &image, &Ext4Options::new(8 << 20)).expect("image");
        Self { bench, image, planted }
    }

    /// A policy that says one thing about card numbers, and nothing else.
    fn policy(&self, name: &str, action: usize, finders: &[&str]) -> PathBuf {
        let lax = std::fs::read_to_string(self.bench.lax_policy()).expect("read the policy");
        let (action, finders) = (ACTIONS[action], finders.join(", "));
        let rule = format!(
            "rules:\n  - {{check: financial, confidence: 0.8, scope: file, action: {action}, where: [{finders}]}}\n"
        );
        let path = self.bench.path(name);
        std::fs::write(&path, lax.replace("rules: []\n", &rule)).expect("write the policy");
        path
    }

    fn check(&self, number: usize, cell: Cell) {
        let expected = cell.expected();
        let [source, destination] = [("source.yaml", 0), ("destination.yaml", 1)]
            .map(|(name, site)| self.policy(name, cell.actions[site], cell.finders));
        let dest = self.bench.path(&format!("dest-{number}"));
        let on_fail = if cell.withhold { "withhold" } else { "terminate" };
        let transfer = self.bench.airlock("transfer").args([&self.image, &dest]);
        let transfer = transfer.args(["--name", "vm", "--no-memo", "--on-fail", on_fail, "--policy"]);
        let ran = transfer.arg(&source).arg("--dest-policy").arg(&destination).end();
        assert_eq!(ran.code, Some(expected.code), "{cell:?}: {}", ran.err);
        ran.assert_shows_no_value(&self.bench, &self.planted);
        assert_no_residue(&dest, &self.planted);
        let json = ran.json();
        let verify = self.bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&dest);
        let record = verify.expect(0).json()["statement"]["predicate"].clone();
        let holes = record["disks"][0]["holes"].as_array().expect("holes");
        let sites: Vec<&str> = holes.iter().map(|hole| text_of(&hole["site"])).collect();
        let hole = sites.first().copied().filter(|_| expected.state == "active-withheld");
        let kept = self.kept(&cell, &expected, &dest);
        let ended = (&record["transfer"]["state"], &record["transfer"]["decision"]);
        assert_eq!(ended, (&expected.state.into(), &expected.decision.into()), "{cell:?}");
        assert_eq!((hole, kept), (expected.hole, expected.kept), "{cell:?}");
        assert!(sites.iter().all(|site| *site == sites[0]), "{cell:?}: {sites:?}");
        self.check_findings(&cell, &record["findings"]["counts"]);
        std::fs::remove_dir_all(&dest).expect("removed");
    }

    /// Says whether the values are in what is kept, and checks that the rest is.
    fn kept(&self, cell: &Cell, expected: &Expected, dest: &Path) -> bool {
        if expected.code == 4 {
            assert_nothing_kept(dest);
            return false;
        }
        let export = self.bench.export("vm", dest, "out.raw");
        let found = residue::find(&export, &self.planted).expect("search");
        let exported = Ext4Image::open(export.clone()).expect("the exported file system opens");
        exported.check().expect("the exported file system is sound");
        let size = exported.cat(FILE).expect("cat").len();
        assert_eq!(size, Ext4Image::open(self.image.clone()).expect("opens").cat(FILE).expect("cat").len());
        std::fs::remove_file(export).expect("removed");
        assert!(found.is_empty() || found.len() >= self.planted.len(), "{cell:?}: some values are kept");
        !found.is_empty()
    }

    /// Each finding is counted once by each site that looks and gets to see it.
    fn check_findings(&self, cell: &Cell, counts: &Value) {
        let action = ACTIONS[cell.actions[0].max(cell.actions[1])];
        let counted = |site: &str| u64_of(counts.get(format!("{site}/{action}")).unwrap_or(&Value::from(0)));
        let total: u64 = counts.as_object().expect("counts").values().map(u64_of).sum();
        let stopped_before = cell.finders.len() == 2 && ["hold", "terminate"].contains(&action);
        for (index, site) in cell.finders.iter().enumerate() {
            let sees = action != "allow" && !(index == 1 && stopped_before);
            let expected = if sees { self.planted.len() as u64 } else { 0 };
            assert!(action == "allow" || counted(site) == expected, "{cell:?}: {counts}");
        }
        assert!(action == "allow" || total.is_multiple_of(self.planted.len() as u64), "{cell:?}: {counts}");
    }
}

fn check_all(finders: &'static [&'static str]) {
    let bed = Bed::new();
    let mut number = 0;
    for source in 0..ACTIONS.len() {
        for destination in 0..ACTIONS.len() {
            for withhold in [false, true] {
                bed.check(number, Cell { actions: [source, destination], finders, withhold });
                number += 1;
            }
        }
    }
    assert_eq!(number, 32);
}

#[test]
fn every_cell_that_the_source_finds() {
    check_all(&["source"]);
}

#[test]
fn every_cell_that_the_destination_finds() {
    check_all(&["destination"]);
}

#[test]
fn every_cell_that_both_find() {
    check_all(&["source", "destination"]);
}
