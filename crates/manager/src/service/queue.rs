//! Destinations, transfers and waves, as they are kept.

use super::ServiceError as Error;
use super::inventory::is_name;
use super::schedule::Schedule;
use super::store::{Store, to_i64};
use airlock_console::token::new_id;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Transfers that are not at their end, at most.
const WAITING_MAX: i64 = 10_000;
/// VMs of a wave, at most.
const WAVE_VMS_MAX: usize = 1_000;

/// Where VMs go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDestination {
    /// What it is called.
    pub(crate) name: String,
    /// `airlock://HOST:PORT/VDC`, or the absolute path of a directory.
    pub(crate) address: String,
    /// The identity file that lets this site in; for a director only.
    #[serde(default)]
    pub(crate) identity: Option<String>,
}

/// A destination that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct KnownDestination {
    /// Its id.
    pub(crate) id: String,
    /// Where it is.
    pub(crate) destination: NewDestination,
}

/// What to do when something is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFail {
    /// Go on without it.
    Withhold,
    /// Stop and discard everything.
    #[default]
    Terminate,
}

impl OnFail {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Withhold => "withhold",
            Self::Terminate => "terminate",
        }
    }
}

/// A VM that is to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTransfer {
    /// The name of the source.
    pub(crate) source: String,
    /// The name of the VM there.
    pub(crate) vm: String,
    /// The name of the destination.
    pub(crate) destination: String,
    /// What it shall be called there; its own name when left out.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// What to do when something is held. A policy that says terminate leaves no choice.
    #[serde(default)]
    pub(crate) on_fail: OnFail,
    /// When it may run.
    #[serde(default)]
    pub(crate) schedule: Schedule,
}

/// VMs that are moved together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWave {
    /// What it is called.
    pub(crate) name: String,
    /// Most of its transfers at once.
    #[serde(default)]
    pub(crate) transfers_max: Option<u32>,
    /// One after the other, each only when all before it were kept.
    #[serde(default)]
    pub(crate) in_order: bool,
    /// The VMs.
    pub(crate) vms: Vec<NewTransfer>,
}

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It waits for its turn or its time.
    Queued,
    /// It is under way.
    Running,
    /// It failed in a way that may pass, and is tried again.
    Waiting,
    /// It does not go on before it is resumed.
    Paused,
    /// Kept as it was.
    Active,
    /// Kept, with blocks withheld.
    ActiveWithheld,
    /// Refused by policy: nothing was kept, and the evidence says why.
    Rejected,
    /// It failed; why says how.
    Failed,
    /// It was cancelled here.
    Cancelled,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Active => "active",
            Self::ActiveWithheld => "active-withheld",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn parse(text: &str) -> Self {
        let all = [Self::Queued, Self::Running, Self::Waiting, Self::Paused, Self::Active];
        let more = [Self::ActiveWithheld, Self::Rejected, Self::Cancelled];
        all.into_iter().chain(more).find(|state| state.as_str() == text).unwrap_or(Self::Failed)
    }

    /// Says whether it has ended.
    pub(crate) fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Waiting | Self::Paused)
    }

    fn is_kept(self) -> bool {
        matches!(self, Self::Active | Self::ActiveWithheld)
    }
}

/// What somebody wants of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Run,
    Pause,
    Cancel,
}

impl Wanted {
    fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Pause => "pause",
            Self::Cancel => "cancel",
        }
    }
}

/// A transfer that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Job {
    /// Its id here. The director has one of its own, which stands in the outcome.
    pub(crate) id: String,
    /// The name of the source.
    pub(crate) source: String,
    /// The name of the VM there.
    pub(crate) vm: String,
    /// What it is called at the destination.
    pub(crate) name: String,
    /// The name of the destination.
    pub(crate) destination: String,
    /// What to do when something is held.
    pub(crate) on_fail: OnFail,
    /// When it may run.
    pub(crate) schedule: Schedule,
    /// The id of its wave.
    pub(crate) wave: Option<String>,
    /// Where it stands.
    pub(crate) state: State,
    /// How often it was tried and failed.
    pub(crate) attempts: u32,
    /// Not before this time is it tried again, in seconds since 1970-01-01 UTC.
    pub(crate) next_at: u64,
    /// The exit code that it ended with, as of `airlock transfer`.
    pub(crate) code: Option<u8>,
    /// Why it failed.
    pub(crate) why: Option<String>,
    /// What `airlock transfer --format json` said at its end, without findings.
    #[schema(value_type = Option<Object>)]
    pub(crate) outcome: Option<Value>,
    /// When it was asked for.
    pub(crate) created_at: u64,
    /// When it ended.
    pub(crate) ended_at: Option<u64>,
    #[serde(skip)]
    pub(crate) begun: bool,
    #[serde(skip)]
    pub(crate) wanted: Wanted,
}

