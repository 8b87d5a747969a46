//! Buffers that the kernel fills as bytes come in, shared by all connections of a ring.
//!
//! They lie in one piece of memory. A ring of entries tells the kernel which of them it may fill; it takes one for each
//! completion, and we put it back when its bytes are delivered.
//!
//! # Invariants
//! R1. A buffer is either the kernel's (its entry is in the ring) or ours; only ours are read, and only they go back.
//!
//! # Bounds
//! `count` buffers, a power of two up to 32768. When the kernel has none left, receiving ends with `ENOBUFS` and is armed
//! again once buffers went back.
//!
//! # Threads
//! Single owner on our side; the tail is shared with the kernel.

#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The only group of buffers in a ring.
pub(super) const GROUP: u16 = 0;

/// The entries must lie on a page boundary; this is the largest page size there is.
const PAGE_BYTES_MAX: usize = 64 << 10;

/// What every allocator gives without extra work: a larger one would have the memory zeroed by hand, and so resident.
const BYTES_ALIGN: usize = 16;

/// The buffers of one ring. See the module's text.
#[derive(Debug)]
pub(super) struct ReceiveBuffers {
    entries: Memory,
    bytes: Memory,
    count: u16,
    each: u32,
    /// Entries ever put into the ring, wrapping.
    tail: u16,
    owners: Vec<Owner>,
}

/// Who may touch a buffer (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Kernel,
    Us,
}

impl ReceiveBuffers {
    /// Reserves `count` buffers of `each` bytes and gives all of them to the kernel behind `submitter`.
    ///
    /// The memory becomes resident only as far as it is used.
    ///
    /// # Errors
    /// What the kernel says to the registration.
    pub(super) fn register(submitter: &Submitter<'_>, count: u16, each: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two() && each > 0, "{count} buffers of {each} bytes");
        let entries = Memory::new(usize::from(count) * size_of::<BufRingEntry>(), PAGE_BYTES_MAX);
        let bytes = Memory::new(usize::from(count) * each as usize, BYTES_ALIGN);
        let address = entries.start.as_ptr() as u64;
        // SAFETY: `entries` has room for `count` entries on a page boundary, and is freed only after the ring is gone or
        // the group is unregistered: `unregister` or `leak` runs before this value is dropped.
        unsafe { submitter.register_buf_ring_with_flags(address, count, GROUP, 0) }?;
        let mut buffers = Self { entries, bytes, count, each, tail: 0, owners: vec![Owner::Us; usize::from(count)] };
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Takes `buffer` from the kernel, which says it is filled.
    pub(super) fn take(&mut self, buffer: u16) {
        let owner = &mut self.owners[usize::from(buffer)];
        assert_eq!(*owner, Owner::Kernel, "R1: the kernel filled buffer {buffer}, which it did not have");
        *owner = Owner::Us;
    }

    /// The first `len` bytes of `buffer`, which must be ours.
    pub(super) fn filled(&self, buffer: u16, len: usize) -> &[u8] {
        assert_eq!(self.owners[usize::from(buffer)], Owner::Us, "R1: buffer {buffer} is the kernel's");
        assert!(len <= self.each as usize, "{len} bytes in a buffer of {}", self.each);
        let offset = usize::from(buffer) * self.each as usize;
        // SAFETY: `buffer < count`, or the look-up above had failed, so this stays inside the allocation of
        // `count * each` bytes.
        let start = unsafe { self.bytes.start.as_ptr().add(offset) };
        // SAFETY: `start` begins `each >= len` initialised bytes (zeroed at first) that are ours by R1: the kernel writes
        // to them only after `give_back` and `publish`, which borrow `self` mutably.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Puts `buffer` back into the ring. The kernel sees it after [`publish`](Self::publish).
    pub(super) fn give_back(&mut self, buffer: u16) {
        let owner = &mut self.owners[usize::from(buffer)];
        assert_eq!(*owner, Owner::Us, "R1: buffer {buffer} went back twice");
        *owner = Owner::Kernel;
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: `slot < count`, so this stays inside the allocation of `count` entries.
        let entry = unsafe { self.entries.start.as_ptr().cast::<BufRingEntry>().add(slot) };
        // SAFETY: the kernel does not look at this entry: at most `count` buffers are in the ring, so the entry `count`
        // before it was consumed, and the tail does not cover it yet. Nobody else has a reference.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.bytes.start.as_ptr() as u64 + u64::from(buffer) * u64::from(self.each));
        entry.set_len(self.each);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: the entries begin with an initialised (zeroed) entry, as `tail` asks.
        let tail = unsafe { BufRingEntry::tail(self.entries.start.as_ptr().cast()) };
        // SAFETY: the tail lies inside the first entry, aligned, for as long as the entries live; the kernel only reads
        // it, and this thread writes it only here.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries written above are visible before the tail that covers them.
        // Pairs with the kernel's acquire load of the tail when it selects a buffer.
        tail.store(self.tail, Ordering::Release);
    }

    /// Takes the ring of entries from the kernel. Nothing may be receiving any more.
    pub(super) fn unregister(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        submitter.unregister_buf_ring(GROUP)
    }

    /// Leaves the memory to the kernel for ever. Only for a ring that does not give it back.
    pub(super) fn leak(&mut self) {
        self.entries.is_leaked = true;
        self.bytes.is_leaked = true;
    }
}

/// A piece of zeroed memory that keeps its place.
#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
    is_leaked: bool,
}

impl Memory {
    fn new(bytes: usize, align: usize) -> Self {
        let layout = Layout::from_size_align(bytes, align).expect("at most 32768 buffers of 1 MiB, aligned to 2^16");
        assert!(bytes > 0);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout, is_leaked: false }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.is_leaked {
            // SAFETY: allocated in `new` with this layout, freed once.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}
