//! What the pool counted: for the report, and to prove that nothing was kept.

/// Counters of one pool since it was made; sizes in slots of 2 KiB where not stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Segments now.
    pub segments: usize,
    /// Bytes in all segments now.
    pub bytes: usize,
    /// Slots in all segments now.
    pub slots: usize,
    /// Slots taken now; after the last mapping is gone, slots that leaked.
    pub in_use: usize,
    /// The most slots ever taken at once.
    pub high_water: usize,
    /// The fewest slots ever free at once since the pool was last started.
    pub low_water: usize,
    /// Mappings made, bounced or direct.
    pub maps: u64,
    /// Mappings that were bounced.
    pub bounces: u64,
    /// Mappings that used the buffer itself.
    pub direct: u64,
    /// Mappings and shared memory in devices' hands now; after the last driver stopped, those that were dropped or
    /// forgotten, whose memory is kept for good.
    pub in_flight: u64,
    /// Mappings refused.
    pub failures: u64,
    /// Bytes copied towards devices.
    pub bytes_to_device: u64,
    /// Bytes copied back.
    pub bytes_from_device: u64,
    /// Mappings at whose end a guard byte was found overwritten.
    pub overruns: u64,
    /// Mappings at whose end bytes were reported that the device had not written.
    pub overreports: u64,
    /// Segments added because the pool was full.
    pub grown: u64,
    /// Segments given back because they were idle.
    pub shrunk: u64,
    /// Regions acquired, coherent ones included.
    pub acquired: u64,
    /// Regions given back.
    pub released: u64,
    /// Bytes that could not be given back: the release failed, and they still lie low.
    pub stuck_bytes: usize,
    /// Leases that came back to a segment that had not given them: a bug of the pool itself.
    pub bad_frees: u64,
}

impl Stats {
    /// Nothing counted yet.
    pub const NONE: Self = Self {
        segments: 0,
        bytes: 0,
        slots: 0,
        in_use: 0,
        high_water: 0,
        low_water: 0,
        maps: 0,
        bounces: 0,
        direct: 0,
        in_flight: 0,
        failures: 0,
        bytes_to_device: 0,
        bytes_from_device: 0,
        overruns: 0,
        overreports: 0,
        grown: 0,
        shrunk: 0,
        acquired: 0,
        released: 0,
        stuck_bytes: 0,
        bad_frees: 0,
    };

    /// Whether everything taken came back: nothing in flight, no slot in use, no region stuck, no bad free.
    pub const fn is_balanced(&self) -> bool {
        self.in_flight == 0 && self.in_use == 0 && self.stuck_bytes == 0 && self.bad_frees == 0
    }
}
