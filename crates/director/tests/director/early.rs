//! A refusal is told while the disk still arrives.

use crate::manager::{Manager, director};
use airlock_model::{Decision, Site};
use airlock_policy::Chunk;
use airlock_testkit::PlantedDisk;

#[test]
fn a_refusal_is_told_within_a_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = PlantedDisk::builder(folder.path().join("disk"), 5).gpt().clean_bytes(48 << 20);
    let manager = Manager::of(disk.build().expect("a disk").image());
    let (metadata, files) = manager.chunks.split_at(manager.described);
    let groups: Vec<&[Chunk]> = metadata.chunks(16).chain(files.chunks(4)).collect();
    let data = folder.path().join("data");
    let director = director(&data, &manager.rules, None);
    let (sent, record) = manager.until_stopped(&director, &groups);
    assert!(sent < groups.len(), "it took all {sent} groups");
    assert_eq!(
        (record.transfer.state.as_str(), record.transfer.decision),
        ("discarded", Decision::Terminate)
    );
    assert!(record.transfer.reason.is_some_and(|reason| reason.starts_with("refused before")));
    let findings = &record.findings.listed;
    assert!(findings.iter().any(|finding| finding.site == Site::Destination), "{findings:?}");
    let kept = std::fs::read_dir(data.join("segments")).expect("a folder").count();
    assert_eq!(kept, 0, "something is kept");
}
