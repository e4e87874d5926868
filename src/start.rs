//! From the first Rust instruction to a guest that can run suites: the boot order, a function a stage.
//!
//! ```text
//! entry -> shared info -> traps -> console -> options -> memory map -> P2M, W^X, frames
//!       -> [early pool, or its pages set aside] -> heap -> screen -> events, grants, xenstore -> [late pool] -> suites
//! ```
//!
//! A stage that can fail without ending the guest leaves its error in [`Guest`] for the suites to report.
#![expect(unsafe_code, reason = "the statics and pages that exist before any owner does")]

use crate::{
    acpi::TableError,
    addr::{DmaMask, Mfn, PAGE_SHIFT, PAGE_SIZE, PAGE_SIZE_U64, Pfn, to_usize},
    arch::{
        copy,
        image::{self, Access},
        time, traps,
        volatile::Window,
    },
    dma::{Plan, Pool, Table},
    ending::{StartError, give_up},
    guest::{Departed, Guest, PoolState, Stopwatch},
    mm::{
        builder,
        contiguous::Order,
        e820::{self, Map, MapError},
        heap,
        hole::{self, Hole},
        memory::{Memory, MemoryError},
        p2m::P2m,
        page_table,
        pages::{self, Pages},
        reserve::Reserve,
    },
    options::{self, Options, SelfTest},
    println,
    report::verdict::{Outcome, Reason},
    screen::{
        self,
        mode::{Mode, NoScreen},
    },
    xen::{
        abi::memory::MEMORY_MAP,
        console,
        errno::XenError,
        failing,
        grants::GrantTable,
        hypercall::{self, MemoryCalls, Xen},
        local_events::LocalEvents,
        shared_info::SharedInfo,
        start_info::{self, RingPage, StartInfo},
        store::XenStore,
    },
};
use alloc::{boxed::Box, string::ToString, vec, vec::Vec};
use core::{
    fmt, ops::Range, ptr::with_exposed_provenance, sync::atomic::AtomicU64, time::Duration,
};

static XEN: Xen = Xen::new();
static MEMORY: spin::Mutex<Option<Memory<'static>>> = spin::Mutex::new(None);
static POOL_TABLE: spin::Mutex<Table> = spin::Mutex::new(Table::new());
static POOL: spin::Once<Pool<'static>> = spin::Once::new();
/// The latest time anybody was told.
static LATEST: AtomicU64 = AtomicU64::new(0);
static RESERVE: spin::Once<Reserve<'static>> = spin::Once::new();

/// `FLAT_KERNEL_CS64`.
const KERNEL_CS: u16 = 0xe033;
/// `trap_info.flags`: hold back events while the handler runs.
const MASK_EVENTS: u8 = 4;
/// How long xenstored may take for one answer.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// Where boot/entry.S arrives.
#[unsafe(no_mangle)]
extern "C" fn pvbounce_start(raw: *const xen_sys::start_info, first_stack: u64) -> ! {
    // SAFETY: boot/entry.S passes what Xen passed in rsi.
    let info = unsafe { start_info::read(raw) };
    let options = Options::parse(info.command_line());
    prepare_faults(options.as_ref().ok().and_then(|options| options.selftest));
    let shared = meet_xen(&info);
    let clock = Stopwatch::new(shared);
    println!("{}", Banner(&info));
    let map = memory_map(&info);
    let owned = own_memory(&info, first_stack, &map);
    let (memory, hole) = owned.unwrap_or_else(|error| give_up(&error, info.is_dom0));
    let (free, all) = (memory.free_pages(), info.nr_pages);
    clock.stage(format_args!("memory: {free} of {all} pages free, {hole}"));
    let frames_at_boot = memory.p2m().spans();
    let reserve = RESERVE.call_once(|| Reserve::new(memory));
    let pool = POOL.call_once(|| {
        let table = spin::MutexGuard::leak(POOL_TABLE.lock());
        Pool::new(table, reserve)
    });
    let chosen = options.unwrap_or_default();
    let mut pool = PoolState::new(pool, reserve, plan(&chosen, &info), chosen.swiotlb);
    pool.at_boot(&clock);
    make_heap(memory, &info).unwrap_or_else(|error| give_up(&error, info.is_dom0));
    choose_copies(&clock);
    let frames_at_start = memory.free_pages() + memory.table_pages() + pool.pages();
    let screen = open_screen(memory, &info, &clock);
    let events: &'static LocalEvents = Box::leak(Box::new(LocalEvents::new(shared)));
    let shared: &'static SharedInfo = Box::leak(Box::new(shared));
    let store = info.store.and_then(|ring| open_store(ring, events, shared));
    let grants = open_grants(memory);
    let options = match options {
        Ok(options) => options,
        Err(error) => crate::ending::refuse(&error, store.map(|s| s as _), &info, shared),
    };
    say_services(&clock, [store.is_some(), grants.is_ok()]);
    crate::run(Guest {
        info,
        options,
        shared,
        clock,
        memory,
        frames_at_start,
        frames_at_boot,
        map,
        hole,
        events,
        grants,
        store,
        screen,
        pool,
        firmware: Err(TableError::NotDom0),
        connection: Err(not_tried()),
        assigned: Vec::new(),
        departed: Departed::default(),
        under_test: 0,
        handed_back: false,
        granted: None,
        tried: Vec::new(),
        kept: Vec::new(),
    })
}

