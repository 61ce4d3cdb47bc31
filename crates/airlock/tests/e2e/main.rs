//! The command, end to end, with real parts: `mke2fs`, `debugfs`, `e2fsck`, `qemu-img`,
//! a real distribution and a guest that boots. Nothing is skipped: a tool that is
//! missing fails its tests with the name of its package.
#![forbid(unsafe_code)]

mod bed;
mod bundle;
mod cells;
mod content;
mod criteria;
mod crowd;
mod demo;
mod described;
mod disk_faults;
mod doctor;
mod early;
mod errors;
mod evasion;
mod false_director;
mod help;
mod hostile;
mod inventory;
mod jail;
mod judges;
mod large;
mod layers;
mod lied_to;
mod manager;
mod memo;
mod mutations;
mod nbd;
mod policy;
mod progress;
mod raw_device;
mod remote;
mod repatriation;
mod reports;
mod resume;
mod rules;
mod scan;
mod scrub;
mod service;
mod signatures;
mod sites;
mod support;
mod sweep;
mod threats;
mod transfer;
mod units;
mod verify;
