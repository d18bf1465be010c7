//! Traces by OpenTelemetry: what a job went through, from its publisher to its points.
//!
//! Off unless the environment names a collector, by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and
//! its kin); spans go there by OTLP over gRPC. They wait in a queue of bounded length, on a thread of their own, and
//! are dropped where it is full: a collector that is slow, dead or not there costs spans, never jobs.
//!
//! A publisher puts its span into the headers of a job, as W3C Trace Context says, and whoever works on the job goes on
//! with it. Spans carry names, counts and identifiers, never the text of a document.

mod headers;
mod publish;

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use thiserror::Error;

pub use headers::{inject, origin};
pub use publish::Publish;
use runtime::settings::ConfigFault;

/// How long a program that ends waits for its last spans to be delivered.
const LAST_SPANS: Duration = Duration::from_secs(2);

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const CERTIFICATES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const DISABLED: &str = "OTEL_SDK_DISABLED";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Why spans cannot be exported.
#[derive(Debug, Error)]
pub enum TraceError {
    /// A setting of the environment cannot be used.
    #[error("failed to set up the export of traces")]
    Exporter(#[from] ExporterBuildError),
    /// The certificate authority of the collector cannot be read.
    #[error("failed to read the certificate `{path}` of the collector")]
    Certificate {
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Spans on their way to the collector, if there is one.
#[derive(Debug)]
#[must_use = "spans that still wait are lost unless it is ended"]
pub struct Export(Option<SdkTracerProvider>);

/// The tracer of this program; `None` where traces are off.
#[must_use]
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Everything that is wrong with OpenTelemetry's variables, as far as they turn traces on.
#[must_use]
pub fn faults() -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    if let Some((setting, other)) = set(&[EXPORTER]).filter(|(_, name)| !is_known_exporter(name)) {
        let problem = format!("`{other}` is not known; otlp and none are");
        faults.push(ConfigFault::new(setting, problem));
    }
    let Some((setting, endpoint)) = endpoint() else {
        return faults;
    };
    if let Some((scheme, _)) = endpoint.split_once("://")
        && !["http", "https"].contains(&scheme)
    {
        let problem = format!("`{endpoint}` starts with neither http:// nor https://");
        faults.push(ConfigFault::new(setting, problem));
    }
    if let Some((setting, protocol)) = set(&PROTOCOLS).filter(|(_, protocol)| protocol != "grpc") {
        let problem = format!(
            "`{protocol}` is not spoken here; set grpc, and the port of the collector that takes it, 4317 by default"
        );
        faults.push(ConfigFault::new(setting, problem));
    }
    if let Some((setting, path)) = set(&CERTIFICATES)
        && let Err(error) = std::fs::File::open(&path)
    {
        let problem = format!("cannot read `{path}`: {error}");
        faults.push(ConfigFault::new(setting, problem));
    }
    faults
}

/// Turns traces on if the environment names a collector. `service` is the name of this program, unless the environment
/// has another. To be called once, within a runtime that outlives the export.
///
/// # Errors
/// [`TraceError`]; a collector that does not answer is none.
pub fn start(service: &'static str) -> Result<Export, TraceError> {
    let Some((_, endpoint)) = endpoint() else {
        return Ok(Export(None));
    };
    let mut exporter = SpanExporter::builder().with_tonic();
    if !endpoint.starts_with("http://") {
        exporter = exporter.with_tls_config(tls()?);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter.build()?)
        .with_resource(resource(service))
        .build();
    // A second start keeps the first tracer, whose spans then go nowhere: programs start once.
    TRACER.get_or_init(|| provider.tracer("ebb"));
    Ok(Export(Some(provider)))
}

impl Export {
    /// Delivers what still waits, for two seconds at most. Blocks the thread.
    pub fn end(self) {
        let Some(provider) = self.0 else { return };
        if let Err(error) = provider.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not delivered");
        }
    }
}

/// The endpoint to which spans are sent, and the variable that names it. `None` where traces are off.
fn endpoint() -> Option<(&'static str, String)> {
    let disabled = set(&[DISABLED]).is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    let none = set(&[EXPORTER]).is_some_and(|(_, value)| value == "none");
    set(&ENDPOINTS).filter(|_| !disabled && !none)
}

fn is_known_exporter(name: &str) -> bool {
    ["otlp", "none"].contains(&name)
}

/// The first of these variables that is set and not empty.
fn set(variables: &[&'static str]) -> Option<(&'static str, String)> {
    variables.iter().find_map(|variable| {
        let value = env::var(variable).ok()?;
        (!value.is_empty()).then_some((*variable, value))
    })
}

/// The system's certificate authorities, or the one that the environment names.
fn tls() -> Result<ClientTlsConfig, TraceError> {
    let Some((_, path)) = set(&CERTIFICATES) else {
        return Ok(ClientTlsConfig::new().with_enabled_roots());
    };
    match std::fs::read(&path) {
        Ok(pem) => Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))),
        Err(source) => Err(TraceError::Certificate { path, source }),
    }
}

/// Attributes that all spans of this process have.
fn resource(service: &'static str) -> Resource {
    let name = Key::from_static_str("service.name");
    let detected = Resource::builder().build().get(&name);
    let unnamed = detected.is_none_or(|name| name.as_str().starts_with("unknown_service"));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if unnamed {
        return resource.with_service_name(service).build();
    }
    resource.build()
}
