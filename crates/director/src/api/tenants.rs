//! Tenants, their virtual data centers, and the policies of these.

use super::{Api, Asker, Id, Shared, list};
use crate::Error;
use crate::tenancy::{Quota, Tenant, Usage, Vdc, parse_policy};
use airlock_console::{Ask, Body, Page, PageQuery, Problem};
use airlock_policy::Effective;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A new tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// Its name: 1 to 63 small letters, digits and hyphens.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    name: String,
}

/// A new virtual data center.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewVdc {
    /// The id of the tenant.
    tenant: String,
    /// Its name: 1 to 63 small letters, digits and hyphens.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    name: String,
    /// How much it may take.
    #[serde(default)]
    quota: Quota,
}

/// A virtual data center and how much it takes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VdcInUse {
    #[serde(flatten)]
    vdc: Vdc,
    /// What it holds.
    usage: Usage,
}

/// A policy to put in place of another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPolicy {
    /// The policy, as `airlock policy init` writes one.
    yaml: String,
}

/// The policy that holds for transfers into a virtual data center.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyInForce {
    /// The policy.
    yaml: String,
    /// Its digest, as it stands in evidence.
    digest: String,
    /// Whether it is the virtual data center's own; otherwise it is the site's.
    own: bool,
}

pub(super) fn check_name(name: &str) -> Result<(), Problem> {
    let right = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.bytes().all(right) {
        let why = "a name has 1 to 63 small letters, digits and hyphens, and begins with no hyphen";
        return Err(Problem::invalid(why));
    }
    Ok(())
}

