//! Adverts by the thousand, good and bad, as fast as the kernel takes them or in step.

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, sendmmsg};

use crate::netns::Netns;
use crate::{packet, wait};

/// What one system call hands over at most.
const BATCH: usize = 256;

/// An advert to be made. A writer of its own, as [`crate::frame`] is a reader of its own.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The sender.
    pub source: Ipv4Addr,
    /// 2 or 3.
    pub version: u8,
    /// The virtual router.
    pub vrid: u8,
    /// The priority.
    pub priority: u8,
    /// The interval: whole seconds in version 2, tens of milliseconds in version 3.
    pub interval_ms: u16,
    /// The addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// VRRPv2's password.
    pub password: Option<[u8; 8]>,
}

impl Beat {
    /// The Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut message = vec![
            self.version << 4 | 1,
            self.vrid,
            self.priority,
            self.addresses.len() as u8,
            0,
            0,
            0,
            0,
        ];
        if self.version == 2 {
            message[4] = u8::from(self.password.is_some());
            message[5] = (self.interval_ms / 1000).max(1) as u8;
        } else {
            message[4..6].copy_from_slice(&(self.interval_ms / 10).max(1).to_be_bytes());
        }
        message.extend(self.addresses.iter().flat_map(Ipv4Addr::octets));
        if self.version == 2 {
            message.extend(self.password.unwrap_or_default());
        }
        let mut frame = Vec::from(*b"\x01\x00\x5e\x00\x00\x12\x02\x00\x00\x00\x00\x65\x08\x00");
        let total = (20 + message.len()) as u16;
        frame.extend([0x45, 0xc0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0, 0, 255, 112, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend([224, 0, 0, 18]);
        frame.extend(message);
        sum_header(&mut frame);
        sum_message(&mut frame);
        frame
    }
}

