//! `airlock rules`.

use super::Context;
use crate::cli::{
    BuildRulesArgs, Format, ImportArgs, ListRulesArgs, RemoveRulesArgs, RulesArgs, RulesVerb, StoreArgs,
    VerifyRulesArgs,
};
use crate::failure::{Code, Failure};
use crate::{output, site, stats};
use airlock_checks::malware::{Bodies, HashList, load_signatures};
use airlock_evidence::PublicKey;
use airlock_model::Escaped;
use airlock_rulebook::{Error, Imported, Input, Installed, Kind, Manifest, Rulebook, Store};
use airlock_vulnerability::{Error as FeedError, Feeds, Index, Keyring};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &RulesArgs) -> Result<Code, Failure> {
    match &args.verb {
        RulesVerb::List(args) => list(context, args),
        RulesVerb::Import(args) => match (&args.to, args.files.as_slice()) {
            (Some(to), _) => import_feeds(context, args, to),
            (None, [file]) => import(context, args, file),
            (None, _) => Err(Failure::new(Code::Usage, "one rulebook at a time is imported")
                .hint("feeds are imported into a file: --to FILE")),
        },
        RulesVerb::Verify(args) => verify(context, args),
        RulesVerb::Fetch(args) => super::fetch::rules(context, args),
        RulesVerb::Edm(args) => super::edm::run(context, args),
        RulesVerb::Fingerprints(args) => super::fingerprints::run(context, args),
        RulesVerb::Build(args) => build(context, args),
        RulesVerb::Remove(args) => remove(context, args),
    }
}

pub(crate) fn store(args: &StoreArgs) -> Result<Store, Failure> {
    match &args.data {
        Some(data) => Ok(site::store(data)),
        None => site::home().map(|home| site::store(&home)),
    }
}

pub(crate) fn key(text: Option<&str>) -> Result<Option<PublicKey>, Failure> {
    let parse = |text: &str| {
        let wrong = || format!("{text:?} is no key: it needs 64 hexadecimal digits");
        PublicKey::parse(text).ok_or_else(|| Failure::new(Code::Usage, wrong()))
    };
    text.map(parse).transpose()
}

/// What is said of a rulebook that is not let in.
pub(crate) fn refused(error: &Error) -> Failure {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::of(Code::NotFound, error)
        }
        Error::Io { .. } => Failure::of(Code::Error, error),
        Error::Manifest(_) => Failure::of(Code::Usage, error),
        Error::Untrusted { .. } => Failure::of(Code::Verification, error).hint(
            "if you have the publisher's key from the publisher, name it once: --key KEY (64 hexadecimal digits)",
        ),
        _ => Failure::of(Code::Verification, error),
    }
}

fn import(context: Context, args: &ImportArgs, file: &Path) -> Result<Code, Failure> {
    let key = key(args.key.as_deref())?;
    let (book, imported) =
        store(&args.store)?.import(file, key.as_ref(), stats::now()).map_err(|error| refused(&error))?;
    let said = match imported {
        Imported::New => "imported",
        Imported::Same => "here already",
    };
    say(context, "airlock.rules-import/1", &book, said)
}

fn verify(context: Context, args: &VerifyRulesArgs) -> Result<Code, Failure> {
    let key = key(args.key.as_deref())?;
    let book = store(&args.store)?.verify(&args.file, key.as_ref(), stats::now());
    say(context, "airlock.rules-verify/1", &book.map_err(|error| refused(&error))?, "verified")
}

