//! A collector: takes spans by OTLP over gRPC, and keeps them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A running collector.
pub(super) struct Collector {
    address: SocketAddr,
    received: Received,
    serving: JoinHandle<()>,
}

/// A span as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) service: String,
    pub(super) span: Span,
}

struct Receiver(Received);

impl Collector {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Received::default();
        let service = TraceServiceServer::new(Receiver(received.clone()));
        let server = Server::builder().add_service(service);
        let serving = tokio::spawn(async move {
            let served = server.serve_with_incoming(TcpIncoming::from(listener));
            served.await.expect("the collector serves");
        });
        Ok(Self {
            address,
            received,
            serving,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that has come, as text: whatever must not be exported is looked for here.
    pub(super) fn everything(&self) -> String {
        format!("{:?}", self.requests())
    }

    pub(super) fn spans(&self) -> Vec<Seen> {
        let requests = self.requests().into_iter();
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(spans_of).collect()
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let received = self.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let received = self.0.lock();
        let mut received = received.unwrap_or_else(PoisonError::into_inner);
        received.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans_of(resource: ResourceSpans) -> Vec<Seen> {
    let attributes = resource.resource.unwrap_or_default().attributes;
    let service = texts(&attributes).remove("service.name");
    let scopes = resource.scope_spans.into_iter();
    let spans = scopes.flat_map(|scope| scope.spans);
    spans
        .map(|span| Seen {
            service: service.clone().unwrap_or_default(),
            span,
        })
        .collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let attributes = attributes.iter();
    attributes
        .map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(value)) => value.clone(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

impl Seen {
    /// Trace and span, as links and parents name it.
    pub(super) fn id(&self) -> (Vec<u8>, Vec<u8>) {
        (self.span.trace_id.clone(), self.span.span_id.clone())
    }

    /// The spans that it is linked to.
    pub(super) fn links(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let links = self.span.links.iter();
        links
            .map(|link| (link.trace_id.clone(), link.span_id.clone()))
            .collect()
    }

    /// Trace and span of its parent.
    pub(super) fn parent(&self) -> (Vec<u8>, Vec<u8>) {
        (self.span.trace_id.clone(), self.span.parent_span_id.clone())
    }

    /// An attribute as text.
    pub(super) fn attribute(&self, key: &str) -> Option<String> {
        texts(&self.span.attributes).remove(key)
    }
}
