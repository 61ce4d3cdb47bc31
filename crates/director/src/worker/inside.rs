//! The worker itself.

use super::process::LANES_MAX;
use super::wire::{self, Answer, BODY_BYTES_MAX, Begin, Begun, Order, RECEIVE_BYTES, VERSION};
use super::{inventory, map};
use airlock_checks::{Examined, Lists, Progress, Rules, Station, Unit};
use airlock_disk::{BlockSource, Error as DiskError, Format, Span, SpanKind, check_range};
use airlock_guest::Survey;
use airlock_jail::Limits;
use airlock_model::{Extent, Reason, Site, Space};
use airlock_policy::{Document, Effective};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{BufReader, Error, ErrorKind, IoSliceMut, Read, Result, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, OnceLock, RwLock};

/// Changes what a worker says, for tests of whoever listens.
type Tamper = dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync;

/// Serves a director as its worker until it hangs up. The standard input is the socket to it.
///
/// Call it while there is one thread: it takes everything else from this process.
pub fn run() -> Result<()> {
    run_tampered(Box::new(|frame| frame))
}

/// Is [`run`] for tests: every answer, as it goes onto the wire, goes through `tamper`, on any thread.
#[doc(hidden)]
pub fn run_tampered(tamper: Box<Tamper>) -> Result<()> {
    let control = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let lanes = receive_descriptors(&control)?;
    let mut from = BufReader::new(&control);
    let (begin, _) = wire::receive::<Begin>(&mut from, &mut Vec::new())?;
    if begin.version != VERSION {
        return Err(ErrorKind::Unsupported.into());
    }
    let lists = Lists::take_over(&mut from)?;
    let gate = Barrier::new(lanes.len() + 1);
    let (space, criteria, survey) = (begin.space, OnceLock::new(), RwLock::default());
    let shared = Arc::new(Shared { space, criteria, survey, gate, tamper });
    let limits = Limits { memory_bytes: begin.memory_bytes, cpu_seconds: begin.cpu_seconds };
    let start = || {
        for stream in lanes {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || serve(stream, &shared));
        }
        shared.gate.wait();
    };
    if let Err(error) = airlock_jail::enter(limits, start) {
        let why = chain(&error);
        return wire::send(&control, &Begun::NotJailed { why }, &[]);
    }
    // The source's policy may be hostile, too.
    let [one, other] = begin.policies.map(|yaml| Document::parse(&yaml));
    let invalid = |_| Error::from(ErrorKind::InvalidData);
    let policy = Effective::merge(&one.map_err(invalid)?, &other.map_err(invalid)?);
    let rules = lists.into_rules(begin.fingerprint_key);
    let digest = rules.content_digest();
    let rules = rules.asked_for(&policy, Site::Destination);
    shared.criteria.get_or_init(|| Criteria { rules, policy });
    wire::send(&control, &Begun::Ready { rules: digest }, &[])?;
    shared.gate.wait();
    // The director says nothing more here; when it hangs up, this process and its threads end.
    while from.read(&mut [0])? > 0 {}
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn receive_descriptors(control: &UnixStream) -> Result<Vec<UnixStream>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LANES_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut count = [0];
    recvmsg(control, &mut [IoSliceMut::new(&mut count)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut lanes = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            lanes.extend(descriptors.map(|descriptor: OwnedFd| UnixStream::from(descriptor)));
        }
    }
    if lanes.is_empty() || lanes.len() != usize::from(count[0]) {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(lanes)
}

/// What is inspected with.
struct Criteria {
    rules: Rules,
    policy: Effective,
}

/// What the threads of a worker share.
struct Shared {
    space: Space,
    /// There when the gate opens for the second time.
    criteria: OnceLock<Criteria>,
    survey: RwLock<Option<Arc<Survey>>>,
    /// Opens when all threads run, and again when the process is in the jail: what a thread does to start is
    /// not allowed there.
    gate: Barrier,
    tamper: Box<Tamper>,
}

impl Shared {
    fn survey(&self) -> Option<Arc<Survey>> {
        self.survey.read().expect("no holder of this lock panics").clone()
    }
}

