//! Runs in content that passes by in pieces.

use super::*;
use crate::layer::Layer;
use proptest::prelude::*;

/// Every layer: what it is, where it begins, and its bytes.
#[derive(Default)]
struct Seen {
    layers: Vec<(String, u64, Vec<u8>)>,
    open: Vec<usize>,
}

impl Sink for Seen {
    fn open(&mut self, layer: &Layer<'_>) {
        self.open.push(self.layers.len());
        self.layers.push((layer.name.to_owned(), layer.at, Vec::new()));
    }

    fn feed(&mut self, depth: usize, bytes: &[u8]) {
        self.layers[self.open[depth - 1]].2.extend_from_slice(bytes);
    }

    fn close(&mut self) {
        self.open.pop();
    }
}

/// What is opened in content that comes in pieces of these lengths.
fn seen(content: &[u8], lengths: &[usize]) -> Vec<(String, u64, Vec<u8>)> {
    let mut seen = Seen::default();
    let mut runs = Runs::new(&Limits::for_file(0), &mut seen);
    let mut rest = content;
    for length in lengths.iter().chain([&usize::MAX]) {
        let at = wide(content.len() - rest.len());
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        runs.look(at, piece);
        rest = behind;
    }
    runs.end();
    assert!(runs.finish(&mut &*content).is_empty());
    seen.layers.sort();
    seen.layers
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[A-Za-z0-9+/]{1,300}={0,2}".prop_map(String::into_bytes),
        "([A-Za-z0-9+/]{76}\n){1,8}[A-Za-z0-9+/]{0,75}==\n".prop_map(String::into_bytes),
        "(  [A-Za-z0-9+/]{64}\n){1,80}".prop_map(String::into_bytes),
        "[0-9a-f]{64,200}\n".prop_map(String::into_bytes),
        "([0-9a-f]{32}\n){1,9}".prop_map(String::into_bytes),
        "[ -~\n]{0,80}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..200),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn runs_are_the_same_in_any_pieces(
        content in content(),
        lengths in proptest::collection::vec(prop_oneof![0_usize..6, 0_usize..300], 0..60),
    ) {
        prop_assert_eq!(seen(&content, &lengths), seen(&content, &[]));
    }
}

#[test]
fn a_run_in_two_pieces_is_opened_once() {
    let line = "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2NpbmcgZWxpdA==";
    let content = format!("{:>100}\n{line}\n\n{:>200}\n{line}\n", "one:", "two:");
    for cut in 0..content.len() {
        let found = seen(content.as_bytes(), &[cut]);
        let text: Vec<_> = found.iter().map(|(name, at, bytes)| (name.as_str(), *at, bytes.len())).collect();
        assert_eq!(text, [("base64", 101, 55), ("base64", 380, 55)], "{cut}");
    }
}
