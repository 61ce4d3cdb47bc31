//! OVF envelopes (DMTF DSP0243 1.1.1 and 2.1).

use super::{Described, DiskName, controller, mac, number, small};
use crate::Error;
use crate::xml::{attribute, child, children, parse, text_in};
use airlock_disk::Format;
use airlock_model::{Bus, Firmware, Machine, Nic};
use roxmltree::Node;
use std::collections::BTreeMap;
use std::path::Path;

/// Resource types of CIM (DMTF CIM `CIM_ResourceAllocationSettingData`).
mod resource {
    pub(super) const CPU: u32 = 3;
    pub(super) const MEMORY: u32 = 4;
    pub(super) const IDE: u32 = 5;
    pub(super) const SCSI: u32 = 6;
    pub(super) const ETHERNET: u32 = 10;
    pub(super) const DISK: u32 = 17;
    pub(super) const OTHER_STORAGE: u32 = 20;
    pub(super) const USB: u32 = 23;
}

/// A disk of the disk section.
struct Disk {
    file: String,
    format: Option<Format>,
}

/// Reads an envelope with one virtual system.
pub(super) fn read(path: &Path, text: &str) -> Result<Described, Error> {
    let document = parse(path, text)?;
    let envelope = document.root_element();
    let system = child(envelope, "VirtualSystem");
    let Some(system) = system else {
        let several = child(envelope, "VirtualSystemCollection").is_some();
        let what = if several {
            "it describes several machines; only one is read"
        } else {
            "it has no VirtualSystem"
        };
        return Err(Error::damaged(path, what));
    };
    let mut files = BTreeMap::new();
    for file in child(envelope, "References").into_iter().flat_map(|node| children(node, "File")) {
        let (id, href) = (attribute(file, "id"), attribute(file, "href"));
        let compression = attribute(file, "compression");
        if !matches!(compression, "" | "identity") || !attribute(file, "chunkSize").is_empty() {
            let what = format!("its file {href:?} is compressed or in chunks, which is not read");
            return Err(Error::damaged(path, what));
        }
        files.insert(id.to_owned(), href.to_owned());
    }
    let mut disks = BTreeMap::new();
    for disk in child(envelope, "DiskSection").into_iter().flat_map(|node| children(node, "Disk")) {
        let file = files.get(attribute(disk, "fileRef")).cloned().unwrap_or_default();
        disks.insert(
            attribute(disk, "diskId").to_owned(),
            Disk { file, format: format_of(attribute(disk, "format")) },
        );
    }
    let mut described = Described::default();
    let hardware = child(system, "VirtualHardwareSection");
    let mut machine = Machine {
        name: name_of(system),
        guest: child(system, "OperatingSystemSection").map_or("", |os| text_in(os, "Description")).to_owned(),
        ..Machine::default()
    };
    if let Some(hardware) = hardware {
        items(hardware, &mut machine, &mut described, &disks, &files);
        for config in children(hardware, "Config") {
            let value = attribute(config, "value");
            match attribute(config, "key") {
                "firmware" if value.eq_ignore_ascii_case("efi") => machine.firmware = Firmware::Uefi,
                "uefi.secureBoot.enabled" => machine.secure_boot = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
    }
    described.machine = machine;
    let of_disks: Vec<_> = described.disks.iter().map(|disk| disk.name.clone()).collect();
    described.files = files.into_values().filter(|name| !of_disks.contains(name)).collect();
    Ok(described)
}

fn name_of(system: Node<'_, '_>) -> String {
    let name = text_in(system, "Name");
    if name.is_empty() { attribute(system, "id").to_owned() } else { name.to_owned() }
}

fn format_of(uri: &str) -> Option<Format> {
    let uri = uri.to_ascii_lowercase();
    let known =
        [("vmdk", Format::Vmdk), ("vhdx", Format::Vhdx), ("vhd", Format::Vhd), ("qcow", Format::Qcow2)];
    known.into_iter().find(|(word, _)| uri.contains(word)).map(|(_, format)| format)
}

/// Reads the items of the hardware section. Those of version 2 have elements of their own.
fn items(
    hardware: Node<'_, '_>,
    machine: &mut Machine,
    described: &mut Described,
    disks: &BTreeMap<String, Disk>,
    files: &BTreeMap<String, String>,
) {
    let all = || {
        let named = ["Item", "StorageItem", "EthernetPortItem"];
        hardware.children().filter(move |node| named.contains(&node.tag_name().name()))
    };
    let mut keys = Vec::new();
    for item in all() {
        let kind = small(text_in(item, "ResourceType"));
        let subtype = text_in(item, "ResourceSubType");
        let bus = match kind {
            resource::IDE => Bus::Ide,
            resource::SCSI => Bus::Scsi,
            resource::USB => Bus::Usb,
            resource::OTHER_STORAGE if subtype.to_ascii_lowercase().contains("nvme") => Bus::Nvme,
            resource::OTHER_STORAGE if subtype.to_ascii_lowercase().contains("virtio") => Bus::Virtio,
            resource::OTHER_STORAGE => Bus::Sata,
            _ => continue,
        };
        controller(machine, &mut keys, text_in(item, "InstanceID"), bus, subtype);
    }
    for item in all() {
        match small(text_in(item, "ResourceType")) {
            resource::CPU => machine.cpus = small(text_in(item, "VirtualQuantity")),
            resource::MEMORY => {
                let quantity = number(text_in(item, "VirtualQuantity"));
                machine.memory_bytes = quantity.saturating_mul(unit_of(text_in(item, "AllocationUnits")));
            }
            resource::ETHERNET => machine.nics.push(Nic {
                mac: mac(text_in(item, "Address")),
                model: text_in(item, "ResourceSubType").to_owned(),
                network: text_in(item, "Connection").to_owned(),
            }),
            resource::DISK => {
                let host = text_in(item, "HostResource");
                let last = host.rsplit('/').next().unwrap_or_default();
                let (name, format) = if host.contains("/file/") {
                    (files.get(last).cloned().unwrap_or_default(), None)
                } else {
                    disks.get(last).map_or((String::new(), None), |disk| (disk.file.clone(), disk.format))
                };
                // A disk without a file is an empty one, which the importer creates.
                if !name.is_empty() {
                    let parent = text_in(item, "Parent");
                    let controller = controller(machine, &mut keys, parent, Bus::Scsi, "");
                    let unit = small(text_in(item, "AddressOnParent"));
                    described.disks.push(DiskName { name, format, controller, unit });
                }
            }
            _ => {}
        }
    }
}

/// Returns the bytes of a unit such as `byte * 2^20` or `MegaBytes`.
fn unit_of(text: &str) -> u64 {
    let text: String =
        text.chars().filter(|char| !char.is_whitespace()).collect::<String>().to_ascii_lowercase();
    if let Some(power) = text.strip_prefix("byte*2^") {
        return 1_u64.checked_shl(small(power)).unwrap_or(1);
    }
    match text.as_str() {
        "byte" | "bytes" => 1,
        "kilobytes" => 1 << 10,
        "gigabytes" => 1 << 30,
        _ => 1 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_memory() {
        let check = |text, expected| assert_eq!(unit_of(text), expected, "{text}");
        check("byte * 2^20", 1 << 20);
        check("byte*2^30", 1 << 30);
        check("MegaBytes", 1 << 20);
        check("GigaBytes", 1 << 30);
        check("", 1 << 20);
    }

    #[test]
    fn compressed_files_are_refused() {
        let text = r#"<Envelope xmlns:ovf="x"><References><File ovf:id="a" ovf:href="a.vmdk.gz"
            ovf:compression="gzip"/></References><VirtualSystem ovf:id="vm"/></Envelope>"#;
        let error = read(Path::new("vm.ovf"), text).unwrap_err().to_string();
        assert!(error.contains("a.vmdk.gz"), "{error}");
    }
}
