//! pcifront against a backend that is good, slow, silent, wrong, or leaves; and with every service failing.

mod backend;
mod faults;
mod hand_back;
mod interrupts;
mod life;
mod world;