fn not_tried() -> Outcome {
    Outcome::Skip(Reason::new("not-tried", "the device was not looked for"))
}

/// Faults on purpose that boot itself may meet.
fn prepare_faults(fault: Option<SelfTest>) {
    match fault {
        Some(SelfTest::Fail(site)) => failing::arm(site),
        Some(SelfTest::Dirty) => XEN.soil_pages(),
        _ => {}
    }
}

/// By how much a pool grows that may.
const GROWTH: Option<Order> = Order::new(9);

/// What the command line says, else a sixteenth of the domain, between 1 and 64 MiB.
fn plan(options: &Options, info: &StartInfo) -> Plan {
    let share = to_usize(info.nr_pages / 16).saturating_mul(PAGE_SIZE).clamp(1 << 20, 64 << 20);
    Plan {
        mask: options.dma_bits.map_or(DmaMask::BITS_32, DmaMask::from).min(DmaMask::BITS_32),
        growth: GROWTH.filter(|_| options.grow),
        ..Plan::new(options.pool_size.map_or(share, |size| size.bytes()))
    }
}

/// Which of xenstore and grants are there.
fn say_services(clock: &Stopwatch, open: [bool; 2]) {
    let [store, grants] = open.map(|open| if open { "open" } else { "not there" });
    clock.stage(format_args!("services: xenstore {store}, grants {grants}"));
}

/// Shared info page, traps, console. Without the first two there still is a console to say so on.
fn meet_xen(info: &StartInfo) -> SharedInfo {
    let met = map_shared_info(info.shared_info).and_then(|shared| {
        install_traps(&shared)?;
        Ok(shared)
    });
    open_console(info, met.as_ref().ok().copied());
    met.unwrap_or_else(|error| give_up(&StartError::Refused(error), info.is_dom0))
}

fn map_shared_info(frame: Mfn) -> Result<SharedInfo, XenError> {
    let page = image::shared_info_page();
    let virt = page.as_ptr().addr() as u64;
    let pte = hypercall::Pte::new(frame, page_table::DATA);
    // SAFETY: the linker script keeps this page of the image free for exactly this.
    unsafe { hypercall::update_va_mapping(virt, pte.0) }?;
    // SAFETY: mapped for good just now, and no Rust value lives there.
    let window = unsafe { Window::new(page, PAGE_SIZE) };
    Ok(SharedInfo::new(window, time::tsc, &LATEST))
}

fn install_traps(shared: &SharedInfo) -> Result<(), XenError> {
    let empty = xen_sys::trap_info { vector: 0, flags: 0, cs: 0, address: 0 };
    let mut table = [empty; 21];
    for (slot, (vector, address)) in table.iter_mut().zip(traps::entries()) {
        *slot = xen_sys::trap_info { vector, flags: MASK_EVENTS, cs: KERNEL_CS, address };
    }
    let (event, failsafe) = traps::callbacks();
    // SAFETY: the shared info page stays mapped for good.
    unsafe { traps::read_cr2_at(shared.cr2().addr() as u64) };
    // SAFETY: all entries come from boot/traps.S, and the table ends with an empty one.
    unsafe { hypercall::set_trap_table(&table) }?;
    // SAFETY: both come from boot/traps.S.
    unsafe { hypercall::set_callbacks(event, failsafe) }
}

