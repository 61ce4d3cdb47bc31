//! Reads everything that a director keeps, and says what is not as it was written.
//!
//! ```text
//! ledger (its digest, its own check, its index) ─▶ VMs, unfinished transfers, sums
//! sums      ─▶ keys, certificates, evidence
//! VMs       ─▶ evidence (signatures) ─ manifest (sealed) ─▶ chunks (sealed), lengths of segments
//! unfinished─▶ chunks
//! ```
//!
//! Nothing is changed, and nothing is repaired: there is no second copy to repair from.
//! It works beside a director that runs; then what is in motion (unfinished transfers, the bytes of an open
//! ledger) is left out, and the result says so.
//! Left out always: `memo/`, which is a cache that is thrown away when it does not open.

use crate::keys::{self, Key, TAG_BYTES};
use crate::ledger::{Ledger, VmRow, parse_id, state};
use crate::manifest::Manifest;
use crate::segment::{SegmentId, Segments, Stored};
use crate::vault::describe;
use crate::{Error, sums};
use airlock_checks::Progress;
use airlock_model::{Extent, TenantKey};
use airlock_rulebook::Store;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Most extents that are listed for one VM and file; more are counted.
const EXTENTS_LISTED_MAX: usize = 1000;

/// What of a VM lies in what is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// Whose it is.
    pub tenant: String,
    /// The VM.
    pub vm: VmRow,
    /// Members of the VM and the extents in them; none where the whole VM is affected.
    pub extents: Vec<(String, Extent)>,
    /// Extents that are not listed because there are too many.
    pub extents_more: u64,
}

/// A file that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, below the director's directory.
    pub file: String,
    /// What is wrong, the first thing that was seen.
    pub what: String,
    /// How many things are wrong with it.
    pub count: u64,
    /// The VMs that need it.
    pub affected: Vec<Affected>,
}

/// What a scrub has come to.
#[derive(Debug, Clone, Default)]
pub struct Scrubbed {
    /// What is damaged, by file. Nothing if all is as it was written.
    pub damage: Vec<Damage>,
    /// VMs that were read.
    pub vms: u64,
    /// Chunks that were read.
    pub chunks: u64,
    /// Bytes of chunks that were read.
    pub bytes: u64,
    /// What could not be checked, and why.
    pub left_out: Vec<String>,
    /// Whether somebody stopped it.
    pub cancelled: bool,
}

/// A VM, and whose it is.
type Owned = (String, VmRow);

/// A scrub of one director's directory.
#[derive(Debug)]
pub struct Scrub<'a> {
    directory: &'a Path,
    progress: &'a Progress,
    ledger: Ledger,
    segments: Segments,
    /// Held while no director runs; without, one does.
    lock: Option<File>,
    damage: BTreeMap<String, Damage>,
    bad: HashSet<(SegmentId, u64)>,
    /// Transfers whose manifests were read: their chunks need not be read again for another VM.
    read: BTreeSet<[u8; 16]>,
    done: Scrubbed,
}

impl<'a> Scrub<'a> {
    /// Prepares the scrub of a directory.
    pub fn new(directory: &'a Path, progress: &'a Progress) -> Result<Self, Error> {
        let path = directory.join("state.db");
        if !path.exists() && directory.join("segments").exists() {
            return Err(Error::damaged(format!("ledger {}", path.display()), "it is gone"));
        }
        if !path.exists() {
            return Err(Error::NotFound(format!("director in {}", directory.display())));
        }
        Ok(Self {
            directory,
            progress,
            lock: try_lock(directory)?,
            ledger: Ledger::look_at(&path)?,
            segments: Segments::new(directory.join("segments")),
            damage: BTreeMap::new(),
            bad: HashSet::new(),
            read: BTreeSet::new(),
            done: Scrubbed::default(),
        })
    }

    /// Reads everything.
    pub fn run(mut self, now: u64) -> Scrubbed {
        let total: u64 = self.segment_files().iter().map(|(_, length)| length).sum();
        self.progress.total.store(total, Ordering::Relaxed);
        self.check_ledger();
        let vms = self.or_damaged(Self::vms).unwrap_or_default();
        self.or_damaged(Self::check_sums);
        self.check_rulebooks(now);
        for vm in &vms {
            self.check_vm(vm);
        }
        if self.lock.is_some() {
            self.or_damaged(Self::check_unfinished);
        } else {
            self.done.left_out.push("unfinished transfers: a director is at work on them".into());
        }
        self.blame(&vms);
        self.done.cancelled = self.is_cancelled();
        Scrubbed { damage: self.damage.into_values().collect(), ..self.done }
    }

    fn is_cancelled(&self) -> bool {
        self.progress.cancel.load(Ordering::Relaxed)
    }

