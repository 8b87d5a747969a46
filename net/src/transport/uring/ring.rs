//! The two queues shared with the kernel, and the one system call.
//!
//! Set up so that nothing interrupts the thread: completions are worked on only inside our own calls
//! (`DEFER_TASKRUN`, or `COOP_TASKRUN` before Linux 6.1), and a flag in shared memory says that there are some
//! (`TASKRUN_FLAG`). So an empty turn is one load and no system call. The descriptor of the ring is registered with the
//! thread, which saves its look-up in every call.
//!
//! # Bounds
//! A full submission queue is a value; a full completion queue is kept by the kernel and shown by a flag.
//!
//! # Threads
//! Single owner: with `SINGLE_ISSUER` the kernel refuses any other thread.

#![expect(unsafe_code, reason = "queues shared with the kernel, and its system calls")]

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, squeue};

/// The submission queue takes no more until the kernel has been entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

/// One completion, copied out of the shared queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// Whether the same submission completes again.
    pub(super) fn has_more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// The receive buffer that was filled.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Bytes that came in that buffer.
    fn received_bytes(self) -> u64 {
        if self.buffer().is_some() { u64::try_from(self.result).unwrap_or(0) } else { 0 }
    }
}

fn completion_of(entry: cqueue::Entry) -> Completion {
    Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() }
}

/// How completions are worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// Inside our calls only.
    Deferred,
    /// Inside any call of this thread, without interrupting it.
    Cooperative,
    /// Whenever the kernel likes.
    Plain,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deferred => "deferred",
            Self::Cooperative => "cooperative",
            Self::Plain => "plain",
        })
    }
}

/// The ring of one thread.
pub(super) struct Ring {
    ring: IoUring,
    setup: Setup,
    /// Its place among the thread's registered descriptors.
    registered: Option<u32>,
}

impl Ring {
    /// Sets up a ring with the best of the three setups that the kernel takes.
    ///
    /// # Errors
    /// What the kernel says to the plainest one.
    pub(super) fn open(submission_entries: u32, completion_entries: u32) -> io::Result<Self> {
        Self::open_as(Setup::Deferred, submission_entries, completion_entries)
            .or_else(|_| Self::open_as(Setup::Cooperative, submission_entries, completion_entries))
            .or_else(|_| Self::open_as(Setup::Plain, submission_entries, completion_entries))
    }

    /// Sets up a ring in one way.
    pub(super) fn open_as(setup: Setup, submission_entries: u32, completion_entries: u32) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(completion_entries).setup_clamp();
        match setup {
            Setup::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            Setup::Cooperative => {
                builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            Setup::Plain => {}
        }
        let mut ring = Self { ring: builder.build(submission_entries)?, setup, registered: None };
        ring.registered = ring.register_descriptor();
        Ok(ring)
    }

    pub(super) fn setup(&self) -> Setup {
        self.setup
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Whether the kernel keeps completions that do not fit, and takes a timeout with the call.
    pub(super) fn has_needed_features(&self) -> bool {
        self.ring.params().is_feature_nodrop() && self.ring.params().is_feature_ext_arg()
    }

    /// Whether the kernel knows `opcode`.
    pub(super) fn supports(&self, opcode: u8) -> io::Result<bool> {
        let mut probe = Probe::new();
        self.ring.submitter().register_probe(&mut probe)?;
        Ok(probe.is_supported(opcode))
    }

    /// Queues one submission.
    ///
    /// # Safety
    /// 1. What `entry` points to stays where it is, and is not changed if the kernel reads it or touched if the kernel
    ///    writes it, until its last completion.
    /// 2. Its descriptor is open until then.
    ///
    /// # Errors
    /// `QueueFull`: [`enter`](Self::enter) makes room.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<(), QueueFull> {
        // SAFETY: `push` asks for condition 1 of this function, which the caller keeps.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| QueueFull)
    }

    pub(super) fn is_full(&mut self) -> bool {
        self.ring.submission().is_full()
    }

    /// Whether the kernel has to be entered: something is to be submitted, or completions wait inside.
    pub(super) fn needs_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    pub(super) fn has_submissions(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    pub(super) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Moves completions into `into`, oldest first: all there are, or until those moved bring `bytes_max` received bytes.
    pub(super) fn take_completions(&mut self, into: &mut Vec<Completion>, bytes_max: u64) {
        let mut bytes = 0;
        let mut queue = self.ring.completion();
        while bytes < bytes_max
            && let Some(entry) = queue.next()
        {
            let completion = completion_of(entry);
            bytes += completion.received_bytes();
            into.push(completion);
        }
    }

    /// Moves the oldest completion into `into`, if there is one.
    pub(super) fn take_one(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.ring.completion().next().map(completion_of));
    }

    /// Submits what is queued and has the kernel work on completions.
    pub(super) fn enter(&mut self) {
        let flags = EnterFlags::GETEVENTS;
        self.call(0, flags, std::ptr::null(), 0);
    }

    /// As [`enter`](Self::enter), and waits for a completion, at most for `timeout`.
    pub(super) fn park(&mut self, timeout: Option<Duration>) {
        let Some(timeout) = timeout else {
            return self.call(1, EnterFlags::GETEVENTS, std::ptr::null(), 0);
        };
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        let size = std::mem::size_of_val(&args);
        self.call(1, EnterFlags::GETEVENTS | EnterFlags::EXT_ARG, (&raw const args).cast(), size);
    }

    /// `io_uring_enter`. The crate's own does not remember the registered descriptor.
    fn call(&mut self, want: u32, flags: EnterFlags, args: *const libc::c_void, args_bytes: usize) {
        let queued = u32::try_from(self.ring.submission().len()).expect("the queue has at most 4096 entries");
        let (descriptor, flags) = match self.registered {
            Some(index) => (index as RawFd, flags | EnterFlags::REGISTERED_RING),
            None => (self.ring.as_raw_fd(), flags),
        };
        // SAFETY: the descriptor is this ring's, `queued` entries are in its queue and were pushed under the conditions
        // of `push`, and `args` is null with size 0 or points to a whole argument that outlives the call.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, descriptor, queued, want, flags.bits(), args, args_bytes)
        };
        if result >= 0 {
            return;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // The time is up; a signal came; the kernel is short of something, or wants the completions taken first.
            Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
            _ => panic!("io_uring_enter refused a valid call with {queued} submissions: {error}"),
        }
    }

    fn register_descriptor(&self) -> Option<u32> {
        let mut update = RingUpdate { offset: u32::MAX, reserved: 0, data: self.ring.as_raw_fd() as u64 };
        let count = self.register(REGISTER_RING_FDS, &mut update);
        (count == 1).then_some(update.offset)
    }

    fn register(&self, opcode: libc::c_uint, update: &mut RingUpdate) -> i64 {
        let descriptor = self.ring.as_raw_fd();
        // SAFETY: both opcodes used read, and the first also writes, one `io_uring_rsrc_update`, which `update` is.
        unsafe { libc::syscall(libc::SYS_io_uring_register, descriptor, opcode, std::ptr::from_mut(update), 1) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A registered descriptor keeps the ring alive until the thread ends.
        if let Some(offset) = self.registered {
            let mut update = RingUpdate { offset, reserved: 0, data: 0 };
            self.register(UNREGISTER_RING_FDS, &mut update);
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("setup", &self.setup).field("registered", &self.registered).finish_non_exhaustive()
    }
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `IORING_REGISTER_RING_FDS` and its opposite.
const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;
