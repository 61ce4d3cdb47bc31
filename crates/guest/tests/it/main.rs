//! Surveys of disks that real tools made, through the crate's boundary.

mod ext;
mod fixture;
