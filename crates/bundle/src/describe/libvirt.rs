//! libvirt domain XML (libvirt, "Domain XML format").

use super::{Described, DiskName, controller, mac, number, small};
use crate::Error;
use crate::xml::{attribute, child, children, parse, text_in};
use airlock_disk::Format;
use airlock_model::{Bus, Firmware, Machine, Nic};
use roxmltree::Node;
use std::path::Path;

/// Reads a domain.
pub(super) fn read(path: &Path, text: &str) -> Result<Described, Error> {
    let document = parse(path, text)?;
    let domain = document.root_element();
    let os = child(domain, "os");
    let loader = os.and_then(|os| child(os, "loader"));
    let uefi = loader.is_some_and(|loader| attribute(loader, "type") == "pflash")
        || os.is_some_and(|os| attribute(os, "firmware") == "efi");
    let mut machine = Machine {
        name: text_in(domain, "name").to_owned(),
        cpus: small(text_in(domain, "vcpu")),
        memory_bytes: memory(domain),
        firmware: if uefi { Firmware::Uefi } else { Firmware::Bios },
        secure_boot: loader.is_some_and(|loader| attribute(loader, "secure") == "yes"),
        guest: String::new(),
        ..Machine::default()
    };
    let mut described = Described::default();
    if let Some(nvram) = os.and_then(|os| child(os, "nvram")) {
        let source = child(nvram, "source").map_or("", |source| attribute(source, "file"));
        let named = [nvram.text().unwrap_or_default().trim(), source];
        described.files.extend(named.into_iter().filter(|name| !name.is_empty()).map(str::to_owned));
    }
    let devices = child(domain, "devices");
    let mut keys = Vec::new();
    for disk in devices.into_iter().flat_map(|devices| children(devices, "disk")) {
        disk_of(path, disk, devices, &mut machine, &mut keys, &mut described)?;
    }
    for nic in devices.into_iter().flat_map(|devices| children(devices, "interface")) {
        let of = |name, field| child(nic, name).map_or("", |node| attribute(node, field)).to_owned();
        let (network, bridge) = (of("source", "network"), of("source", "bridge"));
        machine.nics.push(Nic {
            mac: mac(&of("mac", "address")),
            model: of("model", "type"),
            network: if network.is_empty() { bridge } else { network },
        });
    }
    described.machine = machine;
    Ok(described)
}

fn disk_of(
    path: &Path,
    disk: Node<'_, '_>,
    devices: Option<Node<'_, '_>>,
    machine: &mut Machine,
    keys: &mut Vec<String>,
    described: &mut Described,
) -> Result<(), Error> {
    if !matches!(attribute(disk, "device"), "" | "disk" | "lun") {
        return Ok(());
    }
    let source = child(disk, "source");
    let of_source = |field| source.map_or("", |source| attribute(source, field));
    let (file, device) = (of_source("file"), of_source("dev"));
    let name = if file.is_empty() { device } else { file };
    if name.is_empty() {
        let kind = attribute(disk, "type");
        return Err(Error::damaged(
            path,
            format!("it has a disk of type {kind:?}, which is no file; copy it to one"),
        ));
    }
    let format = match child(disk, "driver").map_or("", |driver| attribute(driver, "type")) {
        "" => None,
        "raw" => Some(Format::Raw),
        "qcow2" => Some(Format::Qcow2),
        "vmdk" => Some(Format::Vmdk),
        "vpc" => Some(Format::Vhd),
        "vhdx" => Some(Format::Vhdx),
        "vdi" => Some(Format::Vdi),
        other => {
            return Err(Error::damaged(
                path,
                format!("it has a disk of format {other:?}, which is not read"),
            ));
        }
    };
    let target = child(disk, "target");
    let of_target = |field| target.map_or("", |target| attribute(target, field));
    let bus = match of_target("bus") {
        "ide" => Bus::Ide,
        "sata" => Bus::Sata,
        "scsi" => Bus::Scsi,
        "nvme" => Bus::Nvme,
        "usb" => Bus::Usb,
        "fdc" => Bus::Floppy,
        _ => Bus::Virtio,
    };
    let address = child(disk, "address");
    let of_address = |field| address.map_or("", |address| attribute(address, field));
    let letters = unit_of(of_target("dev"));
    // A virtio disk is a device of its own: its place is in its name.
    let (index, unit) = match (bus, address) {
        (Bus::Virtio, _) | (_, None) => (String::new(), letters),
        _ => (of_address("controller").to_owned(), small(of_address("unit"))),
    };
    let kind = of_target("bus");
    let model = devices.into_iter().flat_map(|devices| children(devices, "controller"));
    let mut model =
        model.filter(|node| attribute(*node, "type") == kind && attribute(*node, "index") == index);
    let model = model.next().map_or("", |node| attribute(node, "model"));
    let controller = controller(machine, keys, &format!("{kind}{index}"), bus, model);
    described.disks.push(DiskName { name: name.to_owned(), format, controller, unit });
    Ok(())
}

/// Returns the position that a device name such as `vdb` stands for.
fn unit_of(device: &str) -> u32 {
    let letters = device.get(2..).unwrap_or_default().bytes().take_while(u8::is_ascii_lowercase).take(4);
    letters.fold(0_u32, |sum, letter| sum * 26 + u32::from(letter - b'a') + 1).saturating_sub(1)
}

fn memory(domain: Node<'_, '_>) -> u64 {
    let Some(memory) = child(domain, "memory") else { return 0 };
    let unit: u64 = match attribute(memory, "unit") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => 1 << 10,
    };
    number(memory.text().unwrap_or_default()).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_count_in_letters() {
        let check = |device, expected| assert_eq!(unit_of(device), expected, "{device}");
        check("vda", 0);
        check("sdz", 25);
        check("vdaa", 26);
        check("", 0);
    }
}
