//! VirtualBox machine settings (`VirtualBox-settings.xsd` of its sources).

use super::{Described, DiskName, controller, mac, number, small};
use crate::Error;
use crate::xml::{attribute, child, children, parse};
use airlock_disk::Format;
use airlock_model::{Bus, Firmware, Machine, Nic};
use roxmltree::Node;
use std::collections::BTreeMap;
use std::path::Path;

/// Deepest chain of differencing images.
const DEPTH_MAX: usize = 64;

/// Reads the current state of a machine; snapshots are images behind it.
pub(super) fn read(path: &Path, text: &str) -> Result<Described, Error> {
    let document = parse(path, text)?;
    let Some(machine_node) = child(document.root_element(), "Machine") else {
        return Err(Error::damaged(path, "it has no Machine"));
    };
    let hardware = child(machine_node, "Hardware");
    let of = |name, field| {
        hardware.and_then(|hardware| child(hardware, name)).map_or("", |node| attribute(node, field))
    };
    let uefi = of("Firmware", "type").to_ascii_uppercase().starts_with("EFI");
    let mut machine = Machine {
        name: attribute(machine_node, "name").to_owned(),
        cpus: small(of("CPU", "count")).max(1),
        memory_bytes: number(of("Memory", "RAMSize")).saturating_mul(1 << 20),
        firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
        secure_boot: false,
        guest: attribute(machine_node, "OSType").to_owned(),
        ..Machine::default()
    };
    let mut images = BTreeMap::new();
    if let Some(disks) =
        child(machine_node, "MediaRegistry").and_then(|registry| child(registry, "HardDisks"))
    {
        collect(disks, &mut images, 0);
    }
    let mut described = Described::default();
    let mut keys = Vec::new();
    let storage = child(machine_node, "StorageControllers");
    let storage = storage.or_else(|| hardware.and_then(|hardware| child(hardware, "StorageControllers")));
    for node in storage.into_iter().flat_map(|node| children(node, "StorageController")) {
        let bus = match attribute(node, "type") {
            "PIIX3" | "PIIX4" | "ICH6" => Bus::Ide,
            "NVMe" => Bus::Nvme,
            "USB" => Bus::Usb,
            "I82078" => Bus::Floppy,
            "VirtioSCSI" | "virtio-scsi" | "LsiLogic" | "LsiLogicSas" | "BusLogic" => Bus::Scsi,
            _ => Bus::Sata,
        };
        for device in children(node, "AttachedDevice").filter(|node| attribute(*node, "type") == "HardDisk") {
            let uuid = child(device, "Image").map_or("", |image| attribute(image, "uuid"));
            let Some((name, format)) = images.get(uuid) else {
                return Err(Error::damaged(
                    path,
                    format!("it attaches image {uuid:?}, which is not registered"),
                ));
            };
            let key = attribute(node, "name");
            let controller = controller(&mut machine, &mut keys, key, bus, attribute(node, "type"));
            let unit = small(attribute(device, "port"))
                .saturating_mul(2)
                .saturating_add(small(attribute(device, "device")));
            described.disks.push(DiskName { name: name.clone(), format: *format, controller, unit });
        }
    }
    let adapters = hardware.and_then(|hardware| child(hardware, "Network"));
    for nic in adapters.into_iter().flat_map(|network| children(network, "Adapter")) {
        if attribute(nic, "enabled") == "true" {
            let network = ["BridgedInterface", "InternalNetwork", "HostOnlyInterface", "NATNetwork"];
            let network = network.iter().find_map(|name| child(nic, name));
            machine.nics.push(Nic {
                mac: mac(attribute(nic, "MACAddress")),
                model: attribute(nic, "type").to_owned(),
                network: network.map_or("", |node| attribute(node, "name")).to_owned(),
            });
        }
    }
    described.machine = machine;
    Ok(described)
}

/// Collects images by UUID; a differencing image is an element inside its parent.
fn collect(node: Node<'_, '_>, images: &mut BTreeMap<String, (String, Option<Format>)>, depth: usize) {
    for disk in children(node, "HardDisk") {
        let format = match attribute(disk, "format").to_ascii_uppercase().as_str() {
            "VDI" => Some(Format::Vdi),
            "VMDK" => Some(Format::Vmdk),
            "VHD" => Some(Format::Vhd),
            _ => None,
        };
        images.insert(attribute(disk, "uuid").to_owned(), (attribute(disk, "location").to_owned(), format));
        if depth < DEPTH_MAX {
            collect(disk, images, depth + 1);
        }
    }
}
