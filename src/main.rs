//! The image: nothing but the panic handler; everything else is in the library.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    pvbounce::crash(info)
}

#[cfg(not(target_os = "none"))]
fn main() {
    println!("pvbounce is a Xen PV guest: `./run.sh` builds it and boots it under Xen");
}
