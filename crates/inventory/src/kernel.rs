//! Kernels that lie in `/boot`.

use crate::readers::Found;
use crate::{Ecosystem, Package};

/// Reads the path of a kernel image.
pub(crate) fn image(path: &[u8]) -> Found {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let release = String::from_utf8_lossy(name.strip_prefix(b"vmlinuz-").unwrap_or_default()).into_owned();
    Found::packages(vec![(0, Package::new(Ecosystem::Kernel, "linux", release))])
}
