//! Bundles made of real images, as users have them.

use airlock_bundle::write::{ExportedDisk, libvirt, ovf};
use airlock_bundle::{Bundle, Error, Kind, Options, open};
use airlock_model::{Bus, Controller, Drive, Firmware, Machine, MemberKind, Nic};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with two raw disks to make bundles from.
struct Workshop(tempfile::TempDir);

const FIRST: usize = 3 << 20;
const SECOND: usize = 2 << 20;

fn content(seed: u8, bytes: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(&mut byte).collect()
}

impl Workshop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("first.raw"), content(1, FIRST)).unwrap();
        fs::write(folder.path().join("second.raw"), content(2, SECOND)).unwrap();
        fs::create_dir(folder.path().join("vm")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn qemu_img(&self, arguments: &[&str]) {
        let run = Command::new("qemu-img").current_dir(self.0.path()).args(arguments).output();
        let run = run.expect("qemu-img (Debian package qemu-utils)");
        assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    }

    fn open(&self, name: &str) -> Result<Bundle, Error> {
        open(&self.path(name), &Options::default())
    }
}

fn files(bundle: &Bundle) -> Vec<String> {
    let list = bundle.space.members().iter().filter_map(|member| match &member.kind {
        MemberKind::Files(files) => Some(files),
        MemberKind::Disk { .. } => None,
    });
    list.flatten().map(|file| String::from_utf8_lossy(&file.path).into_owned()).collect()
}

/// Checks that the disks are the first and the second one, and the files those.
fn check(bundle: &Bundle, kind: Kind, expected: &[&str]) {
    assert_eq!(bundle.kind, kind);
    let mut bytes = vec![0; FIRST + SECOND];
    bundle.source.read_at(0, &mut bytes).unwrap();
    assert!(bytes == [content(1, FIRST), content(2, SECOND)].concat(), "the content of the disks");
    assert_eq!(files(bundle), expected);
    let drives: Vec<_> = bundle.machine.iter().flat_map(|machine| &machine.drives).collect();
    assert!(drives.is_empty() || drives.len() == 2, "{drives:?}");
}

fn machine() -> Machine {
    Machine {
        name: "pay & roll <1>".into(),
        cpus: 4,
        memory_bytes: 3 << 30,
        firmware: Firmware::Uefi,
        secure_boot: true,
        guest: "Debian 12".into(),
        controllers: vec![
            Controller { bus: Bus::Scsi, model: "virtio-scsi".into() },
            Controller { bus: Bus::Sata, model: "AHCI".into() },
        ],
        drives: vec![
            Drive { disk: "disk0".into(), controller: 0, unit: 1 },
            Drive { disk: "disk1".into(), controller: 1, unit: 0 },
        ],
        nics: vec![Nic { mac: "52:54:00:aa:bb:cc".into(), model: "virtio".into(), network: "prod".into() }],
    }
}

fn exported(names: [&str; 2]) -> Vec<ExportedDisk> {
    let disk = |(number, name): (usize, &str)| ExportedDisk {
        id: format!("disk{number}"),
        file: name.into(),
        format: if name.ends_with("qcow2") { "qcow2" } else { "raw" },
        virtual_size: 1 << 20,
        file_size: 1 << 20,
    };
    names.into_iter().enumerate().map(disk).collect()
}

#[test]
fn what_is_written_as_ovf_and_libvirt_reads_the_same() {
    let shop = Workshop::new();
    shop.qemu_img(&["convert", "-O", "qcow2", "first.raw", "vm/first.qcow2"]);
    fs::copy(shop.path("second.raw"), shop.path("vm/second.raw")).unwrap();
    let disks = exported(["first.qcow2", "second.raw"]);
    shop.write("vm/vm.ovf", ovf(&machine(), &disks));
    let bundle = shop.open("vm/vm.ovf").unwrap();
    check(&bundle, Kind::Ovf, &["/vm.ovf"]);
    assert_eq!(bundle.machine, Some(machine()));
    fs::remove_file(shop.path("vm/vm.ovf")).unwrap();

    shop.write("vm/domain.xml", libvirt(&machine(), &disks));
    let bundle = shop.open("vm/domain.xml").unwrap();
    check(&bundle, Kind::Libvirt, &["/domain.xml"]);
    // A domain says neither the guest nor the model of a SATA controller.
    let mut expected = Machine { guest: String::new(), ..machine() };
    expected.controllers[1].model.clear();
    assert_eq!(bundle.machine, Some(expected));
    let folder = shop.open("vm").unwrap();
    check(&folder, Kind::Libvirt, &["/domain.xml"]);
}

