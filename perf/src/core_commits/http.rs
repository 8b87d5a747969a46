//! As much of HTTP as it takes to read what a daemon says of itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Returns what is at `path`.
///
/// # Errors
/// Nobody answers in time, the answer is no success, or longer than [`ANSWER_BYTES_MAX`].
pub(super) fn get(door: SocketAddr, path: &str) -> Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&door, ANSWER_WITHIN).with_context(|| format!("cannot reach {door}"))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {door}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    read.with_context(|| format!("no answer from {door}{path}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP from {door}{path}"))?;
    let status = head.split(' ').nth(1);
    ensure!(status == Some("200"), "{door}{path} answers {}: {}", status.unwrap_or("nothing"), body.trim_end());
    Ok(body.to_owned())
}

/// How long a single answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Longest answer: the metrics of some hundred groups.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
