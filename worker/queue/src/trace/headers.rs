//! Headers: the span that a job comes from, as W3C Trace Context writes it.

use async_nats::{HeaderMap, HeaderName};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Longest value that is read, in bytes: what Trace Context asks everybody to carry. A longer one is no trace.
const LONGEST_VALUE: usize = 512;

/// Puts a span into the headers of a job, as the one that whoever works on the job goes on with.
pub fn inject(span: &SpanContext, headers: &mut HeaderMap) {
    let context = Context::new().with_remote_span_context(span.clone());
    TraceContextPropagator::new().inject_context(&context, &mut Writing(headers));
}

/// The span that a job comes from. An empty context if its headers name none.
#[must_use]
pub fn origin(headers: Option<&HeaderMap>) -> Context {
    let nothing = Context::new();
    match headers {
        Some(headers) => {
            TraceContextPropagator::new().extract_with_context(&nothing, &Reading(headers))
        }
        None => nothing,
    }
}

struct Writing<'a>(&'a mut HeaderMap);

impl Injector for Writing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // A state that is empty says nothing, and a header without a value is one that some clients cannot read.
        if let Ok(name) = key.parse::<HeaderName>()
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

struct Reading<'a>(&'a HeaderMap);

impl Extractor for Reading<'_> {
    /// NATS tells `Traceparent` from `traceparent`; Trace Context does not, and its libraries write both.
    fn get(&self, key: &str) -> Option<&str> {
        let mut headers = self.0.iter();
        let (_, values) = headers.find(|(name, _)| name.to_string().eq_ignore_ascii_case(key))?;
        let value = values.first()?.as_str();
        (value.len() <= LONGEST_VALUE).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        headers
    }

    fn span(headers: &HeaderMap) -> SpanContext {
        origin(Some(headers)).span().span_context().clone()
    }

    #[test]
    fn a_span_comes_out_of_headers_as_it_went_in() {
        let from = span(&headers(&[("traceparent", PARENT), ("tracestate", "a=b")]));
        assert!(from.is_valid() && from.is_remote() && from.is_sampled());
        let mut carried = HeaderMap::new();
        inject(&from, &mut carried);
        assert_eq!(span(&carried), from);
        assert_eq!(carried.get("traceparent").unwrap().as_str(), PARENT);
        assert_eq!(carried.get("tracestate").unwrap().as_str(), "a=b");
    }

    #[test]
    fn the_case_of_a_header_does_not_matter() {
        assert!(span(&headers(&[("Traceparent", PARENT)])).is_valid());
        assert!(span(&headers(&[("TRACEPARENT", PARENT)])).is_valid());
    }

    #[test]
    fn what_is_no_trace_is_passed_over() {
        let long = format!("{PARENT}-{}", "x".repeat(LONGEST_VALUE));
        for value in ["", "00-0-0-01", "gibberish", &long] {
            assert!(!span(&headers(&[("traceparent", value)])).is_valid());
        }
        assert!(!origin(None).span().span_context().is_valid());
        let long = format!("a={}", "x".repeat(LONGEST_VALUE));
        let from = span(&headers(&[("traceparent", PARENT), ("tracestate", &long)]));
        assert!(from.is_valid());
        assert_eq!(from.trace_state().header(), "");
    }
}
