//! `airlock serve-nbd`.

use super::Context;
use super::export::{is_disk, open_vault};
use crate::cli::{Format, ServeNbdArgs};
use crate::failure::{Code, Failure};
use crate::output;
use airlock_disk::{BlockSource, Part};
use airlock_nbd::{Address, Export, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ServeNbdArgs) -> Result<Code, Failure> {
    let director = open_vault(&args.vault)?;
    let vm = director.open_vm(&args.vm, args.generation)?;
    let exports: Vec<Export> = vm
        .space
        .iter()
        .filter(|(member, _)| is_disk(member))
        .map(|(member, extent)| {
            let disk: Arc<dyn BlockSource> = Arc::new(Part::new(Arc::clone(&vm.source), extent));
            Export { name: member.id.clone(), disk }
        })
        .collect();
    let names: Vec<String> = exports.iter().map(|export| export.name.clone()).collect();
    let bound = match &args.socket {
        Some(path) => Server::bind_unix(path, exports),
        None => Server::bind_tcp(&args.listen, exports),
    };
    let failed = |error: airlock_nbd::Error| {
        Failure::of(Code::Error, &error).hint("another --listen or --socket may be free")
    };
    let server = bound.map_err(failed)?;
    let uris: Vec<String> = match server.address().map_err(failed)? {
        Address::Tcp { host, port } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            names.iter().map(|name| format!("nbd://{host}:{port}/{name}")).collect()
        }
        Address::Unix(path) => {
            names.iter().map(|name| format!("nbd+unix:///{name}?socket={}", path.display())).collect()
        }
    };
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.serve-nbd/1", "vm": args.vm, "exports": uris,
        }))?,
        Format::Table => output::print(&format!(
            "serving {}, to be read:\n  {}\nnext: nbdinfo {}\n",
            args.vm,
            uris.join("\n  "),
            uris.first().map_or("", String::as_str)
        ))?,
    }
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(Code::Error, format!("cannot listen for interrupts: {error}")))?;
    server.run(&stop);
    output::note("stopped");
    Ok(Code::Clean)
}
