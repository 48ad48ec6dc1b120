//! The log: to standard error, with the time unless journald adds it.
//!
//! Whoever logs never waits for the reader: lines go through a queue of `LINES` to a thread of their
//! own. Where nobody reads, the newest are dropped, and how many is said once lines go out again.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) mod line;

/// How many lines wait at most: two for each of the most routers there can be. Their places, 32 bytes each,
/// are in memory from the start, and locked there.
const LINES: usize = 8192;

/// How long the end waits for the last lines to go out. The daemon's own limits and this stay within a
/// second.
const LAST: Duration = Duration::from_millis(200);

/// How long the end of a process that failed waits for them: the next one is to be in time.
const LAST_OF_A_FAILURE: Duration = Duration::from_millis(50);

/// The exit code of a process that failed by its own fault, as `sysexits.h` has it.
pub const INTERNAL: u8 = 70;

/// What writes the lines that wait when it is dropped, for whoever ends the process.
static QUEUE: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// The levels by the names that `XVRRP_LOG` takes, from the least that is logged to the most.
const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Starts logging. `XVRRP_LOG` names a level, of which there are five; `info` where it is not set, or empty, or no level.
/// Panics go the same way, and end the process with [`INTERNAL`].
pub fn init() -> Guard {
    let wanted = std::env::var_os("XVRRP_LOG").filter(|text| !text.is_empty());
    let wanted = wanted.map(|text| text.to_string_lossy().into_owned());
    let level = wanted.as_deref().map(level);
    let time = line::wants_time(io::stderr());
    let (writer, worker) = queue(io::stderr(), time, LINES);
    *QUEUE.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level.flatten().unwrap_or(LevelFilter::INFO))
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    if time {
        subscriber.with_timer(SystemTime).finish().init();
    } else {
        subscriber.without_time().finish().init();
    }
    // The standard hook would wait for the reader with the thread whose end is to be noticed.
    std::panic::set_hook(Box::new(panicked));
    if let (Some(text), Some(None)) = (wanted, level) {
        let levels = LEVELS.map(|(name, _)| name).join(", ");
        tracing::warn!("XVRRP_LOG: `{text}` is no level, so it is info; there are {levels}");
    }
    Guard
}

/// The level of a name, also by those that syslog and keepalived have for it.
fn level(text: &str) -> Option<LevelFilter> {
    let name = match text.to_ascii_lowercase() {
        name if name == "warning" => "warn".to_owned(),
        name if name == "err" => "error".to_owned(),
        name => name,
    };
    LEVELS.into_iter().find_map(|(known, level)| (known == name).then_some(level))
}

/// Logs why this process can't go on and ends it at once, without any unwinding or clean-up: what it
/// holds is for the next one to take over, and no thread of it may still act while that begins.
pub fn fail(why: &str) -> ! {
    tracing::error!("{why}");
    let worker = QUEUE.lock().unwrap_or_else(PoisonError::into_inner).take();
    write_out(worker, LAST_OF_A_FAILURE);
    std::process::exit(i32::from(INTERNAL))
}

/// Writes what waits when it is dropped, as far as that is done in 200 ms.
#[derive(Debug)]
#[must_use = "without it the last lines are lost"]
pub struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        write_out(QUEUE.lock().unwrap_or_else(PoisonError::into_inner).take(), LAST);
    }
}

/// Writes what waits, as far as that is done in time.
fn write_out(worker: Option<WorkerGuard>, within: Duration) {
    let (done, ended) = mpsc::channel::<()>();
    // The worker's own guard waits for more than a second where nobody reads.
    let waits = thread::Builder::new().name("xvrrp-log-end".to_owned()).spawn(move || {
        drop(worker);
        drop(done);
    });
    if waits.is_ok() {
        // Nothing is ever sent: it ends with the sender, or is late.
        let _ = ended.recv_timeout(within);
    }
}

/// A writer that never waits, before one that may.
fn queue<W: Write + Send + 'static>(
    inner: W,
    time: bool,
    lines: usize,
) -> (NonBlocking, WorkerGuard) {
    let dropped = Arc::new(OnceLock::new());
    let out = Out { inner, time, dropped: Arc::clone(&dropped), failed: 0, told: 0 };
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(lines)
        .lossy(true)
        .thread_name("xvrrp-log")
        .finish(out);
    // The queue makes its counter after it has taken the writer.
    let _ = dropped.set(writer.error_counter());
    (writer, worker)
}

