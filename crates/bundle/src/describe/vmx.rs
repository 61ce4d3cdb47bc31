//! VMX: lines of `key = "value"` (VMware; keys as in the open-vm-tools and VirtualBox sources).

use super::{Described, DiskName, controller, mac, number, small};
use airlock_model::{Bus, Firmware, Machine, Nic};
use std::collections::BTreeMap;

/// Controllers that VMware has: prefix, how many of them, units on each.
const CONTROLLERS: [(&str, Bus, u32, u32); 5] = [
    ("scsi", Bus::Scsi, 4, 65),
    ("sata", Bus::Sata, 4, 30),
    ("nvme", Bus::Nvme, 4, 15),
    ("ide", Bus::Ide, 2, 2),
    ("usb_xhci", Bus::Usb, 1, 8),
];

/// Most network interfaces.
const NICS_MAX: u32 = 10;

/// Reads a VMX file. What is not understood is left out: the file itself travels as it is.
pub(super) fn read(text: &str) -> Described {
    let pairs = pairs(text);
    let get = |key: &str| pairs.get(&key.to_ascii_lowercase()).map_or("", String::as_str);
    let is = |key: &str| get(key).eq_ignore_ascii_case("true");
    let mut machine = Machine {
        name: get("displayName").to_owned(),
        cpus: small(get("numvcpus")).max(1),
        memory_bytes: number(get("memsize")).saturating_mul(1 << 20),
        firmware: if get("firmware").eq_ignore_ascii_case("efi") { Firmware::Uefi } else { Firmware::Bios },
        secure_boot: is("uefi.secureBoot.enabled"),
        guest: get("guestOS").to_owned(),
        ..Machine::default()
    };
    let mut described = Described::default();
    let mut keys = Vec::new();
    for (prefix, bus, count, units) in CONTROLLERS {
        for index in 0..count {
            let own = format!("{prefix}{index}");
            for unit in 0..units {
                let slot = format!("{own}:{unit}");
                let name = get(&format!("{slot}.fileName"));
                let kind = get(&format!("{slot}.deviceType")).to_ascii_lowercase();
                let absent = get(&format!("{slot}.present")).eq_ignore_ascii_case("false");
                if name.is_empty() || absent || kind.starts_with("cdrom") || kind.starts_with("atapi") {
                    continue;
                }
                let model = get(&format!("{own}.virtualDev"));
                let controller = controller(&mut machine, &mut keys, &own, bus, model);
                described.disks.push(DiskName { name: name.to_owned(), format: None, controller, unit });
            }
        }
    }
    for index in 0..NICS_MAX {
        let own = format!("ethernet{index}");
        if is(&format!("{own}.present")) {
            let fixed = mac(get(&format!("{own}.address")));
            let generated = mac(get(&format!("{own}.generatedAddress")));
            machine.nics.push(Nic {
                mac: if fixed.is_empty() { generated } else { fixed },
                model: get(&format!("{own}.virtualDev")).to_owned(),
                network: get(&format!("{own}.networkName")).to_owned(),
            });
        }
    }
    described.machine = machine;
    described
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        pairs.insert(key.trim().to_ascii_lowercase(), unescaped(value));
    }
    pairs
}

/// Characters that a value cannot hold are `|` and two hexadecimal digits.
fn unescaped(value: &str) -> String {
    let mut parts = value.split('|');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(code) = code {
            out.push(char::from(code));
            out.push_str(&part[2..]);
        } else {
            out.push('|');
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_interfaces_are_where_the_file_says() {
        let text = r#"
            .encoding = "UTF-8"
            displayName = "pay |22roll|22"
            numvcpus = "4"
            memsize = "8192"
            firmware = "efi"
            guestOS = "debian12-64"
            scsi0.virtualDev = "pvscsi"
            scsi0:1.fileName = "data.vmdk"
            scsi0:0.fileName = "root-000002.vmdk"
            scsi0:0.present = "TRUE"
            sata0:0.fileName = "tools.iso"
            sata0:0.deviceType = "cdrom-image"
            scsi0:2.fileName = "gone.vmdk"
            scsi0:2.present = "FALSE"
            ethernet0.present = "TRUE"
            ethernet0.generatedAddress = "00:0C:29:aa:bb:cc"
            ethernet0.virtualDev = "vmxnet3"
            ethernet0.networkName = "prod"
        "#;
        let described = read(text);
        let machine = &described.machine;
        assert_eq!((machine.name.as_str(), machine.cpus), ("pay \"roll\"", 4));
        assert_eq!((machine.memory_bytes, machine.firmware), (8 << 30, Firmware::Uefi));
        assert_eq!(machine.controllers.len(), 1);
        assert_eq!(machine.controllers[0].model, "pvscsi");
        assert_eq!(machine.nics[0].mac, "00:0c:29:aa:bb:cc");
        let names: Vec<_> = described.disks.iter().map(|disk| (disk.name.as_str(), disk.unit)).collect();
        assert_eq!(names, [("root-000002.vmdk", 0), ("data.vmdk", 1)]);
    }
}