/// A wave that is kept, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct KnownWave {
    /// Its id.
    pub(crate) id: String,
    /// What it is called.
    pub(crate) name: String,
    /// Most of its transfers at once.
    pub(crate) transfers_max: Option<u32>,
    /// One after the other, each only when all before it were kept.
    pub(crate) in_order: bool,
    /// When it was made.
    pub(crate) created_at: u64,
    /// All its transfers.
    pub(crate) total: u64,
    /// Those that are under way.
    pub(crate) running: u64,
    /// Those whose VMs are kept, with or without blocks withheld.
    pub(crate) kept: u64,
    /// Those that ended otherwise.
    pub(crate) failed: u64,
}

const JOB_COLUMNS: &str = "id, source, vm, name, destination, on_fail, schedule, wave, state, wanted, begun,
    attempts, next_at, code, why, outcome, created_at, ended_at";

fn job_of(row: &Row<'_>) -> rusqlite::Result<Job> {
    let time = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let outcome: Option<String> = row.get(15)?;
    Ok(Job {
        id: row.get(0)?,
        source: row.get(1)?,
        vm: row.get(2)?,
        name: row.get(3)?,
        destination: row.get(4)?,
        on_fail: if row.get::<_, String>(5)? == "withhold" { OnFail::Withhold } else { OnFail::Terminate },
        schedule: serde_json::from_str(&row.get::<_, String>(6)?).unwrap_or_default(),
        wave: row.get(7)?,
        state: State::parse(&row.get::<_, String>(8)?),
        wanted: match row.get::<_, String>(9)?.as_str() {
            "pause" => Wanted::Pause,
            "cancel" => Wanted::Cancel,
            _ => Wanted::Run,
        },
        begun: row.get(10)?,
        attempts: row.get(11)?,
        next_at: time(12)?,
        code: row.get(13)?,
        why: row.get(14)?,
        outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()),
        created_at: time(16)?,
        ended_at: row.get::<_, Option<i64>>(17)?.map(i64::unsigned_abs),
    })
}

fn wave_of(row: &Row<'_>) -> rusqlite::Result<KnownWave> {
    let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(KnownWave {
        id: row.get(0)?,
        name: row.get(1)?,
        transfers_max: row.get(2)?,
        in_order: row.get(3)?,
        created_at: count(4)?,
        total: count(5)?,
        running: count(6)?,
        kept: count(7)?,
        failed: count(8)?,
    })
}

const WAVES: &str = "select wave.id, wave.name, transfers_max, in_order, wave.created_at, count(transfer.id),
    count(*) filter (where state = 'running'), count(*) filter (where state in ('active', 'active-withheld')),
    count(*) filter (where state in ('rejected', 'failed', 'cancelled'))
    from wave left join transfer on transfer.wave = wave.id";

fn destination_of(row: &Row<'_>) -> rusqlite::Result<KnownDestination> {
    let destination = NewDestination { name: row.get(1)?, address: row.get(2)?, identity: row.get(3)? };
    Ok(KnownDestination { id: row.get(0)?, destination })
}

/// Destinations.
impl Store {
    pub(crate) fn add_destination(&self, new: &NewDestination) -> Result<KnownDestination, Error> {
        let remote = new.address.strip_prefix("airlock://");
        let right = match remote {
            Some(rest) => rest.contains(':') && new.identity.is_some(),
            None => new.address.starts_with('/') && new.identity.is_none(),
        };
        if !is_name(&new.name) || !right {
            let text = "a destination has a plain name, and is airlock://HOST:PORT/VDC with an identity file, or \
                an absolute path without";
            return Err(Error::Invalid(text.into()));
        }
        let id = new_id();
        let sql = "insert or ignore into destination values (?1, ?2, ?3, ?4)";
        if self.lock().execute(sql, params![id, new.name, new.address, new.identity])? == 0 {
            return Err(Error::Conflict(format!("there is a destination {:?} already", new.name)));
        }
        self.destination(&id)
    }