    fn found(&mut self, file: &str, what: impl Into<String>) -> &mut Damage {
        let new = || Damage { file: file.to_owned(), what: what.into(), count: 0, affected: Vec::new() };
        let damage = self.damage.entry(file.to_owned()).or_insert_with(new);
        damage.count += 1;
        damage
    }

    fn found_of_vm(&mut self, file: &str, what: impl Into<String>, (tenant, vm): &Owned) {
        let affected =
            Affected { tenant: tenant.clone(), vm: vm.clone(), extents: Vec::new(), extents_more: 0 };
        let damage = self.found(file, what);
        if !damage.affected.contains(&affected) {
            damage.affected.push(affected);
        }
    }

    /// Takes an error in what the ledger is asked for as damage to the ledger.
    fn or_damaged<T>(&mut self, ask: impl FnOnce(&mut Self) -> Result<T, Error>) -> Option<T> {
        match ask(self) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.found("state.db", describe(&error));
                None
            }
        }
    }

    fn check_ledger(&mut self) {
        let path = self.directory.join("state.db");
        if self.lock.is_none() {
            self.done.left_out.push("the bytes of the ledger: a director has it open".into());
        } else {
            match Ledger::is_as_closed(&path) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => {
                    self.found("state.db", "it was altered after the director closed it");
                }
                Ok(None) => {
                    let text = "the bytes of the ledger: it was not closed cleanly, so only SQLite's own check is \
                        made; the next clean stop of the director makes up for it";
                    self.done.left_out.push(text.into());
                }
                Err(error) => {
                    self.found("state.db", describe(&error));
                }
            }
        }
        if let Some(Some(damage)) = self.or_damaged(|scrub| scrub.ledger.integrity()) {
            self.found("state.db", damage);
        }
    }

    fn vms(&mut self) -> Result<Vec<Owned>, Error> {
        let mut vms = Vec::new();
        for tenant in self.ledger.tenants_with_vms()? {
            vms.extend(self.ledger.vms(&tenant)?.into_iter().map(|vm| (tenant.clone(), vm)));
        }
        Ok(vms)
    }

    /// Every file that was noted is there and what it was. The record of a transfer that goes on
    /// may be written again.
    fn check_sums(&mut self) -> Result<(), Error> {
        let unfinished = |state: &str| state::is_unfinished(state) || state == state::DISCARDING;
        let transfers = self.ledger.transfers()?.into_iter().filter(|(_, state)| unfinished(state));
        let moving: BTreeSet<String> =
            transfers.map(|(id, _)| format!("evidence/{}.json", hex::encode(id))).collect();
        for (name, noted) in self.ledger.sums()? {
            if moving.contains(&name) {
                continue;
            }
            match std::fs::read(self.directory.join(&name)).map(zeroize::Zeroizing::new) {
                Ok(bytes) if sums::sum(&bytes) == noted => {}
                Ok(_) => {
                    self.found(&name, "it is not what was written");
                }
                Err(error) => {
                    self.found(&name, format!("it cannot be read: {error}"));
                }
            }
        }
        Ok(())
    }

    fn check_rulebooks(&mut self, now: u64) {
        let store = Store::new(self.directory.join("rules"));
        match store.open_all(now) {
            Ok(books) => {
                for book in books {
                    let Err(error) = book.book else { continue };
                    if matches!(error, airlock_rulebook::Error::Expired { .. }) {
                        continue;
                    }
                    let path = store.path_of(&book.name);
                    let name = path.strip_prefix(self.directory).unwrap_or(&path).display().to_string();
                    self.found(&name, error.to_string());
                }
            }
            Err(error) => {
                self.found("rules/trusted.json", error.to_string());
            }
        }
    }

    fn key(&self, tenant: &str, kind: &str) -> Result<Key, String> {
        let path = self.directory.join("tenants").join(format!("{tenant}.{kind}.key"));
        match keys::load(&path) {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err("it is gone".into()),
            Err(error) => Err(describe(&error)),
        }
    }

    /// Loads the keys of a VM's tenant; one that does not is damage that affects the VM.
    fn keys(&mut self, owned: &Owned) -> Option<(TenantKey, Key)> {
        let mut found = Vec::new();
        for kind in ["name", "wrap"] {
            let file = format!("tenants/{}.{kind}.key", owned.0);
            match self.key(&owned.0, kind) {
                Ok(key) if !self.damage.contains_key(&file) => found.push(key),
                Ok(_) => self.found_of_vm(&file, "it is not what was written", owned),
                Err(why) => self.found_of_vm(&file, why, owned),
            }
        }
        let [name, wrap] = <[Key; 2]>::try_from(found).ok()?;
        Some((TenantKey(*name), wrap))
    }

    fn check_vm(&mut self, owned: &Owned) {
        if self.is_cancelled() {
            return;
        }
        // What was deleted since the list was made is no damage.
        let before = (self.damage.clone(), self.bad.clone());
        self.done.vms += 1;
        let damaged = self.damage.values().map(|damage| damage.count).sum::<u64>();
        if let Err(error) = self.try_vm(owned) {
            self.found_of_vm("state.db", describe(&error), owned);
        }
        if self.damage.values().map(|damage| damage.count).sum::<u64>() > damaged
            && self.lock.is_none()
            && self.ledger.vms(&owned.0).is_ok_and(|vms| !vms.contains(&owned.1))
        {
            (self.damage, self.bad) = before;
        }
    }

    fn try_vm(&mut self, owned: &Owned) -> Result<(), Error> {
        let vm = &owned.1;
        let transfer = parse_id(&vm.transfer)?;
        let recorded = self.check_evidence(owned);
        let Some((naming, wrapping)) = self.keys(owned) else { return Ok(()) };
        let file = format!("manifests/{}.manifest", vm.transfer);
        let (manifest, digest) = match Manifest::read(&self.directory.join(&file), &transfer, &wrapping) {
            Ok(read) => read,
            Err(error) => {
                self.found_of_vm(&file, describe(&error), owned);
                return Ok(());
            }
        };
        if recorded.is_some_and(|recorded| recorded != digest) {
            self.found_of_vm(&file, "it is not the one in the evidence", owned);
        }
        self.check_chunks(&manifest.chunks, &naming, transfer);
        self.check_lengths(&manifest.chunks, transfer);
        self.read.insert(transfer);
        for chunks in manifest.chunks.chunks(1000) {
            let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id).collect();
            let entries = self.ledger.find_chunks(&owned.0, &wrapping, &ids)?;
            if let Some(missing) = entries.iter().position(Option::is_none) {
                self.found_of_vm("state.db", format!("it has no entry of chunk {}", ids[missing]), owned);
            }
        }
        Ok(())
    }

    /// The record of a VM is signed by both sites and about this VM. Returns the digest of the manifest in it.
    fn check_evidence(&mut self, owned: &Owned) -> Option<String> {
        let vm = &owned.1;
        let file = format!("evidence/{}.json", vm.transfer);
        let read = std::fs::read(self.directory.join(&file)).map_err(|error| error.to_string());
        let checked = read.and_then(|bytes| {
            airlock_evidence::verify(&bytes, [None, None]).map_err(|failure| failure.to_string())
        });
        let predicate = match checked {
            Ok(statement) => statement.predicate,
            Err(why) => {
                self.found_of_vm(&file, why, owned);
                return None;
            }
        };
        let transfer = &predicate.transfer;
        if (&transfer.id, &transfer.vm, &transfer.vdc, &transfer.state)
            != (&vm.transfer, &vm.name, &vm.vdc, &vm.state)
        {
            self.found_of_vm(&file, "it is about another VM than the ledger lists", owned);
        }
        match keys::load(&self.directory.join("site.key")) {
            Ok(Some(seed)) => {
                let key = airlock_evidence::SiteKey::from_seed(&seed).public().to_string();
                if key != predicate.sites.destination {
                    self.found("site.key", "it is not the key that evidence here is signed with");
                }
            }
            Ok(None) => {
                self.found("site.key", "it is gone");
            }
            Err(error) => {
                self.found("site.key", describe(&error));
            }
        }
        predicate.disks.first().and_then(|disk| disk.manifest.clone())
    }

    /// Every chunk opens and is what its name says. Those of a transfer whose manifest was read are known.
    fn check_chunks(&mut self, chunks: &[Stored], naming: &TenantKey, own: [u8; 16]) {
        for chunk in chunks {
            if self.is_cancelled() {
                return;
            }
            if chunk.segment.transfer != own && self.read.contains(&chunk.segment.transfer) {
                continue;
            }
            self.done.chunks += 1;
            let wrong = match self.segments.read(chunk) {
                Ok(plain) => {
                    self.done.bytes += plain.len() as u64;
                    let content = airlock_model::ContentHash::of(&plain);
                    (content != chunk.content || naming.chunk_id(&content, chunk.length) != chunk.id)
                        .then(|| format!("chunk {} is not what its name says", chunk.id))
                }
                Err(error) => Some(describe(&error)),
            };
            let read = u64::from(chunk.length) + TAG_BYTES as u64;
            self.progress.done.fetch_add(read, Ordering::Relaxed);
            if let Some(what) = wrong {
                self.bad.insert((chunk.segment, chunk.offset));
                let file = self.segment_name(chunk.segment);
                self.found(&file, what);
            }
        }
    }

    /// The segments that a VM brought hold its chunks and nothing else.
    fn check_lengths(&mut self, chunks: &[Stored], own: [u8; 16]) {
        let mut expected: BTreeMap<u32, u64> = BTreeMap::new();
        for chunk in chunks.iter().filter(|chunk| chunk.segment.transfer == own) {
            *expected.entry(chunk.segment.number).or_default() += u64::from(chunk.length) + TAG_BYTES as u64;
        }
        let there = self.segments.numbers(&own).unwrap_or_default();
        for number in there {
            let id = SegmentId { transfer: own, number };
            let length = std::fs::metadata(self.segments.path(id)).map_or(0, |file| file.len());
            let wanted = expected.get(&number).copied();
            if wanted != Some(length) {
                let file = self.segment_name(id);
                let wanted = wanted.unwrap_or(0);
                self.found(&file, format!("it has {length} bytes, its chunks {wanted}"));
            }
        }
    }

    /// What unfinished transfers have that was acknowledged as durable opens.
    fn check_unfinished(&mut self) -> Result<(), Error> {
        let unfinished = |(_, state): &([u8; 16], String)| state::is_unfinished(state);
        for (transfer, at) in self.ledger.transfers()?.into_iter().filter(unfinished) {
            let file = format!("chamber/{}.key", hex::encode(transfer));
            let key = match keys::load(&self.directory.join(&file)) {
                Ok(Some(key)) => key,
                Ok(None) => {
                    self.found(&file, "it is gone");
                    continue;
                }
                Err(error) => {
                    self.found(&file, describe(&error));
                    continue;
                }
            };
            match self.ledger.batches(&transfer, &key) {
                // A chunk is named by its tenant's key, which its seal has checked.
                Ok(mut chunks) => {
                    if at == state::COMMITTING {
                        // A seal that was interrupted may have removed what it had copied without
                        // what is held; the manager is asked for it again.
                        chunks.retain(|chunk| self.segments.path(chunk.segment).exists());
                    }
                    self.check_sealed(&chunks);
                }
                Err(error) => {
                    self.found(&file, format!("either it or the ledger is damaged: {}", describe(&error)));
                }
            }
        }
        Ok(())
    }

    fn check_sealed(&mut self, chunks: &[Stored]) {
        for chunk in chunks {
            self.done.chunks += 1;
            if let Err(error) = self.segments.read(chunk) {
                let file = self.segment_name(chunk.segment);
                self.found(&file, describe(&error));
            }
        }
    }

    /// Says which VMs need the chunks that are damaged, and for what.
    fn blame(&mut self, vms: &[Owned]) {
        if self.bad.is_empty() {
            return;
        }
        for owned in vms {
            let Ok(transfer) = parse_id(&owned.1.transfer) else { continue };
            let Ok(wrapping) = self.key(&owned.0, "wrap") else { continue };
            let path = self.directory.join("manifests").join(format!("{}.manifest", owned.1.transfer));
            let Ok((manifest, _)) = Manifest::read(&path, &transfer, &wrapping) else { continue };
            for (segment, affected) in self.affected(owned, &manifest) {
                let file = self.segment_name(segment);
                self.damage.entry(file).and_modify(|damage| damage.affected.push(affected));
            }
        }
    }

    fn affected(&self, (tenant, vm): &Owned, manifest: &Manifest) -> BTreeMap<SegmentId, Affected> {
        let mut found: BTreeMap<SegmentId, Affected> = BTreeMap::new();
        let members = manifest.space.members();
        for placement in &manifest.placements {
            let Some(chunk) = manifest.chunks.get(placement.chunk as usize) else { continue };
            if !self.bad.contains(&(chunk.segment, chunk.offset)) {
                continue;
            }
            let none =
                || Affected { tenant: tenant.clone(), vm: vm.clone(), extents: Vec::new(), extents_more: 0 };
            let affected = found.entry(chunk.segment).or_insert_with(none);
            for (member, part) in placement.extents.iter().flat_map(|extent| manifest.space.split(*extent)) {
                if affected.extents.len() < EXTENTS_LISTED_MAX {
                    affected.extents.push((members[member].id.clone(), part));
                } else {
                    affected.extents_more += 1;
                }
            }
        }
        found
    }

    fn segment_name(&self, id: SegmentId) -> String {
        let path = self.segments.path(id);
        path.strip_prefix(self.directory).unwrap_or(&path).display().to_string()
    }

    fn segment_files(&self) -> Vec<(PathBuf, u64)> {
        let folders = std::fs::read_dir(self.directory.join("segments")).into_iter().flatten().flatten();
        let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
        files.filter_map(|file| Some((file.path(), file.metadata().ok()?.len()))).collect()
    }
}

/// Takes the directory, so that no director starts meanwhile. Nothing if one runs.
fn try_lock(directory: &Path) -> Result<Option<File>, Error> {
    let path = directory.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return crate::lock(directory).map(Some);
        }
        Err(error) => return Err(Error::file("open", &path)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(source)) => Err(Error::file("lock", &path)(source)),
    }
}
