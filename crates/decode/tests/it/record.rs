//! Writes down every layer.

use airlock_decode::{Layer, Limits, ReadAt, Relation, Sink, open};
use airlock_model::Reason;
use std::path::Path;
use std::process::{Command, Stdio};

/// A layer: its whole trail, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) trail: String,
    pub(crate) relation: Relation,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Default)]
struct Record {
    done: Vec<Seen>,
    open: Vec<Seen>,
    order: Vec<usize>,
}

impl Sink for Record {
    fn open(&mut self, layer: &Layer<'_>) {
        assert_eq!(layer.depth, self.open.len() + 1);
        let outer = self.open.last().map_or(String::new(), |outer| format!("{} > ", outer.trail));
        let trail = format!("{outer}{}@{}", layer.name, layer.at);
        self.order.push(self.done.len() + self.open.len());
        self.open.push(Seen { trail, relation: layer.relation, bytes: Vec::new() });
    }

    fn feed(&mut self, depth: usize, bytes: &[u8]) {
        self.open[depth - 1].bytes.extend_from_slice(bytes);
    }

    fn close(&mut self) {
        let layer = self.open.pop().expect("a layer is open");
        self.done.push(layer);
    }
}

/// Opens `file` and returns the layers, those inside first, and what was not opened.
pub(crate) fn layers(file: &[u8]) -> (Vec<Seen>, Vec<Reason>) {
    layers_within(&mut &*file, &Limits::for_file(file.len() as u64))
}

pub(crate) fn layers_within(source: &mut dyn ReadAt, limits: &Limits) -> (Vec<Seen>, Vec<Reason>) {
    let mut record = Record::default();
    let reasons = open(source, limits, &mut record);
    assert!(record.open.is_empty(), "every layer is closed");
    (record.done, reasons.into_iter().collect())
}

/// Opens `file`, which holds nothing that cannot be opened, and returns the layer whose trail ends
/// with `name` and a place.
pub(crate) fn layer(file: &[u8], name: &str) -> Vec<u8> {
    let (layers, reasons) = layers(file);
    assert_eq!(reasons, []);
    let is_it = |seen: &&Seen| seen.trail.rsplit_once('@').is_some_and(|(trail, _)| trail.ends_with(name));
    let found = layers.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", trails(&layers))).bytes.clone()
}

pub(crate) fn trails(layers: &[Seen]) -> Vec<&str> {
    layers.iter().map(|seen| seen.trail.as_str()).collect()
}

/// Runs a shell command in `folder`, with `input` on its standard input, and returns its output.
pub(crate) fn sh(folder: &Path, command: &str, input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new("sh")
        .args(["-euc", command])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("sh ends");
    writer.join().expect("no panic");
    assert!(output.status.success(), "{command}");
    output.stdout
}

/// Text that compresses and has no long words.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let line = |number: usize| format!("line {number}: {:x}\n", number.wrapping_mul(0x9E37_79B9) % 65_521);
    let mut text: Vec<u8> = (0..bytes)
        .map(line)
        .scan(0, |sum, line| {
            *sum += line.len();
            (*sum < bytes + 40).then_some(line)
        })
        .flat_map(String::into_bytes)
        .collect();
    text.truncate(bytes);
    text
}
