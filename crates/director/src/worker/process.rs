//! Starts a worker, gives it orders, and finds out how it ended.

use super::lane::{Broken, Lane, Talk};
use super::wire::{self, Answer, Begin, Begun, Order, VERSION};
use super::{Lost, WorkerConfig, inventory, map};
use airlock_checks::{Elsewhere, Examined, Rules, StationError, Unit};
use airlock_disk::{BlockSource, read_extents};
use airlock_guest::Survey;
use airlock_inventory::Inventory;
use airlock_model::{Extent, Space};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{BufWriter, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Most lanes of a worker: so many descriptors go into one message.
pub(super) const LANES_MAX: usize = 200;
/// Bytes of memory for each thread of a worker: its stack, its buffers, and the windows of the
/// codecs that one file goes through.
const THREAD_BYTES: u64 = 96 << 20;
/// Memory for each byte of a list of the site: the list, its index, and what it was read from.
const LIST_FACTOR: u64 = 3;
/// Seconds of processor time of a worker, and those for each GiB of the disk: twenty times what inspecting
/// takes.
const CPU_SECONDS: u64 = 600;
const CPU_SECONDS_PER_GIB: u64 = 120;
/// How long a worker may take to start and to end.
const START_MAX: Duration = Duration::from_mins(1);
const END_MAX: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of its standard error that are looked at.
const SAID_BYTES_MAX: u64 = 4096;

/// A worker for one transfer.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Mutex<Child>,
    control: UnixStream,
    /// Lanes that are free.
    lanes: Mutex<Vec<Lane>>,
    freed: Condvar,
    lost: Mutex<Option<Lost>>,
}

/// What a worker is started for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'t> {
    pub(crate) space: &'t Space,
    /// The policies of both sites, as YAML.
    pub(crate) policies: [&'t str; 2],
    pub(crate) rules: &'t Rules,
    pub(crate) fingerprint_key: [u8; 32],
    /// Threads of the director that give it orders at once.
    pub(crate) lanes: usize,
}

impl Worker {
    /// Starts a worker. It is in the jail when this returns.
    pub(crate) fn start(config: &WorkerConfig, task: Task<'_>) -> Result<Self, Lost> {
        let failed = |error: std::io::Error| Lost::NotStarted(error.to_string());
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        let mut lanes = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..task.lanes.clamp(1, LANES_MAX) {
            let (here, there) = UnixStream::pair().map_err(failed)?;
            lanes.push(Lane::new(here, config.silence).map_err(failed)?);
            ends.push(there);
        }
        let child = Command::new(&config.program)
            .args(&config.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let worker = Self {
            child: Mutex::new(child),
            control,
            lanes: Mutex::new(lanes),
            freed: Condvar::new(),
            lost: Mutex::default(),
        };
        worker.begin(config, task, ends).map_err(|broken| match broken {
            Ok(lost) => lost,
            Err(broken) => worker.lose(broken),
        })?;
        Ok(worker)
    }

    /// Hands over what the worker needs, and waits until it is in the jail.
    fn begin(
        &self,
        config: &WorkerConfig,
        task: Task<'_>,
        ends: Vec<UnixStream>,
    ) -> Result<(), Result<Lost, Broken>> {
        let broken = |error: std::io::Error| Err(Broken::from(error));
        let gib = task.space.size() >> 30;
        let begin = Begin {
            version: VERSION,
            space: task.space.clone(),
            policies: task.policies.map(str::to_owned),
            fingerprint_key: task.fingerprint_key,
            memory_bytes: config
                .memory_bytes
                .saturating_add((THREAD_BYTES + task.rules.window_bytes()) * ends.len() as u64)
                .saturating_add(task.rules.list_bytes().saturating_mul(LIST_FACTOR)),
            cpu_seconds: CPU_SECONDS.saturating_add(gib.saturating_mul(CPU_SECONDS_PER_GIB)),
        };
        self.control.set_read_timeout(Some(START_MAX.min(config.silence))).map_err(broken)?;
        self.control.set_write_timeout(Some(START_MAX)).map_err(broken)?;
        send_descriptors(&self.control, &ends).map_err(broken)?;
        drop(ends);
        let mut control = BufWriter::new(&self.control);
        wire::send(&mut control, &begin, &[])
            .and_then(|()| task.rules.hand_over_lists(&mut control))
            .and_then(|()| control.flush())
            .map_err(broken)?;
        match wire::receive(&self.control, &mut Vec::new()).map_err(broken)? {
            (Begun::Ready { rules }, 0) if rules == task.rules.content_digest() => Ok(()),
            (Begun::Ready { .. }, _) => Err(Err(Broken::Untrue("it inspects with other rules"))),
            (Begun::NotJailed { why }, _) => {
                let lost = Lost::NotJailed(why.escape_default().take(1000).collect());
                Err(Ok(self.lost().get_or_insert(lost).clone()))
            }
        }
    }

    fn lost(&self) -> MutexGuard<'_, Option<Lost>> {
        self.lost.lock().expect("no holder of this lock panics")
    }

    /// Returns why the worker is lost, if it is.
    pub(crate) fn failure(&self) -> Option<Lost> {
        self.lost().clone()
    }

