//! `airlock key`.

use super::Context;
use crate::cli::Format;
use crate::failure::{Code, Failure};
use crate::{output, site};

/// Runs the verb.
pub(crate) fn run(context: Context) -> Result<Code, Failure> {
    let key = site::signing_key(&site::home()?)?.public();
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.key/1", "key": key.to_string(), "keyid": key.keyid(),
        }))?,
        Format::Table => output::print(&format!("{key}\n"))?,
    }
    Ok(Code::Clean)
}