fn build(context: Context, args: &BuildRulesArgs) -> Result<Code, Failure> {
    let one = |kind, path: &Option<std::path::PathBuf>| path.clone().map(|path| Input { kind, path });
    let mut inputs: Vec<Input> = one(Kind::Feeds, &args.feeds).into_iter().collect();
    inputs.extend(args.hash_list.iter().map(|path| Input { kind: Kind::Hashes, path: path.clone() }));
    inputs.extend(args.signatures.iter().map(|path| Input { kind: Kind::Signatures, path: path.clone() }));
    inputs.extend(one(Kind::Entitlements, &args.entitlements));
    inputs.extend(args.exact_data.iter().map(|path| Input { kind: Kind::Exact, path: path.clone() }));
    inputs.extend(args.documents.iter().map(|path| Input { kind: Kind::Documents, path: path.clone() }));
    for input in &inputs {
        understand(input, args)?;
    }
    let now = stats::now();
    let manifest = Manifest {
        format: String::new(),
        name: args.name.clone(),
        version: args.version,
        issued_at: now,
        expires_at: now.saturating_add(args.days * 86_400),
        members: Vec::new(),
    };
    let key = site::signing_key(&site::home()?)?;
    airlock_rulebook::build(manifest, &inputs, &key, &args.to).map_err(|error| refused(&error))?;
    let book = Rulebook::open(&args.to, &key.public()).map_err(|error| refused(&error))?;
    say(context, "airlock.rules-build/1", &book, &format!("signed by {}", key.public()))
}

/// Reads what shall become a member: what a site could not read is not published.
fn understand(input: &Input, args: &BuildRulesArgs) -> Result<(), Failure> {
    let path = &input.path;
    let read = || std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error));
    let wrong = |error: &dyn std::error::Error| {
        let failure = Failure::of(Code::Error, error);
        Failure { text: format!("{}: {}", path.display(), failure.text), ..failure }
    };
    match input.kind {
        Kind::Feeds => Index::open(path).map(drop).map_err(|error| wrong(&error)),
        Kind::Hashes => HashList::default().load(&read()?).map_err(|error| wrong(&error)),
        Kind::Signatures => load_signatures(path, &read()?, &mut HashList::default(), &mut Bodies::default())
            .map_err(|error| wrong(&error)),
        Kind::Documents => site::prints(path).map(drop),
        Kind::Exact => {
            let key = args.exact_key.as_deref().map(site::read_key).transpose()?;
            site::exact_list(path, key.as_deref()).map(drop)
        }
        Kind::Entitlements => {
            airlock_licensing::Entitlements::parse(&read()?).map(drop).map_err(|error| wrong(&error))
        }
    }
}

fn remove(context: Context, args: &RemoveRulesArgs) -> Result<Code, Failure> {
    let name = &args.name;
    if !store(&args.store)?.remove(name).map_err(|error| refused(&error))? {
        return Err(Failure::new(Code::NotFound, format!("there is no rulebook {name:?} here"))
            .hint("`airlock rules list` names those that are"));
    }
    match context.format {
        Format::Json => output::json(&json!({ "schema": "airlock.rules-remove/1", "name": name }))?,
        Format::Table => output::print(&format!("{name} removed\n"))?,
    }
    Ok(Code::Clean)
}

fn book_json(manifest: &Manifest, digest: &[u8; 32]) -> Value {
    json!({
        "name": manifest.name, "version": manifest.version, "issued_at": manifest.issued_at,
        "expires_at": manifest.expires_at, "digest": format!("blake3:{}", hex::encode(digest)),
        "members": manifest.members,
    })
}

fn say(context: Context, schema: &str, book: &Rulebook, said: &str) -> Result<Code, Failure> {
    let (manifest, digest) = (book.manifest(), book.digest());
    match context.format {
        Format::Json => output::json(&json!({
            "schema": schema, "state": said, "rulebook": book_json(manifest, &digest),
        }))?,
        Format::Table => {
            let mut text = line(manifest, said);
            for member in &manifest.members {
                let name = Escaped(member.name.as_bytes());
                let size = output::bytes(member.bytes);
                text.push_str(&format!("  {:<12} {size:>10}  {name}\n", member.kind.name()));
            }
            output::print(&format!("{text}blake3:{}\n", hex::encode(digest)))?;
        }
    }
    Ok(Code::Clean)
}

fn line(manifest: &Manifest, said: &str) -> String {
    let until = airlock_licensing::Date::of_seconds(manifest.expires_at);
    format!("{} version {}, until {until}: {said}\n", manifest.name, manifest.version)
}

fn keyring(path: &Path) -> Result<Keyring, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::io("read keyring", path, &error))?;
    let none = || format!("{} has no key that can be used (RSA and Ed25519 can)", path.display());
    Keyring::parse(&bytes).ok_or_else(|| Failure::new(Code::Error, none()))
}

