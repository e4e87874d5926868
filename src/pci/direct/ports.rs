//! Config space through ports 0xcf8 and 0xcfc, which each board has.
//!
//! Xen traps both ports and carries the access out for the hardware domain, after the guest raised its
//! I/O privilege level. Reaches segment 0 and the first 256 bytes of each function (PCI Local Bus
//! Specification 3.0, 3.2.2.3.2, "Configuration Mechanism #1").
#![expect(unsafe_code, reason = "port I/O: the one access to the machine in this layer")]

use crate::pci::{
    Bdf, ConfigAccess, ConfigError, Width,
    access::{Refusal, check},
};
use core::cell::RefCell;
use x86_64::instructions::port::Port;

#[cfg(target_os = "none")]
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;
/// Bytes this mechanism reaches.
const REACH: u16 = 256;

/// The two ports. There is one in a machine: address and data must not be interleaved.
#[derive(Debug)]
pub struct Ports {
    address: RefCell<Port<u32>>,
}

impl Ports {
    /// Raises the I/O privilege level and takes the ports over, to which nobody else in the guest goes.
    ///
    /// Without that level an access is a general protection fault. With it Xen carries out what the hardware domain may
    /// do; any other reads all ones and writes nothing.
    #[cfg(target_os = "none")]
    pub fn take() -> Result<Self, crate::xen::errno::XenError> {
        crate::xen::hypercall::set_iopl(1)?;
        Ok(Self { address: RefCell::new(Port::new(ADDRESS)) })
    }
}

impl ConfigAccess for Ports {
    fn lines_are_pirqs(&self) -> bool {
        false
    }

    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        let select = select(bdf, offset, width)?;
        let data = data_port(offset);
        let mut address = self.address.borrow_mut();
        // SAFETY: `take` raised the level; selecting a register has no other effect.
        unsafe { address.write(select) };
        Ok(match width {
            // SAFETY: as above; reads of config space have no side effects on memory.
            Width::U8 => unsafe { Port::<u8>::new(data).read() }.into(),
            // SAFETY: as above.
            Width::U16 => unsafe { Port::<u16>::new(data).read() }.into(),
            // SAFETY: as above.
            Width::U32 => unsafe { Port::<u32>::new(data).read() },
        })
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        let select = select(bdf, offset, width)?;
        let data = data_port(offset);
        let [low, high, ..] = value.to_le_bytes();
        let mut address = self.address.borrow_mut();
        // SAFETY: `take` raised the level; selecting a register has no other effect.
        unsafe { address.write(select) };
        match width {
            // SAFETY: as above. What the device then does on the bus is the driver's business: DMA is
            // limited to mapped memory by the layers above.
            Width::U8 => unsafe { Port::new(data).write(low) },
            // SAFETY: as above.
            Width::U16 => unsafe { Port::new(data).write(u16::from_le_bytes([low, high])) },
            // SAFETY: as above.
            Width::U32 => unsafe { Port::new(data).write(value) },
        }
        Ok(())
    }
}

/// What to write to the address port.
fn select(bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
    check(bdf, offset, width)?;
    if bdf.bus().segment != 0 {
        return Err(ConfigError::NoDevice(bdf));
    }
    if offset >= REACH {
        let refusal = Refusal::BadOffset;
        return Err(ConfigError::Refused { bdf, offset, refusal });
    }
    let bus = u32::from(bdf.bus().number);
    Ok(ENABLE | bus << 16 | u32::from(bdf.devfn()) << 8 | u32::from(offset & !0b11))
}

const fn data_port(offset: u16) -> u16 {
    DATA + offset % 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_packed_as_the_host_bridge_wants_them() {
        let bdf = "03:1f.7".parse().unwrap();
        assert_eq!(select(bdf, 0x3e, Width::U16), Ok(0x8003_ff3c));
        assert_eq!(data_port(0x3e), 0xcfe);
    }

    #[test]
    fn what_the_ports_cannot_reach_is_refused() {
        let near = "03:1f.7".parse().unwrap();
        let far = "0001:03:1f.7".parse().unwrap();
        assert_eq!(select(far, 0, Width::U8), Err(ConfigError::NoDevice(far)));
        let refused = select(near, 0x100, Width::U8).unwrap_err();
        assert_eq!(refused.code(), "config-refused");
        let torn = select(near, 0x3e, Width::U32).unwrap_err();
        assert_eq!(torn.code(), "config-misaligned");
    }
}
