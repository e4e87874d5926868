//! The rig: builds the machine the guest runs on, runs it, and judges what it says.

fn main() {}