fn import_feeds(context: Context, args: &ImportArgs, to: &Path) -> Result<Code, Failure> {
    let mut feeds = Feeds { imported_at: stats::now(), ..Feeds::default() };
    let failed = |error| Failure::of(Code::Error, &error);
    let keyring = args.keyring.as_deref().map(keyring).transpose()?;
    let imported = airlock_vulnerability::import(&mut feeds, &args.files, keyring.as_ref()).map_err(
        |error| match &error {
            FeedError::Signature(_) | FeedError::Unnamed(_) => Failure::of(Code::Verification, &error),
            _ => failed(error),
        },
    )?;
    if imported.files == 0 {
        return Err(Failure::new(Code::Error, "there is no feed in what was named"));
    }
    if feeds.sources.iter().any(|source| source.ends_with("(signature not checked)")) {
        output::note("note: the signature of an index was not checked; --keyring FILE checks it");
    }
    let index = Index::of(&feeds).map_err(failed)?;
    index.write(to).map_err(failed)?;
    let digest = format!("blake3:{}", hex::encode(index.digest()));
    let offers: usize = feeds.offers.values().map(std::collections::BTreeMap::len).sum();
    let (advisories, exploited) = (feeds.advisories(), feeds.exploited.len());
    match context.format {
        Format::Json => output::json(&json!({
            "schema": "airlock.rules-import/1", "digest": digest, "files": imported.files,
            "passed_over": imported.passed_over, "advisories": advisories, "offers": offers,
            "exploited": exploited, "not_affected": feeds.not_affected.len(),
        }))?,
        Format::Table => output::print(&format!(
            "{} files: {advisories} advisories, {offers} packages offered, {exploited} known to be exploited\n\
             {} files in folders are no feeds\n{digest}\n",
            imported.files, imported.passed_over
        ))?,
    }
    Ok(Code::Clean)
}

fn list(context: Context, args: &ListRulesArgs) -> Result<Code, Failure> {
    let digest = format!("blake3:{}", hex::encode(airlock_checks::detectors::rules_digest()));
    let detectors = airlock_checks::detectors::builtin(|_| true);
    let rows: Vec<_> = detectors
        .iter()
        .flat_map(|detector| {
            let names =
                std::iter::once(detector.name()).chain(detector.classes().iter().map(|class| class.0));
            names.map(|name| (name, detector.check().name()))
        })
        .collect();
    let books = store(&args.store)?.open_all(stats::now()).map_err(|error| refused(&error))?;
    match context.format {
        Format::Json => {
            let detectors: Vec<_> =
                rows.iter().map(|(name, check)| json!({ "detector": name, "check": check })).collect();
            let books: Vec<_> = books
                .iter()
                .map(|Installed { name, trusted, book }| match book {
                    Ok(book) => {
                        let mut value = book_json(book.manifest(), &book.digest());
                        value["publisher"] = trusted.key.as_str().into();
                        value
                    }
                    Err(error) => json!({
                        "name": name, "version": trusted.version, "publisher": trusted.key,
                        "error": Failure::of(Code::Error, error).text,
                    }),
                })
                .collect();
            output::json(&json!({
                "schema": "airlock.rules-list/1", "digest": digest, "version": env!("CARGO_PKG_VERSION"),
                "detectors": detectors, "rulebooks": books,
            }))?;
        }
        Format::Table => {
            let mut text = String::new();
            for (name, check) in rows {
                text.push_str(&format!("{name:<16} {check}\n"));
            }
            text.push_str(&format!("built in, version {}: {digest}\n", env!("CARGO_PKG_VERSION")));
            for Installed { name, trusted, book } in books {
                text.push_str(&match book {
                    Ok(book) => line(book.manifest(), &format!("by {}", trusted.key)),
                    Err(error) => {
                        format!("{name}: cannot be used: {}\n", Failure::of(Code::Error, &error).text)
                    }
                });
            }
            output::print(&text)?;
        }
    }
    Ok(Code::Clean)
}
