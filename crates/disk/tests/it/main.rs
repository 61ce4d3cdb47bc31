//! Image formats against `qemu-img`, through the crate's boundary.
#![expect(
    clippy::cast_possible_truncation,
    clippy::large_stack_arrays,
    reason = "test disks are small, and so are their offsets"
)]

mod chain;
mod extras;
mod fixture;
mod mutate;
mod qcow2;
mod raw;
mod sparse;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
mod writer;