/// The far end of the queue: it is given one line at a time, and flushed whenever none waits.
struct Out<W> {
    inner: W,
    time: bool,
    /// What the queue had no room for.
    dropped: Arc<OnceLock<ErrorCounter>>,
    /// What could not be written.
    failed: usize,
    /// How many of both have been told of.
    told: usize,
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.inner.write_all(line).is_err() {
            self.failed += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        let lost = dropped.saturating_add(self.failed);
        if lost > self.told && self.inner.write_all(self.loss(lost - self.told).as_bytes()).is_ok()
        {
            self.told = lost;
        }
        self.inner.flush()
    }
}

impl<W> Out<W> {
    /// The line for lines that are gone, in the form of the others.
    fn loss(&self, count: usize) -> String {
        let lines = if count == 1 { "line was" } else { "lines were" };
        let text = format!("{count} log {lines} lost: standard error took no more\n");
        line::line(self.time, " WARN", &text)
    }
}

/// Logs a panic as the standard hook would print it, and ends the process: one that has lost a thread or
/// a task would go on as half a daemon, where a new one goes on as a whole.
fn panicked(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        fail(&format!("thread {name} {info}\n{trace}"))
    } else {
        fail(&format!("thread {name} {info}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    use super::*;

    /// How many lines a "lost" line stands for.
    fn lost(line: &str) -> Option<usize> {
        line.split_once(" WARN ")?.1.split_once(" log line")?.0.parse().ok()
    }

    #[test]
    fn nobody_waits_for_a_reader_and_every_line_is_accounted_for() {
        const SENT: usize = 5_000;
        let (reader, pipe) = io::pipe().unwrap();
        let (writer, worker) = queue(pipe, true, 32);
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        let start = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for i in 0..SENT {
                // Far more than a pipe holds.
                tracing::info!("{i} {}", "x".repeat(200));
            }
        });
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let start = Instant::now();
        write_out(Some(worker), LAST);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        let gone: usize = lines.iter().filter_map(|line| lost(line)).sum();
        let seen = lines.iter().filter(|line| line.contains("xxx")).count();
        assert!(seen > 32 && gone > 0, "{seen} seen, {gone} lost");
        assert_eq!(seen + gone, SENT);
        assert!(lost(lines.last().unwrap()).is_some(), "it is said behind what was kept");
    }

    /// The process of the next test.
    #[test]
    #[ignore = "it ends the process"]
    fn panics_on_a_thread_of_its_own() {
        let _guard = init();
        let _ = thread::Builder::new()
            .name("other".to_owned())
            .spawn(|| panic!("of this"))
            .unwrap()
            .join();
        thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn a_panic_of_any_thread_ends_the_process_with_words() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let test = "log::tests::panics_on_a_thread_of_its_own";
        command.args([test, "--exact", "--ignored", "--nocapture"]);
        let start = Instant::now();
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(INTERNAL)), "{said}");
        assert!(said.contains("ERROR thread other panicked at"), "{said}");
        assert!(said.contains("of this"), "{said}");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }

    /// Takes no line for a while, as a full disk does.
    struct Full {
        refuses: usize,
        lines: mpsc::Sender<String>,
    }

    impl Write for Full {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if self.refuses > 0 {
                self.refuses -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.lines.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_can_not_be_written_is_counted_too() {
        let (lines, written) = mpsc::channel();
        let mut out = Out {
            inner: Full { refuses: 4, lines },
            time: false,
            dropped: Arc::default(),
            failed: 0,
            told: 0,
        };
        for line in ["a\n", "b\n", "c\n"] {
            out.write_all(line.as_bytes()).unwrap();
        }
        // The disk is still full when the loss is to be told: it is told later.
        out.flush().unwrap();
        out.write_all(b"d\n").unwrap();
        out.flush().unwrap();
        out.flush().unwrap();
        drop(out);
        let told = " WARN 3 log lines were lost: standard error took no more\n";
        assert_eq!(written.iter().collect::<Vec<_>>(), ["d\n", told]);
    }
}
