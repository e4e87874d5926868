//! A wire that goes wrong: the rig between two cards, each of whose frames it passes on, drops, repeats, or holds back
//! until others have gone by.
//!
//! QEMU sends each frame as a datagram to a socket in the run's folder, and takes those that come to its own. What
//! becomes of a frame is drawn; with the same number the n-th frame of a direction has always the same fate.

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// One of the wire's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// What the guests call it, too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// Names in the run's folder: QEMU's socket for an end, and the rig's.
pub(super) fn sockets(side: Side) -> [String; 2] {
    ["end", "wire"].map(|whose| format!("{whose}-{}.sock", side.name()))
}

/// QEMU's sockets.
pub(super) fn ends() -> impl Iterator<Item = String> {
    [Side::A, Side::B].into_iter().map(|side| {
        let [end, _] = sockets(side);
        end
    })
}

/// What was done to the frames of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mischief {
    /// Frames that came.
    pub(crate) frames: u64,
    /// Of these, never passed on.
    pub(crate) dropped: u64,
    /// Passed on twice.
    pub(crate) repeated: u64,
    /// Passed on after some that came later.
    pub(crate) reordered: u64,
}

impl Mischief {
    /// What was done since.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            frames: self.frames - before.frames,
            dropped: self.dropped - before.dropped,
            repeated: self.repeated - before.repeated,
            reordered: self.reordered - before.reordered,
        }
    }

    /// Whether there was some of each kind.
    pub(crate) const fn is_whole(self) -> bool {
        self.dropped > 0 && self.repeated > 0 && self.reordered > 0
    }
}

impl fmt::Display for Mischief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, dropped, repeated, reordered } = self;
        write!(
            f,
            "of {frames} frames {dropped} dropped, {repeated} repeated, {reordered} reordered"
        )
    }
}

/// Of so many frames one is dropped, another one repeated, and a third held back.
const ONE_IN: u64 = 100;
/// How many frames go by one that is held back: enough that TCP takes it for lost.
const GO_BY: u32 = 5;
/// A frame that nothing follows is held back that long.
const HELD: Duration = Duration::from_millis(20);
/// Longer than any frame.
const FRAME: usize = 1 << 16;

/// How long QEMU may take to have room for one more.
const ROOM: Duration = Duration::from_secs(1);

/// What becomes of the frames of one direction.
#[derive(Debug)]
struct Fates {
    state: u64,
    /// A frame held back, and how many have still to go by.
    held: Option<(u32, Vec<u8>)>,
    done: Mischief,
}

impl Fates {
    fn new(seed: u64) -> Self {
        // The generator never leaves 0.
        Self { state: seed | 1 << 63, held: None, done: Mischief::default() }
    }

    /// What is passed on now that this frame came, in order.
    fn frame(&mut self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        self.done.frames += 1;
        match self.draw() % ONE_IN {
            0 => {
                self.done.dropped += 1;
                Vec::new()
            }
            1 => {
                self.done.repeated += 1;
                self.pass(vec![frame.clone(), frame])
            }
            2 if self.held.is_none() => {
                self.held = Some((GO_BY, frame));
                Vec::new()
            }
            _ => self.pass(vec![frame]),
        }
    }

    /// These, and after them what was held back for the last time.
    fn pass(&mut self, mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        if let Some((left, _)) = &mut self.held {
            *left -= 1;
        }
        if self.held.as_ref().is_some_and(|(left, _)| *left == 0) {
            frames.extend(self.quiet());
        }
        frames
    }

    /// What is held back, which nothing follows any more. It is late only if others went by.
    fn quiet(&mut self) -> Option<Vec<u8>> {
        let (left, frame) = self.held.take()?;
        self.done.reordered += u64::from(left < GO_BY);
        Some(frame)
    }

    /// The next number of a xorshift generator.
    const fn draw(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}

/// The wire, for as long as this lives.
#[derive(Debug)]
pub(super) struct Relay {
    done: Arc<Mutex<[Mischief; 2]>>,
    stop: Arc<AtomicBool>,
    ways: Vec<JoinHandle<()>>,
    paths: [PathBuf; 2],
}

impl Relay {
    /// A wire between the two sockets of QEMU's in this folder; QEMU may start later.
    pub(super) fn start(folder: &Path, seed: u64) -> Result<Self> {
        let [[end_a, wire_a], [end_b, wire_b]] =
            [Side::A, Side::B].map(|side| sockets(side).map(|name| folder.join(name)));
        let paths = [wire_a, wire_b];
        let mut relay =
            Self { done: Arc::default(), stop: Arc::default(), ways: Vec::new(), paths };
        // The second one's frames have other fates, whatever the number.
        for (index, (to, seed)) in [(end_b, seed), (end_a, !seed)].into_iter().enumerate() {
            let path = &relay.paths[index];
            let from = UnixDatagram::bind(path).on("create", path)?;
            let timed = from.set_read_timeout(Some(HELD));
            timed.and_then(|()| from.set_write_timeout(Some(ROOM))).on("set up", path)?;
            let (done, stop) = (Arc::clone(&relay.done), Arc::clone(&relay.stop));
            let way = Way { from, to, fates: Fates::new(seed), index, done, stop };
            relay.ways.push(thread::spawn(|| way.carry()));
        }
        Ok(relay)
    }

