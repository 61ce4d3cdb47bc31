//! Whole bundles: several disks, other files, and what the machine is.

use crate::support::{Bench, assert_identical, assert_no_residue, text_of};
use airlock_testkit::{PlantedDisk, PlantedDiskBuilder, Tool};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A made-up card number that passes its check digit.
const CARD: &str = "4539 1488 0343 6467";

/// A VMware folder: a disk with planted values, a clean one behind a snapshot, and logs.
fn folder(bench: &Bench) -> (PathBuf, PlantedDisk) {
    let planted = bench.planted(PlantedDiskBuilder::gpt);
    let vm = bench.path("vm");
    fs::create_dir(&vm).expect("folder");
    let qemu_img = |args: &[&str]| {
        Tool::new("qemu-img").expect("qemu-img").args(args).run().expect("qemu-img runs");
    };
    let path = |name: &str| vm.join(name).display().to_string();
    qemu_img(&["convert", "-O", "vmdk", &planted.image().display().to_string(), &path("root.vmdk")]);
    let clean: Vec<u8> = (0..3_u32 << 20).map(|at| at.to_be_bytes()[1] | 1).collect();
    fs::write(bench.path("clean.raw"), &clean).expect("write");
    let clean = bench.path("clean.raw").display().to_string();
    qemu_img(&["convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", &clean, &path("data.vmdk")]);
    qemu_img(&["create", "-q", "-f", "vmdk", "-b", "data.vmdk", "-F", "vmdk", &path("data-000001.vmdk")]);
    let vmx = "displayName = \"erp\"\nnumvcpus = \"4\"\nmemsize = \"2048\"\nfirmware = \"efi\"\n\
               scsi0:0.fileName = \"root.vmdk\"\nscsi0:1.fileName = \"data-000001.vmdk\"\n\
               ethernet0.present = \"TRUE\"\nethernet0.address = \"00:50:56:00:00:01\"\n";
    fs::write(vm.join("erp.vmx"), vmx).expect("write");
    fs::write(vm.join("vmware.log"), format!("started\ncard {CARD} \n")).expect("write");
    fs::write(vm.join("erp.nvram"), [7; 8684]).expect("write");
    (vm, planted)
}

fn member<'j>(json: &'j Value, id: &str) -> &'j Value {
    let disks = json.as_array().expect("disks");
    disks.iter().find(|disk| disk["id"] == id).unwrap_or_else(|| panic!("no {id} in {json}"))
}

/// Everything of a bundle is inspected at both sites, moves, and comes back with its description.
#[test]
fn a_bundle_moves_with_its_disks_its_files_and_its_description() {
    let bench = Bench::new();
    let (vm, planted) = folder(&bench);
    let scan = bench.airlock("scan").arg(&vm).arg("--policy").arg(bench.strict_policy()).expect(3).json();
    assert_eq!(scan["bundle"]["kind"], "vmx");
    assert_eq!(scan["bundle"]["machine"]["cpus"], 4);
    assert_eq!(scan["bundle"]["disks"].as_array().map(Vec::len), Some(2));
    let log = scan["findings"].as_array().expect("findings").iter().find(|one| one["path"] == "/vmware.log");
    let log = log.expect("the card in the log");
    assert_eq!((&log["disk"], &log["offset"]), (&Value::from("files"), &Value::from(13)));

    let dest = bench.path("dest");
    let ran = bench
        .airlock("transfer")
        .args([&vm, &dest])
        .args(["--on-fail", "withhold", "--name", "erp", "--policy"])
        .arg(bench.strict_policy())
        .expect(3);
    ran.assert_shows_no_value(&bench, planted.planted());
    let json = ran.json();
    assert_no_residue(&dest, planted.planted());
    let evidence = text_of(&json["evidence"]).to_owned();
    bench.airlock("verify").arg(&evidence).arg("--vault").arg(&dest).expect(0);

    let out = bench.path("out");
    bench
        .airlock("export")
        .args(["erp", "--image-format", "raw", "--to"])
        .arg(&out)
        .arg("--vault")
        .arg(&dest)
        .expect(0);
    assert_identical(&out.join("disk1.raw"), &bench.path("clean.raw"));
    assert_eq!(fs::read(out.join("files/erp.nvram")).expect("nvram"), [7; 8684]);
    let log = fs::read(out.join("files/vmware.log")).expect("log");
    assert!(log.iter().all(|byte| *byte == 0), "a held file reads as zeros");
    assert_no_residue(&out, planted.planted());
    for (file, expected) in [("machine.xml", "<vcpu>4</vcpu>"), ("machine.ovf", "00:50:56:00:00:01")] {
        let text = fs::read_to_string(out.join(file)).expect("a description");
        assert!(text.contains(expected), "{text}");
    }
    // What was written is a bundle again, and passes now.
    let again = bench.airlock("scan").arg(&out).arg("--policy").arg(bench.strict_policy()).expect(0).json();
    assert_eq!(again["bundle"]["machine"]["memory_bytes"], 2_u64 << 30);
    check_roots(&bench, &evidence, &scan, &again);
}

