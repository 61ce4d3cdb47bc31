//! Surveys of disks that real tools made, through the crate's boundary.

mod debugfs;
mod ext;
mod fixture;
mod mutate;
mod partition;
