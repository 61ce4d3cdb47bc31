//! Reads the MFT from end to end.

use super::Fs;
use super::late::{Base, Form, Late, Part, What};
use super::logfile::State;
use super::record::{self, Attribute, Attributes, Fixups, Header, Title, split};
use super::runs::{Decoded, Mapping, Stream, decode};
use super::units::{Unit, pieces};
use crate::Error;
use crate::field::{has, le16, le32, narrow, quotient, wide, word};
use crate::fs::{Claims, Names, Node, NodeKind, Packs, Reasons, Role, Tally, Valid, Views};
use crate::utf16::utf8;
use airlock_model::{Extent, Run};

const WHAT: &str = "the MFT";

/// Most streams and directories of a volume; 40 bytes each, and as many again in the map.
const NODES_MAX: usize = 16 << 20;

/// Most records that are looked at.
const RECORDS_MAX: u64 = 1 << 26;

/// Most pieces of compressed files; 56 bytes each.
const PACKS_MAX: usize = 4 << 20;

/// Most parts of the MFT that are known and not reached yet.
const MFT_PARTS_MAX: usize = 4096;

/// The MFT is read in pieces of this size.
const READ_BYTES: u64 = 1 << 20;

/// Records of the file system itself.
const MFT: u64 = 0;
const LOG: u64 = 2;
const VOLUME: u64 = 3;
pub(super) const ROOT: u64 = 5;
const BITMAP: u64 = 6;
const EXTEND: u64 = 11;
const FIRST_FILE: u64 = 16;

/// Reparse points behind which the data is packed by a filter of Windows.
const TAG_DEDUP: u32 = 0x8000_0013;
const TAG_WOF: u32 = 0x8000_0017;

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    pub(crate) views: Views,
    pub(crate) packs: Packs,
    pub(crate) valid: Valid,
    pub(crate) reasons: Reasons,
    pub(crate) tally: Tally,
    /// Whether a budget was used up, so that there may be files that were not found.
    pub(crate) limited: bool,
    pub(crate) root: Option<u32>,
    pub(crate) bitmap: Option<Stream>,
    /// How `$LogFile` was left, and where on the volume it begins.
    pub(crate) log: Option<(State, u64)>,
    pub(crate) signs: Signs,
    mft: Stream,
    /// Parts of the MFT that are not side by side with what is known.
    mft_parts: Vec<(u64, Vec<Mapping>)>,
    /// Directories: record, sequence, node.
    directories: Vec<(u64, u16, u32)>,
    /// By node, the sequence of its directory.
    sequences: Vec<u16>,
    late: Late,
    /// Where the stream at hand lies: in clusters, or inside a record.
    pub(super) runs: Vec<Mapping>,
    inside: Vec<Run>,
    /// Name of the file at hand, and then of its stream.
    pub(super) title: Vec<u8>,
}

/// What shows that a volume is not all in its files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signs {
    /// Whether the volume says that it was not unmounted.
    pub(crate) dirty: bool,
    /// Whether Windows sleeps, with changes in its memory.
    pub(crate) sleeps: bool,
    /// Whether there are files whose data is in a store of deduplicated chunks.
    pub(crate) deduplicated: bool,
}

/// The file that a stream belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    number: u64,
    /// Reference to the directory, if it has a name.
    pub(super) parent: Option<u64>,
    /// Bytes of its name in `title`.
    pub(super) title_bytes: usize,
    /// Whether it belongs to the file system.
    system: bool,
}

/// A record, and where in the MFT it is.
#[derive(Debug, Clone, Copy)]
struct Record<'b> {
    at: u64,
    number: u64,
    bytes: &'b [u8],
    fixups: Fixups,
}

/// Returns the runs of the MFT that its first record has, and whether that was the copy.
pub(crate) fn find_mft(fs: &Fs<'_>) -> Result<Option<(Stream, bool)>, Error> {
    for (cluster, copied) in [(fs.boot.mft, false), (fs.boot.mirror, true)] {
        let place = fs.boot.to_bytes(cluster);
        let mut bytes = fs.window.bytes_at(WHAT, place, narrow(fs.boot.record_bytes))?;
        Fixups::apply(&mut bytes);
        if !Header::parse(&bytes).is_some_and(|header| header.in_use) {
            continue;
        }
        let first = Attributes::of(&bytes).find(|attribute| {
            let data = attribute.kind == record::DATA && attribute.name().is_empty();
            data && !attribute.is_resident() && attribute.first() == 0
        });
        let Some(first) = first else { continue };
        let mut runs = Vec::new();
        decode(first.runs(), 0, fs.boot.clusters, &mut runs);
        if runs.first().is_some_and(|run| run.vcn == 0) {
            return Ok(Some((Stream { runs, size: first.sizes().size }, copied)));
        }
    }
    Ok(None)
}

