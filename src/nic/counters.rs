//! What a card's driver counts.

use crate::device::Traffic;

/// Counters of one card since its driver started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames sent, as the device reported.
    pub tx_frames: u64,
    /// Bytes given to the device to send, padding included.
    pub tx_bytes: u64,
    /// Frames given to the device through the bounce pool.
    pub tx_bounced: u64,
    /// Frames given to the device where they lay.
    pub tx_direct: u64,
    /// Frames the device failed to send, or had when it was reset.
    pub tx_dropped: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, without checksums.
    pub rx_bytes: u64,
    /// Frames received through the bounce pool.
    pub rx_bounced: u64,
    /// Times a frame found no room, as the device counts. On a wire each is a frame lost; QEMU also counts
    /// those it holds back and delivers later, thousands of them in a fast download.
    pub rx_missed: u64,
    /// Frames the device aborted and was told to send once more.
    pub tx_retries: u64,
    /// Times the device was reset in order to go on after an error.
    pub resets: u64,
    /// Interrupts acknowledged that had a cause.
    pub interrupts: u64,
}

impl Counters {
    /// As every driver tells it.
    pub const fn traffic(&self) -> Traffic {
        Traffic {
            sent: self.tx_frames,
            sent_bounced: self.tx_bounced,
            received: self.rx_frames,
            lost: self.rx_missed + self.tx_dropped,
            resets: self.resets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_lost_on_either_way() {
        let counters = Counters { rx_missed: 2, tx_dropped: 3, ..Counters::default() };
        assert_eq!(counters.traffic().lost, 5);
    }
}
