//! The page of `indexer ui`: what it shows, to whom, and what no input and no viewer can make of it.

mod answers;
mod browser;
mod views;

use std::process::Stdio;

use anyhow::Context as _;
use fixtures::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Bed, LIMIT};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

struct Served {
    child: Child,
    /// Host and port.
    address: String,
}

impl Served {
    async fn start(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = bed.stack.program("indexer");
        command.args(["ui", "--listen", "127.0.0.1:0", "--interval", "250ms"]);
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await??;
        let line = line.context("it printed no address")?;
        let address = line.strip_prefix("http://").context("no address")?;
        let address = address.trim_end_matches('/').to_owned();
        Ok(Self { child, address })
    }

    /// Sends a request; gives the status and the body.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let length = body.len();
        // HTTP/1.0: the server closes the connection at the end, and sends no chunks.
        let request = format!(
            "{method} {path} HTTP/1.0\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    fn host(&self) -> String {
        format!("Host: {}", self.address)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.ask("GET", path, &self.host(), "").await?;
        anyhow::ensure!(status == 200, "{path} answered {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let headers = format!("{}\r\nContent-Type: application/json", self.host());
        let (status, body) = self.ask("POST", path, &headers, &body.to_string()).await?;
        Ok((status, serde_json::from_str(&body)?))
    }

    /// Waits until the state is as it should be.
    async fn shows(&self, what: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        until(what, LIMIT, async || {
            let state = self.get("/api/state").await?;
            Ok(holds(&state).then_some(state))
        })
        .await
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_shown_with_what_was_seen_last_and_seen_again_when_it_is_back()
-> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    bed.publish_document("a", 1, &["one", "two"]).await?;
    bed.drain().await?;
    let page = Served::start(&bed, &[]).await?;
    let alias = bed.stack.collection.clone();
    let points = |state: &Value| {
        let all = state["index"]["data"]["collections"].as_array().cloned();
        let found = all
            .into_iter()
            .flatten()
            .find(|it| it["name"] == alias.as_str());
        found.map(|it| it["points"].clone())
    };
    let seen = page
        .shows("the index and the queue", |state| {
            points(state) == Some(json!(2)) && state["queue"]["data"].is_object()
        })
        .await?;
    assert_eq!(seen["queue"]["data"]["lanes"][0]["lag"], 0, "{seen:#}");
    assert_eq!(seen["setup"]["can_change"], false);

    bed.stack.nats.kill().await?;
    let away = page
        .shows("the queue to be away", |state| {
            !state["queue"]["error"].is_null()
        })
        .await?;
    let said = away["queue"]["error"].as_str().unwrap_or_default();
    assert!(said.contains("nats"), "{said}");
    assert!(away["queue"]["data"].is_object() && away["queue"]["since"].is_u64());
    assert_eq!(points(&away), Some(json!(2)), "the index is there");
    bed.stack.nats.resume().await?;
    page.shows("the queue to be back", |state| {
        state["queue"]["error"].is_null()
    })
    .await?;
    bed.end().await
}

/// It keeps its connections and answers nobody.
#[tokio::test]
async fn a_server_that_hangs_is_said_to_be_away_once_and_without_advice_about_what_it_holds()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let page = Served::start(&bed, &[]).await?;
    page.shows("the runs", |state| state["runs"]["data"].is_object())
        .await?;
    bed.stack.nats.process()?.signal(Signal::STOP)?;
    let parts = ["queue", "letters", "runs"];
    let away = page
        .shows("all of nats to be away", |state| {
            parts.iter().all(|part| state[part]["error"].is_string())
        })
        .await;
    bed.stack.nats.process()?.signal(Signal::CONT)?;
    let away = away?;
    let said = away["queue"]["error"].as_str().unwrap_or_default();
    assert!(said.contains("does not answer"), "{said}");
    for part in parts {
        assert_eq!(away[part]["error"], said, "the same for {part}");
    }
    assert!(!away.to_string().contains("provision"), "{away:#}");
    assert!(away["index"]["error"].is_null(), "the index is there");
    page.shows("the queue to be back", |state| {
        parts.iter().all(|part| state[part]["error"].is_null())
    })
    .await?;
    bed.end().await
}

#[tokio::test]
async fn the_page_starts_without_its_servers_and_finds_them_later() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    bed.stack.nats.kill().await?;
    let page = Served::start(&bed, &[]).await?;
    let away = page
        .shows("the queue to be away", |state| {
            !state["queue"]["error"].is_null()
        })
        .await?;
    assert!(away["queue"]["data"].is_null());
    bed.stack.nats.resume().await?;
    page.shows("the queue", |state| state["queue"]["data"].is_object())
        .await?;
    bed.end().await
}

