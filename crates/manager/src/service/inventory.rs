//! Where VMs are: folders of images and bundles, and libvirt.

use super::ServiceError as Error;
use super::store::{Store, to_i64};
use airlock_console::token::new_id;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Most VMs of a source, and most entries of a folder that are looked at.
const VMS_MAX: usize = 10_000;
/// Longest output of `virsh` that is read, in bytes.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// How long `virsh` may take.
const VIRSH_TIMEOUT: Duration = Duration::from_secs(30);
const VIRSH_POLL: Duration = Duration::from_millis(20);
/// Endings of files that describe a machine.
const DESCRIPTIONS: &[&str] = &["ovf", "vmx", "xml", "vbox"];
/// Endings of files that are machines by themselves, unless a description stands beside them.
const IMAGES: &[&str] = &["qcow2", "qcow", "vmdk", "vhd", "vhdx", "vdi", "raw", "img", "ova"];

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SourceKind {
    /// A folder: each image, description and folder of such in it is a VM.
    Folder,
    /// What `virsh` lists; the location is its connection URI.
    Libvirt,
}

/// Where VMs are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSource {
    /// What it is called.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: SourceKind,
    /// The absolute path of the folder, or a URI such as `qemu:///system`.
    pub(crate) location: String,
    /// For libvirt: the only folder that disks are opened in.
    #[serde(default)]
    pub(crate) images: Option<String>,
    /// Most transfers from it at once.
    #[serde(default)]
    pub(crate) transfers_max: Option<u32>,
    /// Most bytes per second of all its transfers together, as in `--bwlimit`.
    #[serde(default)]
    pub(crate) bwlimit: Option<String>,
}

/// A source that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct KnownSource {
    /// Its id.
    pub(crate) id: String,
    /// What it is.
    pub(crate) source: NewSource,
    /// When it was looked at last, in seconds since 1970-01-01 UTC.
    pub(crate) scanned_at: Option<u64>,
    /// What went wrong then.
    pub(crate) problem: Option<String>,
}

/// A VM of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct KnownVm {
    /// Its id.
    pub(crate) id: String,
    /// The name of its source.
    pub(crate) source: String,
    /// Its name.
    pub(crate) name: String,
    /// `image`, `bundle` or `libvirt`.
    pub(crate) kind: String,
    /// When it was seen last, in seconds since 1970-01-01 UTC.
    pub(crate) seen_at: u64,
    #[serde(skip)]
    pub(crate) path: String,
}

/// A machine that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) kind: &'static str,
}

/// Lists the machines of a hypervisor.
pub(crate) trait Hypervisor {
    /// Returns the names of all machines, running or not.
    fn names(&self) -> Result<Vec<String>, Error>;
    /// Returns what one of them is, as XML of libvirt.
    fn describe(&self, name: &str) -> Result<Vec<u8>, Error>;
}

/// libvirt, as `virsh` tells of it.
#[derive(Debug)]
pub(crate) struct Virsh<'v> {
    /// The program.
    pub(crate) program: &'v Path,
    pub(crate) uri: &'v str,
}

impl Virsh<'_> {
    fn run(&self, args: &[&str]) -> Result<Vec<u8>, Error> {
        let failed = |why: String| Error::Conflict(format!("virsh {}: {why}", args.first().unwrap_or(&"")));
        let mut command = Command::new(self.program);
        command.args(["--readonly", "--quiet", "--connect", self.uri]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).env("LC_ALL", "C");
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let stdout = child.stdout.take().expect("it is a pipe");
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map(|_| bytes)
        });
        let started = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if started.elapsed() < VIRSH_TIMEOUT => std::thread::park_timeout(VIRSH_POLL),
                _ => {
                    // It is ours, and it does not answer.
                    let _ = child.kill().and_then(|()| child.wait());
                    return Err(failed("it did not answer in time".into()));
                }
            }
        };
        if !status.success() {
            return Err(failed(format!("it ended with {status}")));
        }
        let bytes = reading.join().ok().and_then(Result::ok);
        let bytes = bytes.filter(|bytes| bytes.len() as u64 <= OUTPUT_BYTES_MAX);
        bytes.ok_or_else(|| failed("its output is too long, or cannot be read".into()))
    }
}

