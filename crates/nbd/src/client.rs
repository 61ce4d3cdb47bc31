//! A disk that a server exports, as a block source.

use crate::Error;
use crate::protocol::{
    CONTEXT, HANDSHAKE_TIMEOUT, MAGIC, NAME_BYTES_MAX, OPTION_BYTES_MAX, OPTION_MAGIC, OPTION_REPLY_MAGIC,
    OPTIONS_MAX, PAYLOAD_BYTES_MAX, REPLY_TIMEOUT, REQUEST_MAGIC, command, handshake, info, option, reply,
    transmission,
};
use crate::reply::{End, block_status, clip, read, size_of};
use crate::uri::Uri;
use crate::wire::{Fields, Packet, Socket, Wire};
use airlock_disk::{BlockSource, Error as DiskError, Format, Span, SpanKind, check_range};
use airlock_model::Escaped;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Connections that are opened where the server allows several.
const CONNECTIONS: usize = 4;
/// Bytes that extents are asked for at once.
const STATUS_BYTES: u64 = 1 << 30;
/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 20;
/// The largest smallest block that a server may have (`NBD_INFO_BLOCK_SIZE`: at most 64 KiB).
const BLOCK_BYTES_MAX: u32 = 64 << 10;

/// What a server says of an export.
#[derive(Debug, Clone, Copy)]
struct Facts {
    size: u64,
    several: bool,
    /// Reads begin and end at multiples of this.
    block: u64,
}

/// A negotiated connection.
#[derive(Debug)]
struct Connection {
    wire: Wire,
    structured: bool,
    /// The id of [`CONTEXT`], if the server tells extents.
    context: Option<u32>,
    cookie: u64,
}

impl Connection {
    fn open(uri: &Uri) -> Result<(Self, Facts), Error> {
        let socket =
            Socket::connect(&uri.address, HANDSHAKE_TIMEOUT).map_err(Error::io("connect to the server"))?;
        let timeouts =
            |read| socket.set_timeouts(Some(read), REPLY_TIMEOUT).map_err(Error::io("set a timeout"));
        timeouts(HANDSHAKE_TIMEOUT)?;
        let limits = socket.try_clone().map_err(Error::io("set a timeout"))?;
        let mut connection = Self { wire: Wire::new(socket), structured: false, context: None, cookie: 0 };
        let facts = connection.negotiate(&uri.export)?;
        limits.set_timeouts(Some(REPLY_TIMEOUT), REPLY_TIMEOUT).map_err(Error::io("set a timeout"))?;
        Ok((connection, facts))
    }

    fn negotiate(&mut self, export: &str) -> Result<Facts, Error> {
        if export.len() > NAME_BYTES_MAX {
            return Err(Error::protocol("the name of an export is too long"));
        }
        if self.wire.u64()? != MAGIC {
            return Err(Error::protocol("it does not begin with NBDMAGIC"));
        }
        let (magic, flags) = (self.wire.u64()?, self.wire.u16()?);
        if magic != OPTION_MAGIC || flags & handshake::FIXED_NEWSTYLE == 0 {
            return Err(Error::protocol("it knows only the old negotiation"));
        }
        let mine = u32::from(flags & (handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES));
        self.wire.send(&mine.to_be_bytes())?;
        self.structured = self.ask(option::STRUCTURED_REPLY, &[], |_, _| Ok(()))?.is_ok();
        if self.structured {
            let data = Packet::default().counted(export.as_bytes()).u32(1).counted(CONTEXT.as_bytes()).done();
            let mut context = None;
            let answer = self.ask(option::SET_META_CONTEXT, &data, |kind, payload| {
                let mut fields = Fields(payload);
                if kind == reply::META_CONTEXT
                    && let Some(id) = fields.u32()
                    && fields.0 == CONTEXT.as_bytes()
                {
                    context = Some(id);
                }
                Ok(())
            })?;
            self.context = answer.ok().and(context);
        }
        let data = Packet::default().counted(export.as_bytes()).u16(1).u16(info::BLOCK_SIZE).done();
        let mut facts: Option<Facts> = None;
        let mut block = 1;
        let answer = self.ask(option::GO, &data, |kind, payload| {
            let mut fields = Fields(payload);
            let damaged = || Error::protocol("what it says of the export is cut short");
            if kind != reply::INFO {
                return Ok(());
            }
            match fields.u16().ok_or_else(damaged)? {
                info::EXPORT => {
                    let (size, flags) = fields.u64().zip(fields.u16()).ok_or_else(damaged)?;
                    facts =
                        Some(Facts { size, several: flags & transmission::CAN_MULTI_CONN != 0, block: 1 });
                }
                info::BLOCK_SIZE => block = fields.u32().ok_or_else(damaged)?,
                _ => {}
            }
            Ok(())
        })?;
        let refused = |why: String| Error::Refused { export: Escaped(export.as_bytes()).to_string(), why };
        answer.map_err(refused)?;
        let facts = facts.ok_or_else(|| Error::protocol("it does not say how large the export is"))?;
        let right = block.is_power_of_two() && block <= BLOCK_BYTES_MAX;
        if !right
            || facts.size.checked_rem(u64::from(block)) != Some(0)
            || facts.size > i64::MAX.unsigned_abs()
        {
            return Err(Error::protocol(format!("a size of {} in blocks of {block} cannot be", facts.size)));
        }
        Ok(Facts { block: u64::from(block), ..facts })
    }

