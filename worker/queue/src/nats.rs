//! The connection to NATS.

mod error;

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{ConnectError, ConnectOptions, Event};
use clap::Args;

use runtime::settings::{ConfigFault, Secret, identifier, unreadable};
use runtime::wait::Wait;

use crate::denial;
pub use error::NatsError;
use error::{distrust, is_refusal};

/// Pings find a half-open connection within 30 s: two may go unanswered, and the third is not sent any more.
const PING_INTERVAL: Duration = Duration::from_secs(8);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Bounds each JetStream request and each publish acknowledgement.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Address of NATS, and the login of this program.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "NATS")]
pub struct NatsConfig {
    /// Addresses of the servers, separated by commas
    #[arg(
        long,
        env = "NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222",
        value_delimiter = ','
    )]
    pub nats_url: Vec<String>,
    /// User name
    #[arg(long, env = "NATS_USER")]
    pub nats_user: Option<String>,
    /// Password; better given in the environment than on the command line
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    pub nats_password: Option<Secret>,
    /// File with an nkey seed
    #[arg(long, env = "NATS_NKEY")]
    pub nats_nkey: Option<PathBuf>,
    /// Credentials file with a JWT and its seed
    #[arg(long, env = "NATS_CREDS")]
    pub nats_creds: Option<PathBuf>,
    /// Certificates to trust besides the system's, PEM; a server without TLS is refused then
    #[arg(long, env = "NATS_CA")]
    pub nats_ca: Option<PathBuf>,
    /// Client certificate, PEM
    #[arg(long, env = "NATS_CERT")]
    pub nats_cert: Option<PathBuf>,
    /// Key of the client certificate, PEM
    #[arg(long, env = "NATS_KEY")]
    pub nats_key: Option<PathBuf>,
    /// Prefix of reply subjects; give each role its own where permissions keep roles apart
    #[arg(long, env = "NATS_INBOX_PREFIX", default_value = "_INBOX", value_parser = identifier)]
    pub nats_inbox_prefix: String,
}

impl NatsConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let files = [
            ("--nats-nkey", &self.nats_nkey),
            ("--nats-creds", &self.nats_creds),
            ("--nats-ca", &self.nats_ca),
            ("--nats-cert", &self.nats_cert),
            ("--nats-key", &self.nats_key),
        ];
        let mut faults: Vec<_> = files
            .into_iter()
            .filter_map(|(setting, path)| unreadable(setting, path.as_ref()))
            .collect();
        faults.extend(self.nats_url.iter().filter_map(|url| bad_url(url)));
        let ways = [
            self.nats_user.is_some(),
            self.nats_nkey.is_some(),
            self.nats_creds.is_some(),
        ];
        if ways.iter().filter(|given| **given).count() > 1 {
            faults.push(ConfigFault::new(
                "--nats-user, --nats-nkey, --nats-creds",
                "give only one way to log in",
            ));
        }
        if self.nats_user.is_some() != self.nats_password.is_some() {
            faults.push(ConfigFault::new(
                "--nats-user, --nats-password",
                "give both or neither",
            ));
        }
        if self.nats_cert.is_some() != self.nats_key.is_some() {
            faults.push(ConfigFault::new(
                "--nats-cert, --nats-key",
                "give both or neither",
            ));
        }
        faults
    }

    /// Connects. `name` shows in the server's list of connections.
    ///
    /// # Errors
    /// [`NatsError`], at once where waiting cannot mend it.
    pub async fn connect(&self, name: &str, wait: Wait) -> Result<async_nats::Client, NatsError> {
        let server = format!("nats at {}", self.nats_url.join(", "));
        // The client's own retries would take a refused login for a server that is late.
        wait.for_answer(server, NatsError::may_pass, async || {
            let connected = self.options(name)?.connect(&self.nats_url).await;
            connected.map_err(|source| self.failed(source))
        })
        .await
    }

    fn options(&self, name: &str) -> Result<ConnectOptions, NatsError> {
        let mut options = self
            .login()?
            .name(name)
            .custom_inbox_prefix(&self.nats_inbox_prefix)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECTION_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .event_callback(|event| async move { report(&event) });
        if let Some(ca) = &self.nats_ca {
            // Who names an authority relies on it: a server that offers no TLS is not the one that was meant.
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&self.nats_cert, &self.nats_key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(options)
    }

    fn failed(&self, source: ConnectError) -> NatsError {
        let urls = self.nats_url.join(", ");
        if let Some(problem) = distrust(&source) {
            return NatsError::Tls {
                urls,
                problem,
                source,
            };
        }
        if is_refusal(&source) {
            let advice = self.login_advice();
            return NatsError::Login {
                urls,
                advice,
                source,
            };
        }
        NatsError::Connect { urls, source }
    }

    fn login_advice(&self) -> &'static str {
        match (&self.nats_user, &self.nats_nkey, &self.nats_creds) {
            (Some(_), _, _) => "check --nats-user (NATS_USER) and --nats-password (NATS_PASSWORD)",
            (None, Some(_), _) => "check the seed in the file of --nats-nkey (NATS_NKEY)",
            (None, None, Some(_)) => "check the file of --nats-creds (NATS_CREDS)",
            (None, None, None) => {
                "give --nats-user and --nats-password, --nats-nkey, --nats-creds, or --nats-cert and --nats-key"
            }
        }
    }

    fn login(&self) -> Result<ConnectOptions, NatsError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| NatsError::Secret {
                path: path.clone(),
                source,
            })
        };
        if let (Some(user), Some(password)) = (&self.nats_user, &self.nats_password) {
            let password = password.reveal().to_owned();
            return Ok(ConnectOptions::with_user_and_password(
                user.clone(),
                password,
            ));
        }
        if let Some(path) = &self.nats_nkey {
            return Ok(ConnectOptions::with_nkey(read(path)?.trim().to_owned()));
        }
        match &self.nats_creds {
            Some(path) => {
                ConnectOptions::with_credentials(&read(path)?).map_err(|source| NatsError::Secret {
                    path: path.clone(),
                    source,
                })
            }
            None => Ok(ConnectOptions::new()),
        }
    }
}

/// JetStream over a connection, with a bounded window of publishes in flight.
#[must_use]
pub fn jetstream(client: async_nats::Client) -> jetstream::Context {
    ContextBuilder::new()
        .timeout(REQUEST_TIMEOUT)
        .ack_timeout(REQUEST_TIMEOUT)
        .max_ack_inflight(512)
        .build(client)
}

/// Connections come and go. An error of the server says that something was refused, such as a publish without
/// permission, which its sender does not learn.
fn report(event: &Event) {
    match event {
        Event::Connected | Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::info!(%event, "nats connection event");
        }
        Event::Disconnected => tracing::warn!(%event, "nats connection event"),
        Event::ServerError(error) => {
            tracing::error!(%event, "nats connection event");
            denial::heed(error);
        }
        Event::SlowConsumer(_) | Event::ClientError(_) => {
            tracing::error!(%event, "nats connection event");
        }
    }
}

fn bad_url(url: &str) -> Option<ConfigFault> {
    let problem = match url.parse::<async_nats::ServerAddr>() {
        Err(error) => format!("`{}` is not an address: {error}", redacted(url)),
        // Addresses are logged, by the client as well.
        Ok(_) if url != redacted(url) => format!(
            "the address of `{}` holds a login; give it by --nats-user and --nats-password",
            redacted(url)
        ),
        Ok(_) => return None,
    };
    Some(ConfigFault::new("--nats-url", problem))
}

/// An address without user and password.
fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}"),
        None => url.to_owned(),
    }
}
