//! TLS towards origins: whom a server has to be, and who this node is to it.
//!
//! What always holds: a server is verified by name and issuer, unless the operator has
//! said that it is not to be; nothing of a request is sent before that. A response that
//! ends without the server having said so (close_notify) has broken off.
//!
//! What it never does: look at what is sent.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xxhash_rust::xxh3::Xxh3;

/// How the servers of an origin are to be verified, and what they are shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A file of certificates in PEM that alone are trusted; those of the system without.
    pub ca: Option<PathBuf>,
    /// The name that a server has to prove; the one by which it was found without.
    pub name: Option<String>,
    /// A file with the certificate that servers are shown, and those it was issued with.
    pub certificate: Option<PathBuf>,
    /// A file with its private key.
    pub key: Option<PathBuf>,
    /// Whether servers are verified at all.
    pub verify: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { ca: None, name: None, certificate: None, key: None, verify: true }
    }
}

/// What is needed to speak TLS with the servers of an origin; cheap to clone. Two are the
/// same if their settings and the contents of their files are.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    settings: Settings,
    contents: u64,
}

/// Settings that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unusable {
    /// Which of the settings, such as `tls_ca`.
    pub setting: &'static str,
    /// What is wrong, without a full stop.
    pub problem: String,
    /// What to do, as a sentence.
    pub cure: &'static str,
}

/// In which way a handshake has failed; RFC 9209 tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The server's certificate is not good enough.
    Certificate,
    /// The server has said no.
    Alert,
    /// It does not speak TLS as it should.
    Protocol,
}

impl Tls {
    /// Reads the files, and checks that all of it fits together.
    pub fn new(settings: &Settings) -> Result<Self, Unusable> {
        let Settings { ca, name, certificate, key, verify } = settings;
        let mut contents = Xxh3::new();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("url", error.to_string(), "Give an http:// URL."))?;
        if let Some(name) = name
            && ServerName::try_from(name.as_str()).is_err()
        {
            return Err(unusable(
                "tls_name",
                "not a name that a certificate can have".to_owned(),
                "Write a host name or an address.",
            ));
        }
        let builder = if *verify {
            builder.with_root_certificates(roots(ca.as_deref(), &mut contents)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        let mut config = match (certificate, key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("tls_certificate", certificate, &mut contents)?;
                let key = private_key(key, &mut contents)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    unusable(
                        "tls_key",
                        error.to_string(),
                        "Give the private key of the first certificate in tls_certificate.",
                    )
                })?
            }
            (Some(_), None) => {
                return Err(unusable(
                    "tls_certificate",
                    "a certificate without its key".to_owned(),
                    "Set tls_key as well.",
                ));
            }
            (None, Some(_)) => {
                return Err(unusable(
                    "tls_key",
                    "a key without a certificate".to_owned(),
                    "Set tls_certificate as well.",
                ));
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), settings: settings.clone(), contents: contents.digest() })
    }

    /// The settings it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins to speak TLS with a server that was found by this name.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<TlsStream<TcpStream>, (Trouble, String)> {
        let name = self.settings.name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| (Trouble::Protocol, format!("{name:?} is no name that a certificate can have")))?;
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream);
        connecting.await.map_err(|error| {
            trouble(&error)
                .unwrap_or_else(|| (Trouble::Protocol, format!("the handshake broke off: {error}")))
        })
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.contents == other.contents
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// What a failed read or write says of TLS, if it does, in an operator's words.
pub(super) fn trouble(error: &io::Error) -> Option<(Trouble, String)> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(why) => (Trouble::Certificate, in_words(why)),
        rustls::Error::NoCertificatesPresented => {
            (Trouble::Certificate, "the server shows no certificate".to_owned())
        }
        rustls::Error::AlertReceived(alert) => (Trouble::Alert, format!("the server refuses: {alert:?}")),
        rustls::Error::InvalidMessage(_) => {
            (Trouble::Protocol, "what the server sends is no TLS; is it an http:// origin?".to_owned())
        }
        other => (Trouble::Protocol, other.to_string()),
    })
}

fn in_words(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "nobody who is trusted has issued the server's certificate (tls_ca says whom to trust)".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the server's certificate is for another name (tls_name says for which it should be): {why}"
            )
        }
        other => format!("the server's certificate is not good: {other}"),
    }
}

fn unusable(setting: &'static str, problem: String, cure: &'static str) -> Unusable {
    Unusable { setting, problem, cure }
}

fn read(setting: &'static str, path: &Path, contents: &mut Xxh3) -> Result<Vec<u8>, Unusable> {
    let bytes = std::fs::read(path).map_err(|error| {
        unusable(
            setting,
            format!("{} cannot be read: {error}", path.display()),
            "Give a file that forebay may read.",
        )
    })?;
    contents.update(&bytes);
    Ok(bytes)
}

/// The certificates in a file, of which there has to be one at least.
fn certificates(
    setting: &'static str,
    path: &Path,
    contents: &mut Xxh3,
) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let cure = "Give a file with certificates in PEM (-----BEGIN CERTIFICATE-----).";
    let bytes = read(setting, path, contents)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| unusable(setting, format!("{}: {error}", path.display()), cure))?;
    if all.is_empty() {
        return Err(unusable(setting, format!("no certificate in {}", path.display()), cure));
    }
    Ok(all)
}

fn private_key(path: &Path, contents: &mut Xxh3) -> Result<PrivateKeyDer<'static>, Unusable> {
    let bytes = read("tls_key", path, contents)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let cure = "Give a file with an unencrypted private key in PEM (-----BEGIN PRIVATE KEY-----).";
        unusable("tls_key", format!("no private key in {}: {error}", path.display()), cure)
    })
}

/// Who is trusted.
fn roots(ca: Option<&Path>, contents: &mut Xxh3) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let problem = "this system trusts nobody".to_owned();
            return Err(unusable(
                "url",
                problem,
                "Install ca-certificates, or set tls_ca to those that are to be trusted.",
            ));
        }
        return Ok(roots);
    };
    for certificate in certificates("tls_ca", path, contents)? {
        roots.add(certificate).map_err(|error| {
            unusable(
                "tls_ca",
                format!("{}: {error}", path.display()),
                "Give certificates that others can be issued with.",
            )
        })?;
    }
    Ok(roots)
}

/// Takes any certificate; what it proves is only that the server has its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