    /// Sends an option and shows every reply but the last one to `show`. Returns why the server refuses, if it does.
    fn ask(
        &mut self,
        option: u32,
        data: &[u8],
        mut show: impl FnMut(u32, &[u8]) -> Result<(), Error>,
    ) -> Result<Result<(), String>, Error> {
        self.wire.send(&Packet::default().u64(OPTION_MAGIC).u32(option).counted(data).done())?;
        for _ in 0..OPTIONS_MAX {
            let (magic, about, kind, length) =
                (self.wire.u64()?, self.wire.u32()?, self.wire.u32()?, self.wire.u32()?);
            if magic != OPTION_REPLY_MAGIC || about != option {
                return Err(Error::protocol("it answers another option"));
            }
            let payload = self.wire.bytes(length, OPTION_BYTES_MAX)?;
            match kind {
                reply::ACK => return Ok(Ok(())),
                _ if kind & reply::ERROR != 0 => return Ok(Err(why(kind, &payload))),
                _ => show(kind, &payload)?,
            }
        }
        Err(Error::protocol("it answers without end"))
    }

    fn request(&mut self, kind: u16, offset: u64, length: u32) -> Result<u64, Error> {
        self.cookie = self.cookie.wrapping_add(1);
        let packet =
            Packet::default().u32(REQUEST_MAGIC).u16(0).u16(kind).u64(self.cookie).u64(offset).u32(length);
        self.wire.send(&packet.done())?;
        Ok(self.cookie)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<End, Error> {
        let cookie = self.request(command::READ, offset, clip(size_of(into), 1))?;
        read(&mut self.wire, self.structured, cookie, offset, into)
    }

    /// Asks for the extents from `offset` on; none if the server does not tell.
    fn status(&mut self, offset: u64, length: u64, block: u64) -> Result<Option<Vec<Span>>, Error> {
        let Some(context) = self.context else { return Ok(None) };
        let cookie = self.request(command::BLOCK_STATUS, offset, clip(length, block))?;
        let (spans, end) = block_status(&mut self.wire, cookie, context, length)?;
        Ok((end == End::Done && !spans.is_empty()).then_some(spans))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The server may be gone; a goodbye is a courtesy.
        let _ = self.request(command::DISCONNECT, 0, 0);
        self.wire.socket().shut_down();
    }
}

/// Says why a server refuses an option.
fn why(kind: u32, text: &[u8]) -> String {
    let reason = match kind {
        reply::UNSUPPORTED => "it does not know this request",
        reply::POLICY => "its policy forbids it",
        reply::INVALID => "it takes the request for malformed",
        reply::TLS_REQUIRED => "it wants TLS, which is not supported: use a socket or a tunnel",
        reply::UNKNOWN => "there is no such export",
        _ => "it gives an unknown reason",
    };
    let text = text.get(..NAME_BYTES_MAX).unwrap_or(text);
    if text.is_empty() { reason.to_owned() } else { format!("{reason} ({})", Escaped(text)) }
}

/// Extents that a server told last.
#[derive(Debug, Default)]
struct Known {
    start: u64,
    spans: Vec<Span>,
}

impl Known {
    fn at(&self, offset: u64) -> Option<Span> {
        let mut start = self.start;
        if offset < start {
            return None;
        }
        for span in &self.spans {
            let end = start.saturating_add(span.length);
            if offset < end {
                return Some(Span { length: end.saturating_sub(offset), ..*span });
            }
            start = end;
        }
        None
    }
}

/// A disk that a server exports; only read.
///
/// The bytes are taken as those of the disk, whatever they look like. A connection that breaks is opened again
/// once for each read.
#[derive(Debug)]
pub struct NbdDisk {
    uri: Uri,
    facts: Facts,
    connections: Vec<Mutex<Option<Connection>>>,
    next: AtomicUsize,
    known: Mutex<Known>,
}

impl NbdDisk {
    /// Connects to a server and asks for an export.
    pub fn open(uri: &Uri) -> Result<Self, Error> {
        let (connection, facts) = Connection::open(uri)?;
        let count = if facts.several { CONNECTIONS } else { 1 };
        // The others are opened when they are needed.
        let connections =
            std::iter::once(Some(connection)).chain(std::iter::repeat_with(|| None)).take(count);
        Ok(Self {
            uri: uri.clone(),
            facts,
            connections: connections.map(Mutex::new).collect(),
            next: AtomicUsize::new(0),
            known: Mutex::default(),
        })
    }

