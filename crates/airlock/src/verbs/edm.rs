//! `airlock rules edm`.

use super::Context;
use crate::cli::{EdmArgs, Format};
use crate::failure::{Code, Failure};
use crate::{output, site};
use airlock_checks::exact::{Column, ExactBuilder};
use serde_json::json;
use zeroize::Zeroizing;

/// Longest row of a table, in bytes.
const ROW_BYTES_MAX: usize = 1 << 20;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &EdmArgs) -> Result<Code, Failure> {
    let key = match &args.exact_key {
        Some(path) => site::read_key(path)?,
        None => site::new_key()?,
    };
    let stem = args.table.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().or(stem).unwrap_or_default();
    let wrong = |text: String| Failure::new(Code::Error, format!("{}: {text}", args.table.display()));
    let mut table = csv::ReaderBuilder::new()
        .delimiter(delimiter(args.delimiter)?)
        .flexible(true)
        .from_path(&args.table)
        .map_err(|error| wrong(why(&error)))?;
    let header = table.byte_headers().map_err(|error| wrong(why(&error)))?.clone();
    let places = args.column.iter().chain(&args.also).map(|name| {
        let place = header.iter().position(|own| trimmed(own) == name.as_bytes());
        place.ok_or_else(|| {
            wrong(format!("there is no column {name:?}")).hint("its first row must name the columns")
        })
    });
    let places = places.collect::<Result<Vec<usize>, Failure>>()?;
    let column = |alone| move |name: &String| Column { name: name.clone(), alone };
    let columns = args.column.iter().map(column(true)).chain(args.also.iter().map(column(false))).collect();
    let failed = |error| Failure::of(Code::Error, &error);
    let mut builder = ExactBuilder::new(&name, columns, &key).map_err(failed)?;
    let mut row = csv::ByteRecord::new();
    let mut rows = 0_u64;
    while table.read_byte_record(&mut row).map_err(|error| wrong(why(&error)))? {
        if row.as_slice().len() > ROW_BYTES_MAX {
            return Err(wrong(format!("a row has more than {ROW_BYTES_MAX} bytes; is a quote not closed?")));
        }
        builder.add(places.iter().map(|place| row.get(*place).unwrap_or_default())).map_err(failed)?;
        rows += 1;
    }
    let passed_over = builder.passed_over();
    let bytes = Zeroizing::new(builder.finish(args.exact_key.is_some()).map_err(failed)?);
    output::write_private(&args.to, &bytes)?;
    let digest = format!("blake3:{}", blake3::hash(&bytes).to_hex());
    match context.format {
        Format::Json => output::json(&json!({
            "schema": "airlock.rules-edm/1", "result": { "code": 0 }, "name": name, "rows": rows,
            "passed_over": passed_over, "bytes": bytes.len(), "digest": digest,
            "key_apart": args.exact_key.is_some(),
        }))?,
        Format::Table => output::print(&format!(
            "{name}: {rows} rows, {passed_over} values passed over (too short or too long), {}\n{digest}\n",
            output::bytes(bytes.len() as u64)
        ))?,
    }
    if args.exact_key.is_none() {
        output::note(
            "note: the key is in the list: who has the list can try values; keep it as safe as the table",
        );
    }
    Ok(Code::Clean)
}

fn delimiter(character: char) -> Result<u8, Failure> {
    let fits = u8::try_from(character).ok().filter(u8::is_ascii);
    fits.ok_or_else(|| Failure::new(Code::Usage, "--delimiter must be a character of ASCII"))
}

/// Takes the byte order mark and spaces off a name.
fn trimmed(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name).trim_ascii()
}

/// Says what is wrong with a table, and nothing that is in it.
fn why(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => match error.position() {
            Some(position) => format!("row {} is no CSV", position.record() + 1),
            None => "it is no CSV".into(),
        },
    }
}
