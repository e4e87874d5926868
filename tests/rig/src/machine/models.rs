//! Devices that are no network cards, as QEMU plays them: one row each.

use std::time::Duration;

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// What `--device` calls it.
    pub(crate) name: &'static str,
    /// Its slot on bus 0.
    pub(super) slot: u8,
    /// QEMU's name of it, and its properties.
    pub(super) device: &'static str,
    /// How long a domain with it takes for all suites, at most.
    pub(crate) limit: Duration,
}

/// As long as a device takes that is as quick as its emulator.
const QUICK: Duration = Duration::from_secs(90);

const MODELS: [Model; 2] = [
    // QEMU takes 100 ms over each of its transfers.
    Model { name: "edu", slot: 10, device: "edu", limit: Duration::from_secs(420) },
    // No driver of the guest's, and it could do DMA.
    Model { name: "virtio-rng", slot: 11, device: "virtio-rng-pci", limit: QUICK },
];

impl Model {
    /// The one of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        const { &MODELS }.iter().find(|model| model.name == name)
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
        }
        assert_eq!(Model::find("rtl8139"), None);
    }
}
