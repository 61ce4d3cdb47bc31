//! What belongs to this site: its keys, its policy, what it inspects with.

use crate::cli::{MemoArgs, RuleArgs, SourceArgs, SourceFormat};
use crate::failure::{Code, Failure};
use airlock_checks::exact::ExactList;
use airlock_checks::fingerprints::Prints;
use airlock_checks::memo::{Found, MEMO_BYTES, Memo};
use airlock_checks::{
    Book, Rules, System,
    malware::{Bodies, HashList, load_signatures},
};
use airlock_director::{Director, VaultVm};
use airlock_disk::Format;
use airlock_evidence::SiteKey;
use airlock_licensing::Entitlements;
use airlock_manager::{Source, SourceOptions};
use airlock_nbd::{Address, NbdDisk, Uri};
use airlock_policy::{DEFAULT_YAML, Document};
use airlock_rulebook::{Installed, Kind, Rulebook, Store};
use airlock_vulnerability::Index;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Returns the folder for what this site keeps: `AIRLOCK_HOME`, else `airlock` in the XDG data folder.
pub(crate) fn home() -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("AIRLOCK_HOME")
        .or_else(|| {
            variable("XDG_DATA_HOME").filter(|path| path.is_absolute()).map(|path| path.join("airlock"))
        })
        .or_else(|| variable("HOME").map(|home| home.join(".local/share/airlock")))
        .ok_or_else(|| {
            Failure::new(Code::Error, "there is no folder for this site's keys")
                .hint("set AIRLOCK_HOME or HOME")
        })
}

/// Reads a key of 64 hexadecimal digits from a file.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io("read key", path, &error))?;
    let text = Zeroizing::new(text);
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut *key).map_err(|_| {
        Failure::new(Code::Error, format!("{} is no key: it needs 64 hexadecimal digits", path.display()))
    })?;
    Ok(key)
}

/// Makes a key.
pub(crate) fn new_key() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut key = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *key)
        .map_err(|_| Failure::new(Code::Error, "the operating system gives no random bytes"))?;
    Ok(key)
}

/// Reads a key of this site, or makes it on first use.
fn own_key(home: &Path, name: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let path = home.join(name);
    if path.exists() {
        return read_key(&path);
    }
    std::fs::create_dir_all(home).map_err(|error| Failure::io("create", home, &error))?;
    let key = new_key()?;
    // Whole or not there at all, for others who look at the same time; only its owner can read it.
    let written = tempfile::NamedTempFile::new_in(home).and_then(|mut file| {
        file.write_all(format!("{}\n", hex::encode(*key)).as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    });
    let file = written.map_err(|error| Failure::io("write key", &path, &error))?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key),
        // Somebody else was first.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => read_key(&path),
        Err(error) => Err(Failure::io("write key", &path, &error.error)),
    }
}

/// Returns the signing key of this site.
pub(crate) fn signing_key(home: &Path) -> Result<SiteKey, Failure> {
    own_key(home, "site.key").map(|seed| SiteKey::from_seed(&seed))
}

/// Reads a policy, or takes the built-in one. Returns it with its text.
pub(crate) fn policy(path: Option<&Path>) -> Result<(Document, String), Failure> {
    let Some(path) = path else {
        return Ok((Document::default(), DEFAULT_YAML.to_owned()));
    };
    let yaml = std::fs::read_to_string(path).map_err(|error| Failure::io("read policy", path, &error))?;
    let document = Document::parse(&yaml).map_err(|error| {
        let failure = Failure::of(Code::Error, &error);
        Failure { text: format!("{}: {}", path.display(), failure.text), ..failure }
            .hint("`airlock policy init` writes a valid one with a comment on every line")
    })?;
    Ok((document, yaml))
}

