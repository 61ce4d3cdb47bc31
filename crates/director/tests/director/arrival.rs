//! What a director decides does not depend on the order in which a disk arrives (invariant I5).

use crate::manager::{Manager, director};
use airlock_model::Site;
use airlock_policy::Chunk;
use airlock_testkit::PlantedDisk;

#[test]
fn any_order_of_arrival_gives_the_same_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = PlantedDisk::builder(folder.path().join("disk"), 5).gpt().clean_bytes(24 << 20);
    let manager = Manager::of(disk.build().expect("a disk").image());
    let in_order: Vec<&Chunk> = manager.chunks.iter().collect();
    let first = in_order.len() / 3;
    let reversed = in_order.iter().rev().copied().collect();
    // What says what the disk means comes last, or a second time when much is judged.
    let late = in_order[first..].iter().chain(&in_order[..first]).copied().collect();
    let twice = in_order.iter().chain(&in_order[..first]).copied().collect();
    let mixed = (0..7).flat_map(|from| in_order.iter().skip(from).step_by(7)).copied().collect();
    let orders: [(&str, Vec<&Chunk>); 5] = [
        ("reversed", reversed),
        ("in-order", in_order.clone()),
        ("late", late),
        ("twice", twice),
        ("mixed", mixed),
    ];

    let mut expected = None;
    for (name, order) in orders {
        let director = director(&folder.path().join(name), &manager.rules, None);
        let found = manager.send(&director, "vm", &order);
        assert!(found.1.holes.iter().any(|hole| hole.site == Site::Destination), "{name}");
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(found.0, expected.0, "{name}");
        assert_eq!(found.1, expected.1, "{name}");
        // Once more: now the vault has the chunks, and remembers in which files nothing was found.
        let again = manager.send(&director, "other", &in_order);
        assert_eq!(again, *expected, "{name}, again");
    }
}