/// Makes the IPv4 header's checksum right.
pub fn sum_header(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn sum_message(frame: &mut [u8]) {
    frame[40..42].fill(0);
    let message = &frame[34..];
    let pseudo = match message[0] >> 4 {
        2 => 0,
        _ => fold(&frame[26..34]) + 112 + message.len() as u32,
    };
    let sum = checksum(message, pseudo);
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
}

fn fold(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + fold(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Adverts that are all wrong, each kind as often as the others: of another VRID, of another
/// authentication, of another cluster, with a wrong checksum, from beyond a router, and cut short.
/// Except for its fault each would win against everybody.
pub fn bad_adverts(source: Ipv4Addr, vrid: u8, address: Ipv4Addr) -> Vec<Vec<u8>> {
    let good = Beat {
        source,
        version: 3,
        vrid,
        priority: 254,
        interval_ms: 10,
        addresses: vec![address],
        password: None,
    };
    let stranger = |number: u8| Beat { vrid: vrid.wrapping_add(1 + number % 200), ..good.clone() };
    let foreign = Ipv4Addr::from(u32::from(address).wrapping_add(77));
    let mut frames = Vec::new();
    for number in 0..200 {
        let mut damaged = good.frame();
        damaged[40] ^= 0x55;
        let mut far = good.frame();
        far[22] = 64;
        sum_header(&mut far);
        let mut short = good.frame();
        short[37] = 20;
        let old =
            Beat { version: 2, interval_ms: 1000, password: Some(*b"badpass\0"), ..good.clone() };
        let other = Beat { addresses: vec![foreign], ..good.clone() };
        frames.extend([stranger(number).frame(), old.frame(), other.frame(), damaged, far, short]);
    }
    frames
}

/// What a generator did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Frames that the kernel took.
    pub frames: u64,
    /// Rounds that began later than one interval after they were due.
    pub late: u64,
    /// How long it ran.
    pub took: Duration,
}

impl Sent {
    /// Frames per second.
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Frames being sent until it is finished or dropped.
#[derive(Debug)]
pub struct Generator {
    end: Arc<AtomicBool>,
    sender: Option<JoinHandle<Sent>>,
}

impl Generator {
    /// Sends all the frames each `every` out of a namespace's `eth0`.
    ///
    /// # Errors
    /// No packet socket.
    pub fn in_step(netns: &Netns, frames: Vec<Vec<u8>>, every: Duration) -> Result<Self> {
        Self::start(netns, frames, Some(every), || ())
    }

    /// The same with the real-time priority of a daemon's protocol thread.
    ///
    /// # Errors
    /// No packet socket.
    pub fn in_step_first(netns: &Netns, frames: Vec<Vec<u8>>, every: Duration) -> Result<Self> {
        Self::start(netns, frames, Some(every), || wait::scheduled("51"))
    }

    /// Sends the frames again and again as fast as the kernel takes them.
    ///
    /// # Errors
    /// No packet socket.
    pub fn at_full_speed(netns: &Netns, frames: Vec<Vec<u8>>) -> Result<Self> {
        Self::start(netns, frames, None, || ())
    }

    fn start(
        netns: &Netns,
        frames: Vec<Vec<u8>>,
        every: Option<Duration>,
        prepare: fn(),
    ) -> Result<Self> {
        let socket = netns.enter(|| packet::open_to_send("eth0"))?;
        let end = Arc::new(AtomicBool::new(false));
        let sender = std::thread::spawn({
            let end = Arc::clone(&end);
            move || {
                prepare();
                send_all(&socket, &frames, every, &end)
            }
        });
        Ok(Self { end, sender: Some(sender) })
    }

    /// Ends it and says what it did.
    ///
    /// # Errors
    /// It failed.
    pub fn finish(mut self) -> Result<Sent> {
        self.halt().context("the generator failed")
    }

    fn halt(&mut self) -> Option<Sent> {
        self.end.store(true, Ordering::Relaxed);
        self.sender.take()?.join().ok()
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.halt();
    }
}

fn send_all(
    socket: &OwnedFd,
    frames: &[Vec<u8>],
    every: Option<Duration>,
    end: &AtomicBool,
) -> Sent {
    let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|f| [IoSlice::new(f)]).collect();
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let begin = Instant::now();
    let (mut sent, mut due) = (Sent::default(), begin);
    while !end.load(Ordering::Relaxed) {
        for batch in slices.chunks(BATCH) {
            sent.frames += send_batch(socket, &mut headers, batch);
        }
        if let Some(every) = every {
            due += every;
            match due.checked_duration_since(Instant::now()) {
                Some(wait) => std::thread::sleep(wait),
                None => sent.late += 1,
            }
        }
    }
    sent.took = begin.elapsed();
    sent
}

fn send_batch<'a>(
    socket: &OwnedFd,
    headers: &mut MultiHeaders<()>,
    batch: &'a [[IoSlice<'a>; 1]],
) -> u64 {
    const NOWHERE: [Option<()>; BATCH] = [None; BATCH];
    let control: [ControlMessage<'_>; 0] = [];
    // A full queue is what a flood makes; the rest of the batch is then left out.
    let done = sendmmsg(socket.as_raw_fd(), headers, batch, NOWHERE, control, MsgFlags::empty());
    done.map_or(0, |results| results.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Frame};

    fn good() -> Beat {
        Beat {
            source: Ipv4Addr::new(192, 0, 2, 101),
            version: 3,
            vrid: 51,
            priority: 150,
            interval_ms: 100,
            addresses: vec![Ipv4Addr::new(192, 0, 2, 250)],
            password: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let Some(Frame::Advert(advert)) = frame::read(&good().frame()) else { panic!("no advert") };
        assert_eq!((advert.version, advert.vrid, advert.priority), (3, 51, 150));
        assert_eq!((advert.interval_ms, advert.ttl), (100, 255));
        assert_eq!(advert.addresses, good().addresses);
    }

    /// A handed frame with the same contents has the same sums.
    #[test]
    fn the_sums_are_those_of_a_handed_frame() {
        let handed = &crate::cases::packets("P05-v2-auth")[0].bytes;
        let Some(Frame::Advert(advert)) = frame::read(handed) else { panic!("no advert") };
        let same = Beat {
            source: advert.source,
            version: 2,
            vrid: advert.vrid,
            priority: advert.priority,
            interval_ms: 1000,
            addresses: advert.addresses,
            password: Some(*b"1111\0\0\0\0"),
        };
        assert_eq!(same.frame()[34..], handed[34..]);
    }

    #[test]
    fn no_bad_advert_is_a_good_one() {
        let address = Ipv4Addr::new(192, 0, 2, 250);
        let bad = bad_adverts(Ipv4Addr::new(192, 0, 2, 101), 51, address);
        let right = |bytes: &Vec<u8>| {
            let sums = [checksum(&bytes[14..34], 0), {
                let pseudo = fold(&bytes[26..34]) + 112 + (bytes.len() - 34) as u32;
                checksum(&bytes[34..], pseudo)
            }];
            let Some(Frame::Advert(advert)) = frame::read(bytes) else { return false };
            sums == [0, 0]
                && (advert.version, advert.vrid, advert.ttl) == (3, 51, 255)
                && advert.addresses == [address]
        };
        assert!(!bad.iter().any(right));
        assert!(right(&Beat { addresses: vec![address], ..good() }.frame()));
    }
}