/// Scans a file system for all that is in use; claims come in order of precedence.
pub(crate) fn scan(fs: &Fs<'_>, mft: Stream, claims_max: usize) -> Result<Scan, Error> {
    let mut claims = Claims::new(fs.boot.clusters, claims_max);
    claims.metadata(0, fs.boot.sector_bytes.div_ceil(fs.boot.cluster_bytes.max(1)));
    for run in &mft.runs {
        claims.metadata(run.lcn, run.length);
    }
    let mut scan = Scan {
        nodes: Vec::new(),
        names: Names::default(),
        claims,
        views: Views::default(),
        packs: Packs::default(),
        valid: Valid::default(),
        reasons: Reasons::default(),
        tally: Tally::default(),
        limited: false,
        root: None,
        bitmap: None,
        log: None,
        signs: Signs::default(),
        mft,
        mft_parts: Vec::new(),
        directories: Vec::new(),
        sequences: Vec::new(),
        late: Late::default(),
        runs: Vec::new(),
        inside: Vec::new(),
        title: Vec::new(),
    };
    scan.records(fs)?;
    scan.finish_late(fs);
    scan.find_directories();
    scan.mark_chunks();
    scan.limited |= scan.claims.is_full() || scan.late.full;
    Ok(scan)
}

impl Scan {
    fn records(&mut self, fs: &Fs<'_>) -> Result<(), Error> {
        let record_bytes = fs.boot.record_bytes;
        let (mut at, mut records_left) = (0_u64, RECORDS_MAX);
        let mut buffer = Vec::new();
        loop {
            let end = self.mft_end(fs) & !record_bytes.saturating_sub(1);
            if at >= end {
                return Ok(());
            }
            // Zeros are records that were never used.
            if let (Some(place), follow) = self.mft.locate(&fs.boot, at) {
                let stop = place.saturating_add(follow.min(end.saturating_sub(at)));
                let data = fs.window.skip_zeros(WHAT, place, stop)?;
                at = at.saturating_add(data.saturating_sub(place) & !record_bytes.saturating_sub(1));
            }
            let length = end.saturating_sub(at).min(READ_BYTES);
            let records = quotient(length, record_bytes);
            if records > records_left {
                self.limited = true;
                return Ok(());
            }
            records_left = records_left.saturating_sub(records);
            buffer.resize(narrow(length), 0);
            self.mft.read(&fs.window, &fs.boot, WHAT, at, &mut buffer)?;
            for bytes in buffer.chunks_exact_mut(narrow(record_bytes)) {
                self.record(fs, at, bytes);
                at = at.saturating_add(record_bytes);
            }
        }
    }

    /// Returns the end of the MFT as far as it is known.
    fn mft_end(&mut self, fs: &Fs<'_>) -> u64 {
        loop {
            let known = self.mft.runs.last().map_or(0, Mapping::end);
            let next = self.mft_parts.iter().position(|(first, _)| *first == known);
            let Some(next) = next else {
                return self.mft.size.min(self.mft.mapped(&fs.boot));
            };
            let (_, runs) = self.mft_parts.swap_remove(next);
            for run in &runs {
                self.claims.metadata(run.lcn, run.length);
            }
            self.mft.runs.extend(runs);
        }
    }

