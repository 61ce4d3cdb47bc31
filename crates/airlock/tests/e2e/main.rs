//! The command, end to end, with real parts: `mke2fs`, `debugfs`, `e2fsck`, `qemu-img`,
//! a real distribution and a guest that boots. Nothing is skipped: a tool that is
//! missing fails its tests with the name of its package.
#![forbid(unsafe_code)]

mod bundle;
mod cells;
mod content;
mod criteria;
mod crowd;
mod demo;
mod described;
mod doctor;
mod errors;
mod evasion;
mod false_director;
mod help;
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
mod remote;
mod repatriation;
mod reports;
mod resume;
mod rules;
mod scan;
mod service;
mod signatures;
mod sites;
mod support;
mod threats;
mod transfer;
mod units;
mod verify;