    /// Ends the worker because of this, and finds out what has really happened to it. The first reason stays.
    fn lose(&self, broken: Broken) -> Lost {
        let mut lost = self.lost();
        let lost = lost.get_or_insert_with(|| match broken {
            Broken::Gone => {
                let (status, said) = self.wait();
                status.map_or(Lost::Untrue("it listens no more"), |status| Lost::of(status, &said))
            }
            Broken::Silent => Lost::Silent,
            Broken::Untrue(why) => Lost::Untrue(why),
        });
        self.kill();
        self.freed.notify_all();
        lost.clone()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().expect("no holder of this lock panics")
    }

    fn kill(&self) {
        let mut child = self.child();
        // It may have ended by itself; then there is nothing to kill, and it is waited for all the same.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits a while for the worker to end. Returns how it did, and the first of what it said.
    fn wait(&self) -> (Option<ExitStatus>, Vec<u8>) {
        let mut child = self.child();
        let mut waited = Duration::ZERO;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if waited < END_MAX => {
                    std::thread::sleep(POLL_INTERVAL);
                    waited += POLL_INTERVAL;
                }
                _ => return (None, Vec::new()),
            }
        };
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            // What cannot be read says nothing.
            let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut said);
        }
        (status, said)
    }

    /// Lets the worker end. What it said counts if it was there to the end and leaves in order.
    pub(crate) fn end(&self) -> Result<(), Lost> {
        if let Some(lost) = self.failure() {
            return Err(lost);
        }
        // If it is gone, that is found out below.
        let _ = self.control.shutdown(Shutdown::Both);
        let (status, said) = self.wait();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.lost().get_or_insert_with(|| Lost::of(status, &said)).clone()),
            None => Err(self.lose(Broken::Silent)),
        }
    }

    /// Does something on a lane that nobody else uses meanwhile.
    fn on_lane<T>(&self, act: impl FnOnce(&mut Lane) -> Result<T, Broken>) -> Result<T, Lost> {
        let mut lanes = self.lanes.lock().expect("no holder of this lock panics");
        let mut lane = loop {
            if let Some(lost) = self.failure() {
                return Err(lost);
            }
            match lanes.pop() {
                Some(lane) => break lane,
                None => lanes = self.freed.wait(lanes).expect("no holder of this lock panics"),
            }
        };
        drop(lanes);
        let done = act(&mut lane).map_err(|broken| self.lose(broken))?;
        self.lanes.lock().expect("no holder of this lock panics").push(lane);
        self.freed.notify_one();
        Ok(done)
    }

    /// Has a disk surveyed; nothing if it cannot be read.
    pub(crate) fn survey(&self, disk: &dyn BlockSource) -> Result<Option<Survey>, Lost> {
        self.on_lane(|lane| {
            let mut talk = lane.order(&Order::Survey, &[], (disk, disk.size()))?;
            let mut survey = map::TakeOver::new(disk.size());
            loop {
                match talk.hear()? {
                    Answer::Volumes(volumes) => survey.volumes(volumes)?,
                    Answer::Map(rows) => survey.rows(rows)?,
                    Answer::Surveyed { limits } => return Ok(Some(survey.finish(limits)?)),
                    Answer::NotSurveyed => return Ok(None),
                    _ => return Err(Broken::Untrue("it answers what it was not asked")),
                }
            }
        })
    }

    /// Has the inventory taken of a disk as it was surveyed last.
    pub(crate) fn inventory(&self, disk: &dyn BlockSource) -> Result<Inventory, Lost> {
        self.on_lane(|lane| {
            let mut talk = lane.order(&Order::Inventory, &[], (disk, disk.size()))?;
            let mut inventory = inventory::TakeOver::default();
            loop {
                match talk.hear()? {
                    Answer::Packages(rows) => inventory.packages(rows)?,
                    Answer::Products(rows) => inventory.products(rows)?,
                    Answer::Inventoried { systems, left_out } => {
                        return Ok(inventory.finish(systems, left_out)?);
                    }
                    _ => return Err(Broken::Untrue("it answers what it was not asked")),
                }
            }
        })
    }
}

impl Elsewhere for Worker {
    fn examine(
        &self,
        disk: &dyn BlockSource,
        unit: Unit,
        ahead: &[Extent],
    ) -> Result<Examined, StationError> {
        let examined = self.on_lane(|lane| {
            // What cannot be read is asked for, and found out then.
            let body = read_extents(disk, ahead).unwrap_or_default();
            let ahead = if body.is_empty() { Vec::new() } else { ahead.to_vec() };
            let bytes = match unit {
                Unit::File { .. } => disk.size(),
                Unit::Part { length, .. } => length,
            };
            let mut talk: Talk<'_> = lane.order(&Order::Examine { unit, ahead }, &body, (disk, bytes))?;
            match talk.hear()? {
                Answer::Examined(examined) => Ok(examined),
                _ => Err(Broken::Untrue("it answers what it was not asked")),
            }
        });
        examined.map_err(|lost| StationError::Elsewhere(lost.into()))
    }

    fn distrust(&self, why: &'static str) -> StationError {
        StationError::Elsewhere(self.lose(Broken::Untrue(why)).into())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn send_descriptors(control: &UnixStream, ends: &[UnixStream]) -> std::io::Result<()> {
    let descriptors: Vec<_> = ends.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LANES_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let count = u8::try_from(ends.len()).unwrap_or(u8::MAX);
    sendmsg(control, &[IoSlice::new(&[count])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}