/// Puts together what this site inspects with.
pub(crate) fn rules(args: &RuleArgs, home: &Path) -> Result<Arc<Rules>, Failure> {
    let key = match &args.fingerprint_key {
        Some(path) => read_key(path)?,
        None => own_key(home, "fingerprint.key")?,
    };
    let mut hashes = HashList::default();
    for path in &args.hash_list {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::io("read hash list", path, &error))?;
        hashes.load(&text).map_err(|error| {
            let failure = Failure::of(Code::Error, &error);
            Failure { text: format!("{}: {}", path.display(), failure.text), ..failure }
        })?;
    }
    let mut bodies = Bodies::default();
    for path in &args.signatures {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::io("read signatures", path, &error))?;
        load_signatures(path, &text, &mut hashes, &mut bodies).map_err(|error| {
            let failure = Failure::of(Code::Error, &error);
            Failure { text: format!("{}: {}", path.display(), failure.text), ..failure }
        })?;
    }
    let exact_key = args.exact_key.as_deref().map(read_key).transpose()?;
    let mut exact = Vec::new();
    for path in &args.exact_data {
        exact.push(exact_list(path, exact_key.as_deref())?);
    }
    let prints = args.documents.iter().map(|path| prints(path));
    let mut prints = prints.collect::<Result<Vec<Prints>, Failure>>()?;
    let mut system = System::default();
    let mut used = Vec::new();
    for book in rulebooks(home)? {
        let mut found = take(&book, args, (&mut hashes, &mut bodies), &mut system)?;
        let members = |kind| book.read(kind).map_err(|error| Failure::of(Code::Error, &error));
        for (member, bytes) in members(Kind::Documents)? {
            let set = Prints::from_bytes(bytes);
            prints.push(set.map_err(|error| of_member(&book, &member, &error))?);
            found = true;
        }
        for (member, bytes) in members(Kind::Exact)? {
            let list = ExactList::from_bytes(bytes, exact_key.as_deref());
            exact.push(list.map_err(|error| of_member(&book, &member, &error))?);
            found = true;
        }
        if found {
            let manifest = book.manifest();
            used.push(Book { name: manifest.name.clone(), version: manifest.version, digest: book.digest() });
        }
    }
    if let Some(path) = &args.feeds {
        let feeds = Index::open(path).map_err(|error| {
            Failure::of(Code::Error, &error)
                .hint("`airlock rules import --to FILE FEED...` writes such a file")
        })?;
        system = system.with_feeds(feeds);
    }
    if let Some(path) = &args.entitlements {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::io("read entitlements", path, &error))?;
        system = system.with_entitlements(entitlements(&text)?, &text);
    }
    Ok(Arc::new(
        Rules::new(*key, hashes)
            .with_bodies(bodies)
            .with_exact(exact)
            .with_prints(prints)
            .with_system(system)
            .with_books(used),
    ))
}

/// Returns the folder of the rulebooks of a site or a director.
pub(crate) fn store(home: &Path) -> Store {
    Store::new(home.join("rules"))
}

/// Opens the rulebooks of this site. One that may not be used stops the run: to go on without it would be to
/// inspect with less than was meant.
fn rulebooks(home: &Path) -> Result<Vec<Rulebook>, Failure> {
    let opened = store(home).open_all(crate::stats::now());
    let opened = opened.map_err(|error| Failure::of(Code::Error, &error))?;
    let usable = |Installed { name, book, .. }: Installed| {
        book.map_err(|error| {
            Failure::of(Code::Error, &error).hint(format!(
                "import a newer version of it, or go on without it: airlock rules remove {name}"
            ))
        })
    };
    opened.into_iter().map(usable).collect()
}

/// Says what is wrong with a member of a rulebook.
fn of_member(book: &Rulebook, member: &str, error: &dyn std::error::Error) -> Failure {
    let failure = Failure::of(Code::Error, error);
    Failure { text: format!("rulebook {:?}, {member}: {}", book.manifest().name, failure.text), ..failure }
}

/// Reads a list of exact data.
pub(crate) fn exact_list(path: &Path, key: Option<&[u8; 32]>) -> Result<ExactList, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::io("read exact data", path, &error))?;
    ExactList::from_bytes(bytes, key).map_err(|error| {
        let failure = Failure::of(Code::Error, &error);
        Failure { text: format!("{}: {}", path.display(), failure.text), ..failure }
            .hint("`airlock rules edm` makes such a list; one whose key is kept apart needs --exact-key")
    })
}

/// Reads fingerprints of documents.
pub(crate) fn prints(path: &Path) -> Result<Prints, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::io("read fingerprints", path, &error))?;
    Prints::from_bytes(bytes).map_err(|error| {
        let failure = Failure::of(Code::Error, &error);
        Failure { text: format!("{}: {}", path.display(), failure.text), ..failure }
            .hint("`airlock rules fingerprints` makes such a file")
    })
}

