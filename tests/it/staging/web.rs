//! A web server of model files that can fail, break off, hang, lead elsewhere and ask for a login.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use futures::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the server has and how it behaves.
#[derive(Default)]
pub(crate) struct Files {
    /// Content by path, without a slash in front.
    pub(crate) content: BTreeMap<String, Vec<u8>>,
    /// What a client must say to be let in.
    pub(crate) authorization: Option<String>,
    /// Requests that are still to be answered with 503.
    pub(crate) failures: usize,
    /// Graphs that are still to break off in the middle.
    pub(crate) cuts: usize,
    /// Whether graphs hang in the middle.
    pub(crate) hangs: bool,
    /// Whether contents are marked, so that a client may go on where it was.
    pub(crate) marks: bool,
    /// Where graphs are instead.
    pub(crate) elsewhere: Option<String>,
    /// What was asked, in order.
    pub(crate) asked: Vec<Asked>,
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

/// A running server. It ends when it is dropped.
pub(crate) struct Web {
    address: String,
    files: Arc<Mutex<Files>>,
    task: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Web {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let files = Arc::new(Mutex::new(Files::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&files));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the web server died: {error}");
            }
        });
        Ok(Self {
            address,
            files,
            task,
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves all files of a directory below a path.
    pub(crate) fn add(&self, directory: &Path, below: &str) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let path = format!("{below}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.add(&entry.path(), &path)?;
            } else {
                let content = std::fs::read(entry.path())?;
                self.files().content.insert(path, content);
            }
        }
        Ok(())
    }

    /// Paths that were asked for, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.files()
            .asked
            .iter()
            .map(|asked| asked.path.clone())
            .collect()
    }
}

type Answer = Response<Body>;

async fn answer(State(files): State<Arc<Mutex<Files>>>, request: Request) -> Answer {
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    // As it was sent: the revision of a model may be escaped.
    let path = request.uri().path().trim_start_matches('/');
    files
        .answer(path, request.headers())
        .unwrap_or_else(|status| {
            let mut answer = Answer::new(Body::from("no"));
            *answer.status_mut() = status;
            answer
        })
}

impl Files {
    fn answer(&mut self, path: &str, headers: &HeaderMap) -> Result<Answer, StatusCode> {
        let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let asked = Asked {
            path: path.to_owned(),
            authorization: header("authorization"),
            range: header("range"),
        };
        self.asked.push(asked.clone());
        if self.failures > 0 {
            self.failures -= 1;
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        if self.authorization.is_some() && self.authorization != asked.authorization {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let is_graph = Path::new(path)
            .extension()
            .is_some_and(|extension| extension == "onnx");
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| is_graph) {
            let answer = Response::builder().status(StatusCode::FOUND);
            let answer = answer.header("location", elsewhere).body(Body::empty());
            return answer.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR);
        }
        let content = self.content.get(path).ok_or(StatusCode::NOT_FOUND)?;
        let content = Bytes::from(content.clone());
        self.send(content, is_graph, asked.range.as_deref())
    }

    fn send(
        &mut self,
        content: Bytes,
        is_graph: bool,
        range: Option<&str>,
    ) -> Result<Answer, StatusCode> {
        let total = content.len();
        let start = range.and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .split_once('-')?
                .0
                .parse()
                .ok()
        });
        let start = start.filter(|start| *start < total).unwrap_or(0);
        let content = content.slice(start..);
        let mut answer = Response::builder().header("content-length", content.len());
        if self.marks {
            answer = answer.header("etag", "\"one\"");
        }
        if range.is_some() {
            let range = format!("bytes {start}-{}/{total}", total - 1);
            answer = answer
                .status(StatusCode::PARTIAL_CONTENT)
                .header("content-range", range);
        }
        let cut = is_graph && self.cuts > 0;
        self.cuts -= usize::from(cut);
        let half = content.slice(..content.len() / 2);
        let half = stream::iter([Ok(half)]);
        let body = if cut {
            // The half is sent before: a connection that ends at once has not even an answer.
            let broken = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::other("broken off"))
            });
            Body::from_stream(half.chain(broken))
        } else if is_graph && self.hangs {
            Body::from_stream(half.chain(stream::pending::<Result<Bytes, io::Error>>()))
        } else {
            Body::from(content)
        };
        answer
            .body(body)
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    }
}
