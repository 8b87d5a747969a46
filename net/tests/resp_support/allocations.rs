//! Counts the allocations of the current thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a tally for each thread.
pub(crate) struct Counting;

/// Runs `work`; returns how often it asked for memory.
pub(crate) fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

thread_local! {
    // Initialised by a constant and without a destructor, so reading it never allocates.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; all of it is passed on")]
// SAFETY: every call goes to `System` with the arguments it came with, so its contract is kept by whoever keeps ours.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the conditions of `alloc`: the layout has a size.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the conditions of `dealloc`; the block came from `System`, as all of ours do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the conditions of `realloc`; the block came from `System`, as all of ours do.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
