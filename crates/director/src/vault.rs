//! What is kept: reading it, and checking it against its record.

use crate::chamber::roots_of;
use crate::keys::Key;
use crate::ledger::{Ledger, VmRow, parse_id};
use crate::manifest::Manifest;
use crate::recheck::Kept;
use crate::sealed_disk::SealedDisk;
use crate::segment::{SegmentId, Segments};
use crate::{DEFAULT_VDC, Director, Error, keys};
use airlock_disk::BlockSource;
use airlock_evidence::Statement;
use airlock_model::{ContentHash, Extent, Machine, Space, TenantKey};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A VM in the vault, ready to be read.
#[derive(Debug)]
pub struct VaultVm {
    /// Its disks and its other files.
    pub space: Space,
    /// What it is, as its bundle described it.
    pub machine: Option<Machine>,
    /// The bytes of the space.
    pub source: Arc<dyn BlockSource>,
}

impl Director {
    /// Opens a VM: of the newest generation, or of the one given.
    pub fn open_vm(&self, name: &str, generation: Option<u64>) -> Result<VaultVm, Error> {
        let vms = self.ledger.vms(DEFAULT_VDC)?;
        let right = |vm: &&VmRow| vm.name == name && generation.is_none_or(|wanted| vm.generation == wanted);
        let vm =
            vms.iter().rfind(right).ok_or_else(|| Error::NotFound(format!("VM {name:?} in this vault")))?;
        let Kept { space, machine, disk } = self.kept(DEFAULT_VDC, vm)?;
        Ok(VaultVm { space, machine, source: Arc::new(disk) })
    }
}

/// Checks a vault's directory against a verified statement, without the director and without
/// changing anything.
#[derive(Debug)]
pub struct Check<'a> {
    directory: &'a Path,
    statement: &'a Statement,
    failures: Vec<String>,
    /// Bytes checked so far.
    pub checked: &'a AtomicU64,
}

impl<'a> Check<'a> {
    /// Sets up the check of `directory`; `evidence` are the bytes that `statement` was read from.
    pub fn new(directory: &'a Path, statement: &'a Statement, checked: &'a AtomicU64) -> Self {
        Self { directory, statement, failures: Vec::new(), checked }
    }

    /// Returns everything that is wrong, one sentence each; nothing if all is as recorded.
    pub fn run(mut self, evidence: &[u8]) -> Vec<String> {
        if let Err(error) = self.all(evidence) {
            self.fail(describe(&error));
        }
        self.failures
    }

    fn fail(&mut self, text: String) {
        self.failures.push(text);
    }

    fn all(&mut self, evidence: &[u8]) -> Result<(), Error> {
        let transfer = &self.statement.predicate.transfer;
        let id = parse_id(&transfer.id)?;
        let kept = self.path("evidence", &transfer.id, "json");
        if std::fs::read(&kept).map_err(Error::file("read", &kept))? != evidence {
            self.fail(format!(
                "the evidence that the vault keeps in {} differs from the one given",
                kept.display()
            ));
        }
        let key = keys::load(&self.directory.join("site.key"))?;
        let key = key.map(|seed| airlock_evidence::SiteKey::from_seed(&seed).public().to_string());
        if key.as_deref() != Some(&self.statement.predicate.sites.destination) {
            self.fail("the signing key of the vault's site is not the one in the statement".into());
        }
        let path = self.directory.join("state.db");
        if !path.exists() {
            return Err(Error::NotFound(format!("ledger {}", path.display())));
        }
        let ledger = Ledger::look_at(&path)?;
        if let Some(damage) = self.check_ledger(&path, &ledger)? {
            self.fail(damage);
        }
        if transfer.state.starts_with("active") {
            self.check_kept(&id, &ledger)
        } else {
            self.check_nothing_kept(&id)
        }
    }

    fn path(&self, folder: &str, name: &str, extension: &str) -> PathBuf {
        self.directory.join(folder).join(format!("{name}.{extension}"))
    }

    fn check_ledger(&self, path: &Path, ledger: &Ledger) -> Result<Option<String>, Error> {
        if Ledger::is_as_closed(path)? == Some(false) {
            let path = path.display();
            return Ok(Some(format!("the ledger {path} was altered after the director closed it")));
        }
        if let Some(damage) = ledger.integrity()? {
            return Ok(Some(format!("the ledger {} is damaged: {damage}", path.display())));
        }
        let transfer = &self.statement.predicate.transfer;
        let id = parse_id(&transfer.id)?;
        let state = ledger.transfers()?.into_iter().find(|(other, _)| *other == id).map(|(_, state)| state);
        if state.as_deref() != Some(transfer.state.as_str()) {
            let found = state.unwrap_or_else(|| "unknown".into());
            return Ok(Some(format!(
                "the ledger says that the transfer is {found}, the statement {}",
                transfer.state
            )));
        }
        Ok(None)
    }

    fn check_nothing_kept(&mut self, id: &[u8; 16]) -> Result<(), Error> {
        let segments = Segments::new(self.directory.join("segments"));
        if !segments.numbers(id)?.is_empty() {
            self.fail("bytes of a discarded transfer are still there".into());
        }
        if self.path("chamber", &hex::encode(id), "key").exists() {
            self.fail("the key of a discarded transfer is still there".into());
        }
        Ok(())
    }

