//! Exports disks for others to read.

use crate::Error;
use crate::protocol::{
    CONTEXT, HANDSHAKE_TIMEOUT, MAGIC, NAME_BYTES_MAX, OPTION_BYTES_MAX, OPTION_MAGIC, OPTION_REPLY_MAGIC,
    OPTIONS_MAX, PAYLOAD_BYTES_MAX, REPLY_TIMEOUT, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
    chunk, command, error, handshake, info, option, reply, transmission,
};
use crate::reply::flags;
use crate::uri::Address;
use crate::wire::{Fields, Packet, Socket, Wire};
use airlock_disk::{BlockSource, Span, SpanKind};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most exports of one server.
pub const EXPORTS_MAX: usize = 256;
/// Most connections at one time.
const CONNECTIONS_MAX: usize = 64;
/// Most extents in the reply to one question.
const EXTENTS_TOLD_MAX: usize = 1024;
/// Bytes of a smallest block that works, of one that works well, and of the most that is read at once.
const BLOCK_SIZES: [u32; 3] = [1, 256 << 10, PAYLOAD_BYTES_MAX];
/// How often the listener looks whether it shall stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The id that [`CONTEXT`] gets.
const CONTEXT_ID: u32 = 1;

/// A disk and what it is called.
#[derive(Debug, Clone)]
pub struct Export {
    /// The name that clients ask for; the first export is also found by none.
    pub name: String,
    /// The disk.
    pub disk: Arc<dyn BlockSource>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Takes a connection, if there is one.
    fn accept(&self) -> std::io::Result<Socket> {
        let socket = match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_nonblocking(false)?;
                socket.set_nodelay(true)?;
                Socket::Tcp(socket)
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept()?;
                socket.set_nonblocking(false)?;
                Socket::Unix(socket)
            }
        };
        Ok(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // It is of no use to anybody without this listener.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Sockets of the connections that are open, by number.
type Open = Mutex<BTreeMap<u64, Socket>>;

/// Exports disks until it is told to stop. Nothing is ever written.
pub struct Server {
    listener: Listener,
    exports: Vec<Export>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("exports", &self.exports.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on `host:port`; port 0 takes a free one.
    pub fn bind_tcp(address: &str, exports: Vec<Export>) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).map_err(Error::io("listen"))?;
        listener.set_nonblocking(true).map_err(Error::io("listen"))?;
        Self::new(Listener::Tcp(listener), exports)
    }

    /// Listens on a socket in the file system, which it makes.
    pub fn bind_unix(path: &Path, exports: Vec<Export>) -> Result<Self, Error> {
        let listener = UnixListener::bind(path).map_err(Error::io("listen"))?;
        listener.set_nonblocking(true).map_err(Error::io("listen"))?;
        Self::new(Listener::Unix(listener, path.to_path_buf()), exports)
    }

    fn new(listener: Listener, exports: Vec<Export>) -> Result<Self, Error> {
        let named = |export: &Export| export.name.len() <= NAME_BYTES_MAX;
        if exports.is_empty() || exports.len() > EXPORTS_MAX || !exports.iter().all(named) {
            return Err(Error::protocol(format!(
                "there must be 1 to {EXPORTS_MAX} exports with names that are not too long"
            )));
        }
        Ok(Self { listener, exports })
    }

    /// Returns where it listens.
    pub fn address(&self) -> Result<Address, Error> {
        match &self.listener {
            Listener::Unix(_, path) => Ok(Address::Unix(path.clone())),
            Listener::Tcp(listener) => {
                let address = listener.local_addr().map_err(Error::io("listen"))?;
                Ok(Address::Tcp { host: address.ip().to_string(), port: address.port() })
            }
        }
    }

    /// Serves until `stop` is set; then all connections are closed.
    pub fn run(&self, stop: &AtomicBool) {
        let open = Open::default();
        let held = || open.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let Ok(socket) = self.listener.accept() else {
                    std::thread::sleep(POLL_INTERVAL);
                    continue;
                };
                let Ok(copy) = socket.try_clone() else { continue };
                if held().len() >= CONNECTIONS_MAX {
                    tracing::warn!("a connection is refused: {CONNECTIONS_MAX} are open");
                    socket.shut_down();
                    continue;
                }
                number = number.saturating_add(1);
                held().insert(number, copy);
                let (open, exports, number) = (&open, &self.exports, number);
                scope.spawn(move || {
                    if let Err(error) = serve(socket, exports) {
                        tracing::debug!(%error, "a connection ended");
                    }
                    open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                });
            }
            held().values().for_each(Socket::shut_down);
        });
    }
}

