//! National identifiers.

mod us_ssn;

pub(crate) use us_ssn::ssn_parts_valid;
pub use us_ssn::{UsItin, UsSsn};
