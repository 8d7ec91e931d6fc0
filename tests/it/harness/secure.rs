//! TLS in front of a scripted origin, and certificates for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Origin;

/// Somebody who issues certificates.
pub struct Authority {
    /// Its own certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// A server that speaks TLS, and passes on to an origin what it gets.
pub struct Secure {
    /// Where it listens.
    pub address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
}

/// A directory that goes with its test.
pub struct Directory(PathBuf);

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name that is good.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_until(name, 2200)
    }

    /// A certificate for this name that is good until this year.
    pub fn issue_until(&self, name: &str, year: i32) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

impl Secure {
    /// In front of this origin, with this certificate; clients have to show one of
    /// `clients`, if that is given. With `cut` it ends connections without saying so.
    pub async fn start(origin: &Origin, issued: &Issued, clients: Option<&Authority>, cut: bool) -> Secure {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM"))
                    .expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
        let acceptor =
            TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let handshakes = Arc::<AtomicUsize>::default();
        let (counter, to) = (Arc::clone(&handshakes), origin.address());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counter) = (acceptor.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    let Ok(secure) = acceptor.accept(stream).await else { return };
                    counter.fetch_add(1, Ordering::Relaxed);
                    let mut behind = TcpStream::connect(to).await.expect("the origin");
                    let (mut from, mut into) = tokio::io::split(secure);
                    let (mut read, mut write) = behind.split();
                    let up = async {
                        let _ = tokio::io::copy(&mut from, &mut write).await;
                        let _ = write.shutdown().await;
                    };
                    let down = async {
                        let mut buffer = vec![0; 16 * 1024];
                        while let Ok(length @ 1..) = read.read(&mut buffer).await {
                            if into.write_all(&buffer[..length]).await.is_err() || into.flush().await.is_err()
                            {
                                return;
                            }
                        }
                        if !cut {
                            let _ = into.shutdown().await;
                        }
                    };
                    tokio::select! {
                        () = down => {}
                        () = async { up.await; std::future::pending().await } => {}
                    }
                });
            }
        });
        Secure { address, handshakes }
    }

    /// How many handshakes have come to their end.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }
}

impl Directory {
    /// An empty one.
    pub fn new() -> Directory {
        let path = std::env::temp_dir().join(super::rabbit::unique("forebay-tls"));
        std::fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    /// Writes a file; returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