    /// Returns a connection that nobody uses, or waits for one.
    fn connection(&self) -> Option<MutexGuard<'_, Option<Connection>>> {
        let free = self.connections.iter().find_map(|connection| connection.try_lock().ok());
        free.or_else(|| {
            let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.connections.len())?;
            // One that was left in the middle of a reply is opened again.
            Some(self.connections.get(turn)?.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Does `work` on a connection, and once more on a new one if the first one fails.
    fn with<T>(&self, mut work: impl FnMut(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        let gone = || Error::io("reach the server")(std::io::ErrorKind::NotConnected.into());
        let mut slot = self.connection().ok_or_else(gone)?;
        if let Some(mut connection) = slot.take() {
            match work(&mut connection) {
                Ok(done) => {
                    *slot = Some(connection);
                    return Ok(done);
                }
                Err(Error::Io { doing, source }) => {
                    tracing::info!(doing, error = %source, "the connection broke; opening another one");
                }
                Err(error) => return Err(error),
            }
        }
        let (mut connection, facts) = Connection::open(&self.uri)?;
        if facts.size != self.facts.size {
            return Err(Error::Changed { before: self.facts.size, now: facts.size });
        }
        let done = work(&mut connection)?;
        *slot = Some(connection);
        Ok(done)
    }

    fn read_piece(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let failed = |source: std::io::Error| DiskError::Io { what: "read the export", offset, source };
        match self.with(|connection| connection.read(offset, into)) {
            Ok(End::Done) => Ok(()),
            Ok(End::Failed(error)) => {
                Err(failed(std::io::Error::other(format!("the server says error {error}"))))
            }
            Err(error) => Err(failed(std::io::Error::other(error))),
        }
    }
}

impl BlockSource for NbdDisk {
    fn size(&self) -> u64 {
        self.facts.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.facts.size, offset, buffer)?;
        let limit = READ_BYTES.min(usize::try_from(PAYLOAD_BYTES_MAX).unwrap_or(READ_BYTES));
        let block = self.facts.block;
        let mut at = offset;
        for piece in buffer.chunks_mut(limit) {
            let end = at.saturating_add(size_of(piece));
            let lead = at.checked_rem(block).unwrap_or(0);
            if lead == 0 && end.checked_rem(block) == Some(0) {
                self.read_piece(at, piece)?;
            } else {
                let start = at.saturating_sub(lead);
                let length = end.next_multiple_of(block).saturating_sub(start);
                let mut whole = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                self.read_piece(start, &mut whole)?;
                let lead = usize::try_from(lead).unwrap_or(usize::MAX);
                let part = lead.checked_add(piece.len()).and_then(|end| whole.get(lead..end));
                piece.copy_from_slice(part.unwrap_or_default());
            }
            at = end;
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, DiskError> {
        check_range(self.facts.size, offset, &[0])?;
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = known().at(offset) {
            return Ok(span);
        }
        let block = self.facts.block;
        let start = offset.saturating_sub(offset.checked_rem(block).unwrap_or(0));
        let left = self.facts.size.saturating_sub(start);
        let length = left.min(STATUS_BYTES);
        let told = self.with(|connection| connection.status(start, length, block));
        let told = told.map_err(|error| DiskError::Io {
            what: "ask for extents",
            offset,
            source: std::io::Error::other(error),
        })?;
        // A server that does not tell may have anything anywhere.
        let spans = told.unwrap_or_else(|| vec![Span { kind: SpanKind::Data, length: left }]);
        let mut known = known();
        *known = Known { start, spans };
        Ok(known.at(offset).unwrap_or(Span { kind: SpanKind::Data, length: 1 }))
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}
