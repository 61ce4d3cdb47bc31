//! Who touches the bytes of what has arrived: this process, or a worker in a jail.
//!
//! What is found out is the same, and so is who decides on it: places, units, the memo and the verdict are the
//! director's either way.

use crate::worker::{Lost, Task, Worker, WorkerConfig};
use crate::{Director, Error, keys};
use airlock_checks::{Rules, Station};
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_inventory::Inventory;
use airlock_model::Space;

/// Touches the bytes of one transfer.
#[derive(Debug)]
pub(crate) enum Inspector {
    /// This process, where source and destination are one anyway.
    Here,
    /// A worker.
    Jailed(Worker),
    /// A worker that was lost before it was ready.
    Lost(Lost),
}

impl Director {
    /// Returns who touches the bytes of `space`, which is judged by what both policies ask for.
    pub(crate) fn inspector(&self, rules: &Rules, space: &Space, policies: [&str; 2]) -> Inspector {
        let Some(config) = &self.worker else { return Inspector::Here };
        let started = self.start_worker(config, rules, space, policies);
        started.map_or_else(Inspector::Lost, Inspector::Jailed)
    }

    /// Starts a worker and lets it end again, to see whether this machine can jail one.
    pub fn try_worker(&self) -> Result<(), Error> {
        let Some(config) = &self.worker else { return Ok(()) };
        let space = Space::of_disk(0, "raw");
        let policies = [self.policy_yaml.as_str(), self.policy_yaml.as_str()];
        Ok(self.start_worker(config, &*self.rules()?, &space, policies)?.end()?)
    }

    fn start_worker(
        &self,
        config: &WorkerConfig,
        rules: &Rules,
        space: &Space,
        policies: [&str; 2],
    ) -> Result<Worker, Lost> {
        // It tells equal values apart within this transfer, and that is all it is for.
        let mut fingerprint_key = [0; 32];
        keys::fill(&mut fingerprint_key);
        // One for each thread that judges what is complete, and one for each that follows a long file.
        let lanes = self.threads.saturating_mul(2);
        Worker::start(config, Task { space, policies, rules, fingerprint_key, lanes })
    }
}

impl Inspector {
    /// Has a station examine units there.
    pub(crate) fn station<'s>(&'s self, station: Station<'s>) -> Station<'s> {
        match self {
            Self::Here | Self::Lost(_) => station,
            Self::Jailed(worker) => station.examining_elsewhere(worker),
        }
    }

    /// Returns why nothing that was found out counts, if so.
    pub(crate) fn failure(&self) -> Option<Lost> {
        match self {
            Self::Here => None,
            Self::Jailed(worker) => worker.failure(),
            Self::Lost(lost) => Some(lost.clone()),
        }
    }

    /// Ends it. What was found out counts from then on.
    pub(crate) fn end(&self) -> Result<(), Lost> {
        match self {
            Self::Here => Ok(()),
            Self::Jailed(worker) => worker.end(),
            Self::Lost(lost) => Err(lost.clone()),
        }
    }

    /// Divides what has arrived into places.
    pub(crate) fn survey(&self, disk: &dyn BlockSource, space: &Space) -> Result<Survey, Error> {
        match self {
            Self::Here => airlock_guest::survey_space(disk, space)
                .map_err(|error| Error::damaged("what arrived", error.to_string())),
            Self::Jailed(worker) => {
                let survey = worker.survey(disk)?;
                survey.ok_or_else(|| Error::damaged("what arrived", "it cannot be read"))
            }
            Self::Lost(lost) => Err(lost.clone().into()),
        }
    }

    /// Lists what is installed on what was surveyed last.
    pub(crate) fn inventory(
        &self,
        disk: &dyn BlockSource,
        space: &Space,
        survey: &Survey,
    ) -> Result<Inventory, Error> {
        match self {
            Self::Here => Ok(airlock_inventory::take(disk, space, survey)),
            Self::Jailed(worker) => Ok(worker.inventory(disk)?),
            Self::Lost(lost) => Err(lost.clone().into()),
        }
    }
}