    /// Finds a destination by its id or its name.
    pub(crate) fn destination(&self, id: &str) -> Result<KnownDestination, Error> {
        let sql = "select id, name, address, identity from destination where id = ?1 or name = ?1";
        let found = self.lock().query_row(sql, [id], destination_of).optional()?;
        found.ok_or_else(|| Error::NotFound("such destination".into()))
    }

    pub(crate) fn destinations(&self, after: &str, limit: u32) -> Result<Vec<KnownDestination>, Error> {
        let connection = self.lock();
        let sql = "select id, name, address, identity from destination where id > ?1 order by id limit ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![after, limit], destination_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets a destination. Transfers that wait for it fail when their turn comes.
    pub(crate) fn remove_destination(&self, id: &str) -> Result<(), Error> {
        if self.lock().execute("delete from destination where id = ?1", [id])? == 0 {
            return Err(Error::NotFound("such destination".into()));
        }
        Ok(())
    }
}

/// Transfers and waves.
impl Store {
    /// Queues transfers: all of them or none.
    fn add_transfers(
        &self,
        wave: Option<(&str, &NewWave)>,
        new: &[NewTransfer],
        now: u64,
    ) -> Result<Vec<String>, Error> {
        for one in new {
            one.schedule.check()?;
            self.vm(&one.source, &one.vm)?;
            self.destination(&one.destination)?;
            if one.name.as_deref().is_some_and(|name| !is_name(name)) {
                return Err(Error::Invalid("a VM needs a plain name".into()));
            }
        }
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "select count(*) from transfer where state in ('queued', 'running', 'waiting', 'paused')";
        let waiting: i64 = transaction.query_row(sql, [], |row| row.get(0))?;
        if waiting + i64::try_from(new.len()).unwrap_or(i64::MAX) > WAITING_MAX {
            return Err(Error::Conflict(format!("at most {WAITING_MAX} transfers may wait")));
        }
        if let Some((id, wave)) = wave {
            let row = params![id, wave.name, wave.transfers_max, wave.in_order, to_i64(now)];
            transaction.execute("insert into wave values (?1, ?2, ?3, ?4, ?5)", row)?;
        }
        let mut ids = Vec::new();
        for one in new {
            let id = new_id();
            let schedule = serde_json::to_string(&one.schedule).expect("plain data");
            transaction.execute(
                "insert into transfer select ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                    'queued', 'run', 0, 0, 0, null, null, null, ?9, null from transfer",
                params![
                    id,
                    one.source,
                    one.vm,
                    one.name.as_ref().unwrap_or(&one.vm),
                    one.destination,
                    one.on_fail.as_str(),
                    schedule,
                    wave.map(|(id, _)| id),
                    to_i64(now)
                ],
            )?;
            ids.push(id);
        }
        transaction.commit()?;
        Ok(ids)
    }

    pub(crate) fn add_transfer(&self, new: &NewTransfer, now: u64) -> Result<Job, Error> {
        let ids = self.add_transfers(None, std::slice::from_ref(new), now)?;
        self.job(ids.first().map_or("", String::as_str))
    }

    pub(crate) fn add_wave(&self, new: &NewWave, now: u64) -> Result<KnownWave, Error> {
        if !is_name(&new.name) || new.vms.is_empty() || new.vms.len() > WAVE_VMS_MAX {
            return Err(Error::Invalid(format!("a wave has a plain name and 1 to {WAVE_VMS_MAX} VMs")));
        }
        let id = new_id();
        self.add_transfers(Some((&id, new)), &new.vms, now)?;
        self.wave(&id)
    }

    pub(crate) fn job(&self, id: &str) -> Result<Job, Error> {
        let sql = format!("select {JOB_COLUMNS} from transfer where id = ?1");
        let found = self.lock().query_row(&sql, [id], job_of).optional()?;
        found.ok_or_else(|| Error::NotFound("such transfer".into()))
    }

