//! Every verb and flag, in one place: help, man page and completions come from here.

use crate::reports::Output;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Moves virtual machines between sites that do not trust each other, so that nothing
/// a policy forbids is ever kept, and both can prove it.
#[derive(Debug, Parser)]
#[command(name = "airlock", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// How results are written to standard output.
    #[arg(long, global = true, value_enum, default_value = "table", env = "AIRLOCK_FORMAT")]
    pub(crate) format: Format,
    /// How progress is shown on standard error.
    #[arg(long, global = true, value_enum, default_value = "auto", env = "AIRLOCK_PROGRESS")]
    pub(crate) progress: ProgressStyle,
    /// Log what happens to standard error (see also `AIRLOCK_LOG`).
    #[arg(long, short, global = true, env = "AIRLOCK_VERBOSE")]
    pub(crate) verbose: bool,
}

const EXIT_CODES: &str = "Exit codes:
  0  clean and complete                   5    coverage incomplete where policy did not accept it
  1  error                                6    verification failed
  2  usage                                10   not found
  3  finished, with blocks withheld       11   busy
  4  refused by policy, all discarded     12   not authorised
                                          130  cancelled
`scan` ends with the code that a transfer would end with.";

/// A format for results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// A style of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// A line that moves on a terminal, a JSON line every few seconds elsewhere.
    Auto,
    /// JSON lines.
    Json,
    /// Nothing.
    None,
}

/// A verb.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show everything on a small VM: refusal, withholding, evidence, verification.
    Demo(DemoArgs),
    /// Say what a transfer would hold and why; nothing is sent.
    Scan(ScanArgs),
    /// Move a VM's disk to a directory or a director, through both inspections.
    Transfer(TransferArgs),
    /// Run the cloud site's service.
    Director(DirectorArgs),
    /// Fetch a client certificate from a director, with a one-time code.
    Pair(PairArgs),
    /// Verify evidence offline, alone or against a vault.
    Verify(VerifyArgs),
    /// Write a VM from a vault to an image file.
    Export(ExportArgs),
    /// Serve the disks of a VM from a vault over NBD, to be read.
    ServeNbd(ServeNbdArgs),
    /// List the VMs in a vault.
    List(ListArgs),
    /// Write, check and merge policies.
    Policy(PolicyArgs),
    /// List the rules, and import, verify and make signed rulebooks.
    Rules(RulesArgs),
    /// Show this site's public signing key.
    Key,
    /// Print shell completions.
    Completions(CompletionsArgs),
    /// Print the manual page.
    Man,
    /// Touch what a director has received, in a jail: started by the director, and by nobody else.
    #[command(hide = true)]
    Worker,
    /// Read and hash what a scan would read, and nothing else: the measure for benchmarks.
    #[command(hide = true)]
    BenchRead(BenchReadArgs),
}

/// What is inspected, and how it is opened.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// A disk image, a bundle (OVA, OVF, VMX, libvirt XML, VirtualBox, a folder of any of these),
    /// an NBD export (`nbd://HOST/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`), a folder of files,
    /// a file, or - for what comes through the standard input.
    pub(crate) source: PathBuf,
    /// Take the source as this, whatever its first bytes say.
    #[arg(long, value_enum, env = "AIRLOCK_SOURCE_FORMAT")]
    pub(crate) source_format: Option<SourceFormat>,
    /// The only folder in which files may be opened that the image or the bundle names; for a bundle,
    /// its own folder when left out.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_ALLOW_BACKING")]
    pub(crate) allow_backing: Option<PathBuf>,
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceFormat {
    /// The bytes of a disk.
    Raw,
    /// A QEMU copy-on-write image.
    Qcow2,
    /// A VMware virtual disk, or its descriptor.
    Vmdk,
    /// A Microsoft virtual hard disk, version 1.
    Vhd,
    /// A Microsoft virtual hard disk, version 2.
    Vhdx,
    #[value(help = "A VirtualBox disk image")]
    Vdi,
    /// A plain file, even if it looks like a disk.
    File,
}