impl Hypervisor for Virsh<'_> {
    fn names(&self) -> Result<Vec<String>, Error> {
        let text = String::from_utf8_lossy(&self.run(&["list", "--all", "--name"])?).into_owned();
        Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    fn describe(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.run(&["dumpxml", "--domain", name])
    }
}

/// Says whether something may be called that: names become names of files and arguments.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && c != '/';
    (1..=128).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(plain)
}

/// Finds the machines of a hypervisor; what describes each is written below `folder`.
fn of_hypervisor(hypervisor: &dyn Hypervisor, folder: &Path) -> Result<BTreeMap<String, Found>, Error> {
    std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let mut found = BTreeMap::new();
    for name in hypervisor.names()?.into_iter().take(VMS_MAX) {
        if !is_name(&name) {
            tracing::warn!("a machine of libvirt has a name that cannot be used");
            continue;
        }
        let path = folder.join(format!("{name}.xml"));
        std::fs::write(&path, hypervisor.describe(&name)?).map_err(Error::file("write", &path))?;
        found.insert(name, Found { path, kind: "libvirt" });
    }
    Ok(found)
}

fn ending(path: &Path) -> String {
    path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase()
}

/// Returns the paths in a folder and whether they are folders, without links and in the order of their names.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::file("list", folder))?.take(VMS_MAX) {
        let entry = entry.map_err(Error::file("list", folder))?;
        let kind = entry.file_type().map_err(Error::file("list", folder))?;
        if kind.is_file() || kind.is_dir() {
            paths.push((entry.path(), kind.is_dir()));
        }
    }
    paths.sort();
    Ok(paths)
}

fn machines(entries: &[(PathBuf, bool)]) -> Vec<(&Path, &'static str)> {
    let files = || entries.iter().filter(|(_, folder)| !folder).map(|(path, _)| path.as_path());
    let of = |endings: &'static [&str]| move |path: &&Path| endings.contains(&ending(path).as_str());
    let described: Vec<_> = files().filter(of(DESCRIPTIONS)).map(|path| (path, "bundle")).collect();
    if described.is_empty() {
        files().filter(of(IMAGES)).map(|path| (path, "image")).collect()
    } else {
        described
    }
}

/// Finds the machines in a folder: by their endings alone, so nothing of them is opened. Those that share
/// the name without its ending are told apart by it.
fn of_folder(folder: &Path) -> Result<BTreeMap<String, Found>, Error> {
    let here = entries(folder)?;
    let mut found = machines(&here);
    for (path, _) in here.iter().filter(|(_, is_folder)| *is_folder) {
        // A folder that cannot be read is none of our machines.
        if !machines(&entries(path).unwrap_or_default()).is_empty() {
            found.push((path.as_path(), "bundle"));
        }
    }
    let mut named = BTreeMap::new();
    for (path, kind) in found {
        let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let whole = text(path.file_name());
        let short = if path.is_dir() { whole.clone() } else { text(path.file_stem()) };
        let name = if named.contains_key(&short) { whole } else { short };
        if is_name(&name) {
            named.insert(name, Found { path: path.to_path_buf(), kind });
        } else {
            tracing::warn!(path = %path.display(), "its name cannot be the name of a VM");
        }
    }
    Ok(named)
}

const SOURCE_COLUMNS: &str = "id, name, kind, location, images, transfers_max, bwlimit, scanned_at, problem";
const VMS: &str = "select vm.id, source.name, vm.name, path, vm.kind, seen_at from vm
    join source on source.id = vm.source";

fn source_of(row: &Row<'_>) -> rusqlite::Result<KnownSource> {
    let kind: String = row.get(2)?;
    let kind = if kind == "libvirt" { SourceKind::Libvirt } else { SourceKind::Folder };
    Ok(KnownSource {
        id: row.get(0)?,
        source: NewSource {
            name: row.get(1)?,
            kind,
            location: row.get(3)?,
            images: row.get(4)?,
            transfers_max: row.get(5)?,
            bwlimit: row.get(6)?,
        },
        scanned_at: row.get::<_, Option<i64>>(7)?.map(i64::unsigned_abs),
        problem: row.get(8)?,
    })
}

