//! Transfers, waves of them, their evidence, and the policy that they are judged by.

use super::{Id, Shared, list};
use crate::service::queue::{Job, KnownWave, NewTransfer, NewWave, Wanted};
use crate::service::run::Progress;
use crate::service::{Manager, ServiceError};
use airlock_console::{Ask, Body, Page, PageQuery, Problem};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

/// A transfer, and how far it is while it is under way.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Shown {
    /// The transfer.
    transfer: Job,
    /// How far it is.
    progress: Option<Progress>,
}

impl Manager {
    fn shown(&self, job: Job) -> Shown {
        let progress = self.runs().get(&job.id).map(super::super::run::Run::progress);
        Shown { transfer: job, progress }
    }

    fn want(&self, id: &str, wanted: Wanted) -> Result<Shown, ServiceError> {
        Ok(self.shown(self.store.want(id, wanted, (self.clock)())?))
    }
}

/// Lists transfers.
#[utoipa::path(get, path = "/api/v1/transfers", tag = "transfers", params(PageQuery),
    responses((status = 200, body = Page<Shown>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_transfers(
    State(api): State<Shared>,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<Shown>>, Problem> {
    let read = |manager: &Manager, after: &str, limit| {
        let jobs = manager.store.jobs(after, limit)?;
        Ok(jobs.into_iter().map(|job| manager.shown(job)).collect())
    };
    list(&api, query, read, |one| one.transfer.id.clone()).await
}

/// Queues a transfer.
#[utoipa::path(post, path = "/api/v1/transfers", tag = "transfers", request_body = NewTransfer,
    responses((status = 201, body = Shown), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_transfer(
    State(api): State<Shared>,
    Body(new): Body<NewTransfer>,
) -> Result<(StatusCode, Json<Shown>), Problem> {
    let made = api.run(move |manager| {
        manager.store.add_transfer(&new, (manager.clock)()).map(|job| manager.shown(job))
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Shows a transfer.
#[utoipa::path(get, path = "/api/v1/transfers/{id}", tag = "transfers", params(("id" = String, Path)),
    responses((status = 200, body = Shown), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_transfer(State(api): State<Shared>, Id(id): Id) -> Result<Json<Shown>, Problem> {
    Ok(Json(api.run(move |manager| manager.store.job(&id).map(|job| manager.shown(job))).await?))
}

/// Pauses a transfer: it is interrupted, and does not go on before it is resumed.
#[utoipa::path(post, path = "/api/v1/transfers/{id}/pause", tag = "transfers", params(("id" = String, Path)),
    responses((status = 200, body = Shown), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pause_transfer(State(api): State<Shared>, Id(id): Id) -> Result<Json<Shown>, Problem> {
    Ok(Json(api.run(move |manager| manager.want(&id, Wanted::Pause)).await?))
}

/// Lets a paused transfer go on, or tries one that waits again at once.
#[utoipa::path(post, path = "/api/v1/transfers/{id}/resume", tag = "transfers", params(("id" = String, Path)),
    responses((status = 200, body = Shown), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn resume_transfer(State(api): State<Shared>, Id(id): Id) -> Result<Json<Shown>, Problem> {
    Ok(Json(api.run(move |manager| manager.want(&id, Wanted::Run)).await?))
}

/// Cancels a transfer. What has arrived at the director stays there until it is cancelled there, too.
#[utoipa::path(post, path = "/api/v1/transfers/{id}/cancel", tag = "transfers", params(("id" = String, Path)),
    responses((status = 200, body = Shown), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel_transfer(State(api): State<Shared>, Id(id): Id) -> Result<Json<Shown>, Problem> {
    Ok(Json(api.run(move |manager| manager.want(&id, Wanted::Cancel)).await?))
}

/// Returns the evidence of a transfer: the file that `airlock verify` takes.
#[utoipa::path(get, path = "/api/v1/transfers/{id}/evidence", tag = "transfers", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/json", body = Object), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_evidence(
    State(api): State<Shared>,
    Id(id): Id,
) -> Result<impl IntoResponse, Problem> {
    let evidence = api.run(move |manager| {
        // Only the ids of transfers become names of files.
        let job = manager.store.job(&id)?;
        let path = manager.evidence_path(&job.id);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ServiceError::NotFound("evidence of this transfer".into()))
            }
            read => read.map_err(ServiceError::file("read", &path)),
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], evidence.await?))
}

/// Lists waves.
#[utoipa::path(get, path = "/api/v1/waves", tag = "waves", params(PageQuery),
    responses((status = 200, body = Page<KnownWave>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_waves(
    State(api): State<Shared>,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<KnownWave>>, Problem> {
    list(&api, query, |manager, after, limit| manager.store.waves(after, limit), |one| one.id.clone()).await
}

/// Queues the VMs of a wave, all of them or none. The body is YAML, of which JSON is a part.
#[utoipa::path(post, path = "/api/v1/waves", tag = "waves",
    request_body(content((NewWave = "application/json"), (NewWave = "application/yaml"))),
    responses((status = 201, body = KnownWave), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_wave(
    State(api): State<Shared>,
    body: Bytes,
) -> Result<(StatusCode, Json<KnownWave>), Problem> {
    let text = std::str::from_utf8(&body).map_err(|_| Problem::malformed("the body is not UTF-8"))?;
    let new: NewWave =
        serde_saphyr::from_str(text).map_err(|error| Problem::invalid(format!("it is no wave: {error}")))?;
    let made = api.run(move |manager| manager.store.add_wave(&new, (manager.clock)()));
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Shows a wave, and how far it is.
#[utoipa::path(get, path = "/api/v1/waves/{id}", tag = "waves", params(("id" = String, Path)),
    responses((status = 200, body = KnownWave), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_wave(State(api): State<Shared>, Id(id): Id) -> Result<Json<KnownWave>, Problem> {
    Ok(Json(api.run(move |manager| manager.store.wave(&id)).await?))
}

/// Returns the policy of this site, as YAML.
#[utoipa::path(get, path = "/api/v1/policy", tag = "about",
    responses((status = 200, content_type = "application/yaml", body = String), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_policy(State(api): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let policy = api.run(|manager| manager.launch.policy().map_err(ServiceError::Conflict));
    Ok(([(header::CONTENT_TYPE, "application/yaml")], policy.await?))
}
