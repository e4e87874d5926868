//! How a driver reaches its device's registers: a mapped BAR, or in host tests a fake that plays the device.

use super::StartError;
use crate::mm::pages::DeviceMemory;

/// Registers by byte offset. Each access happens once, whole and in order; one outside panics.
pub trait Registers {
    /// Bytes of registers.
    fn size(&self) -> usize;

    /// Reads a byte.
    fn read_u8(&self, offset: usize) -> u8;
    /// Reads two bytes.
    fn read_u16(&self, offset: usize) -> u16;
    /// Reads four bytes.
    fn read_u32(&self, offset: usize) -> u32;
    /// Writes a byte.
    fn write_u8(&self, offset: usize, value: u8);
    /// Writes two bytes.
    fn write_u16(&self, offset: usize, value: u16);
    /// Writes four bytes.
    fn write_u32(&self, offset: usize, value: u32);
}

/// Whether a driver finds all of its registers in the BAR.
pub fn at_least(regs: &impl Registers, needed: usize) -> Result<(), StartError> {
    match regs.size() {
        len if len < needed => Err(StartError::BarTooSmall { len, needed }),
        _ => Ok(()),
    }
}

macro_rules! forward {
    ($($read:ident, $write:ident, $ty:ty;)*) => {$(
        #[inline]
        fn $read(&self, offset: usize) -> $ty {
            self.window().$read(offset)
        }

        #[inline]
        fn $write(&self, offset: usize, value: $ty) {
            self.window().$write(offset, value);
        }
    )*};
}

impl Registers for DeviceMemory<'_> {
    fn size(&self) -> usize {
        self.window().len()
    }

    forward! {
        read_u8, write_u8, u8;
        read_u16, write_u16, u16;
        read_u32, write_u32, u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers that nobody reads.
    struct Size(usize);

    impl Registers for Size {
        fn size(&self) -> usize {
            self.0
        }

        fn read_u8(&self, _: usize) -> u8 {
            unreachable!()
        }
        fn read_u16(&self, _: usize) -> u16 {
            unreachable!()
        }
        fn read_u32(&self, _: usize) -> u32 {
            unreachable!()
        }
        fn write_u8(&self, _: usize, _: u8) {}
        fn write_u16(&self, _: usize, _: u16) {}
        fn write_u32(&self, _: usize, _: u32) {}
    }

    #[test]
    fn a_bar_that_lacks_the_last_register_is_too_small() {
        assert_eq!(at_least(&Size(256), 256), Ok(()));
        assert_eq!(at_least(&Size(4096), 256), Ok(()));
        let small = StartError::BarTooSmall { len: 255, needed: 256 };
        assert_eq!(at_least(&Size(255), 256), Err(small));
    }
}
