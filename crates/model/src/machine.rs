//! What a virtual machine is, beside its bytes.
//!
//! Every bundle format describes the same few things in words of its own. What all of
//! them can say is kept here, travels with a transfer, and is written back on export.

use serde::{Deserialize, Serialize};

/// The description of a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What the bundle calls it.
    pub name: String,
    /// Virtual CPUs; 0 where the bundle does not tell.
    pub cpus: u32,
    /// Memory in bytes; 0 where the bundle does not tell.
    pub memory_bytes: u64,
    /// How it starts.
    pub firmware: Firmware,
    /// Whether only signed boot loaders start.
    pub secure_boot: bool,
    /// The guest operating system, in the words of the bundle.
    pub guest: String,
    /// Disk controllers, in order.
    pub controllers: Vec<Controller>,
    /// Which disk is where, in the order in which the machine sees them.
    pub drives: Vec<Drive>,
    /// Network interfaces, in order.
    pub nics: Vec<Nic>,
}

/// How a machine starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// PC BIOS.
    #[default]
    Bios,
    /// UEFI.
    Uefi,
}

/// What a disk controller speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bus {
    /// Parallel ATA.
    Ide,
    /// Serial ATA.
    Sata,
    /// SCSI, whatever the controller.
    #[default]
    Scsi,
    /// NVM Express.
    Nvme,
    /// virtio, a device for each disk.
    Virtio,
    /// USB mass storage.
    Usb,
    /// Floppy drives.
    Floppy,
}

/// A disk controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// What it speaks.
    pub bus: Bus,
    /// Its model in the words of the bundle, such as `lsilogic`; may be empty.
    pub model: String,
}

/// A disk on a controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// The id of the disk in the address space, such as `disk0`.
    pub disk: String,
    /// Position of the controller in [`Machine::controllers`].
    pub controller: u32,
    /// Position on the controller.
    pub unit: u32,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Hardware address as six hexadecimal pairs with colons; may be empty.
    pub mac: String,
    /// Its model in the words of the bundle, such as `virtio` or `vmxnet3`; may be empty.
    pub model: String,
    /// The network that it is on, in the words of the bundle; may be empty.
    pub network: String,
}
