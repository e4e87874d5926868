//! What pciback does with each request.

use super::{FakeBackend, Link, Raw};
use crate::{
    pci::{Bdf, Bus, ConfigAccess, ConfigError, Width, access::Refusal, function::Command},
    xen::abi::pciif::{command, error, op, page},
};

impl FakeBackend {
    pub(super) fn carry_out(&self, link: &Link, raw: Raw) -> Result<u32, i32> {
        let [cmd, segment, bus, devfn, offset, len, value] = raw;
        let bus = Bus {
            segment: u16::try_from(segment).map_err(|_| error::NO_DEVICE)?,
            number: u8::try_from(bus).map_err(|_| error::NO_DEVICE)?,
        };
        let bdf = bus.at(u8::try_from(devfn).map_err(|_| error::NO_DEVICE)?);
        match cmd {
            command::CONF_READ | command::CONF_WRITE => {
                let offset = u16::try_from(offset).map_err(|_| error::BAD_OFFSET)?;
                let width = match len {
                    1 => Width::U8,
                    2 => Width::U16,
                    4 => Width::U32,
                    _ => return Err(error::BAD_OFFSET),
                };
                assert_eq!(value & !width.mask(), 0, "stray bits in a request");
                let done = match cmd {
                    command::CONF_READ => self.bus.read(bdf, offset, width),
                    _ => self.bus.write(bdf, offset, width, value).map(|()| value),
                };
                done.map_err(code)
            }
            command::ENABLE_MSI | command::ENABLE_MSIX => self.turn_on(link, bdf, cmd, value),
            command::DISABLE_MSI | command::DISABLE_MSIX => {
                let on = self.irqs.borrow_mut().remove(&(bdf, cmd - 1));
                if on { Ok(0) } else { Err(error::FAILED) }
            }
            _ => Err(error::NOT_IMPLEMENTED),
        }
    }

    fn turn_on(&self, link: &Link, bdf: Bdf, cmd: u32, count: u32) -> Result<u32, i32> {
        let allowed = self.bus.read(bdf, 4, Width::U16).map_err(code)?;
        let decodes = allowed & u32::from(Command::MEMORY.bits()) != 0;
        let mut irqs = self.irqs.borrow_mut();
        if !decodes || irqs.iter().any(|(on, _)| *on == bdf) {
            return Err(error::FAILED);
        }
        irqs.insert((bdf, cmd));
        let next = || {
            self.last_pirq.set(self.last_pirq.get() + 1);
            self.last_pirq.get()
        };
        if cmd == command::ENABLE_MSI {
            return Ok(next());
        }
        for n in 0..count as usize {
            let at = page::OP + op::MSIX + n * op::MSIX_ENTRY;
            let pirq = u16::try_from(next()).expect("few PIRQs in a test");
            self.entries.borrow_mut().push(link.page.read_u16(at + 2));
            link.page.write_u16(at, pirq);
        }
        Ok(0)
    }
}

const fn code(refused: ConfigError) -> i32 {
    match refused {
        ConfigError::NoDevice(_) => error::NO_DEVICE,
        ConfigError::Refused { refusal: Refusal::AccessDenied, .. } => error::ACCESS_DENIED,
        ConfigError::Misaligned { .. }
        | ConfigError::Refused { refusal: Refusal::BadOffset, .. } => error::BAD_OFFSET,
        _ => error::FAILED,
    }
}