fn open_console(info: &StartInfo, shared: Option<SharedInfo>) {
    if let Some(ring) = info.console
        && let Some(page) = ring_page(ring)
    {
        console::add_ring(console::Ring::new(page, ring.port), shared);
    }
    if info.is_dom0 {
        console::add_xen();
    }
    console::add_uart();
    console::install_logger();
}

/// The window on a ring page that the builder mapped, if the M2P knows the frame.
fn ring_page(ring: RingPage) -> Option<Window<'static>> {
    let pfn = XEN.m2p(ring.mfn)?;
    // SAFETY: the builder mapped the page for this ring, and nothing else uses it.
    unsafe { pages::builder_page(pfn) }
}

/// Shows the page, if there is a screen.
fn open_screen(
    memory: &'static Memory<'static>,
    info: &StartInfo,
    clock: &Stopwatch,
) -> Result<Mode, NoScreen> {
    if !info.is_dom0 {
        return Err(NoScreen::NotTold);
    }
    let stays = options::stays(info.command_line());
    let opened = screen::open(memory, &info.video, Banner(info).to_string(), stays);
    match &opened {
        Ok(mode) => clock.stage(format_args!("screen: {mode}")),
        Err(error) => clock.stage(format_args!("screen: none, {error}")),
    }
    opened
}

/// What runs on what.
struct Banner<'i>(&'i StartInfo);

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        banner(f, self.0)
    }
}

fn banner(f: &mut fmt::Formatter<'_>, info: &StartInfo) -> fmt::Result {
    let (major, minor) = hypercall::version();
    let extra = hypercall::extra_version();
    let extra = core::str::from_utf8(&extra).unwrap_or("").trim_end_matches('\0');
    let home = if info.is_dom0 { "dom0" } else { "domU" };
    write!(
        f,
        "pvbounce {} on Xen {major}.{minor}{extra}, {home}, {} MiB",
        env!("CARGO_PKG_VERSION"),
        info.nr_pages >> (20 - PAGE_SHIFT)
    )
}

/// Takes the domain's memory over from the builder: W^X, spare mappings gone, no RAM in the map's holes, free
/// frames known.
fn own_memory(
    info: &StartInfo,
    first_stack: u64,
    map: &Result<Map, MapError>,
) -> Result<(&'static Memory<'static>, Hole), StartError> {
    let entries = with_exposed_provenance::<AtomicU64>(to_usize(info.mfn_list));
    // SAFETY: the builder put `nr_pages` words there, mapped writable, and left them to the guest.
    let p2m = P2m::new(unsafe { core::slice::from_raw_parts(entries, to_usize(info.nr_pages)) });
    let parts = image::parts();
    let (image_start, image_end) = (parts[0].0.start, parts[4].0.end);
    let end = builder::end_of_use(info, first_stack, image_end).map(|end| end.max(ring_end(info)));
    let mapped = end.and_then(|end| Some((end, builder::end_of_mapping(end)?)));
    let Some((end, mapped)) = mapped else {
        return Err(StartError::Beyond(info.mfn_list));
    };
    narrow(p2m, image_start, end..mapped).map_err(StartError::Refused)?;
    let l4 = p2m.get(builder::pfn_of(info.pt_base));
    let l4 = l4.ok_or(StartError::Beyond(info.pt_base))?;
    // SAFETY: the hypervisor, list and table that this domain runs with; done once, and all else that is mapped is
    // the image's part of the address space.
    let new = unsafe { Memory::new(&XEN, p2m, l4) };
    let memory = spin::MutexGuard::leak(MEMORY.lock()).insert(new);
    let unused = builder::free_runs(info, image_start, end);
    let flat = Map::flat(info.nr_pages).with_hole();
    let map = map.as_ref().unwrap_or(&flat);
    let mut longer = |memory: &Memory<'static>, len| {
        let pages = builder::p2m_pages(info)?;
        // SAFETY: the builder's list starts its own page, and this is done once.
        unsafe { pages::lengthen_p2m(memory, pages, len) }
    };
    // SAFETY: the builder put nothing there, `narrow` unmapped it, and the longer list has the same pages.
    let hole = unsafe { hole::make(memory, map, unused, &mut longer) };
    Ok((memory, hole))
}

