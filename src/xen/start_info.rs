//! What the domain builder tells the guest at its entry (`public/xen.h`, `struct start_info`).

use crate::{
    addr::{Mfn, PAGE_SIZE},
    xen::events::Port,
};
use core::ops::Range;

/// `SIF_PRIVILEGED` and `SIF_INITDOMAIN`.
const DOM0_FLAGS: u32 = 3;

/// Bytes of `struct dom0_vga_console_info` up to its last field, `ext_lfb_base`.
pub const VIDEO: usize = 40;

/// The console of a domU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPage {
    /// The ring's page.
    pub mfn: Mfn,
    /// Where its other end is told.
    pub port: Port,
}

/// The start-of-day facts, copied out of Xen's structure and turned into our types.
#[derive(Clone, Debug)]
pub struct StartInfo {
    /// ABI the builder speaks, such as `xen-3.0-x86_64`.
    pub magic: [u8; 32],
    /// Pages the domain has; its PFNs are 0 to this.
    pub nr_pages: u64,
    /// Machine frame of the shared info page.
    pub shared_info: Mfn,
    /// Whether this is the initial, privileged domain.
    pub is_dom0: bool,
    /// Xenstore's ring; `None` for dom0, which would have to start one.
    pub store: Option<RingPage>,
    /// The console ring; `None` for dom0, which writes to Xen's console.
    pub console: Option<RingPage>,
    /// Dom0's screen as Xen describes it (`struct dom0_vga_console_info`), zero behind what Xen wrote of it; all zero
    /// where there is none.
    pub video: [u8; VIDEO],
    /// Virtual address of the top page table.
    pub pt_base: u64,
    /// Page-table frames the builder used, contiguous from `pt_base`.
    pub nr_pt_frames: u64,
    /// Virtual address of the P2M list.
    pub mfn_list: u64,
    /// Virtual address of the structure itself.
    pub at: u64,
    cmd_line: [u8; 1024],
}

impl StartInfo {
    /// The command line up to its NUL; bytes that are no ASCII come as `?`.
    pub fn command_line(&self) -> &str {
        let end = self.cmd_line.iter().position(|b| *b == 0).unwrap_or(self.cmd_line.len());
        core::str::from_utf8(&self.cmd_line[..end]).unwrap_or("?")
    }

    /// Takes the values out of Xen's structure at virtual address `at`.
    pub fn new(raw: &xen_sys::start_info, domu: Option<(u64, u32)>, at: u64) -> Self {
        let is_dom0 = raw.flags & DOM0_FLAGS != 0;
        let mut cmd_line = raw.cmd_line.map(i8::cast_unsigned);
        for byte in &mut cmd_line {
            if !byte.is_ascii() {
                *byte = b'?';
            }
        }
        Self {
            magic: raw.magic.map(i8::cast_unsigned),
            nr_pages: raw.nr_pages,
            shared_info: Mfn(raw.shared_info >> crate::addr::PAGE_SHIFT),
            is_dom0,
            store: ring(raw.store_mfn, raw.store_evtchn),
            console: domu.and_then(|(mfn, port)| ring(mfn, port)),
            video: [0; VIDEO],
            pt_base: raw.pt_base,
            nr_pt_frames: raw.nr_pt_frames,
            mfn_list: raw.mfn_list,
            at,
            cmd_line,
        }
    }
}

#[cfg(test)]
impl StartInfo {
    /// What a builder says of where things are; the rest is nothing.
    pub(crate) const fn of(
        nr_pages: u64,
        (mfn_list, at): (u64, u64),
        (pt_base, nr_pt_frames): (u64, u64),
    ) -> Self {
        Self {
            magic: [0; 32],
            nr_pages,
            shared_info: Mfn(0),
            is_dom0: false,
            store: None,
            console: None,
            video: [0; VIDEO],
            pt_base,
            nr_pt_frames,
            mfn_list,
            at,
            cmd_line: [0; 1024],
        }
    }
}

fn ring(mfn: u64, port: u32) -> Option<RingPage> {
    (mfn != 0 && port != 0).then_some(RingPage { mfn: Mfn(mfn), port: Port(port) })
}

/// Where in the structure's page the screen is described, if it is; no further than is known.
pub fn video_range(info_off: u32, info_size: u32) -> Option<Range<usize>> {
    let (from, size) = (info_off as usize, (info_size as usize).min(VIDEO));
    let range = from..from.checked_add(size)?;
    let inside = from >= size_of::<xen_sys::start_info>() && range.end <= PAGE_SIZE;
    inside.then_some(range)
}