    pub(crate) fn jobs(&self, after: &str, limit: u32) -> Result<Vec<Job>, Error> {
        let connection = self.lock();
        let sql = format!("select {JOB_COLUMNS} from transfer where id > ?1 order by id limit ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![after, limit], job_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the transfers that have not ended, in the order in which they came.
    pub(crate) fn unfinished(&self) -> Result<Vec<Job>, Error> {
        let connection = self.lock();
        let sql = format!(
            "select {JOB_COLUMNS} from transfer where state in ('queued', 'running', 'waiting', 'paused')
                order by sequence"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map([], job_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn wave(&self, id: &str) -> Result<KnownWave, Error> {
        let sql = format!("{WAVES} where wave.id = ?1 group by wave.id");
        let found = self.lock().query_row(&sql, [id], wave_of).optional()?;
        found.ok_or_else(|| Error::NotFound("such wave".into()))
    }

    pub(crate) fn waves(&self, after: &str, limit: u32) -> Result<Vec<KnownWave>, Error> {
        let connection = self.lock();
        let sql = format!("{WAVES} where wave.id > ?1 group by wave.id order by wave.id limit ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![after, limit], wave_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns whether everything in an ordered wave before a transfer was kept.
    pub(crate) fn all_before_kept(&self, job: &Job) -> Result<bool, Error> {
        let sql = "select not exists (select 1 from transfer, (select wave as w, sequence as s from transfer
            where id = ?1) where wave = w and sequence < s and state not in ('active', 'active-withheld'))";
        Ok(self.lock().query_row(sql, [&job.id], |row| row.get(0))?)
    }

    /// Notes what somebody wants of a transfer. One that does not run obeys at once.
    pub(crate) fn want(&self, id: &str, wanted: Wanted, now: u64) -> Result<Job, Error> {
        let job = self.job(id)?;
        if job.state.is_end() {
            return Err(Error::Conflict("the transfer has ended".into()));
        }
        let sql = "update transfer set wanted = ?2, ended_at = case when ?2 = 'cancel' and state <> 'running'
                then ?3 end, next_at = case when ?2 = 'run' then 0 else next_at end,
            state = case when state = 'running' then state when ?2 = 'cancel' then 'cancelled'
                when ?2 = 'pause' then 'paused' when state = 'paused' then 'queued' else state end
            where id = ?1 and state in ('queued', 'running', 'waiting', 'paused')";
        self.lock().execute(sql, params![id, wanted.as_str(), to_i64(now)])?;
        self.happened(&format!("transfer.{}", wanted.as_str()), id, &job.name, now);
        self.job(id)
    }

    /// Notes that a transfer is started.
    pub(crate) fn started(&self, job: &Job, now: u64) -> Result<(), Error> {
        let sql = "update transfer set state = 'running', begun = 1 where id = ?1";
        self.lock().execute(sql, [&job.id])?;
        self.happened("transfer.started", &job.id, &job.name, now);
        Ok(())
    }

    /// Notes that a transfer that ran stands otherwise, is tried again later, or has ended.
    pub(crate) fn ended(&self, job: &Job, end: &Ended, now: u64) -> Result<(), Error> {
        let outcome = end.outcome.as_ref().map(Value::to_string);
        let ended_at = end.state.is_end().then(|| to_i64(now));
        let sql = "update transfer set state = ?2, attempts = ?3, next_at = ?4, code = ?5, why = ?6,
            outcome = ?7, ended_at = ?8 where id = ?1";
        let row = params![
            job.id,
            end.state.as_str(),
            end.attempts,
            to_i64(end.next_at),
            end.code,
            end.why,
            outcome,
            ended_at
        ];
        self.lock().execute(sql, row)?;
        let kind = if end.state.is_kept() { "transfer.kept" } else { "transfer.stopped" };
        self.happened(kind, &job.id, end.state.as_str(), now);
        Ok(())
    }
}

/// How a run of a transfer came to its end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub(crate) state: State,
    pub(crate) attempts: u32,
    pub(crate) next_at: u64,
    pub(crate) code: Option<u8>,
    pub(crate) why: Option<String>,
    pub(crate) outcome: Option<Value>,
}
