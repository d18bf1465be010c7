//! Request: what Qdrant is asked. A hybrid search is one request: each part is a prefetch, and the server fuses them.

use contract::bm25::{self, Bm25Options};
use points::vectors::document;
use qdrant_client::qdrant::{
    self as proto, Filter, PrefetchQuery, QuantizationSearchParams, QueryPoints, Rrf, SearchParams,
    VectorInput, WithPayloadSelector, query, vector_input,
};

use super::{Fusion, Mode, Search};

/// Name of the part by the model's vector.
pub const DENSE: &str = "dense";
/// Name of the part by words.
pub const WORDS: &str = bm25::VECTOR;

/// Hits of each part that are fused: so many that a good hit of one part is seldom missing in the other, where it would
/// count for nothing. The same for whoever searches and whoever measures, or the figures would say little.
pub const PREFETCH: usize = 1000;

/// A query, in the forms that its mode needs.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Name of the model's vector, and that of the query.
    pub dense: Option<(&'a str, &'a [f32])>,
    /// The text, and how the collection's words are made.
    pub words: Option<(&'a str, &'a Bm25Options)>,
}

/// What is asked of a collection.
#[derive(Clone, Debug)]
pub struct Asking<'a> {
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

impl Asking<'_> {
    /// The request; `limit` hits after the first `offset`.
    pub fn request(&self, question: &Question<'_>, limit: u64, offset: u64) -> QueryPoints {
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
            let data = vector.to_vec();
            let nearest = vector_input::Variant::Dense(proto::DenseVector { data });
            (DENSE, self.part(name, nearest, self.quantization))
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
        let question = Question {
            dense: Some(("m", &[0.6, 0.8])),
            words: Some(("pump", &options)),
        };
        let asking = |mode| Asking {
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
}
