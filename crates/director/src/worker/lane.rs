//! The director's end of a lane.

use super::wire::{self, Answer, BODY_BYTES_MAX, Order, RECEIVE_BYTES};
use airlock_disk::{BlockSource, SpanKind};
use std::io::{BufReader, Error, ErrorKind};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes that a worker is given a second more for.
const BYTES_PER_SECOND: u64 = 1 << 20;

/// Why a lane is of no more use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    /// Nobody is at the other end, or only noise.
    Gone,
    /// Nothing came in time.
    Silent,
    /// It said what cannot be true.
    Untrue(&'static str),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silent,
            ErrorKind::InvalidData => Self::Untrue("it sends what is no answer"),
            _ => Self::Gone,
        }
    }
}

impl From<&'static str> for Broken {
    fn from(why: &'static str) -> Self {
        Self::Untrue(why)
    }
}

/// One end of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    stream: BufReader<UnixStream>,
    header: Vec<u8>,
    body: Vec<u8>,
    silence: Duration,
}

/// What is being done on a lane for one order.
#[derive(Debug)]
pub(super) struct Talk<'l> {
    lane: &'l mut Lane,
    disk: &'l dyn BlockSource,
    /// How long the worker may still take.
    left: Duration,
}

impl Lane {
    pub(super) fn new(stream: UnixStream, silence: Duration) -> std::io::Result<Self> {
        stream.set_write_timeout(Some(silence))?;
        let stream = BufReader::with_capacity(RECEIVE_BYTES, stream);
        Ok(Self { stream, header: Vec::new(), body: Vec::new(), silence })
    }

    /// Gives an order that is about `bytes` of the disk, and serves what the worker asks for.
    pub(super) fn order<'l>(
        &'l mut self,
        order: &Order,
        body: &[u8],
        (disk, bytes): (&'l dyn BlockSource, u64),
    ) -> Result<Talk<'l>, Broken> {
        self.stream.get_ref().set_read_timeout(Some(self.silence))?;
        wire::send(self.stream.get_ref(), order, body)?;
        let left = self.silence + Duration::from_secs(bytes / BYTES_PER_SECOND);
        Ok(Talk { lane: self, disk, left })
    }
}

impl Talk<'_> {
    /// Returns the next answer that is no question.
    pub(super) fn hear(&mut self) -> Result<Answer, Broken> {
        loop {
            let lane = &mut *self.lane;
            let asked = Instant::now();
            if self.left < lane.silence {
                lane.stream.get_ref().set_read_timeout(Some(self.left))?;
            }
            let (answer, body) = wire::receive(&mut lane.stream, &mut lane.header)?;
            if body != 0 {
                return Err(Broken::Untrue("it sends bytes where none are wanted"));
            }
            self.left = self.left.saturating_sub(asked.elapsed());
            if self.left.is_zero() {
                return Err(Broken::Silent);
            }
            match answer {
                Answer::Read { offset, length } => self.serve(offset, length)?,
                Answer::Span { offset } => self.span(offset)?,
                answer => return Ok(answer),
            }
        }
    }

    fn serve(&mut self, offset: u64, length: u32) -> Result<(), Broken> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let end = offset.checked_add(length as u64);
        if length > BODY_BYTES_MAX || end.is_none_or(|end| end > self.disk.size()) {
            return Err(Broken::Untrue("it reads behind the end of the disk"));
        }
        let lane = &mut *self.lane;
        if lane.body.len() < length {
            lane.body.resize(length, 0);
        }
        match self.disk.read_at(offset, &mut lane.body[..length]) {
            Ok(()) => wire::send(lane.stream.get_ref(), &Order::Bytes, &lane.body[..length])?,
            // Why is of no use there.
            Err(_) => wire::send(lane.stream.get_ref(), &Order::Unreadable, &[])?,
        }
        Ok(())
    }

    fn span(&mut self, offset: u64) -> Result<(), Broken> {
        if offset >= self.disk.size() {
            return Err(Broken::Untrue("it reads behind the end of the disk"));
        }
        let order = match self.disk.span_at(offset) {
            Ok(span) => Order::Span { data: span.kind == SpanKind::Data, length: span.length },
            Err(_) => Order::Unreadable,
        };
        Ok(wire::send(self.lane.stream.get_ref(), &order, &[])?)
    }
}
