//! Descriptors: what each bundle format says of a machine and of its files.

mod libvirt;
mod ovf;
mod vbox;
mod vmx;

use crate::Error;
use airlock_disk::Format;
use airlock_model::{Bus, Controller, Drive, Machine};
use std::path::Path;

/// Most disks that a descriptor may name; an address space has no room for more.
const DISKS_MAX: usize = airlock_model::DISKS_MAX;

/// The kinds of descriptors, the ones that say most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Descriptor {
    Ovf,
    Vmx,
    Libvirt,
    VirtualBox,
}

/// What a descriptor says.
#[derive(Debug, Default)]
pub(crate) struct Described {
    /// The machine; its drives are filled when the disks are open.
    pub(crate) machine: Machine,
    pub(crate) disks: Vec<DiskName>,
    /// Other files that it names.
    pub(crate) files: Vec<String>,
}

/// A disk as a descriptor names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DiskName {
    pub(crate) name: String,
    pub(crate) format: Option<Format>,
    /// Position of the controller in the machine's list.
    pub(crate) controller: u32,
    pub(crate) unit: u32,
}

impl Descriptor {
    /// Tells what a file is by its ending and, for XML, by its first element.
    pub(crate) fn of(path: &Path, text: impl FnOnce() -> Option<String>) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "ovf" => Some(Self::Ovf),
            "vmx" => Some(Self::Vmx),
            "vbox" => Some(Self::VirtualBox),
            "xml" => {
                let text = text()?;
                let document = crate::xml::parse(path, &text).ok()?;
                let root = document.root_element();
                let domain =
                    root.tag_name().name() == "domain" && crate::xml::child(root, "devices").is_some();
                domain.then_some(Self::Libvirt)
            }
            _ => None,
        }
    }

    /// Reads a descriptor.
    pub(crate) fn read(self, path: &Path, text: &str) -> Result<Described, Error> {
        let mut described = match self {
            Self::Ovf => ovf::read(path, text)?,
            Self::Vmx => vmx::read(text),
            Self::Libvirt => libvirt::read(path, text)?,
            Self::VirtualBox => vbox::read(path, text)?,
        };
        if described.disks.len() > DISKS_MAX {
            return Err(Error::damaged(path, format!("it names more than {DISKS_MAX} disks")));
        }
        described.sort();
        Ok(described)
    }
}

impl Described {
    /// Puts disks into the order in which a machine sees them.
    fn sort(&mut self) {
        self.disks.sort_by_key(|disk| (disk.controller, disk.unit));
    }

    /// Fills the machine's drives: disk `n` is the `n`th that was named.
    pub(crate) fn place_drives(&mut self) {
        let drive = |(number, disk): (usize, &DiskName)| Drive {
            disk: format!("disk{number}"),
            controller: disk.controller,
            unit: disk.unit,
        };
        self.machine.drives = self.disks.iter().enumerate().map(drive).collect();
    }
}

/// Returns the position of a controller, which is added if it is new.
fn controller(machine: &mut Machine, keys: &mut Vec<String>, key: &str, bus: Bus, model: &str) -> u32 {
    let position = keys.iter().position(|known| known == key).unwrap_or_else(|| {
        keys.push(key.to_owned());
        machine.controllers.push(Controller { bus, model: model.to_owned() });
        keys.len() - 1
    });
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// Returns a number, or 0 for what is none.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// Returns a number that fits 32 bits, or 0.
fn small(text: &str) -> u32 {
    u32::try_from(number(text)).unwrap_or(0)
}

/// Returns a hardware address as pairs with colons, or nothing for what is none.
fn mac(text: &str) -> String {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    if digits.len() != 12 {
        return String::new();
    }
    let pair = |pair: &[u8]| String::from_utf8_lossy(pair).to_ascii_lowercase();
    digits.chunks(2).map(pair).collect::<Vec<_>>().join(":")
}
