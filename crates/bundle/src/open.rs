//! Tells what a path is, and opens everything that belongs to it.

use crate::Error;
use crate::archive::{self, Archived};
use crate::composite::Composite;
use crate::describe::{Described, Descriptor};
use crate::files::{Entry, Files};
use crate::folder::{self, Listing};
use crate::xml::{DESCRIPTOR_BYTES_MAX, text_of};
use airlock_disk::{BlockSource, Format, OpenOptions, Opened, Probe};
use airlock_model::{Escaped, Extent, Machine, Member, MemberKind, Space};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a path is to be opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The image format; found out when absent.
    pub format: Option<Format>,
    /// Take the path as a plain file, whatever it looks like.
    pub plain_file: bool,
    /// Take a file of unknown content as a raw disk.
    pub disk: bool,
    /// The only folder in which files may be opened that an image or a descriptor names. For
    /// a bundle, its own folder where nothing else is said.
    pub allow_backing: Option<PathBuf>,
}

/// What a path turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A disk image.
    Image,
    /// One file that is no disk image.
    File,
    /// A folder of files.
    Folder,
    /// A folder of disk images.
    Images,
    /// An OVA archive.
    Ova,
    /// An OVF package.
    Ovf,
    /// A VMware VM.
    Vmx,
    /// A libvirt domain.
    Libvirt,
    /// A VirtualBox VM.
    VirtualBox,
    /// A Hyper-V export.
    HyperV,
}

impl Kind {
    /// Returns the name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::File => "file",
            Self::Folder => "folder",
            Self::Images => "images",
            Self::Ova => "ova",
            Self::Ovf => "ovf",
            Self::Vmx => "vmx",
            Self::Libvirt => "libvirt",
            Self::VirtualBox => "virtualbox",
            Self::HyperV => "hyper-v",
        }
    }
}

/// Everything that a virtual machine, or whatever else a path names, consists of.
#[derive(Debug)]
pub struct Bundle {
    /// What the path turned out to be.
    pub kind: Kind,
    /// What the bundle says of the machine, if it says anything.
    pub machine: Option<Machine>,
    /// The disks and the other files, one behind the other.
    pub space: Space,
    /// The bytes of the space.
    pub source: Arc<dyn BlockSource>,
    /// Whether the format of any image was decided by its first bytes, which a guest may have written.
    pub probed: bool,
    /// What is worth knowing, for people: links that were not followed, images that nothing names.
    pub notes: Vec<String>,
}

impl Bundle {
    /// Takes a disk that is there already as all that a machine consists of.
    pub fn of_disk(source: Arc<dyn BlockSource>) -> Self {
        let space = Space::of_disk(source.size(), source.format().name());
        Self { kind: Kind::Image, machine: None, space, source, probed: false, notes: Vec::new() }
    }
}

/// Endings of files that are taken for disk images: those of formats that say what they are …
const IMAGE_ENDINGS: [&str; 8] = ["qcow2", "qcow", "vmdk", "vhd", "vhdx", "avhd", "avhdx", "vdi"];
/// … and those of raw disks.
const RAW_ENDINGS: [&str; 3] = ["raw", "img", "dd"];

fn ending(path: &Path) -> String {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Opens whatever is at `path`.
pub fn open(path: &Path, options: &Options) -> Result<Bundle, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::io(path))?;
    if metadata.is_dir() {
        return open_folder(path, options);
    }
    if options.plain_file {
        return open_file(path, metadata.len());
    }
    if options.format.is_none() && metadata.is_file() {
        if ending(path) == "ova" {
            return open_archive(path);
        }
        let text = || archive::read_part(path, Extent::new(0, metadata.len()), DESCRIPTOR_BYTES_MAX).ok();
        if let Some(descriptor) = Descriptor::of(path, || text().map(|bytes| text_of(&bytes))) {
            let base = folder_of(path);
            let whole = matches!(descriptor, Descriptor::Vmx | Descriptor::VirtualBox);
            let listing = if whole { Some(folder::list(&base).map_err(Error::io(&base))?) } else { None };
            return open_described(path, &base, descriptor, listing, options);
        }
        if !is_disk(path, options)? {
            return open_file(path, metadata.len());
        }
    }
    open_image(path, options)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Tells whether a file is to be taken as a disk. A file of unknown content is one if it
