//! The detectors that come with the product, and their rules.
//!
//! A rule is a file under `rules/`: what is looked for, the tables that the detector
//! needs, words that raise or lower the confidence, and examples that the tests run.

pub mod context;
pub(crate) mod document;
pub(crate) mod labelled;
pub mod rule;
#[cfg(test)]
mod tests;

use airlock_inspect::Detector;

/// Changes whenever the code of the engine or of a detector changes what is found.
pub const ENGINE_VERSION: &str = "airlock.detectors/3";

/// Every rule file: its name and its text.
pub const RULES: &[(&str, &str)] = &[
    ("financial/aba", include_str!("../../../rules/financial/aba.yaml")),
    ("financial/iban", include_str!("../../../rules/financial/iban.yaml")),
    ("financial/pan", include_str!("../../../rules/financial/pan.yaml")),
    ("financial/pan_test", include_str!("../../../rules/financial/pan_test.yaml")),
    ("financial/swift_bic", include_str!("../../../rules/financial/swift_bic.yaml")),
    ("financial/track1", include_str!("../../../rules/financial/track1.yaml")),
    ("financial/track2", include_str!("../../../rules/financial/track2.yaml")),
    ("financial/us_bank_account", include_str!("../../../rules/financial/us_bank_account.yaml")),
    ("financial/camt", include_str!("../../../rules/financial/camt.yaml")),
    ("financial/mt940", include_str!("../../../rules/financial/mt940.yaml")),
    ("financial/nacha", include_str!("../../../rules/financial/nacha.yaml")),
    ("financial/ofx", include_str!("../../../rules/financial/ofx.yaml")),
    ("financial/qif", include_str!("../../../rules/financial/qif.yaml")),
    ("financial/x937", include_str!("../../../rules/financial/x937.yaml")),
    ("health/ccda", include_str!("../../../rules/health/ccda.yaml")),
    ("health/dicom", include_str!("../../../rules/health/dicom.yaml")),
    ("health/fhir", include_str!("../../../rules/health/fhir.yaml")),
    ("health/hl7v2", include_str!("../../../rules/health/hl7v2.yaml")),
    ("health/ncpdp", include_str!("../../../rules/health/ncpdp.yaml")),
    ("health/x12_270", include_str!("../../../rules/health/x12_270.yaml")),
    ("health/x12_271", include_str!("../../../rules/health/x12_271.yaml")),
    ("health/x12_834", include_str!("../../../rules/health/x12_834.yaml")),
    ("health/x12_835", include_str!("../../../rules/health/x12_835.yaml")),
    ("health/x12_837", include_str!("../../../rules/health/x12_837.yaml")),
    ("health/dea", include_str!("../../../rules/health/dea.yaml")),
    ("health/cpt", include_str!("../../../rules/health/cpt.yaml")),
    ("health/icd10", include_str!("../../../rules/health/icd10.yaml")),
    ("health/mbi", include_str!("../../../rules/health/mbi.yaml")),
    ("health/mrn", include_str!("../../../rules/health/mrn.yaml")),
    ("health/nhs_number", include_str!("../../../rules/health/nhs_number.yaml")),
    ("health/npi", include_str!("../../../rules/health/npi.yaml")),
    ("regulated/driver_license", include_str!("../../../rules/regulated/driver_license.yaml")),
    ("regulated/national_id:au_tfn", include_str!("../../../rules/regulated/national_id/au_tfn.yaml")),
    ("regulated/national_id:be_nn", include_str!("../../../rules/regulated/national_id/be_nn.yaml")),
    ("regulated/national_id:br_cnpj", include_str!("../../../rules/regulated/national_id/br_cnpj.yaml")),
    ("regulated/national_id:br_cpf", include_str!("../../../rules/regulated/national_id/br_cpf.yaml")),
    ("regulated/national_id:ca_sin", include_str!("../../../rules/regulated/national_id/ca_sin.yaml")),
    ("regulated/national_id:ch_ahv", include_str!("../../../rules/regulated/national_id/ch_ahv.yaml")),
    ("regulated/national_id:cn_ric", include_str!("../../../rules/regulated/national_id/cn_ric.yaml")),
    ("regulated/national_id:de_idnr", include_str!("../../../rules/regulated/national_id/de_idnr.yaml")),
    ("regulated/national_id:es_dni", include_str!("../../../rules/regulated/national_id/es_dni.yaml")),
    ("regulated/national_id:fr_nir", include_str!("../../../rules/regulated/national_id/fr_nir.yaml")),
    (
        "regulated/national_id:in_aadhaar",
        include_str!("../../../rules/regulated/national_id/in_aadhaar.yaml"),
    ),
    ("regulated/national_id:it_cf", include_str!("../../../rules/regulated/national_id/it_cf.yaml")),
    ("regulated/national_id:mx_curp", include_str!("../../../rules/regulated/national_id/mx_curp.yaml")),
    ("regulated/national_id:nl_bsn", include_str!("../../../rules/regulated/national_id/nl_bsn.yaml")),
    ("regulated/national_id:pl_pesel", include_str!("../../../rules/regulated/national_id/pl_pesel.yaml")),
    ("regulated/national_id:se_pnr", include_str!("../../../rules/regulated/national_id/se_pnr.yaml")),
    ("regulated/national_id:uk_nino", include_str!("../../../rules/regulated/national_id/uk_nino.yaml")),
    ("regulated/national_id:za_id", include_str!("../../../rules/regulated/national_id/za_id.yaml")),
    ("regulated/passport", include_str!("../../../rules/regulated/passport.yaml")),
    ("regulated/us_itin", include_str!("../../../rules/regulated/us_itin.yaml")),
    ("regulated/us_ssn", include_str!("../../../rules/regulated/us_ssn.yaml")),
    ("secrets/aws_key", include_str!("../../../rules/secrets/aws_key.yaml")),
    ("secrets/azure_storage_key", include_str!("../../../rules/secrets/azure_storage_key.yaml")),
    ("secrets/github_token", include_str!("../../../rules/secrets/github_token.yaml")),
    ("secrets/gitlab_token", include_str!("../../../rules/secrets/gitlab_token.yaml")),
    ("secrets/google_api_key", include_str!("../../../rules/secrets/google_api_key.yaml")),
    ("secrets/jwt", include_str!("../../../rules/secrets/jwt.yaml")),
    ("secrets/kubeconfig", include_str!("../../../rules/secrets/kubeconfig.yaml")),
    ("secrets/netrc", include_str!("../../../rules/secrets/netrc.yaml")),
    ("secrets/npm_token", include_str!("../../../rules/secrets/npm_token.yaml")),
    ("secrets/password_hash", include_str!("../../../rules/secrets/password_hash.yaml")),
    ("secrets/pypi_token", include_str!("../../../rules/secrets/pypi_token.yaml")),
    ("secrets/slack_token", include_str!("../../../rules/secrets/slack_token.yaml")),
    ("secrets/stripe_key", include_str!("../../../rules/secrets/stripe_key.yaml")),
    ("secrets/private_key", include_str!("../../../rules/secrets/private_key.yaml")),
    ("malware/eicar", include_str!("../../../rules/malware/eicar.yaml")),
];

