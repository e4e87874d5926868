//! Bytes that tell where they belong, ready-made.

const PERIOD: usize = 251;
/// The most bytes that can be asked for.
const LONGEST: usize = 32 << 10;

static PATTERN: [u8; LONGEST + PERIOD] = {
    let (mut bytes, mut at) = ([0; LONGEST + PERIOD], 0);
    while at < bytes.len() {
        bytes[at] = (at * 7 % PERIOD).to_le_bytes()[0];
        at += 1;
    }
    bytes
};

/// The first `len` bytes of what stands for `id`: those of another are in the same place the same once in 251 times.
///
/// # Panics
/// Above 32 KiB.
pub(crate) fn bytes_of(id: usize, len: usize) -> &'static [u8] {
    &PATTERN[id * 31 % PERIOD..][..len]
}
