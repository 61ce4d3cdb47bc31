//! Goes through layers, and keeps the budgets.

use crate::layer::{Layer, Relation, Sink};
use crate::limits::Limits;
use airlock_model::field::{narrow, wide};

use crate::sniff::{HEAD_BYTES, Kind, sniff};
use crate::source::{Cursor, ReadAt};
use crate::stream::Stream;

use crate::escapes::{self, Style};
use crate::{
    ar, binhex, cab, compressed, cpio, dump, ebcdic, gzip, lzw, mail, ole, pdf, quoted, rpm, rtf, runs,
    sqlite, tar, utf32, uuencode, xml, zip,
};
use airlock_model::Reason;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Read;

/// What is shared by everything that opens one outer file.
pub(crate) struct Walk<'s> {
    sink: RefCell<&'s mut dyn Sink>,
    depth_max: usize,
    /// Whether what is in a layer is opened.
    containers: bool,
    /// Where the content that is opened begins in what the sink knows.
    base: Cell<u64>,
    bytes_left: Cell<u64>,
    members_left: Cell<u64>,
    spool_left: Cell<usize>,
    memory_left_kib: Cell<u32>,
    reasons: RefCell<BTreeSet<Reason>>,
}

impl<'s> Walk<'s> {
    pub(crate) fn new(limits: &Limits, sink: &'s mut dyn Sink) -> Self {
        Self {
            sink: RefCell::new(sink),
            depth_max: limits.depth,
            containers: limits.containers,
            base: Cell::new(0),
            bytes_left: Cell::new(limits.bytes),
            members_left: Cell::new(limits.members),
            spool_left: Cell::new(limits.spool_bytes),
            memory_left_kib: Cell::new(limits.memory_kib),
            reasons: RefCell::new(BTreeSet::new()),
        }
    }

    /// Whether what is in a layer is opened.
    pub(crate) fn opens_containers(&self) -> bool {
        self.containers
    }

    pub(crate) fn into_reasons(self) -> BTreeSet<Reason> {
        self.reasons.into_inner()
    }

    /// Says where the content that is opened next begins.
    pub(crate) fn rebase(&self, base: usize) {
        self.base.set(wide(base));
    }

    /// Notes why not everything was opened.
    pub(crate) fn note(&self, reason: Reason) {
        self.reasons.borrow_mut().insert(reason);
    }

    /// Notes why not everything was opened, if that is so.
    pub(crate) fn note_if(&self, is_so: bool, reason: Reason) {
        if is_so {
            self.note(reason);
        }
    }

    /// Shows bytes of an open layer to the sink.
    pub(crate) fn feed(&self, depth: usize, bytes: &[u8]) {
        self.sink.borrow_mut().feed(depth, bytes);
    }

    /// Returns how many bytes may still be decoded, at most `wanted`.
    pub(crate) fn bytes_left(&self, wanted: usize) -> usize {
        narrow(self.bytes_left.get()).min(wanted)
    }

    /// Takes bytes from the budget.
    pub(crate) fn spend(&self, bytes: usize) {
        self.bytes_left.set(self.bytes_left.get().saturating_sub(wide(bytes)));
    }

    /// Takes memory for a decoder, which [`Self::give_back`] returns.
    pub(crate) fn take_memory(&self, kib: u32) -> bool {
        let left = self.memory_left_kib.get().checked_sub(kib);
        self.memory_left_kib.set(left.unwrap_or(self.memory_left_kib.get()));
        if left.is_none() {
            self.note(Reason::Limit);
        }
        left.is_some()
    }

    /// Returns memory that was taken.
    pub(crate) fn give_back(&self, kib: u32) {
        self.memory_left_kib.set(self.memory_left_kib.get().saturating_add(kib));
    }

    /// Opens a layer inside of the one at `depth` and everything in it.
    pub(crate) fn open(
        &self,
        depth: usize,
        place: (&str, u64),
        relation: Relation,
        source: Box<dyn Read + '_>,
    ) {
        self.open_by(depth, place, relation, source, &mut |stream| self.enter(stream));
    }

    /// Opens a layer, and lets `enter` open what is in it.
    pub(crate) fn open_by(
        &self,
        depth: usize,
        (name, at): (&str, u64),
        relation: Relation,
        source: Box<dyn Read + '_>,
        enter: &mut dyn FnMut(&mut Stream<'_, 's>),
    ) {
        let inner = depth.saturating_add(1);
        let members = self.members_left.get().checked_sub(1);
        let (Some(members), true) = (members, inner <= self.depth_max) else {
            self.note(Reason::Limit);
            return;
        };
        self.members_left.set(members);
        let at = if depth == 0 { at.saturating_add(self.base.get()) } else { at };
        self.sink.borrow_mut().open(&Layer { name, at, depth: inner, relation });
        let mut stream = Stream::new(self, inner, source);
        enter(&mut stream);
        stream.drain();
        self.sink.borrow_mut().close();
    }

    /// Opens what is in a stream.
    fn enter(&self, stream: &mut Stream<'_, 's>) {
        let depth = stream.depth();
        let kind = sniff(stream.peek(HEAD_BYTES), depth);
        let Some(kind) = kind else {
            runs::search(self, stream);
            return;
        };
        if !self.containers {
            self.note(Reason::Unsupported);
            return;
        }
        self.enter_kind(kind, stream);
    }