/// Returns the detectors that `wanted` accepts.
///
/// Where several could claim one value, the surest has it, and of these the first.
pub fn builtin(wanted: impl Fn(&dyn Detector) -> bool) -> Vec<Box<dyn Detector>> {
    let single: [Box<dyn Detector>; 10] = [
        Box::new(crate::financial::Track1::new()),
        Box::new(crate::financial::Track2::new()),
        Box::new(crate::financial::Pan::new()),
        Box::new(crate::financial::Iban::new()),
        Box::new(crate::regulated::UsSsn::new()),
        Box::new(crate::regulated::UsItin::new()),
        Box::new(crate::financial::SwiftBic::new()),
        Box::new(crate::regulated::Passport::new()),
        Box::new(crate::secrets::PrivateKey::new()),
        Box::new(crate::malware::Eicar::new()),
    ];
    let all = single
        .into_iter()
        .chain(crate::financial::bank_numbers())
        .chain(crate::financial::statements())
        .chain(crate::health::identifiers())
        .chain(crate::health::codes())
        .chain(crate::health::documents())
        .chain(crate::regulated::national_ids())
        .chain([crate::regulated::driver_license()])
        .chain(crate::secrets::tokens());
    all.filter(|detector| wanted(&**detector)).collect()
}

/// Returns what identifies the rules: BLAKE3 of [`ENGINE_VERSION`] and every rule file.
/// Verdicts may be remembered as long as it stays the same.
pub fn rules_digest() -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(ENGINE_VERSION.as_bytes());
    for (name, text) in RULES {
        for part in [name, text] {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().into()
}
