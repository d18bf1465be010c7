//! Trace: the spans of a job, from its delivery to its settlement.
//!
//! ```text
//! publish --> process                 the publisher's trace, or a new one; linked to `receive`
//!               |- encode, embed, upsert  what its batch went through
//!               '- ack                    or nak, term
//! receive                             one pull, in a trace of its own; linked to each `publish`
//! ```
//! A batch has jobs of many publishers, so its stages are in the trace of each. No span is made where traces are off.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::Message;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;
use queue::trace::{origin, tracer};

#[derive(Clone, Debug)]
pub struct Receive(Option<SpanContext>);

/// The span of a job that was delivered; it ends when dropped.
#[derive(Debug)]
pub struct Process(Option<Context>);

impl Receive {
    /// A pull of this consumer, which has brought the messages, has ended `elapsed` after it began.
    pub fn ended(consumer: &str, messages: &[Message], elapsed: Duration) -> Self {
        let Some(tracer) = tracer().filter(|_| !messages.is_empty()) else {
            return Self(None);
        };
        let origins = messages
            .iter()
            .map(|message| origin(message.headers.as_ref()));
        let spans = origins.map(|origin| origin.span().span_context().clone());
        let links = spans
            .filter(SpanContext::is_valid)
            .map(Link::with_context)
            .collect();
        let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
        let span = past(format!("receive {consumer}"), elapsed)
            .with_kind(SpanKind::Client)
            .with_links(links)
            .with_attributes([
                KeyValue::new("messaging.system", "nats"),
                KeyValue::new("messaging.operation.name", "receive"),
                KeyValue::new("messaging.operation.type", "receive"),
                KeyValue::new("messaging.consumer.group.name", consumer.to_owned()),
                KeyValue::new("messaging.batch.message_count", count),
            ]);
        let span = tracer.build_with_context(span, &Context::new());
        let context = Context::new().with_span(span);
        Self(Some(context.span().span_context().clone()))
    }
}

impl Process {
    /// A job was delivered; the parent of its span is that of its publisher.
    pub fn begin(message: &Message, receive: &Receive) -> Self {
        let Some(tracer) = tracer() else {
            return Self(None);
        };
        let parent = origin(message.headers.as_ref());
        let subject = message.subject.as_str();
        let links = receive.0.iter().cloned().map(Link::with_context).collect();
        let span = SpanBuilder::from_name(format!("process {subject}"))
            .with_kind(SpanKind::Consumer)
            .with_links(links)
            .with_attributes(attributes(message));
        let span = tracer.build_with_context(span, &parent);
        Self(Some(Context::new().with_span(span)))
    }

    /// The batch of the job, which has `jobs` in all, has left a stage after `elapsed`.
    pub fn stage(&self, stage: &'static str, elapsed: Duration, jobs: usize) {
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        let mut attributes = vec![KeyValue::new("ebb.batch.jobs", jobs)];
        let kind = if stage == "upsert" {
            attributes.push(KeyValue::new("db.system.name", "qdrant"));
            SpanKind::Client
        } else {
            SpanKind::Internal
        };
        let span = past(stage, elapsed).with_kind(kind);
        drop(self.child(span.with_attributes(attributes)));
    }

    /// A settlement was sent to JetStream, which took `elapsed`; `ok` if it was confirmed.
    pub fn settle_requested(&self, operation: &'static str, elapsed: Duration, ok: bool) {
        let span = past(operation, elapsed)
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new("messaging.system", "nats"),
                KeyValue::new("messaging.operation.name", operation),
                KeyValue::new("messaging.operation.type", "settle"),
            ]);
        if let Some(mut span) = self.child(span).filter(|_| !ok) {
            span.set_status(Status::error(""));
        }
    }

    pub fn settled(&self, outcome: &'static str) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("ebb.job.outcome", outcome));
        }
    }

    /// The job became a dead letter; the cause is a short constant.
    pub fn dead_lettered(&self, cause: &str) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("error.type", cause.to_owned()));
            span.set_status(Status::error(""));
        }
    }

    fn child(&self, span: SpanBuilder) -> Option<Span> {
        Some(tracer()?.build_with_context(span, self.0.as_ref()?))
    }
}

/// A span that ends now and began `elapsed` ago.
fn past(name: impl Into<std::borrow::Cow<'static, str>>, elapsed: Duration) -> SpanBuilder {
    let now = SystemTime::now();
    let began = now.checked_sub(elapsed).unwrap_or(now);
    SpanBuilder::from_name(name).with_start_time(began)
}

fn attributes(message: &Message) -> Vec<KeyValue> {
    let bytes = i64::try_from(message.payload.len()).unwrap_or(i64::MAX);
    let subject = message.subject.to_string();
    let mut attributes = vec![
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.destination.name", subject),
        KeyValue::new("messaging.message.body.size", bytes),
    ];
    if let Ok(info) = message.info() {
        let sequence = i64::try_from(info.stream_sequence).unwrap_or(i64::MAX);
        attributes.extend([
            KeyValue::new("messaging.consumer.group.name", info.consumer.to_owned()),
            KeyValue::new("ebb.job.sequence", sequence),
            KeyValue::new("ebb.job.deliveries", info.delivered),
        ]);
    }
    attributes
}
