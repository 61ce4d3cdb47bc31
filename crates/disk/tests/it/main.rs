//! Image formats against `qemu-img`, through the crate's boundary.

mod chain;
mod fixture;
mod mutate;
mod qcow2;
mod raw;
mod writer;