    /// Looks at one record.
    fn record(&mut self, fs: &Fs<'_>, at: u64, bytes: &mut [u8]) {
        let extent = || Extent::new(self.mft.locate(&fs.boot, at).0.unwrap_or(0), fs.boot.record_bytes);
        let Some(header) = Header::parse(bytes) else {
            if has(bytes, 0, b"BAAD") {
                self.tally.count("records of the MFT that are marked as damaged", 1, extent());
            }
            return;
        };
        if !header.in_use {
            return;
        }
        let fixups = Fixups::apply(bytes);
        if fixups.torn {
            self.tally.count("records of the MFT that were not written as a whole", 1, extent());
        }
        if self.nodes.len() >= NODES_MAX || self.claims.is_full() {
            self.limited = true;
            return;
        }
        let number = quotient(at, fs.boot.record_bytes);
        let record = Record { at, number, bytes, fixups };
        if header.base != 0 {
            return self.attributes_of(fs, &record, header.base);
        }
        let (mut title, mut listed): (Option<Title<'_>>, bool) = (None, false);
        for attribute in Attributes::of(bytes) {
            match attribute.kind {
                record::ATTRIBUTE_LIST => listed = true,
                record::FILE_NAME => {
                    let found = attribute.value().and_then(|(_, value)| Title::parse(value));
                    title = title.filter(|title| !title.short || found.is_none()).or(found);
                }
                _ => {}
            }
        }
        if listed {
            let Header { sequence, directory, .. } = header;
            self.late.add_base(Base { number, sequence, directory });
            let reference = number | u64::from(sequence) << 48;
            return self.attributes_of(fs, &record, reference);
        }
        let owner = self.owner(number, &header, title.map(|title| (title.parent, title.name)));
        for attribute in Attributes::of(bytes) {
            self.attribute(fs, &record, &attribute, Some(&owner));
        }
    }

    /// Keeps what a record has of a file of several.
    fn attributes_of(&mut self, fs: &Fs<'_>, record: &Record<'_>, reference: u64) {
        for attribute in Attributes::of(record.bytes) {
            if attribute.kind == record::FILE_NAME {
                if let Some(title) = attribute.value().and_then(|(_, value)| Title::parse(value)) {
                    self.late.add_title(reference, &title);
                }
                continue;
            }
            let Some((first, end, form)) = self.attribute(fs, record, &attribute, None) else {
                continue;
            };
            let (runs, inside) = (self.runs.clone(), self.inside.clone());
            if split(reference).0 == MFT && attribute.name().is_empty() && first > 0 {
                if self.mft_parts.len() < MFT_PARTS_MAX {
                    self.mft_parts.push((first, runs));
                } else {
                    self.limited = true;
                }
                continue;
            }
            self.late.add_part(reference, attribute.name(), What::Part { first, end, form, runs, inside });
        }
    }

    /// Looks at an attribute. For data, finds out where it lies; then it is a stream of `owner`,
    /// if that is known, or told with the first and the last cluster.
    fn attribute(
        &mut self,
        fs: &Fs<'_>,
        record: &Record<'_>,
        attribute: &Attribute<'_>,
        owner: Option<&Owner>,
    ) -> Option<(u64, u64, Form)> {
        self.inside.clear();
        self.runs.clear();
        let data = attribute.kind == record::DATA;
        if let Some((start, value)) = attribute.value() {
            if !data {
                self.value(fs, record, attribute.kind, value);
                return None;
            }
            let (mft, inside) = (&self.mft, &mut self.inside);
            record.fixups.originals(wide(start), wide(value.len()), |before, place, length| {
                mft.runs_of(&fs.boot, before, record.at.saturating_add(place), length, inside);
            });
            let form = Form::resident(wide(value.len()));
            if let Some(owner) = owner {
                self.stream(fs, owner, attribute.name(), &form);
            }
            return Some((0, 0, form));
        }
        if attribute.is_resident() {
            self.damage(fs, record.at, Decoded { damaged: true, ..Decoded::default() });
            return None;
        }
        let first = attribute.first();
        let decoded = decode(attribute.runs(), first, fs.boot.clusters, &mut self.runs);
        self.damage(fs, record.at, decoded);
        if !data {
            self.own_clusters();
            return None;
        }
        let form = Form::of(attribute);
        if let Some(owner) = owner {
            self.stream(fs, owner, attribute.name(), &form);
        }
        Some((first, decoded.end, form))
    }

    /// Counts what is wrong with the runs of an attribute.
    fn damage(&mut self, fs: &Fs<'_>, at: u64, decoded: Decoded) {
        if decoded.damaged || decoded.outside > 0 {
            let place = self.mft.locate(&fs.boot, at).0.unwrap_or(0);
            let extent = Extent::new(place, fs.boot.record_bytes);
            self.tally.count("attributes that are damaged", u64::from(decoded.damaged), extent);
            self.tally.count("runs of clusters outside the volume", decoded.outside, extent);
        }
    }

    /// Looks at an attribute inside a record that is not data.
    fn value(&mut self, fs: &Fs<'_>, record: &Record<'_>, kind: u32, value: &[u8]) {
        let place = self.mft.locate(&fs.boot, record.at).0.unwrap_or(0);
        let extent = Extent::new(place, fs.boot.record_bytes);
        match (kind, le32(value, 0)) {
            (record::VOLUME_INFORMATION, _) if record.number == VOLUME => {
                self.signs.dirty |= le16(value, 10) & 1 != 0;
            }
            (record::REPARSE_POINT, TAG_WOF) => {
                self.tally.count("files that Windows keeps packed (WOF), read as packed", 1, extent);
            }
            (record::REPARSE_POINT, TAG_DEDUP) => {
                self.signs.deduplicated = true;
                self.tally.count("files whose data is in a store of deduplicated chunks", 1, extent);
            }
            _ => {}
        }
    }

    /// Claims the clusters of the stream at hand for the file system itself.
    fn own_clusters(&mut self) {
        for run in &self.runs {
            self.claims.metadata(run.lcn, run.length);
        }
    }

    /// Begins with a file, which has its node if it is a directory.
    fn owner(&mut self, number: u64, header: &Header, title: Option<(u64, &[u8])>) -> Owner {
        self.title.clear();
        let parent = title.map(|(parent, _)| parent);
        if let Some((_, name)) = title.filter(|_| number != ROOT) {
            utf8(name, &mut self.title);
        }
        let in_extend = parent.is_some_and(|parent| split(parent).0 == EXTEND);
        let system = number < FIRST_FILE && number != ROOT || in_extend;
        let owner = Owner { number, parent, title_bytes: self.title.len(), system };
        if header.directory {
            let node = word(wide(self.nodes.len()));
            self.directories.push((number, header.sequence, node));
            if number == ROOT {
                self.root = Some(node);
            }
            self.push_node(Node::new(number, NodeKind::Directory, 0), &owner);
        }
        owner
    }

    /// Adds a node with the name in `title`. Its parent is a record until all are known.
    fn push_node(&mut self, mut node: Node, owner: &Owner) {
        let (parent, sequence) = owner.parent.map_or((u64::MAX, 0), split);
        if let Some(parent) = u32::try_from(parent).ok().filter(|_| !self.title.is_empty()) {
            self.names.give(&mut node, parent, &self.title);
        }
        self.nodes.push(node);
        self.sequences.push(sequence);
    }

    /// Adds the stream at hand, which lies in `runs` or `inside`.
    fn stream(&mut self, fs: &Fs<'_>, owner: &Owner, name: &[u8], form: &Form) {
        let size = form.sizes.size;
        if owner.system && (name.is_empty() || has(name, 0, b"$\0")) {
            let stream = || Stream { runs: self.runs.clone(), size };
            match owner.number {
                LOG if name.is_empty() => return self.log(fs, &stream()),
                BITMAP if name.is_empty() => self.bitmap = Some(stream()),
                _ => {}
            }
            return self.own_clusters();
        }
        let packs = form.compressed && form.unit_bits > 0 && !form.encrypted;
        let kind = match form {
            Form { resident: true, .. } if size > 0 => NodeKind::View,
            Form { resident: false, encrypted: true, .. } => NodeKind::Encrypted,
            Form { resident: false, .. } if packs => NodeKind::Packed,
            _ => NodeKind::File,
        };
        let reason = self.reason(fs, owner, name, form);
        let mut node = Node::new(owner.number, kind, size);
        let number = word(wide(self.nodes.len()));
        node.first_claim = word(wide(self.claims.len()));
        match kind {
            NodeKind::View => self.views.push(number, self.inside.iter().copied()),
            NodeKind::Packed if !self.packed(fs, number, form) => return,
            NodeKind::Packed => {}
            _ => self.plain(fs, number, form),
        }
        node.claims = word(wide(self.claims.len())).saturating_sub(node.first_claim);
        if let Some(reason) = reason {
            self.reasons.push(number, [reason]);
        }
        self.title.truncate(owner.title_bytes);
        if !name.is_empty() {
            self.title.push(b':');
            utf8(name, &mut self.title);
        }
        self.push_node(node, owner);
        self.title.truncate(owner.title_bytes);
    }

    /// Claims the clusters of a file that is not compressed.
    fn plain(&mut self, fs: &Fs<'_>, owner: u32, form: &Form) {
        let valid = form.sizes.valid;
        let written = if form.encrypted { u64::MAX } else { valid.div_ceil(fs.boot.cluster_bytes.max(1)) };
        let runs = std::mem::take(&mut self.runs);
        for run in &runs {
            let first = written.saturating_sub(run.vcn).min(run.length);
            self.claims.run(owner, Role::Written, run.lcn, first, run.vcn);
            let behind = run.lcn.saturating_add(first);
            let rest = run.length.saturating_sub(first);
            self.claims.run(owner, Role::Unwritten, behind, rest, run.vcn.saturating_add(first));
        }
        self.runs = runs;
        if valid < form.sizes.size && !form.encrypted {
            self.valid.push(owner, [valid]);
        }
    }

    /// Claims the clusters of a compressed file, and says what they unpack to; false where there
    /// is no room for that.
    fn packed(&mut self, fs: &Fs<'_>, owner: u32, form: &Form) -> bool {
        let unit = Unit::new(&fs.boot, form.unit_bits);
        let limit = form.sizes.valid;
        let room = PACKS_MAX.saturating_sub(self.packs.len());
        let Some(pieces) = pieces(&fs.boot, &self.runs, unit, limit, room) else {
            self.limited = true;
            return false;
        };
        let (mut stored, runs) = (0_u64, std::mem::take(&mut self.runs));
        for run in &runs {
            self.claims.run(owner, Role::Written, run.lcn, run.length, stored);
            stored = stored.saturating_add(run.length);
        }
        self.runs = runs;
        self.packs.push(owner, pieces);
        true
    }

    /// Adds the files of several records.
    fn finish_late(&mut self, fs: &Fs<'_>) {
        let (bases, parts) = self.late.take();
        let mut parts = parts.into_iter().peekable();
        let mut strays = 0_u64;
        for base in bases {
            while parts.next_if(|part| part.base < base.number).is_some() {
                strays = strays.saturating_add(1);
            }
            if self.nodes.len() >= NODES_MAX {
                self.limited = true;
                return;
            }
            let mut title: Option<(u64, Box<[u8]>, bool)> = None;
            let mut streams = Vec::new();
            while let Some(part) = parts.next_if(|part| part.base == base.number) {
                let Part { sequence, name, what, .. } = part;
                match what {
                    _ if sequence != base.sequence => strays = strays.saturating_add(1),
                    What::Title { parent, short } => {
                        let better = title.as_ref().is_none_or(|(_, _, kept)| *kept && !short);
                        title = if better { Some((parent, name, short)) } else { title };
                    }
                    What::Part { .. } => streams.push((name, what)),
                }
            }
            let Base { number, sequence, directory } = base;
            let header = Header { sequence, in_use: true, directory, base: 0 };
            let owner =
                self.owner(number, &header, title.as_ref().map(|(parent, name, _)| (*parent, &**name)));
            self.late_streams(fs, &owner, streams);
        }
        strays = strays.saturating_add(wide(parts.count()));
        let extent = Extent::new(0, fs.boot.sector_bytes);
        self.tally.count("attributes of files that do not exist", strays, extent);
    }

    /// Puts the streams of a file together, which come by name and cluster.
    fn late_streams(&mut self, fs: &Fs<'_>, owner: &Owner, parts: Vec<(Box<[u8]>, What)>) {
        let extent = Extent::new(0, fs.boot.sector_bytes);
        let mut parts = parts.into_iter().peekable();
        while let Some((name, what)) = parts.next() {
            let What::Part { first, mut end, mut form, runs, inside } = what else {
                continue;
            };
            (self.runs, self.inside) = (runs, inside);
            let follows = |next: &(Box<[u8]>, What)| {
                let later = matches!(next.1, What::Part { first, .. } if first > 0);
                later && !form.resident && next.0 == name
            };
            while let Some((_, What::Part { first: next, end: next_end, runs, .. })) = parts.next_if(follows)
            {
                let missing = u64::from(next != end);
                self.tally.count("parts of streams that do not follow each other", missing, extent);
                let behind = runs.into_iter().filter(|run| run.vcn >= end);
                self.runs.extend(behind);
                end = end.max(next_end);
            }
            if first > 0 {
                // The first part, which has the size, is missing.
                let size = fs.boot.to_bytes(end).min(u64::MAX >> 1);
                (form.sizes.size, form.sizes.valid) = (size, size);
                self.tally.count("streams without their first part", 1, extent);
            }
            self.stream(fs, owner, &name, &form);
        }
    }

    /// Finds the node of every directory that a node names by its record.
    fn find_directories(&mut self) {
        self.directories.sort_unstable_by_key(|(record, ..)| *record);
        let mut last = None;
        for (node, &sequence) in self.nodes.iter_mut().zip(&self.sequences) {
            if node.is_nameless() {
                continue;
            }
            let wanted = (u64::from(node.parent()), sequence);
            let (_, found) = last.filter(|(known, _)| *known == wanted).unwrap_or_else(|| {
                let at = self.directories.binary_search_by_key(&wanted.0, |(record, ..)| *record).ok();
                let directory = at.and_then(|at| self.directories.get(at));
                let same = directory.filter(|(_, now, _)| sequence == 0 || *now == sequence);
                (wanted, same.map(|(.., node)| *node))
            });
            last = Some((wanted, found));
            node.adopt(found);
        }
    }
}
