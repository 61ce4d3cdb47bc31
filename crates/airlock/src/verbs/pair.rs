//! `airlock pair`.

use super::Context;
use crate::cli::{Format, PairArgs};
use crate::failure::{Code, Failure};
use crate::output;
use airlock_link::{PairError, PairingCode, pair_with};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &PairArgs) -> Result<Code, Failure> {
    let code = PairingCode::parse(&args.code).map_err(|error| Failure::of(Code::Usage, &error))?;
    // Before the code is used up.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&args.to).map_err(|error| Failure::io("create", &args.to, &error))?;
    let paired = pair_with(&args.address, &code).map_err(|error| refused(&error)).and_then(|identity| {
        let written = file.write_all(identity.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| Failure::io("write", &args.to, &error))
    });
    if let Err(failure) = paired {
        // Nothing is in it that anybody needs; that it is there would only stop the next try.
        let _ = std::fs::remove_file(&args.to);
        return Err(failure);
    }
    match context.format {
        Format::Json => {
            output::json(&serde_json::json!({ "schema": "airlock.pair/1", "identity": args.to }))?;
        }
        Format::Table => output::print(&format!(
            "key and certificate are in {}\nnext: airlock transfer IMAGE airlock://{}/default --identity {}\n",
            args.to.display(),
            args.address,
            args.to.display()
        ))?,
    }
    Ok(Code::Clean)
}

fn refused(error: &PairError) -> Failure {
    let code = match error {
        PairError::Refused(_) => Code::NotAuthorised,
        _ => Code::Error,
    };
    let failure = Failure::of(code, error);
    match error {
        PairError::Refused(_) => {
            failure.hint("a code is good once and for a short time; ask for another one")
        }
        PairError::Link(_) => failure.hint("check the address, and that the code is of that director"),
        _ => failure,
    }
}