#[test]
fn an_archive_is_read_where_it_lies_and_its_manifest_holds() {
    let shop = Workshop::new();
    let stream = ["-O", "vmdk", "-o", "subformat=streamOptimized"];
    for (from, to) in [("first.raw", "first.vmdk"), ("second.raw", "second.vmdk")] {
        shop.qemu_img(&[&["convert"], &stream[..], &[from, to]].concat());
    }
    shop.write("vm.ovf", ovf(&machine(), &exported(["first.vmdk", "second.vmdk"])));
    shop.write("vm.log", "a log");
    let mut sums = Command::new("sha256sum");
    let sums =
        sums.current_dir(shop.0.path()).args(["vm.ovf", "first.vmdk", "second.vmdk"]).output().unwrap();
    let line = |line: &str| line.split_once("  ").map(|(sum, name)| format!("SHA256({name})= {sum}\n"));
    let manifest: String = String::from_utf8(sums.stdout).unwrap().lines().filter_map(line).collect();
    shop.write("vm.mf", &manifest);
    let tar = |to: &str| {
        let names = ["vm.ovf", "vm.mf", "first.vmdk", "second.vmdk", "vm.log"];
        let run = Command::new("tar").current_dir(shop.0.path()).arg("cf").arg(to).args(names).status();
        assert!(run.unwrap().success());
    };
    tar("vm.ova");
    let bundle = shop.open("vm.ova").unwrap();
    check(&bundle, Kind::Ova, &["/vm.log", "/vm.mf", "/vm.ovf"]);
    assert_eq!(bundle.machine.as_ref().map(|machine| machine.cpus), Some(4));
    let mut log = vec![0; 5];
    bundle.source.read_at((FIRST + SECOND) as u64, &mut log).unwrap();
    assert_eq!(log, b"a log");

    shop.write("vm.mf", manifest.replace("= ", "= 00"));
    tar("wrong.ova");
    let error = shop.open("wrong.ova").unwrap_err().to_string();
    assert!(error.contains("digest"), "{error}");
    let whole = fs::read(shop.path("vm.ova")).unwrap();
    for length in [0, 512, 1000, whole.len() / 2] {
        shop.write("cut.ova", &whole[..length]);
        assert!(shop.open("cut.ova").is_err(), "cut at {length}");
    }
}

/// Archives as other tools write them: every kind of header, order and digest, and long names.
#[test]
fn archives_of_every_header_order_and_digest() {
    let shop = Workshop::new();
    let long = format!("{}/{}.vmdk", "d".repeat(90), "m".repeat(150));
    let stream = ["-O", "vmdk", "-o", "subformat=streamOptimized"];
    shop.write(&long, "");
    shop.qemu_img(&[&["convert"], &stream[..], &["first.raw", &long]].concat());
    shop.qemu_img(&[&["convert"], &stream[..], &["second.raw", "b.vmdk"]].concat());
    shop.qemu_img(&[&["convert"], &stream[..], &["first.raw", "a.vmdk"]].concat());
    shop.write("vm.cert", "SHA1(vm.mf)= 00\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    for (format, first) in [("v7", "a.vmdk"), ("ustar", "a.vmdk"), ("gnu", &long), ("pax", &long)] {
        shop.write("vm.ovf", ovf(&machine(), &exported([first, "b.vmdk"])));
        for digest in ["SHA1", "SHA256", "SHA512"] {
            let program = format!("{}sum", digest.to_ascii_lowercase());
            let mut sums = Command::new(program);
            let sums = sums.current_dir(shop.0.path()).args(["vm.ovf", first, "b.vmdk"]).output().unwrap();
            let sums = String::from_utf8(sums.stdout).unwrap();
            let line =
                |line: &str| line.split_once("  ").map(|(sum, name)| format!("{digest}({name})= {sum}\n"));
            shop.write("vm.mf", sums.lines().filter_map(line).collect::<String>());
            for order in [
                ["vm.ovf", "vm.mf", "vm.cert", first, "b.vmdk"],
                ["b.vmdk", first, "vm.cert", "vm.mf", "vm.ovf"],
                ["vm.mf", "b.vmdk", "vm.ovf", first, "vm.cert"],
            ] {
                let mut tar = Command::new("tar");
                tar.current_dir(shop.0.path()).arg(format!("--format={format}")).args(["-cf", "vm.ova"]);
                assert!(tar.args(order).status().unwrap().success());
                let bundle = shop.open("vm.ova").unwrap();
                let mut others = files(&bundle);
                others.sort();
                assert_eq!(others, ["/vm.cert", "/vm.mf", "/vm.ovf"], "{format} {digest} {order:?}");
                let mut bytes = vec![0; FIRST + SECOND];
                bundle.source.read_at(0, &mut bytes).unwrap();
                assert!(bytes == [content(1, FIRST), content(2, SECOND)].concat(), "{format} {digest}");
            }
        }
    }
}

