//! libvirt domain XML (libvirt, "Domain XML format").

use super::{ExportedDisk, escaped, memory_mib};
use airlock_model::{Bus, Drive, Firmware, Machine};
use std::collections::BTreeSet;

/// Returns a domain for these disks, whose files lie beside the XML.
pub fn libvirt(machine: &Machine, disks: &[ExportedDisk]) -> String {
    let uefi = machine.firmware == Firmware::Uefi;
    let firmware = if uefi { " firmware='efi'" } else { "" };
    let mut out = format!(
        "<domain type='kvm'>\n  <name>{}</name>\n  <memory unit='MiB'>{}</memory>\n  <vcpu>{}</vcpu>\n  \
         <os{firmware}>\n    <type arch='x86_64' machine='q35'>hvm</type>\n",
        escaped(&machine.name),
        memory_mib(machine),
        machine.cpus.max(1)
    );
    if machine.secure_boot && uefi {
        out.push_str("    <loader secure='yes'/>\n");
    }
    out.push_str("  </os>\n  <features>\n    <acpi/>\n    <apic/>\n");
    if machine.secure_boot && uefi {
        out.push_str("    <smm state='on'/>\n");
    }
    out.push_str("  </features>\n  <devices>\n");
    for (index, controller) in machine.controllers.iter().enumerate() {
        let (kind, model) = match controller.bus {
            Bus::Scsi => ("scsi", " model='virtio-scsi'"),
            Bus::Sata | Bus::Ide => ("sata", ""),
            _ => continue,
        };
        out.push_str(&format!("    <controller type='{kind}' index='{index}'{model}/>\n"));
    }
    let mut taken = BTreeSet::new();
    for (number, disk) in disks.iter().enumerate() {
        let drive = machine.drives.iter().find(|drive| drive.disk == disk.id);
        drive_of(machine, drive, disk, number, &mut taken, &mut out);
    }
    for nic in &machine.nics {
        let network = if nic.network.is_empty() { "default" } else { &nic.network };
        out.push_str("    <interface type='network'>\n");
        if !nic.mac.is_empty() {
            out.push_str(&format!("      <mac address='{}'/>\n", escaped(&nic.mac)));
        }
        out.push_str(&format!("      <source network='{}'/>\n", escaped(network)));
        out.push_str(&format!("      <model type='{}'/>\n    </interface>\n", nic_model(&nic.model)));
    }
    out.push_str("    <console type='pty'/>\n  </devices>\n</domain>\n");
    out
}

fn drive_of(
    machine: &Machine,
    drive: Option<&Drive>,
    disk: &ExportedDisk,
    number: usize,
    taken: &mut BTreeSet<(u32, u32)>,
    out: &mut String,
) {
    let place = drive.map(|drive| (drive.controller, drive.unit)).filter(|place| taken.insert(*place));
    let controller = place.and_then(|(controller, _)| machine.controllers.get(controller as usize));
    // q35 has no IDE; what was there is on SATA, which every such guest has a driver for.
    let bus = match controller.map(|controller| controller.bus) {
        Some(Bus::Scsi) => "scsi",
        Some(Bus::Sata | Bus::Ide) => "sata",
        Some(Bus::Usb) => "usb",
        _ => "virtio",
    };
    let letters = device_letters(number);
    let device = if bus == "virtio" { format!("vd{letters}") } else { format!("sd{letters}") };
    out.push_str(&format!(
        "    <disk type='file' device='disk'>\n      <driver name='qemu' type='{}'/>\n      \
         <source file='{}'/>\n      <target dev='{device}' bus='{bus}'/>\n",
        disk.format,
        escaped(&disk.file)
    ));
    if let (Some((controller, unit)), "scsi" | "sata") = (place, bus) {
        out.push_str(&format!(
            "      <address type='drive' controller='{controller}' bus='0' target='0' unit='{unit}'/>\n"
        ));
    }
    if number == 0 {
        out.push_str("      <boot order='1'/>\n");
    }
    out.push_str("    </disk>\n");
}

/// Returns `a` to `z`, then `aa` and so on.
fn device_letters(number: usize) -> String {
    let letter = |digit: usize| char::from(b'a' + u8::try_from(digit % 26).unwrap_or(0));
    if number < 26 {
        letter(number).to_string()
    } else {
        [letter(number / 26 - 1), letter(number)].iter().collect()
    }
}

/// Returns the model that libvirt knows for what another product called its own.
fn nic_model(model: &str) -> &'static str {
    let model = model.to_ascii_lowercase();
    let known = [
        ("vmxnet3", "vmxnet3"),
        ("82540", "e1000"),
        ("e1000e", "e1000e"),
        ("e1000", "e1000"),
        ("rtl", "rtl8139"),
    ];
    known.into_iter().find(|(word, _)| model.contains(word)).map_or("virtio", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_behind_z() {
        assert_eq!([0, 25, 26, 27, 52].map(device_letters), ["a", "z", "aa", "ab", "ba"]);
    }
}
