//! Answers: what the tiles of the overview say of a state, in a real browser. A tile that is green where something is missing
//! is worse than none.

use serde_json::{Value, json};
use tests::Bed;

use super::Served;
use super::browser::Browser;

/// A lane of the state.
fn lane(more: &Value) -> Value {
    let mut lane = json!({
        "consumer": "embed-m-bulk", "task": "embed", "model": "m", "lane": "bulk", "pending": 0, "ack_pending": 0,
        "redelivered": 0, "lag": 0, "lag_tokens": { "tokens": 0, "estimate": false, "sampled": 0, "untold": 0 },
        "waiting_pulls": 0, "rate": null,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        lane[key] = value.clone();
    }
    lane
}

fn queue(lanes: &[Value], rate: &Value) -> Value {
    let orphaned = json!({ "jobs": 0, "subjects": [], "more_subjects": 0 });
    json!({ "lanes": lanes, "more_lanes": 0, "rate": rate, "jobs": 0, "orphaned": orphaned })
}

/// Seconds that are left, and seconds in which nothing was settled.
fn rate(eta: Option<f64>, stalled: Option<f64>) -> Value {
    json!({
        "measured_seconds": 40.0, "acked_per_second": 0.5, "tokens_per_second": null, "eta_seconds": eta,
        "stalled_seconds": stalled,
    })
}

fn stopped_runs() -> Value {
    let run = json!({
        "verb": "rebuild", "run": "nightly", "alias": "docs", "phase": "created", "over": false,
        "failed": "refused: 12 documents cannot be read", "updated": "2026-01-01T00:00:00Z", "owner": null,
        "renewed": null,
    });
    json!({ "shown": [run], "count": 1 })
}

fn letters(total: u64) -> Value {
    json!({ "total": total, "causes": { "read": total, "counts": { "invalid": total } } })
}

/// A page that shows states which a test makes up.
struct Overview {
    browser: Browser,
    /// What was seen, all of it well.
    state: Value,
}

impl Overview {
    async fn start(page: &Served) -> anyhow::Result<Self> {
        let parts = ["queue", "index", "letters", "runs"];
        let mut state = page
            .shows("all parts", |state| {
                parts.iter().all(|part| state[part]["data"].is_object())
            })
            .await?;
        state["queue"]["data"] = queue(&[lane(&json!({}))], &rate(Some(0.0), None));
        let mut browser = Browser::start().await?;
        browser.resize(1440, 900).await?;
        browser.open(&format!("http://{}/", page.address)).await?;
        browser
            .wait_for("document.getElementById('link-text')?.textContent === 'live'")
            .await?;
        Ok(Self { browser, state })
    }

    /// What the tiles say where some parts are others, by their titles.
    async fn tiles(&mut self, parts: &[(&str, Value)]) -> anyhow::Result<Value> {
        let mut state = self.state.clone();
        for (part, data) in parts {
            state[part]["data"] = data.clone();
        }
        let state = json!(state.to_string());
        let tiles = "[...document.querySelectorAll('#answers > div')]";
        let text = "it.innerText + (it.querySelector('.good') ? ' (good)' : '')";
        // In one go, before the next event of the server.
        let shown = format!(
            "take({state}); Object.fromEntries({tiles}.map((it) => [it.querySelector('dt').textContent, {text}]))"
        );
        self.browser.value(&shown).await
    }
}

fn says(tiles: &Value, title: &str, parts: &[&str]) {
    let said = tiles[title].as_str().unwrap_or_default();
    for part in parts {
        assert!(
            said.contains(part),
            "{title} does not say {part}: {tiles:#}"
        );
    }
}

#[tokio::test]
#[ignore = "needs chromium; run with --ignored chromium"]
async fn chromium_says_whole_and_nothing_failed_only_where_that_is_so() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let page = Served::start(&bed, &[]).await?;
    let mut overview = Overview::start(&page).await?;

    let well = overview.tiles(&[]).await?;
    says(&well, "Index", &["Whole", "(good)"]);
    says(&well, "Failed", &["Nothing", "(good)"]);
    says(&well, "Done in", &["Done"]);

    let stopped = overview.tiles(&[("runs", stopped_runs())]).await?;
    let gate = ["1 run", "stopped by a gate", "refused: 12 documents"];
    says(&stopped, "Failed", &gate);
    says(
        &stopped,
        "Index",
        &["Behind", "1 run stopped before its end"],
    );

    let parts = [("letters", letters(13)), ("runs", stopped_runs())];
    let dead = overview.tiles(&parts).await?;
    says(&dead, "Failed", &["13 dead letters", "1 run stopped"]);
    let missing = ["Behind", "13 dead letters may be missing from it"];
    says(&dead, "Index", &missing);

    let waits = lane(&json!({ "pending": 3, "ack_pending": 1, "lag": 4 }));
    let waits = queue(&[waits], &rate(Some(8.0), None));
    let waits = overview.tiles(&[("queue", waits)]).await?;
    says(&waits, "Index", &["Behind", "4 jobs not written yet"]);
    says(&waits, "Waiting", &["3 jobs", "and 1 in flight"]);
    for tiles in [stopped, dead, waits] {
        assert!(!tiles["Index"].to_string().contains("(good)"), "{tiles:#}");
    }
    assert_eq!(overview.browser.complaints(), Vec::<&Value>::new());
    bed.end().await
}

