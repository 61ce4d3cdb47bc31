//! What a director puts right when it is opened again.

use crate::manager::{Manager, director};
use airlock_testkit::PlantedDisk;

/// Killed between the key of a transfer and its line in the ledger, a director leaves a key that nothing needs.
#[test]
fn a_key_of_no_transfer_is_destroyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = PlantedDisk::builder(folder.path().join("disk"), 5).clean_bytes(1 << 20);
    let manager = Manager::of(disk.build().expect("a disk").image());
    let data = folder.path().join("data");
    drop(director(&data, &manager.rules, None));
    let stray = data.join("chamber").join(format!("{}.key", hex::encode([7; 16])));
    std::fs::write(&stray, [1; 32]).expect("written");
    drop(director(&data, &manager.rules, None));
    assert!(!stray.exists());
}
