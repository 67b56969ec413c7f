//! A server that ends TLS in front of the embedded service, with a certificate of `fixtures/tls` (`make.sh` there makes them).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A file of the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures/tls", name].iter().collect()
}

/// The server; it ends with the test's runtime.
pub(crate) struct Secure {
    pub(crate) url: String,
    /// Connections whose handshake came to its end: before that nothing of a request has been sent.
    pub(crate) trusted: Arc<AtomicUsize>,
}

/// Passes what comes through TLS on to `to`.
pub(crate) async fn secure(certificate: &str, to: SocketAddr) -> Secure {
    let chain = vec![CertificateDer::from_pem_file(fixture(&format!("{certificate}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture(&format!("{certificate}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let trusted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&trusted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(mut inner) = acceptor.accept(stream).await else { return };
                count.fetch_add(1, Ordering::SeqCst);
                let mut outer = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    });
    Secure { url, trusted }
}
