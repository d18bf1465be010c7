//! Browser: Chromium without a window, driven over the pipe of its DevTools.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fixtures::wait::until;
use serde_json::{Value, json};
use tests::LIMIT;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A browser with one page.
pub(super) struct Browser {
    /// Killed with it.
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    number: u64,
    session: Option<String>,
    /// What it said by itself.
    events: Vec<Value>,
    /// Removed after it.
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        // It reads commands from 3 and answers on 4.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --hide-scrollbars --remote-debugging-pipe --user-data-dir=\"$0\" 3<&0 4>&1 0</dev/null 1>/dev/null";
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut browser = Self {
            input: child.stdin.take().context("no input")?,
            output: BufReader::new(child.stdout.take().context("no output")?),
            _child: child,
            number: 0,
            session: None,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser
            .command("Target.createTarget", json!({ "url": "about:blank" }))
            .await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.command("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser
                .command(&format!("{domain}.enable"), json!({}))
                .await?;
        }
        Ok(browser)
    }

    async fn command(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).await?;
        loop {
            let mut answer = Vec::new();
            let read = self.output.read_until(0, &mut answer);
            let read = tokio::time::timeout(LIMIT, read).await??;
            anyhow::ensure!(read > 0, "chromium has ended; is it installed?");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer)?;
            if answer["id"] == self.number {
                anyhow::ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
            self.events.push(answer);
        }
    }

    pub(super) async fn open(&mut self, address: &str) -> anyhow::Result<()> {
        self.command("Page.navigate", json!({ "url": address }))
            .await?;
        Ok(())
    }

    /// The value of an expression.
    pub(super) async fn value(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let found = self.command("Runtime.evaluate", params).await?;
        let thrown = &found["exceptionDetails"];
        anyhow::ensure!(thrown.is_null(), "`{expression}`: {thrown:#}");
        Ok(found["result"]["value"].clone())
    }

    pub(super) async fn wait_for(&mut self, expression: &str) -> anyhow::Result<()> {
        until(expression, LIMIT, async || {
            Ok((self.value(expression).await? == true).then_some(()))
        })
        .await
    }

    pub(super) async fn resize(&mut self, width: u32, height: u32) -> anyhow::Result<()> {
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.command("Emulation.setDeviceMetricsOverride", params)
            .await?;
        Ok(())
    }

    pub(super) async fn colour(&mut self, scheme: &str) -> anyhow::Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await?;
        Ok(())
    }

    pub(super) async fn press(&mut self, key: &str) -> anyhow::Result<()> {
        let text = match key {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = json!(text);
            }
            self.command("Input.dispatchKeyEvent", params).await?;
        }
        Ok(())
    }

    pub(super) async fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.command("Input.insertText", json!({ "text": text }))
            .await?;
        Ok(())
    }

    pub(super) async fn picture(&mut self, file: &Path) -> anyhow::Result<()> {
        let taken = self
            .command("Page.captureScreenshot", json!({ "format": "png" }))
            .await?;
        let data = taken["data"].as_str().context("no picture")?;
        std::fs::create_dir_all(file.parent().context("a file in a folder")?)?;
        std::fs::write(file, BASE64_STANDARD.decode(data)?)?;
        Ok(())
    }

    /// What went wrong on the page: exceptions, errors and warnings of its console, and what its policy has refused.
    pub(super) fn complaints(&self) -> Vec<&Value> {
        let is_bad = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] != "verbose",
            Some(_) | None => false,
        };
        self.events.iter().filter(is_bad).collect()
    }
}