/// Ends the process if a thread panics: the others must not go on as if nothing had happened.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Serves one lane until the director hangs up.
fn serve(stream: UnixStream, shared: &Shared) {
    let _end = EndOnPanic;
    let disk =
        FarDisk { size: shared.space.size(), tamper: &shared.tamper, wire: Mutex::new(Wire::new(stream)) };
    shared.gate.wait();
    shared.gate.wait();
    // The director knows why it has hung up.
    let _ = follow(&disk, shared);
}

fn follow(disk: &FarDisk<'_>, shared: &Shared) -> Result<()> {
    let Criteria { rules, policy } = shared.criteria.get().ok_or(ErrorKind::InvalidInput)?;
    let station = Station::new(rules, policy, Site::Destination).without_hashing();
    let mut order = disk.next_order()?;
    loop {
        order = match order {
            Order::Survey => {
                survey(disk, shared)?;
                disk.next_order()?
            }
            Order::Inventory => {
                let survey = shared.survey().ok_or(ErrorKind::InvalidInput)?;
                let taken = airlock_inventory::take(disk, &shared.space, &survey);
                inventory::hand_over(taken, &mut |answer| disk.say(answer))?;
                disk.next_order()?
            }
            Order::Examine { unit, .. } => examine(disk, shared, &station, unit)?,
            Order::Bytes | Order::Unreadable | Order::Span { .. } => {
                return Err(ErrorKind::InvalidInput.into());
            }
        };
    }
}

fn survey(disk: &FarDisk<'_>, shared: &Shared) -> Result<()> {
    let Ok(survey) = airlock_guest::survey_space(disk, &shared.space) else {
        return disk.say(&Answer::NotSurveyed);
    };
    let survey = Arc::new(survey);
    *shared.survey.write().expect("no holder of this lock panics") = Some(Arc::clone(&survey));
    map::hand_over(&survey, &mut |answer| disk.say(answer))
}

/// Examines units as long as nothing else is ordered and the survey is the same. Returns what is ordered then.
fn examine(disk: &FarDisk<'_>, shared: &Shared, station: &Station<'_>, mut unit: Unit) -> Result<Order> {
    let survey = shared.survey().ok_or(ErrorKind::InvalidInput)?;
    let progress = Progress::default();
    let mut examiner = station.examiner(&shared.space, disk, &survey, &progress);
    loop {
        let examined = examiner.examine(&unit).ok_or(ErrorKind::InvalidInput)?;
        disk.say_examined(examined)?;
        let order = disk.next_order()?;
        let same = || shared.survey().is_some_and(|newest| Arc::ptr_eq(&newest, &survey));
        match order {
            Order::Examine { unit: next, .. } if same() => unit = next,
            order => return Ok(order),
        }
    }
}

/// The disk, whose bytes the director has.
struct FarDisk<'s> {
    size: u64,
    tamper: &'s Tamper,
    wire: Mutex<Wire>,
}

/// The worker's end of a lane.
struct Wire {
    stream: BufReader<UnixStream>,
    header: Vec<u8>,
    /// What came along with the last order, and where it belongs.
    ahead: Vec<(Extent, usize)>,
    bytes: Vec<u8>,
}

impl Wire {
    fn new(stream: UnixStream) -> Self {
        let stream = BufReader::with_capacity(RECEIVE_BYTES, stream);
        Self { stream, header: Vec::new(), ahead: Vec::new(), bytes: Vec::new() }
    }

    /// Returns what is at hand from `offset` on.
    fn at_hand(&self, offset: u64) -> Option<&[u8]> {
        let (extent, start) =
            self.ahead.iter().find(|(extent, _)| extent.offset <= offset && offset < extent.end())?;
        let index = |bytes: u64| usize::try_from(bytes).ok();
        let from = start.checked_add(index(offset - extent.offset)?)?;
        self.bytes.get(from..start.checked_add(index(extent.length)?)?)
    }
}

impl std::fmt::Debug for FarDisk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FarDisk({} bytes)", self.size)
    }
}

