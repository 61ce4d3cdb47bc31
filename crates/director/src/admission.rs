//! Decides whether a transfer may begin or go on, and how much it may bring.

use crate::chamber::{Chamber, Content};
use crate::connections::Connection;
use crate::ledger::{TransferRow, state};
use crate::recent::Recent;
use crate::segment::{SegmentId, Stored};
use crate::tenancy::{Vdc, parse_policy};
use crate::{Director, Error, keys};
use airlock_checks::memo::Draft;
use airlock_policy::{Document, Effective};
use airlock_transfer::{Hello, Refusal, RefusalKind, VERSION};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Most bytes in the name of a VM.
const NAME_BYTES_MAX: usize = 255;

impl Director {
    /// Keeps transfers from beginning, and VMs from being deleted, until it is dropped.
    pub(crate) fn admitting(&self) -> MutexGuard<'_, ()> {
        self.admission.lock().expect("no holder of this lock panics")
    }

    /// Decides whether a transfer may begin or go on.
    ///
    /// One at a time, so that no two of a VM begin at once and quotas hold. Returns its chamber.
    pub(crate) fn admit(
        &self,
        tenant: &str,
        hello: Hello,
        connection: &Connection,
    ) -> Result<Result<Arc<Chamber>, Refusal>, Error> {
        let _alone = self.admitting();
        let refuse = |kind, text: String| Ok(Err(Refusal { kind, text }));
        if let Some(why) = unfit(&hello) {
            return refuse(RefusalKind::Protocol, why);
        }
        let Some(vdc) = self.ledger.vdc_named(tenant, &hello.vdc)? else {
            return refuse(RefusalKind::NotFound, format!("there is no virtual data center {:?}", hello.vdc));
        };
        let document = match Document::parse(&hello.policy) {
            Ok(document) => document,
            Err(error) => return refuse(RefusalKind::Protocol, format!("the source's {error}")),
        };
        let site_yaml = vdc.policy.clone().unwrap_or_else(|| self.policy_yaml.clone());
        let site_policy = parse_policy(&site_yaml)?;
        let effective = Effective::merge(&document, &site_policy);
        let live = self.live().values().any(|other| other.tenant == tenant && other.hello.vm == hello.vm);
        if live {
            let text =
                format!("a transfer of {:?} is under way; wait for it or choose another --name", hello.vm);
            return refuse(RefusalKind::Busy, text);
        }
        let shape = serde_json::to_string(&(&hello.space, &hello.machine, hello.on_fail, hello.key))
            .expect("plain data");
        let digest = effective.digest().to_string();
        let mut row = TransferRow {
            id: [0; 16],
            state: state::STAGING.into(),
            shape,
            effective: digest,
            paused: false,
        };
        let unfinished = self.ledger.unfinished(tenant, &hello.vdc, &hello.vm)?;
        if unfinished.as_ref().is_some_and(|found| found.paused) {
            let text = "the transfer is paused; it has to be resumed there first".into();
            return refuse(RefusalKind::Busy, text);
        }
        let resumed = self.resumed(unfinished, &row, hello.resume)?;
        if let Some(id) = resumed {
            row.id = id;
        } else {
            keys::fill(&mut row.id);
        }
        if let Err(error) = self.room_for(&vdc, &hello) {
            let kind = match &error {
                Error::Quota { what: "concurrent transfers", .. } => RefusalKind::Busy,
                Error::Quota { .. } => RefusalKind::NotAuthorised,
                _ => return Err(error),
            };
            return refuse(kind, error.to_string());
        }
        let rules = match self.rules() {
            Ok(rules) => rules,
            Err(error @ Error::Rules(_)) => return refuse(RefusalKind::Failed, error.to_string()),
            Err(error) => return Err(error),
        };
        let transfer_key = keys::load_or_create(&self.transfer_key_path(&row.id))?;
        if resumed.is_none() {
            self.ledger.begin(&row, tenant, &hello.vdc, &hello.vm, (self.clock)())?;
        }
        let durable = self.ledger.batches(&row.id, &transfer_key)?;
        let numbers = self.segments.numbers(&row.id)?;
        let mut token = [0; 32];
        keys::fill(&mut token);
        let content = Content::resumed(self.present(durable));
        let chamber = Arc::new(Chamber {
            id: row.id,
            token,
            tenant: tenant.to_owned(),
            effective,
            tenant_key: self.tenant_key(tenant)?,
            wrapping: self.wrapping_key(tenant)?,
            memo: self.memo(tenant)?,
            draft: Draft::default(),
            transfer_key,
            next_segment: Arc::new(AtomicU32::new(numbers.last().map_or(0, |last| last + 1))),
            streams: AtomicUsize::new(0),
            undurable: AtomicUsize::new(0),
            vault_has_chunks: self.ledger.has_chunks(tenant)?,
            quota: vdc.quota,
            brought: AtomicU64::new(content.durable_bytes()),
            site_policy: site_yaml,
            site_policy_digest: site_policy.digest().to_string(),
            rules,
            content: Mutex::new(content),
            changed: Condvar::new(),
            caught_up: Condvar::new(),
            recent: Recent::default(),
            hello,
        });
        let _ = connection.transfer.set(chamber.id);
        self.live().insert(chamber.id, Arc::clone(&chamber));
        Ok(Ok(chamber))
    }

    /// Returns the transfer that this one goes on with; any other unfinished one of the VM is discarded.
    fn resumed(
        &self,
        unfinished: Option<TransferRow>,
        row: &TransferRow,
        resume: bool,
    ) -> Result<Option<[u8; 16]>, Error> {
        let Some(found) = unfinished else { return Ok(None) };
        if resume && found.shape == row.shape && found.effective == row.effective {
            return Ok(Some(found.id));
        }
        if resume {
            tracing::info!(transfer = hex::encode(found.id), "cannot be resumed: disks or policy differ");
        }
        // What an earlier try has brought is not kept.
        self.discard(&found.id)?;
        Ok(None)
    }

    /// Keeps of the chunks that the ledger knows those whose bytes are there.
    fn present(&self, chunks: Vec<Stored>) -> Vec<Stored> {
        let mut lengths: std::collections::HashMap<SegmentId, u64> = std::collections::HashMap::new();
        let mut length_of = |id| {
            let read = || std::fs::metadata(self.segments.path(id)).map_or(0, |metadata| metadata.len());
            *lengths.entry(id).or_insert_with(read)
        };
        let end = |chunk: &Stored| chunk.offset + u64::from(chunk.length) + keys::TAG_BYTES as u64;
        chunks.into_iter().filter(|chunk| end(chunk) <= length_of(chunk.segment)).collect()
    }

    /// Says whether a virtual data center has room for one more transfer, of this VM.
    fn room_for(&self, vdc: &Vdc, hello: &Hello) -> Result<(), Error> {
        let usage = self.ledger.usage(&vdc.tenant, &vdc.name, &[])?;
        let live = self.live();
        let others = live.values().filter(|other| other.is_in(&vdc.tenant, &vdc.name));
        let others: Vec<&str> = others.map(|other| other.hello.vm.as_str()).collect();
        let transfers = others.len() as u64;
        if let Some(limit) = vdc.quota.transfers.filter(|limit| transfers >= *limit) {
            return Err(Error::Quota { what: "concurrent transfers", limit, used: transfers });
        }
        if let Some(limit) = vdc.quota.bytes.filter(|limit| usage.bytes >= *limit) {
            return Err(Error::Quota { what: "bytes", limit, used: usage.bytes });
        }
        let Some(limit) = vdc.quota.vms else { return Ok(()) };
        let has = |vm: &str| self.ledger.has_vm(&vdc.tenant, &vdc.name, vm);
        let mut used = usage.vms;
        for other in others {
            used += u64::from(!has(other)?);
        }
        if used >= limit && !has(&hello.vm)? {
            return Err(Error::Quota { what: "VMs", limit, used });
        }
        Ok(())
    }

    /// Counts bytes that have arrived, and says where they are more than the quota leaves.
    pub(crate) fn charge(&self, chamber: &Chamber, bytes: u64) -> Result<(), Error> {
        chamber.brought.fetch_add(bytes, Ordering::AcqRel);
        let Some(limit) = chamber.quota.bytes else { return Ok(()) };
        let (tenant, vdc) = (&chamber.tenant, &chamber.hello.vdc);
        let (mut arriving, mut live) = (0_u64, Vec::new());
        for other in self.live().values().filter(|other| other.is_in(tenant, vdc)) {
            arriving = arriving.saturating_add(other.brought.load(Ordering::Acquire));
            live.push(hex::encode(other.id));
        }
        let used = self.ledger.usage(tenant, vdc, &live)?.bytes.saturating_add(arriving);
        if used > limit {
            return Err(Error::Quota { what: "bytes", limit, used });
        }
        Ok(())
    }
}

/// Returns why nobody should go on with whoever says this, if so.
fn unfit(hello: &Hello) -> Option<String> {
    if hello.version != VERSION {
        let theirs = hello.version;
        return Some(format!("this director speaks protocol version {VERSION}, the manager {theirs}"));
    }
    let is_name = (1..=NAME_BYTES_MAX).contains(&hello.vm.len()) && !hello.vm.chars().any(char::is_control);
    (!is_name).then(|| "the name of the VM is empty, too long or not printable".into())
}
