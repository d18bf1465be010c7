//! Dockerfiles, the script for clusters, and what they build from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fixtures::programs::workspace;
use tokio::process::Command;

use super::render::{checkers, deploy};

const IMAGES: [&str; 4] = ["worker", "worker-cuda", "worker-openvino", "indexer"];

fn dockerfile(image: &str) -> PathBuf {
    deploy().join(format!("images/{image}.Dockerfile"))
}

/// Its instructions: one a line, without comments.
fn instructions(image: &str) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(dockerfile(image))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    Ok(text
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

async fn lint(program: &Path, file: &Path) -> anyhow::Result<()> {
    let output = Command::new(program).arg(file).output().await;
    let output =
        output.with_context(|| format!("failed to run {}; install it", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(
        output.status.success() && said.is_empty(),
        "{}: {said}",
        file.display()
    );
    Ok(())
}

#[tokio::test]
async fn linters_find_nothing_in_dockerfiles_and_scripts() -> anyhow::Result<()> {
    let checkers = checkers().await?;
    for image in IMAGES {
        lint(&checkers.hadolint, &dockerfile(image)).await?;
    }
    for script in [
        "e2e.sh",
        "incoming.sh",
        "job.sh",
        "logins.sh",
        "components/tls/certificates.sh",
        "contract/cli/publish.sh",
    ] {
        lint(&checkers.shellcheck, &deploy().join(script)).await?;
    }
    Ok(())
}

#[test]
fn images_are_built_from_the_lock_file_on_bases_by_digest_for_a_user_who_is_not_root()
-> anyhow::Result<()> {
    for image in IMAGES {
        let instructions = instructions(image)?;
        let is_stage = |line: &&String| line.starts_with("FROM ");
        let bases: Vec<_> = instructions
            .iter()
            .take_while(|line| !is_stage(line))
            .filter_map(|line| line.strip_prefix("ARG "))
            .collect();
        let stages: Vec<_> = instructions
            .iter()
            .filter(is_stage)
            .filter(|line| line.contains("${"))
            .collect();
        assert!(stages.len() >= 2 && bases.len() == stages.len(), "{image}");
        for base in &bases {
            let (_, digest) = base
                .split_once("@sha256:")
                .with_context(|| format!("{base} has no digest"))?;
            assert_eq!(digest.len(), 64, "{base}");
        }
        let program = image.split('-').next().unwrap_or_default();
        let build = format!("cargo build --release --locked --package {program} --bin {program} ");
        assert!(
            instructions.iter().any(|line| line.contains(&build)),
            "{image}"
        );
        let last = instructions
            .iter()
            .rposition(|line| line.starts_with("FROM "))
            .context("no stage")?;
        let last = &instructions[last..];
        assert!(last.contains(&"USER 65532:65532".to_owned()), "{image}");
        assert!(
            last.contains(&format!("ENTRYPOINT [\"{program}\"]")),
            "{image}"
        );
        assert!(
            !last.iter().any(|line| line.starts_with("RUN ")),
            "{image} installs something"
        );
        let is_cuda = image == "worker-cuda";
        let hides = last
            .iter()
            .any(|line| line.contains("NVIDIA_VISIBLE_DEVICES=void"));
        let shows = last
            .iter()
            .any(|line| line.contains("NVIDIA_VISIBLE_DEVICES"));
        assert!(if is_cuda { !shows } else { hides }, "{image}");
    }
    Ok(())
}

#[test]
fn every_wheel_is_pinned_by_version_and_digest_and_onnx_runtime_is_new_enough() -> anyhow::Result<()>
{
    let pins = |name: &str| std::fs::read_to_string(deploy().join("images").join(name));
    let (cuda, openvino) = (pins("cuda.txt")?, pins("openvino.txt")?);
    for list in [&cuda, &openvino] {
        let wheels = list.replace("\\\n", " ");
        let mut wheels = wheels.lines().filter(|line| !line.starts_with('#'));
        assert!(wheels.all(|wheel| wheel.contains("==") && wheel.contains("--hash=sha256:")));
    }
    // The binding asks for at least this version of the library.
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml"))?;
    let api = manifest
        .split("\"api-")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let api: u32 = api.context("no api of ort")?.parse()?;
    let cpu = std::fs::read_to_string(workspace().join("fixtures/runtime/carriers.txt"))?;
    for (pins, name) in [
        (cpu.as_str(), "onnxruntime=="),
        (cuda.as_str(), "onnxruntime-gpu=="),
        (openvino.as_str(), "onnxruntime-openvino=="),
    ] {
        let version = pins
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("no onnxruntime")?;
        let minor: u32 = version.split('.').nth(1).context("no minor")?.parse()?;
        assert!(minor >= api, "{name}{version}");
    }
    // The image for CPUs takes its library out of the very wheel that the tests run with.
    let worker = instructions("worker")?.join("\n");
    assert!(worker.contains("COPY fixtures/runtime/carriers.txt fixtures/runtime/unpack.py ./"));
    Ok(())
}

#[tokio::test]
async fn the_build_context_holds_what_cargo_needs_and_nothing_that_was_built() -> anyhow::Result<()>
{
    let context = tempfile::tempdir()?;
    let rules = std::fs::read_to_string(workspace().join(".dockerignore"))?;
    let kept: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    assert!(rules.lines().any(|line| line == "*") && kept.len() > 5);
    for path in kept {
        let (from, to) = (workspace().join(path), context.path().join(path));
        std::fs::create_dir_all(to.parent().context("no parent")?)?;
        let status = Command::new("cp")
            .arg("-r")
            .arg(&from)
            .arg(&to)
            .status()
            .await?;
        anyhow::ensure!(status.success(), "{path} is not there");
    }
    assert!(!context.path().join("target").exists());
    let cargo = std::env::var("CARGO").unwrap_or("cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args([
        "metadata",
        "--locked",
        "--offline",
        "--no-deps",
        "--format-version",
        "1",
    ]);
    let output = command.current_dir(context.path()).output().await?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let source = target["src_path"].as_str().unwrap_or_default();
            assert!(Path::new(source).exists(), "{source}");
        }
    }
    for copied in [
        "fixtures/runtime/carriers.txt",
        "deploy/images/cuda.txt",
        "deploy/images/openvino.txt",
        "deploy/images/unpack_libraries.py",
    ] {
        assert!(context.path().join(copied).exists(), "{copied}");
    }
    Ok(())
}
