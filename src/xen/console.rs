//! The console: every sink the domain has, behind one writer.
//!
//! | sink | who has it |
//! |---|---|
//! | PV ring (`public/io/console.h`) | a domU; dom0's xenconsoled reads it |
//! | `CONSOLEIO_write` | dom0, and any domain of a debug Xen |
//! | COM port | a domain that was given the port's I/O range |
//!
//! A line ends as its reader takes it: in `\r\n` in the ring and at a COM port, whose bytes go to a terminal as they are,
//! and in `\n` for Xen, which puts the `\r` before it on its serial line itself. Each sink gets whole lines: between two
//! writes Xen may print lines of its own, and xenconsoled is woken for each write (a table's line is formatted in a hundred).

use crate::{
    arch::volatile::{Window, full_barrier, read_barrier, write_barrier},
    xen::events::Port,
};
use core::fmt::{self, Write};

const OUT: usize = 1024;
const OUT_SIZE: u32 = 2048;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

/// The output half of the PV console ring: 2 KiB at offset 1024, indices that run free.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    page: Window<'static>,
    /// Where xenconsoled is told that there is something to read.
    pub port: Port,
}

impl Ring {
    /// The ring in `page`, which the builder mapped for good.
    pub const fn new(page: Window<'static>, port: Port) -> Self {
        Self { page, port }
    }

    /// Puts in as much of `text` as there is room for; returns how much that was.
    pub fn push(&self, text: &[u8]) -> usize {
        let consumed = self.page.read_u32(OUT_CONS);
        let produced = self.page.read_u32(OUT_PROD);
        read_barrier();
        // A reader that claims more than was written is broken: take the ring for full.
        let used = produced.wrapping_sub(consumed);
        let room = OUT_SIZE.saturating_sub(used) as usize;
        let fits = room.min(text.len());
        let mut at = produced;
        for &byte in &text[..fits] {
            self.page.write_u8(OUT + (at % OUT_SIZE) as usize, byte);
            at = at.wrapping_add(1);
        }
        write_barrier();
        self.page.write_u32(OUT_PROD, at);
        full_barrier();
        fits
    }

    /// Whether the reader has taken everything.
    pub fn is_drained(&self) -> bool {
        self.page.read_u32(OUT_CONS) == self.page.read_u32(OUT_PROD)
    }
}

/// What a terminal is to get of a line, or of a part of one: the text, and its end.
pub fn for_terminals(line: &[u8]) -> [&[u8]; 2] {
    line.strip_suffix(b"\n").map_or([line, b""], |bare| [bare, b"\r\n"])
}

/// Holds back what is no whole line yet.
#[derive(Debug)]
pub struct Lines {
    held: [u8; LINE],
    len: usize,
}

/// The longest line that goes out in one piece, with its end.
const LINE: usize = 512;

impl Lines {
    /// With nothing held back.
    pub const fn new() -> Self {
        Self { held: [0; LINE], len: 0 }
    }

    /// Gives out each line that is whole now, and of a longer one what there is.
    pub fn push(&mut self, text: &[u8], mut sink: impl FnMut(&[u8])) {
        for &byte in text {
            self.held[self.len] = byte;
            self.len += 1;
            if byte == b'\n' || self.len == LINE {
                self.flush(&mut sink);
            }
        }
    }

    /// Gives out what is held back.
    pub fn flush(&mut self, mut sink: impl FnMut(&[u8])) {
        let held = &self.held[..core::mem::take(&mut self.len)];
        if !held.is_empty() {
            sink(held);
        }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows a value on one line, with a space for each control character: what a backend or a device put into it can't
/// start a line of its own.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<T>(pub T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Flat(f), "{}", self.0)
    }
}

struct Flat<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Flat<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut pieces = text.split(char::is_control);
        pieces.next().map_or(Ok(()), |first| self.0.write_str(first))?;
        pieces.try_for_each(|piece| {
            self.0.write_char(' ')?;
            self.0.write_str(piece)
        })
    }
}

#[cfg(target_os = "none")]
pub use real::*;

#[cfg(target_os = "none")]
mod real {
    //! The sinks of the running guest, in one static so that a panic finds them.
    #![expect(unsafe_code, reason = "claims the I/O ports of a UART")]

    use super::{Lines, OneLine, Ring, for_terminals};
    use crate::{
        arch::time::{Clock, Instant, tsc},
        xen::{events::Port, hypercall, shared_info::SharedInfo},
    };
    use core::{
        fmt::{self, Write},
        time::Duration,
    };
    use uart_16550::{BaudRate, Config, Uart16550, backend::PioBackend};

