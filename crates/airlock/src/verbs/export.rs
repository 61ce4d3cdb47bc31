//! `airlock export`.

use super::Context;
use super::report::Clock;
use crate::cli::{ExportArgs, Format, ImageFormat};
use crate::failure::{Code, Failure};
use crate::progress::{Meter, cancel_on_interrupt};
use crate::{output, stats};
use airlock_checks::Progress;
use airlock_director::{Config, Director};
use airlock_disk::{BlockSource, ImageWriter, QcowWriter, RawWriter, SpanKind};
use airlock_policy::DEFAULT_YAML;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that are copied at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Opens an existing vault for reading.
pub(crate) fn open_vault(directory: &Path) -> Result<Director, Failure> {
    if !directory.join("state.db").exists() {
        let text = format!("there is no vault in {}", directory.display());
        return Err(Failure::new(Code::NotFound, text)
            .hint("it is the directory of a director, or the DEST of a transfer"));
    }
    let rules = airlock_checks::Rules::new([0; 32], airlock_checks::malware::HashList::default());
    let config = Config {
        directory: directory.to_path_buf(),
        policy_yaml: DEFAULT_YAML.to_owned(),
        rules: Arc::new(rules),
        threads: 1,
        clock: stats::now,
    };
    Ok(Director::open(config)?)
}

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ExportArgs) -> Result<Code, Failure> {
    let clock = Clock::start();
    let progress = Arc::new(Progress::default());
    cancel_on_interrupt(&progress);
    let director = open_vault(&args.vault)?;
    let disks = director.open_vm(&args.vm, args.generation)?;
    let [disk] = disks.as_slice() else {
        let text = format!("{:?} has {} disks, and only one can be exported", args.vm, disks.len());
        return Err(Failure::new(Code::Error, text));
    };
    if args.to.exists() {
        let text = format!("{} exists", args.to.display());
        return Err(Failure::new(Code::Error, text).hint("name another file, or remove that one first"));
    }
    let by_ending = if args.to.extension().is_some_and(|ending| ending == "qcow2") {
        ImageFormat::Qcow2
    } else {
        ImageFormat::Raw
    };
    let format = args.image_format.unwrap_or(by_ending);
    let meter = Meter::start("exporting", Arc::clone(&progress), context.progress);
    let written = write(&*disk.source, &args.to, format, &progress);
    drop(meter);
    if written.is_err() && args.to.exists() {
        // Half an image is worse than none.
        std::fs::remove_file(&args.to).ok();
    }
    written?;
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.export/1", "result": { "code": 0 }, "vm": args.vm, "file": args.to.display().to_string(),
            "virtual_size": disk.source.size(), "stats": clock.usage(),
        }))?,
        Format::Table => output::print(&format!(
            "{} written, {} in {:.1} s\n",
            args.to.display(),
            output::bytes(disk.source.size()),
            clock.seconds()
        ))?,
    }
    Ok(Code::Clean)
}

fn write(disk: &dyn BlockSource, to: &Path, format: ImageFormat, progress: &Progress) -> Result<(), Failure> {
    let failed = |error: airlock_disk::Error| Failure::of(Code::Error, &error);
    let size = disk.size();
    progress.total.store(size, Ordering::Relaxed);
    let mut writer: Box<dyn ImageWriter> = match format {
        ImageFormat::Raw => Box::new(RawWriter::create(to, size).map_err(failed)?),
        ImageFormat::Qcow2 => Box::new(QcowWriter::create(to, size).map_err(failed)?),
    };
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < size {
        if progress.cancel.load(Ordering::Relaxed) {
            return Err(Failure::new(Code::Cancelled, "cancelled"));
        }
        let span = disk.span_at(at).map_err(failed)?;
        let length = if span.kind == SpanKind::Zero { span.length } else { span.length.min(PIECE_BYTES) };
        if span.kind == SpanKind::Data {
            buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
            disk.read_at(at, &mut buffer).map_err(failed)?;
            writer.write(at, &buffer).map_err(failed)?;
        }
        at += length;
        progress.done.store(at, Ordering::Relaxed);
    }
    writer.finish().map_err(failed)
}
