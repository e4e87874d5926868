//! The heap: `linked_list_allocator` over one run of pages, behind the `alloc` crate.
#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr::{NonNull, null_mut},
};
use linked_list_allocator::Heap;

struct LockedHeap(spin::Mutex<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(spin::Mutex::new(Heap::empty()));

// SAFETY: every call goes to one `Heap` under a lock; nothing re-enters, as events are polled.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: GlobalAlloc's caller passes a block of ours with the layout it was allocated with.
            unsafe { self.0.lock().deallocate(block, layout) };
        }
    }
}

/// Makes `len` bytes at `start` the heap. Called once.
///
/// # Safety
/// The bytes must be mapped writable, unused, and stay so for ever.
pub unsafe fn init(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller vouches for the memory.
    unsafe { HEAP.0.lock().init(start.as_ptr(), len) };
}

/// Some KiB of the image.
struct Spare(UnsafeCell<[u64; 1024]>);

// SAFETY: `init_from_image` alone reaches it, under the heap's lock and once.
unsafe impl Sync for Spare {}

static SPARE: Spare = Spare(UnsafeCell::new([0; 1024]));

/// Makes 8 KiB of the image the heap, if there is none yet: enough for a guest that can't start to say why. No other
/// heap follows.
pub fn init_from_image() {
    let mut heap = HEAP.0.lock();
    if heap.size() == 0 {
        // SAFETY: the array is nobody else's, for good: with this the heap has a size.
        unsafe { heap.init(SPARE.0.get().cast(), size_of::<Spare>()) };
    }
}

/// Bytes in use.
pub fn used() -> usize {
    HEAP.0.lock().used()
}
