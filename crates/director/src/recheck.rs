//! Judging what is already kept by the rules of today.

use crate::ledger::{VmRow, parse_id};
use crate::manifest::Manifest;
use crate::sealed_disk::SealedDisk;
use crate::tenancy::{Page, parse_policy};
use crate::{Director, Error};
use airlock_checks::memo::Draft;
use airlock_checks::{NoSink, Progress, Report, Rules, Station};
use airlock_model::{Decision, Machine, Site, Space};
use airlock_policy::Effective;
use std::sync::Arc;

/// Tenants that are read at once.
const TENANTS_AT_ONCE: u32 = 200;

/// A VM in the vault, laid out.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) space: Space,
    pub(crate) machine: Option<Machine>,
    pub(crate) disk: SealedDisk,
}

/// A kept VM, judged again.
#[derive(Debug)]
pub struct Rechecked {
    /// The name of its tenant.
    pub tenant: String,
    /// Which VM.
    pub vm: VmRow,
    /// What would come of it today.
    pub report: Report,
}

impl Rechecked {
    /// Returns whether some of it would not be kept today.
    pub fn is_refused(&self) -> bool {
        self.report.decision == Decision::Terminate || !self.report.held.is_empty()
    }
}

impl Director {
    /// Judges every VM of every tenant by the rules and the policies of today, and hands each to `each`. Only
    /// what the memo of its tenant cannot answer is read. Nothing is changed.
    pub fn recheck(
        &self,
        progress: &Progress,
        each: &mut dyn FnMut(Rechecked) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rules = self.rules()?;
        let mut after = String::new();
        loop {
            let page = Page { tenant: None, after: &after, limit: TENANTS_AT_ONCE };
            let tenants = self.ledger.tenants(page)?;
            for tenant in &tenants {
                for vm in self.ledger.vms(&tenant.id)? {
                    let report = self.recheck_vm(&tenant.id, &vm, &rules, progress)?;
                    each(Rechecked { tenant: tenant.name.clone(), vm, report })?;
                }
            }
            after = match tenants.last() {
                Some(last) => last.id.clone(),
                None => return Ok(()),
            };
        }
    }

    fn recheck_vm(
        &self,
        tenant: &str,
        vm: &VmRow,
        rules: &Rules,
        progress: &Progress,
    ) -> Result<Report, Error> {
        let Kept { space, disk, .. } = self.kept(tenant, vm)?;
        let vdc = self.ledger.vdc_named(tenant, &vm.vdc)?;
        let yaml = vdc.and_then(|vdc| vdc.policy).unwrap_or_else(|| self.policy_yaml.clone());
        let document = parse_policy(&yaml)?;
        let policy = Effective::merge(&document, &document);
        let inspector = self.inspector(rules, &space, [&yaml, &yaml]);
        let survey = inspector.survey(&disk, &space)?;
        let asked_for = rules.asked_for(&policy, Site::Destination);
        let (memo, draft) = (self.memo(tenant)?, Draft::default());
        let station =
            Station::new(&asked_for, &policy, Site::Destination).without_hashing().with_draft(&memo, &draft);
        let station = inspector.station(station);
        let mut sinks = vec![NoSink; self.threads];
        let mut report = station.by_name(&disk).run(&space, &disk, &survey, &mut sinks, progress)?;
        if !rules.system().is_empty() {
            let elsewhere = self.elsewhere(rules, (tenant, &vm.vdc, &vm.name))?;
            let inventory = inspector.inventory(&disk, &space, &survey)?;
            let now = (self.clock)();
            report.add_system(&rules.judge_system(&inventory, &elsewhere, &policy, Site::Destination, now));
        }
        inspector.end()?;
        draft.commit(&memo);
        Ok(report)
    }

    /// Lays out what is kept of a VM.
    pub(crate) fn kept(&self, tenant: &str, vm: &VmRow) -> Result<Kept, Error> {
        let transfer = parse_id(&vm.transfer)?;
        let wrapping = self.wrapping_key(tenant)?;
        let (manifest, _) = Manifest::read(&self.manifest_path(&transfer), &transfer, &wrapping)?;
        let Manifest { space, machine, placements, chunks, .. } = manifest;
        let disk =
            SealedDisk::new(space.size(), placements.iter(), Arc::new(chunks), Arc::clone(&self.segments));
        let disk = disk.map_err(|why| Error::damaged(format!("manifest of {:?}", vm.name), why))?;
        Ok(Kept { space, machine, disk })
    }
}