#[test]
fn a_vmware_folder_with_a_snapshot() {
    let shop = Workshop::new();
    shop.qemu_img(&["convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", "first.raw", "vm/a.vmdk"]);
    shop.qemu_img(&["create", "-q", "-f", "vmdk", "-b", "a.vmdk", "-F", "vmdk", "vm/a-000001.vmdk"]);
    shop.qemu_img(&[
        "convert",
        "-O",
        "vmdk",
        "-o",
        "subformat=twoGbMaxExtentSparse",
        "second.raw",
        "vm/b.vmdk",
    ]);
    let vmx = "displayName = \"erp\"\nscsi0.present = \"TRUE\"\nscsi0:0.fileName = \"a-000001.vmdk\"\n\
               scsi0:1.fileName = \"b.vmdk\"\nmemsize = \"512\"\n";
    shop.write("vm/erp.vmx", vmx);
    for name in ["vmware.log", "erp.nvram", "erp.vmsd", "erp-1.vmsn", "erp.vmem"] {
        shop.write(&format!("vm/{name}"), name);
    }
    let expected = ["/erp-1.vmsn", "/erp.nvram", "/erp.vmem", "/erp.vmsd", "/erp.vmx", "/vmware.log"];
    check(&shop.open("vm/erp.vmx").unwrap(), Kind::Vmx, &expected);
    check(&shop.open("vm").unwrap(), Kind::Vmx, &expected);

    shop.write("vm/other.vmx", vmx);
    assert!(matches!(shop.open("vm"), Err(Error::Several { .. })));
    shop.write("vm/other.vmx", vmx.replace("b.vmdk", "../second.raw"));
    let error = shop.open("vm/other.vmx").unwrap_err();
    assert!(matches!(error, Error::Reference { .. }), "{error}");
    shop.write("vm/other.vmx", vmx.replace("b.vmdk", "/etc/passwd"));
    assert!(matches!(shop.open("vm/other.vmx"), Err(Error::Reference { .. })));
}

#[test]
fn a_libvirt_domain_elsewhere_needs_leave() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("images")).unwrap();
    shop.qemu_img(&["convert", "-O", "qcow2", "first.raw", "images/first.qcow2"]);
    fs::copy(shop.path("second.raw"), shop.path("images/second.raw")).unwrap();
    shop.write("images/vars.fd", "nvram");
    let images = shop.path("images");
    let name = |file: &str| images.join(file).display().to_string();
    let disks = [name("first.qcow2"), name("second.raw")];
    let xml = libvirt(&machine(), &exported([&disks[0], &disks[1]]));
    let nvram = format!("<nvram>{}</nvram></os>", name("vars.fd"));
    shop.write("etc/vm.xml", xml.replace("</os>", &nvram));
    let error = shop.open("etc/vm.xml").unwrap_err();
    assert!(matches!(error, Error::Reference { .. }), "{error}");
    let options = Options { allow_backing: Some(images.clone()), ..Options::default() };
    let bundle = open(&shop.path("etc/vm.xml"), &options).unwrap();
    check(&bundle, Kind::Libvirt, &["/vars.fd", "/vm.xml"]);
}

