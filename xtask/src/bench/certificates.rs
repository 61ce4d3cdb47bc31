//! Certificates for the NBD tools, valid for a day.

use crate::run::output;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const AUTHORITY: &str = "cn = \"bench authority\"\nca\ncert_signing_key\nexpiration_days = 1\n";
const SERVER: &str = "cn = \"localhost\"\ndns_name = \"localhost\"\nip_address = \"127.0.0.1\"\n\
                      tls_www_server\nsigning_key\nencryption_key\nexpiration_days = 1\n";
const CLIENT: &str =
    "cn = \"bench client\"\ntls_www_client\nsigning_key\nencryption_key\nexpiration_days = 1\n";

/// Makes an authority, a server and a client in a folder, by the names that the tools expect.
pub(super) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).context("cannot create a folder for certificates")?;
    for (name, template) in [("ca", AUTHORITY), ("server", SERVER), ("client", CLIENT)] {
        let template_path = folder.join(format!("{name}.template"));
        fs::write(&template_path, template).context("cannot write a template")?;
        let key = folder.join(format!("{name}-key.pem"));
        output(
            Command::new("certtool").args(["--generate-privkey", "--key-type=ecdsa", "--outfile"]).arg(&key),
        )?;
        let mut command = Command::new("certtool");
        if name == "ca" {
            command.arg("--generate-self-signed");
        } else {
            command
                .arg("--generate-certificate")
                .arg("--load-ca-certificate")
                .arg(folder.join("ca-cert.pem"));
            command.arg("--load-ca-privkey").arg(folder.join("ca-key.pem"));
        }
        command.arg("--load-privkey").arg(&key).arg("--template").arg(&template_path);
        output(command.arg("--outfile").arg(folder.join(format!("{name}-cert.pem"))))?;
    }
    Ok(())
}
