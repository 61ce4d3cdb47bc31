//! `airlock bench-read`: the same reading as a scan does, with a hash and nothing else.

use super::Context;
use super::report::Clock;
use crate::cli::BenchReadArgs;
use crate::failure::{Code, Failure};
use crate::{output, site, stats};
use airlock_disk::SpanKind;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a thread reads and hashes at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Runs the verb.
pub(crate) fn run(_: Context, args: &BenchReadArgs) -> Result<Code, Failure> {
    let clock = Clock::start();
    let source = site::source(&args.source, true)?;
    let disk = source.disk();
    let next = AtomicU64::new(0);
    let read = AtomicU64::new(0);
    let threads = args.threads.unwrap_or_else(stats::processors);
    let work = || -> Result<(), airlock_disk::Error> {
        let mut buffer = Vec::new();
        loop {
            let offset = next.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            if offset >= disk.size() {
                return Ok(());
            }
            let length = PIECE_BYTES.min(disk.size() - offset);
            let span = disk.span_at(offset)?;
            if span.kind == SpanKind::Zero && span.length >= length {
                continue;
            }
            buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
            disk.read_at(offset, &mut buffer)?;
            std::hint::black_box(blake3::hash(&buffer));
            read.fetch_add(length, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a reader does not panic"))
    })
    .map_err(|error| Failure::of(Code::Error, &error))?;
    let value = serde_json::json!({
        "schema": "airlock.bench-read/1",
        "stats": { "bytes_read": read.load(Ordering::Relaxed), "usage": clock.usage() },
    });
    output::json(&value)?;
    Ok(Code::Clean)
}
