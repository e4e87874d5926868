//! The image: nothing but the panic handler; everything else is in the library.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("pvbounce is a Xen PV guest: build it with `cargo guest`, run it with ./run.sh");
}
