//! A director, from the first frame to the record.

mod arrival;
mod manager;
mod worker;
