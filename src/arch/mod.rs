//! All that is x86: instructions no library has, traps, copies, barriers and the time stamp counter.

pub mod copy;
pub mod time;
pub mod volatile;
