//! National identifiers.

mod us_ssn;

pub use us_ssn::{UsItin, UsSsn};
pub(crate) use us_ssn::ssn_parts_valid;
