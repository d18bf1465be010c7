//! Settings of the page.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use contract::digest::Digest;
use runtime::settings::{ConfigFault, Secret, identifier};

use crate::config::{ModelDir, Servers};
use crate::status::workers::WorkersConfig;

/// Shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;

#[derive(Args, Clone, Debug)]
pub struct UiConfig {
    /// Address of the page; port 0 takes a free one
    #[arg(long, env = "EBB_UI_LISTEN", default_value = "127.0.0.1:8642")]
    pub listen: SocketAddr,
    /// Let the page replay and drop dead letters and start dry runs; at an address that others reach, with a token alone
    #[arg(long, env = "EBB_UI_ALLOW_CHANGES")]
    pub allow_changes: bool,
    /// Token that the page asks for before it shows anything, of 16 characters or more; better given in the environment
    /// than on the command line. At an address that others reach, nobody can search without one
    #[arg(long, env = "EBB_UI_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// Names under which browsers reach the page, separated by commas, as behind a proxy; addresses and `localhost` need
    /// none, and any other name is refused
    #[arg(long, env = "EBB_UI_HOSTS", value_delimiter = ',', value_parser = identifier, value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Time between two looks at the queue; what costs the servers more is looked at less often
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Sources of the aliases for dry runs, as `plan` takes them; the page can start a dry run of no others
    #[arg(long, value_name = "SOURCE", value_parser = identifier)]
    pub sources: Vec<String>,
    /// How long a search waits for a worker; a worker that is scaled to zero needs time to start
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Tokens that one worker embeds in a second, for what a backlog costs; by default what workers do that are asked
    #[arg(long)]
    pub tokens_per_second: Option<f64>,
    /// Price of an hour of one worker, in any currency
    #[arg(long, env = "EBB_PRICE_PER_HOUR")]
    pub price_per_hour: Option<f64>,
    /// What prices are counted in, as the page is to show it
    #[arg(long, env = "EBB_CURRENCY", value_parser = identifier, value_name = "NAME")]
    pub currency: Option<String>,
    /// Directory of a staged model, made by `worker stage`; without it, only words are searched, and nothing is planned
    #[arg(long, env = "EBB_MODEL", help_heading = "Model")]
    pub model: Option<PathBuf>,
    /// File with the minisign public key with which models must be signed; without it, no signature is looked at
    #[arg(long, env = "EBB_PUBLIC_KEY", help_heading = "Model")]
    pub public_key: Option<PathBuf>,
    #[command(flatten)]
    pub workers: WorkersConfig,
    #[command(flatten)]
    pub servers: Servers,
}

impl UiConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.workers.faults());
        faults.extend(self.model_dir().iter().flat_map(ModelDir::faults));
        if self.allow_changes && !self.may_search() {
            let problem = format!(
                "others reach {}: give a token in EBB_UI_TOKEN, or an address of this machine in --listen and no --hosts",
                self.listen
            );
            faults.push(ConfigFault::new("--allow-changes", problem));
        }
        let token = self.token.as_ref().map(Secret::reveal);
        if token.is_some_and(|token| token.chars().count() < SHORTEST_TOKEN || !token.is_ascii()) {
            let problem = format!("must have at least {SHORTEST_TOKEN} characters, all of ASCII");
            faults.push(ConfigFault::new("--token", problem));
        }
        if self.interval < Duration::from_millis(250) {
            faults.push(ConfigFault::new("--interval", "must be at least 250ms"));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !self.tokens_per_second.is_none_or(positive) {
            faults.push(ConfigFault::new("--tokens-per-second", "must be above 0"));
        }
        if !self
            .price_per_hour
            .is_none_or(|it| it.is_finite() && it >= 0.0)
        {
            faults.push(ConfigFault::new("--price-per-hour", "must be at least 0"));
        }
        faults
    }

    /// Whether whoever reaches the page may see texts of documents. Whoever names it by another name than this machine's comes
    /// through a proxy, which lets in anybody.
    pub fn may_search(&self) -> bool {
        let is_local = self.listen.ip().is_loopback() && self.hosts.is_empty();
        self.token.is_some() || is_local
    }

    /// The token as it is compared.
    pub fn token_digest(&self) -> Option<Digest> {
        let token = self.token.as_ref();
        token.map(|token| Digest::of(token.reveal().as_bytes()))
    }

    pub fn model_dir(&self) -> Option<ModelDir> {
        Some(ModelDir {
            model: self.model.clone()?,
            public_key: self.public_key.clone(),
        })
    }

    pub fn link(&self, bound: SocketAddr) -> String {
        format!("http://{bound}/")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        ui: UiConfig,
    }

    fn config(arguments: &[&str]) -> UiConfig {
        Program::parse_from([&["ui"], arguments].concat()).ui
    }

    #[test]
    fn changes_are_for_this_machine_or_for_a_token() {
        let problems = |arguments: &[&str]| config(arguments).faults().len();
        assert_eq!(problems(&["--allow-changes"]), 0);
        assert_eq!(problems(&["--allow-changes", "--listen", "0.0.0.0:80"]), 1);
        assert_eq!(problems(&["--listen", "0.0.0.0:80"]), 0);
        let token = ["--token", "0123456789abcdef"];
        let open = ["--allow-changes", "--listen", "0.0.0.0:80"];
        assert_eq!(problems(&[&open[..], &token].concat()), 0);
        assert_eq!(problems(&["--token", "short"]), 1);
        // Behind a proxy it listens on this machine and is reached by anybody.
        let proxied = ["--allow-changes", "--hosts", "ebb.example.org"];
        assert_eq!(problems(&proxied), 1);
        assert_eq!(problems(&[&proxied[..], &token].concat()), 0);
    }

    #[test]
    fn texts_are_for_this_machine_or_for_a_token() {
        assert!(config(&[]).may_search());
        assert!(!config(&["--listen", "[::]:80"]).may_search());
        assert!(!config(&["--hosts", "ebb.example.org"]).may_search());
        let token = ["--listen", "[::]:80", "--token", "0123456789abcdef"];
        assert!(config(&token).may_search());
    }
}
