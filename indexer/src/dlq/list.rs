//! List: dead letters, a line each.

use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use async_nats::jetstream;
use clap::Args;
use contract::topology::DLQ;

use crate::dead_letters::StoredLetter;
use crate::dead_letters::{Selected, Selection};
use crate::outcome::escaped;
use crate::streams::stream;

/// Characters of a reason in a line.
const REASON: usize = 100;

#[derive(Args, Clone, Debug)]
pub struct ListConfig {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub selection: Selection,
}

pub async fn list(
    jetstream: &jetstream::Context,
    config: &ListConfig,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<ExitCode> {
    let dlq = stream(jetstream, DLQ).await?;
    let mut letters = Selected::open(dlq, config.selection.clone()).await?;
    if config.json {
        write_object(&mut letters, out).await?;
    } else {
        write_table(&mut letters, out).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes each letter as soon as it is read, because the whole object may be larger than memory.
async fn write_object(letters: &mut Selected, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    write!(out, "{{\"dead_letters\":[")?;
    let mut separator = "";
    while let Some(stored) = letters.next().await? {
        write!(out, "{separator}{}", serde_json::to_string(&stored)?)?;
        separator = ",";
    }
    writeln!(out, "]}}")?;
    Ok(())
}

/// Writes a line for each; gives how many there were.
pub async fn write_table(
    letters: &mut Selected,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<u64> {
    let mut count = 0;
    while let Some(stored) = letters.next().await? {
        if count == 0 {
            writeln!(
                out,
                "{:>8}  {:>10}  {:<24} {:>10}  {:<36} reason",
                "id", "age", "cause", "deliveries", "subject"
            )?;
        }
        write_line(&stored, out)?;
        count += 1;
    }
    if count == 0 {
        writeln!(out, "no dead letters")?;
    }
    Ok(count)
}

pub fn write_line(stored: &StoredLetter, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let (deliveries, subject, reason) = match &stored.letter {
        Ok(letter) => (
            letter.deliveries.to_string(),
            letter.subject.clone(),
            letter.reason.clone(),
        ),
        Err(error) => ("-".to_owned(), "-".to_owned(), error.to_string()),
    };
    let reason: String = reason.chars().take(REASON).collect();
    writeln!(
        out,
        "{:>8}  {:>10}  {:<24} {deliveries:>10}  {:<36} {}",
        stored.id,
        age(stored.died),
        escaped(stored.cause()),
        escaped(&subject),
        escaped(&reason)
    )?;
    Ok(())
}

/// The two largest units of an age.
fn age(died: SystemTime) -> String {
    let seconds = SystemTime::now()
        .duration_since(died)
        .unwrap_or_default()
        .as_secs();
    let age = std::time::Duration::from_secs(seconds);
    let text = humantime::format_duration(age).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
