//! What is only so of these chips.

use super::*;
use crate::{
    device::{Idle as _, fake::TickingClock},
    dma::{
        PowerOfTwo,
        fake::{FakeMachine, Frames},
    },
    nic::fake::{cplus::CPlus, played::Played},
    pci::Delivery,
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Resets a chip and says what came of it: its reach, and the best kind of interrupt.
fn look(model: Model, chip: CPlus) -> Result<(u32, Delivery), StartError> {
    let (machine, clock) = (FakeMachine::new(Frames::default()), TickingClock::default());
    let chip = Played::new(&machine, MAC, chip);
    let limits = reset(model, &chip, &clock)?.limits();
    assert_eq!(Some(limits.alignment), PowerOfTwo::new(8));
    let best = Chip::new(model, &chip, &clock).deliveries()[0];
    Ok((limits.mask.bits(), best))
}

#[test]
fn a_pci_card_reaches_32_bits_and_has_a_pin_and_the_others_reach_all_and_send_messages() {
    assert_eq!(look(Model::Rtl8139, CPlus::new(Model::Rtl8139)), Ok((32, Delivery::Intx)));
    for model in [Model::Rtl8168, Model::Rtl8125] {
        assert_eq!(look(model, CPlus::new(model)), Ok((64, Delivery::Msi)));
    }
}

#[test]
fn an_rtl8139_without_descriptors_is_left_alone() {
    let plain = CPlus::new(Model::Rtl8139).with_version(0x7400_0000);
    let unfit = StartError::Unfit { what: "hardware version", value: 0x7400_0000 };
    assert_eq!(look(Model::Rtl8139, plain), Err(unfit));
}