    /// What it has done so far.
    pub(super) fn done(&self) -> Mischief {
        let [a, b] = *self.done.lock().unwrap_or_else(PoisonError::into_inner);
        Mischief {
            frames: a.frames + b.frames,
            dropped: a.dropped + b.dropped,
            repeated: a.repeated + b.repeated,
            reordered: a.reordered + b.reordered,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for way in self.ways.drain(..) {
            // One that panicked has said so, and carries nothing any more.
            let _panicked = way.join();
        }
        for path in &self.paths {
            let _missing = std::fs::remove_file(path);
        }
    }
}

/// One direction.
struct Way {
    from: UnixDatagram,
    to: PathBuf,
    fates: Fates,
    index: usize,
    done: Arc<Mutex<[Mischief; 2]>>,
    stop: Arc<AtomicBool>,
}

impl Way {
    /// Carries frames until told to stop.
    fn carry(mut self) {
        let mut buffer = vec![0; FRAME];
        while !self.stop.load(Ordering::Relaxed) {
            let frames = match self.from.recv(&mut buffer) {
                Ok(length) => self.fates.frame(buffer[..length].to_vec()),
                Err(error) if is_quiet(&error) => self.fates.quiet().into_iter().collect(),
                Err(_) => return,
            };
            for frame in frames {
                // Before QEMU is there, or when it has no room for a second: a wire may lose frames.
                self.fates.done.dropped += u64::from(self.from.send_to(&frame, &self.to).is_err());
            }
            self.done.lock().unwrap_or_else(PoisonError::into_inner)[self.index] = self.fates.done;
        }
    }
}

fn is_quiet(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the frames that come out of so many.
    fn out(seed: u64, frames: u32) -> (Vec<u32>, Mischief) {
        let mut fates = Fates::new(seed);
        let number = |frame: Vec<u8>| u32::from_le_bytes(frame.try_into().unwrap());
        let mut out: Vec<u32> =
            (0..frames).flat_map(|n| fates.frame(n.to_le_bytes().to_vec())).map(number).collect();
        out.extend(fates.quiet().map(number));
        (out, fates.done)
    }

    #[test]
    fn what_was_done_to_frames_is_what_is_counted() {
        for seed in 0..20 {
            let (out, done) = out(seed, 5000);
            let missing = (0..5000).filter(|n| !out.contains(n)).count() as u64;
            let twice = (0..5000).filter(|n| out.iter().filter(|o| *o == n).count() == 2);
            let late = out.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
            assert_eq!((done.frames, done.dropped), (5000, missing), "seed {seed}");
            assert_eq!((done.repeated, done.reordered), (twice.count() as u64, late));
            assert_eq!(out.len() as u64, 5000 - missing + done.repeated);
            assert!(done.is_whole() && done.dropped < 100, "{done:?}");
        }
    }

    #[test]
    fn the_same_number_gives_the_same_wire() {
        assert_eq!(out(7, 1000), out(7, 1000));
        assert_ne!(out(7, 1000).0, out(8, 1000).0);
    }

    #[test]
    fn a_frame_that_nothing_follows_is_not_out_of_order() {
        let mut fates = Fates::new(1);
        while fates.held.is_none() {
            fates.frame(vec![1]);
        }
        let before = fates.done;
        assert_eq!(fates.quiet(), Some(vec![1]));
        assert_eq!((fates.done, fates.quiet()), (before, None));
    }

    #[test]
    fn frames_go_both_ways_through_the_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = [Side::A, Side::B].map(|side| {
            let [end, wire] = sockets(side).map(|name| folder.path().join(name));
            let socket = UnixDatagram::bind(end).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            (socket, wire)
        });
        let relay = Relay::start(folder.path(), 3).unwrap();
        for ((from, wire), (to, _)) in [(&a, &b), (&b, &a)] {
            // One of three is enough: others may be lost.
            for _ in 0..3 {
                from.send_to(b"frame", wire).unwrap();
            }
            let mut buffer = [0; 16];
            assert_eq!(to.recv(&mut buffer).unwrap(), 5);
        }
        let (wire, _) = (a.1.clone(), drop(relay));
        assert!(!wire.exists(), "its sockets go with it");
    }
}
