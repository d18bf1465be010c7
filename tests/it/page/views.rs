//! Views: each of them in a real browser, in both themes, at the width of a phone, a laptop and a wall. The pictures stay
//! below the target directory, in `ebb/page`.

use anyhow::Context as _;
use contract::topology::JOBS;
use fixtures::install::cache_dir;
use queue::dead_letter::{self, Original, Verdict};
use serde_json::json;
use tests::Bed;

use super::Served;
use super::browser::Browser;
use crate::rebuild::{corpus, rebuild};

const SIZES: [(&str, u32, u32); 3] = [
    ("phone", 360, 780),
    ("laptop", 1440, 900),
    ("wall", 3840, 2160),
];
const SCRIPT: &str =
    "<script>window.taken=1</script><img src=x onerror=\"window.taken=1\"> backlog of roses";

/// Everything that is to be seen, and documents that would take the page over if they could.
async fn setup() -> anyhow::Result<(Bed, Served)> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    rebuild(&bed, &corpus(5), &["--run-id", "nightly"])
        .await?
        .done();
    let long = format!("{}</p><script>window.taken=1</script>", "x".repeat(980));
    bed.publish_document(&long, 1, &[SCRIPT]).await?;
    bed.publish_document(
        "\u{202e}دليل.md",
        1,
        &[
            "قائمة الانتظار backlog نص من اليمين إلى اليسار",
            "second backlog",
        ],
    )
    .await?;
    bed.drained().await?;
    for cause in ["invalid", "invalid", "<b>bold</b>"] {
        let job = json!({ "version": "1.0", "kind": "embed", "collection": bed.stack.collection, "documents": [{ "id": SCRIPT, "chunks": [{ "text": SCRIPT }] }] });
        let lane = "jobs.embed.nobody.bulk";
        let sequence = bed
            .jetstream()
            .publish(lane, job.to_string().into())
            .await?
            .await?
            .sequence;
        let jobs = bed.jetstream().get_stream(JOBS).await?;
        let message = jobs.get_raw_message(sequence).await?;
        let verdict = Verdict {
            cause,
            reason: SCRIPT,
            worker: "test",
            fingerprint: "",
        };
        dead_letter::store(
            bed.jetstream(),
            &Original::stored(JOBS, &message, 3),
            &verdict,
        )
        .await?;
        jobs.delete_message(sequence).await?;
    }
    let page = Served::start(
        &bed,
        &[
            "--allow-changes",
            "--workers",
            &worker.address,
            "--price-per-hour",
            "1.5",
        ],
    )
    .await?;
    // It works on until the bed is gone.
    tokio::spawn(async move {
        let _worker = worker;
        std::future::pending::<()>().await;
    });
    Ok((bed, page))
}

#[tokio::test]
#[ignore = "needs chromium; run with --ignored chromium"]
async fn chromium_shows_every_view_and_no_input_takes_the_page_over() -> anyhow::Result<()> {
    let (bed, page) = setup().await?;
    let pictures = cache_dir().join("page");
    let address = format!("http://{}/", page.address);
    let mut browser = Browser::start().await?;
    browser.open(&address).await?;
    let runs = format!(
        "#/runs?verb=rebuild&run=nightly&alias={}",
        bed.stack.collection
    );
    let views = [
        (
            "overview",
            "#/",
            "document.querySelectorAll('#aliases td').length > 0 && document.querySelectorAll('#causes tr').length > 2 && document.querySelectorAll('#workers td').length > 0",
        ),
        (
            "failed",
            "#/failed",
            "document.querySelectorAll('#failed-list tbody tr').length >= 3",
        ),
        (
            "runs",
            runs.as_str(),
            "document.querySelectorAll('#run table').length === 2",
        ),
        (
            "search",
            "#/search?q=backlog",
            "document.querySelectorAll('.hits mark').length >= 3",
        ),
    ];
    for (size, width, height) in SIZES {
        browser.resize(width, height).await?;
        for theme in ["light", "dark"] {
            browser.colour(theme).await?;
            for (view, hash, is_there) in &views {
                browser
                    .value(&format!("location.hash = {}", json!(hash)))
                    .await?;
                browser
                    .wait_for(&format!(
                        "!document.getElementById('{view}').hidden && {is_there}"
                    ))
                    .await?;
                let wider = browser
                    .value("document.documentElement.scrollWidth > innerWidth")
                    .await?;
                assert_eq!(wider, false, "{view} is wider than {size}");
                browser
                    .picture(&pictures.join(format!("{view}-{size}-{theme}.png")))
                    .await?;
            }
        }
    }
    open_all(&mut browser).await?;
    assert_eq!(browser.value("window.taken === undefined && document.querySelectorAll('main script, main img, main b').length === 0").await?, true);
    stays_dark(&mut browser, &address).await?;
    assert_eq!(browser.complaints(), Vec::<&serde_json::Value>::new());
    bed.end().await
}

