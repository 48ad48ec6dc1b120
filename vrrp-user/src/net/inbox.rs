//! Messages to a thread that sleeps while there are none, from threads that never wait for it.
//!
//! The standard library's channel has a lock that its receiver takes to go to sleep and when it wakes. Where that
//! has lost its CPU just then, whoever sends waits until it gets one, at whatever priority. tokio's senders take
//! no lock, and to unpark a thread needs none.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedReceiver;

/// The end that the messages come to.
#[derive(Debug)]
pub(super) struct Inbox<T>(UnboundedReceiver<T>);

impl<T> Inbox<T> {
    pub(super) fn new(receiver: UnboundedReceiver<T>) -> Self {
        Self(receiver)
    }

    /// The next message, where it is there; `None`: there will be none any more.
    ///
    /// Not by `try_recv`, which waits for a sender that has begun to send.
    pub(super) fn poll(&mut self) -> Poll<Option<T>> {
        thread_local! {
            static HERE: Waker = Waker::from(Arc::new(Sleeper(thread::current())));
        }
        HERE.with(|waker| self.0.poll_recv(&mut Context::from_waker(waker)))
    }

    /// The next message, where there is one.
    pub(super) fn take(&mut self) -> Option<T> {
        match self.poll() {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        }
    }

    /// Waits for the next message; `None`: there will be none any more.
    pub(super) fn wait(&mut self) -> Option<T> {
        loop {
            match self.poll() {
                Poll::Ready(message) => return message,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// The same, but not for longer than until `due`.
    pub(super) fn wait_until(&mut self, due: Instant) -> Poll<Option<T>> {
        loop {
            let message = self.poll();
            let left = due.saturating_duration_since(Instant::now());
            if message.is_ready() || left.is_zero() {
                return message;
            }
            thread::park_timeout(left);
        }
    }
}

/// Wakes a thread.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Long beside what it takes to wake somebody.
    const LONG: Duration = Duration::from_secs(30);

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn what_comes_wakes_who_waits() {
        let (sender, receiver) = unbounded_channel();
        let mut inbox = Inbox::new(receiver);
        assert_eq!((inbox.poll(), inbox.take()), (Poll::Pending, None));
        let later = thread::spawn(move || {
            for number in 0..100 {
                thread::sleep(Duration::from_millis(number % 3));
                sender.send(number).unwrap();
            }
        });
        for number in 0..100 {
            let came = match number % 2 {
                0 => Poll::Ready(inbox.wait()),
                _ => inbox.wait_until(Instant::now() + LONG),
            };
            assert_eq!(came, Poll::Ready(Some(number)));
        }
        later.join().unwrap();
        assert_eq!(inbox.poll(), Poll::Ready(None));
    }

    #[test]
    fn the_end_of_the_last_sender_wakes_who_waits() {
        let (sender, receiver) = unbounded_channel::<u8>();
        let mut inbox = Inbox::new(receiver);
        let later = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            drop(sender);
        });
        assert_eq!(inbox.wait(), None);
        later.join().unwrap();
        assert_eq!(inbox.wait_until(Instant::now() + LONG), Poll::Ready(None));
    }

    #[test]
    fn nobody_waits_for_longer_than_was_said() {
        let (sender, receiver) = unbounded_channel();
        let mut inbox = Inbox::new(receiver);
        let due = soon();
        assert_eq!(inbox.wait_until(due), Poll::Pending);
        assert!(Instant::now() >= due);
        // What is there is taken however late it is.
        sender.send(7).unwrap();
        assert_eq!(inbox.wait_until(due), Poll::Ready(Some(7)));
        sender.send(8).unwrap();
        assert_eq!(inbox.take(), Some(8));
        assert_eq!(inbox.wait_until(soon()), Poll::Pending);
    }
}
