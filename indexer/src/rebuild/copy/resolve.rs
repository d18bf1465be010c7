//! Resolve: what has to be done about each chunk of a batch.

use std::collections::HashMap;

use contract::field;
use contract::job::{Chunk, Document};
use contract::model::Manifest;
use contract::score::SCORES;
use points::change::Copied as CopiedPoint;
use points::guard::Guard;
use points::payload::{id, number, text};
use points::point::{self, WriteStamp};
use points::reuse::Wanted;
use points::schema::Schema;
use points::selection::VectorSelection;
use points::{Points, point_id};

use crate::generation::collection::is_same_model;
use crate::generation::known_vectors::{self, Known};
use crate::generation::ledger::DeadPoints;

/// Tells for each batch of chunks what has to be done about it.
#[derive(Clone)]
pub struct Copier<'a> {
    /// The generation; `None` only counts.
    pub target: Option<Points<'a>>,
    /// The schema of the generation, which a writer must know.
    pub schema: Schema,
    /// The serving collection, with what is read of its points; `None` if nothing of it can be reused.
    pub serving: Option<(Points<'a>, VectorSelection)>,
    pub manifest: &'a Manifest,
    pub version: u64,
    pub run: &'a str,
    /// Points whose jobs were given up in an earlier attempt.
    pub dead: &'a DeadPoints,
}

/// The result for a batch.
#[derive(Default)]
pub struct Copied {
    pub reused: u64,
    pub present: u64,
    pub superseded: u64,
    pub rest: Vec<Document>,
}

/// A chunk with where its point is and what its text is.
struct Piece {
    id: String,
    digest: String,
    document: usize,
    chunk: Chunk,
}

impl Piece {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            id: &self.id,
            digest: &self.digest,
        }
    }
}

/// Points of a batch that the generation has already.
#[derive(Default)]
struct ExistingPoints {
    /// Versions and digests of points.
    points: HashMap<String, (u64, String)>,
    /// Whether each document was replaced by something newer.
    newer: Vec<bool>,
}

/// The state of a chunk in the generation.
enum State {
    Absent,
    /// The chunk, or a dead letter that was to make it.
    Present,
    /// Something newer than its document.
    Superseded,
}

impl ExistingPoints {
    fn state(&self, piece: &Piece, copier: &Copier<'_>) -> State {
        let found = self.points.get(&piece.id);
        let same = found
            .is_some_and(|(version, digest)| *version == copier.version && *digest == piece.digest);
        let newer = self.newer.get(piece.document).is_some_and(|newer| *newer);
        let is_dead = copier.dead.contains_key(&piece.id);
        if newer && (found.is_some() || !is_dead) {
            State::Superseded
        } else if same || is_dead {
            State::Present
        } else {
            State::Absent
        }
    }
}

/// What of a serving collection can be reused: nothing of another model's, and nothing where all is made again.
pub async fn reusable<'a>(
    serving: Points<'a>,
    manifest: &Manifest,
    full: bool,
) -> anyhow::Result<Option<(Points<'a>, VectorSelection)>> {
    if full || !is_same_model(serving.store, serving.collection, manifest).await? {
        return Ok(None);
    }
    let selection = serving.select([manifest.name.as_str()]).await?;
    Ok(Some((serving, selection)))
}

