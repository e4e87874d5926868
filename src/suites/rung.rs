//! What is right of a way of interrupting: how often it may come, where its messages go, what config space says of it.

use crate::{pci::Delivery, xen::events::Pirq};

/// Bits 20 and up of the addresses that interrupt messages are sent to (Intel SDM volume 3, 11.11.1).
const INTERRUPT_WINDOW: u64 = 0xfee;

/// Whether `count` interrupts are right for so many transfers, each of which brought one at least.
///
/// A line may be shared, and others ring it, too. A message is the device's own; one that is late, because the device
/// spaces them out, may come in two: each transfer brings one or two, and a storm is more.
pub fn is_no_storm(how: Delivery, count: u64, transfers: u64) -> bool {
    how == Delivery::Intx || count <= 2 * transfers
}

/// The first line of an I/O APIC that is none of the old interrupt controllers'.
const FIRST_OF_PCI: u32 = 16;

/// What to do about an interrupt that does not come, by how it was to come: causes seen on Xen.
pub const fn if_lost(bound: Option<(Delivery, Pirq)>) -> &'static str {
    match bound {
        Some((Delivery::Intx, Pirq(line))) if line < FIRST_OF_PCI => {
            "a line below 16 is what firmware wrote: if dom0's kernel log has `no GSI` for the device, its line goes nowhere (a root \
             bus of its own may have none): use MSI or another slot; else pin the guest (`cpus = \"0\"`); see `xl debug-keys i`"
        }
        Some((Delivery::Msi | Delivery::Msix, _)) => {
            "see `xl dmesg` for `No irq handler for vector`: Xen moved the message to another CPU and it did not follow: pin the \
             guest (`cpus = \"0\"` in its configuration) or boot Xen with `iommu=no-intremap`; without that line, `xl debug-keys M` \
             has where the device sends it"
        }
        _ => {
            "pin the guest (`cpus = \"0\"` in its configuration) or boot Xen with `iommu=no-intremap`: remapped INTx that moves \
             between CPUs gets lost; see `xl debug-keys i` and `xl dmesg`"
        }
    }
}

/// Whether messages to this address reach a processor.
pub const fn reaches_a_processor(address: u64) -> bool {
    address >> 20 == INTERRUPT_WINDOW
}

/// Whether of MSI and MSI-X exactly that is on which was asked for; `None` asked for neither.
pub fn is_on(how: Option<Delivery>, msi: bool, msix: bool) -> bool {
    (msi, msix) == (how == Some(Delivery::Msi), how == Some(Delivery::Msix))
}

/// Bytes of an entry of an MSI-X table.
pub const ENTRY: usize = 16;

/// The message of an MSI-X table's entry, of which `word` reads the word at an offset (PCI 3.0, section 6.8.2): address and
/// data.
pub fn message_in(word: impl Fn(usize) -> u32) -> (u64, u32) {
    let [low, high, data] = [0, 4, 8].map(word);
    (u64::from(high) << 32 | u64::from(low), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_depends_on_how_it_was_to_come() {
        let line = |pirq| if_lost(Some((Delivery::Intx, Pirq(pirq))));
        assert!(line(15).contains("no GSI") && line(11) == line(15));
        assert!(line(16).contains("no-intremap") && line(16) == if_lost(None));
        for how in [Delivery::Msi, Delivery::Msix] {
            assert!(if_lost(Some((how, Pirq(4)))).contains("No irq handler"));
            assert!(if_lost(Some((how, Pirq(4)))).contains("no-intremap"));
        }
    }

    #[test]
    fn messages_come_once_or_twice_and_a_line_as_often_as_others_ring_it() {
        for how in [Delivery::Msi, Delivery::Msix] {
            assert!(is_no_storm(how, 32, 32) && is_no_storm(how, 64, 32));
            assert!(!is_no_storm(how, 65, 32));
        }
        assert!(is_no_storm(Delivery::Intx, 1000, 32));
    }

    #[test]
    fn a_message_goes_to_the_window_and_nowhere_else() {
        assert!(reaches_a_processor(0xfee0_0318));
        for address in [0, 0xfed0_0000, 0xfef0_0000, 0x1_fee0_0000, 0x7e00_9000] {
            assert!(!reaches_a_processor(address), "{address:#x}");
        }
    }

    #[test]
    fn exactly_what_was_asked_for_is_on() {
        for (how, msi, msix) in [
            (None, false, false),
            (Some(Delivery::Intx), false, false),
            (Some(Delivery::Msi), true, false),
            (Some(Delivery::Msix), false, true),
        ] {
            assert!(is_on(how, msi, msix));
            assert!(!is_on(how, !msi, msix) && !is_on(how, msi, !msix), "{how:?}");
        }
    }

    #[test]
    fn an_entry_holds_address_and_data() {
        let entry = [0xfee0_0318, 1, 0x4021, 1];
        assert_eq!(message_in(|offset| entry[offset / 4]), (0x1_fee0_0318, 0x4021));
    }
}