    fn enter_kind(&self, kind: Kind, stream: &mut Stream<'_, 's>) {
        let depth = stream.depth();
        if kind.in_any_order() {
            let room = self.spool_left.get();
            let spooled = stream.spool(room);
            if spooled.len() >= room && !stream.peek(1).is_empty() {
                self.note(Reason::Limit);
            }
            self.spool_left.set(room.saturating_sub(spooled.len()));
            self.enter_source(kind, depth, &mut spooled.as_slice());
            self.spool_left.set(room);
        } else {
            self.enter_stream(kind, stream);
        }
    }

    /// Opens what may have been cut or written over: that it is damaged is not said.
    pub(crate) fn forgiving<T>(&self, kind: Kind, open: impl FnOnce() -> T) -> T {
        let known = self.reasons.borrow().contains(&Reason::Unsupported) || matches!(kind, Kind::Closed(_));
        let opened = open();
        if !known {
            self.reasons.borrow_mut().remove(&Reason::Unsupported);
        }
        opened
    }

    /// Opens a container that begins where the stream is.
    pub(crate) fn enter_here(&self, kind: Kind, stream: &mut Stream<'_, 's>) {
        if !self.containers {
            self.note(Reason::Unsupported);
            stream.skip(1);
            return;
        }
        self.forgiving(kind, || self.enter_kind(kind, stream));
    }

    pub(crate) fn enter_stream(&self, kind: Kind, stream: &mut Stream<'_, 's>) {
        match kind {
            Kind::Gzip => gzip::open_gzip(self, stream),
            Kind::Zlib => gzip::open_zlib(self, stream),
            Kind::Bzip2 | Kind::Xz | Kind::Lzma | Kind::Zstd | Kind::Lz4 => {
                compressed::open(self, kind, stream);
            }
            Kind::Tar => tar::open(self, stream),
            Kind::Ar => ar::open(self, stream),
            Kind::Cpio => cpio::open(self, stream),
            Kind::Binhex => binhex::open(self, stream),
            Kind::Mail => mail::open(self, stream),
            Kind::Markup => xml::open(self, stream),
            Kind::Percent => self.rewrite("percent", stream, |stream| Box::new(quoted::percent(stream))),
            Kind::Escapes(Style::Quoted) => {
                self.rewrite("quoted-printable", stream, |stream| Box::new(quoted::printable(stream)));
            }
            Kind::Escapes(style) => {
                self.rewrite(style.name(), stream, |stream| Box::new(escapes::text(stream, style)));
            }
            Kind::Ebcdic => self.rewrite("ebcdic", stream, |stream| Box::new(ebcdic::text(stream))),
            Kind::Dump => self.decode("hexdump", stream, |stream| Box::new(dump::bytes(stream))),
            Kind::Lzw => self.decode("compress", stream, |stream| Box::new(lzw::Lzw::new(stream))),
            Kind::Uuencode => uuencode::open(self, stream),
            Kind::Rpm => rpm::open(self, stream),
            Kind::Rtf => self.rewrite("text", stream, |stream| Box::new(rtf::text(stream))),
            Kind::Utf32Le => self.rewrite("utf-32", stream, |stream| Box::new(utf32::text(stream, false))),
            Kind::Utf32Be => self.rewrite("utf-32", stream, |stream| Box::new(utf32::text(stream, true))),
            Kind::Zip
            | Kind::Pdf
            | Kind::Sqlite
            | Kind::SqliteLog
            | Kind::Cab
            | Kind::Ole
            | Kind::Deflate64 => {}
            Kind::Closed(reason) => self.note(reason),
        }
    }

    /// Opens another spelling of a layer.
    fn rewrite<'m, 'a>(
        &self,
        name: &str,
        stream: &'m mut Stream<'a, 's>,
        read: impl FnOnce(&'m mut Stream<'a, 's>) -> Box<dyn Read + 'm>,
    ) {
        let (depth, at) = (stream.depth(), stream.position());
        self.open(depth, (name, at), Relation::Rewritten, read(stream));
    }

    /// Opens what a layer unpacks to.
    fn decode<'m, 'a>(
        &self,
        name: &str,
        stream: &'m mut Stream<'a, 's>,
        read: impl FnOnce(&'m mut Stream<'a, 's>) -> Box<dyn Read + 'm>,
    ) {
        let (depth, at) = (stream.depth(), stream.position());
        self.open(depth, (name, at), Relation::Decoded, read(stream));
    }

    pub(crate) fn enter_source(&self, kind: Kind, depth: usize, source: &mut dyn ReadAt) {
        match kind {
            Kind::Pdf => pdf::open(self, depth, source),
            Kind::Sqlite => sqlite::open(self, depth, source),
            Kind::SqliteLog => sqlite::open_log(self, depth, source),
            Kind::Cab => cab::open(self, depth, source),
            Kind::Ole => ole::open(self, depth, source),
            _ => zip::open(self, depth, source),
        }
    }

    /// Opens what is in the content of a file, which the sink has seen already.
    pub(crate) fn enter_file(&self, source: &mut dyn ReadAt) {
        let mut head = vec![0; HEAD_BYTES];
        let had = source.read_at(0, &mut head);
        head.truncate(had);
        let kind = sniff(&head, 0);
        if let Some(kind) = kind.filter(|kind| kind.in_any_order()) {
            self.enter_source(kind, 0, source);
            return;
        }
        let end = source.size();
        let mut stream = Stream::shown(self, Box::new(Cursor::new(source, 0, end)));
        match kind {
            Some(kind) => self.enter_stream(kind, &mut stream),
            None => runs::search(self, &mut stream),
        }
    }
}