/// Takes what a rulebook has, apart from what flags take the place of. Returns whether anything of it is used.
fn take(
    book: &Rulebook,
    args: &RuleArgs,
    (hashes, bodies): (&mut HashList, &mut Bodies),
    system: &mut System,
) -> Result<bool, Failure> {
    let name = &book.manifest().name;
    let read = |kind| book.read(kind).map_err(|error| Failure::of(Code::Error, &error));
    let wrong = |member: &str, error: &dyn std::error::Error| of_member(book, member, error);
    let text = |member: &str, bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| wrong(member, &error));
    let twice = |what: &str| {
        let text = format!("rulebook {name:?} has {what}, and so has another one");
        Failure::new(Code::Error, text).hint("`airlock rules remove NAME` removes one of them")
    };
    let mut used = false;
    for (member, bytes) in read(Kind::Hashes)? {
        hashes.load(&text(&member, bytes)?).map_err(|error| wrong(&member, &error))?;
        used = true;
    }
    for (member, bytes) in read(Kind::Signatures)? {
        let text = text(&member, bytes)?;
        load_signatures(Path::new(&member), &text, hashes, bodies).map_err(|error| wrong(&member, &error))?;
        used = true;
    }
    let wanted =
        |kind: Kind, flag: &Option<PathBuf>| if flag.is_some() { Ok(Vec::new()) } else { read(kind) };
    for (member, bytes) in wanted(Kind::Feeds, &args.feeds)? {
        let feeds = Index::from_bytes(bytes, Path::new(&member)).map_err(|error| wrong(&member, &error))?;
        if system.has_feeds() {
            return Err(twice("feeds"));
        }
        *system = std::mem::take(system).with_feeds(feeds);
        used = true;
    }
    for (member, bytes) in wanted(Kind::Entitlements, &args.entitlements)? {
        let text = text(&member, bytes)?;
        if system.has_entitlements() {
            return Err(twice("entitlements"));
        }
        *system = std::mem::take(system).with_entitlements(entitlements(&text)?, &text);
        used = true;
    }
    Ok(used)
}

fn entitlements(text: &str) -> Result<Entitlements, Failure> {
    Entitlements::parse(text).map_err(|error| Failure::of(Code::Error, &error))
}

/// Opens what this site remembers of earlier inspections. That it cannot be opened only matters to
/// someone who asked for it.
pub(crate) fn memo(args: &MemoArgs, home: &Path) -> Result<Option<Memo>, Failure> {
    let Some(path) = args.memo.clone().or_else(memo_path).filter(|_| !args.no_memo) else { return Ok(None) };
    let key = own_key(home, "memo.key")?;
    match Memo::open(&path, &key, MEMO_BYTES) {
        Ok(memo) => {
            if memo.found() == Found::Replaced {
                crate::output::note(&format!(
                    "note: the memo {} was damaged or of another site; it is started anew",
                    path.display()
                ));
            }
            Ok(Some(memo))
        }
        Err(error) if args.memo.is_some() => Err(Failure::io("open memo", &path, &error)),
        Err(error) => {
            tracing::info!(path = %path.display(), %error, "there is no memo; everything is inspected");
            Ok(None)
        }
    }
}

