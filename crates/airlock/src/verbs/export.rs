//! `airlock export`.

use super::Context;
use super::report::Clock;
use crate::cli::{ExportArgs, Format, ImageFormat};
use crate::failure::{Code, Failure};
use crate::progress::{Meter, cancel_on_interrupt};
use crate::{output, stats};
use airlock_bundle::write::{ExportedDisk, libvirt, ovf};
use airlock_checks::Progress;
use airlock_director::{Config, Director, VaultVm};
use airlock_disk::{BlockSource, ImageWriter, Part, QcowWriter, RawWriter, SpanKind};
use airlock_model::{Escaped, Extent, Machine, Member, MemberKind};
use airlock_policy::DEFAULT_YAML;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
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
        worker: None,
    };
    Ok(Director::open(config)?)
}

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ExportArgs) -> Result<Code, Failure> {
    let clock = Clock::start();
    let progress = Arc::new(Progress::default());
    cancel_on_interrupt(&progress);
    let director = open_vault(&args.vault)?;
    let vm = director.open_vm(&args.vm, args.generation)?;
    if args.to.exists() {
        let text = format!("{} exists", args.to.display());
        return Err(Failure::new(Code::Error, text).hint("name another one, or remove that one first"));
    }
    let ending = args.to.extension().and_then(std::ffi::OsStr::to_str);
    let disks = vm.space.iter().filter(|(member, _)| is_disk(member)).count();
    let as_image = disks == 1 && (ending.is_some_and(is_image) || vm.machine.is_none());
    let meter = Meter::start("exporting", Arc::clone(&progress), context.progress);
    progress.total.store(vm.space.size(), Ordering::Relaxed);
    let written = if as_image {
        let by_ending = if ending == Some("qcow2") { ImageFormat::Qcow2 } else { ImageFormat::Raw };
        let disk = Part::new(Arc::clone(&vm.source), vm.space.extent(0));
        write(&disk, &args.to, args.image_format.unwrap_or(by_ending), &progress)
    } else {
        write_folder(&vm, &args.vm, &args.to, args.image_format.unwrap_or(ImageFormat::Qcow2), &progress)
    };
    drop(meter);
    if written.is_err() && args.to.exists() {
        // Half an image is worse than none.
        let _ = if as_image { std::fs::remove_file(&args.to) } else { std::fs::remove_dir_all(&args.to) };
    }
    written?;
    let size = if as_image { vm.space.extent(0).length } else { vm.space.size() };
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.export/1", "result": { "code": 0 }, "vm": args.vm,
            "file": args.to.display().to_string(), "virtual_size": size, "stats": clock.usage(),
        }))?,
        Format::Table => output::print(&format!(
            "{} written, {} in {:.1} s\n",
            args.to.display(),
            output::bytes(size),
            clock.seconds()
        ))?,
    }
    Ok(Code::Clean)
}

/// Returns whether a member of a VM is one of its disks.
pub(crate) fn is_disk(member: &Member) -> bool {
    matches!(member.kind, MemberKind::Disk { .. })
}

fn is_image(ending: &str) -> bool {
    ["raw", "img", "qcow2"].contains(&ending)
}

/// Writes all disks, all other files, and the description of the machine.
fn write_folder(
    vm: &VaultVm,
    name: &str,
    to: &Path,
    format: ImageFormat,
    progress: &Progress,
) -> Result<(), Failure> {
    let create = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|error| Failure::io("create folder", path, &error))
    };
    create(to)?;
    let (ending, format_name) = match format {
        ImageFormat::Raw => ("raw", "raw"),
        ImageFormat::Qcow2 => ("qcow2", "qcow2"),
    };
    let mut disks = Vec::new();
    for (member, extent) in vm.space.iter() {
        let part = Part::new(Arc::clone(&vm.source), extent);
        let MemberKind::Files(files) = &member.kind else {
            let file = format!("{}.{ending}", member.id);
            let path = to.join(&file);
            write(&part, &path, format, progress)?;
            let file_size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let id = member.id.clone();
            disks.push(ExportedDisk { id, file, format: format_name, virtual_size: member.size, file_size });
            continue;
        };
        let mut at = 0;
        for file in files {
            let path = to.join("files").join(inner_path(&file.path)?);
            create(path.parent().unwrap_or(to))?;
            let source = Part::new(Arc::clone(&vm.source), Extent::new(extent.offset + at, file.size));
            write(&source, &path, ImageFormat::Raw, progress)?;
            at += file.size;
        }
    }
    let machine = vm.machine.clone().unwrap_or_default();
    let machine = Machine { name: name.to_owned(), ..machine };
    for (ending, text) in [("xml", libvirt(&machine, &disks)), ("ovf", ovf(&machine, &disks))] {
        let path = to.join(format!("machine.{ending}"));
        std::fs::write(&path, text).map_err(|error| Failure::io("write", &path, &error))?;
    }
    Ok(())
}

/// Returns the path of a bundle's file below the folder of an export: the name came from the source.
fn inner_path(path: &[u8]) -> Result<PathBuf, Failure> {
    let inner = path.strip_prefix(b"/").unwrap_or(path);
    let inner = Path::new(std::ffi::OsStr::from_bytes(inner));
    let plain = !inner.as_os_str().is_empty()
        && inner.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain && !path.contains(&0) {
        return Ok(inner.to_path_buf());
    }
    let text = format!("the VM has a file that cannot be written: \"{}\"", Escaped(path));
    Err(Failure::new(Code::Error, text).hint("export its disks alone: --to disk.qcow2"))
}

fn write(disk: &dyn BlockSource, to: &Path, format: ImageFormat, progress: &Progress) -> Result<(), Failure> {
    let failed = |error: airlock_disk::Error| Failure::of(Code::Error, &error);
    let size = disk.size();
    let begun = progress.done.load(Ordering::Relaxed);
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
        progress.done.store(begun + at, Ordering::Relaxed);
    }
    writer.finish().map_err(failed)
}
