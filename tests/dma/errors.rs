//! What a report says of each failure: its code, and what to change.

use super::*;

const BUS: BusAddr = BusAddr(0x5000);
const MASK: DmaMask = DmaMask::BITS_32;

/// Each has the code, and the words that tell what to change.
fn says(error: (&str, &str), code: &str, word: &str) {
    assert_eq!(error.0, code);
    assert!(error.1.contains(word), "{code}: {}", error.1);
}

#[test]
fn each_step_of_a_start_says_what_it_did() {
    let order = order(9);
    let error = AcquireError::NoFreePages { pages: 512 };
    for (step, text) in [
        (Step::Acquired { order, missing: 4096 }, "order 9, 4096 bytes to go"),
        (Step::Refused { order, error }, "order 9 refused: no 512 neighbouring free pages"),
        (Step::TooScattered { order, missing: 8192 }, "8192 bytes in pieces of order 9 are more"),
        (Step::GaveBack { bytes: 5 << 10 }, "5 KiB given back"),
        (Step::Halved { bytes: 3 << 10 }, "halved to 3 KiB"),
    ] {
        assert!(step.to_string().starts_with(text), "{step}");
    }
}

#[test]
fn a_buffer_that_can_not_be_mapped() {
    let all = [
        (MapError::Empty, "dma-empty", "at least one byte"),
        (MapError::Refused, "dma-refused", "another policy"),
        (MapError::DirectOnly(Why::Forced), "dma-forced", "`noforce`"),
        (MapError::NoPool(Why::Forced), "dma-no-pool", "start a pool"),
        (MapError::OutOfMask { mask: MASK, lowest: BUS }, "dma-no-low-segment", "`dma_bits=`"),
        (MapError::TooLarge { len: 2, limit: 1 }, "dma-too-large", "split the transfer"),
        (
            MapError::Exhausted { wanted: 2, free: 1, largest: 1 },
            "dma-exhausted",
            "finish mappings earlier",
        ),
    ];
    for (error, code, word) in all {
        says((error.code(), error.remedy()), code, word);
    }
}

#[test]
fn a_device_that_did_wrong() {
    let all = [
        (
            FinishError::Overrun { offset: -1, found: 0, len: 8, bus: BUS },
            "dma-overrun",
            "the length in the descriptor",
        ),
        (
            FinishError::Overreported { written: 8, first: 0, len: 8, bus: BUS },
            "dma-overreported",
            "IOMMU fault",
        ),
        (
            FinishError::Overlong { written: 9, len: 8, bus: BUS },
            "dma-overlong",
            "the length the device reports is wrong",
        ),
    ];
    for (error, code, word) in all {
        says((error.code(), error.remedy()), code, word);
    }
}

#[test]
fn shared_memory_that_is_not_to_be_had() {
    let refused = AcquireError::NoFreePages { pages: 1 };
    let all = [
        (CoherentError::Empty, "dma-empty", "at least one byte"),
        (CoherentError::TooLarge { len: 2, limit: 1 }, "dma-coherent-too-large", "smaller ring"),
        (CoherentError::NoMemory(refused), "dma-coherent-no-memory", "free memory below 4 GiB"),
    ];
    for (error, code, word) in all {
        says((error.code(), error.remedy()), code, word);
    }
}

#[test]
fn a_pool_that_does_not_start() {
    let last = GrowError::Acquire(AcquireError::NoFreePages { pages: 1 });
    let all = [
        (StartError::AlreadyStarted { bytes: 1 }, "pool-already-started", "stop the pool"),
        (StartError::BelowFloor { bytes: 1, floor: 2 }, "pool-below-floor", "ask for more"),
        (StartError::NoLowMemory { bytes: 1, last }, "pool-no-low-memory", "`dom0_mem=`"),
    ];
    for (error, code, word) in all {
        says((error.code(), error.remedy()), code, word);
    }
}

#[test]
fn why_a_buffer_is_bounced() {
    let phys = PhysAddr(0x5000);
    let all = [
        (Why::Forced, "dma-forced"),
        (Why::Borrowed, "dma-borrowed"),
        (Why::NotRam { offset: 0 }, "dma-not-ram"),
        (Why::OutOfMask { bus: BUS, mask: MASK }, "dma-out-of-mask"),
        (Why::OutOfPhysMask { phys, mask: MASK }, "dma-out-of-phys-mask"),
        (Why::NotContiguous { offset: 1, expected: BUS, found: BUS }, "dma-not-contiguous"),
        (Why::Misaligned { bus: BUS, alignment: power(2) }, "dma-misaligned"),
        (Why::CrossesBoundary { bus: BUS, len: 2, boundary: power(2) }, "dma-crosses-boundary"),
    ];
    for (why, code) in all {
        assert_eq!(why.code(), code);
        let direct = MapError::DirectOnly(why);
        assert_eq!(direct.code(), code, "one that has to go direct says why it can't");
    }
    let misaligned = Why::Misaligned { bus: BUS, alignment: power(16) };
    assert!(misaligned.to_string().ends_with("is not aligned to 0x10"), "{misaligned}");
}
