//! What this site judges by, for managers to judge by it, too, before anything is moved.

use super::{Asker, Id, Shared};
use crate::criteria::OfferedBook;
use crate::{DEFAULT_VDC, Director, Error};
use airlock_console::{Ask, Problem};
use airlock_evidence::SignedPolicy;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Bytes of a rulebook that are sent at once, and how many such pieces wait.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_MAX: usize = 4;

/// What the director inspects with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RulesInForce {
    /// Stands for all of it, as in evidence.
    digest: String,
    /// The rulebooks that are in it beside the built-in rules.
    books: Vec<RulebookInForce>,
}

/// A rulebook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RulebookInForce {
    name: String,
    version: u64,
    digest: String,
}

/// Whose criteria are asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OfVdc {
    /// The name of the virtual data center; `default` if not said.
    #[param(max_length = 63)]
    vdc: Option<String>,
}

/// What a transfer into a virtual data center is judged by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Criteria {
    /// The key that this site signs with: 64 hexadecimal digits.
    site_key: String,
    /// The policy: a DSSE envelope, as text, that the site's key has signed.
    policy: String,
    /// The digest of the rules, as in evidence.
    rules: String,
    /// The rulebooks that may be fetched.
    books: Vec<OfferedBook>,
}

/// Shows what the director inspects with.
#[utoipa::path(get, path = "/api/v1/rules", tag = "policies",
    responses((status = 200, body = RulesInForce), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_rules(
    State(api): State<Shared>,
    asker: Asker,
) -> Result<Json<RulesInForce>, Problem> {
    asker.viewer()?;
    let rules = api.run(Director::rules).await?;
    let books = rules.books().iter().map(|book| RulebookInForce {
        name: book.name.clone(),
        version: book.version,
        digest: format!("blake3:{}", hex::encode(book.digest)),
    });
    let digest = format!("blake3:{}", hex::encode(rules.digest()));
    Ok(Json(RulesInForce { digest, books: books.collect() }))
}

/// Shows what a transfer into a virtual data center is judged by: the signed policy, and the rulebooks that
/// may be fetched. For managers with a client certificate, and for whoever may look at the tenant.
#[utoipa::path(get, path = "/api/v1/criteria", tag = "policies", params(OfVdc),
    responses((status = 200, body = Criteria), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_criteria(
    State(api): State<Shared>,
    asker: Asker,
    Ask(query): Ask<OfVdc>,
) -> Result<Json<Criteria>, Problem> {
    let tenant = asker.site()?.unwrap_or_else(|| DEFAULT_VDC.to_owned());
    let name = query.vdc.unwrap_or_else(|| DEFAULT_VDC.to_owned());
    let criteria = api.run(move |director| {
        let vdc = director.ledger.vdc_named(&tenant, &name)?;
        let vdc = vdc.ok_or_else(|| Error::NotFound("such virtual data center".into()))?;
        let now = (director.clock)();
        let yaml = vdc.policy.unwrap_or_else(|| director.policy_yaml.clone());
        let envelope = SignedPolicy { vdc: name, issued_at: now, yaml }.sign(&director.key);
        Ok(Criteria {
            site_key: director.key.public().to_string(),
            policy: String::from_utf8(envelope).map_err(|_| Error::damaged("the policy", "it is no text"))?,
            rules: format!("blake3:{}", hex::encode(director.rules()?.digest())),
            books: director.criteria.offered(now)?,
        })
    });
    Ok(Json(criteria.await?))
}

/// Gives a rulebook as its publisher signed it. Those with exact data, fingerprints of documents or
/// entitlements are not given.
#[utoipa::path(get, path = "/api/v1/rules/{name}", tag = "policies", params(("name" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_rulebook(
    State(api): State<Shared>,
    asker: Asker,
    Id(name): Id,
) -> Result<impl IntoResponse, Problem> {
    asker.site()?;
    let opened = api.run(move |director| {
        let path = director.criteria.offered_file(&name, (director.clock)())?;
        let open = || File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        open().map_err(Error::file("open", &path))
    });
    let (length, file) = opened.await?;
    let (sender, mut receiver) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let mut file = file.take(length);
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = file.read(&mut piece);
            let piece = read.map(|count| {
                piece.truncate(count);
                Bytes::from(piece)
            });
            // The end, an error, or a reader that is gone.
            let last = !matches!(&piece, Ok(piece) if !piece.is_empty());
            if sender.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    let body = Body::from_stream(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, body))
}
