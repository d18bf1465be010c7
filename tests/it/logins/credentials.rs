//! What logins are made of: a certificate authority, and the signed claims of a NATS operator.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer};
use serde_json::{Value, json};

/// A certificate authority that nobody else trusts, and a certificate of it for this machine.
pub(crate) struct Authority {
    /// Its own certificate, PEM.
    pub(crate) ca: PathBuf,
    /// A certificate for the loopback address, for servers and clients, PEM.
    pub(crate) certificate: PathBuf,
    /// The key of that certificate, PEM.
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path) -> anyhow::Result<Self> {
        let mut root = CertificateParams::new(Vec::new())?;
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = rcgen::KeyPair::generate()?;
        let ca = root.self_signed(&root_key)?.pem();
        let issuer = Issuer::new(root, root_key);
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let leaf_key = rcgen::KeyPair::generate()?;
        let certificate = leaf.signed_by(&leaf_key, &issuer)?.pem();
        let write = |name: &str, pem: &str| {
            let path = directory.join(name);
            std::fs::write(&path, pem).map(|()| path)
        };
        Ok(Self {
            ca: write("ca.pem", &ca)?,
            certificate: write("cert.pem", &certificate)?,
            key: write("key.pem", &leaf_key.serialize_pem())?,
        })
    }
}

/// The operator of a NATS server, with one account for work and one for the server itself.
pub(super) struct Operator {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Operator {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        })
    }

    /// Lines of the server's configuration.
    pub(super) fn settings(&self) -> anyhow::Result<String> {
        let (account, system) = (self.account.public_key(), self.system.public_key());
        let about_operator = json!({ "type": "operator", "version": 2, "system_account": system });
        Ok(format!(
            "operator: {}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{\n  {account}: {}\n  {system}: {}\n}}\n",
            claims(&self.operator, &self.operator, &about_operator)?,
            claims(&self.operator, &self.account, &about_account(-1))?,
            claims(&self.operator, &self.system, &about_account(0))?,
        ))
    }

    /// The credentials file of a new user of the account, and the seed in it.
    pub(super) fn user_credentials(&self) -> anyhow::Result<(String, String)> {
        let user = KeyPair::new_user();
        let about = json!({
            "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        });
        let (jwt, seed) = (claims(&self.account, &user, &about)?, user.seed()?);
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        Ok((file, seed))
    }
}

/// An account without limits; `storage` is -1 for JetStream without limits and 0 for none.
fn about_account(storage: i64) -> Value {
    json!({
        "type": "account", "version": 2,
        "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1, "mem_storage": storage, "disk_storage": storage,
            "streams": storage, "consumer": storage,
        },
        "default_permissions": { "pub": {}, "sub": {} },
    })
}

/// What `issuer` says about `subject`, signed.
fn claims(issuer: &KeyPair, subject: &KeyPair, about: &Value) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": subject.public_key(), "iat": now, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": about,
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&head), encode(&body));
    let signature = issuer.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