/// Returns where the memo is unless somebody says otherwise: a cache, which may be removed.
fn memo_path() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    variable("AIRLOCK_HOME")
        .or_else(|| cache().map(|path| path.join("airlock")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/airlock")))
        .map(|folder| folder.join("memo"))
}

/// What is to be inspected, and the folder that it was put into if it came through a pipe.
pub(crate) struct OpenSource {
    source: Source,
    /// Removed at the end.
    _spool: Option<tempfile::TempDir>,
    /// Keeps others from changing the vault that it is read from.
    _vault: Option<Director>,
}

impl std::ops::Deref for OpenSource {
    type Target = Source;

    fn deref(&self) -> &Source {
        &self.source
    }
}

/// Opens what is to be inspected. `disk` takes a file of unknown content as a raw disk.
pub(crate) fn source(args: &SourceArgs, disk: bool) -> Result<OpenSource, Failure> {
    let text = args.source.to_str().unwrap_or_default();
    let (mut spooled, mut vault) = (None, None);
    let source = if Uri::is_meant(text) {
        export(text, args)?
    } else if let Some((directory, vm)) = in_vault(&args.source) {
        let (director, source) = kept(directory, vm, args)?;
        vault = Some(director);
        source
    } else if text == "-" {
        let (folder, path) = spool()?;
        spooled = Some(folder);
        Source::open(&path, &options(args, disk))?
    } else {
        Source::open(&args.source, &options(args, disk))?
    };
    if source.was_probed() && source.disk().format() == Format::Raw {
        tracing::info!(
            "taken as raw by its first bytes, which a guest may have written; --source-format pins it"
        );
    }
    for oddity in &source.survey().oddities {
        let name = if oddity.volume.is_empty() { "disk" } else { &oddity.volume };
        crate::output::note(&format!("note: {name}: {}", oddity.what));
    }
    Ok(OpenSource { source, _spool: spooled, _vault: vault })
}

/// Reads `vault:DIR/VM`.
pub(crate) fn in_vault(source: &Path) -> Option<(&Path, &str)> {
    let (directory, vm) = source.to_str()?.strip_prefix("vault:")?.rsplit_once('/')?;
    (!directory.is_empty() && !vm.is_empty()).then_some((Path::new(directory), vm))
}

/// Opens a VM that a vault keeps.
fn kept(directory: &Path, vm: &str, args: &SourceArgs) -> Result<(Director, Source), Failure> {
    if args.source_format.is_some() || args.allow_backing.is_some() {
        let text =
            "a VM in a vault is read as it was kept: --source-format and --allow-backing are for files";
        return Err(Failure::new(Code::Usage, text));
    }
    let director = crate::verbs::export::open_vault(directory)?;
    let VaultVm { space, machine, source } = director.open_vm(vm, None)?;
    let source = Source::of_space(Path::new(vm), space, machine, source)?;
    Ok((director, source))
}

/// Opens a disk that a server exports.
fn export(text: &str, args: &SourceArgs) -> Result<Source, Failure> {
    if !matches!(args.source_format, None | Some(SourceFormat::Raw)) {
        let text = "an NBD export is read as the bytes of a disk: --source-format can only be raw";
        return Err(Failure::new(Code::Usage, text));
    }
    let uri = Uri::parse(text).map_err(|error| {
        Failure::of(Code::Usage, &error).hint("nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH")
    })?;
    let disk = NbdDisk::open(&uri).map_err(|error| {
        let code = match &error {
            airlock_nbd::Error::Refused { .. } => Code::NotFound,
            _ => Code::Error,
        };
        let failure = Failure::of(code, &error);
        Failure { text: format!("{text}: {}", failure.text), ..failure }
            .hint("check that the server runs and exports this name; `nbdinfo --list` shows what it has")
    })?;
    let name = match &uri.address {
        _ if !uri.export.is_empty() => PathBuf::from(&uri.export),
        Address::Tcp { host, .. } => PathBuf::from(host),
        Address::Unix(path) => path.clone(),
    };
    Ok(Source::of_disk(&name, Arc::new(disk))?)
}

/// Puts what comes through the standard input into a file of a folder of its own.
fn spool() -> Result<(tempfile::TempDir, PathBuf), Failure> {
    let folder = tempfile::tempdir().map_err(|error| {
        Failure::io("make a folder for the standard input in", &std::env::temp_dir(), &error)
    })?;
    let path = folder.path().join("stdin");
    let copied = std::fs::File::create_new(&path)
        .and_then(|mut file| std::io::copy(&mut std::io::stdin().lock(), &mut file));
    copied.map_err(|error| {
        Failure::io("keep the standard input in", &path, &error)
            .hint("TMPDIR names another folder with more room")
    })?;
    Ok((folder, path))
}

fn options(args: &SourceArgs, disk: bool) -> SourceOptions {
    SourceOptions {
        format: match args.source_format {
            Some(SourceFormat::Raw) => Some(Format::Raw),
            Some(SourceFormat::Qcow2) => Some(Format::Qcow2),
            Some(SourceFormat::Vmdk) => Some(Format::Vmdk),
            Some(SourceFormat::Vhd) => Some(Format::Vhd),
            Some(SourceFormat::Vhdx) => Some(Format::Vhdx),
            Some(SourceFormat::Vdi) => Some(Format::Vdi),
            Some(SourceFormat::File) | None => None,
        },
        plain_file: args.source_format == Some(SourceFormat::File),
        disk,
        allow_backing: args.allow_backing.clone(),
    }
}
