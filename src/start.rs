//! temporary
#![expect(unsafe_code, reason = "entry")]
use crate::{
    arch, println,
    xen::{console, hypercall, start_info},
};
#[unsafe(no_mangle)]
extern "C" fn pvbounce_start(info: *const xen_sys::start_info, rsp: u64) -> ! {
    let info = unsafe { start_info::read(info) };
    console::add_xen();
    let com = console::add_uart();
    println!("{:x?} rsp {rsp:x} com {com:x?}", info);
    let table: [xen_sys::trap_info; 20] = core::array::from_fn(|i| {
        arch::traps::entries().nth(i).map_or(
            xen_sys::trap_info { vector: 0, flags: 0, cs: 0, address: 0 },
            |(vector, address)| xen_sys::trap_info { vector, flags: 4, cs: 0xe033, address },
        )
    });
    unsafe { hypercall::set_trap_table(&table) }.unwrap();
    println!("probe {:?}", arch::probe::read_u64(8));
    println!("probe call {:?}", unsafe { arch::probe::call(8) });
    println!("m2p {:x?}", arch::probe::read_u64(0xffff800000000000 + 8 * 0x1000));
    let v: Option<u32> = None;
    v.unwrap();
    hypercall::shutdown(1)
}