/// What is inspected with.
#[derive(Debug, Args)]
pub(crate) struct RuleArgs {
    /// This site's policy; the built-in one when left out (see `airlock policy init`).
    #[arg(long, value_name = "FILE", env = "AIRLOCK_POLICY")]
    pub(crate) policy: Option<PathBuf>,
    /// Key of the fingerprints in findings: 64 hexadecimal digits. Made on first use when left out.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_FINGERPRINT_KEY")]
    pub(crate) fingerprint_key: Option<PathBuf>,
    /// A list of SHA-256, SHA-1 or MD5 hashes of malicious files (ClamAV .hsb/.hdb, or one hash a line). May be given often.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_HASH_LIST", value_delimiter = ':')]
    pub(crate) hash_list: Vec<PathBuf>,
    /// A list of exact data (see `airlock rules edm`), beside those of the rulebooks of this site. May be given
    /// often.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_EXACT_DATA", value_delimiter = ':')]
    pub(crate) exact_data: Vec<PathBuf>,
    /// Key of lists of exact data whose key is kept apart: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_EXACT_KEY")]
    pub(crate) exact_key: Option<PathBuf>,
    /// Fingerprints of documents (see `airlock rules fingerprints`), beside those of the rulebooks of this site.
    /// May be given often.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_DOCUMENTS", value_delimiter = ':')]
    pub(crate) documents: Vec<PathBuf>,
    /// Look the packages of the guest up in these feeds (see `airlock rules import --to`), in place of those of
    /// the rulebooks of this site.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_FEEDS")]
    pub(crate) feeds: Option<PathBuf>,
    /// Hold the products of the guest against these entitlements (YAML or JSON), in place of those of the
    /// rulebooks of this site.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_ENTITLEMENTS")]
    pub(crate) entitlements: Option<PathBuf>,
    /// List at most this many findings; 0 lists all.
    #[arg(long, value_name = "N", default_value_t = 0, env = "AIRLOCK_FINDINGS_LIMIT")]
    pub(crate) findings_limit: usize,
}

/// What is remembered between inspections.
#[derive(Debug, Args)]
pub(crate) struct MemoArgs {
    /// Where to remember what was inspected and clean, so that it need not be inspected again; in the
    /// XDG cache folder when left out.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_MEMO")]
    pub(crate) memo: Option<PathBuf>,
    /// Remember nothing, and inspect everything.
    #[arg(long, env = "AIRLOCK_NO_MEMO", conflicts_with = "memo")]
    pub(crate) no_memo: bool,
}

/// Flags of `scan`.
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// What is scanned.
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// What it is scanned with.
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// What is remembered.
    #[command(flatten)]
    pub(crate) memo: MemoArgs,
    /// Also write a report: table, json, ndjson, sarif, cyclonedx, oscal, ocsf, csv or html. May be
    /// given often; a file is replaced only when its report is complete.
    #[arg(long, short, value_name = "FORMAT=PATH", env = "AIRLOCK_OUTPUT", value_delimiter = ',')]
    pub(crate) output: Vec<Output>,
    /// Threads; as many as there are processors when left out.
    #[arg(long, value_name = "N", env = "AIRLOCK_THREADS")]
    pub(crate) threads: Option<usize>,
}

/// What to do when something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFail {
    /// Go on without it.
    Withhold,
    /// Stop and discard everything.
    Terminate,
}

/// Flags of `transfer`.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// What is moved.
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// A directory (this process is both sites), or airlock://HOST:PORT/VDC.
    pub(crate) dest: String,
    /// What it is inspected with.
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// What is remembered.
    #[command(flatten)]
    pub(crate) memo: MemoArgs,
    /// The other site's policy, where DEST is a directory; the built-in one when left out.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_DEST_POLICY")]
    pub(crate) dest_policy: Option<PathBuf>,
    /// What to do when something is held. A policy that says terminate leaves no choice.
    #[arg(long, value_enum, default_value = "terminate", env = "AIRLOCK_ON_FAIL")]
    pub(crate) on_fail: OnFail,
    /// Go on with an unfinished transfer of this VM: what the director has durably is not sent again.
    #[arg(long, env = "AIRLOCK_RESUME")]
    pub(crate) resume: bool,
    /// Data streams, each with a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 4, env = "AIRLOCK_STREAMS", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) streams: u16,
    /// What the VM is called; the name of the source without its ending when left out.
    #[arg(long, value_name = "VM", env = "AIRLOCK_NAME")]
    pub(crate) name: Option<String>,
    /// The identity file that the director's operator handed over (for airlock:// only).
    #[arg(long, value_name = "FILE", env = "AIRLOCK_IDENTITY")]
    pub(crate) identity: Option<PathBuf>,
    /// Where to write the evidence; DEST/evidence, or this site's own folder, when left out.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_EVIDENCE")]
    pub(crate) evidence: Option<PathBuf>,
    /// Also write a report: table, json, ndjson, sarif, cyclonedx, oscal, ocsf, csv or html. May be
    /// given often; a file is replaced only when its report is complete.
    #[arg(long, short, value_name = "FORMAT=PATH", env = "AIRLOCK_OUTPUT", value_delimiter = ',')]
    pub(crate) output: Vec<Output>,
    /// Inspect and show what would be sent and withheld, and send nothing.
    #[arg(long, env = "AIRLOCK_PLAN", conflicts_with = "output")]
    pub(crate) plan: bool,
}

/// Flags of `director`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct DirectorArgs {
    /// What else than listening.
    #[command(subcommand)]
    pub(crate) verb: Option<DirectorVerb>,
    /// Its directory; made if it does not exist.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA", required = true)]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7443", env = "AIRLOCK_LISTEN")]
    pub(crate) listen: String,
    /// What it inspects with.
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Threads that inspect what has arrived.
    #[arg(long, value_name = "N", env = "AIRLOCK_THREADS")]
    pub(crate) threads: Option<usize>,
    /// Touch what arrives in this process, which holds all keys, and not in a jailed one for each transfer. Only
    /// for machines whose kernel has no Landlock or no seccomp, and only for VMs that you trust.
    #[arg(long, env = "AIRLOCK_NO_JAIL")]
    pub(crate) no_jail: bool,
}

