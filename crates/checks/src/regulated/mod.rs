//! National identifiers.

mod check_digit;
mod driver_license;
mod national_id;
mod passport;
mod us_ssn;

pub(crate) use check_digit::{digit, number, weighted};
pub(crate) use driver_license::driver_license;
pub(crate) use national_id::national_ids;
pub(crate) use passport::Passport;
pub(crate) use us_ssn::ssn_parts_valid;
pub use us_ssn::{UsItin, UsSsn};
