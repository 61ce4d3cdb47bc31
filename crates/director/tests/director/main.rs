//! A director, from the first frame to the record.

mod arrival;
mod early;
mod liar;
mod lies;
mod manager;
mod raw;
mod recovery;
mod site;
mod worker;
