//! `airlock rules fetch` and `airlock policy fetch`: what the other site judges by.

use super::{Context, rules as rulebooks, transfer};
use crate::cli::{DirectorSiteArgs, FetchPolicyArgs, FetchRulesArgs, Format};
use crate::failure::{Code, Failure};
use crate::{output, stats};
use airlock_evidence::{PublicKey, SignedPolicy};
use airlock_link::{Connector, FetchError};
use airlock_model::Escaped;
use airlock_policy::Document;
use airlock_rulebook::Imported;
use serde::Deserialize;
use serde_json::json;
use std::io::Write;

/// Longest answer about criteria; policies are shorter.
const CRITERIA_BYTES_MAX: u64 = 8 << 20;
/// Longest rulebook that is fetched.
const RULEBOOK_BYTES_MAX: u64 = 8 << 30;
/// A policy that was signed so long ago is none that holds now.
const POLICY_SECONDS_MAX: u64 = 3600;

/// What a director says of what it judges by.
#[derive(Debug, Deserialize)]
struct Criteria {
    site_key: String,
    policy: String,
    books: Vec<Offered>,
}

#[derive(Debug, Deserialize)]
struct Offered {
    name: String,
    publisher: String,
}

/// A director that can be asked.
struct Asked {
    connector: Connector,
    address: String,
    vdc: String,
}

impl Asked {
    fn new(args: &DirectorSiteArgs) -> Result<Self, Failure> {
        let (address, vdc) = transfer::parse_director(&args.director)?;
        Ok(Self { connector: transfer::connector(args.identity.as_deref())?, address, vdc })
    }

    fn criteria(&self) -> Result<Criteria, Failure> {
        let mut bytes = Vec::new();
        let path = format!("/api/v1/criteria?vdc={}", percent(&self.vdc));
        let fetched = self.connector.fetch(&self.address, &path, CRITERIA_BYTES_MAX, &mut bytes);
        fetched.map_err(|error| refused(&error))?;
        serde_json::from_slice(&bytes).map_err(|_| {
            Failure::new(Code::Error, "the director's criteria cannot be read; is it a newer version?")
        })
    }
}

/// Spells what is no letter, digit or hyphen by its bytes.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn refused(error: &FetchError) -> Failure {
    let code = match error {
        FetchError::Refused { status: 401 | 403, .. } => Code::NotAuthorised,
        FetchError::Refused { status: 404, .. } => Code::NotFound,
        _ => Code::Error,
    };
    Failure::of(code, error)
}

/// Runs `rules fetch`.
pub(crate) fn rules(context: Context, args: &FetchRulesArgs) -> Result<Code, Failure> {
    let asked = Asked::new(&args.director)?;
    let key = rulebooks::key(args.key.as_deref())?;
    let store = rulebooks::store(&args.store)?;
    let mut fetched = Vec::new();
    for book in asked.criteria()?.books {
        let known = store.trusted().map_err(|error| rulebooks::refused(&error))?;
        if !known.contains_key(&book.name) && key.is_none() {
            let name = Escaped(book.name.as_bytes()).to_string();
            let text = format!("nobody is trusted to publish {name:?} here");
            return Err(Failure::new(Code::Verification, text).hint(format!(
                "the director says that the key is {}; ask the publisher, and name it once: --key KEY",
                Escaped(book.publisher.as_bytes())
            )));
        }
        let mut file = tempfile::NamedTempFile::new()
            .map_err(|error| Failure::new(Code::Error, format!("no temporary file: {error}")))?;
        let path = format!("/api/v1/rules/{}", percent(&book.name));
        let got = asked.connector.fetch(&asked.address, &path, RULEBOOK_BYTES_MAX, &mut file);
        got.and_then(|()| file.flush().map_err(FetchError::Write)).map_err(|error| refused(&error))?;
        let imported = store.import(file.path(), key.as_ref(), stats::now());
        let (book, imported) = imported.map_err(|error| rulebooks::refused(&error))?;
        fetched.push((book.manifest().name.clone(), book.manifest().version, imported == Imported::New));
    }
    match context.format {
        Format::Json => {
            let books: Vec<_> = fetched
                .iter()
                .map(|(name, version, new)| json!({ "name": name, "version": version, "new": new }))
                .collect();
            output::json(&json!({
                "schema": "airlock.rules-fetch/1", "result": { "code": 0 }, "rulebooks": books,
            }))?;
        }
        Format::Table => {
            let mut text = String::new();
            for (name, version, new) in &fetched {
                let said = if *new { "imported" } else { "here already" };
                text.push_str(&format!("{name} version {version}: {said}\n"));
            }
            if fetched.is_empty() {
                text.push_str("the director offers no rulebooks\n");
            }
            output::print(&text)?;
        }
    }
    Ok(Code::Clean)
}

/// Runs `policy fetch`.
pub(crate) fn policy(context: Context, args: &FetchPolicyArgs) -> Result<Code, Failure> {
    let asked = Asked::new(&args.director)?;
    let criteria = asked.criteria()?;
    let wanted = rulebooks::key(args.key.as_deref())?;
    let claimed = PublicKey::parse(&criteria.site_key);
    let claimed = claimed.ok_or_else(|| Failure::new(Code::Verification, "the director's key is none"))?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != claimed) {
        let text = format!("the director signs with the key {claimed}, not with {wanted}");
        return Err(Failure::new(Code::Verification, text));
    }
    let signed = SignedPolicy::verify(criteria.policy.as_bytes(), &claimed);
    let signed = signed.map_err(|error| Failure::of(Code::Verification, &error))?;
    let now = stats::now();
    if signed.vdc != asked.vdc || now.abs_diff(signed.issued_at) > POLICY_SECONDS_MAX {
        let text = "the director signed this policy for something else, or at another time";
        return Err(Failure::new(Code::Verification, text).hint("is the clock right?"));
    }
    let document = Document::parse(&signed.yaml).map_err(|error| Failure::of(Code::Verification, &error))?;
    if let Some(to) = &args.to {
        let mut options = std::fs::OpenOptions::new();
        let written = options.write(true).create_new(true).open(to).and_then(|mut file| {
            file.write_all(signed.yaml.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| Failure::io("write", to, &error))?;
    }
    match context.format {
        Format::Json => output::json(&json!({
            "schema": "airlock.policy-fetch/1", "result": { "code": 0 }, "name": document.name,
            "digest": document.digest().to_string(), "site_key": claimed.to_string(), "vdc": signed.vdc,
            "policy": args.to, "yaml": signed.yaml,
        }))?,
        Format::Table if args.to.is_some() => {
            output::print(&format!("{:?}, {}, signed by {claimed}\n", document.name, document.digest()))?;
        }
        Format::Table => output::print(&signed.yaml)?,
    }
    Ok(Code::Clean)
}
