//! A web server that gives objects, lists them as WebDAV and as S3 do, and can be told to behave badly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Keys of one page of an S3 listing.
const PAGE: usize = 2;
const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

/// What the server holds and has been asked.
#[derive(Default)]
pub(crate) struct Objects {
    /// Content by path, without a slash in front.
    pub(crate) content: BTreeMap<String, Vec<u8>>,
    /// Objects that nobody may read.
    pub(crate) forbidden: BTreeSet<String>,
    /// Objects that get another tag with each request.
    pub(crate) changing: BTreeSet<String>,
    /// Whether the server ignores what part of an object is asked for.
    pub(crate) whole_only: bool,
    /// Requests for objects: method, path, and bytes that were sent.
    pub(crate) asked: Vec<(String, String, usize)>,
    /// Pages of listings that were sent.
    pub(crate) pages: usize,
}

/// A running server. It ends when it is dropped.
pub(crate) struct Server {
    address: String,
    objects: Arc<Mutex<Objects>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(content: &[(&str, &[u8])]) -> anyhow::Result<Self> {
        Self::start_at("127.0.0.1:0", content).await
    }

    /// Starts at an address that another one has left.
    pub(crate) async fn start_at(address: &str, content: &[(&str, &[u8])]) -> anyhow::Result<Self> {
        let content = content
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()));
        let objects = Arc::new(Mutex::new(Objects {
            content: content.collect(),
            ..Objects::default()
        }));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?.to_string();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&objects));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the object store died: {error}");
            }
        });
        Ok(Self {
            address,
            objects,
            task,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = Response<Body>;

async fn answer(State(objects): State<Arc<Mutex<Objects>>>, request: Request) -> Answer {
    let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.uri().path().trim_matches('/').to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let answer = match request.method().as_str() {
        "PROPFIND" => Ok(objects.web_listing(&path)),
        "GET" if query.contains("list-type=2") => Ok(objects.s3_listing(&path, &query)),
        "GET" | "HEAD" => objects.object(request.method().as_str(), &path, request.headers()),
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    };
    answer.unwrap_or_else(|status| {
        let mut answer = Answer::new(Body::from("no"));
        *answer.status_mut() = status;
        answer
    })
}

impl Objects {
    fn object(
        &mut self,
        method: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, StatusCode> {
        if self.forbidden.contains(path) {
            return Err(StatusCode::FORBIDDEN);
        }
        let content = self.content.get(path).ok_or(StatusCode::NOT_FOUND)?;
        let range = headers.get("range").filter(|_| !self.whole_only);
        let range = range.and_then(|range| bounds(range.to_str().ok()?, content.len()));
        let (start, end) = range.unwrap_or((0, content.len()));
        let part = content.get(start..end).unwrap_or_default().to_vec();
        let length = if method == "HEAD" {
            content.len()
        } else {
            part.len()
        };
        let tag = if self.changing.contains(path) {
            self.asked.len()
        } else {
            0
        };
        let mut answer = Response::builder()
            .header("etag", format!("\"{tag}\""))
            .header("last-modified", MODIFIED)
            .header("content-length", length);
        if range.is_some() {
            let of = content.len();
            answer = answer
                .status(StatusCode::PARTIAL_CONTENT)
                .header("content-range", format!("bytes {start}-{}/{of}", end - 1));
        }
        let sent = if method == "HEAD" { Vec::new() } else { part };
        self.asked
            .push((method.to_owned(), path.to_owned(), sent.len()));
        answer
            .body(Body::from(sent))
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn web_listing(&mut self, prefix: &str) -> Answer {
        self.pages += 1;
        let mut xml = String::from(r#"<D:multistatus xmlns:D="DAV:">"#);
        let below = self
            .content
            .iter()
            .filter(|(path, _)| path.starts_with(prefix));
        for (path, content) in below {
            xml += &format!(
                "<D:response><D:href>/{path}</D:href><D:propstat><D:prop>\
                 <D:getlastmodified>{MODIFIED}</D:getlastmodified>\
                 <D:getcontentlength>{}</D:getcontentlength><D:resourcetype/>\
                 </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>",
                content.len()
            );
        }
        xml.push_str("</D:multistatus>");
        let mut answer = Answer::new(Body::from(xml));
        *answer.status_mut() = StatusCode::MULTI_STATUS;
        answer
    }

    /// Keys of a bucket, a page at a time; the token of the next page is the last key of this one.
    fn s3_listing(&mut self, bucket: &str, query: &str) -> Answer {
        self.pages += 1;
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name));
            pair.unwrap_or_default().replace("%2F", "/")
        };
        let (prefix, after) = (value("prefix="), value("continuation-token="));
        let keys = self.content.iter().filter_map(|(path, content)| {
            let key = path.strip_prefix(bucket)?.strip_prefix('/')?;
            (key.starts_with(&prefix) && key > after.as_str()).then_some((key, content.len()))
        });
        let keys: Vec<_> = keys.collect();
        let more = keys.len() > PAGE;
        let mut xml = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
        for (key, bytes) in keys.iter().take(PAGE) {
            xml += &format!(
                "<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>\
                 <ETag>\"0\"</ETag><Size>{bytes}</Size></Contents>"
            );
        }
        if more {
            let last = keys[PAGE - 1].0;
            xml += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
        }
        xml.push_str("</ListBucketResult>");
        Answer::new(Body::from(xml))
    }
}

/// First byte and the byte after the last one of `bytes=first-last`.
fn bounds(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last: usize = last.parse().ok()?;
    Some((first.parse().ok()?, (last + 1).min(length)))
}
