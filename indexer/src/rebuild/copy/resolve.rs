//! Resolve: what has to be done about each chunk of a batch.

use std::collections::{HashMap, HashSet};

use contract::digest::Digest;
use contract::job::{Chunk, Document};
use contract::model::Manifest;
use contract::point::{self, Stamp, field};

use crate::rebuild::balance::DeadPoints;
use crate::rebuild::look_up::{Wanted, vectors};
use crate::rebuild::write::{Draft, Target, id, number, text};

/// Tells for each batch of chunks what has to be done about it.
pub(in crate::rebuild) struct Copier<'a> {
    /// The generation; `None` only counts.
    pub(in crate::rebuild) target: Option<Target<'a>>,
    pub(in crate::rebuild) serving: Option<Target<'a>>,
    pub(in crate::rebuild) manifest: &'a Manifest,
    pub(in crate::rebuild) version: u64,
    pub(in crate::rebuild) run: &'a str,
    /// Points whose jobs were given up in an earlier attempt.
    pub(in crate::rebuild) dead: &'a DeadPoints,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Copied {
    pub(super) reused: u64,
    pub(super) present: u64,
    pub(super) rest: Vec<Document>,
}

/// A chunk with where its point is and what its text is.
struct Piece {
    id: String,
    digest: String,
    document: usize,
    chunk: Chunk,
}

impl Copier<'_> {
    /// Copies what can be copied; gives what has to be published.
    pub(super) async fn resolve(&self, documents: Vec<Document>) -> anyhow::Result<Copied> {
        let (documents, mut pieces) = pieces(documents);
        let mut copied = Copied::default();
        let present = self.present(&pieces).await?;
        let before = pieces.len();
        pieces.retain(|piece| !present.contains(&piece.id));
        copied.present = (before - pieces.len()) as u64;
        let mut drafts = Vec::new();
        if let Some(serving) = self.serving {
            let wanted: Vec<_> = pieces
                .iter()
                .map(|piece| Wanted {
                    id: &piece.id,
                    digest: &piece.digest,
                })
                .collect();
            let found = vectors(serving, self.manifest, &wanted).await?;
            let stamp = self.stamp();
            pieces.retain(|piece| {
                let Some(vector) = found.get(&piece.digest) else {
                    return true;
                };
                let document = &documents[piece.document];
                drafts.push(self.draft(&stamp, document, &piece.chunk, vector.clone()));
                false
            });
        }
        copied.reused = drafts.len() as u64;
        self.write(drafts, &documents).await?;
        copied.rest = joined(&documents, pieces);
        Ok(copied)
    }

    /// Points that the generation has already, or that are known to be dead letters.
    async fn present(&self, pieces: &[Piece]) -> anyhow::Result<HashSet<String>> {
        let Some(target) = self.target else {
            return Ok(HashSet::new());
        };
        let ids = pieces.iter().map(|piece| piece.id.clone()).collect();
        let fields = [field::VERSION, field::DIGEST];
        let found = target.get(ids, &fields, false).await?;
        let found: HashMap<_, _> = found.iter().map(|point| (id(point), point)).collect();
        let is_present = |piece: &&Piece| {
            let same = found.get(&piece.id).is_some_and(|point| {
                let version = number(point, field::VERSION);
                let digest = text(point, field::DIGEST);
                version > self.version
                    || (version == self.version && digest.as_ref() == Some(&piece.digest))
            });
            same || self.dead.contains_key(&piece.id)
        };
        Ok(pieces
            .iter()
            .filter(is_present)
            .map(|piece| piece.id.clone())
            .collect())
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            model: self.manifest.name.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            indexed_at: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            run: Some(self.run.to_owned()),
        }
    }

    fn draft(&self, stamp: &Stamp, document: &Document, chunk: &Chunk, vector: Vec<f32>) -> Draft {
        Draft {
            version: self.version,
            deleted: false,
            point: point::chunk_point(stamp, document, chunk, self.version, vector),
        }
    }

    /// Nothing in the generation is newer yet, unless this process was suspended and another one went on: what it
    /// then writes too late, it removes itself.
    async fn write(&self, drafts: Vec<Draft>, documents: &[Document]) -> anyhow::Result<()> {
        let Some(target) = self.target.filter(|_| !drafts.is_empty()) else {
            return Ok(());
        };
        target.upsert(drafts).await?;
        let doc_ids: Vec<_> = documents
            .iter()
            .map(|document| document.id.clone())
            .collect();
        let heads = target.heads(&doc_ids).await?;
        let newer = heads
            .into_iter()
            .filter(|(_, head)| head.version > self.version);
        let newer: Vec<_> = newer.map(|(doc_id, _)| doc_id).collect();
        target.clean(&newer).await
    }
}

/// Takes documents apart; they keep all but their chunks.
fn pieces(mut documents: Vec<Document>) -> (Vec<Document>, Vec<Piece>) {
    let mut pieces = Vec::new();
    for (number, document) in documents.iter_mut().enumerate() {
        for chunk in std::mem::take(&mut document.chunks) {
            let input = Chunk::model_input("", chunk.context.as_deref(), &chunk.text);
            pieces.push(Piece {
                id: point::point_id(&document.id, chunk.index.unwrap_or(0)).to_string(),
                digest: Digest::of(input.as_bytes()).into(),
                document: number,
                chunk,
            });
        }
    }
    (documents, pieces)
}

/// The documents that still have chunks, with these.
fn joined(documents: &[Document], pieces: Vec<Piece>) -> Vec<Document> {
    let mut joined: Vec<(usize, Document)> = Vec::new();
    for piece in pieces {
        if joined
            .last()
            .is_none_or(|(number, _)| *number != piece.document)
        {
            joined.push((piece.document, documents[piece.document].clone()));
        }
        if let Some((_, document)) = joined.last_mut() {
            document.chunks.push(piece.chunk);
        }
    }
    joined.into_iter().map(|(_, document)| document).collect()
}
