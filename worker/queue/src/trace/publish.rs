//! Publish: the span in which a job is handed to JetStream, and in which its trace begins.

use async_nats::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _};
use opentelemetry_sdk::trace::Span;

use super::{inject, tracer};

/// The span of one publish; it ends when dropped. Each job has a trace of its own: one for all the jobs of a rebuild
/// could not be looked at.
#[derive(Debug)]
pub struct Publish(Option<Span>);

impl Publish {
    /// A job of so many bytes is about to be published.
    #[must_use]
    pub fn begin(subject: &str, bytes: usize) -> Self {
        let Some(tracer) = tracer() else {
            return Self(None);
        };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let span = tracer
            .span_builder(format!("publish {subject}"))
            .with_kind(SpanKind::Producer)
            .with_attributes([
                KeyValue::new("messaging.system", "nats"),
                KeyValue::new("messaging.operation.name", "publish"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", subject.to_owned()),
                KeyValue::new("messaging.message.body.size", bytes),
            ]);
        Self(Some(span.start(tracer)))
    }

    /// Puts the span into the headers of the job.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(span) = &self.0 {
            inject(span.span_context(), headers);
        }
    }

    /// JetStream has the job, or had it before.
    pub fn stored(mut self, duplicate: bool) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("ebb.job.duplicate", duplicate));
        }
    }

    /// JetStream has not taken the job. `kind` is a short constant.
    pub fn failed(mut self, kind: String) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(""));
        }
    }
}
