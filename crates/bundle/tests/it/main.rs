//! Bundles made of real images, and which files the opening of hostile ones reaches.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod bundles;
mod traced;