/// The record has a root for every disk, which is that of the scan where nothing is missing.
fn check_roots(bench: &Bench, evidence: &str, scan: &Value, again: &Value) {
    let shown = bench.airlock("verify").arg(evidence).expect(0).json();
    assert_eq!(shown["result"]["code"], 0);
    let root = |json: &Value, id: &str| text_of(&member(&json["bundle"]["disks"], id)["root"]).to_owned();
    assert_eq!(root(scan, "disk1"), root(again, "disk1"));
    assert_ne!(root(scan, "disk0"), root(again, "disk0"));
}

/// An OVA goes through as it lies, and one flipped byte in it is noticed where a manifest says so.
#[test]
fn an_ova_is_read_without_unpacking() {
    let bench = Bench::new();
    let (vm, _) = folder(&bench);
    fs::remove_file(vm.join("vmware.log")).expect("remove");
    let clean = bench.path("clean.raw").display().to_string();
    let disk = vm.join("clean.vmdk").display().to_string();
    let stream = ["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", &clean, &disk];
    Tool::new("qemu-img").expect("qemu-img").args(stream).run().expect("qemu-img runs");
    let ovf = r#"<Envelope xmlns:ovf="o" xmlns:rasd="r"><References><File ovf:id="f" ovf:href="clean.vmdk"/></References>
        <DiskSection><Disk ovf:diskId="d" ovf:fileRef="f" ovf:format="http://www.vmware.com/vmdk#streamOptimized"/></DiskSection>
        <VirtualSystem ovf:id="erp"><VirtualHardwareSection><Item><rasd:HostResource>ovf:/disk/d</rasd:HostResource>
        <rasd:ResourceType>17</rasd:ResourceType></Item></VirtualHardwareSection></VirtualSystem></Envelope>"#;
    fs::write(vm.join("erp.ovf"), ovf).expect("write");
    let ova = bench.path("erp.ova");
    let tar = |names: &[&str]| {
        let folder = vm.display().to_string();
        let to = ova.display().to_string();
        let args = [&["-C", folder.as_str(), "-cf", to.as_str()], names].concat();
        Tool::new("tar").expect("tar").args(args).run().expect("tar runs");
    };
    tar(&["erp.ovf", "clean.vmdk", "erp.nvram"]);
    let dest = bench.path("dest");
    let json = bench.airlock("transfer").args([&ova, &dest]).args(["--name", "erp"]).expect(0).json();
    bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&dest).expect(0);
    assert_identical(&bench.export("erp", &dest, "out.raw"), &bench.path("clean.raw"));
    let none = fs::read_dir(bench.path("")).expect("folder").filter_map(Result::ok);
    assert!(none.map(|entry| entry.path()).all(|path| !is_new_disk(&path)), "nothing was unpacked");

    fs::write(vm.join("erp.mf"), format!("SHA256(clean.vmdk)= {}\n", "00".repeat(32))).expect("write");
    tar(&["erp.ovf", "erp.mf", "clean.vmdk"]);
    let ran = bench.airlock("scan").arg(&ova).expect(1);
    assert!(ran.err.contains("digest"), "{}", ran.err);
}

fn is_new_disk(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "vmdk")
}
