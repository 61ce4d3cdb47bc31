//! Sources with their VMs, and destinations.

use super::{Id, Shared, list};
use crate::service::inventory::{KnownSource, KnownVm, NewSource};
use crate::service::queue::{KnownDestination, NewDestination};
use crate::service::{Manager, ServiceError};
use airlock_console::{Ask, Body, Page, PageQuery, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

impl Manager {
    /// Looks at a source again.
    fn rescan(&self, id: &str) -> Result<KnownSource, ServiceError> {
        self.store.rescan(id, &self.virsh, &self.directory.join("libvirt"), (self.clock)())
    }
}

/// Lists sources.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", params(PageQuery),
    responses((status = 200, body = Page<KnownSource>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_sources(
    State(api): State<Shared>,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<KnownSource>>, Problem> {
    list(&api, query, |manager, after, limit| manager.store.sources(after, limit), |one| one.id.clone()).await
}

/// Makes a source, and looks at it. What goes wrong with that stands in it as a problem.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", request_body = NewSource,
    responses((status = 201, body = KnownSource), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_source(
    State(api): State<Shared>,
    Body(new): Body<NewSource>,
) -> Result<(StatusCode, Json<KnownSource>), Problem> {
    let made =
        api.run(move |manager| manager.store.add_source(&new).and_then(|made| manager.rescan(&made.id)));
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Shows a source.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = KnownSource), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_source(State(api): State<Shared>, Id(id): Id) -> Result<Json<KnownSource>, Problem> {
    Ok(Json(api.run(move |manager| manager.store.source(&id)).await?))
}

/// Forgets a source and its VMs. What is there is not touched; transfers that wait for it fail.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_source(State(api): State<Shared>, Id(id): Id) -> Result<StatusCode, Problem> {
    api.run(move |manager| manager.store.remove_source(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Looks at a source again: VMs that are new are known from now on, and those that are gone are not.
#[utoipa::path(post, path = "/api/v1/sources/{id}/rescan", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = KnownSource), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rescan_source(
    State(api): State<Shared>,
    Id(id): Id,
) -> Result<Json<KnownSource>, Problem> {
    Ok(Json(api.run(move |manager| manager.rescan(&id)).await?))
}

/// Lists the VMs of all sources.
#[utoipa::path(get, path = "/api/v1/vms", tag = "sources", params(PageQuery),
    responses((status = 200, body = Page<KnownVm>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_vms(
    State(api): State<Shared>,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<KnownVm>>, Problem> {
    list(&api, query, |manager, after, limit| manager.store.vms(after, limit), |one| one.id.clone()).await
}

/// Shows a VM.
#[utoipa::path(get, path = "/api/v1/vms/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = KnownVm), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_vm(State(api): State<Shared>, Id(id): Id) -> Result<Json<KnownVm>, Problem> {
    Ok(Json(api.run(move |manager| manager.store.vm("", &id)).await?))
}

/// Lists destinations.
#[utoipa::path(get, path = "/api/v1/destinations", tag = "destinations", params(PageQuery),
    responses((status = 200, body = Page<KnownDestination>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_destinations(
    State(api): State<Shared>,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<KnownDestination>>, Problem> {
    list(&api, query, |manager, after, limit| manager.store.destinations(after, limit), |one| one.id.clone())
        .await
}

/// Makes a destination.
#[utoipa::path(post, path = "/api/v1/destinations", tag = "destinations", request_body = NewDestination,
    responses((status = 201, body = KnownDestination), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_destination(
    State(api): State<Shared>,
    Body(new): Body<NewDestination>,
) -> Result<(StatusCode, Json<KnownDestination>), Problem> {
    let made = api.run(move |manager| manager.store.add_destination(&new));
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Shows a destination.
#[utoipa::path(get, path = "/api/v1/destinations/{id}", tag = "destinations", params(("id" = String, Path)),
    responses((status = 200, body = KnownDestination), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_destination(
    State(api): State<Shared>,
    Id(id): Id,
) -> Result<Json<KnownDestination>, Problem> {
    Ok(Json(api.run(move |manager| manager.store.destination(&id)).await?))
}

/// Forgets a destination. Transfers that wait for it fail.
#[utoipa::path(delete, path = "/api/v1/destinations/{id}", tag = "destinations", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_destination(State(api): State<Shared>, Id(id): Id) -> Result<StatusCode, Problem> {
    api.run(move |manager| manager.store.remove_destination(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
