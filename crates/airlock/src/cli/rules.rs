//! Flags of what is done with rules and rulebooks.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Flags of `rules`.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: RulesVerb,
}

/// A verb of `rules`.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesVerb {
    /// List the detectors, the rulebooks of this site, and the digest of the built-in rules.
    List(ListRulesArgs),
    /// Import a rulebook, for every run from now on; or, with --to, feeds of vulnerabilities into one file.
    /// Nothing is fetched.
    Import(ImportArgs),
    /// Say whether a rulebook would be imported; nothing is.
    Verify(VerifyRulesArgs),
    /// Fetch the rulebooks that a director offers, and import them.
    Fetch(FetchRulesArgs),
    /// Make a list of keyed hashes of the values of a table, by which they are found again as exact data. No
    /// value stands in it.
    Edm(EdmArgs),
    /// Make fingerprints of documents, by which copies of parts of them are found again. No text stands in them.
    Fingerprints(FingerprintsArgs),
    /// Make a rulebook of feeds, hash lists, exact data, fingerprints and entitlements, signed with this site's key.
    Build(BuildRulesArgs),
    /// Remove a rulebook. An older version of it is not let in afterwards.
    Remove(RemoveRulesArgs),
}

/// Where the rulebooks are.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The rulebooks of the director with this directory, in place of this site's.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA")]
    pub(crate) data: Option<PathBuf>,
}

/// Flags of `rules list`.
#[derive(Debug, Args)]
pub(crate) struct ListRulesArgs {
    /// Whose rulebooks.
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Flags of `rules verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyRulesArgs {
    /// The rulebook.
    #[arg(value_name = "RULEBOOK")]
    pub(crate) file: PathBuf,
    /// The publisher's key, for a name that is new here (64 hexadecimal digits; see `airlock key`).
    #[arg(long, value_name = "KEY", env = "AIRLOCK_PUBLISHER_KEY")]
    pub(crate) key: Option<String>,
    /// Whose rulebooks.
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Flags of `rules remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveRulesArgs {
    /// The name of the rulebook.
    pub(crate) name: String,
    /// Whose rulebooks.
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Flags of `rules build`.
#[derive(Debug, Args)]
pub(crate) struct BuildRulesArgs {
    /// Its name: letters, digits and hyphens.
    #[arg(long)]
    pub(crate) name: String,
    /// Its version; sites let only greater ones in.
    #[arg(long = "book-version", value_name = "N")]
    pub(crate) version: u64,
    /// After how many days it is not used any more.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3660))]
    pub(crate) days: u64,
    /// Feeds, as `airlock rules import --to` writes them.
    #[arg(long, value_name = "FILE")]
    pub(crate) feeds: Option<PathBuf>,
    /// A list of hashes of malicious files. May be given often.
    #[arg(long, value_name = "FILE")]
    pub(crate) hash_list: Vec<PathBuf>,
    /// Signatures of malicious files in a format of ClamAV (.hdb, .hsb, .mdb, .msb, .ndb). May be given often.
    #[arg(long, value_name = "FILE")]
    pub(crate) signatures: Vec<PathBuf>,
    /// Entitlements of the tenant.
    #[arg(long, value_name = "FILE")]
    pub(crate) entitlements: Option<PathBuf>,
    /// A list of exact data (see `airlock rules edm`). May be given often.
    #[arg(long, value_name = "FILE")]
    pub(crate) exact_data: Vec<PathBuf>,
    /// Key of lists of exact data whose key is kept apart, to try it: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_EXACT_KEY")]
    pub(crate) exact_key: Option<PathBuf>,
    /// Fingerprints of documents (see `airlock rules fingerprints`). May be given often.
    #[arg(long, value_name = "FILE")]
    pub(crate) documents: Vec<PathBuf>,
    /// The rulebook to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

/// A director, and how it knows this site.
#[derive(Debug, Args)]
pub(crate) struct DirectorSiteArgs {
    /// The director, as HOST:PORT or airlock://HOST:PORT/VDC.
    pub(crate) director: String,
    /// The identity file that the director's operator handed over, or that `airlock pair` wrote.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_IDENTITY")]
    pub(crate) identity: Option<PathBuf>,
}

/// Flags of `rules fetch`.
#[derive(Debug, Args)]
pub(crate) struct FetchRulesArgs {
    /// The director.
    #[command(flatten)]
    pub(crate) director: DirectorSiteArgs,
    /// The publisher's key, for names that are new here (64 hexadecimal digits).
    #[arg(long, value_name = "KEY", env = "AIRLOCK_PUBLISHER_KEY")]
    pub(crate) key: Option<String>,
    /// Whose rulebooks.
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Flags of `rules edm`.
#[derive(Debug, Args)]
pub(crate) struct EdmArgs {
    /// The table: CSV in UTF-8 with a header row.
    #[arg(value_name = "CSV")]
    pub(crate) table: PathBuf,
    /// A column whose values are found wherever they stand. May be given often.
    #[arg(long, value_name = "NAME", required = true)]
    pub(crate) column: Vec<String>,
    /// A column whose values count only near another one of their row, such as names. May be given often.
    #[arg(long, value_name = "NAME")]
    pub(crate) also: Vec<String>,
    /// What findings call the list; the name of the table when left out.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The key of the hashes (64 hexadecimal digits), which is kept apart then: sites need it, too (`--exact-key`).
    /// A new one is made and put into the list when left out.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_EXACT_KEY")]
    pub(crate) exact_key: Option<PathBuf>,
    /// The character between values.
    #[arg(long, value_name = "CHAR", default_value_t = ',')]
    pub(crate) delimiter: char,
    /// The list to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

/// Flags of `rules fingerprints`.
#[derive(Debug, Args)]
pub(crate) struct FingerprintsArgs {
    /// Documents, or folders of them. Those of offices, mails and archives are opened.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// What these documents or folders have is nobody's, such as templates. May be given often.
    #[arg(long, value_name = "PATH")]
    pub(crate) except: Vec<PathBuf>,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

/// Flags of `rules import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A rulebook. With --to: OSV records (JSON, YAML), `RustSec` advisories, Alpine's secdb, Debian's
    /// `SUITE.Packages` and `InRelease`, CISA's catalogue of exploited vulnerabilities, `OpenVEX`; or folders
    /// of these.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Import feeds into this file, for --feeds and for rulebooks.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) to: Option<PathBuf>,
    /// The keys (PGP) of the archive, such as /usr/share/keyrings/debian-archive-keyring.gpg: each `InRelease`
    /// must be signed by one of them, and each `Packages` be named by an `InRelease`.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_KEYRING", requires = "to")]
    pub(crate) keyring: Option<PathBuf>,
    /// The publisher's key, for a name that is new here (64 hexadecimal digits; see `airlock key`).
    #[arg(long, value_name = "KEY", env = "AIRLOCK_PUBLISHER_KEY")]
    pub(crate) key: Option<String>,
    /// Whose rulebooks.
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
