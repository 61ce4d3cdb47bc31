//! Tokens and certificates: making, changing and revoking them, and pairing.

use super::{Asker, Id, Shared, list};
use crate::connections::Cut;
use crate::credential::{Credential, CredentialKind, NewCredential, Pairing, Scope};
use crate::{Director, Error};
use airlock_console::{Ask, Body, Page, PageQuery, Problem};
use airlock_link::PairingCode;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long a pairing code is good for, in seconds.
const CODE_SECONDS_MAX: u64 = 3600;
const CODE_SECONDS_DEFAULT: u64 = 600;
/// How long a credential may be good for, in seconds: ten years.
const CREDENTIAL_SECONDS_MAX: u64 = 10 * 366 * 86_400;
/// Most characters of a label.
const LABEL_CHARS_MAX: usize = 100;

/// A new token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// The tenant that it is for; none makes a token of the provider.
    tenant: Option<String>,
    /// What people call it.
    #[schema(max_length = 100)]
    label: String,
    /// What it is good for.
    scopes: Vec<Scope>,
    /// How long it is good for; without it, until it is revoked.
    #[schema(minimum = 1, maximum = 316_224_000)]
    seconds: Option<u64>,
}

/// A token, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenMade {
    /// The credential.
    credential: Credential,
    /// What goes behind `Authorization: Bearer`.
    token: String,
}

/// A new pairing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPairing {
    /// The tenant that the certificate is for.
    tenant: String,
    /// What people call it.
    #[schema(max_length = 100)]
    label: String,
    /// What the certificate is good for; `transfer` if not said.
    scopes: Option<Vec<Scope>>,
    /// How long the code is good for, 600 if not said.
    #[schema(minimum = 1, maximum = 3600)]
    seconds: Option<u64>,
    /// How long the certificate is good for; without it, until it is revoked.
    #[schema(minimum = 1, maximum = 316_224_000)]
    certificate_seconds: Option<u64>,
}

/// A pairing code, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PairingMade {
    /// What `airlock pair` is given.
    code: String,
    /// When it ceases to be good, in seconds since 1970-01-01 UTC.
    expires_at: u64,
}

/// What a credential was changed for: a token for tokens, a code for certificates.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Rotated {
    /// The new token; the old one is good for nothing any more.
    Token(TokenMade),
    /// The code for a new certificate; once that is fetched, the old one is revoked.
    Pairing(PairingMade),
}

/// What a site asks for with its code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PairAsk {
    /// The first part of the code.
    #[schema(max_length = 32)]
    pairing: String,
    /// The second part of the code.
    #[schema(max_length = 64)]
    secret: String,
    /// A certificate signing request in PEM.
    #[schema(max_length = 8192)]
    request: String,
}

/// A certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Paired {
    /// The certificate, in PEM.
    certificate: String,
    /// The certificate of the director's authority, in PEM.
    authority: String,
}

fn check_label(label: &str) -> Result<(), Problem> {
    if label.chars().count() > LABEL_CHARS_MAX || label.chars().any(char::is_control) {
        return Err(Problem::invalid("a label has at most 100 printable characters"));
    }
    Ok(())
}

fn check_seconds(seconds: Option<u64>, most: u64) -> Result<(), Problem> {
    if seconds.is_some_and(|seconds| seconds == 0 || seconds > most) {
        return Err(Problem::invalid(format!("the time is from 1 to {most} seconds")));
    }
    Ok(())
}

/// Checks that a credential with these scopes can be, for a tenant or for the provider.
fn check_scopes(scopes: &[Scope], tenant: Option<&str>) -> Result<(), Problem> {
    let fits = |scope: &Scope| (*scope == Scope::Provider) == tenant.is_none();
    if scopes.is_empty() || scopes.len() > 4 || !scopes.iter().all(fits) {
        let why = "a tenant's credential has scopes of a tenant, the provider's only `provider`";
        return Err(Problem::invalid(why));
    }
    Ok(())
}

