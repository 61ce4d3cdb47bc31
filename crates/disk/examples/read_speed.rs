//! Reads a whole image in order, without its zeros, and says how fast.
//!
//! ```text
//! cargo run --release -p airlock-disk --example read_speed -- IMAGE [OUTPUT [THREADS]]
//! ```
//!
//! With an output the bytes are written to a raw file, as `qemu-img convert -O raw` does.
#![expect(clippy::print_stdout, reason = "it is what the example is for")]

use airlock_disk::{BlockSource, OpenOptions, SpanKind, open};
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What one thread takes at once.
const STEP: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("name an image")?);
    let output = arguments.next().filter(|name| name != "-").map(PathBuf::from);
    let threads = arguments.next().and_then(|word| word.to_str()?.parse().ok()).unwrap_or(1_u32);
    let options =
        OpenOptions { allow_backing: path.parent().map(Path::to_path_buf), ..OpenOptions::default() };
    let start = Instant::now();
    let opened = open(&path, &options)?;
    let source = &*opened.source;
    let create = |path| File::options().write(true).create(true).truncate(true).open(path);
    let output = output.map(create).transpose()?;
    if let Some(file) = &output {
        file.set_len(source.size())?;
    }
    let next = AtomicU64::new(0);
    let work = || read(source, output.as_ref(), &next);
    let data = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| "a thread panicked")?)
            .sum::<Result<u64, _>>()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mebibytes = f64::from(u32::try_from(data >> 20)?);
    println!(
        "{}: {mebibytes} MiB of data in {seconds:.3} s, {:.0} MiB/s",
        source.format(),
        mebibytes / seconds
    );
    Ok(())
}

/// Reads steps of the disk until there are no more; returns how many bytes were data.
fn read(source: &dyn BlockSource, output: Option<&File>, next: &AtomicU64) -> Result<u64, &'static str> {
    let mut buffer = vec![0; usize::try_from(STEP).unwrap_or(0)];
    let mut data = 0;
    loop {
        let mut at = next.fetch_add(STEP, Ordering::Relaxed);
        if at >= source.size() {
            return Ok(data);
        }
        let end = (at + STEP).min(source.size());
        while at < end {
            let span = source.span_at(at).map_err(|_| "cannot tell data from zeros")?;
            let length = span.length.min(end - at);
            if span.kind == SpanKind::Data {
                let part = &mut buffer[..usize::try_from(length).unwrap_or(0)];
                source.read_at(at, part).map_err(|_| "cannot read")?;
                if let Some(file) = output {
                    file.write_all_at(part, at).map_err(|_| "cannot write")?;
                }
                data += length;
            }
            at += length;
        }
    }
}