/// Lists tenants: all of them for the provider, itself for a tenant.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", params(PageQuery),
    responses((status = 200, body = Page<Tenant>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_tenants(
    State(api): State<Shared>,
    asker: Asker,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<Tenant>>, Problem> {
    list(&api, &asker, query, |director, page| director.ledger.tenants(page), |tenant| tenant.id.clone())
        .await
}

/// Makes a tenant, with a virtual data center `default` that has no limits. For the provider.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "tenants", request_body = NewTenant,
    responses((status = 201, body = Tenant), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_tenant(
    State(api): State<Shared>,
    asker: Asker,
    Body(new): Body<NewTenant>,
) -> Result<(StatusCode, Json<Tenant>), Problem> {
    asker.provider()?;
    check_name(&new.name)?;
    let made = api.run(move |director| {
        let tenant = director.ledger.add_tenant(&new.name, (director.clock)())?;
        director.happened(Some(&tenant.id), "tenant.created", &tenant.id, &tenant.name);
        Ok(tenant)
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Shows a tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = Tenant), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_tenant(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Tenant>, Problem> {
    let viewer = asker.viewer()?;
    let found = api.run(move |director| director.ledger.tenant(viewer.as_deref(), &id)).await?;
    found.map(Json).ok_or_else(Problem::not_found)
}

/// Lists virtual data centers.
#[utoipa::path(get, path = "/api/v1/vdcs", tag = "vdcs", params(PageQuery),
    responses((status = 200, body = Page<Vdc>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_vdcs(
    State(api): State<Shared>,
    asker: Asker,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<Vdc>>, Problem> {
    list(&api, &asker, query, |director, page| director.ledger.vdcs(page), |vdc| vdc.id.clone()).await
}

/// Makes a virtual data center. For the provider.
#[utoipa::path(post, path = "/api/v1/vdcs", tag = "vdcs", request_body = NewVdc,
    responses((status = 201, body = Vdc), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_vdc(
    State(api): State<Shared>,
    asker: Asker,
    Body(new): Body<NewVdc>,
) -> Result<(StatusCode, Json<Vdc>), Problem> {
    asker.provider()?;
    check_name(&new.name)?;
    let made = api.run(move |director| {
        let tenant = director.ledger.tenant(None, &new.tenant)?;
        let tenant = tenant.ok_or_else(|| Error::NotFound("such tenant".into()))?;
        let vdc = director.ledger.add_vdc(&tenant.id, &new.name, new.quota, (director.clock)())?;
        director.happened(Some(&tenant.id), "vdc.created", &vdc.id, &vdc.name);
        Ok(vdc)
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Finds a virtual data center, and does something with it.
async fn with_vdc<T: Send + 'static>(
    api: &Api,
    viewer: Option<String>,
    id: String,
    work: impl FnOnce(&crate::Director, Vdc) -> Result<T, Error> + Send + 'static,
) -> Result<T, Problem> {
    api.run(move |director| {
        let found = director.ledger.vdc(viewer.as_deref(), &id)?;
        work(director, found.ok_or_else(|| Error::NotFound("such virtual data center".into()))?)
    })
    .await
}

/// Shows a virtual data center, and how much it takes.
#[utoipa::path(get, path = "/api/v1/vdcs/{id}", tag = "vdcs", params(("id" = String, Path)),
    responses((status = 200, body = VdcInUse), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_vdc(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<VdcInUse>, Problem> {
    let found = with_vdc(&api, asker.viewer()?, id, |director, vdc| {
        let usage = director.ledger.usage(&vdc.tenant, &vdc.name, &[])?;
        Ok(VdcInUse { vdc, usage })
    });
    Ok(Json(found.await?))
}

/// Sets how much a virtual data center may take; it holds for transfers that begin from now on.
/// For the provider.
#[utoipa::path(put, path = "/api/v1/vdcs/{id}/quota", tag = "vdcs", request_body = Quota,
    params(("id" = String, Path)),
    responses((status = 200, body = Vdc), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_quota(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
    Body(quota): Body<Quota>,
) -> Result<Json<Vdc>, Problem> {
    asker.provider()?;
    let changed = with_vdc(&api, None, id, move |director, vdc| {
        director.ledger.set_quota(&vdc.id, quota)?;
        director.happened(Some(&vdc.tenant), "vdc.quota", &vdc.id, &vdc.name);
        Ok(Vdc { quota, ..vdc })
    });
    Ok(Json(changed.await?))
}

fn in_force(director: &crate::Director, own: Option<String>) -> Result<PolicyInForce, Error> {
    let is_own = own.is_some();
    let yaml = own.unwrap_or_else(|| director.policy_yaml.clone());
    let digest = parse_policy(&yaml)?.digest().to_string();
    Ok(PolicyInForce { yaml, digest, own: is_own })
}

/// Shows the policy of a virtual data center.
#[utoipa::path(get, path = "/api/v1/vdcs/{id}/policy", tag = "policies", params(("id" = String, Path)),
    responses((status = 200, body = PolicyInForce), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_policy(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<PolicyInForce>, Problem> {
    let found = with_vdc(&api, asker.viewer()?, id, |director, vdc| in_force(director, vdc.policy));
    Ok(Json(found.await?))
}

/// Gives a virtual data center a policy of its own, for transfers that begin from now on. A tenant's must
/// be as strict as the site's in everything; the provider's need not.
#[utoipa::path(put, path = "/api/v1/vdcs/{id}/policy", tag = "policies", request_body = NewPolicy,
    params(("id" = String, Path)),
    responses((status = 200, body = PolicyInForce), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_policy(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
    Body(new): Body<NewPolicy>,
) -> Result<Json<PolicyInForce>, Problem> {
    let admin = asker.admin()?;
    let may_relax = asker.is_provider();
    let changed = with_vdc(&api, admin, id, move |director, vdc| {
        let (own, site) = (parse_policy(&new.yaml)?, parse_policy(&director.policy_yaml)?);
        let merged = Effective::merge(&own, &site);
        if !may_relax && merged.digest() != Effective::merge(&own, &own).digest() {
            let why = "the policy is weaker than the site's; only the provider may put such a policy";
            return Err(Error::Invalid(why.into()));
        }
        director.ledger.set_policy(&vdc.id, Some(&new.yaml))?;
        director.happened(Some(&vdc.tenant), "vdc.policy", &vdc.id, &own.digest().to_string());
        in_force(director, Some(new.yaml))
    });
    Ok(Json(changed.await?))
}

/// Puts the site's policy in force again.
#[utoipa::path(delete, path = "/api/v1/vdcs/{id}/policy", tag = "policies", params(("id" = String, Path)),
    responses((status = 200, body = PolicyInForce), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_policy(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<PolicyInForce>, Problem> {
    asker.provider()?;
    let changed = with_vdc(&api, None, id, |director, vdc| {
        director.ledger.set_policy(&vdc.id, None)?;
        director.happened(Some(&vdc.tenant), "vdc.policy", &vdc.id, "the site's");
        in_force(director, None)
    });
    Ok(Json(changed.await?))
}
