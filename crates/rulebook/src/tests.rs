//! What is let in, and what is not.

use crate::{Error, Imported, Input, Installed, Kind, Manifest, Store, build};
use airlock_evidence::SiteKey;
use std::path::PathBuf;
use zeroize::Zeroizing;

const NOW: u64 = 1_795_392_000;
const DAY: u64 = 86_400;

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("rules"));
        Self { folder, store }
    }

    /// Makes a rulebook with one hash list.
    fn book(&self, key: &SiteKey, version: u64, content: &str) -> PathBuf {
        self.dated(key, version, content, (NOW, NOW + DAY))
    }

    fn dated(
        &self,
        key: &SiteKey,
        version: u64,
        content: &str,
        (issued_at, expires_at): (u64, u64),
    ) -> PathBuf {
        let input = self.folder.path().join("list.hsb");
        std::fs::write(&input, content).unwrap();
        let to = self.folder.path().join(format!("{version}-{}.rulebook", content.len()));
        let manifest = Manifest {
            format: String::new(),
            name: "acme-hashes".into(),
            version,
            issued_at,
            expires_at,
            members: Vec::new(),
        };
        build(manifest, &[Input { kind: Kind::Hashes, path: input }], key, &to).unwrap();
        to
    }
}

fn key(seed: u8) -> SiteKey {
    SiteKey::from_seed(&Zeroizing::new([seed; 32]))
}

#[test]
fn a_rulebook_comes_in_by_its_key_and_only_goes_up() {
    let place = Place::new();
    let (own, other) = (key(1), key(2));
    let (first, second) = (place.book(&own, 1, "one"), place.book(&own, 2, "second"));
    let import = |path: &PathBuf, key: Option<&SiteKey>| {
        place.store.import(path, key.map(SiteKey::public).as_ref(), NOW).map(|(_, imported)| imported)
    };
    assert!(matches!(import(&first, None), Err(Error::Untrusted { .. })));
    assert!(matches!(import(&first, Some(&other)), Err(Error::Publisher { .. })));
    assert_eq!(import(&first, Some(&own)).unwrap(), Imported::New);
    assert_eq!(import(&first, None).unwrap(), Imported::Same);
    assert_eq!(import(&second, None).unwrap(), Imported::New);
    assert!(matches!(import(&first, None), Err(Error::Older { offered: 1, known: 2, .. })));
    assert!(matches!(import(&place.book(&own, 2, "another one"), None), Err(Error::Reissued { .. })));
    let foreign = place.book(&other, 3, "foreign");
    assert!(matches!(import(&foreign, None), Err(Error::Publisher { .. })));
    assert!(matches!(import(&foreign, Some(&other)), Err(Error::OtherKey { .. })));

    let opened = place.store.open_all(NOW).unwrap();
    let [Installed { name, book: Ok(book), .. }] = opened.as_slice() else { panic!("{opened:?}") };
    assert_eq!((name.as_str(), book.manifest().version), ("acme-hashes", 2));
    assert_eq!(book.read(Kind::Hashes).unwrap(), [("list.hsb".to_owned(), b"second".to_vec())]);
    assert_eq!(book.read(Kind::Feeds).unwrap(), []);

    // What was removed does not come back in an older version.
    assert!(place.store.remove("acme-hashes").unwrap() && !place.store.remove("acme-hashes").unwrap());
    assert!(!place.store.remove("../trusted").unwrap());
    assert!(place.store.open_all(NOW).unwrap().is_empty());
    assert!(matches!(import(&first, Some(&own)), Err(Error::Older { .. })));
    assert_eq!(import(&second, None).unwrap(), Imported::New);
}

#[test]
fn what_has_expired_or_is_not_issued_yet_is_not_used() {
    let place = Place::new();
    let own = key(1);
    let public = own.public();
    let import =
        |path: &PathBuf, now| place.store.import(path, Some(&public), now).map(|(_, imported)| imported);
    let book = place.book(&own, 1, "x");
    assert!(matches!(import(&book, NOW + DAY), Err(Error::Expired { .. })));
    assert!(matches!(import(&book, NOW - 2 * DAY), Err(Error::Future { .. })));
    assert_eq!(import(&book, NOW + DAY - 1).unwrap(), Imported::New);
    let opened = place.store.open_all(NOW + DAY).unwrap();
    assert!(matches!(opened.as_slice(), [Installed { book: Err(Error::Expired { .. }), .. }]), "{opened:?}");
}

#[test]
fn no_byte_can_be_changed_cut_or_added() {
    let place = Place::new();
    let own = key(1);
    let path = place.book(&own, 1, "a list of hashes");
    let bytes = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        assert!(place.store.verify(&path, Some(&own.public()), NOW).is_err(), "{what}");
    };
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        refused(&changed, &format!("byte {at} was changed"));
    }
    for length in [0, 10, 22, 23, bytes.len() - 1] {
        refused(&bytes[..length], &format!("cut to {length}"));
    }
    refused(&[&bytes[..], b"x"].concat(), "one byte was added");
    std::fs::write(&path, &bytes).unwrap();
    place.store.verify(&path, Some(&own.public()), NOW).unwrap();
}

#[test]
fn a_file_that_was_put_into_the_folder_is_not_used() {
    let place = Place::new();
    let own = key(1);
    place.store.import(&place.book(&own, 2, "good"), Some(&own.public()), NOW).unwrap();
    let old = place.book(&own, 1, "old and signed");
    std::fs::copy(&old, place.folder.path().join("rules/acme-hashes.rulebook")).unwrap();
    let opened = place.store.open_all(NOW).unwrap();
    assert!(matches!(opened.as_slice(), [Installed { book: Err(Error::Altered { .. }), .. }]), "{opened:?}");
}

#[test]
fn what_makes_no_sense_is_not_made() {
    let place = Place::new();
    let input = place.folder.path().join("x");
    std::fs::write(&input, "x").unwrap();
    let manifest = Manifest {
        format: String::new(),
        name: "a".into(),
        version: 1,
        issued_at: 1,
        expires_at: 2,
        members: Vec::new(),
    };
    let inputs = [Input { kind: Kind::Hashes, path: input }];
    let to = place.folder.path().join("out");
    let check = |manifest: Manifest, inputs: &[Input]| {
        assert!(matches!(build(manifest, inputs, &key(1), &to), Err(Error::Manifest(_))));
        assert!(!to.exists());
    };
    check(Manifest { name: "../a".into(), ..manifest.clone() }, &inputs);
    check(Manifest { name: String::new(), ..manifest.clone() }, &inputs);
    check(Manifest { version: 0, ..manifest.clone() }, &inputs);
    check(Manifest { expires_at: 1, ..manifest.clone() }, &inputs);
    check(manifest, &[]);
}
