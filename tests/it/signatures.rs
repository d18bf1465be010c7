//! Signatures: with a public key configured, everybody refuses a model that is not what was signed.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Output;

use contract::model::{MANIFEST, SIGNATURE};
use minisign::KeyPair;
use tests::{Bed, tiny_embed};

struct Signer {
    keys: KeyPair,
    /// File of the public key.
    public: PathBuf,
}

impl Signer {
    fn new(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let keys = KeyPair::generate_unencrypted_keypair()?;
        let public = directory.join(format!("{name}.pub"));
        std::fs::write(&public, keys.pk.to_box()?.into_string())?;
        Ok(Self { keys, public })
    }

    /// Signs a model's manifest as the tool does it; gives the file of the signature.
    fn sign(&self, model: &Path, file: PathBuf) -> anyhow::Result<PathBuf> {
        let manifest = Cursor::new(std::fs::read(model.join(MANIFEST))?);
        let signature = minisign::sign(None, &self.keys.sk, manifest, None, None)?;
        std::fs::write(&file, signature.into_string())?;
        Ok(file)
    }
}

/// A copy of the staged model of a test, to be signed and altered.
fn copy(bed: &Bed, name: &str) -> anyhow::Result<PathBuf> {
    let target = bed.directory.path().join(name);
    std::fs::create_dir_all(target.join("onnx"))?;
    for file in [MANIFEST, "tokenizer.json", "onnx/model.onnx"] {
        std::fs::copy(bed.stack.model.join(file), target.join(file))?;
    }
    Ok(target)
}

/// Runs a program with a model and a public key.
async fn with_key(
    bed: &Bed,
    program: &str,
    verb: &[&str],
    model: &Path,
    key: &Path,
) -> anyhow::Result<Output> {
    let mut command = bed.stack.program(program);
    command
        .args(verb)
        .env("EBB_MODEL", model)
        .env("EBB_PUBLIC_KEY", key);
    Ok(command.output().await?)
}

/// All that a program has printed.
fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

const PROGRAMS: [(&str, &[&str]); 3] = [
    ("worker", &["run", "--drain"]),
    ("worker", &["check"]),
    ("indexer", &["provision", "--check"]),
];

async fn everybody_refuses(
    bed: &Bed,
    model: &Path,
    key: &Path,
    reason: &str,
) -> anyhow::Result<()> {
    for (program, verb) in PROGRAMS {
        let output = with_key(bed, program, verb, model, key).await?;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{program} {verb:?}: {said}");
        assert!(said.contains(reason), "{program} {verb:?}: {said}");
    }
    Ok(())
}

async fn everybody_accepts(bed: &Bed, model: &Path, key: &Path) -> anyhow::Result<()> {
    for (program, verb) in PROGRAMS {
        let output = with_key(bed, program, verb, model, key).await?;
        assert!(
            output.status.success(),
            "{program} {verb:?}: {}",
            said(&output)
        );
    }
    Ok(())
}

/// Replaces a part of a file by another of the same length.
fn alter(file: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)?;
    assert!(text.contains(from));
    Ok(std::fs::write(file, text.replacen(from, to, 1))?)
}

#[tokio::test]
async fn a_signed_model_is_used_and_an_unsigned_altered_or_otherwise_signed_one_refused()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let ours = Signer::new(bed.directory.path(), "ours")?;
    let theirs = Signer::new(bed.directory.path(), "theirs")?;
    let model = copy(&bed, "model")?;
    everybody_refuses(&bed, &model, &ours.public, "is not signed").await?;
    let signature = ours.sign(&model, model.join(SIGNATURE))?;
    everybody_accepts(&bed, &model, &ours.public).await?;
    everybody_refuses(&bed, &model, &theirs.public, "is another key's").await?;
    let good = std::fs::read(&signature)?;
    theirs.sign(&model, model.join(SIGNATURE))?;
    everybody_refuses(&bed, &model, &ours.public, "is another key's").await?;
    std::fs::write(&signature, "scribbled")?;
    everybody_refuses(&bed, &model, &ours.public, "is no minisign signature").await?;
    std::fs::write(&signature, good)?;
    // What no fingerprint covers is signed all the same: who a model is, and what it must give.
    let manifest = std::fs::read(model.join(MANIFEST))?;
    alter(
        &model.join(MANIFEST),
        "\"name\": \"tiny\"",
        "\"name\": \"tiNy\"",
    )?;
    everybody_refuses(&bed, &model, &ours.public, "is not that of its content").await?;
    std::fs::write(model.join(MANIFEST), manifest)?;
    everybody_accepts(&bed, &model, &ours.public).await?;
    // A public key alone, without its comment, is one as well.
    let line = std::fs::read_to_string(&ours.public)?;
    let line = line.lines().nth(1).unwrap_or_default();
    let bare = bed.directory.path().join("bare.pub");
    std::fs::write(&bare, line)?;
    everybody_accepts(&bed, &model, &bare).await?;
    std::fs::write(&bare, "no key")?;
    everybody_refuses(&bed, &model, &bare, "is no minisign public key").await?;
    bed.end().await
}