/// is called like one.
fn is_disk(path: &Path, options: &Options) -> Result<bool, Error> {
    let image = |source| Error::Image { path: path.to_path_buf(), source };
    match airlock_disk::probe(path).map_err(image)? {
        Probe::Image(_) | Probe::Disk => Ok(true),
        Probe::Foreign(format) => Err(Error::Foreign { path: path.to_path_buf(), format }),
        Probe::Unknown => {
            let ending = ending(path);
            Ok(options.disk || RAW_ENDINGS.contains(&ending.as_str()) || ending == "qcow2")
        }
    }
}

fn open_image(path: &Path, options: &Options) -> Result<Bundle, Error> {
    let open = OpenOptions { format: options.format, allow_backing: options.allow_backing.clone() };
    let opened = airlock_disk::open(path, &open)
        .map_err(|source| Error::Image { path: path.to_path_buf(), source })?;
    Ok(Bundle { probed: opened.probed, ..Bundle::of_disk(opened.source) })
}

fn open_file(path: &Path, size: u64) -> Result<Bundle, Error> {
    let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let entry = Entry { path: [b"/", name].concat(), size, host: path.to_path_buf(), start: 0 };
    Parts { files: vec![entry], ..Parts::default() }.assemble(path, Kind::File, None)
}

/// What a bundle is put together from.
#[derive(Debug, Default)]
struct Parts {
    /// Name in the bundle, and the image.
    disks: Vec<(String, Opened)>,
    files: Vec<Entry>,
    notes: Vec<String>,
}

impl Parts {
    fn assemble(self, path: &Path, kind: Kind, machine: Option<Machine>) -> Result<Bundle, Error> {
        let mut members = Vec::new();
        let mut sources: Vec<Arc<dyn BlockSource>> = Vec::new();
        let mut probed = false;
        for (number, (name, opened)) in self.disks.into_iter().enumerate() {
            let format = opened.source.format().name().to_owned();
            let size = opened.source.size();
            members.push(Member {
                id: format!("disk{number}"),
                size,
                kind: MemberKind::Disk { format, name },
            });
            probed |= opened.probed;
            sources.push(opened.source);
        }
        if !self.files.is_empty() || members.is_empty() {
            let (files, member) = Files::new(self.files);
            members.push(member);
            sources.push(Arc::new(files));
        }
        let space =
            Space::new(members).map_err(|source| Error::Space { path: path.to_path_buf(), source })?;
        let source = Arc::new(Composite::new(sources));
        Ok(Bundle { kind, machine, space, source, probed, notes: self.notes })
    }

    /// Adds files of a folder that no disk consists of.
    fn add_files(&mut self, base: &Path, listing: Listing, consumed: &BTreeSet<PathBuf>) {
        self.notes.extend(listing.notes);
        for (name, size) in listing.files {
            let host = base.join(&name);
            if !consumed.contains(&identity(&host)) {
                let path = [b"/", name.as_os_str().as_bytes()].concat();
                self.files.push(Entry { path, size, host, start: 0 });
            }
        }
    }
}

/// Returns the one name of a file that has many.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

