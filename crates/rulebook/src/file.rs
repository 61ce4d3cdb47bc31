//! The file of a rulebook.
//!
//! ```text
//! "airlock rulebook 1\n" │ length of the envelope, 4 bytes, little-endian │ envelope │ member │ member │ …
//! ```

use crate::Error;
use crate::manifest::{FORMAT, Kind, Manifest, Member};
use airlock_evidence::{PublicKey, SiteKey, seal, unseal};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 19] = b"airlock rulebook 1\n";
const PAYLOAD_TYPE: &str = "application/vnd.airlock.rulebook+json";
/// Longest envelope; manifests are short.
const ENVELOPE_BYTES_MAX: u32 = 1 << 20;
/// Longest member that is read into memory.
const MEMBER_BYTES_MAX: u64 = 1 << 30;

/// A file that shall become a member.
#[derive(Debug, Clone)]
pub struct Input {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
}

/// Makes a rulebook. `manifest` has everything but the members.
pub fn build(mut manifest: Manifest, inputs: &[Input], key: &SiteKey, to: &Path) -> Result<Manifest, Error> {
    FORMAT.clone_into(&mut manifest.format);
    manifest.members.clear();
    for input in inputs {
        let mut file = File::open(&input.path).map_err(Error::io("open", &input.path))?;
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut file, &mut hasher).map_err(Error::io("read", &input.path))?;
        let name = input.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let blake3 = hasher.finalize().to_hex().to_string();
        manifest.members.push(Member { kind: input.kind, name, bytes, blake3 });
    }
    manifest.check().map_err(Error::Manifest)?;
    let payload = serde_json::to_vec(&manifest).expect("plain data");
    let envelope = seal(key, PAYLOAD_TYPE, &payload);
    let length = u32::try_from(envelope.len()).ok().filter(|length| *length <= ENVELOPE_BYTES_MAX);
    let length = length.ok_or_else(|| Error::Manifest("its manifest is too long".into()))?;
    let mut out = temporary(to)?;
    let written = (|| {
        out.write_all(MAGIC)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&envelope)?;
        for input in inputs {
            io::copy(&mut File::open(&input.path)?, &mut out)?;
        }
        out.as_file().sync_all()
    })();
    written.map_err(Error::io("write", to))?;
    out.persist(to).map_err(|error| Error::io("write", to)(error.error))?;
    // What changed while it was read does not fit its digest; it is better known here than at the sites.
    Rulebook::open(to, &key.public())?;
    Ok(manifest)
}

/// Makes a file beside the one that it will become.
pub(crate) fn temporary(path: &Path) -> Result<tempfile::NamedTempFile, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(folder).map_err(Error::io("write", path))
}

/// A rulebook whose signature and digests hold.
#[derive(Debug)]
pub struct Rulebook {
    path: PathBuf,
    file: File,
    manifest: Manifest,
    digest: [u8; 32],
    members_at: u64,
}

impl Rulebook {
    /// Opens a file, and checks the signature, the length, and the digest of each member.
    pub fn open(path: &Path, key: &PublicKey) -> Result<Self, Error> {
        let altered = |why: &str| Error::Altered { path: path.to_path_buf(), why: why.to_owned() };
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let length = file.metadata().map_err(Error::io("open", path))?.len();
        let (envelope, members_at) = envelope(&mut file, path)?;
        let payload = unseal(&envelope, PAYLOAD_TYPE, key)
            .map_err(|source| Error::Publisher { path: path.to_path_buf(), source })?;
        let manifest: Manifest =
            serde_json::from_slice(&payload).map_err(|error| altered(&error.to_string()))?;
        manifest.check().map_err(|why| altered(&why))?;
        let members: u64 = manifest.members.iter().map(|member| member.bytes).sum();
        if members_at.checked_add(members) != Some(length) {
            return Err(altered("it is cut, or something was added"));
        }
        let mut rest = io::BufReader::with_capacity(1 << 18, file);
        for member in &manifest.members {
            let mut hasher = blake3::Hasher::new();
            let read = io::copy(&mut rest.by_ref().take(member.bytes), &mut hasher);
            read.map_err(Error::io("read", path))?;
            if hasher.finalize().to_hex().as_str() != member.blake3 {
                return Err(altered(&format!("its member {:?} does not fit its digest", member.name)));
            }
        }
        let digest = *blake3::hash(&payload).as_bytes();
        Ok(Self { path: path.to_path_buf(), file: rest.into_inner(), manifest, digest, members_at })
    }

    /// Returns what it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the digest of the manifest, which stands for all of it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Reads the members of a kind, each with its name. They are checked again, since time has passed.
    pub fn read(&self, kind: Kind) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut found = Vec::new();
        let mut at = self.members_at;
        for member in &self.manifest.members {
            if member.kind == kind {
                found.push((member.name.clone(), self.member(member, at)?));
            }
            at += member.bytes;
        }
        Ok(found)
    }

    fn member(&self, member: &Member, at: u64) -> Result<Vec<u8>, Error> {
        let altered = |why: &str| Error::Altered { path: self.path.clone(), why: why.to_owned() };
        let length = usize::try_from(member.bytes).ok().filter(|_| member.bytes <= MEMBER_BYTES_MAX);
        let mut bytes = vec![0; length.ok_or_else(|| altered("a member is over 1 GiB long"))?];
        self.file.read_exact_at(&mut bytes, at).map_err(Error::io("read", &self.path))?;
        if blake3::hash(&bytes).to_hex().as_str() != member.blake3 {
            return Err(altered("it changed while it was read"));
        }
        Ok(bytes)
    }
}

/// Returns the name that a file claims, whoever signed it: to look up who is trusted for that name.
pub(crate) fn claimed_name(path: &Path) -> Result<String, Error> {
    #[derive(serde::Deserialize)]
    struct Claim {
        payload: String,
    }
    let altered = |why: &str| Error::Altered { path: path.to_path_buf(), why: why.to_owned() };
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (envelope, _) = envelope(&mut file, path)?;
    let claim: Claim = serde_json::from_slice(&envelope).map_err(|_| altered("it has no envelope"))?;
    let payload =
        airlock_evidence::decode_payload(&claim.payload).ok_or_else(|| altered("it has no payload"))?;
    let manifest: Manifest = serde_json::from_slice(&payload).map_err(|error| altered(&error.to_string()))?;
    manifest.check().map_err(|why| altered(&why))?;
    Ok(manifest.name)
}

/// Reads the envelope. Returns it with where the members begin.
fn envelope(file: &mut File, path: &Path) -> Result<(Vec<u8>, u64), Error> {
    let altered = |why: &str| Error::Altered { path: path.to_path_buf(), why: why.to_owned() };
    let mut head = [0; MAGIC.len() + 4];
    file.read_exact(&mut head).map_err(|_| altered("it is too short"))?;
    let (magic, length) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(altered("its first bytes are others"));
    }
    let length = length.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if length > ENVELOPE_BYTES_MAX {
        return Err(altered("its envelope is too long"));
    }
    let mut envelope = Vec::new();
    Read::by_ref(file).take(u64::from(length)).read_to_end(&mut envelope).map_err(Error::io("read", path))?;
    if envelope.len() as u64 != u64::from(length) {
        return Err(altered("its envelope is cut"));
    }
    Ok((envelope, head.len() as u64 + u64::from(length)))
}
