//! The protocol of NATS without a client: what is sent is answered in its order, so that nothing has to be waited for.

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection that has sent its login.
pub(super) struct Wire {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    /// What the server says about itself.
    pub(super) info: Value,
}

impl Wire {
    /// Connects; whether the login is good shows in the first [`Wire::errors`].
    pub(super) async fn open(
        address: (&str, u16),
        user: &str,
        password: &str,
    ) -> anyhow::Result<Self> {
        let (reader, writer) = TcpStream::connect(address).await?.into_split();
        let mut lines = BufReader::new(reader).lines();
        let info = lines
            .next_line()
            .await?
            .context("the server says nothing")?;
        let info = info
            .strip_prefix("INFO ")
            .context("the server does not introduce itself")?;
        let mut wire = Self {
            lines,
            writer,
            info: serde_json::from_str(info)?,
        };
        let login = json!({ "user": user, "pass": password, "verbose": false, "pedantic": false, "headers": true });
        wire.send(&format!("CONNECT {login}")).await?;
        Ok(wire)
    }

    pub(super) async fn publish(&mut self, subject: &str) -> anyhow::Result<()> {
        self.send(&format!("PUB {subject} 0\r\n")).await
    }

    pub(super) async fn subscribe(&mut self, subject: &str, number: usize) -> anyhow::Result<()> {
        self.send(&format!("SUB {subject} {number}")).await
    }

    async fn send(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self
            .writer
            .write_all(format!("{line}\r\n").as_bytes())
            .await?)
    }

    /// The errors about everything that was sent so far; messages are passed over.
    pub(super) async fn errors(&mut self) -> anyhow::Result<Vec<String>> {
        self.send("PING").await?;
        let mut errors = Vec::new();
        while let Some(line) = self.lines.next_line().await? {
            if line == "PONG" {
                break;
            }
            errors.extend(
                line.strip_prefix("-ERR ")
                    .map(|error| error.trim_matches('\'').to_owned()),
            );
        }
        Ok(errors)
    }

    /// Why the server does not let this login in. Nothing is sent meanwhile, so that the answer is not lost with the
    /// connection.
    pub(super) async fn refusal(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(tests::LIMIT, self.lines.next_line()).await;
        let line = line.context("the login is not refused")??;
        let line = line.context("the connection was closed without a word")?;
        let error = line.strip_prefix("-ERR ").context("not an error")?;
        Ok(error.trim_matches('\'').to_owned())
    }

    /// What of it was denied: the subjects.
    pub(super) async fn denied(&mut self) -> anyhow::Result<Vec<String>> {
        let subject = |error: &String| {
            let rest = error.strip_prefix("Permissions Violation for ")?;
            rest.split('"').nth(1).map(str::to_owned)
        };
        let errors = self.errors().await?;
        let denied: Vec<_> = errors.iter().filter_map(subject).collect();
        anyhow::ensure!(denied.len() == errors.len(), "other errors: {errors:?}");
        Ok(denied)
    }
}
