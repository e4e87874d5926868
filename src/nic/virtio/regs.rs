//! Structures of a virtio device on PCI (virtio 1.2, section 4.1.4), and bits of a network device (section 5.1).

use bitflags::bitflags;

/// `cfg_type` of the structures, and how many bytes of each are used (section 4.1.4).
pub(super) const COMMON: (u8, usize) = (1, 0x38);
/// Doorbells.
pub(super) const NOTIFY: (u8, usize) = (2, 2);
/// The interrupt's causes; reading clears them.
pub(super) const ISR: (u8, usize) = (3, 1);
/// What kinds of device have of their own.
pub(super) const DEVICE: (u8, usize) = (4, 8);

/// Of `struct virtio_pci_common_cfg` (section 4.1.4.3): which half of the features is read.
pub(super) const DEVICE_FEATURE_SELECT: usize = 0x00;
/// That half.
pub(super) const DEVICE_FEATURE: usize = 0x04;
/// Which half of the features is written.
pub(super) const DRIVER_FEATURE_SELECT: usize = 0x08;
/// That half.
pub(super) const DRIVER_FEATURE: usize = 0x0c;
/// The vector for changes of the configuration.
pub(super) const CONFIG_MSIX_VECTOR: usize = 0x10;
/// See [`Status`].
pub(super) const DEVICE_STATUS: usize = 0x14;
/// Which queue all of the following are about.
pub(super) const QUEUE_SELECT: usize = 0x16;
/// Descriptors: the most after a reset, and then as many as there are.
pub(super) const QUEUE_SIZE: usize = 0x18;
/// The vector for used buffers.
pub(super) const QUEUE_MSIX_VECTOR: usize = 0x1a;
/// Once 1, the queue is where it was said to be.
pub(super) const QUEUE_ENABLE: usize = 0x1c;
/// Which doorbell is the queue's.
pub(super) const QUEUE_NOTIFY_OFF: usize = 0x1e;
/// Where the descriptors are; then the available ring, and the used ring.
pub(super) const QUEUE_DESC: usize = 0x20;

/// Of the interrupt's causes: the configuration changed (section 4.1.4.5).
pub(super) const CONFIGURATION: u8 = 2;

/// No vector: section 4.1.4.3.
pub(super) const NO_VECTOR: u16 = 0xffff;

/// Queues of a network device (section 5.1.2), by their numbers.
pub(super) const RECEIVEQ1: u16 = 0;
/// The first to send.
pub(super) const TRANSMITQ1: u16 = 1;

/// Of `struct virtio_net_config` (section 5.1.4): the address.
pub(super) const NET_MAC: usize = 0;
/// Bit 0: there is a link.
pub(super) const NET_STATUS: usize = 6;
/// `VIRTIO_NET_S_LINK_UP`.
pub(super) const LINK_UP: u16 = 1;

bitflags! {
    /// `device_status` (section 2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Status: u8 {
        /// The guest has seen the device.
        const ACKNOWLEDGE = 1;
        /// It knows how to drive it.
        const DRIVER = 2;
        /// The driver is ready.
        const DRIVER_OK = 4;
        /// The features are agreed on.
        const FEATURES_OK = 8;
        /// The device came to an error that only a reset ends.
        const NEEDS_RESET = 0x40;
        /// The driver gave the device up.
        const FAILED = 0x80;
        const _ = !0;
    }
}

bitflags! {
    /// Feature bits (sections 5.1.3 and 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Features: u64 {
        /// `VIRTIO_NET_F_MAC`: the device has an address.
        const MAC = 1 << 5;
        /// `VIRTIO_NET_F_STATUS`: it knows of its link.
        const STATUS = 1 << 16;
        /// `VIRTIO_F_VERSION_1`: it is no legacy device.
        const VERSION_1 = 1 << 32;
        /// `VIRTIO_F_ACCESS_PLATFORM`: it uses memory as other devices do, by bus addresses and through an IOMMU.
        const ACCESS_PLATFORM = 1 << 33;
        /// `VIRTIO_F_ORDER_PLATFORM`: what it and the driver write to memory is ordered as with other devices.
        const ORDER_PLATFORM = 1 << 36;
    }
}
