//! What is not used: optimized graphs that are damaged, of another device, or of other vectors.

use super::*;

/// Whatever a folder holds, by name and content.
fn content(folder: &Path) -> anyhow::Result<Vec<(std::ffi::OsString, Digest)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let bytes = std::fs::read(entry.path())?;
        files.push((entry.file_name(), Digest::of(&bytes)));
    }
    files.sort();
    Ok(files)
}

fn edit(folder: &Path, edit: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
    let path = folder.join(RECORD);
    let mut record = serde_json::from_slice(&std::fs::read(&path)?)?;
    edit(&mut record);
    Ok(std::fs::write(path, serde_json::to_vec(&record)?)?)
}

#[tokio::test]
async fn an_optimized_graph_that_is_damaged_is_not_used_and_is_written_again() -> anyhow::Result<()>
{
    let (_models, model, folder) = tiny().await?;
    let intact = content(&folder)?;
    for file in [
        GRAPH.rsplit('/').next().unwrap_or_default(),
        WEIGHTS,
        RECORD,
    ] {
        let path = folder.join(file);
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes)?;
        assert_eq!(taken(&model).await?, None, "a changed byte of {file}");
        std::fs::write(&path, &bytes[..middle])?;
        assert_eq!(taken(&model).await?, None, "half of {file}");
        std::fs::remove_file(&path)?;
        assert_eq!(taken(&model).await?, None, "no {file}");
        assert_eq!(optimized(&model).await?, folder);
        assert_eq!(taken(&model).await?.as_ref(), Some(&folder), "{file}");
        assert_eq!(content(&folder)?, intact, "{file}");
        assert_eq!(content_of(&model)?, 1, "nothing else is left behind");
    }
    Ok(())
}

/// How many entries the folder of optimized graphs has.
fn content_of(model: &Path) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(model.join(OPTIMIZED))?.count())
}

#[tokio::test]
async fn an_optimized_graph_of_another_processor_or_runtime_is_not_used() -> anyhow::Result<()> {
    for field in ["processor", "runtime", "device", "fingerprint", "format"] {
        let (_models, model, folder) = tiny().await?;
        edit(&folder, |record| {
            let other = record[field].as_str().map(|it| it.replace(['a', 'e'], "0"));
            record[field] = other.map_or(0.into(), Value::from);
        })?;
        assert_eq!(taken(&model).await?, None, "{field}");
    }
    Ok(())
}

/// Its record and its digests are right: only its vectors tell.
#[tokio::test]
async fn an_optimized_graph_of_other_vectors_is_not_used() -> anyhow::Result<()> {
    let (_models, model, folder) = tiny().await?;
    let path = folder.join(WEIGHTS);
    let mut weights = std::fs::read(&path)?;
    for value in weights.as_chunks_mut::<4>().0.iter_mut().skip(1).step_by(3) {
        *value = (-f32::from_le_bytes(*value)).to_le_bytes();
    }
    std::fs::write(&path, weights)?;
    let now = serde_json::to_value(StagedFile::of(&path)?)?;
    edit(&folder, |record| record["files"][WEIGHTS] = now)?;
    assert_eq!(taken(&model).await?, None);
    // A worker that falls back has the vectors of the model.
    let fresh = tempfile::tempdir()?;
    let (plain, _) = staged(&tiny_embed(), fresh.path(), &[]).await?;
    assert!(vectors(&model, 2).await?.0 == vectors(&plain, 2).await?.0);
    Ok(())
}

#[tokio::test]
async fn two_who_optimize_at_once_keep_one() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&tiny_embed(), models.path(), &[]).await?;
    let (one, other, third) = tokio::join!(optimized(&model), optimized(&model), optimized(&model));
    let folder = one?;
    assert_eq!([other?, third?], [folder.clone(), folder.clone()]);
    assert_eq!(taken(&model).await?, Some(folder));
    assert_eq!(content_of(&model)?, 1, "nothing else is left behind");
    Ok(())
}

#[tokio::test]
async fn who_is_killed_while_it_optimizes_leaves_nothing_that_is_used() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&minilm().await?, models.path(), &[]).await?;
    let mut command = tools().await?.program("worker");
    command.args(["optimize", "--model"]).arg(&model);
    let log = models.path().join("log");
    let process = Process::start(command, "optimize", &log)?;
    let begun = async || Ok(model.join(OPTIMIZED).is_dir().then_some(()));
    fixtures::wait::until("the work", std::time::Duration::from_secs(60), begun).await?;
    process.kill().await?;
    let left = taken(&model).await?;
    let folder = optimized(&model).await?;
    assert!(left.is_none_or(|left| left == folder));
    assert_eq!(taken(&model).await?, Some(folder));
    Ok(())
}