/// Lists credentials, without their secrets.
#[utoipa::path(get, path = "/api/v1/credentials", tag = "credentials", params(PageQuery),
    responses((status = 200, body = Page<Credential>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_credentials(
    State(api): State<Shared>,
    asker: Asker,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<Page<Credential>>, Problem> {
    asker.admin()?;
    let read = |director: &Director, page: crate::tenancy::Page<'_>| director.ledger.credentials(page);
    list(&api, &asker, query, read, |credential| credential.id.clone()).await
}

/// Shows a credential, without its secret.
#[utoipa::path(get, path = "/api/v1/credentials/{id}", tag = "credentials", params(("id" = String, Path)),
    responses((status = 200, body = Credential), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_credential(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Credential>, Problem> {
    let admin = asker.admin()?;
    let found = api.run(move |director| director.ledger.credential(admin.as_deref(), &id)).await?;
    found.map(Json).ok_or_else(Problem::not_found)
}

/// Makes a token.
#[utoipa::path(post, path = "/api/v1/credentials", tag = "credentials", request_body = NewToken,
    responses((status = 201, body = TokenMade), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_token(
    State(api): State<Shared>,
    asker: Asker,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    let admin = asker.admin()?;
    check_label(&new.label)?;
    check_seconds(new.seconds, CREDENTIAL_SECONDS_MAX)?;
    if new.tenant.is_none() {
        asker.provider()?;
    }
    check_scopes(&new.scopes, new.tenant.as_deref())?;
    let made = api.run(move |director| {
        let tenant =
            new.tenant.map(|tenant| director.visible_tenant(admin.as_deref(), &tenant)).transpose()?;
        let now = (director.clock)();
        let wanted = NewCredential {
            tenant: tenant.as_deref(),
            label: &new.label,
            scopes: &new.scopes,
            expires_at: new.seconds.map(|seconds| now.saturating_add(seconds)),
        };
        let (credential, token) = director.ledger.add_token(&wanted, now)?;
        director.happened(tenant.as_deref(), "credential.created", &credential.id, &credential.label);
        Ok(TokenMade { credential, token: token.to_string() })
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Gives a credential a new secret. The old token is good for nothing at once; the old certificate once
/// the new one is fetched.
#[utoipa::path(post, path = "/api/v1/credentials/{id}/rotate", tag = "credentials",
    params(("id" = String, Path)),
    responses((status = 200, body = Rotated), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate_credential(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Rotated>, Problem> {
    let admin = asker.admin()?;
    let fingerprint = api.fingerprint.clone();
    let rotated = api.run(move |director| {
        let now = (director.clock)();
        let found = director.ledger.credential(admin.as_deref(), &id)?;
        let credential = found.ok_or_else(|| Error::NotFound("such credential".into()))?;
        if let Some(why) = credential.invalid_at(now) {
            return Err(Error::Conflict(why.into()));
        }
        let tenant = credential.tenant.clone();
        let of_tenant = tenant.clone().filter(|_| credential.kind == CredentialKind::Certificate);
        let rotated = if let Some(tenant) = of_tenant {
            let pairing = Pairing {
                tenant,
                label: credential.label.clone(),
                scopes: credential.scopes.clone(),
                replaces: Some(credential.id.clone()),
                certificate_expires_at: credential.expires_at,
            };
            Rotated::Pairing(director.make_code(&pairing, &fingerprint, CODE_SECONDS_DEFAULT)?)
        } else {
            let token = director.ledger.rotate_token(&credential.id)?.to_string();
            Rotated::Token(TokenMade { credential, token })
        };
        director.happened(tenant.as_deref(), "credential.rotated", &id, "");
        Ok(rotated)
    });
    Ok(Json(rotated.await?))
}

/// Revokes a credential. Its connections are cut, transfers in the middle included; these can be resumed
/// with another credential of the tenant.
#[utoipa::path(post, path = "/api/v1/credentials/{id}/revoke", tag = "credentials",
    params(("id" = String, Path)),
    responses((status = 200, body = Credential), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke_credential(
    State(api): State<Shared>,
    asker: Asker,
    Id(id): Id,
) -> Result<Json<Credential>, Problem> {
    let admin = asker.admin()?;
    let revoked = api.run(move |director| {
        let find = || {
            let found = director.ledger.credential(admin.as_deref(), &id)?;
            found.ok_or_else(|| Error::NotFound("such credential".into()))
        };
        let credential = find()?;
        director.revoke(&credential)?;
        find()
    });
    Ok(Json(revoked.await?))
}

/// Makes a code that a client certificate can be had for, once.
#[utoipa::path(post, path = "/api/v1/pairings", tag = "credentials", request_body = NewPairing,
    responses((status = 201, body = PairingMade), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_pairing(
    State(api): State<Shared>,
    asker: Asker,
    Body(new): Body<NewPairing>,
) -> Result<(StatusCode, Json<PairingMade>), Problem> {
    let admin = asker.admin()?;
    check_label(&new.label)?;
    check_seconds(new.seconds, CODE_SECONDS_MAX)?;
    check_seconds(new.certificate_seconds, CREDENTIAL_SECONDS_MAX)?;
    let scopes = new.scopes.unwrap_or_else(|| vec![Scope::Transfer]);
    check_scopes(&scopes, Some(&new.tenant))?;
    let fingerprint = api.fingerprint.clone();
    let made = api.run(move |director| {
        let tenant = director.visible_tenant(admin.as_deref(), &new.tenant)?;
        let now = (director.clock)();
        let certificate_expires_at = new.certificate_seconds.map(|seconds| now.saturating_add(seconds));
        let pairing = Pairing { tenant, label: new.label, scopes, replaces: None, certificate_expires_at };
        director.make_code(&pairing, &fingerprint, new.seconds.unwrap_or(CODE_SECONDS_DEFAULT))
    });
    Ok((StatusCode::CREATED, Json(made.await?)))
}

/// Fetches a certificate for a code. The code is all that is needed, and is used up.
#[utoipa::path(post, path = "/api/v1/pair", tag = "credentials", request_body = PairAsk, security(()),
    responses((status = 200, body = Paired), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pair(
    State(api): State<Shared>,
    Body(ask): Body<PairAsk>,
) -> Result<Json<Paired>, Problem> {
    Ok(Json(api.run(move |director| director.pair(&ask)).await?))
}

impl Director {
    fn visible_tenant(&self, viewer: Option<&str>, id: &str) -> Result<String, Error> {
        let found = self.ledger.tenant(viewer, id)?;
        found.map(|tenant| tenant.id).ok_or_else(|| Error::NotFound("such tenant".into()))
    }

    fn make_code(&self, pairing: &Pairing, fingerprint: &str, seconds: u64) -> Result<PairingMade, Error> {
        let now = (self.clock)();
        let expires_at = now.saturating_add(seconds);
        let (id, secret) = self.ledger.add_pairing(pairing, now, expires_at)?;
        let fingerprint = fingerprint.to_owned();
        let code = PairingCode { pairing: id.clone(), secret: secret.to_string(), fingerprint };
        self.happened(Some(&pairing.tenant), "pairing.created", &id, &pairing.label);
        Ok(PairingMade { code: code.to_text(), expires_at })
    }

    pub(crate) fn revoke(&self, credential: &Credential) -> Result<(), Error> {
        self.ledger.revoke(&credential.id, (self.clock)())?;
        self.connections.cut_credential(&credential.id, Cut::Revoked);
        let tenant = credential.tenant.as_deref();
        self.happened(tenant, "credential.revoked", &credential.id, &credential.label);
        Ok(())
    }

    fn pair(&self, ask: &PairAsk) -> Result<Paired, Error> {
        let now = (self.clock)();
        let authority = self.authority()?;
        // First what does not use the code up.
        let certified = authority.certify(&ask.request, "Airlock manager");
        let (certificate, digest) = certified.map_err(|error| Error::Invalid(error.to_string()))?;
        let pairing = self.ledger.take_pairing(&ask.pairing, &ask.secret, now)?;
        let refused = || Error::NotAuthorised("the code is wrong, used up or too old".into());
        let pairing = pairing.ok_or_else(refused)?;
        let new = NewCredential {
            tenant: Some(&pairing.tenant),
            label: &pairing.label,
            scopes: &pairing.scopes,
            expires_at: pairing.certificate_expires_at,
        };
        self.ledger.add_certificate(&digest, &new, now)?;
        self.happened(Some(&pairing.tenant), "pairing.used", &ask.pairing, &pairing.label);
        if let Some(old) = &pairing.replaces
            && let Some(old) = self.ledger.credential(Some(&pairing.tenant), old)?
        {
            self.revoke(&old)?;
        }
        Ok(Paired { certificate, authority: authority.certificate_pem().to_owned() })
    }
}