impl FarDisk<'_> {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().expect("no holder of this lock panics")
    }

    fn write(&self, wire: &Wire, answer: &Answer) -> Result<()> {
        let frame = wire::encode(answer, 0)?;
        wire.stream.get_ref().write_all(&(self.tamper)(frame))
    }

    fn say(&self, answer: &Answer) -> Result<()> {
        self.write(&self.wire(), answer)
    }

    /// Says what a unit came to. If that does not fit into a frame, it is cut and says so.
    fn say_examined(&self, mut examined: Examined) -> Result<()> {
        loop {
            let answer = Answer::Examined(examined);
            match self.say(&answer) {
                Err(error) if error.kind() == ErrorKind::FileTooLarge => {}
                said => return said,
            }
            let Answer::Examined(mut long) = answer else { return Ok(()) };
            if long.findings.is_empty() {
                return Err(ErrorKind::FileTooLarge.into());
            }
            long.findings.truncate(long.findings.len() / 2);
            long.plain = long.plain.min(long.findings.len());
            long.unscannable.insert(Reason::Limit);
            examined = long;
        }
    }

    fn next_order(&self) -> Result<Order> {
        let mut wire = self.wire();
        let Wire { stream, header, ahead, bytes } = &mut *wire;
        let (order, length) = wire::receive::<Order>(&mut *stream, header)?;
        bytes.resize(length, 0);
        stream.read_exact(bytes)?;
        ahead.clear();
        if let Order::Examine { ahead: extents, .. } = &order {
            let mut start = 0_usize;
            for extent in extents {
                ahead.push((*extent, start));
                start = start.saturating_add(usize::try_from(extent.length).unwrap_or(usize::MAX));
            }
        }
        Ok(order)
    }

    fn fill(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let mut wire = self.wire();
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            if let Some(bytes) = wire.at_hand(at) {
                let count = bytes.len().min(into.len() - done);
                into[done..done + count].copy_from_slice(&bytes[..count]);
                done += count;
                continue;
            }
            let next = wire.ahead.iter().map(|(extent, _)| extent.offset).filter(|start| *start > at).min();
            let room = next.map_or(usize::MAX, |next| usize::try_from(next - at).unwrap_or(usize::MAX));
            let count = (into.len() - done).min(BODY_BYTES_MAX).min(room);
            let length = u32::try_from(count).unwrap_or(u32::MAX);
            self.write(&wire, &Answer::Read { offset: at, length })?;
            let Wire { stream, header, .. } = &mut *wire;
            match wire::receive::<Order>(&mut *stream, header)? {
                (Order::Bytes, body) if body == count => stream.read_exact(&mut into[done..done + count])?,
                (Order::Unreadable, 0) => return Err(ErrorKind::Other.into()),
                _ => return Err(ErrorKind::InvalidData.into()),
            }
            done += count;
        }
        Ok(())
    }
}

impl BlockSource for FarDisk<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<(), DiskError> {
        check_range(self.size, offset, buffer)?;
        self.fill(offset, buffer).map_err(|source| DiskError::Io { what: "read", offset, source })
    }

    fn span_at(&self, offset: u64) -> std::result::Result<Span, DiskError> {
        check_range(self.size, offset, &[0])?;
        let failed = |source| DiskError::Io { what: "ask for a span", offset, source };
        let mut wire = self.wire();
        if let Some(bytes) = wire.at_hand(offset) {
            return Ok(Span { kind: SpanKind::Data, length: bytes.len() as u64 });
        }
        self.write(&wire, &Answer::Span { offset }).map_err(failed)?;
        let Wire { stream, header, .. } = &mut *wire;
        match wire::receive::<Order>(&mut *stream, header).map_err(failed)? {
            (Order::Span { data, length }, 0) if length > 0 => {
                let kind = if data { SpanKind::Data } else { SpanKind::Zero };
                Ok(Span { kind, length: length.min(self.size - offset) })
            }
            _ => Err(failed(ErrorKind::InvalidData.into())),
        }
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}
