//! Request: what Qdrant is asked. A hybrid search is one request: each part is a prefetch, and the server fuses them. Where a
//! multivector orders what was found, all of that is a prefetch in its turn.

use contract::bm25::{self, Bm25Options};
use contract::embedding::Embedding;
use points::vectors::document;
use qdrant_client::qdrant::{
    self as proto, Filter, MultiDenseVector, PrefetchQuery, QuantizationSearchParams, QueryPoints,
    Rrf, SearchParams, SparseVector, VectorInput, WithPayloadSelector, query, vector_input,
};

use super::{Fusion, Mode, Search};

/// Name of the part by the model's vector.
pub const DENSE: &str = "dense";
/// Name of the part by words.
pub const WORDS: &str = bm25::VECTOR;

/// Chunks that are asked for at first for each document that is wanted. The same for whoever searches and whoever measures.
pub const CHUNKS_PER_DOCUMENT: usize = 4;
/// Hits of each part that are fused: so many that a good hit of one part is seldom missing in the other, where it would
/// count for nothing. The same for whoever searches and whoever measures, or the figures would say little.
pub const PREFETCH: usize = 1000;

/// A query, in the forms that its mode needs.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Name of the model's vector, and that of the query.
    pub dense: Option<(&'a str, &'a Embedding)>,
    /// The text, and how the collection's words are made.
    pub words: Option<(&'a str, &'a Bm25Options)>,
    /// Name of the multivector that orders what was found, and that of the query. Points that lack it are no hits.
    pub order: Option<(&'a str, &'a Embedding)>,
}

/// A search in a collection.
#[derive(Clone, Debug)]
pub struct SearchRequest<'a> {
    pub collection: &'a str,
    pub search: Search,
    pub filter: Filter,
    /// Whether vectors are compared one by one, without the graph.
    pub exact: bool,
    /// How quantized copies of the vectors are searched in, as every search of the alias does.
    pub quantization: Option<QuantizationSearchParams>,
    /// Hits of each part that are fused.
    pub candidates: u64,
    pub payload: WithPayloadSelector,
}

impl SearchRequest<'_> {
    /// The request; `limit` hits after the first `offset`.
    pub fn request(&self, question: &Question<'_>, limit: u64, offset: u64) -> QueryPoints {
        let Some((name, vector)) = question.order else {
            return self.found(question, limit, offset);
        };
        let found = self.found(question, self.candidates, 0);
        let found = PrefetchQuery {
            prefetch: found.prefetch,
            query: found.query,
            using: found.using,
            filter: found.filter,
            params: found.params,
            limit: found.limit,
            ..PrefetchQuery::default()
        };
        QueryPoints {
            prefetch: vec![found],
            limit: Some(limit),
            offset: Some(offset),
            with_payload: Some(self.payload.clone()),
            ..self.part(name, nearest_to(vector), None)
        }
    }

    /// The query for the hits of the parts, fused where there are several.
    fn found(&self, question: &Question<'_>, limit: u64, offset: u64) -> QueryPoints {
        let mut parts = self.parts(question);
        if self.search.mode != Mode::Hybrid
            && let Some((_, mut only)) = parts.pop()
        {
            (only.limit, only.offset) = (Some(limit), Some(offset));
            only.with_payload = Some(self.payload.clone());
            return only;
        }
        let prefetch = parts.into_iter().map(|(_, part)| PrefetchQuery {
            query: part.query,
            using: part.using,
            params: part.params,
            limit: part.limit,
            ..PrefetchQuery::default()
        });
        QueryPoints {
            collection_name: self.collection.to_owned(),
            prefetch: prefetch.collect(),
            query: Some(fusion(&self.search)),
            filter: Some(self.filter.clone()),
            limit: Some(limit),
            offset: Some(offset),
            with_payload: Some(self.payload.clone()),
            ..QueryPoints::default()
        }
    }

    /// Each part by itself, without payload: what the fusion is made of.
    pub fn parts(&self, question: &Question<'_>) -> Vec<(&'static str, QueryPoints)> {
        let mode = self.search.mode;
        let dense = question.dense.filter(|_| mode.has_dense());
        let dense = dense.map(|(name, vector)| {
            let quantized = matches!(vector, Embedding::Dense(_));
            let quantization = self.quantization.filter(|_| quantized);
            (DENSE, self.part(name, nearest_to(vector), quantization))
        });
        let words = question.words.filter(|_| mode.has_words());
        let words = words.map(|(text, options)| {
            let nearest = vector_input::Variant::Document(document(text.to_owned(), options));
            (WORDS, self.part(bm25::VECTOR, nearest, None))
        });
        dense.into_iter().chain(words).collect()
    }

    fn part(
        &self,
        vector: &str,
        nearest: vector_input::Variant,
        quantization: Option<QuantizationSearchParams>,
    ) -> QueryPoints {
        let nearest = query::Variant::Nearest(VectorInput {
            variant: Some(nearest),
        });
        QueryPoints {
            collection_name: self.collection.to_owned(),
            query: Some(proto::Query {
                variant: Some(nearest),
            }),
            using: Some(vector.to_owned()),
            filter: Some(self.filter.clone()),
            params: (self.exact || quantization.is_some()).then(|| SearchParams {
                exact: self.exact.then_some(true),
                quantization,
                ..SearchParams::default()
            }),
            limit: Some(self.candidates),
            ..QueryPoints::default()
        }
    }
}