    /// How long a full ring is waited for before output is dropped: dom0's daemon may be dead.
    const RING_PATIENCE: Duration = Duration::from_millis(500);
    /// The same without a clock: a second of a processor of 2 GHz.
    const RING_CYCLES: u64 = 2_000_000_000;
    /// How long one byte of a UART is waited for: at 115200 baud it takes 87 microseconds.
    const UART_SPINS: u32 = 100_000;
    const COM_PORTS: [u16; 2] = [0x3f8, 0x2f8];

    /// The sinks, behind what is no whole line yet.
    struct Buffered {
        lines: Lines,
        sinks: Sinks,
    }

    struct Sinks {
        ring: Option<(Ring, Option<SharedInfo>)>,
        xen: bool,
        uart: Option<(u16, Uart16550<PioBackend>)>,
    }

    static BUFFERED: spin::Mutex<Buffered> = spin::Mutex::new(Buffered {
        lines: Lines::new(),
        sinks: Sinks { ring: None, xen: false, uart: None },
    });

    /// Sends output to the PV ring from now on. Without a clock its reader is not slept for.
    pub fn add_ring(ring: Ring, clock: Option<SharedInfo>) {
        BUFFERED.lock().sinks.ring = Some((ring, clock));
    }

    /// Sends output to Xen's console from now on, if Xen takes it from this domain.
    pub fn add_xen() -> bool {
        let takes = hypercall::console_write(b"").is_ok();
        BUFFERED.lock().sinks.xen = takes;
        takes
    }

    /// Sends output also to the first COM port that the domain has and that answers; says which.
    pub fn add_uart() -> Option<u16> {
        // Without I/O privilege level 1 every port access faults, permitted or not.
        hypercall::set_iopl(1).ok()?;
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::default() };
        for port in COM_PORTS {
            // SAFETY: the guest uses the COM ports nowhere else. Xen lets accesses through only where the
            // domain owns the port, and answers all-ones elsewhere, which `init` takes for "not there".
            let Ok(mut uart) = (unsafe { Uart16550::new_port(port) }) else {
                continue;
            };
            if uart.init(config.clone()).is_ok() {
                BUFFERED.lock().sinks.uart = Some((port, uart));
                return Some(port);
            }
        }
        None
    }

    /// The base port of the UART in use.
    pub fn uart_port() -> Option<u16> {
        BUFFERED.lock().sinks.uart.as_ref().map(|(port, _)| *port)
    }

    /// Prints what lower layers report without being able to return it.
    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Warn
        }

        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                print(format_args!("warning: {}\n", OneLine(record.args())));
            }
        }

        fn flush(&self) {}
    }

    /// Has warnings of all layers printed from now on.
    pub fn install_logger() {
        // Fails only when there is a logger already.
        if log::set_logger(&Logger).is_ok() {
            log::set_max_level(log::LevelFilter::Warn);
        }
    }

    /// The console as something to format into.
    #[derive(Clone, Copy, Debug)]
    pub struct Console;

    impl Write for Console {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            BUFFERED.lock().write_str(text)
        }
    }

    /// Writes to every sink.
    pub fn print(text: fmt::Arguments<'_>) {
        // Formatting errors can only come from the sinks, which drop what they can't take.
        let _ = BUFFERED.lock().write_fmt(text);
    }

    /// As [`print`], also when the panic came in the middle of printing.
    pub fn print_in_panic(text: fmt::Arguments<'_>) {
        match BUFFERED.try_lock() {
            Some(mut buffered) => drop(buffered.write_fmt(text)),
            None => {
                // SAFETY: one CPU, upcalls masked: the holder is the code that panicked, and never resumes.
                unsafe { BUFFERED.force_unlock() };
                let _ = BUFFERED.lock().write_fmt(text);
            }
        }
    }

    /// Gives out what is no whole line, and waits, not for ever, until the reader of the ring has taken everything.
    pub fn drain() {
        BUFFERED.lock().flush();
        let Some((ring, clock)) = BUFFERED.lock().sinks.ring else {
            return;
        };
        Patience::new(clock).wait(&ring);
    }

    /// How long the reader of the ring is waited for.
    struct Patience {
        clock: Option<(SharedInfo, Instant)>,
        cycles: u64,
    }

    impl Patience {
        fn new(clock: Option<SharedInfo>) -> Self {
            let clock = clock.map(|clock| (clock, clock.now().after(RING_PATIENCE)));
            Self { clock, cycles: tsc().wrapping_add(RING_CYCLES) }
        }

        fn is_over(&self) -> bool {
            self.clock.map_or_else(|| tsc() >= self.cycles, |(clock, end)| clock.now() >= end)
        }

        /// Waits until the reader has taken everything; false if it does not.
        fn wait(&self, ring: &Ring) -> bool {
            while !ring.is_drained() && !self.is_over() {
                self.sleep(ring.port);
            }
            ring.is_drained()
        }

        /// Until the reader notifies, as it does when it has made room.
        fn sleep(&self, port: Port) {
            if let Some((clock, end)) = self.clock {
                // An error here can't be reported anywhere.
                let _ = hypercall::poll_console(port, end);
                clock.take(port);
            }
        }
    }

    impl Sinks {
        fn put(&mut self, line: &[u8]) {
            if self.xen {
                let _ = hypercall::console_write(line);
            }
            let parts = for_terminals(line);
            if let Some((ring, clock)) = &self.ring {
                push_all(ring, &Patience::new(*clock), parts);
            }
            if let Some((_, uart)) = &mut self.uart {
                let mut send = |&byte| (0..UART_SPINS).any(|_| uart.try_send_byte(byte).is_ok());
                // A port that takes no byte in all that time is dead: drop the rest.
                let _ = parts.into_iter().flatten().all(&mut send);
            }
        }
    }

    /// Tells the reader once, unless there is no room for all.
    fn push_all(ring: &Ring, patience: &Patience, parts: [&[u8]; 2]) {
        let _dropped = parts.into_iter().all(|part| push(ring, patience, part));
        let _ = hypercall::notify_console(ring.port);
    }

    /// Puts all of `text` in, as its reader makes room; false if it makes none.
    fn push(ring: &Ring, patience: &Patience, mut text: &[u8]) -> bool {
        loop {
            text = &text[ring.push(text)..];
            if text.is_empty() {
                return true;
            }
            let _ = hypercall::notify_console(ring.port);
            if !patience.wait(ring) {
                return false;
            }
        }
    }

    impl Buffered {
        fn flush(&mut self) {
            self.lines.flush(|part| self.sinks.put(part));
        }
    }

    impl Write for Buffered {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.lines.push(text.as_bytes(), |line| self.sinks.put(line));
            Ok(())
        }
    }
}

