//! Images and bundles that name a file, a device or a host of the machine that opens them.

use super::bytes::{put_be, put_le};
use super::{Case, Expected};

/// What they name.
pub const TARGETS: [&str; 13] = [
    "/etc/passwd",
    "../secret.img",
    "../../../../../../../../etc/passwd",
    "./../secret.img",
    "link",
    "/dev/zero",
    "/dev/mem",
    "/proc/self/environ",
    "nbd://127.0.0.1:10809/x",
    "http://127.0.0.1:8/x",
    "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
    "file:///etc/passwd",
    "\\\\127.0.0.1\\share\\disk.img",
];

type Make = fn(&str) -> (&'static str, Vec<u8>);

/// Each way to name each target.
pub fn references() -> Vec<Case> {
    let makers: [(&str, Make); 12] = [
        ("qcow2 backing file", |target| ("disk.qcow2", qcow2_backing(target))),
        ("qcow2 data file", |target| ("disk.qcow2", qcow2_data_file(target))),
        ("VMDK flat extent", |target| ("disk.vmdk", vmdk(&format!("RW 2048 FLAT \"{target}\" 0"), ""))),
        ("VMDK sparse extent", |target| ("disk.vmdk", vmdk(&format!("RW 2048 SPARSE \"{target}\""), ""))),
        ("VMDK raw device", |target| ("disk.vmdk", vmdk(&format!("RW 2048 VMFSRDM \"{target}\""), ""))),
        ("VMDK parent", |target| ("disk.vmdk", vmdk("RW 2048 ZERO", target))),
        ("VHD parent", |target| ("disk.vhd", vhd_differencing(target))),
        ("OVF reference", |target| ("vm.ovf", ovf(target))),
        ("VMX disk", |target| ("vm.vmx", vmx(target))),
        ("VirtualBox disk", |target| ("vm.vbox", vbox(target))),
        ("libvirt disk", |target| ("vm.xml", libvirt("file", "file", target))),
        ("libvirt block device", |target| ("vm.xml", libvirt("block", "dev", target))),
    ];
    let mut cases = Vec::new();
    for (what, make) in makers {
        for target in TARGETS {
            let (main, bytes) = make(target);
            let mut case = Case::new(format!("{what} {target}"), main, bytes, Expected::Refused);
            case.links.push(("link".into(), "../secret.img".into()));
            case.target = Some(target.to_owned());
            cases.push(case);
        }
    }
    cases
}

/// The header of a qcow2 image of 1 MiB, version 3, without any data.
pub(super) fn qcow2() -> Vec<u8> {
    let mut image = vec![0; 4 << 16];
    image[..4].copy_from_slice(b"QFI\xfb");
    for (at, width, value) in [
        (4, 4, 3),
        (20, 4, 16),
        (24, 8, 1 << 20),
        (36, 4, 1),
        (40, 8, 3 << 16),
        (48, 8, 1 << 16),
        (56, 4, 1),
        (96, 4, 4),
        (100, 4, 104),
    ] {
        put_be(&mut image, at, width, value);
    }
    put_be(&mut image, 1 << 16, 8, 2 << 16);
    for cluster in 0..4 {
        put_be(&mut image, (2 << 16) + 2 * cluster, 2, 1);
    }
    image
}

fn qcow2_backing(target: &str) -> Vec<u8> {
    let mut image = qcow2();
    put_be(&mut image, 8, 8, 512);
    put_be(&mut image, 16, 4, target.len() as u64);
    image[512..512 + target.len()].copy_from_slice(target.as_bytes());
    image
}

fn qcow2_data_file(target: &str) -> Vec<u8> {
    let mut image = qcow2();
    put_be(&mut image, 72, 8, 4);
    put_be(&mut image, 104, 4, 0x4441_5441);
    put_be(&mut image, 108, 4, target.len() as u64);
    image[112..112 + target.len()].copy_from_slice(target.as_bytes());
    image
}

pub(super) fn vmdk(extent: &str, parent: &str) -> Vec<u8> {
    let (cid, hint) = if parent.is_empty() {
        ("ffffffff", String::new())
    } else {
        ("12345678", format!("parentFileNameHint=\"{parent}\"\n"))
    };
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID={cid}\ncreateType=\"monolithicFlat\"\n{hint}\n\
         # Extent description\n{extent}\n\n# The Disk Data Base\nddb.adapterType = \"ide\"\n"
    )
    .into_bytes()
}