#[tokio::test]
async fn requests_of_other_sites_and_changes_without_leave_are_refused() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let page = Served::start(&bed, &[]).await?;
    let json = "Content-Type: application/json";
    let own = page.host();
    for (method, path, headers, status) in [
        ("GET", "/", own.clone(), 200),
        ("GET", "/api/state", "Host: evil.example".to_owned(), 421),
        ("GET", "/", "Host: evil.example".to_owned(), 421),
        (
            "GET",
            "/api/state",
            format!("{own}\r\nOrigin: http://evil.example"),
            403,
        ),
        (
            "POST",
            "/api/search",
            format!("{own}\r\nContent-Type: text/plain"),
            415,
        ),
        ("POST", "/api/search", format!("{own}\r\n{json}"), 400),
        (
            "POST",
            "/api/dead-letters/drop",
            format!("{own}\r\n{json}"),
            403,
        ),
        ("POST", "/api/dry-run", format!("{own}\r\n{json}"), 400),
        ("GET", "/api/nothing", own.clone(), 404),
    ] {
        let (found, body) = page.ask(method, path, &headers, "{}").await?;
        assert_eq!(found, status, "{method} {path} {headers}: {body}");
    }
    let large = "x".repeat(100 << 10);
    let (status, _) = page
        .ask("POST", "/api/search", &format!("{own}\r\n{json}"), &large)
        .await?;
    assert_eq!(status, 413);
    bed.end().await
}

#[tokio::test]
async fn a_token_is_asked_for_and_texts_go_to_who_searches_alone() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("garden", 1, &["a secret about roses"])
        .await?;
    bed.drain().await?;
    bed.publish_document("d", 1, &["a secret about roses"])
        .await?;
    let refusing = bed.refusing_worker()?;
    bed.drained().await?;
    refusing.kill().await?;

    let token = "0123456789abcdef";
    let page = Served::start(&bed, &["--token", token]).await?;
    let (status, _) = page.ask("GET", "/api/state", &page.host(), "").await?;
    assert_eq!(status, 401);
    drop(page);
    let page = Served::start(&bed, &[]).await?;
    let state = page
        .shows("the dead letter", |state| {
            state["letters"]["data"]["total"] == 1
        })
        .await?;
    let listed = page.get("/api/dead-letters").await?;
    let id = listed["letters"][0]["id"].as_u64().context("an id")?;
    let letter = page.get(&format!("/api/dead-letter?id={id}")).await?;
    assert_eq!(letter["job"]["documents"][0]["id"], "d", "{letter:#}");
    for shown in [state, listed, letter] {
        assert!(!shown.to_string().contains("roses"), "{shown:#}");
    }
    let asked = json!({ "query": "roses", "collection": bed.stack.collection, "mode": "sparse" });
    let (status, found) = page.post("/api/search", &asked).await?;
    assert_eq!(
        (status, &found["hits"][0]["doc_id"]),
        (200, &json!("garden")),
        "{found:#}"
    );
    bed.end().await
}

#[tokio::test]
async fn dead_letters_are_replayed_and_dropped_where_changes_are_allowed() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for id in ["a", "b"] {
        bed.publish_document(id, 1, &["text"]).await?;
    }
    let refusing = bed.refusing_worker()?;
    bed.drained().await?;
    refusing.kill().await?;
    let page = Served::start(&bed, &["--allow-changes"]).await?;
    let listed = page.get("/api/dead-letters").await?;
    let letters = listed["letters"].as_array().context("letters")?;
    assert_eq!(letters.len(), 2, "{listed:#}");
    let (status, _) = page.post("/api/dead-letters/drop", &json!({})).await?;
    assert_eq!(status, 400, "everything has to be asked for");
    let (_, done) = page
        .post(
            "/api/dead-letters/replay",
            &json!({ "ids": [letters[0]["id"]] }),
        )
        .await?;
    assert_eq!(done["replayed"], 1, "{done:#}");
    let (_, done) = page
        .post(
            "/api/dead-letters/drop",
            &json!({ "cause": letters[1]["cause"] }),
        )
        .await?;
    assert_eq!(done["dropped"], 1, "{done:#}");
    page.shows("no dead letter", |state| {
        state["letters"]["data"]["total"] == 0
    })
    .await?;
    bed.end().await
}

/// Who opens the events and never reads them is given the newest when he does, and keeps nobody else waiting.
#[tokio::test]
async fn viewers_who_never_read_keep_nobody_waiting() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let page = Served::start(&bed, &[]).await?;
    let mut viewers = Vec::new();
    for _ in 0..300 {
        let mut viewer = TcpStream::connect(&page.address).await?;
        let request = format!("GET /api/events HTTP/1.1\r\n{}\r\n\r\n", page.host());
        viewer.write_all(request.as_bytes()).await?;
        viewers.push(viewer);
    }
    let first = page
        .shows("a state", |state| state["queue"]["at"].is_u64())
        .await?;
    page.shows("the next state", |state| {
        state["queue"]["at"] != first["queue"]["at"]
    })
    .await?;
    let mut some = vec![0; 4096];
    let read = viewers[0].read(&mut some).await?;
    let said = String::from_utf8_lossy(&some[..read]).into_owned();
    assert!(said.contains("text/event-stream"), "{said}");
    assert!(page.child.id().is_some(), "it is there");
    bed.end().await
}