#[tokio::test]
#[ignore = "needs chromium; run with --ignored chromium"]
async fn chromium_says_what_is_known_of_time_and_cost_and_that_the_rest_is_not()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let speed = ["--tokens-per-second", "100"];
    let price = ["--price-per-hour", "3.6", "--currency", "EUR"];
    let page = Served::start(&bed, &[&speed[..], &price].concat()).await?;
    let mut overview = Overview::start(&page).await?;
    let told = |tokens: u64| {
        let tokens = json!({ "tokens": tokens, "estimate": true, "sampled": 9, "untold": 0 });
        lane(&json!({ "pending": 9, "lag": 9, "lag_tokens": tokens }))
    };
    let silent =
        lane(&json!({ "consumer": "embed-m-live", "pending": 1, "lag": 1, "lag_tokens": null }));
    let moving = rate(Some(20.0), None);

    let lanes = queue(&[told(1_460_000), silent.clone()], &moving);
    let part = overview.tiles(&[("queue", lanes)]).await?;
    says(&part, "Waiting", &["≥ 1.46 M tokens"]);
    // 14,600 s of a worker.
    says(&part, "Cost", &["≥ 14.60 EUR"]);
    says(&part, "Done in", &["20 s"]);

    let none = overview
        .tiles(&[("queue", queue(&[silent], &moving))])
        .await?;
    says(&none, "Waiting", &["1 job", "? tokens"]);
    says(&none, "Cost", &["Not known", "do not tell their tokens"]);

    let still = queue(&[told(10)], &rate(None, Some(180.0)));
    let still = overview.tiles(&[("queue", still)]).await?;
    says(&still, "Done in", &["Not moving", "3 min"]);
    let early = queue(&[told(10)], &rate(None, None));
    let early = overview.tiles(&[("queue", early)]).await?;
    says(&early, "Done in", &["Measuring", "40 s"]);
    assert_eq!(overview.browser.complaints(), Vec::<&Value>::new());
    bed.end().await
}

#[tokio::test]
#[ignore = "needs chromium; run with --ignored chromium"]
async fn chromium_says_that_a_token_is_wrong_and_what_a_bad_filter_is() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let page = Served::start(&bed, &["--token", "0123456789abcdef"]).await?;
    let mut browser = Browser::start().await?;
    browser.resize(1440, 900).await?;
    browser.open(&format!("http://{}/", page.address)).await?;
    let said = "document.getElementById('login-said').textContent";
    let is_open = "document.getElementById('login')?.open === true";
    for (token, expected) in [
        ("wrong", ""),
        ("0123456789abcdef", "That was not the token"),
    ] {
        browser
            .wait_for(&format!("{is_open} && {said}.startsWith('{expected}')"))
            .await?;
        browser
            .value("document.getElementById('token').focus()")
            .await?;
        browser.write(token).await?;
        browser.press("Enter").await?;
    }
    browser
        .wait_for("document.getElementById('link-text').textContent === 'live'")
        .await?;
    browser.value("location.hash = '#/search'").await?;
    browser
        .wait_for("document.getElementById('collection').options.length > 0")
        .await?;
    browser
        .value("byId('query').value = 'x'; byId('filter').value = '{'; void find()")
        .await?;
    browser
        .wait_for("document.getElementById('found').textContent.startsWith('filter: ')")
        .await?;
    // The browser itself notes in its console that a request was refused. The status is for those who ask without this page;
    // the page makes a sentence of it, and no error.
    let of_page = browser.complaints().into_iter();
    let of_page = of_page.filter(|it| it["params"]["entry"]["source"] != "network");
    assert_eq!(of_page.collect::<Vec<_>>(), Vec::<&Value>::new());
    bed.end().await
}