/// A footer with its sum; `kind` 3 is dynamic and 4 differencing.
pub(super) fn vhd_footer(kind: u64, size: u64) -> Vec<u8> {
    let mut footer = vec![0; 512];
    footer[..8].copy_from_slice(b"conectix");
    for (at, width, value) in
        [(8, 4, 2), (12, 4, 0x1_0000), (16, 8, 512), (40, 8, size), (48, 8, size), (60, 4, kind)]
    {
        put_be(&mut footer, at, width, value);
    }
    vhd_sum(&mut footer, 64);
    footer
}

pub(super) fn vhd_sum(bytes: &mut [u8], at: usize) {
    put_be(bytes, at, 4, 0);
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    put_be(bytes, at, 4, u64::from(!u32::try_from(sum).expect("few bytes")));
}

pub(super) fn vhd_dynamic(kind: u64) -> Vec<u8> {
    let mut image = vhd_footer(kind, 4 << 20);
    let mut header = vec![0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    for (at, width, value) in
        [(8, 8, u64::MAX), (16, 8, 1536), (24, 4, 0x1_0000), (28, 4, 2), (32, 4, 2 << 20)]
    {
        put_be(&mut header, at, width, value);
    }
    vhd_sum(&mut header, 36);
    image.extend(header);
    image.extend([0xff; 512]);
    image
}

fn vhd_differencing(target: &str) -> Vec<u8> {
    let mut image = vhd_dynamic(4);
    let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let header = &mut image[512..1536];
    header[64..64 + name.len().min(512)].copy_from_slice(&name[..name.len().min(512)]);
    header[576..580].copy_from_slice(b"W2ku");
    let wide: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (at, width, value) in [(580, 4, 512), (584, 4, wide.len() as u64), (592, 8, 2048)] {
        put_be(header, at, width, value);
    }
    vhd_sum(header, 36);
    let mut locator = wide;
    locator.resize(512, 0);
    image.extend(locator);
    image.extend(vhd_footer(4, 4 << 20));
    image
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

fn ovf(target: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\"?>\n<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\">\n\
         <References><File ovf:id=\"f\" ovf:href=\"{}\"/></References>\n\
         <DiskSection><Info>i</Info><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\" ovf:capacity=\"1048576\"/></DiskSection>\n\
         <VirtualSystem ovf:id=\"vm\"><Info>i</Info></VirtualSystem></Envelope>\n",
        xml(target)
    )
    .into_bytes()
}

fn vmx(target: &str) -> Vec<u8> {
    let quoted = target.replace('"', "|22");
    format!(
        ".encoding = \"UTF-8\"\nconfig.version = \"8\"\nvirtualHW.version = \"19\"\ndisplayName = \"vm\"\n\
         scsi0.present = \"TRUE\"\nscsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"{quoted}\"\n"
    )
    .into_bytes()
}

fn vbox(target: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\"?>\n<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.19-linux\">\n\
         <Machine uuid=\"{{11111111-1111-1111-1111-111111111111}}\" name=\"vm\">\n<MediaRegistry><HardDisks>\n\
         <HardDisk uuid=\"{{22222222-2222-2222-2222-222222222222}}\" location=\"{}\" format=\"VDI\" type=\"Normal\"/>\n\
         </HardDisks></MediaRegistry>\n<Hardware/><StorageControllers><StorageController name=\"S\" type=\"AHCI\" \
         PortCount=\"1\"><AttachedDevice type=\"HardDisk\" port=\"0\" device=\"0\">\
         <Image uuid=\"{{22222222-2222-2222-2222-222222222222}}\"/></AttachedDevice></StorageController>\
         </StorageControllers></Machine></VirtualBox>\n",
        xml(target)
    )
    .into_bytes()
}

fn libvirt(kind: &str, attribute: &str, target: &str) -> Vec<u8> {
    format!(
        "<domain type='kvm'><name>vm</name><memory>1024</memory><os><type>hvm</type></os><devices>\
         <disk type='{kind}' device='disk'><driver name='qemu' type='raw'/><source {attribute}=\"{}\"/>\
         <target dev='vda'/></disk></devices></domain>\n",
        xml(target)
    )
    .into_bytes()
}

/// A little-endian writer for those who need one beside the above.
pub(super) fn put(bytes: &mut [u8], at: usize, width: usize, value: u64, big: bool) {
    if big { put_be(bytes, at, width, value) } else { put_le(bytes, at, width, value) }
}
