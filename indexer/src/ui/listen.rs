//! Listen: connections, of which there are so many at most, and none that stands still for good.
//!
//! A viewer who opens the page and never reads would keep a connection for ever: what is written to it piles up in the
//! kernel, and then nothing moves. Such a connection is ended, and so is one on which nobody says anything.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

/// Most connections at once; whoever comes then waits until one goes.
/// Together with what else is open they stay below the usual limit of 1,024 files.
const MOST: usize = 512;
/// How long a new connection may say nothing.
const FIRST_LIMIT: Duration = Duration::from_secs(15);
/// How long a viewer may take nothing of what is written.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// How long nothing may move in either direction; a search that waits for a worker takes less.
const SILENCE_LIMIT: Duration = Duration::from_secs(900);
/// Pause after an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener of bounded connections.
#[derive(Debug)]
pub struct Connections {
    tcp: TcpListener,
    free: Arc<Semaphore>,
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// When it is ended unless something moves.
    silence: Pin<Box<Sleep>>,
    /// The same for what is written; set while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connections {
    pub fn new(tcp: TcpListener) -> Self {
        Self {
            tcp,
            free: Arc::new(Semaphore::new(MOST)),
        }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // It is never closed.
        let place = self.free.clone().acquire_owned().await.ok();
        loop {
            match self.tcp.accept().await {
                Ok((stream, address)) => return (Connection::new(stream, place), address),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Connection {
    fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            stream,
            silence: Box::pin(sleep_until(Instant::now() + FIRST_LIMIT)),
            stalled: None,
            _place: place,
        }
    }

    fn moved(&mut self) {
        self.silence.as_mut().reset(Instant::now() + SILENCE_LIMIT);
    }

    /// The result of a write, or an error where nobody reads.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if done.is_ready() {
            self.stalled = None;
            self.moved();
            return done;
        }
        let limit = || Box::pin(sleep_until(Instant::now() + WRITE_LIMIT));
        ready!(
            self.stalled
                .get_or_insert_with(limit)
                .as_mut()
                .poll(context)
        );
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        if done.is_ready() {
            self.moved();
            return done;
        }
        ready!(self.silence.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = Connections::new(listener);
        let (accepted, viewer) = tokio::join!(connections.accept(), TcpStream::connect(address));
        (accepted.0, viewer.unwrap())
    }

    #[tokio::test]
    async fn a_viewer_who_never_reads_is_given_up() {
        let (mut connection, _viewer) = pair().await;
        tokio::time::pause();
        let piece = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = connection.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_viewer_who_never_speaks_is_given_up_and_one_who_does_is_heard() {
        let (mut connection, mut viewer) = pair().await;
        viewer.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'x');
        tokio::time::pause();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
