//! What rendering does to files, and when it touches none.

use runtime::settings::EXIT_CONFIG;
use serde_json::Value;

use super::super::render::{Rendered, text};
use super::{FINGERPRINT, Rendering, decisions};

#[tokio::test]
async fn a_change_of_decisions_rolls_the_workers() -> anyhow::Result<()> {
    let rendering = Rendering::new(&decisions(""))?;
    let name = |built: &Rendered| {
        let map = built.find("ConfigMap", "ebb")?;
        anyhow::Ok(text(map, "/metadata/name").to_owned())
    };
    let before = name(&rendering.built().await?)?;
    rendering.decide(&decisions("max_workers: 9\n"))?;
    assert_ne!(name(&rendering.built().await?)?, before);
    Ok(())
}

#[tokio::test]
async fn rendering_again_changes_nothing_and_checking_says_so() -> anyhow::Result<()> {
    let rendering = Rendering::new(&decisions(""))?;
    assert_eq!(rendering.run(&["--check"]).await?.code, Some(1));
    assert!(!rendering.out().exists(), "checking writes nothing");
    assert_eq!(rendering.run(&[]).await?.code, Some(0));
    let first = std::fs::read(rendering.file())?;
    let again = rendering.run(&["--json"]).await?;
    assert_eq!(again.code, Some(0));
    let report: Value = serde_json::from_str(&again.said)?;
    assert_eq!(report["files"][1]["state"], "unchanged");
    assert_eq!(report["max_ack_pending"], 7680);
    assert_eq!(report["cooldown_seconds"], 240);
    assert_eq!(std::fs::read(rendering.file())?, first);
    assert_eq!(rendering.run(&["--check"]).await?.code, Some(0));
    // What is changed on purpose is written anew.
    rendering.decide(&decisions("max_workers: 2\n"))?;
    assert_eq!(rendering.run(&["--check"]).await?.code, Some(1));
    assert_eq!(rendering.run(&[]).await?.code, Some(0));
    assert_ne!(std::fs::read(rendering.file())?, first);
    let left = std::fs::read_dir(rendering.out())?.count();
    assert_eq!(left, 2, "nothing temporary is left behind");
    Ok(())
}

#[tokio::test]
async fn files_of_others_are_never_overwritten() -> anyhow::Result<()> {
    let rendering = Rendering::new(&decisions(""))?;
    std::fs::create_dir_all(rendering.out())?;
    std::fs::write(rendering.file(), "resources: []\n")?;
    let refused = rendering.run(&[]).await?;
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    assert!(
        refused
            .said
            .contains("kustomization.yaml` was not written by render"),
        "{}",
        refused.said
    );
    assert_eq!(
        std::fs::read_to_string(rendering.file())?,
        "resources: []\n"
    );
    assert!(
        !rendering.out().join("keda").exists(),
        "nothing is written where something is in the way"
    );
    // One that was rendered and then changed by hand is somebody's work too.
    std::fs::remove_file(rendering.file())?;
    assert_eq!(rendering.run(&[]).await?.code, Some(0));
    let edited = std::fs::read_to_string(rendering.file())?
        .replace("EBB_MAX_WORKERS: \"8\"", "EBB_MAX_WORKERS: \"80\"");
    std::fs::write(rendering.file(), &edited)?;
    rendering.decide(&decisions("max_workers: 2\n"))?;
    assert_eq!(rendering.run(&[]).await?.code, Some(1));
    assert_eq!(std::fs::read_to_string(rendering.file())?, edited);
    Ok(())
}

#[tokio::test]
async fn impossible_decisions_are_refused_with_all_their_reasons() -> anyhow::Result<()> {
    let unreadable = "gpu: mig-9g.90gb\nmax_wrkers: 3\ndrain_target: 20000y\nalias: docs--x\nschedule: {cron: hourly, time_zone: Berlin}\nsource: ./handbook\n";
    let unreadable = decisions(unreadable).replace(FINGERPRINT, "0123");
    let broken = decisions("max_workers: 600\ndrain_target: 1m\n")
        .replace("  name:", "  tokens_per_second: 100\n  name:");
    for (yaml, reasons) in [
        (
            unreadable,
            vec![
                "gpu: `mig-9g.90gb`",
                "max_wrkers: is unknown; `max_workers` is the nearest",
                "drain_target: `20000y` is not a span of time",
                "alias: `docs--x` reads as a generation",
                "schedule.cron: `hourly`",
                "schedule.time_zone: `Berlin`",
                "source: `./handbook`",
                "model.fingerprint: `0123`",
            ],
        ),
        (
            broken,
            vec![
                "model.tokens_per_second: `100` makes it 5m 28s, which has to be below the ack wait of 1m",
                "max_workers: `600` has to be at most 156",
                "max_workers: `600` has to be at most 512",
                "drain_target: `1m` has to be at least 4m 15s",
            ],
        ),
    ] {
        let rendering = Rendering::new(&yaml)?;
        let refused = rendering.run(&[]).await?;
        assert_eq!(
            refused.code,
            Some(i32::from(EXIT_CONFIG)),
            "{}",
            refused.said
        );
        for reason in &reasons {
            assert!(refused.said.contains(reason), "{reason}: {}", refused.said);
        }
        let lines = refused.said.matches("bad configuration").count();
        assert_eq!(lines, reasons.len(), "{}", refused.said);
        assert!(!rendering.out().exists());
    }
    Ok(())
}
