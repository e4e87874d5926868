//! The keyboard of a machine whose dom0 the guest is: whether a key was pressed, and no more.
//!
//! Ports 0x60 and 0x64 are the keyboard controller's (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
//! Auxiliary Device Controller"). Firmware plays one for a USB keyboard, if it does; where there is none the ports read
//! as all ones.

/// The controller's two registers that matter here.
pub trait Controller {
    /// The status register.
    fn status(&mut self) -> u8;
    /// Takes the byte that waits.
    fn data(&mut self) -> u8;
}

const FULL: u8 = 1 << 0;
/// The byte is the mouse's.
const MOUSE: u8 = 1 << 5;
/// In a byte of the keyboard's: a key was let go of. Its answers have it, too, and so has what announces a longer code.
const RELEASE: u8 = 1 << 7;
/// Bytes looked at in one go: a controller that always has one more is none.
const MOST: usize = 32;

/// Takes what waits, and says whether a key was pressed.
pub fn pressed(controller: &mut dyn Controller) -> bool {
    let mut pressed = false;
    for _ in 0..MOST {
        let status = controller.status();
        if status == 0xff || status & FULL == 0 {
            return pressed;
        }
        let data = controller.data();
        pressed |= status & MOUSE == 0 && data & RELEASE == 0 && data != 0;
    }
    false
}

#[cfg(target_os = "none")]
pub use real::Keyboard;

#[cfg(target_os = "none")]
mod real {
    //! The ports, and the wait for them.
    #![expect(unsafe_code, reason = "reads the keyboard controller's ports")]

    use super::{Controller, pressed};
    use crate::{
        arch::time::Clock,
        xen::{hypercall, shared_info::SharedInfo},
    };
    use core::time::Duration;
    use x86_64::instructions::port::PortReadOnly;

    const DATA: u16 = 0x60;
    const STATUS: u16 = 0x64;
    const BETWEEN: Duration = Duration::from_millis(20);

    struct Ports;

    impl Controller for Ports {
        fn status(&mut self) -> u8 {
            // SAFETY: `Keyboard` was given I/O privilege, and reading the status changes nothing.
            unsafe { PortReadOnly::new(STATUS).read() }
        }

        fn data(&mut self) -> u8 {
            // SAFETY: as above; it takes a byte out of the controller, which nobody else in this domain uses.
            unsafe { PortReadOnly::new(DATA).read() }
        }
    }

    /// The keyboard, of which all that was pressed before does not count.
    #[derive(Debug)]
    pub struct Keyboard {
        may: bool,
    }

    impl Keyboard {
        /// Takes it over.
        pub fn open() -> Self {
            let keyboard = Self { may: hypercall::set_iopl(1).is_ok() };
            keyboard.pressed();
            keyboard
        }

        fn pressed(&self) -> bool {
            self.may && pressed(&mut Ports)
        }

        /// Waits until a key is pressed: for ever if none is, or if the domain may not ask.
        pub fn wait(&self, clock: &SharedInfo) {
            while !self.pressed() {
                // A sleep that is refused is a busy one.
                let _ = hypercall::poll(&[], clock.now().after(BETWEEN));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    /// Bytes that wait, each with the status that it has; the last status is what stays.
    struct Played(VecDeque<(u8, u8)>, u8);

    impl Controller for Played {
        fn status(&mut self) -> u8 {
            self.0.front().map_or(self.1, |(status, _)| *status)
        }

        fn data(&mut self) -> u8 {
            self.0.pop_front().map_or(0x1c, |(_, data)| data)
        }
    }

    fn press(bytes: &[(u8, u8)], after: u8) -> bool {
        pressed(&mut Played(bytes.iter().copied().collect(), after))
    }

    #[test]
    fn a_key_that_goes_down_is_one_and_nothing_else_is() {
        assert!(press(&[(0x1d, 0x1c)], 0x1c));
        assert!(press(&[(0x1d, 0xe0), (0x1d, 0x48), (0x1d, 0xe0), (0x1d, 0xc8)], 0x1c));
        for bytes in [&[][..], &[(0x1d, 0x9c)], &[(0x3d, 0x08)], &[(0x1d, 0xfa)], &[(0x1d, 0)]] {
            assert!(!press(bytes, 0x1c), "{bytes:x?}");
        }
    }

    #[test]
    fn no_controller_is_no_key() {
        assert!(!press(&[], 0xff));
        assert!(!press(&[], 0x1d), "one that always has one more");
        assert!(press(&[(0x1d, 0x1c)], 0xff));
    }
}
