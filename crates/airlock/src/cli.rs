//! Every verb and flag, in one place: help, man page and completions come from here.

mod director;
mod manager;
mod policy;
mod rules;

pub(crate) use self::director::{DirectorArgs, DirectorVerb, DoctorArgs, PairArgs, RecheckArgs, TokenArgs};
pub(crate) use self::manager::ManagerArgs;
pub(crate) use self::policy::{ExplainArgs, FetchPolicyArgs, PolicyArgs, PolicyVerb};
pub(crate) use self::rules::{
    BuildRulesArgs, DirectorSiteArgs, EdmArgs, FetchRulesArgs, FingerprintsArgs, ImportArgs, ListRulesArgs,
    RemoveRulesArgs, RulesArgs, RulesVerb, StoreArgs, VerifyRulesArgs,
};
use crate::reports::Output;
use airlock_link::Timetable;
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
    /// Run the source site's service: an inventory, a queue and waves of transfers.
    Manager(ManagerArgs),
    /// Fetch a client certificate from a director, with a one-time code.
    Pair(PairArgs),
    /// Look for what on this machine would get in the way of a transfer.
    Doctor(DoctorArgs),
    /// Verify evidence offline, alone or against a vault.
    Verify(VerifyArgs),
    /// Read everything that a director keeps, and say what is not as it was written.
    Scrub(ScrubArgs),
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
    /// an NBD export (`nbd://HOST/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`), a VM in a vault
    /// (`vault:DIR/VM`), a folder of files, a file, or - for what comes through the standard input.
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
#[derive(Debug, Clone, Args)]
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
    /// Signatures of malicious files in a format of ClamAV (.hdb, .hsb, .mdb, .msb, .ndb). May be given often.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_SIGNATURES", value_delimiter = ':')]
    pub(crate) signatures: Vec<PathBuf>,
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
    /// Send at most so many bytes per second, all streams together: 10M, 1Mbit, or by the time of day (UTC), as
    /// in "08:00,10M 19:00,off".
    #[arg(long, value_name = "RATE", env = "AIRLOCK_BWLIMIT")]
    pub(crate) bwlimit: Option<Timetable>,
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
    /// Take orders through the standard input, and be cancelled when it ends: how a manager runs it.
    #[arg(long, hide = true)]
    pub(crate) managed: bool,
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

/// Flags of `scrub`.
#[derive(Debug, Args)]
pub(crate) struct ScrubArgs {
    /// The director's directory. It may run.
    #[arg(long, visible_alias = "vault", value_name = "DIR", env = "AIRLOCK_DATA")]
    pub(crate) data: PathBuf,
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
