//! Certificates of the cluster: two authorities, and a client or serving certificate for every component.
//!
//! Kubernetes takes names from the subject: the organisation is the group, the common name the user
//! (<https://kubernetes.io/docs/setup/best-practices/certificates/>). A cluster lives shorter than any date here, so nothing is ever renewed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// Who a client certificate speaks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// User.
    pub(crate) common_name: &'a str,
    /// Group, if any.
    pub(crate) organization: Option<&'a str>,
}

/// An authority whose certificate and key lie as `NAME.crt` and `NAME.key` in a folder.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// Makes the authority and writes its files.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = distinguished(Subject {
            common_name: name,
            organization: None,
        });
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::CrlSign,
        ];
        let certificate = parameters.self_signed(&key).context("cannot sign an authority")?;
        write_pair(folder, name, &certificate.pem(), &key)?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            folder: folder.to_owned(),
        })
    }

    /// A client's certificate, written as `NAME.crt` and `NAME.key`.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub(crate) fn client(&self, name: &str, subject: Subject<'_>) -> Result<()> {
        self.issue(name, subject, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server's certificate for these names and addresses, written as `NAME.crt` and `NAME.key`.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub(crate) fn server(&self, name: &str, subject: Subject<'_>, alternative_names: &[&str]) -> Result<()> {
        self.issue(
            name,
            subject,
            alternative_names,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    fn issue(
        &self,
        name: &str,
        subject: Subject<'_>,
        alternative_names: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<()> {
        let names: Vec<String> = alternative_names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters =
            CertificateParams::new(names).with_context(|| format!("{name}: bad alternative names"))?;
        parameters.distinguished_name = distinguished(subject);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot sign {name}"))?;
        write_pair(&self.folder, name, &certificate.pem(), &key)
    }
}

/// The key that signs service accounts' tokens: `NAME.key`, and its public half `NAME.pub`.
///
/// # Errors
/// Where the folder cannot be written.
pub(crate) fn token_key(folder: &Path, name: &str) -> Result<()> {
    let key = KeyPair::generate().context("cannot make a key")?;
    write_private(&folder.join(name).with_extension("key"), &key.serialize_pem())?;
    write_private(&folder.join(name).with_extension("pub"), &key.public_key_pem())
}

fn distinguished(subject: Subject<'_>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = subject.organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, subject.common_name);
    name
}

fn write_pair(folder: &Path, name: &str, certificate: &str, key: &KeyPair) -> Result<()> {
    write_private(&folder.join(format!("{name}.crt")), certificate)?;
    write_private(&folder.join(format!("{name}.key")), &key.serialize_pem())
}

/// Only the owner may read it.
pub(crate) fn write_private(file: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = std::fs::OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}