/// Copies the structure that Xen passed to the entry.
///
/// # Safety
/// `raw` must be the pointer that boot/entry.S received in rsi.
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the structure comes as an address")]
pub unsafe fn read(raw: *const xen_sys::start_info) -> StartInfo {
    // SAFETY: the builder put a whole start_info page there, mapped, and nobody writes it after the start.
    let info = unsafe { &*raw };
    let domu = (info.flags & DOM0_FLAGS == 0).then(|| {
        // SAFETY: without the dom0 flags the union holds the domU member; both are plain numbers anyway.
        let console = unsafe { info.console.domU };
        (console.mfn, console.evtchn)
    });
    let mut copied = StartInfo::new(info, domu, raw.addr() as u64);
    let video = domu.is_none().then(|| {
        // SAFETY: with the dom0 flags the union holds the dom0 member.
        let screen = unsafe { info.console.dom0 };
        video_range(screen.info_off, screen.info_size)
    });
    if let Some(Some(range)) = video {
        let from = raw.wrapping_byte_add(range.start).cast::<u8>();
        // SAFETY: these bytes are in the start_info page, which is mapped, and nobody writes it.
        let bytes = unsafe { core::slice::from_raw_parts(from, range.len()) };
        copied.video[..range.len()].copy_from_slice(bytes);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a builder writes, with this command line in it.
    #[expect(unsafe_code, reason = "the crate keeps the union's name to itself")]
    fn written(line: &[u8], flags: u32) -> xen_sys::start_info {
        // SAFETY: all of it is numbers, of which each may be zero.
        let mut raw: xen_sys::start_info = unsafe { core::mem::zeroed() };
        for (to, from) in raw.cmd_line.iter_mut().zip(line) {
            *to = from.cast_signed();
        }
        raw.magic = [b'x'.cast_signed(); 32];
        (raw.nr_pages, raw.shared_info, raw.flags) = (1, 2 << 12, flags);
        (raw.store_mfn, raw.store_evtchn) = (3, 4);
        (raw.pt_base, raw.nr_pt_frames, raw.mfn_list) = (7, 8, 9);
        raw
    }

    #[test]
    fn each_value_of_the_structure_is_taken_for_what_it_is() {
        let info = StartInfo::new(&written(b"suite=boot\0suite=net", 0), Some((5, 6)), 10);
        assert_eq!(info.command_line(), "suite=boot");
        assert_eq!((info.magic, info.nr_pages, info.shared_info), ([b'x'; 32], 1, Mfn(2)));
        assert_eq!(info.store, Some(RingPage { mfn: Mfn(3), port: Port(4) }));
        assert_eq!(info.console, Some(RingPage { mfn: Mfn(5), port: Port(6) }));
        assert_eq!((info.pt_base, info.nr_pt_frames, info.mfn_list, info.at), (7, 8, 9, 10));
        assert!(!info.is_dom0);
        for flags in 1..=3 {
            let dom0 = StartInfo::new(&written(b"", flags), None, 0);
            assert!(dom0.is_dom0 && dom0.console.is_none() && dom0.command_line().is_empty());
        }
        let whole = StartInfo::new(&written(&[b'a'; 1024], 0), None, 0);
        assert_eq!(whole.command_line().len(), 1024, "without a NUL");
        let foreign = StartInfo::new(&written("d\u{e4}ma".as_bytes(), 4), None, 0);
        assert_eq!((foreign.command_line(), foreign.is_dom0), ("d??ma", false));
    }

    #[test]
    fn a_screen_is_described_behind_the_structure_and_in_its_page() {
        let end = size_of::<xen_sys::start_info>();
        let at = u32::try_from(end).unwrap();
        assert_eq!(video_range(at, 36), Some(end..end + 36));
        assert_eq!(video_range(at, u32::MAX), Some(end..end + VIDEO), "as far as it is known");
        assert_eq!(video_range(4056, 40), Some(4056..4096));
        for (at, len) in [(0, 40), (at - 1, 40), (4057, 40), (u32::MAX, 40), (4097, 0)] {
            assert_eq!(video_range(at, len), None, "{len} bytes at {at}");
        }
    }

    #[test]
    fn a_ring_has_a_frame_and_a_port_or_is_none() {
        assert!(ring(0, 3).is_none() && ring(7, 0).is_none() && ring(0, 0).is_none());
        let both = ring(7, 3).unwrap();
        assert_eq!((both.mfn, both.port), (Mfn(7), Port(3)));
    }
}