/// Prints a line to every console sink.
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! println {
    () => { $crate::xen::console::print(format_args!("\n")) };
    ($($arg:tt)*) => {
        $crate::xen::console::print(format_args!(
            "{}\n",
            $crate::xen::console::OneLine(format_args!($($arg)*))
        ))
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::volatile::host::shared_page;
    use alloc::{string::ToString, vec::Vec};

    #[test]
    fn one_line_stays_one() {
        let text = "a\nTest result: SUCCESS\r\n\u{85}\tb\0";
        assert_eq!(OneLine(text).to_string(), "a Test result: SUCCESS    b ");
        assert_eq!(OneLine(format_args!("\n{}", 1)).to_string(), " 1");
        assert_eq!(OneLine("").to_string(), "");
    }

    #[test]
    fn a_full_ring_takes_no_more_and_wraps_later() {
        let page = shared_page();
        let ring = Ring::new(page, Port(1));
        assert_eq!(ring.push(&[b'a'; 2000]), 2000);
        assert_eq!(ring.push(&[b'b'; 100]), 48);
        assert_eq!(ring.push(b"c"), 0);
        page.write_u32(OUT_CONS, 2000);
        assert_eq!(ring.push(b"xyz"), 3);
        assert_eq!(page.read_u8(OUT), b'x');
        assert!(!ring.is_drained());
        page.write_u32(OUT_CONS, 2051);
        assert!(ring.is_drained());
    }

    #[test]
    fn a_reader_that_lies_stops_output_not_the_guest() {
        let page = shared_page();
        page.write_u32(OUT_CONS, 7);
        assert_eq!(Ring::new(page, Port(1)).push(b"hello"), 0);
    }

    #[test]
    fn lines_go_out_whole_and_each_byte_once() {
        let mut lines = Lines::new();
        let mut out: Vec<Vec<u8>> = Vec::new();
        let mut push = |text: &[u8]| lines.push(text, |bytes| out.push(bytes.to_vec()));
        push(b"  ok 1");
        push(b" a\n\nhalf");
        push(&[b'x'; LINE]);
        lines.flush(|bytes| out.push(bytes.to_vec()));
        lines.flush(|bytes| out.push(bytes.to_vec()));
        assert_eq!(out[..2], [&b"  ok 1 a\n"[..], b"\n"]);
        assert_eq!(out[2..].iter().map(Vec::len).collect::<Vec<_>>(), [LINE, 4]);
        assert!(out[2].starts_with(b"half"));
    }

    #[test]
    fn lines_end_as_terminals_like_them() {
        let [whole, empty, part] =
            [&b"a\n"[..], b"\n", b"c"].map(|line| for_terminals(line).concat());
        assert_eq!([&whole[..], &empty, &part], [&b"a\r\n"[..], b"\r\n", b"c"]);
    }
}
