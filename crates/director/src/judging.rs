//! From the first byte that arrives to this site's verdict on all of it.

use crate::chamber::{Arrival, Chamber};
use crate::inspector::Inspector;
use crate::tenancy::parse_policy;
use crate::worker::Lost;
use crate::{Director, Error, source_report};
use airlock_checks::{Early, NoSink, Progress, Report, Rules, Station, SystemReport};
use airlock_disk::BlockSource;
use airlock_evidence::SourceReport;
use airlock_guest::Survey;
use airlock_link::Link;
use airlock_model::{Decision, Site, invariant};
use airlock_transfer::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a waiting manager hears that the director is still at work.
const WORKING_INTERVAL: Duration = Duration::from_millis(20);
/// How often everything is judged again because the rules have changed meanwhile.
const REPEATS_MAX: u32 = 4;

/// What was judged, or why it could not be.
type Judged<T> = Result<T, Error>;

/// What this site came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The source wants nothing to be kept.
    Source,
    /// The verdict on a part, which is the end of all of it; the rest has not come.
    Early(Box<Report>),
    /// A verdict, and the products that were counted for it.
    Judged(Box<Report>, Vec<String>),
    /// Nobody could say what it is.
    Lost(Lost),
}

/// All that a transfer brought, and what this site makes of it.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) source: SourceReport,
    pub(crate) arrival: Arrival,
    pub(crate) verdict: Verdict,
    /// What it was judged by.
    pub(crate) rules: Arc<Rules>,
}

impl Director {
    /// Judges what arrives while it arrives, and what is left when all is there; and all of it again if the
    /// rules have changed since then.
    pub(crate) fn receive_and_judge(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
    ) -> Result<Judgement, Error> {
        let mut judgement = self.judge_by(link, chamber, Arc::clone(&chamber.rules), None)?;
        for _ in 0..REPEATS_MAX {
            let rules = self.rules()?;
            if !matches!(judgement.verdict, Verdict::Judged(..)) || rules.digest() == judgement.rules.digest()
            {
                self.check_policy(chamber)?;
                return Ok(judgement);
            }
            tracing::info!(transfer = hex::encode(chamber.id), "the rules have changed: judged again");
            judgement = self.judge_by(link, chamber, rules, Some(judgement))?;
        }
        Err(Error::Conflict("the rules change faster than this can be judged; --resume goes on".into()))
    }

    /// A policy that has changed since both sites agreed on one takes another agreement.
    fn check_policy(&self, chamber: &Chamber) -> Result<(), Error> {
        let vdc = self.ledger.vdc_named(&chamber.tenant, &chamber.hello.vdc)?;
        let vdc = vdc.ok_or_else(|| Error::NotFound("such virtual data center".into()))?;
        let yaml = vdc.policy.as_deref().unwrap_or(&self.policy_yaml);
        if parse_policy(yaml)?.digest().to_string() == chamber.site_policy_digest {
            return Ok(());
        }
        let text =
            "this site's policy has changed since the transfer began; --resume begins under the new one";
        Err(Error::Conflict(text.into()))
    }

    /// Judges by `rules` what is about to arrive, or what has arrived when it was judged `before`.
    fn judge_by(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        rules: Arc<Rules>,
        before: Option<Judgement>,
    ) -> Result<Judgement, Error> {
        let policies = [chamber.hello.policy.as_str(), chamber.site_policy.as_str()];
        let inspector = self.inspector(&rules, &chamber.hello.space, policies);
        let asked_for = rules.asked_for(&chamber.effective, Site::Destination);
        let station = Station::new(&asked_for, &chamber.effective, Site::Destination)
            .without_hashing()
            .with_draft(&chamber.memo, &chamber.draft);
        let station = inspector.station(station);
        let (source, arrival, early) = match before {
            Some(before) => (before.source, before.arrival, Ok(None)),
            None => self.receive(link, chamber, &inspector, &station)?,
        };
        if source.decision == Decision::Terminate {
            return Ok(Judgement { source, arrival, verdict: Verdict::Source, rules });
        }
        if chamber.content().is_refused() {
            let verdict = match (early, inspector.end()) {
                (Ok(Some(early)), Ok(())) => Verdict::Early(Box::new(early.into_report())),
                (Ok(None), Ok(())) => {
                    return Err(Error::Conflict("it was refused, and nobody knows why".into()));
                }
                (Ok(_), Err(lost)) => Verdict::Lost(lost),
                (Err(error), _) => Verdict::Lost(inspector.failure().ok_or(error)?),
            };
            return Ok(Judgement { source, arrival, verdict, rules });
        }
        let by = (&inspector, &station, &*rules);
        let judged = early.and_then(|early| self.judge(link, chamber, by, early, &arrival));
        let ended = inspector.end();
        let verdict = match (judged, ended) {
            (Ok((report, products)), Ok(())) => {
                // Only now is it certain that whoever found this out can be believed.
                chamber.draft.commit(&chamber.memo);
                Verdict::Judged(Box::new(report), products)
            }
            (Ok(_), Err(lost)) => Verdict::Lost(lost),
            // Whatever else went wrong is what came of it.
            (Err(error), _) => Verdict::Lost(inspector.failure().ok_or(error)?),
        };
        Ok(Judgement { source, arrival, verdict, rules })
    }

