//! Whose doing it is that a check did not pass: the machine's, the network's, or that of who wrote the config.

use crate::{
    dma::Policy,
    mm::memory::MemoryError,
    net::{NetError, Party, Waited},
    nic::Counters,
    options::PoolStart,
    report::verdict::{Outcome, Reason},
};
use alloc::string::ToString;

/// What a failed network job comes to, by the error and by what the card counted meanwhile.
///
/// Silence from the network is the network's as long as the card lost nothing itself.
pub fn of_network(error: &NetError, before: &Counters, after: &Counters) -> Outcome {
    let reason = Reason::new(error.code(), error.to_string()).remedy(error.remedy());
    match error.party() {
        Party::Network if lost(error, before, after) == 0 => Outcome::Inconclusive(reason),
        Party::Network | Party::Machine => Outcome::Failure(reason),
        Party::Guest => Outcome::Error(reason),
    }
}

/// Frames that the card lost, where that can be why nothing came: TCP sends again what was lost.
const fn lost(error: &NetError, before: &Counters, after: &Counters) -> u64 {
    let resends = matches!(
        error,
        NetError::Refused(_)
            | NetError::Http(_)
            | NetError::Short { .. }
            | NetError::Stalled { .. }
            | NetError::PairStopped { .. }
            | NetError::TimedOut { waited: Waited::Connect | Waited::Download | Waited::Peer, .. }
    );
    let missed = if resends { 0 } else { after.rx_missed - before.rx_missed };
    missed + (after.tx_dropped - before.tx_dropped) + (after.resets - before.resets)
}

/// What it comes to that a device did not start: an ERROR where the command line forbids what it would need, a SKIP where
/// it works and there is nothing in it.
pub fn of_start(outcome: Outcome, when: PoolStart, bouncing: Policy) -> Outcome {
    let remedy = match &outcome {
        Outcome::Failure(reason) if reason.code == "device-empty" => return outcome.as_skip(),
        Outcome::Failure(reason) if reason.code == "dma-no-pool" && when == PoolStart::Off => {
            "the command line says swiotlb=off, and this card can't reach its buffers: swiotlb=late"
        }
        Outcome::Failure(reason)
            if bouncing == Policy::Direct
                && matches!(reason.code, "dma-out-of-mask" | "dma-not-contiguous") =>
        {
            "the command line says noforce, and this card can't reach its buffers: leave it out"
        }
        _ => return outcome,
    };
    Outcome::Error(outcome.reason().remedy(remedy))
}

/// What it comes to that pages were not to be had: the config's doing where the domain has too few, else Xen's.
pub fn of_memory(error: MemoryError) -> Outcome {
    let said = error.to_string();
    match error {
        MemoryError::NoFreePages { .. } => {
            let remedy = "give the domain more memory: `memory=`";
            Outcome::Error(Reason::new("no-memory", said).remedy(remedy))
        }
        _ => {
            let remedy = "see Xen's log for what it refused and why";
            Outcome::Failure(Reason::new("memory-mapping", said).remedy(remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::verdict::Verdict, xen::errno::XenError};
    use core::net::{Ipv4Addr, SocketAddrV4};

    const NOTHING: fn(&mut Counters) = |_| {};

    fn verdict(error: &NetError, lose: fn(&mut Counters)) -> Verdict {
        let before = Counters { rx_missed: 3, tx_dropped: 2, resets: 1, ..Counters::default() };
        let mut after = before;
        lose(&mut after);
        of_network(error, &before, &after).verdict()
    }

    #[test]
    fn a_silent_network_is_inconclusive_unless_the_card_lost_something() {
        let lost = NetError::Lost { sent: 10, received: 9 };
        assert_eq!(verdict(&lost, NOTHING), Verdict::Inconclusive);
        assert_eq!(verdict(&lost, |card| card.rx_missed += 1), Verdict::Failure);
        assert_eq!(verdict(&lost, |card| card.tx_dropped += 1), Verdict::Failure);
        assert_eq!(verdict(&lost, |card| card.resets += 1), Verdict::Failure);
    }

    #[test]
    fn a_server_that_hangs_up_does_so_whatever_the_card_missed() {
        let refused = NetError::Refused(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80));
        assert_eq!(verdict(&refused, |card| card.rx_missed += 1), Verdict::Inconclusive);
        assert_eq!(verdict(&refused, |card| card.resets += 1), Verdict::Failure);
    }

    #[test]
    fn what_the_machine_or_the_guest_did_is_theirs() {
        assert_eq!(verdict(&NetError::Bus, NOTHING), Verdict::Failure);
        let corrupt = NetError::Corrupt { bytes: 1, found: 2, expected: 3 };
        assert_eq!(verdict(&corrupt, NOTHING), Verdict::Failure);
        assert_eq!(verdict(&NetError::NoAddress, NOTHING), Verdict::Error);
    }

    #[test]
    fn too_few_pages_are_the_configs_doing_and_what_xen_refuses_is_not() {
        let none = MemoryError::NoFreePages { wanted: 1, free: 0, longest: 0 };
        let refused = MemoryError::Mapping { virt: 0, error: XenError::Invalid };
        for (error, verdict, code) in
            [(none, Verdict::Error, "no-memory"), (refused, Verdict::Failure, "memory-mapping")]
        {
            let outcome = of_memory(error);
            assert_eq!((outcome.verdict(), outcome.reason().code), (verdict, code));
        }
    }

    #[test]
    fn what_the_command_line_forbids_is_its_writers_error() {
        let start = |code, when, bouncing| {
            let outcome = Outcome::Failure(Reason::new(code, "no way"));
            of_start(outcome, when, bouncing).verdict()
        };
        let (off, late) = (PoolStart::Off, PoolStart::Late);
        assert_eq!(start("dma-no-pool", off, Policy::Auto), Verdict::Error);
        assert_eq!(start("dma-no-pool", late, Policy::Auto), Verdict::Failure);
        assert_eq!(start("dma-out-of-mask", late, Policy::Direct), Verdict::Error);
        assert_eq!(start("dma-out-of-mask", late, Policy::Auto), Verdict::Failure);
        assert_eq!(start("device-reset-timeout", off, Policy::Direct), Verdict::Failure);
        assert_eq!(start("device-empty", late, Policy::Auto), Verdict::Skip);
    }
}