fn open_folder(path: &Path, options: &Options) -> Result<Bundle, Error> {
    let listing = folder::list(path).map_err(Error::io(path))?;
    let mut descriptors = Vec::new();
    for (name, size) in listing.files.iter().filter(|(name, _)| name.components().count() == 1) {
        let host = path.join(name);
        let text = || archive::read_part(&host, Extent::new(0, *size), DESCRIPTOR_BYTES_MAX).ok();
        if let Some(kind) = Descriptor::of(name, || text().map(|bytes| text_of(&bytes))) {
            descriptors.push((host, kind));
        }
    }
    // Files of one name describe one machine: what an export writes has two descriptions.
    let stem = |(path, _): &(PathBuf, Descriptor)| path.file_stem().map(std::ffi::OsStr::to_owned);
    descriptors.sort_by_key(|(_, kind)| *kind);
    descriptors.dedup_by(|next, kept| stem(next) == stem(kept));
    match descriptors.as_slice() {
        [(descriptor, kind)] => open_described(descriptor, path, *kind, Some(listing), options),
        [] => open_images(path, listing, options),
        several => {
            let names = several.iter().filter_map(|(path, _)| path.file_name());
            let names: Vec<String> = names.map(|name| Escaped(name.as_bytes()).to_string()).collect();
            Err(Error::Several { path: path.to_path_buf(), names: names.join(", ") })
        }
    }
}

/// Opens a folder without a descriptor: a Hyper-V export, a set of images, or plain files.
fn open_images(base: &Path, listing: Listing, options: &Options) -> Result<Bundle, Error> {
    let ends = |name: &Path, endings: &[&str]| endings.contains(&ending(name).as_str());
    let hyper_v = listing.files.iter().any(|(name, _)| ends(name, &["vmcx"]));
    let images = listing.files.iter().any(|(name, _)| ends(name, &IMAGE_ENDINGS));
    let all_disks = !listing.files.is_empty()
        && listing.files.iter().all(|(name, _)| ends(name, &IMAGE_ENDINGS) || ends(name, &RAW_ENDINGS));
    let mut parts = Parts::default();
    let mut consumed = BTreeSet::new();
    if hyper_v || images || all_disks {
        let open = OpenOptions { format: None, allow_backing: Some(allowed(base, options)) };
        parts.disks = open_all(base, &listing, all_disks, &open, &mut consumed)?;
    }
    let kind = match (hyper_v, parts.disks.is_empty()) {
        (true, _) => Kind::HyperV,
        (false, false) => Kind::Images,
        (false, true) => Kind::Folder,
    };
    let machine = hyper_v.then(|| named(Machine::default(), base));
    parts.add_files(base, listing, &consumed);
    parts.assemble(base, kind, machine)
}

fn allowed(base: &Path, options: &Options) -> PathBuf {
    options.allow_backing.clone().unwrap_or_else(|| base.to_path_buf())
}

/// Names a machine after its folder or file, where its descriptor does not name it.
fn named(mut machine: Machine, path: &Path) -> Machine {
    if machine.name.is_empty() {
        let name = path.file_stem().map(OsStrExt::as_bytes).unwrap_or_default();
        machine.name = Escaped(name).to_string();
    }
    machine
}

/// Opens all images of a folder that are not behind, or part of, another one.
///
/// An image that cannot be opened is an error, unless it turns out to be part of another:
/// an extent of a VMDK, the parent of a differencing disk.
fn open_all(
    base: &Path,
    listing: &Listing,
    raw_too: bool,
    open: &OpenOptions,
    consumed: &mut BTreeSet<PathBuf>,
) -> Result<Vec<(String, Opened)>, Error> {
    let mut found = Vec::new();
    let mut behind = consumed.clone();
    for (name, _) in &listing.files {
        let host = base.join(name);
        let ending = ending(name);
        let is_image = match airlock_disk::probe(&host) {
            Ok(Probe::Image(_)) => IMAGE_ENDINGS.contains(&ending.as_str()) || raw_too,
            Ok(_) => raw_too && RAW_ENDINGS.contains(&ending.as_str()),
            Err(_) => false,
        };
        if !is_image || consumed.contains(&identity(&host)) {
            continue;
        }
        let opened = airlock_disk::open(&host, open);
        if let Ok(opened) = &opened {
            behind.extend(opened.files.iter().skip(1).map(|file| identity(file)));
        }
        found.push((name.clone(), host, opened));
    }
    let mut disks = Vec::new();
    for (name, host, opened) in found {
        if behind.contains(&identity(&host)) {
            continue;
        }
        let opened = opened.map_err(|source| Error::Image { path: host.clone(), source })?;
        consumed.insert(identity(&host));
        disks.push((Escaped(name.as_os_str().as_bytes()).to_string(), opened));
    }
    consumed.extend(behind);
    Ok(disks)
}

