//! The description of the interface, made from the types and the handlers.

use super::{events, sources, transfers};
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Airlock manager",
        description = "Sources, transfers and waves of a manager. Every answer that is not 2xx is a \
            problem (RFC 9457). A POST with the header `Idempotency-Key` is done once a day.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        sources::list_sources, sources::create_source, sources::get_source, sources::delete_source,
        sources::rescan_source, sources::list_vms, sources::get_vm,
        sources::list_destinations, sources::create_destination, sources::get_destination,
        sources::delete_destination,
        transfers::list_transfers, transfers::create_transfer, transfers::get_transfer,
        transfers::pause_transfer, transfers::resume_transfer, transfers::cancel_transfer,
        transfers::get_evidence, transfers::list_waves, transfers::create_wave, transfers::get_wave,
        transfers::get_policy, events::watch_events, get_document,
    ),
    modifiers(&Bearer),
    security(("bearer" = [])),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
    }
}

/// Returns the description of the interface: `OpenAPI` 3.1, as JSON.
pub fn openapi() -> String {
    let mut text = Document::openapi().to_pretty_json().expect("plain data");
    text.push('\n');
    text
}

/// Returns this description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "about", security(()),
    responses((status = 200, content_type = "application/json", body = Object)))]
pub(super) async fn get_document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi())
}