/// The chunks of each hit, and the job of each dead letter.
async fn open_all(browser: &mut Browser) -> anyhow::Result<()> {
    browser
        .value(
            "document.querySelectorAll('.hits button[aria-expanded]').forEach((it) => it.click())",
        )
        .await?;
    browser
        .wait_for("document.querySelectorAll('.chunk').length >= 3")
        .await?;
    browser
        .value("location.hash = '#/failed?cause=invalid'")
        .await?;
    let letters = "document.querySelectorAll('#failed-list button[aria-expanded]')";
    browser.wait_for(&format!("{letters}.length === 2")).await?;
    browser
        .value(&format!("{letters}.forEach((it) => it.click())"))
        .await?;
    browser
        .wait_for("document.querySelectorAll('#failed-list pre').length === 2")
        .await
}

/// Colours that are chosen are those of the next visit, and a choice can be taken back.
async fn stays_dark(browser: &mut Browser, address: &str) -> anyhow::Result<()> {
    let choose = "document.getElementById('theme').click()";
    for (clicks, attribute, text) in [(2, "'dark'", "Dark"), (1, "null", "Auto")] {
        for _ in 0..clicks {
            browser.value(choose).await?;
        }
        browser.open(address).await?;
        browser
            .wait_for(&format!(
                "document.readyState === 'complete' && \
                 document.documentElement.getAttribute('data-theme') === {attribute} && \
                 document.getElementById('theme').textContent === '{text}'"
            ))
            .await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs chromium; run with --ignored chromium"]
async fn chromium_searches_by_the_keyboard_alone() -> anyhow::Result<()> {
    let (bed, page) = setup().await?;
    let mut browser = Browser::start().await?;
    browser.resize(1440, 900).await?;
    browser.open(&format!("http://{}/", page.address)).await?;
    browser
        .wait_for("document.querySelectorAll('#aliases td').length > 0")
        .await?;
    let focused = "document.activeElement.id || document.activeElement.textContent.trim()";
    browser.press("Tab").await?;
    assert_eq!(browser.value(focused).await?, "To the content");
    let mut passed = Vec::new();
    while passed.last().is_none_or(|last| last != "Search") {
        browser.press("Tab").await?;
        let found = browser.value(focused).await?;
        let outline = browser
            .value("getComputedStyle(document.activeElement).outlineStyle")
            .await?;
        assert_ne!(outline, "none", "{found} shows no focus");
        passed.push(found.as_str().context("a text")?.to_owned());
        assert!(passed.len() < 12, "{passed:?}");
    }
    browser.press("Enter").await?;
    browser
        .wait_for("document.activeElement.id === 'query'")
        .await?;
    browser.write("<script>alert(1)</script> backlog").await?;
    browser.press("Enter").await?;
    browser
        .wait_for("document.querySelectorAll('.hits li').length > 0")
        .await?;
    let is_at_chunks = "document.activeElement.getAttribute('aria-expanded') === 'false' && document.activeElement.closest('.hits') !== null";
    for _ in 0..20 {
        browser.press("Tab").await?;
        if browser.value(is_at_chunks).await? == true {
            break;
        }
    }
    browser.press("Enter").await?;
    browser
        .wait_for("document.querySelectorAll('.chunk').length > 0")
        .await?;
    browser.press("/").await?;
    browser
        .wait_for("document.activeElement.id === 'query'")
        .await?;
    assert_eq!(browser.complaints(), Vec::<&serde_json::Value>::new());
    bed.end().await
}

#[tokio::test]
#[ignore = "needs chromium; run with --ignored chromium"]
async fn chromium_says_what_is_away_and_goes_on_when_it_is_back() -> anyhow::Result<()> {
    let (mut bed, page) = setup().await?;
    let mut browser = Browser::start().await?;
    browser.resize(1440, 900).await?;
    browser.open(&format!("http://{}/", page.address)).await?;
    browser
        .wait_for("document.querySelectorAll('#lanes td').length > 0")
        .await?;
    bed.stack.nats.kill().await?;
    browser
        .wait_for("document.getElementById('troubles').textContent.includes('nats at')")
        .await?;
    let lanes = browser
        .value("document.querySelectorAll('#lanes td').length > 0")
        .await?;
    assert_eq!(lanes, true, "what was seen is still there");
    browser.picture(&cache_dir().join("page/away.png")).await?;
    bed.stack.nats.resume().await?;
    browser
        .wait_for("document.getElementById('troubles').childElementCount === 0")
        .await?;
    assert_eq!(browser.complaints(), Vec::<&serde_json::Value>::new());
    bed.end().await
}
