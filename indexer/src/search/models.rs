//! Models: which ones a search asks, and what their vectors are for.

use std::path::PathBuf;

use anyhow::Context as _;
use contract::model::{Manifest, OutputKind};
use contract::names::VectorName;
use contract::topology::Task;
use points::collection;
use points::vectors::CollectionVectors;
use qdrant_client::qdrant::CollectionInfo;

use super::SearchConfig;
use crate::config::ModelDir;
use crate::retrieval::Mode;

/// The models that are asked for vectors of the query, each with the name of its vector.
pub(super) struct Models {
    /// The part of the mode that is no words.
    pub(super) dense: Option<(String, Manifest)>,
    /// Vector and model that order the hits.
    pub(super) order: Option<(String, Manifest)>,
}

impl Models {
    pub(super) fn are_asked(&self) -> bool {
        self.dense.is_some() || self.order.is_some()
    }
}

impl SearchConfig {
    /// The models that are asked, by what their vectors are for.
    pub(super) fn models(&self, mode: Mode, info: &CollectionInfo) -> anyhow::Result<Models> {
        let Some(vector) = &self.vector else {
            let primary = mode
                .has_dense()
                .then(|| self.primary(&self.model, mode, info));
            return Ok(Models {
                dense: primary.transpose()?,
                order: None,
            });
        };
        let model = self.model_dir(&self.model);
        let model = model.context("--vector needs the model that makes it; give --model")?;
        let manifest = model.manifest()?;
        let kind = self.check_vector(vector, info, &manifest)?;
        let own = Some((vector.to_string(), manifest));
        if kind == OutputKind::Multi {
            let first = mode
                .has_dense()
                .then(|| self.primary(&self.first_model, mode, info));
            return Ok(Models {
                dense: first.transpose()?,
                order: own,
            });
        }
        anyhow::ensure!(
            mode.has_dense(),
            "a search by words alone uses no {kind} vector of a model; leave out --vector, or give --mode dense or hybrid"
        );
        anyhow::ensure!(
            self.first_model.is_none(),
            "vector `{vector}` of `{}` is {kind}, and takes the place of the collection's own; leave out --first-model",
            self.collection
        );
        Ok(Models {
            dense: own,
            order: None,
        })
    }

    /// The model that the collection is for, and the name of its vector.
    fn primary(
        &self,
        model: &Option<PathBuf>,
        mode: Mode,
        info: &CollectionInfo,
    ) -> anyhow::Result<(String, Manifest)> {
        let option = match self.vector {
            Some(_) => "--first-model",
            None => "--model",
        };
        let model = self.model_dir(model).with_context(|| {
            format!(
                "mode {mode} needs the model of the collection; give {option}, or --mode sparse"
            )
        })?;
        let manifest = model.manifest()?;
        collection::check(&self.collection, info, &manifest)?;
        Ok((manifest.name.to_string(), manifest))
    }

    /// Whether the collection has this attached vector by this model, and of which kind it is.
    fn check_vector(
        &self,
        vector: &VectorName,
        info: &CollectionInfo,
        manifest: &Manifest,
    ) -> anyhow::Result<OutputKind> {
        let (collection, name) = (&self.collection, &manifest.name);
        let vectors = CollectionVectors::of(info)?;
        let attached = vectors.attached_as(vector.as_str()).with_context(|| {
            let names: Vec<_> = vectors.attached().map(|it| it.name).collect();
            let names = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            format!("`{collection}` has no attached vector `{vector}`; attached are: {names}")
        })?;
        anyhow::ensure!(
            attached.model.fingerprint == manifest.fingerprint,
            "vector `{vector}` of `{collection}` is of model `{}` ({}), --model is `{name}` ({})",
            attached.model.name,
            attached.model.fingerprint,
            manifest.fingerprint
        );
        Ok(attached.kind)
    }

    /// The cross-encoder, if one is asked for. It must give one score, because hits are ordered by it.
    pub(super) fn rescorer(&self) -> anyhow::Result<Option<Manifest>> {
        let Some(model) = &self.rescore else {
            return Ok(None);
        };
        let dir = ModelDir {
            model: model.clone(),
            public_key: self.public_key.clone(),
        };
        let manifest = dir.manifest()?;
        let identity = &manifest.identity;
        anyhow::ensure!(
            identity.task == Task::Rescore && identity.dimensions == 1,
            "model `{}` gives no single score for a pair; --rescore needs a cross-encoder",
            manifest.name
        );
        Ok(Some(manifest))
    }
}
