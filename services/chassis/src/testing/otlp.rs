//! An OTLP receiver that keeps what it gets, for tests of traces.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::{Request, Response, Status};

/// A span and the service that sent it.
#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    pub service: String,
    pub span: Span,
}

impl ReceivedSpan {
    /// A text attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        use opentelemetry_proto::tonic::common::v1::any_value::Value;
        let found = self.span.attributes.iter().find(|attribute| attribute.key == key)?;
        match found.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// True when the span is a child of, or linked to, the other one.
    pub fn follows(&self, other: &Self) -> bool {
        let child = self.span.trace_id == other.span.trace_id
            && self.span.parent_span_id == other.span.span_id;
        let linked = |link: &opentelemetry_proto::tonic::trace::v1::span::Link| {
            link.trace_id == other.span.trace_id && link.span_id == other.span.span_id
        };
        child || self.span.links.iter().any(linked)
    }
}

/// A receiver on a free loopback port; it stops when it is dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    got: watch::Receiver<Got>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Got {
    spans: Arc<Vec<ReceivedSpan>>,
    metrics: Arc<Vec<String>>,
}

impl OtlpReceiver {
    #[expect(clippy::disallowed_methods, reason = "aborted when the receiver is dropped")]
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (sender, got) = watch::channel(Got::default());
        let keep = Keep(Arc::new(sender));
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(keep.clone()).accept_compressed(Gzip))
                .add_service(MetricsServiceServer::new(keep).accept_compressed(Gzip))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("serves");
        });
        Self { address, got, server }
    }

    /// For `telemetry.otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn spans(&self) -> Arc<Vec<ReceivedSpan>> {
        self.got.borrow().spans.clone()
    }

    /// Names of the metrics received so far.
    pub fn metrics(&self) -> Arc<Vec<String>> {
        self.got.borrow().metrics.clone()
    }

    /// The first span that fits, waiting up to ten minutes for it; panics with the names of those that came instead.
    pub async fn wait_for(&self, fits: impl Fn(&ReceivedSpan) -> bool) -> ReceivedSpan {
        let mut got = self.got.clone();
        let found = got.wait_for(|got| got.spans.iter().any(&fits));
        let found = tokio::time::timeout(Duration::from_secs(600), found).await;
        let found =
            found.map(|got| got.map(|got| got.spans.iter().find(|span| fits(span)).cloned()));
        match found {
            Ok(Ok(Some(span))) => span,
            _ => panic!(
                "no such span among {:?}",
                self.spans().iter().map(|s| s.span.name.clone()).collect::<Vec<_>>()
            ),
        }
    }

    pub async fn wait_for_span(&self, name: &str) -> ReceivedSpan {
        self.wait_for(|received| received.span.name == name).await
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Keep(Arc<watch::Sender<Got>>);

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for batch in request.into_inner().resource_spans {
            let service = service_of(batch.resource.as_ref());
            let spans = batch.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans: Vec<_> =
                spans.map(|span| ReceivedSpan { service: service.clone(), span }).collect();
            self.0.send_modify(|got| Arc::make_mut(&mut got.spans).extend(spans));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Keep {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let batches = request.into_inner().resource_metrics.into_iter();
        let metrics = batches.flat_map(|batch| batch.scope_metrics).flat_map(|scope| scope.metrics);
        let names: Vec<_> = metrics.map(|metric| metric.name).collect();
        self.0.send_modify(|got| Arc::make_mut(&mut got.metrics).extend(names));
        Ok(Response::new(Default::default()))
    }
}

fn service_of(resource: Option<&opentelemetry_proto::tonic::resource::v1::Resource>) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let name = attributes.iter().find(|attribute| attribute.key == "service.name");
    match name.and_then(|name| name.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}