/// Opens what a descriptor names and, where its folder is the machine's own, all else in it.
fn open_described(
    path: &Path,
    base: &Path,
    descriptor: Descriptor,
    listing: Option<Listing>,
    options: &Options,
) -> Result<Bundle, Error> {
    let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
    let text = text_of(&archive::read_part(path, Extent::new(0, size), DESCRIPTOR_BYTES_MAX)?);
    let mut described = descriptor.read(path, &text)?;
    described.place_drives();
    if descriptor == Descriptor::Ovf {
        check_package(path, base)?;
    }
    let allow = allowed(base, options);
    let mut parts = Parts::default();
    let mut consumed = BTreeSet::new();
    for disk in &described.disks {
        let open = OpenOptions { format: disk.format, allow_backing: Some(allow.clone()) };
        let opened = airlock_disk::open_named(&disk.name, path, &open).map_err(|source| match source {
            airlock_disk::Error::Reference { .. } => {
                let why = "lies outside the folder that files may be opened in";
                Error::Reference {
                    path: path.to_path_buf(),
                    name: Escaped(disk.name.as_bytes()).to_string(),
                    why,
                }
            }
            source => Error::Image { path: disk.name.clone().into(), source },
        })?;
        consumed.extend(opened.files.iter().map(|file| identity(file)));
        parts.disks.push((Escaped(disk.name.as_bytes()).to_string(), opened));
    }
    let kind = match descriptor {
        Descriptor::Ovf => Kind::Ovf,
        Descriptor::Vmx => Kind::Vmx,
        Descriptor::Libvirt => Kind::Libvirt,
        Descriptor::VirtualBox => Kind::VirtualBox,
    };
    let known: BTreeSet<PathBuf> = match &listing {
        Some(listing) => listing.files.iter().map(|(name, _)| identity(&base.join(name))).collect(),
        None => BTreeSet::from([identity(path)]),
    };
    if let Some(listing) = listing {
        let open = OpenOptions { format: None, allow_backing: Some(allow.clone()) };
        for (name, opened) in open_all(base, &listing, false, &open, &mut consumed)? {
            parts
                .notes
                .push(format!("the image {name} belongs to no disk of the machine; it is a disk of its own"));
            parts.disks.push((name, opened));
        }
        parts.add_files(base, listing, &consumed);
    } else {
        parts.files.push(file_beside(path, base, path, size));
        let beside = ["mf", "cert"].map(|ending| path.with_extension(ending));
        for host in beside.iter().filter(|host| descriptor == Descriptor::Ovf && host.is_file()) {
            let size = std::fs::metadata(host).map_err(Error::io(host))?.len();
            parts.files.push(file_beside(host, base, path, size));
        }
    }
    for name in &described.files {
        let host = reachable(name, path, base, &allow)?;
        if !known.contains(&host) && !consumed.contains(&host) {
            let size = std::fs::metadata(&host).map_err(Error::io(&host))?.len();
            parts.files.push(file_beside(&host, base, path, size));
        }
    }
    let machine = named(described.machine, path);
    parts.assemble(path, kind, Some(machine))
}

/// Returns the entry of a file: by its path below the folder of the bundle, else by its name.
fn file_beside(host: &Path, base: &Path, descriptor: &Path, size: u64) -> Entry {
    let inner = identity(host).strip_prefix(identity(base)).map(Path::to_path_buf).ok();
    let name = host.file_name().or_else(|| descriptor.file_name()).map(PathBuf::from).unwrap_or_default();
    let inner = inner.unwrap_or(name);
    let path = [b"/", inner.as_os_str().as_bytes()].concat();
    Entry { path, size, host: host.to_path_buf(), start: 0 }
}

