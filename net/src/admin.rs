//! The door for HTTP: metrics for Prometheus, and whether the node lives and serves.
//!
//! ```text
//!   GET /metrics ─┐                    ┌─ counters of the CPUs, read as they are
//!   GET /healthz ─┼─▶ thread `admin` ──┼─ the exchange: what the core has said
//!   GET /readyz  ─┘                    └─ a census: each CPU says once in its turn how its groups are
//! ```
//!
//! It stands beside the data path: a thread of its own, with a runtime of its own, that no CPU ever waits for. A CPU that is
//! asked leaves its answer and goes on; one that does not answer in time is left out, and `/healthz` says which.
//!
//! # Time and units
//! The monotonic clock, through the runtime. A connection carries one request and lives for `CONNECTION_TIME_MAX`; its head must
//! have come after `HEAD_TIME_MAX`; a CPU has `ANSWER_TIME_MAX` for an answer.
//!
//! # Bounds
//! `CONNECTIONS_MAX` at a time; one more is answered 503 and closed. A request has at most `HEAD_BYTES_MAX` bytes and
//! `HEADERS_MAX` headers; a body is not read. One census is under way at a time.
//!
//! # Threads
//! One, named `admin`. What it reads of others are relaxed counters, and the exchange.

mod health;
mod metrics;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use quorate_engine::ids::CpuId;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::cpu::Census;
use crate::node::Shared;
use crate::node::facts::Facts;

/// Connections at a time: some scrapers, and some people.
const CONNECTIONS_MAX: usize = 32;
/// The smallest buffer that the HTTP library works with.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
const HEAD_TIME_MAX: Duration = Duration::from_secs(2);
/// Enough for a slow reader of some hundred kilobytes.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a CPU may take to answer, or to turn once: hundreds of times what it takes under full load.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// The thread, and how it is told to end.
#[derive(Debug)]
pub(crate) struct Admin {
    thread: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Admin {
    /// Serves what comes to `listener` until it is stopped.
    ///
    /// # Errors
    /// The thread or its runtime cannot be set up.
    pub(crate) fn start(listener: TcpListener, facts: Arc<Facts>, shared: Arc<Shared>) -> Result<Self, std::io::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (end, ended) = oneshot::channel();
        let node = Arc::new(NodeView { facts, shared, census: Mutex::new(()) });
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.spawn(serve(listener, node));
            // What is still being answered ends with the runtime. The other end is never dropped unsaid.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { thread, end })
    }

    /// Ends the thread, and whatever it is answering.
    pub(crate) fn stop(self) {
        // It has ended already if nobody hears this.
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

/// Opens the door.
///
/// # Errors
/// What the system says.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, std::io::Error> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: TcpListener, node: Arc<NodeView>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin port cannot be served"),
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(elsewhere)
        .method_not_allowed_fallback(only_get)
        .with_state(node);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => drop(tokio::spawn(answer(stream, router.clone(), place))),
                Err(_) => refuse(&stream),
            },
            // No more file descriptors, most likely: somebody has to close some first.
            Err(_) => tokio::time::sleep(HEAD_TIME_MAX).await,
        }
    }
}

/// Answers the one request of a connection.
async fn answer(stream: TcpStream, router: Router, _place: OwnedSemaphorePermit) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that asks wrongly, too slowly or not at all has had its answer, or none.
    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, connection).await;
}

/// Says that there are too many; a client that has just come has room for these bytes.
fn refuse(stream: &TcpStream) {
    let text = format!("this door answers {CONNECTIONS_MAX} connections at a time; try again\n");
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nconnection: close\r\n";
    let _ = stream.try_write(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes());
}

async fn metrics(State(node): State<Arc<NodeView>>) -> Response {
    let census = node.census().await;
    match metrics::encode(&node.facts, &node.shared, &census) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(node): State<Arc<NodeView>>) -> Response {
    let stuck = health::stuck_cpus(&node.shared, ANSWER_TIME_MAX).await;
    let lines = stuck.iter().map(|cpu| format!("cpu {} has not turned for {ANSWER_TIME_MAX:?}", cpu.0));
    verdict(lines.collect())
}

async fn readyz(State(node): State<Arc<NodeView>>) -> Response {
    let census = node.census().await;
    verdict(health::obstacles(&node.facts, &node.shared, &census))
}

/// Answers that all is well, or what is not, one reason a line.
fn verdict(reasons: Vec<String>) -> Response {
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn elsewhere(uri: Uri) -> Response {
    let text = format!("there is nothing at {}: this door serves /metrics, /healthz and /readyz\n", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn only_get() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "this door is for reading: use GET\n").into_response()
}

/// The node, as far as it can be seen from here.
struct NodeView {
    facts: Arc<Facts>,
    shared: Arc<Shared>,
    /// Held while one census is under way: a second one would take the place of the first.
    census: Mutex<()>,
}

impl NodeView {
    /// Asks all CPUs; `None` stands for one that does not answer in time.
    async fn census(&self) -> Vec<Option<Census>> {
        let _turn = self.census.lock().await;
        let cpus = (0..self.facts.cpu_count).map(CpuId);
        let answers: Vec<_> = cpus.map(|cpu| self.shared.exchange.ask_census(cpu)).collect();
        let deadline = tokio::time::Instant::now() + ANSWER_TIME_MAX;
        let mut census = Vec::with_capacity(answers.len());
        for answer in answers {
            census.push(tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok));
        }
        census
    }
}