fn nearest_to(vector: &Embedding) -> vector_input::Variant {
    let dense = |values: &[f32]| proto::DenseVector {
        data: values.to_vec(),
    };
    match vector {
        Embedding::Dense(values) => vector_input::Variant::Dense(dense(values)),
        Embedding::Sparse { indices, values } => vector_input::Variant::Sparse(SparseVector {
            indices: indices.clone(),
            values: values.clone(),
        }),
        Embedding::Multi { dim, values } => {
            let vectors = values.chunks_exact((*dim).max(1)).map(dense).collect();
            vector_input::Variant::MultiDense(MultiDenseVector { vectors })
        }
    }
}

fn fusion(search: &Search) -> proto::Query {
    let variant = match search.fusion {
        Fusion::Dbsf => query::Variant::Fusion(proto::Fusion::Dbsf.into()),
        Fusion::Rrf => query::Variant::Rrf(Rrf {
            k: Some(search.rrf_k),
            weights: search
                .weights
                .map(|weights| vec![weights.dense, weights.bm25])
                .unwrap_or_default(),
        }),
    };
    proto::Query {
        variant: Some(variant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantized_copies_are_searched_in_as_the_alias_says_and_words_have_none() {
        let quantization = QuantizationSearchParams {
            rescore: Some(true),
            oversampling: Some(2.0),
            ..QuantizationSearchParams::default()
        };
        let options = Bm25Options::of_language("english");
        let vector = Embedding::Dense(vec![0.6, 0.8]);
        let question = Question {
            dense: Some(("m", &vector)),
            words: Some(("pump", &options)),
            order: None,
        };
        let asking = |mode| SearchRequest {
            collection: "docs",
            search: Search::of(mode),
            filter: Filter::default(),
            exact: false,
            quantization: Some(quantization),
            candidates: 9,
            payload: true.into(),
        };
        let params = Some(SearchParams {
            quantization: Some(quantization),
            ..SearchParams::default()
        });
        let dense = asking(Mode::Dense).request(&question, 5, 0);
        assert_eq!((dense.params, dense.limit), (params.clone(), Some(5)));
        let words = asking(Mode::Sparse).request(&question, 5, 0);
        assert_eq!(words.params, None);
        let hybrid = asking(Mode::Hybrid).request(&question, 5, 0);
        let parts = hybrid
            .prefetch
            .iter()
            .map(|part| (part.params.clone(), part.limit));
        assert_eq!(
            parts.collect::<Vec<_>>(),
            [(params, Some(9)), (None, Some(9))]
        );
    }

    #[test]
    fn a_multivector_orders_what_the_parts_have_found() {
        let options = Bm25Options::of_language("english");
        let vector = Embedding::Dense(vec![0.6, 0.8]);
        let tokens = Embedding::Multi {
            dim: 2,
            values: vec![1.0, 0.0, 0.0, 1.0],
        };
        let question = Question {
            dense: Some(("m", &vector)),
            words: Some(("pump", &options)),
            order: Some(("tokens", &tokens)),
        };
        let asking = |mode| SearchRequest {
            collection: "docs",
            search: Search::of(mode),
            filter: Filter::default(),
            exact: false,
            quantization: None,
            candidates: 9,
            payload: true.into(),
        };
        for (mode, parts) in [(Mode::Hybrid, 2), (Mode::Sparse, 0)] {
            let request = asking(mode).request(&question, 5, 1);
            assert_eq!(request.using.as_deref(), Some("tokens"));
            assert_eq!((request.limit, request.offset), (Some(5), Some(1)));
            let [found] = request.prefetch.as_slice() else {
                panic!("{request:?}");
            };
            assert_eq!((found.limit, found.prefetch.len()), (Some(9), parts));
        }
    }
}
