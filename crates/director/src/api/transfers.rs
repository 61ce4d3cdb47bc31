//! Transfers, their evidence, and the VMs that they brought.

use super::{Asker, Id, Shared, list};
use crate::desk::{Transfer, Vm};
use crate::ledger::parse_id;
use crate::{Director, Error};
use airlock_console::{Ask, Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

/// Lists transfers.
#[utoipa::path(get, path = "/api/v1/transfers", tag = "transfers", params(PageQuery),
    responses((status = 200, body = Page<Transfer>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_transfers(
    State(api): State<Shared>,
    asker: Asker,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<Transfer>>, Problem> {
    list(&api, &asker, query, Director::transfers, |one| one.id.clone()).await
}

/// Shows a transfer.
#[utoipa::path(get, path = "/api/v1/transfers/{id}", tag = "transfers", params(("id" = String, Path)),
    responses((status = 200, body = Transfer), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_transfer(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Transfer>, Problem> {
    let viewer = asker.viewer()?;
    Ok(Json(api.run(move |director| director.transfer(viewer.as_deref(), &id)).await?))
}

/// Pauses a transfer: its connections are cut, and it does not go on before it is resumed here.
#[utoipa::path(post, path = "/api/v1/transfers/{id}/pause", tag = "transfers",
    params(("id" = String, Path)),
    responses((status = 200, body = Transfer), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pause_transfer(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Transfer>, Problem> {
    let admin = asker.admin()?;
    Ok(Json(api.run(move |director| director.pause(admin.as_deref(), &id)).await?))
}

/// Lets a paused transfer go on, once the manager comes again with `--resume`.
#[utoipa::path(post, path = "/api/v1/transfers/{id}/resume", tag = "transfers",
    params(("id" = String, Path)),
    responses((status = 200, body = Transfer), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn resume_transfer(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Transfer>, Problem> {
    let admin = asker.admin()?;
    Ok(Json(api.run(move |director| director.resume(admin.as_deref(), &id)).await?))
}

/// Cancels a transfer: its connections are cut, and what it has brought is discarded.
#[utoipa::path(post, path = "/api/v1/transfers/{id}/cancel", tag = "transfers",
    params(("id" = String, Path)),
    responses((status = 200, body = Transfer), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel_transfer(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Transfer>, Problem> {
    let admin = asker.admin()?;
    Ok(Json(api.run(move |director| director.cancel(admin.as_deref(), &id)).await?))
}

/// Returns the evidence of a transfer: the file that `airlock verify` takes.
#[utoipa::path(get, path = "/api/v1/transfers/{id}/evidence", tag = "transfers",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "application/json", body = Object),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_evidence(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<impl IntoResponse, Problem> {
    let viewer = asker.viewer()?;
    let evidence = api.run(move |director| {
        director.transfer(viewer.as_deref(), &id)?;
        let path = director.evidence_path(&parse_id(&id)?);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NotFound("evidence of this transfer".into()))
            }
            read => read.map_err(Error::file("read", &path)),
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], evidence.await?))
}

/// Lists the VMs that are kept.
#[utoipa::path(get, path = "/api/v1/vms", tag = "vms", params(PageQuery),
    responses((status = 200, body = Page<Vm>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_vms(
    State(api): State<Shared>,
    asker: Asker,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<Vm>>, Problem> {
    list(&api, &asker, query, Director::vm_rows, |one| one.id.clone()).await
}

/// Shows a VM.
#[utoipa::path(get, path = "/api/v1/vms/{id}", tag = "vms", params(("id" = String, Path)),
    responses((status = 200, body = Vm), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_vm(State(api): State<Shared>, asker: Asker, Id(id): Id) -> Result<Json<Vm>, Problem> {
    let viewer = asker.viewer()?;
    Ok(Json(api.run(move |director| director.vm(viewer.as_deref(), &id)).await?))
}

/// Deletes a VM. What other VMs of the tenant share with it stays.
#[utoipa::path(delete, path = "/api/v1/vms/{id}", tag = "vms", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_vm(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let admin = asker.admin()?;
    api.run(move |director| director.delete_vm(admin.as_deref(), &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
