//! The control socket: one line asks, one line answers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncBufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::ledger::{self, Glance, Phase};
use crate::procfs;
use crate::run_dir::{self, Holder};
use crate::status::Status;
use crate::sys::clock;

/// A client that neither speaks nor reads is dropped after this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// A request is one short line.
const REQUEST_MOST: u64 = 4096;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Request {
    /// How everything is.
    Status,
}

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no daemon.
    #[error("no xvrrp runs with the run directory {}: {error}", path.display())]
    NotRunning {
        /// The directory.
        path: PathBuf,
        /// Why its socket can't be reached.
        error: io::Error,
    },
    /// Its worker has crashed, and there is none before a while is over.
    #[error("{holder} has no worker at present: it crashed; the next start is in {} s", next.as_secs_f64().ceil())]
    NoWorker {
        /// The daemon's main process.
        holder: Holder,
        /// Until the next start.
        next: Duration,
    },
    /// There is a daemon, and its worker has no socket.
    #[error("{holder} can't be asked at present, its worker is about to start or to end: {error}")]
    NotYet {
        /// The daemon's main process.
        holder: Holder,
        /// Why its socket can't be reached.
        error: io::Error,
    },
    /// The caller is not root.
    #[error("only root may ask the daemon ({})", path.display())]
    NotPermitted {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon did not answer.
    #[error("{known} ({error})")]
    Silent {
        /// Who it is, and what its ledger and the kernel tell of its worker.
        known: String,
        /// How the attempt ended.
        error: io::Error,
    },
    /// The daemon's answer is not one: another version.
    #[error("the daemon's answer can't be read: {0}")]
    Answer(#[from] serde_json::Error),
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<String>,
}

/// Opens the socket, for root only, and hands requests to `asked` until the runtime ends.
///
/// # Errors
/// Where the socket can't be made.
pub fn serve(path: &Path, asked: mpsc::UnboundedSender<Asked>) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, asked.clone()));
                }
                // Out of descriptors: wait for some to come back rather than spin.
                Err(_) => tokio::time::sleep(PATIENCE).await,
            }
        }
    });
    Ok(())
}

async fn converse(stream: UnixStream, asked: mpsc::UnboundedSender<Asked>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = AsyncBufReader::new(read.take(REQUEST_MOST));
    let heard = timeout(PATIENCE, reader.read_line(&mut line)).await;
    let answer = match (heard, serde_json::from_str::<Request>(&line)) {
        (Ok(Ok(_)), Ok(request)) => {
            let (answer, receive) = oneshot::channel();
            if asked.send(Asked { request, answer }).is_err() {
                return;
            }
            // The worker ends: whoever asked learns more from that than from an empty line.
            let Ok(answer) = receive.await else { return };
            answer
        }
        (Ok(Ok(_)), Err(error)) => {
            serde_json::json!({ "error": format!("not a request: {error}") }).to_string()
        }
        (Ok(Err(_)) | Err(_), _) => return,
    };
    // A client that went away has no use for the answer.
    let _ = timeout(PATIENCE, async {
        write.write_all(answer.as_bytes()).await?;
        write.write_all(b"\n").await?;
        write.shutdown().await
    })
    .await;
}

/// Asks the daemon of a run directory how everything is; gives the answer and its text.
///
/// # Errors
/// [`AskError`] says whether there is no daemon, or the caller may not ask it, or it is silent.
pub fn ask_status(dir: &Path) -> Result<(Status, String), AskError> {
    let path = run_dir::socket(dir);
    let mut stream = BlockingStream::connect(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            AskError::NotPermitted { path: path.clone() }
        } else {
            not_there(dir, error)
        }
    })?;
    let text = exchange(&mut stream)
        .map_err(|error| AskError::Silent { known: known_of_silent(dir), error })?;
    Ok((serde_json::from_str(&text)?, text))
}

/// Why nobody has the socket of a run directory.
fn not_there(dir: &Path, error: io::Error) -> AskError {
    let Some(holder) = run_dir::holder(dir) else {
        return AskError::NotRunning { path: dir.to_owned(), error };
    };
    match glance(dir).and_then(|glance| glance.next) {
        Some(next) => AskError::NoWorker { holder, next: next.since(clock::now()) },
        None => AskError::NotYet { holder, error },
    }
}

fn glance(dir: &Path) -> Option<Glance> {
    Glance::at(&File::open(ledger::path(dir)).ok()?)
}

/// What can be known of a daemon that has its socket and does not answer.
fn known_of_silent(dir: &Path) -> String {
    let holder = run_dir::holder(dir);
    let who = holder.map_or_else(|| "xvrrp".to_owned(), |holder| holder.to_string());
    let Some(Glance { worker, phase, .. }) = glance(dir).filter(|glance| glance.worker != 0) else {
        return format!("{who} does not answer");
    };
    let how = procfs::trouble(worker).unwrap_or(match phase {
        Phase::Starting => "has begun, and is not at work yet",
        Phase::Running => "is at work, by its own word",
        Phase::Stopping => "is ending, by its own word",
    });
    format!("{who} does not answer: its worker (process {worker}) {how}")
}

fn exchange(stream: &mut BlockingStream) -> io::Result<String> {
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = serde_json::to_string(&Request::Status)?;
    writeln!(stream, "{request}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    // It died on the way.
    let is_whole = line.ends_with('\n') && !line.trim().is_empty();
    is_whole.then_some(line).ok_or_else(|| {
        io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up before its answer was whole")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as BlockingListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_daemon_that_dies_while_it_is_asked_is_silent_and_no_other_version() {
        let dir = tempfile::tempdir().unwrap();
        let listener = BlockingListener::bind(run_dir::socket(dir.path())).unwrap();
        let answers = ["", "\n", r#"{"version":"0.1.0","pi"#, "{}\n"];
        let daemon = thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                reader.read_line(&mut String::new()).unwrap();
                reader.into_inner().write_all(answer.as_bytes()).unwrap();
            }
        });
        for _ in 0..3 {
            let error = ask_status(dir.path()).unwrap_err();
            assert!(matches!(error, AskError::Silent { .. }), "{error:?}");
            let said = "xvrrp does not answer (it hung up before its answer was whole)";
            assert_eq!(error.to_string(), said);
        }
        assert!(matches!(ask_status(dir.path()), Err(AskError::Answer(_))));
        daemon.join().unwrap();
    }
}