#[tokio::test]
async fn the_signature_of_a_manifest_vouches_for_weights_and_tokenizer() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let ours = Signer::new(bed.directory.path(), "ours")?;
    let model = copy(&bed, "model")?;
    ours.sign(&model, model.join(SIGNATURE))?;
    let tokenizer = std::fs::read(model.join("tokenizer.json"))?;
    alter(&model.join("tokenizer.json"), "version", "versiom")?;
    everybody_refuses(&bed, &model, &ours.public, "tokenizer.json` was altered").await?;
    std::fs::write(model.join("tokenizer.json"), tokenizer)?;
    let graph = model.join("onnx/model.onnx");
    let mut bytes = std::fs::read(&graph)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&graph, bytes)?;
    for verb in [&["run", "--drain"][..], &["check"]] {
        let output = with_key(&bed, "worker", verb, &model, &ours.public).await?;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("model.onnx` was altered"), "{said}");
    }
    bed.end().await
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_bad_configuration() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for (program, verb) in PROGRAMS {
        let output = with_key(&bed, program, verb, &bed.stack.model, Path::new("/no/key")).await?;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(
            said.contains("--public-key") && said.contains("/no/key"),
            "{said}"
        );
    }
    bed.end().await
}

/// Stages with options; gives the output.
async fn stage(bed: &Bed, source: &Path, options: &[(&str, &Path)]) -> anyhow::Result<Output> {
    let mut command = bed.stack.tools.program("worker");
    command
        .arg("stage")
        .arg(source)
        .args(["--name", "tiny", "--models"]);
    command.arg(bed.directory.path().join("models"));
    for (option, file) in options {
        command.arg(option).arg(file);
    }
    Ok(command.output().await?)
}

fn says(output: &Output, words: &str) {
    let said = said(output);
    assert!(said.contains(words), "{said}");
}

#[tokio::test]
async fn staging_adds_a_signature_to_a_model_and_takes_it_along_to_the_next_place()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let models = bed.directory.path().join("models");
    let ours = Signer::new(bed.directory.path(), "ours")?;
    let theirs = Signer::new(bed.directory.path(), "theirs")?;
    let (key, other) = (ours.public.as_path(), theirs.public.as_path());
    let source = tiny_embed();
    let refused = stage(&bed, &source, &[("--public-key", key)]).await?;
    assert_eq!(refused.status.code(), Some(1));
    says(&refused, "is not signed");
    let staged = std::fs::read_dir(&models)?.count();
    assert_eq!(staged, 0, "nothing is put in place");
    // First staged, then signed where the secret key is, then staged once more with the signature.
    let unsigned = stage(&bed, &source, &[]).await?;
    let model = PathBuf::from(String::from_utf8(unsigned.stdout)?.trim());
    let signature = ours.sign(&model, bed.directory.path().join("signature"))?;
    let refused = stage(
        &bed,
        &source,
        &[("--signature", &signature), ("--public-key", other)],
    )
    .await?;
    says(&refused, "is another key's");
    assert!(!model.join(SIGNATURE).exists());
    let without_key = stage(&bed, &source, &[("--signature", &signature)]).await?;
    assert_eq!(
        without_key.status.code(),
        Some(64),
        "{}",
        said(&without_key)
    );
    let signed = stage(
        &bed,
        &source,
        &[("--signature", &signature), ("--public-key", key)],
    )
    .await?;
    assert!(signed.status.success(), "{}", said(&signed));
    everybody_accepts(&bed, &model, key).await?;
    assert!(
        stage(&bed, &source, &[("--public-key", key)])
            .await?
            .status
            .success()
    );
    // The staged model with its signature is a source itself.
    let elsewhere = bed.directory.path().join("elsewhere");
    std::fs::rename(&models, &elsewhere)?;
    let there = elsewhere.join(model.strip_prefix(&models)?);
    let taken = stage(&bed, &there, &[("--public-key", key)]).await?;
    assert!(taken.status.success(), "{}", said(&taken));
    everybody_accepts(&bed, &model, key).await?;
    let refused = stage(&bed, &there, &[("--public-key", other)]).await?;
    says(&refused, "is another key's");
    bed.end().await
}