fn vm_of(row: &Row<'_>) -> rusqlite::Result<KnownVm> {
    Ok(KnownVm {
        id: row.get(0)?,
        source: row.get(1)?,
        name: row.get(2)?,
        path: row.get(3)?,
        kind: row.get(4)?,
        seen_at: row.get::<_, i64>(5)?.unsigned_abs(),
    })
}

impl Store {
    pub(crate) fn add_source(&self, new: &NewSource) -> Result<KnownSource, Error> {
        if !is_name(&new.name) || new.location.is_empty() || new.location.starts_with('-') {
            return Err(Error::Invalid("a source needs a plain name and a location".into()));
        }
        let needs_path = (new.kind == SourceKind::Folder).then_some(&new.location);
        for path in needs_path.into_iter().chain(&new.images) {
            if !Path::new(path).is_absolute() {
                return Err(Error::Invalid(format!("{path:?} is no absolute path")));
            }
        }
        if let Some(limit) = &new.bwlimit {
            limit.parse::<airlock_link::Timetable>().map_err(|error| Error::Invalid(error.to_string()))?;
        }
        let id = new_id();
        let kind = if new.kind == SourceKind::Libvirt { "libvirt" } else { "folder" };
        let sql = "insert or ignore into source values (?1, ?2, ?3, ?4, ?5, ?6, ?7, null, null)";
        let row = params![id, new.name, kind, new.location, new.images, new.transfers_max, new.bwlimit];
        if self.lock().execute(sql, row)? == 0 {
            return Err(Error::Conflict(format!("there is a source {:?} already", new.name)));
        }
        self.source(&id)
    }

    /// Finds a source by its id or its name.
    pub(crate) fn source(&self, id: &str) -> Result<KnownSource, Error> {
        let sql = format!("select {SOURCE_COLUMNS} from source where id = ?1 or name = ?1");
        let found = self.lock().query_row(&sql, [id], source_of).optional()?;
        found.ok_or_else(|| Error::NotFound("such source".into()))
    }