    /// Takes in everything, and judges of it what it can. Returns what the source reports, what has arrived,
    /// and what is judged so far.
    fn receive<'c>(
        &self,
        link: &mut dyn Link,
        chamber: &'c Chamber,
        inspector: &Inspector,
        station: &Station<'c>,
    ) -> Result<(SourceReport, Arrival, Judged<Option<Early<'c>>>), Error> {
        let (report, early) = self.receive_finish(link, chamber, inspector, station)?;
        if chamber.streams.load(Ordering::Acquire) != 0 {
            return Err(Error::Peer("it finished while a stream was open".into()));
        }
        let source: SourceReport =
            serde_json::from_slice(&report).map_err(|_| Error::Peer("its report cannot be read".into()))?;
        let refused = chamber.content().is_refused();
        let arrival = chamber.arrival();
        source_report::check(&chamber.hello, &source, &arrival, refused)?;
        Ok((source, arrival, early))
    }

    /// Judges what arrives until the manager says that it has sent everything. Returns what it
    /// reports, and what is judged so far.
    fn receive_finish<'c>(
        &self,
        link: &mut dyn Link,
        chamber: &'c Chamber,
        inspector: &Inspector,
        station: &Station<'c>,
    ) -> Result<(Vec<u8>, Judged<Option<Early<'c>>>), Error> {
        std::thread::scope(|scope| {
            let judging = scope.spawn(move || self.judge_arriving(chamber, inspector, station));
            let received = receive_last(link);
            chamber.end();
            // A long file may be in work.
            while received.is_ok() && !judging.is_finished() {
                wait(link, &Progress::default());
            }
            let early = judging.join().expect("a station does not panic");
            match received? {
                Message::Finish { report } => Ok((report, early)),
                _ => Err(Error::Peer("it sent something else than the end".into())),
            }
        })
    }

    /// Runs the station over what of the chamber is not judged, and judges what is installed. Returns the
    /// products with it, where rights to them are counted.
    fn judge<'c>(
        &self,
        link: &mut dyn Link,
        chamber: &'c Chamber,
        (inspector, station, rules): (&Inspector, &Station<'c>, &Rules),
        early: Option<Early<'c>>,
        arrival: &Arrival,
    ) -> Judged<(Report, Vec<String>)> {
        let space = &chamber.hello.space;
        let disk = arrival.source(space.size(), &self.segments)?;
        let elsewhere = self.elsewhere(rules, (&chamber.tenant, &chamber.hello.vdc, &chamber.hello.vm))?;
        let progress = Progress::default();
        std::thread::scope(|scope| {
            let elsewhere = &elsewhere;
            let mut sinks = vec![NoSink; self.threads];
            let (disk, progress) = (&disk, &progress);
            let working = scope.spawn(move || {
                let early = match early {
                    Some(early) => early,
                    None => station.begin(space, inspector.survey(disk, space)?),
                };
                let (system, products) =
                    self.judge_system(chamber, (inspector, rules), (disk, early.survey()), elsewhere)?;
                let station = station.by_name(disk);
                let mut report = station.finish(disk, early, &mut sinks, progress)?;
                report.add_system(&system);
                check_coverage(&report)?;
                Ok((report, products))
            });
            while !working.is_finished() {
                wait(link, progress);
            }
            working.join().expect("a station does not panic")
        })
    }

    /// Returns the products of other VMs of the tenant, where rights to them are counted.
    pub(crate) fn elsewhere(
        &self,
        rules: &Rules,
        (tenant, vdc, vm): (&str, &str, &str),
    ) -> Result<Vec<String>, Error> {
        if !rules.system().has_entitlements() {
            return Ok(Vec::new());
        }
        self.ledger.products_elsewhere(tenant, vdc, vm)
    }

    /// Judges what is installed on what has arrived, where there is something to compare it with.
    fn judge_system(
        &self,
        chamber: &Chamber,
        (inspector, rules): (&Inspector, &Rules),
        (disk, survey): (&dyn BlockSource, &Survey),
        elsewhere: &[String],
    ) -> Judged<(SystemReport, Vec<String>)> {
        if rules.system().is_empty() {
            return Ok(Default::default());
        }
        let inventory = inspector.inventory(disk, &chamber.hello.space, survey)?;
        let now = (self.clock)();
        let report = rules.judge_system(&inventory, elsewhere, &chamber.effective, Site::Destination, now);
        let counted = inventory.products.into_iter().filter(|_| rules.system().has_entitlements());
        Ok((report, counted.map(|product| product.name).collect()))
    }
}

/// Waits for the manager's last word; until then it says at times that it is still at work.
fn receive_last(link: &mut dyn Link) -> Result<Message, airlock_link::Error> {
    loop {
        match link.receive(&mut Vec::new())? {
            Message::Working { .. } => {}
            other => return Ok(other),
        }
    }
}

/// Tells the manager that the director is still at work, and waits a little.
fn wait(link: &mut dyn Link, progress: &Progress) {
    let done = progress.done.load(Ordering::Relaxed);
    let total = progress.total.load(Ordering::Relaxed);
    if link.send(&Message::Working { done, total }, &[]).is_err() {
        progress.cancel.store(true, Ordering::Relaxed);
    }
    std::thread::park_timeout(WORKING_INTERVAL);
}

/// Checks that this site has accounted for every byte (I2), whoever has read it.
fn check_coverage(report: &Report) -> Result<(), Error> {
    for member in &report.members {
        invariant::coverage_sums(&member.coverage)
            .map_err(|why| Error::damaged("the verdict of this site", why))?;
    }
    Ok(())
}
