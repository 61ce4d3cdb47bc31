//! A connection as big-endian numbers and bytes.

use crate::Error;
use std::io::{BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::uri::Address;

/// Bytes that are read from a socket at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A socket of either kind.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(crate) fn connect(address: &Address, timeout: Duration) -> std::io::Result<Self> {
        match address {
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            Address::Tcp { host, port } => {
                let mut last = std::io::ErrorKind::NotFound.into();
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(socket) => {
                            socket.set_nodelay(true)?;
                            return Ok(Self::Tcp(socket));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    pub(crate) fn set_timeouts(&self, read: Option<Duration>, write: Duration) -> std::io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_read_timeout(read)?;
                socket.set_write_timeout(Some(write))
            }
            Self::Unix(socket) => {
                socket.set_read_timeout(read)?;
                socket.set_write_timeout(Some(write))
            }
        }
    }

    /// Ends both directions; whoever reads or writes on it gets an error.
    pub(crate) fn shut_down(&self) {
        let both = std::net::Shutdown::Both;
        // It may be gone already.
        let _ = match self {
            Self::Tcp(socket) => socket.shutdown(both),
            Self::Unix(socket) => socket.shutdown(both),
        };
    }

    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(into),
            Self::Unix(socket) => socket.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A connection that is read through a buffer.
#[derive(Debug)]
pub(crate) struct Wire {
    reader: BufReader<Socket>,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER_BYTES, socket) }
    }

    pub(crate) fn socket(&self) -> &Socket {
        self.reader.get_ref()
    }

    pub(crate) fn fill(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.reader.read_exact(into).map_err(Error::io("read from the other side"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads `length` bytes, which must be `limit` at most.
    pub(crate) fn bytes(&mut self, length: u32, limit: u32) -> Result<Vec<u8>, Error> {
        if length > limit {
            return Err(Error::protocol(format!("it announces {length} bytes, over the limit of {limit}")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads `length` bytes and forgets them.
    pub(crate) fn skip(&mut self, length: u64) -> Result<(), Error> {
        let skipped = std::io::copy(&mut (&mut self.reader).take(length), &mut std::io::sink());
        match skipped.map_err(Error::io("read from the other side"))? {
            skipped if skipped == length => Ok(()),
            _ => Err(Error::io("read from the other side")(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.reader.get_mut().write_all(bytes).map_err(Error::io("write to the other side"))
    }
}

/// Puts a message together.
#[derive(Debug, Default)]
pub(crate) struct Packet(Vec<u8>);

impl Packet {
    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A length and the bytes.
    pub(crate) fn counted(self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.u32(length).bytes(bytes)
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a message apart.
#[derive(Debug)]
pub(crate) struct Fields<'b>(pub(crate) &'b [u8]);

impl<'b> Fields<'b> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A length and the bytes.
    pub(crate) fn counted(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }
}