#[test]
fn a_virtualbox_machine_with_a_snapshot() {
    let shop = Workshop::new();
    shop.qemu_img(&["convert", "-O", "vdi", "first.raw", "vm/a.vdi"]);
    shop.qemu_img(&["convert", "-O", "vmdk", "second.raw", "vm/b.vmdk"]);
    let vbox = r#"<?xml version="1.0"?>
<VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux">
  <Machine uuid="{1}" name="erp" OSType="Debian_64">
    <MediaRegistry><HardDisks>
      <HardDisk uuid="{a}" location="a.vdi" format="VDI" type="Normal"/>
      <HardDisk uuid="{b}" location="b.vmdk" format="VMDK" type="Normal"/>
    </HardDisks></MediaRegistry>
    <Hardware><CPU count="3"/><Memory RAMSize="2048"/><Firmware type="EFI"/>
      <Network><Adapter slot="0" enabled="true" MACAddress="080027AABBCC" type="82540EM"><NAT/></Adapter>
        <Adapter slot="1" enabled="false"/></Network>
      <StorageControllers>
        <StorageController name="SATA" type="AHCI">
          <AttachedDevice type="HardDisk" port="1" device="0"><Image uuid="{b}"/></AttachedDevice>
          <AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="{a}"/></AttachedDevice>
          <AttachedDevice type="DVD" port="2" device="0"/>
        </StorageController>
      </StorageControllers>
    </Hardware>
  </Machine>
</VirtualBox>"#;
    shop.write("vm/erp.vbox", vbox);
    shop.write("vm/Logs/VBox.log", "log");
    let bundle = shop.open("vm").unwrap();
    check(&bundle, Kind::VirtualBox, &["/Logs/VBox.log", "/erp.vbox"]);
    let machine = bundle.machine.unwrap();
    assert_eq!((machine.cpus, machine.memory_bytes), (3, 2 << 30));
    assert_eq!((machine.nics.len(), machine.nics[0].mac.as_str()), (1, "08:00:27:aa:bb:cc"));
}

#[test]
fn a_hyper_v_export_and_a_set_of_images() {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path("vm/Virtual Hard Disks")).unwrap();
    for (from, to) in [("first.raw", "a"), ("second.raw", "b")] {
        shop.qemu_img(&["convert", "-O", "vhdx", from, &format!("vm/Virtual Hard Disks/{to}.vhdx")]);
    }
    let images = shop.open("vm").unwrap();
    check(&images, Kind::Images, &[]);
    shop.write("vm/Virtual Machines/1.vmcx", "opaque");
    let export = shop.open("vm").unwrap();
    check(&export, Kind::HyperV, &["/Virtual Machines/1.vmcx"]);
    assert_eq!(export.machine.map(|machine| machine.name), Some("vm".into()));
}

#[test]
fn folders_and_files_without_disks() {
    let shop = Workshop::new();
    shop.write("vm/a.txt", "one");
    shop.write("vm/sub/b.txt", "two");
    let folder = shop.open("vm").unwrap();
    assert_eq!((folder.kind, files(&folder)), (Kind::Folder, vec!["/a.txt".into(), "/sub/b.txt".into()]));
    let file = shop.open("vm/a.txt").unwrap();
    assert_eq!((file.kind, files(&file)), (Kind::File, vec!["/a.txt".into()]));
    assert!(matches!(open(Path::new("/nonexistent/x"), &Options::default()), Err(Error::NotFound(_))));
}

#[test]
fn descriptors_that_nobody_should_believe() {
    let shop = Workshop::new();
    let bomb = "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\">]><domain><devices/>&a;</domain>";
    let cases: [(&str, &[u8]); 7] = [
        ("bomb.xml", bomb.as_bytes()),
        ("empty.ovf", b""),
        ("odd.ovf", b"<Envelope/>"),
        ("odd.vbox", b"<VirtualBox/>"),
        ("odd.vmx", b"\xff\xfe\0scsi0:0.fileName = \"/etc/shadow\"\n= = =\n"),
        ("fifo.xml", b"<domain><devices><disk type='network'><source/></disk></devices></domain>"),
        ("text.ova", b"no archive at all"),
    ];
    for (name, bytes) in cases {
        shop.write(name, bytes);
        // An error or a bundle without what it should not have; never a panic.
        if let Ok(bundle) = shop.open(name) {
            assert!(bundle.space.members().iter().all(|member| member.id == "files"), "{name}");
        }
    }
}
