//! Who a peer is: certificates of a private authority.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// The name in every director's certificate. A manager trusts an authority, not a host.
pub(crate) const DIRECTOR_NAME: &str = "director.airlock.internal";

/// Why an identity could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Certificates could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The text holds no identity.
    #[error("not an identity file: {0}")]
    Read(&'static str),
}

/// A key, its certificate, and the authority that peers must be certified by:
/// three PEM blocks in one text.
pub struct Identity {
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) authority: CertificateDer<'static>,
}

impl Identity {
    /// Reads the PEM text of an identity: a private key, its certificate, the authority's.
    pub fn parse(pem: &str) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| IdentityError::Read("it has no private key"))?;
        let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        let mut next = || {
            certificates.next().and_then(Result::ok).ok_or(IdentityError::Read("it needs two certificates"))
        };
        Ok(Self { key, certificate: next()?, authority: next()? })
    }

    /// Returns the SHA-256 of the certificate, by which a director knows whom it has issued it to.
    pub fn certificate_digest(&self) -> String {
        digest_of(&self.certificate)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.certificate_digest())
    }
}

pub(crate) fn digest_of(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate.as_ref()))
}

/// A private certificate authority, as a director has one.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Makes a new authority. Returns it with the PEM text to keep: its key and certificate.
    pub fn create() -> Result<(Self, String), IdentityError> {
        let key = KeyPair::generate()?;
        let params = authority_params();
        let certificate_pem = params.self_signed(&key)?.pem();
        let keep = format!("{}{certificate_pem}", key.serialize_pem());
        Ok((Self { issuer: Issuer::new(params, key), certificate_pem }, keep))
    }

    /// Reads what [`Self::create`] gave to keep.
    pub fn parse(pem: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(pem)?;
        let start = pem.find("-----BEGIN CERTIFICATE").ok_or(IdentityError::Read("it has no certificate"))?;
        let certificate_pem = pem[start..].to_owned();
        Ok(Self { issuer: Issuer::new(authority_params(), key), certificate_pem })
    }

    /// Issues an identity for a director.
    pub fn issue_director(&self) -> Result<String, IdentityError> {
        self.issue(DIRECTOR_NAME, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues an identity for a manager; `name` is only for people.
    pub fn issue_manager(&self, name: &str) -> Result<String, IdentityError> {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Certifies the key of a certificate signing request in PEM, and nothing else of it.
    /// Returns the certificate and the SHA-256 of it.
    pub fn certify(&self, request_pem: &str, name: &str) -> Result<(String, String), IdentityError> {
        let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(|_| {
            IdentityError::Read("it is no certificate signing request with a right signature")
        })?;
        let params = end_params(name, ExtendedKeyUsagePurpose::ClientAuth)?;
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok((certificate.pem(), digest_of(certificate.der())))
    }

    /// Returns the authority's own certificate in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<String, IdentityError> {
        let key = KeyPair::generate()?;
        let certificate = end_params(name, purpose)?.signed_by(&key, &self.issuer)?;
        Ok(format!("{}{}{}", key.serialize_pem(), certificate.pem(), self.certificate_pem))
    }
}

/// What the certificate of a peer says.
fn end_params(name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::new(vec![DIRECTOR_NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    Ok(params)
}

/// What an authority's certificate says; issuing needs only this and the key.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Airlock private authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
