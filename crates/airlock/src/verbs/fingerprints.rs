//! `airlock rules fingerprints`.

use super::Context;
use crate::cli::{FingerprintsArgs, Format};
use crate::failure::{Code, Failure};
use crate::{output, site};
use airlock_checks::fingerprints::{DOCUMENTS_MAX, PrintsBuilder};
use airlock_model::Escaped;
use serde_json::json;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest document, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;
/// How deep folders may be in each other.
const DEPTH_MAX: usize = 64;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &FingerprintsArgs) -> Result<Code, Failure> {
    let key = site::new_key()?;
    let mut builder = PrintsBuilder::new(*key.first_chunk().expect("a key is longer"));
    let failed = |error| Failure::of(Code::Error, &error);
    for path in documents(&args.except)? {
        builder.leave_out(&read(&path)?);
    }
    let (mut taken, mut passed_over) = (0_u64, 0_u64);
    for path in documents(&args.paths)? {
        let name = Escaped(path.as_os_str().as_bytes()).to_string();
        if builder.add(&name, &read(&path)?).map_err(failed)? {
            taken += 1;
        } else {
            passed_over += 1;
        }
    }
    let bytes = builder.finish().map_err(failed)?;
    output::write_private(&args.to, &bytes)?;
    let digest = format!("blake3:{}", blake3::hash(&bytes).to_hex());
    match context.format {
        Format::Json => output::json(&json!({
            "schema": "airlock.rules-fingerprints/1", "result": { "code": 0 }, "documents": taken,
            "passed_over": passed_over, "bytes": bytes.len(), "digest": digest,
        }))?,
        Format::Table => output::print(&format!(
            "{taken} documents, {passed_over} passed over (too short), {}\n{digest}\n",
            output::bytes(bytes.len() as u64)
        ))?,
    }
    Ok(Code::Clean)
}

/// Returns the files at and below these paths, sorted. Symbolic links in folders are not followed.
fn documents(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut open: Vec<(PathBuf, usize)> = paths.iter().rev().map(|path| (path.clone(), 0)).collect();
    while let Some((path, depth)) = open.pop() {
        let failed = |error: std::io::Error| Failure::io("read document", &path, &error);
        let about = if depth == 0 { path.metadata() } else { path.symlink_metadata() }.map_err(failed)?;
        if about.is_file() {
            files.push(path);
            if files.len() > DOCUMENTS_MAX {
                return Err(Failure::new(Code::Error, format!("more than {DOCUMENTS_MAX} documents")));
            }
        } else if about.is_dir() {
            if depth >= DEPTH_MAX {
                return Err(Failure::new(Code::Error, format!("{} is too deep", path.display())));
            }
            for entry in path.read_dir().map_err(failed)? {
                open.push((entry.map_err(failed)?.path(), depth + 1));
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::io("read document", path, &error);
    if path.metadata().map_err(failed)?.len() > DOCUMENT_BYTES_MAX {
        let text = format!("{} has more than {} MiB", path.display(), DOCUMENT_BYTES_MAX >> 20);
        return Err(Failure::new(Code::Error, text));
    }
    std::fs::read(path).map_err(failed)
}