    pub(crate) fn sources(&self, after: &str, limit: u32) -> Result<Vec<KnownSource>, Error> {
        let connection = self.lock();
        let sql = format!("select {SOURCE_COLUMNS} from source where id > ?1 order by id limit ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![after, limit], source_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets a source and its VMs. Transfers that wait for it fail when their turn comes.
    pub(crate) fn remove_source(&self, id: &str) -> Result<(), Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("delete from vm where source = ?1", [id])?;
        if transaction.execute("delete from source where id = ?1", [id])? == 0 {
            return Err(Error::NotFound("such source".into()));
        }
        Ok(transaction.commit()?)
    }

    pub(crate) fn vms(&self, after: &str, limit: u32) -> Result<Vec<KnownVm>, Error> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached(&format!("{VMS} where vm.id > ?1 order by vm.id limit ?2"))?;
        let rows = statement.query_map(params![after, limit], vm_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Finds a VM by its id, or by the names of its source and its own.
    pub(crate) fn vm(&self, source: &str, vm: &str) -> Result<KnownVm, Error> {
        let sql = format!("{VMS} where vm.id = ?2 or (source.name = ?1 and vm.name = ?2)");
        let found = self.lock().query_row(&sql, [source, vm], vm_of).optional()?;
        found.ok_or_else(|| Error::NotFound(format!("VM {vm:?} at the source {source:?}")))
    }

    /// Keeps what was found at a source; what is there no more is forgotten.
    fn keep_found(
        &self,
        source: &str,
        found: &Result<BTreeMap<String, Found>, Error>,
        now: u64,
    ) -> Result<(), Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let problem = found.as_ref().err().map(ToString::to_string);
        let sql = "update source set scanned_at = ?2, problem = ?3 where id = ?1";
        transaction.execute(sql, params![source, to_i64(now), problem])?;
        if let Ok(found) = found {
            let known: Vec<String> = {
                let mut known = transaction.prepare("select name from vm where source = ?1")?;
                known.query_map([source], |row| row.get(0))?.collect::<Result<_, _>>()?
            };
            for name in known.iter().filter(|name| !found.contains_key(*name)) {
                transaction.execute("delete from vm where source = ?1 and name = ?2", [source, name])?;
            }
            let mut keep = transaction.prepare(
                "insert into vm values (?1, ?2, ?3, ?4, ?5, ?6) on conflict (source, name)
                    do update set path = excluded.path, kind = excluded.kind, seen_at = excluded.seen_at",
            )?;
            for (name, one) in found {
                let path = one.path.to_str().unwrap_or_default();
                keep.execute(params![new_id(), source, name, path, one.kind, to_i64(now)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Looks at a source again. What goes wrong is kept with it.
    pub(crate) fn rescan(
        &self,
        id: &str,
        virsh: &Path,
        folder: &Path,
        now: u64,
    ) -> Result<KnownSource, Error> {
        let KnownSource { id, source, .. } = self.source(id)?;
        let found = match source.kind {
            SourceKind::Folder => of_folder(Path::new(&source.location)),
            SourceKind::Libvirt => {
                of_hypervisor(&Virsh { program: virsh, uri: &source.location }, &folder.join(&id))
            }
        };
        self.keep_found(&id, &found, now)?;
        self.happened("source.scanned", &id, &source.name, now);
        self.source(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_has_images_descriptions_and_folders_of_them() {
        let folder = tempfile::tempdir().unwrap();
        for path in
            ["web.qcow2", "web.raw", "notes.txt", "-rf.img", "erp/erp.vmx", "erp/erp.vmdk", "docs/a.md"]
        {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc", folder.path().join("link.img")).unwrap();
        let found = of_folder(folder.path()).unwrap();
        let found: Vec<_> = found.iter().map(|(name, found)| (name.as_str(), found.kind)).collect();
        assert_eq!(found, [("erp", "bundle"), ("web", "image"), ("web.raw", "image")]);
        assert!(of_folder(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn libvirt_is_asked_through_virsh() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("virsh");
        let text = "#!/bin/sh\ncase \"$*\" in\n\
            *' list --all --name') printf 'web\\n../evil\\nerp\\n\\n' ;;\n\
            *' dumpxml --domain '*) for last; do :; done; echo \"<domain><name>$last</name></domain>\" ;;\n\
            *) false ;;\nesac\n";
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        let new = NewSource {
            name: "kvm".into(),
            kind: SourceKind::Libvirt,
            location: "test:///default".into(),
            images: None,
            transfers_max: None,
            bwlimit: None,
        };
        let source = store.add_source(&new).unwrap();
        assert!(matches!(store.add_source(&new), Err(Error::Conflict(_))));
        let at = folder.path().join("libvirt");
        let scanned = store.rescan(&source.id, &script, &at, 7).unwrap();
        assert_eq!((scanned.problem, scanned.scanned_at), (None, Some(7)));
        let found = store.vms("", 10).unwrap();
        let mut names: Vec<_> = found.iter().map(|vm| vm.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["erp", "web"]);
        let xml = std::fs::read_to_string(&store.vm("kvm", "web").unwrap().path).unwrap();
        assert_eq!(xml, "<domain><name>web</name></domain>\n");
        // One that fails is a problem of the source, and what was known stays.
        let scanned = store.rescan("kvm", Path::new("/bin/false"), &at, 8).unwrap();
        assert!(scanned.problem.unwrap().contains("virsh list"));
        assert_eq!(store.vms("", 10).unwrap().len(), 2);
        store.remove_source(&source.id).unwrap();
        assert!(store.vms("", 10).unwrap().is_empty());
    }

    /// The driver of libvirt that comes with it for tests has one machine, `test`.
    #[test]
    fn the_real_virsh_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let virsh = Virsh { program: Path::new("virsh"), uri: "test:///default" };
        let found = of_hypervisor(&virsh, folder.path()).expect("virsh (package libvirt-clients) answers");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["test"]);
        let xml = std::fs::read_to_string(&found["test"].path).unwrap();
        assert!(xml.contains("<domain type='test'"), "{xml}");
        let nowhere = Virsh { program: Path::new("virsh"), uri: "test:///nowhere" };
        assert!(nowhere.names().is_err());
    }
}