/// Takes one connection through both phases.
fn serve(socket: Socket, exports: &[Export]) -> Result<(), Error> {
    let limits = socket.try_clone().map_err(Error::io("set a timeout"))?;
    limits.set_timeouts(Some(HANDSHAKE_TIMEOUT), REPLY_TIMEOUT).map_err(Error::io("set a timeout"))?;
    let mut client = Client { wire: Wire::new(socket), structured: false, context: false, zeroes: true };
    let Some(export) = client.negotiate(exports)? else { return Ok(()) };
    // A client may have nothing to ask for a long time.
    limits.set_timeouts(None, REPLY_TIMEOUT).map_err(Error::io("set a timeout"))?;
    while client.answer(&*export.disk)? {}
    Ok(())
}

/// A connection and what was agreed on.
struct Client {
    wire: Wire,
    structured: bool,
    context: bool,
    /// Whether it expects zeros behind the answer to the oldest option.
    zeroes: bool,
}

const FLAGS: u16 = transmission::HAS_FLAGS | transmission::READ_ONLY | transmission::CAN_MULTI_CONN;

impl Client {
    /// Negotiates; returns the export that the client wants, or nothing if it goes.
    fn negotiate<'e>(&mut self, exports: &'e [Export]) -> Result<Option<&'e Export>, Error> {
        let hello = Packet::default().u64(MAGIC).u64(OPTION_MAGIC);
        self.wire.send(&hello.u16(handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES).done())?;
        let flags = self.wire.u32()?;
        if flags & !u32::from(handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES) != 0 {
            return Err(Error::protocol("the client has flags that nobody knows"));
        }
        self.zeroes = flags & u32::from(handshake::NO_ZEROES) == 0;
        for _ in 0..OPTIONS_MAX {
            if self.wire.u64()? != OPTION_MAGIC {
                return Err(Error::protocol("the client sends no option"));
            }
            let (option, length) = (self.wire.u32()?, self.wire.u32()?);
            let data = self.wire.bytes(length, OPTION_BYTES_MAX)?;
            match option {
                option::EXPORT_NAME => {
                    let Some(export) = find(exports, &data) else {
                        return Err(Error::protocol("the client asks for an unknown export"));
                    };
                    let zeros: &[u8] = if self.zeroes { &[0; 124] } else { &[] };
                    self.wire
                        .send(&Packet::default().u64(export.disk.size()).u16(FLAGS).bytes(zeros).done())?;
                    return Ok(Some(export));
                }
                option::ABORT => {
                    self.reply(option, reply::ACK, &[])?;
                    return Ok(None);
                }
                option::INFO | option::GO => {
                    if let Some(export) = self.inform(option, &data, exports)?
                        && option == option::GO
                    {
                        return Ok(Some(export));
                    }
                }
                _ => self.settle(option, &data, exports)?,
            }
        }
        Err(Error::protocol("the client negotiates without end"))
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> Result<(), Error> {
        self.wire.send(&Packet::default().u64(OPTION_REPLY_MAGIC).u32(option).u32(kind).counted(data).done())
    }

    /// Answers options that do not end the negotiation.
    fn settle(&mut self, option: u32, data: &[u8], exports: &[Export]) -> Result<(), Error> {
        match option {
            option::LIST if data.is_empty() => {
                for export in exports {
                    self.reply(
                        option,
                        reply::SERVER,
                        &Packet::default().counted(export.name.as_bytes()).done(),
                    )?;
                }
                self.reply(option, reply::ACK, &[])
            }
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                self.reply(option, reply::ACK, &[])
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(option, data, exports),
            option::LIST | option::STRUCTURED_REPLY => self.reply(option, reply::INVALID, &[]),
            _ => self.reply(option, reply::UNSUPPORTED, &[]),
        }
    }

    /// Tells what an export is.
    fn inform<'e>(
        &mut self,
        option: u32,
        data: &[u8],
        exports: &'e [Export],
    ) -> Result<Option<&'e Export>, Error> {
        let mut fields = Fields(data);
        let Some((name, count)) = fields.counted().zip(fields.u16()) else {
            self.reply(option, reply::INVALID, &[])?;
            return Ok(None);
        };
        let Some(export) = find(exports, name) else {
            self.reply(option, reply::UNKNOWN, b"`airlock list` names the VMs of a vault")?;
            return Ok(None);
        };
        let wanted: Vec<u16> = (0..count).map_while(|_| fields.u16()).collect();
        let told = Packet::default().u16(info::EXPORT).u64(export.disk.size()).u16(FLAGS);
        self.reply(option, reply::INFO, &told.done())?;
        if wanted.contains(&info::BLOCK_SIZE) {
            let sizes = BLOCK_SIZES.into_iter().fold(Packet::default().u16(info::BLOCK_SIZE), Packet::u32);
            self.reply(option, reply::INFO, &sizes.done())?;
        }
        self.reply(option, reply::ACK, &[])?;
        Ok(Some(export))
    }

    /// Agrees on the one context that there is.
    fn contexts(&mut self, option: u32, data: &[u8], exports: &[Export]) -> Result<(), Error> {
        let mut fields = Fields(data);
        let Some((name, count)) = fields.counted().zip(fields.u32()) else {
            return self.reply(option, reply::INVALID, &[]);
        };
        if find(exports, name).is_none() {
            return self.reply(option, reply::UNKNOWN, &[]);
        }
        let limit = u32::try_from(OPTIONS_MAX).unwrap_or(u32::MAX);
        let queries: Vec<&[u8]> = (0..count.min(limit)).map_while(|_| fields.counted()).collect();
        let all = option == option::LIST_META_CONTEXT && count == 0;
        let wanted = all || queries.iter().any(|query| *query == CONTEXT.as_bytes() || *query == b"base:");
        if option == option::SET_META_CONTEXT {
            if !self.structured {
                return self.reply(option, reply::INVALID, b"structured replies come first");
            }
            self.context = wanted;
        }
        if wanted {
            let told = Packet::default().u32(CONTEXT_ID).bytes(CONTEXT.as_bytes());
            self.reply(option, reply::META_CONTEXT, &told.done())?;
        }
        self.reply(option, reply::ACK, &[])
    }

    /// Answers one request. Returns whether there may be another.
    fn answer(&mut self, disk: &dyn BlockSource) -> Result<bool, Error> {
        if self.wire.u32()? != REQUEST_MAGIC {
            return Err(Error::protocol("the client sends no request"));
        }
        let (flags, kind, cookie) = (self.wire.u16()?, self.wire.u16()?, self.wire.u64()?);
        let (offset, length) = (self.wire.u64()?, self.wire.u32()?);
        let inside = length > 0 && offset.checked_add(length.into()).is_some_and(|end| end <= disk.size());
        match kind {
            command::DISCONNECT => return Ok(false),
            command::READ if inside && length <= PAYLOAD_BYTES_MAX => {
                self.read(disk, cookie, offset, length)?;
            }
            command::BLOCK_STATUS if inside && self.context => {
                self.status(disk, cookie, (offset, length), flags & command::REQ_ONE != 0)?;
            }
            command::WRITE if length > PAYLOAD_BYTES_MAX => {
                return Err(Error::protocol("the client writes more than anybody takes"));
            }
            command::WRITE => {
                self.wire.skip(length.into())?;
                self.fail(cookie, error::PERMISSION)?;
            }
            command::TRIM | command::WRITE_ZEROES => self.fail(cookie, error::PERMISSION)?,
            command::READ | command::BLOCK_STATUS => self.fail(cookie, error::INVALID)?,
            _ => self.fail(cookie, error::NOT_SUPPORTED)?,
        }
        Ok(true)
    }

    fn read(&mut self, disk: &dyn BlockSource, cookie: u64, offset: u64, length: u32) -> Result<(), Error> {
        let span = disk.span_at(offset);
        let hole = span.is_ok_and(|span| span.kind == SpanKind::Zero && span.length >= u64::from(length));
        if hole && self.structured {
            let head = self.chunk(cookie, chunk::OFFSET_HOLE, 12);
            return self.wire.send(&head.u64(offset).u32(length).done());
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        if !hole && let Err(error) = disk.read_at(offset, &mut bytes) {
            tracing::warn!(offset, %error, "the disk cannot be read");
            return self.fail(cookie, error::IO);
        }
        let head = if self.structured {
            self.chunk(cookie, chunk::OFFSET_DATA, length.saturating_add(8)).u64(offset)
        } else {
            Packet::default().u32(SIMPLE_REPLY_MAGIC).u32(0).u64(cookie)
        };
        self.wire.send(&head.done())?;
        self.wire.send(&bytes)
    }

    /// Begins the only chunk of a reply.
    fn chunk(&self, cookie: u64, kind: u16, length: u32) -> Packet {
        debug_assert!(self.structured, "only then there are chunks");
        Packet::default().u32(STRUCTURED_REPLY_MAGIC).u16(chunk::DONE).u16(kind).u64(cookie).u32(length)
    }

    fn status(
        &mut self,
        disk: &dyn BlockSource,
        cookie: u64,
        (offset, length): (u64, u32),
        one: bool,
    ) -> Result<(), Error> {
        let Some(spans) = spans(disk, offset, length.into(), if one { 1 } else { EXTENTS_TOLD_MAX }) else {
            return self.fail(cookie, error::IO);
        };
        let bytes = u32::try_from(spans.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_add(4);
        let head = self.chunk(cookie, chunk::BLOCK_STATUS, bytes).u32(CONTEXT_ID);
        let told = spans.iter().fold(head, |packet, span| {
            packet.u32(u32::try_from(span.length).unwrap_or(u32::MAX)).u32(flags(span.kind))
        });
        self.wire.send(&told.done())
    }

    fn fail(&mut self, cookie: u64, error: u32) -> Result<(), Error> {
        let packet = if self.structured {
            self.chunk(cookie, chunk::PLAIN_ERROR, 6).u32(error).u16(0)
        } else {
            Packet::default().u32(SIMPLE_REPLY_MAGIC).u32(error).u64(cookie)
        };
        self.wire.send(&packet.done())
    }
}

fn find<'e>(exports: &'e [Export], name: &[u8]) -> Option<&'e Export> {
    if name.is_empty() {
        exports.first()
    } else {
        exports.iter().find(|export| export.name.as_bytes() == name)
    }
}

/// Returns the extents of a part of a disk, at most `most` of them; none if the disk does not tell.
fn spans(disk: &dyn BlockSource, offset: u64, length: u64, most: usize) -> Option<Vec<Span>> {
    let end = offset.checked_add(length)?;
    let mut spans: Vec<Span> = Vec::new();
    let mut at = offset;
    while at < end {
        let span = disk.span_at(at).ok()?;
        let length = span.length.min(end.saturating_sub(at)).max(1);
        at = at.saturating_add(length);
        let full = spans.len() >= most;
        match spans.last_mut() {
            Some(last) if last.kind == span.kind => last.length = last.length.saturating_add(length),
            _ if full => break,
            _ => spans.push(Span { kind: span.kind, length }),
        }
    }
    Some(spans)
}