impl Copier<'_> {
    /// Copies what can be copied; gives what has to be published.
    pub async fn resolve(&self, documents: Vec<Document>) -> anyhow::Result<Copied> {
        let (documents, mut pieces) = pieces(documents);
        let mut copied = Copied::default();
        let found = self.found(&pieces, &documents).await?;
        pieces.retain(|piece| match found.state(piece, self) {
            State::Absent => true,
            State::Present => {
                copied.present += 1;
                false
            }
            State::Superseded => {
                copied.superseded += 1;
                false
            }
        });
        let mut drafts = Vec::new();
        if let Some((serving, selection)) = &self.serving {
            let wanted: Vec<_> = pieces.iter().map(Piece::wanted).collect();
            let serving = (*serving, selection);
            let found = known_vectors::find(serving, self.manifest, &wanted).await?;
            let stamp = self.stamp();
            pieces.retain(|piece| {
                let Some(vector) = found.vector(&piece.digest) else {
                    return true;
                };
                let known = Known {
                    vector: vector.clone(),
                    scores: found.scores(&piece.wanted()),
                };
                let document = &documents[piece.document];
                drafts.push(self.draft(&stamp, document, &piece.chunk, known));
                false
            });
        }
        copied.reused = drafts.len() as u64;
        self.write(drafts, &documents).await?;
        copied.rest = joined(&documents, pieces);
        Ok(copied)
    }

    /// Looks up the points of these chunks in the generation.
    async fn found(
        &self,
        pieces: &[Piece],
        documents: &[Document],
    ) -> anyhow::Result<ExistingPoints> {
        let Some(target) = self.target else {
            return Ok(ExistingPoints::default());
        };
        let ids = pieces.iter().map(|piece| piece.id.as_str());
        let fields = [field::VERSION, field::DIGEST];
        let points = target.get(ids, &fields).await?;
        let doc_ids: Vec<_> = documents.iter().map(|it| it.id.clone()).collect();
        let heads = target.heads(&doc_ids).await?;
        let is_newer = |it: &Document| {
            let head = heads.get(&it.id);
            head.is_some_and(|head| head.version > self.version)
        };
        let newer: Vec<_> = documents.iter().map(is_newer).collect();
        // Whoever wrote the newer head may have died before it removed the rest.
        let replaced = doc_ids.into_iter().zip(&newer);
        let replaced = replaced.filter_map(|(doc_id, newer)| newer.then_some(doc_id));
        let replaced: Vec<_> = replaced.collect();
        target.clean(&replaced, &self.schema).await?;
        Ok(ExistingPoints {
            points: points
                .iter()
                .map(|point| {
                    let digest = text(point, field::DIGEST).unwrap_or_default();
                    (id(point), (number(point, field::VERSION), digest))
                })
                .collect(),
            newer,
        })
    }

    fn stamp(&self) -> WriteStamp {
        WriteStamp {
            model: self.manifest.name.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            indexed_at: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            run: Some(self.run.to_owned()),
        }
    }

    /// Scores are of the text, as the vector is.
    fn draft(
        &self,
        stamp: &WriteStamp,
        document: &Document,
        chunk: &Chunk,
        known: Known,
    ) -> CopiedPoint {
        let mut point =
            point::chunk_point(stamp, document, chunk, self.version, known.vector.into());
        let scores = known.scores.map(|scores| (SCORES.to_owned(), scores));
        point.payload.extend(scores);
        let guard = Guard {
            version: self.version,
            deletes: false,
        };
        CopiedPoint { guard, point }
    }

    /// Nothing in the generation is newer yet, unless this process was suspended and another one went on: what it
    /// then writes too late, it removes itself.
    async fn write(&self, drafts: Vec<CopiedPoint>, documents: &[Document]) -> anyhow::Result<()> {
        let Some(target) = self.target.filter(|_| !drafts.is_empty()) else {
            return Ok(());
        };
        target.copy(&drafts, &self.schema).await?;
        let doc_ids: Vec<_> = documents
            .iter()
            .map(|document| document.id.clone())
            .collect();
        let heads = target.heads(&doc_ids).await?;
        let newer = heads
            .into_iter()
            .filter(|(_, head)| head.version > self.version);
        let newer: Vec<_> = newer.map(|(doc_id, _)| doc_id).collect();
        Ok(target.clean(&newer, &self.schema).await?)
    }
}

/// Takes documents apart; they keep all but their chunks.
fn pieces(mut documents: Vec<Document>) -> (Vec<Document>, Vec<Piece>) {
    let mut pieces = Vec::new();
    for (number, document) in documents.iter_mut().enumerate() {
        for chunk in std::mem::take(&mut document.chunks) {
            pieces.push(Piece {
                id: point_id(&document.id, chunk.index.unwrap_or(0)).to_string(),
                digest: chunk.digest().into(),
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
