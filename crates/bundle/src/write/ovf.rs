//! OVF envelopes (DMTF DSP0243 1.1.1).

use super::{ExportedDisk, escaped, memory_mib};
use airlock_model::{Bus, Firmware, Machine};

/// Returns an envelope for these disks, whose files lie beside it.
pub fn ovf(machine: &Machine, disks: &[ExportedDisk]) -> String {
    let name = escaped(&machine.name);
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData\" \
         xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData\" \
         xmlns:vmw=\"http://www.vmware.com/schema/ovf\">\n  <References>\n",
    );
    for disk in disks {
        out.push_str(&format!(
            "    <File ovf:id=\"file-{0}\" ovf:href=\"{1}\" ovf:size=\"{2}\"/>\n",
            disk.id,
            escaped(&disk.file),
            disk.file_size
        ));
    }
    out.push_str("  </References>\n  <DiskSection>\n    <Info>Disks</Info>\n");
    for disk in disks {
        out.push_str(&format!(
            "    <Disk ovf:diskId=\"{0}\" ovf:fileRef=\"file-{0}\" ovf:capacity=\"{1}\" ovf:format=\"{2}\"/>\n",
            disk.id,
            disk.virtual_size,
            format_uri(disk.format)
        ));
    }
    out.push_str("  </DiskSection>\n  <NetworkSection>\n    <Info>Networks</Info>\n");
    let mut networks: Vec<&str> = machine.nics.iter().map(|nic| network(&nic.network)).collect();
    networks.sort_unstable();
    networks.dedup();
    for network in networks {
        out.push_str(&format!("    <Network ovf:name=\"{}\"/>\n", escaped(network)));
    }
    out.push_str(&format!(
        "  </NetworkSection>\n  <VirtualSystem ovf:id=\"{name}\">\n    <Info>Machine</Info>\n    <Name>{name}</Name>\n    \
         <OperatingSystemSection ovf:id=\"1\">\n      <Info>Guest</Info>\n      <Description>{}</Description>\n    \
         </OperatingSystemSection>\n    <VirtualHardwareSection>\n      <Info>Hardware</Info>\n",
        escaped(&machine.guest)
    ));
    hardware(machine, disks, &mut out);
    if machine.firmware == Firmware::Uefi {
        out.push_str("      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>\n");
    }
    if machine.secure_boot {
        let key = "uefi.secureBoot.enabled";
        out.push_str(&format!(
            "      <vmw:Config ovf:required=\"false\" vmw:key=\"{key}\" vmw:value=\"true\"/>\n"
        ));
    }
    out.push_str("    </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n");
    out
}

fn network(name: &str) -> &str {
    if name.is_empty() { "default" } else { name }
}

fn format_uri(format: &str) -> &'static str {
    match format {
        "qcow2" => "http://www.gnome.org/~markmc/qcow-image-format.html",
        _ => "http://en.wikipedia.org/wiki/Byte",
    }
}

/// An item of the hardware section: elements of the resource allocation schema, which come in
/// the order of their names.
fn item(out: &mut String, fields: &[(&str, String)]) {
    let mut fields: Vec<_> = fields.to_vec();
    fields.sort();
    out.push_str("      <Item>\n");
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!("        <rasd:{name}>{}</rasd:{name}>\n", escaped(value)));
    }
    out.push_str("      </Item>\n");
}

fn hardware(machine: &Machine, disks: &[ExportedDisk], out: &mut String) {
    let mut instance = 0_u32;
    let mut next = || {
        instance += 1;
        instance.to_string()
    };
    let cpus = machine.cpus.max(1).to_string();
    item(
        out,
        &[
            ("AllocationUnits", "hertz * 10^6".into()),
            ("ElementName", format!("{cpus} CPUs")),
            ("InstanceID", next()),
            ("ResourceType", "3".into()),
            ("VirtualQuantity", cpus.clone()),
        ],
    );
    item(
        out,
        &[
            ("AllocationUnits", "byte * 2^20".into()),
            ("ElementName", "Memory".into()),
            ("InstanceID", next()),
            ("ResourceType", "4".into()),
            ("VirtualQuantity", memory_mib(machine).to_string()),
        ],
    );
    let mut controllers = Vec::new();
    for (position, controller) in machine.controllers.iter().enumerate() {
        let (kind, model) = match controller.bus {
            Bus::Ide => ("5", ""),
            Bus::Scsi => ("6", "lsilogic"),
            Bus::Usb => ("23", ""),
            Bus::Nvme => ("20", "vmware.nvme.controller"),
            Bus::Virtio => ("20", "virtio"),
            Bus::Sata | Bus::Floppy => ("20", "AHCI"),
        };
        let model = if controller.model.is_empty() { model } else { &controller.model };
        let own = next();
        item(
            out,
            &[
                ("Address", position.to_string()),
                ("ElementName", format!("Controller {position}")),
                ("InstanceID", own.clone()),
                ("ResourceSubType", model.to_owned()),
                ("ResourceType", kind.into()),
            ],
        );
        controllers.push(own);
    }
    for (number, disk) in disks.iter().enumerate() {
        let drive = machine.drives.iter().find(|drive| drive.disk == disk.id);
        let parent = drive.and_then(|drive| controllers.get(drive.controller as usize)).cloned();
        item(
            out,
            &[
                ("AddressOnParent", drive.map_or(number, |drive| drive.unit as usize).to_string()),
                ("ElementName", disk.id.clone()),
                ("HostResource", format!("ovf:/disk/{}", disk.id)),
                ("InstanceID", next()),
                ("Parent", parent.unwrap_or_default()),
                ("ResourceType", "17".into()),
            ],
        );
    }
    for (position, nic) in machine.nics.iter().enumerate() {
        item(
            out,
            &[
                ("Address", nic.mac.clone()),
                ("Connection", network(&nic.network).to_owned()),
                ("ElementName", format!("Network interface {position}")),
                ("InstanceID", next()),
                ("ResourceSubType", nic.model.clone()),
                ("ResourceType", "10".into()),
            ],
        );
    }
}
