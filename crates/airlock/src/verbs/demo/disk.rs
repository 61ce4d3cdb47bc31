//! The demo's VM disk: a small ext4 with planted files. All values are made up.

use super::{is_installed, program};
use crate::failure::{Code, Failure};
use std::path::Path;

/// An image that `assets/make-demo-image.sh` made, for machines without mke2fs.
const BUILT_IN: &[u8] = include_bytes!("../../../assets/demo.img.zst");
/// Size of the disk in bytes.
const DISK_BYTES: u64 = 16 << 20;

/// Makes the image with mke2fs, or unpacks the one that comes with the program. Says which.
pub(super) fn make(image: &Path, tree: &Path) -> Result<&'static str, Failure> {
    if !is_installed("mke2fs") {
        return unpack(image);
    }
    build(image, tree)?;
    Ok("ext4, made with mke2fs")
}

/// Unpacks the image that comes with the program.
pub(super) fn unpack(image: &Path) -> Result<&'static str, Failure> {
    let bytes = zstd::bulk::decompress(BUILT_IN, usize::try_from(DISK_BYTES).unwrap_or_default())
        .map_err(|error| Failure::new(Code::Error, format!("the built-in image is damaged: {error}")))?;
    std::fs::write(image, bytes).map_err(|error| Failure::io("write", image, &error))?;
    Ok("ext4, unpacked from the program")
}

/// Makes the image with mke2fs from a folder of planted files.
pub(super) fn build(image: &Path, tree: &Path) -> Result<(), Failure> {
    plant(tree)?;
    let status = std::process::Command::new(program("mke2fs"))
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-d"])
        .arg(tree)
        .arg(image)
        .arg(format!("{}k", DISK_BYTES / 1024))
        .stdout(std::process::Stdio::null())
        .status()
        .map_err(|error| Failure::new(Code::Error, format!("cannot run mke2fs: {error}")))?;
    if !status.success() {
        return Err(Failure::new(Code::Error, format!("mke2fs failed: {status}")));
    }
    Ok(())
}

fn plant(tree: &Path) -> Result<(), Failure> {
    let mut numbers = Numbers(20_261_122);
    let mut orders = String::from("order,customer,card number,expires,amount\n");
    for order in 1..=40 {
        let card = numbers.card("4", 16);
        orders += &format!("{order},Customer {order},{card},{:02}/29,{order}.90\n", order % 12 + 1);
    }
    let note = format!("Called back. Her credit card: {}\nLikes blue.\n", numbers.card("52", 16));
    let wide: Vec<u8> = note.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let staff = format!("name,social security number\nA. Person,{}\n", numbers.ssn());
    let eicar = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE", "!$H+H*"].concat();
    let readme = "Nothing to see here.\n".repeat(2000);
    let files: [(&str, &[u8]); 6] = [
        ("srv/shop/orders.csv", orders.as_bytes()),
        ("home/anna/note.txt", &wide),
        ("srv/hr/staff.csv", staff.as_bytes()),
        ("srv/incoming/attachment.com", eicar.as_bytes()),
        ("usr/share/doc/readme.txt", readme.as_bytes()),
        ("etc/hostname", b"demo\n"),
    ];
    for (name, bytes) in files {
        let path = tree.join(name);
        let folder = path.parent().unwrap_or(tree);
        std::fs::create_dir_all(folder).map_err(|error| Failure::io("create", folder, &error))?;
        std::fs::write(&path, bytes).map_err(|error| Failure::io("write", &path, &error))?;
    }
    Ok(())
}

/// Makes up numbers, the same ones every time (a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn digit(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((self.0 >> 33) % 10).unwrap_or(0)
    }

    /// Makes up a card number with a right check digit.
    fn card(&mut self, prefix: &str, length: usize) -> String {
        let mut digits: Vec<u8> = prefix.bytes().map(|byte| byte - b'0').collect();
        while digits.len() < length - 1 {
            digits.push(self.digit());
        }
        let double = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
        let weighed = digits.iter().rev().enumerate();
        let sum: u32 =
            weighed.map(|(at, &digit)| u32::from(if at % 2 == 0 { double(digit) } else { digit })).sum();
        digits.push(u8::try_from((10 - sum % 10) % 10).unwrap_or(0));
        digits.into_iter().map(|digit| char::from(b'0' + digit)).collect()
    }

    fn ssn(&mut self) -> String {
        let mut three = || 100 + u32::from(self.digit()) * 10 + u32::from(self.digit());
        let (area, group, serial) = (three(), three() % 89 + 10, three() * 9 + 1000);
        format!("{area:03}-{group:02}-{serial:04}")
    }
}