    fn check_kept(&mut self, id: &[u8; 16], ledger: &Ledger) -> Result<(), Error> {
        let tenants = self.directory.join("tenants");
        let load = |name: &str| -> Result<Key, Error> {
            let path = tenants.join(format!("{DEFAULT_VDC}.{name}.key"));
            keys::load(&path)?.ok_or_else(|| Error::NotFound(format!("key {}", path.display())))
        };
        let wrapping = load("wrap")?;
        let tenant_key = TenantKey(*load("name")?);
        let path = self.path("manifests", &hex::encode(id), "manifest");
        let (manifest, digest) = Manifest::read(&path, id, &wrapping)?;
        let segments = Arc::new(Segments::new(self.directory.join("segments")));
        self.check_chunks(&manifest, &tenant_key, &segments);
        self.check_index(&manifest, &wrapping, ledger)?;
        self.check_segments(&manifest, &segments)?;
        self.check_disks(&manifest, &digest, &segments);
        Ok(())
    }

    /// Every chunk opens, and is what its name and its hash say.
    fn check_chunks(&mut self, manifest: &Manifest, key: &TenantKey, segments: &Segments) {
        for chunk in &manifest.chunks {
            match segments.read(chunk) {
                Ok(plain) => {
                    let content = ContentHash::of(&plain);
                    if content != chunk.content || key.chunk_id(&content, chunk.length) != chunk.id {
                        self.fail(format!("chunk {} is not what its name says", chunk.id));
                    }
                }
                Err(error) => self.fail(describe(&error)),
            }
            self.checked.fetch_add(u64::from(chunk.length), Ordering::Relaxed);
        }
    }

    /// The ledger lists the VM, and has an entry that opens for each of its chunks: the next
    /// transfer relies on these.
    fn check_index(&mut self, manifest: &Manifest, wrapping: &Key, ledger: &Ledger) -> Result<(), Error> {
        let transfer = &self.statement.predicate.transfer;
        let listed = |vm: &VmRow| {
            vm.transfer == transfer.id
                && vm.name == transfer.vm
                && vm.vdc == transfer.vdc
                && vm.state == transfer.state
        };
        if !ledger.vms(DEFAULT_VDC)?.iter().any(listed) {
            self.fail(format!("the ledger does not list {:?} as the statement does", transfer.vm));
        }
        for chunk in &manifest.chunks {
            match ledger.find_chunks(DEFAULT_VDC, wrapping, &[chunk.id]) {
                Ok(found) if found.iter().all(Option::is_some) => {}
                Ok(_) => self.fail(format!("the ledger has no index entry of chunk {}", chunk.id)),
                Err(error) => self.fail(format!("the ledger is damaged: {}", describe(&error))),
            }
        }
        Ok(())
    }

    /// The segments that the VM brought hold its chunks and nothing else.
    fn check_segments(&mut self, manifest: &Manifest, segments: &Segments) -> Result<(), Error> {
        let mut expected: BTreeMap<SegmentId, u64> = BTreeMap::new();
        for chunk in &manifest.chunks {
            *expected.entry(chunk.segment).or_default() += u64::from(chunk.length) + keys::TAG_BYTES as u64;
        }
        let own = parse_id(&self.statement.predicate.transfer.id)?;
        for number in segments.numbers(&own)? {
            let id = SegmentId { transfer: own, number };
            let path = segments.path(id);
            let length = std::fs::metadata(&path).map_err(Error::file("read", &path))?.len();
            if expected.get(&id).copied() != Some(length) {
                self.fail(format!(
                    "segment {} has {length} bytes, its chunks another number",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    fn check_disks(&mut self, manifest: &Manifest, digest: &str, segments: &Arc<Segments>) {
        let recorded = &self.statement.predicate.disks;
        let Manifest { space, placements, .. } = manifest;
        if recorded.len() != space.members().len() || manifest.vm != self.statement.predicate.transfer.vm {
            self.fail("the manifest is about another VM".into());
            return;
        }
        let chunks = Arc::new(manifest.chunks.clone());
        if placements.iter().any(|placement| placement.chunk as usize >= chunks.len()) {
            self.fail("the manifest refers to chunks that are not listed".into());
            return;
        }
        let laid_out =
            SealedDisk::new(space.size(), placements.iter(), Arc::clone(&chunks), Arc::clone(segments));
        if let Err(why) = laid_out {
            self.fail(why);
        }
        let roots = roots_of(placements, &chunks, space);
        for (((member, extent), root), record) in space.iter().zip(roots).zip(recorded) {
            let id = &member.id;
            if record.manifest.as_deref() != Some(digest) {
                self.failures.push(format!("{id}: the manifest is not the one in the statement"));
            }
            if member.size != record.virtual_size || *id != record.id {
                self.failures.push(format!("{id}: size or name differ from the statement"));
                continue;
            }
            if root.to_string() != record.kept_root {
                self.failures
                    .push(format!("{id}: the root is {root}, the statement says {}", record.kept_root));
            }
            for hole in &record.holes {
                let at = extent.offset.saturating_add(hole.extent.offset);
                let hole_in_space = Extent::new(at, hole.extent.length);
                let mut extents = placements.iter().flat_map(|placement| &placement.extents);
                if extents.any(|extent| extent.intersect(&hole_in_space).is_some()) {
                    self.failures.push(format!(
                        "{id}: bytes at {:#x} are kept, the statement says withheld",
                        hole.extent.offset
                    ));
                }
            }
        }
    }
}

/// Says an error with its causes in one line.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