/// The page after the rings, which have no address in start_info, only frames.
fn ring_end(info: &StartInfo) -> u64 {
    let pfns = [info.console, info.store].into_iter().flatten().filter_map(|r| XEN.m2p(r.mfn));
    pfns.map(|Pfn(pfn)| crate::arch::VIRT_BASE + (pfn + 1) * PAGE_SIZE_U64).max().unwrap_or(0)
}

/// Gives the image's parts the access they need, and unmaps what is before the image and the builder's `spare`.
fn narrow(p2m: P2m<'_>, image_start: u64, spare: Range<u64>) -> Result<(), XenError> {
    for (range, access) in image::parts() {
        let flags = match access {
            Access::Execute => page_table::CODE,
            Access::Read => page_table::CONSTANT,
            Access::Write => page_table::DATA,
            Access::None => {
                // SAFETY: nothing lives in the guard page.
                unsafe { builder::unmap(&XEN, range) }?;
                continue;
            }
        };
        // SAFETY: the linker script says what each part is for.
        unsafe { builder::protect(&XEN, p2m, range, flags) }?;
    }
    for unused in [crate::arch::VIRT_BASE..image_start, spare] {
        // SAFETY: neither the image nor the builder put anything there.
        unsafe { builder::unmap(&XEN, unused) }?;
    }
    Ok(())
}

/// Lets the machine say which way to copy is fastest on it.
fn choose_copies(clock: &Stopwatch) {
    let (mut to, from) = (vec![0; 64 << 10], vec![0x5a; 64 << 10]);
    let costs = copy::measure(&mut to, &from, &mut time::tsc);
    let copy::Choice { short, long } = copy::selected();
    let [a, b, c] = costs.map(|cost| (cost.kind, cost.long));
    clock.stage(format_args!(
        "copies: {short} below {} bytes, {long} above; cycles for 64 KiB: {} {}, {} {}, {} {}",
        copy::SHORT,
        a.0,
        a.1,
        b.0,
        b.1,
        c.0,
        c.1
    ));
}

/// One run of pages for the heap: a sixteenth of the domain, between 1 and 4 MiB. Mapping it is boot time.
fn make_heap(memory: &'static Memory<'static>, info: &StartInfo) -> Result<(), StartError> {
    let pages = (info.nr_pages / 16).clamp(256, 1024);
    let (start, len) = Pages::new(memory, pages).map_err(StartError::Heap)?.leak();
    // SAFETY: the pages are leaked to the heap, mapped and unused; this is the only call.
    unsafe { heap::init(start, len) };
    Ok(())
}

/// Xen's memory map; a flat one has a hole of ours.
fn memory_map(info: &StartInfo) -> Result<Map, MapError> {
    let mut raw = [[0; 20]; e820::MAX_ENTRIES];
    match hypercall::memory_map(&mut raw, MEMORY_MAP) {
        Ok(entries) => Map::from_raw(&raw[..entries]),
        // The toolstack set no map.
        Err(XenError::NotImplemented) => Ok(Map::flat(info.nr_pages)),
        Err(error) => Err(MapError::Refused(error)),
    }
    .map(Map::with_hole)
}

fn open_store(
    ring: RingPage,
    events: &'static LocalEvents,
    clock: &'static SharedInfo,
) -> Option<&'static XenStore<'static>> {
    let page = ring_page(ring)?;
    let store = XenStore::new(events, clock, page, ring.port, STORE_PATIENCE);
    Some(Box::leak(Box::new(store)))
}

fn open_grants(memory: &'static Memory<'static>) -> Result<&'static GrantTable, MemoryError> {
    let mut frames = [0];
    let set_up = hypercall::grant_table(&mut frames);
    set_up.map_err(|error| MemoryError::NoGrants { error })?;
    let page = pages::xens_page(memory, Mfn(frames[0]))?;
    Ok(Box::leak(Box::new(GrantTable::new(page))))
}