/// What is not used is not read, until it is used.
#[tokio::test]
async fn what_a_worker_runs_is_what_was_staged() -> anyhow::Result<()> {
    let (_models, model, folder) = tiny().await?;
    let graph = model.join(GRAPH);
    let mut bytes = std::fs::read(&graph)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&graph, bytes)?;
    assert_eq!(taken(&model).await?.as_ref(), Some(&folder));
    let report = check(&model, &[]).await?;
    assert!(report.contains("model.onnx` was altered"), "{report}");
    let (output, log) = optimize(&model).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("model.onnx` was altered"), "{log}");
    // Found to be of no use only when it is run.
    edit(&folder, |record| record["pools"] = true.into())?;
    let error = taken(&model).await.unwrap_err().to_string();
    assert!(error.contains("model.onnx` was altered"), "{error}");
    std::fs::remove_dir_all(folder)?;
    let error = taken(&model).await.unwrap_err().to_string();
    assert!(error.contains("model.onnx` was altered"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_pipe_or_a_link_in_the_place_of_weights_is_not_used() -> anyhow::Result<()> {
    let (_models, model, folder) = tiny().await?;
    let (weights, aside) = (folder.join(WEIGHTS), folder.join("aside"));
    std::fs::rename(&weights, &aside)?;
    std::os::unix::fs::symlink(&aside, &weights)?;
    assert_eq!(taken(&model).await?, None, "a link");
    let report = check(&model, &["--optimized"]).await?;
    assert!(report.contains("model.weights` is a link"), "{report}");
    for file in [WEIGHTS, RECORD] {
        let path = folder.join(file);
        std::fs::remove_file(&path)?;
        let made = std::process::Command::new("mkfifo").arg(&path).status()?;
        assert!(made.success());
        assert_eq!(taken(&model).await?, None, "a pipe in the place of {file}");
    }
    Ok(())
}

/// Sessions that are loaded later are in the same case as the first.
#[tokio::test]
async fn another_session_does_without_an_optimized_graph_that_has_gone() -> anyhow::Result<()> {
    let (_models, model, folder) = tiny().await?;
    let loaded = asked(&model, 3).await?;
    assert_eq!(loaded.optimized.as_ref(), Some(&folder));
    std::fs::remove_dir_all(folder)?;
    for _ in 0..2 {
        loaded.factory.load()?;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_kept_is_said() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let (model, _) = staged(&tiny_embed(), models.path(), &[]).await?;
    // A file where the folder should be: the same for every user.
    std::fs::write(model.join(OPTIMIZED), "")?;
    let (output, log) = optimize(&model).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("failed to write to") && log.contains(OPTIMIZED),
        "{log}"
    );
    let options = ["--optimized"];
    let (output, log) = stage(&tiny_embed(), models.path(), &options).await?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("is staged, but not optimized"), "{log}");
    let key = models.path().join("key");
    std::fs::write(&key, "")?;
    let mut command = tools().await?.program("worker");
    command.args(["optimize", "--model"]).arg(&model);
    let output = command.arg("--public-key").arg(&key).output().await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{log}");
    assert!(log.contains("no signature covers"), "{log}");
    assert!(model.join(MANIFEST).is_file());
    Ok(())
}

/// Nobody should write into files that are mapped. If somebody does, no job is to blame.
#[tokio::test]
async fn weights_that_are_overwritten_under_a_worker_make_no_dead_letters() -> anyhow::Result<()> {
    let bed = tests::Bed::impatient().await?;
    let models = bed.directory.path().join("models");
    let (model, _) = staged(&tiny_embed(), &models, &[]).await?;
    let name = bed.manifest.name.to_string();
    let manifest = std::fs::read_to_string(model.join(MANIFEST))?;
    let named = manifest.replace("\"name\": \"m\"", &format!("\"name\": \"{name}\""));
    std::fs::write(model.join(MANIFEST), named)?;
    let weights = optimized(&model).await?.join(WEIGHTS);
    let path = model.display().to_string();
    let arguments = ["--model", &path, "--optimized", "--grace", "2s", "--drain"];
    let mut first = bed.stack.worker("worker", &arguments[..5]).await?;
    let bytes = std::fs::metadata(&weights)?.len();
    let mut file = std::fs::File::options().write(true).open(&weights)?;
    // Not a number, whatever it is read as.
    std::io::Write::write_all(&mut file, &vec![0xFF; usize::try_from(bytes)?])?;
    for n in 0..9 {
        bed.publish_document(&format!("{n}"), 1, &["a text"])
            .await?;
    }
    let status = first.process.wait().await?;
    assert_eq!(status.code(), Some(1), "{status}");
    let mut second = bed.stack.worker("worker", &arguments).await?;
    let status = second.process.wait().await?;
    assert!(status.success(), "{status}");
    assert_eq!(bed.dead_letters().await?.len(), 0);
    assert_eq!(bed.points().await?.len(), 9);
    bed.end().await
}
