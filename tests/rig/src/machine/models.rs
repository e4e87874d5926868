//! What QEMU plays beside the network card that was asked for: other cards, and devices that are none; one row each.

use std::time::Duration;

use super::medium;

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// What `--device` calls it.
    pub(crate) name: &'static str,
    /// Its slot on bus 0.
    pub(super) slot: u8,
    /// QEMU's name of it, and its properties.
    pub(super) device: &'static str,
    /// Whether it is a disk, and has a medium of that name in the run's folder.
    pub(crate) medium: Option<&'static str>,
    /// What has that medium where it is not the device itself; QEMU has it writable, whatever becomes of it.
    pub(super) behind: Option<&'static str>,
    /// How long a domain with it takes for all suites, at most.
    pub(crate) limit: Duration,
}

/// A network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// What `--nic` calls it.
    pub(crate) name: &'static str,
    /// QEMU's name of it.
    pub(crate) device: &'static str,
    /// Its slot on bus 0.
    pub(super) slot: u8,
    /// The guest's word for the driver, where it has two for the card and this is not the first.
    pub(crate) word: Option<&'static str>,
    /// Whether it has a mirror on its wire, since it can't send to itself.
    pub(crate) mirrored: bool,
}

/// The cards that the guest has drivers for, but for the one that is there anyway.
pub(crate) const CARDS: &[Card] = &[
    card("e1000", "e1000", 20),
    E1000E,
    // Its virtual functions are 16 and 17 slots above it, which have to be there and free.
    card("igb", "igb", 10),
    card("pcnet", "pcnet", 24),
    // The card that is there anyway, in its other mode.
    Card { word: Some("driver=rtl8139-cplus"), ..card("rtl8139-cplus", "rtl8139", 23) },
    Card { mirrored: true, ..card("virtio-net", VIRTIO, 25) },
    card(NO_MIRROR, "virtio-net-pci,disable-legacy=on,iommu_platform=on,vectors=0", 28),
];

/// The one of PCI Express that every release of QEMU has.
pub(crate) const E1000E: Card = card("e1000e", "e1000e", 21);

/// The card where the device asked for is none.
pub(crate) const DEFAULT_NIC: &str = "rtl8139";

/// A card that can't send to itself, on a wire where nobody sends anything back; it has its line only.
pub(crate) const NO_MIRROR: &str = "virtio-net-alone";

pub(super) const VIRTIO: &str = "virtio-net-pci,disable-legacy=on,iommu_platform=on";

const fn card(name: &'static str, device: &'static str, slot: u8) -> Card {
    Card { name, device, slot, word: None, mirrored: false }
}

impl Card {
    /// The one of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        CARDS.iter().find(|card| card.name == name)
    }

    /// Whether QEMU's device of this name has a mirror on its wire.
    pub(crate) fn is_mirrored(device: &str) -> bool {
        CARDS.iter().any(|card| card.device == device && card.mirrored)
    }
}

/// As long as a device takes that is as quick as its emulator.
pub(super) const QUICK: Duration = Duration::from_secs(90);

const MODELS: [Model; 5] = [
    // QEMU takes 100 ms over each of its transfers.
    Model {
        name: "edu",
        slot: 22,
        device: "edu",
        medium: None,
        behind: None,
        limit: Duration::from_secs(420),
    },
    Model {
        name: "nvme",
        slot: 12,
        device: "nvme,serial=pvbounce-1,drive=nvme",
        medium: Some("nvme"),
        behind: None,
        limit: Duration::from_secs(180),
    },
    Model {
        name: "ahci",
        slot: 13,
        device: "ich9-ahci,id=ahci",
        medium: Some("ahci"),
        behind: Some("ide-hd,bus=ahci.0,serial=pvbounce-2,drive=ahci"),
        limit: Duration::from_secs(180),
    },
    // It has MSI beside MSI-X only when it is told so.
    Model {
        name: "xhci",
        slot: 14,
        device: "qemu-xhci,msi=on",
        medium: None,
        behind: None,
        limit: Duration::from_secs(180),
    },
    // No driver of the guest's, and it could do DMA.
    Model {
        name: "sdhci",
        slot: 11,
        device: "sdhci-pci",
        medium: None,
        behind: None,
        limit: QUICK,
    },
];

impl Model {
    /// The one of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        const { &MODELS }.iter().find(|model| model.name == name)
    }

    /// Its medium as QEMU is told of it.
    pub(super) fn drive(&self) -> Option<String> {
        let name = self.medium?;
        let access = if self.behind.is_some() { "off" } else { "on" };
        let file = medium::file(name);
        Some(format!("file={file},if=none,id={name},format=raw,readonly={access}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_a_slot_of_its_own() {
        for (n, model) in MODELS.iter().enumerate() {
            assert_eq!(Model::find(model.name), Some(model));
            assert!(model.slot > 9, "the cards have those below");
            assert!(MODELS[..n].iter().all(|other| other.slot != model.slot));
            assert!(CARDS.iter().all(|card| card.slot != model.slot));
        }
        for (n, card) in CARDS.iter().enumerate() {
            assert!(card.slot > 9, "so have those of the card that was asked for");
            assert!(CARDS[..n].iter().all(|other| other.slot != card.slot));
            assert_eq!(Card::find(card.name), Some(card));
            assert_eq!(Model::find(card.name), None, "--nic asks for it");
            let shared = card.device == "rtl8139";
            assert_eq!(card.word.is_some(), shared, "{}: QEMU's name is enough", card.name);
        }
        assert_eq!(Model::find("rtl8139"), None);
    }
}