/// Returns the path of a file that a descriptor names, if it lies in the bundle's folder or the allowed one.
fn reachable(name: &str, descriptor: &Path, base: &Path, allow: &Path) -> Result<PathBuf, Error> {
    let refused = |why| Error::Reference {
        path: descriptor.to_path_buf(),
        name: Escaped(name.as_bytes()).to_string(),
        why,
    };
    let host = base.join(name).canonicalize().map_err(|_| refused("cannot be found"))?;
    let inside = [base, allow].iter().any(|root| host.starts_with(identity(root)));
    if !inside {
        return Err(refused("lies outside the folder that files may be opened in"));
    }
    if host.is_file() { Ok(host) } else { Err(refused("is no plain file")) }
}

/// Checks the manifest beside an OVF descriptor, if there is one.
fn check_package(path: &Path, base: &Path) -> Result<(), Error> {
    let manifest = path.with_extension("mf");
    let Ok(metadata) = std::fs::metadata(&manifest) else { return Ok(()) };
    let bytes = archive::read_part(&manifest, Extent::new(0, metadata.len()), DESCRIPTOR_BYTES_MAX)?;
    for line in archive::manifest(&manifest, &text_of(&bytes))? {
        let host = reachable(&line.name, &manifest, base, base)?;
        let size = std::fs::metadata(&host).map_err(Error::io(&host))?.len();
        if !archive::holds(&host, Extent::new(0, size), &line)? {
            return Err(Error::damaged(host, "it does not have the digest that the manifest says"));
        }
    }
    Ok(())
}

fn open_archive(path: &Path) -> Result<Bundle, Error> {
    let list = archive::list(path)?;
    let find = |name: &str| list.iter().find(|entry| entry.name == name);
    let mut descriptors = list.iter().filter(|entry| ending(Path::new(&entry.name)) == "ovf");
    let descriptor = descriptors.next().ok_or_else(|| Error::damaged(path, "it holds no OVF descriptor"))?;
    if descriptors.next().is_some() {
        return Err(Error::damaged(path, "it holds several OVF descriptors"));
    }
    let text = |entry: &Archived| {
        archive::read_part(path, entry.part, DESCRIPTOR_BYTES_MAX).map(|bytes| text_of(&bytes))
    };
    let mut described: Described = Descriptor::Ovf.read(path, &text(descriptor)?)?;
    described.place_drives();
    for entry in list.iter().filter(|entry| ending(Path::new(&entry.name)) == "mf") {
        for line in archive::manifest(path, &text(entry)?)? {
            let missing =
                || Error::damaged(path, format!("its manifest names {:?}, which is not there", line.name));
            let part = find(&line.name).ok_or_else(missing)?.part;
            if !archive::holds(path, part, &line)? {
                let what = format!("{:?} does not have the digest that its manifest says", line.name);
                return Err(Error::damaged(path, what));
            }
        }
    }
    let mut parts = Parts::default();
    let mut consumed = BTreeSet::new();
    for disk in &described.disks {
        let missing = || Error::damaged(path, format!("it names a disk {:?}, which is not there", disk.name));
        let entry = find(&disk.name).ok_or_else(missing)?;
        let open = OpenOptions { format: disk.format, allow_backing: None };
        let opened = airlock_disk::open_part(path, entry.part, &open)
            .map_err(|source| Error::Image { path: path.join(&disk.name), source })?;
        consumed.insert(entry.name.clone());
        parts.disks.push((Escaped(disk.name.as_bytes()).to_string(), opened));
    }
    for entry in list.iter().filter(|entry| !consumed.contains(&entry.name)) {
        let name = [b"/", entry.name.as_bytes()].concat();
        let (size, start) = (entry.part.length, entry.part.offset);
        parts.files.push(Entry { path: name, size, host: path.to_path_buf(), start });
    }
    let machine = named(described.machine, path);
    parts.assemble(path, Kind::Ova, Some(machine))
}
