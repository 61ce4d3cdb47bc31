//! Surveys of disks that real tools made, through the crate's boundary.

mod btrfs;
mod debugfs;
mod exfat;
mod ext;
mod fat;
mod fixture;
mod iso9660;
mod journal;
mod large;
mod managers;
mod mount;
mod mutate;
mod mutate_btrfs;
mod mutate_xfs;
mod ntfs;
mod partition;
mod squashfs;
mod xfs;