/// What is done with a director that does not run.
#[derive(Debug, Subcommand)]
pub(crate) enum DirectorVerb {
    /// Make a token of the provider, good for everything that the REST API does.
    Token(TokenArgs),
}

/// Flags of `director token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The director's directory.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA")]
    pub(crate) data: PathBuf,
    /// The new file that the token is written to; only its owner can read it.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_TO")]
    pub(crate) to: PathBuf,
    /// How many days it is good for; without it, until it is revoked.
    #[arg(long, value_name = "N", env = "AIRLOCK_DAYS", value_parser = clap::value_parser!(u64).range(1..=3660))]
    pub(crate) days: Option<u64>,
}

/// Flags of `pair`.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Where the director listens.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The one-time code that the director's people gave.
    pub(crate) code: String,
    /// The new file that key and certificate are written to; only its owner can read it.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_TO")]
    pub(crate) to: PathBuf,
}

/// Flags of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The evidence file.
    pub(crate) evidence: PathBuf,
    /// Check the director's directory against it, too.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_VAULT")]
    pub(crate) vault: Option<PathBuf>,
    /// The source's public key must be this one (64 hexadecimal digits; see `airlock key`).
    #[arg(long, value_name = "KEY", env = "AIRLOCK_SOURCE_KEY")]
    pub(crate) source_key: Option<String>,
    /// The destination's public key must be this one.
    #[arg(long, value_name = "KEY", env = "AIRLOCK_DESTINATION_KEY")]
    pub(crate) destination_key: Option<String>,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The VM.
    pub(crate) vm: String,
    /// The image to write, for a VM of one disk; else the folder for its disks, its other files,
    /// and its description as libvirt XML and as OVF. It must not exist.
    #[arg(long, value_name = "FILE|DIR", env = "AIRLOCK_TO")]
    pub(crate) to: PathBuf,
    /// The director's directory.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_VAULT")]
    pub(crate) vault: PathBuf,
    /// The image format; by the ending of FILE when left out, and qcow2 in a folder.
    #[arg(long, value_enum, env = "AIRLOCK_IMAGE_FORMAT")]
    pub(crate) image_format: Option<ImageFormat>,
    /// Which transfer of that name, counted from 1; the newest when left out.
    #[arg(long, value_name = "N", env = "AIRLOCK_GENERATION")]
    pub(crate) generation: Option<u64>,
}

/// Flags of `serve-nbd`.
#[derive(Debug, Args)]
pub(crate) struct ServeNbdArgs {
    /// The VM. Its disks are exports called disk0, disk1 and so on; the first is also the nameless one.
    pub(crate) vm: String,
    /// The director's directory.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_VAULT")]
    pub(crate) vault: PathBuf,
    /// Where to listen; port 0 takes a free one. NBD has no passwords: whoever reaches it reads the disks.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10809", env = "AIRLOCK_LISTEN")]
    pub(crate) listen: String,
    /// Listen on a socket in the file system instead.
    #[arg(long, value_name = "PATH", env = "AIRLOCK_SOCKET", conflicts_with = "listen")]
    pub(crate) socket: Option<PathBuf>,
    /// Which transfer of that name, counted from 1; the newest when left out.
    #[arg(long, value_name = "N", env = "AIRLOCK_GENERATION")]
    pub(crate) generation: Option<u64>,
}

/// A format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    /// The bytes of the disk, with holes.
    Raw,
    /// QEMU copy-on-write, version 3.
    Qcow2,
}

/// Flags of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The director's directory.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_VAULT")]
    pub(crate) vault: PathBuf,
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where to build it; a new folder under the temporary directory when left out. It is kept.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DEMO_DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Only build the disk image, at this path.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) image_only: Option<PathBuf>,
    /// Use the disk image that comes with the program, even where mke2fs is installed.
    #[arg(long, hide = true)]
    pub(crate) built_in_image: bool,
}

/// Flags of `policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: PolicyVerb,
}

/// A verb of `policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Write out the built-in policy with a comment on every line.
    Init,
    /// Say whether a policy is valid, and its digest.
    Check {
        /// The policy.
        file: PathBuf,
    },
    /// Show the effective policy of two sites, and its digest.
    Merge {
        /// One site's policy.
        one: PathBuf,
        /// The other's.
        other: PathBuf,
    },
}

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

/// Flags of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Flags of `bench-read`.
#[derive(Debug, Args)]
pub(crate) struct BenchReadArgs {
    /// What is read.
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Threads.
    #[arg(long, value_name = "N", env = "AIRLOCK_THREADS")]
    pub(crate) threads: Option<usize>,
}
