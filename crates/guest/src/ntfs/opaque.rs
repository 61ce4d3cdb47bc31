//! What is recognised and not read for what it is: a log that is not replayed, and data that
//! filters of Windows pack.
//!
//! Its bytes are inspected as they are stored, and are unscannable.

use super::Fs;
use super::late::Form;
use super::logfile::{self, State};
use super::record::split;
use super::runs::{Stream, is_named};
use super::scan::{Owner, ROOT, Scan};
use crate::field::{narrow, wide, word};
use crate::fs::{Node, NodeKind, Reasons};
use airlock_model::{Extent, Reason};

/// Most directories above a file of the store of chunks, which has a few.
const DEPTH_MAX: usize = 64;

impl Scan {
    /// Looks how `$LogFile` was left. One with changes that are not replayed is not just metadata.
    pub(super) fn log(&mut self, fs: &Fs<'_>, stream: &Stream) {
        let state = logfile::state(&fs.window, &fs.boot, stream).unwrap_or(State::Damaged);
        self.log = Some((state, stream.locate(&fs.boot, 0).0.unwrap_or(0)));
        if state == State::Clean {
            self.runs.iter().for_each(|run| self.claims.metadata(run.lcn, run.length));
            return;
        }
        for run in &self.runs {
            self.claims.log(run.lcn, run.length);
        }
    }

    /// Returns why the stream at hand is not what a program of the guest would read.
    pub(super) fn reason(&mut self, fs: &Fs<'_>, owner: &Owner, name: &[u8], form: &Form) -> Option<Reason> {
        let extent = Extent::new(0, fs.boot.sector_bytes);
        let packed = is_named(name, "WofCompressedData") && form.sizes.size > 0;
        self.tally.count("streams of data that Windows keeps packed (WOF)", u64::from(packed), extent);
        let unknown = form.compressed && form.unit_bits == 0 && !form.encrypted;
        self.tally.count("files compressed in an unknown way", u64::from(unknown), extent);
        let in_root = owner.parent.is_some_and(|parent| split(parent).0 == ROOT);
        let title = self.title.get(..owner.title_bytes).unwrap_or_default();
        let memory = in_root && name.is_empty() && title.eq_ignore_ascii_case(b"hiberfil.sys") && {
            let mut magic = [0; 4];
            let stream = Stream { runs: self.runs.clone(), size: form.sizes.size };
            let read = stream.read(&fs.window, &fs.boot, "hiberfil.sys", 0, &mut magic);
            self.signs.sleeps |= [b"hibr", b"HIBR", b"RSTR"].contains(&&magic);
            read.is_err() || magic != [0; 4]
        };
        self.tally.count("memory of a sleeping Windows, which is packed", u64::from(memory), extent);
        (packed || unknown || memory).then_some(Reason::Unsupported)
    }

    /// Says that the chunks of deduplicated files, which are in a folder of their own, are not unpacked.
    pub(super) fn mark_chunks(&mut self) {
        const FOLDERS: [&[u8]; 2] = [b"System Volume Information", b"Dedup"];
        if !self.signs.deduplicated {
            return;
        }
        let mut folder = self.root;
        for name in FOLDERS {
            let wanted = |node: &Node| {
                node.kind == NodeKind::Directory
                    && Some(node.parent()) == folder
                    && self.names.name(node).eq_ignore_ascii_case(name)
            };
            folder = self.nodes.iter().position(wanted).map(|found| word(wide(found)));
        }
        let Some(folder) = folder else { return };
        let mut reasons = Reasons::default();
        for (number, node) in (0_u32..).zip(&self.nodes) {
            let known = self.reasons.of(number).first().copied();
            let inside = node.kind != NodeKind::Directory && self.is_below(node, folder);
            if let Some(reason) = known.or(inside.then_some(Reason::Unsupported)) {
                reasons.push(number, [reason]);
            }
        }
        self.reasons = reasons;
    }

    fn is_below(&self, node: &Node, folder: u32) -> bool {
        let mut above = *node;
        for _ in 0..DEPTH_MAX {
            if above.is_nameless() {
                return false;
            }
            if above.parent() == folder {
                return true;
            }
            let Some(parent) = self.nodes.get(narrow(u64::from(above.parent()))) else { return false };
            above = *parent;
        }
        false
    }
}
