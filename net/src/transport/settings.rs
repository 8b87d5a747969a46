//! Every size and limit of a transport in one place.
//!
//! # Bounds
//! Per CPU at the defaults: the receive buffers are reserved at start and become resident only as far as they are used;
//! send buffers lie in a pool that keeps at most [`POOL_BYTES_MAX`] while idle.

use thiserror::Error;

/// Bytes of idle send buffers that are kept for reuse; more are given back to the allocator.
pub(super) const POOL_BYTES_MAX: usize = 8 << 20;

/// Capacity above which an idle send buffer is not kept. Larger ones exist only while a large reply or a backlog does.
pub(super) const POOLED_BUFFER_BYTES_MAX: usize = 4 << 20;

/// Received bytes after which a turn ends and what it caused is sent. More would be cheaper for each byte, but while a CPU
/// works through a large batch, those that wait for its first answers and appends stand idle: with 512 requests of 64
/// bytes under way, a tenth more of them were acknowledged each second with 32 KiB than with 128 KiB.
pub(super) const TURN_BYTES: u64 = 32 << 10;

/// How long a connection that is being closed may take to flush and to hear the peer's end of stream.
pub const CLOSE_GRACE: core::time::Duration = core::time::Duration::from_secs(2);

/// How long accepting pauses after the system had no descriptor or no memory for a new connection.
pub const ACCEPT_RETRY: core::time::Duration = core::time::Duration::from_millis(50);

/// Sizes and limits of one transport. [`Default`] suits a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// Connections at a time, 1 to 2^20. One more is accepted and closed at once.
    pub connections_max: u32,
    /// Entries of the submission queue (io_uring), a power of two, 4 to 4096. Too few cost system calls, nothing else.
    pub submission_entries: u32,
    /// Entries of the completion queue (io_uring), a power of two, at least as many as above, up to 65536. What does not
    /// fit waits in the kernel.
    pub completion_entries: u32,
    /// Receive buffers shared by all connections (io_uring), a power of two, 1 to 32768.
    pub receive_buffers: u16,
    /// Bytes of each of them, 1 to 1 MiB.
    pub receive_buffer_bytes: u32,
    /// Bytes of the one read buffer (mio), 1 to 16 MiB.
    pub read_buffer_bytes: u32,
    /// Connections up to which every turn tries to read each of them instead of asking which are readable (mio). With 3
    /// that was 5 % faster per write, with 5 no faster, with 7 a tenth slower: a failing read of a TCP socket costs twice
    /// an empty poll.
    pub direct_reads_max: u32,
    /// Above this many queued bytes at a flush, the handler hears [`drained`](super::Handler::drained) later.
    pub send_high_bytes: usize,
    /// At or below this many queued bytes it hears it. Below the high one.
    pub send_low_bytes: usize,
    /// Queued bytes at which one connection's buffer refuses more.
    pub send_bytes_max: usize,
    /// Queued bytes of all connections together at which any connection that has a backlog refuses more.
    pub send_total_bytes_max: usize,
    /// `SO_SNDBUF` of every connection; `None` leaves it to the system, which grows it as needed.
    pub socket_send_bytes: Option<u32>,
    /// `SO_RCVBUF` of every connection; `None` leaves it to the system.
    pub socket_receive_bytes: Option<u32>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            submission_entries: 256,
            completion_entries: 1024,
            receive_buffers: 128,
            receive_buffer_bytes: 32 << 10,
            read_buffer_bytes: 32 << 10,
            direct_reads_max: 3,
            send_high_bytes: 1 << 20,
            send_low_bytes: 256 << 10,
            send_bytes_max: 32 << 20,
            send_total_bytes_max: 256 << 20,
            socket_send_bytes: None,
            socket_receive_bytes: None,
        }
    }
}

impl TransportSettings {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// The first value that is out of range, with the range.
    pub fn check(&self) -> Result<(), SettingsError> {
        in_range("connections_max", self.connections_max.into(), 1, 1 << 20)?;
        power_of_two("submission_entries", self.submission_entries.into(), 4, 4096)?;
        let fewest = u64::from(self.submission_entries);
        power_of_two("completion_entries", self.completion_entries.into(), fewest, 65_536)?;
        power_of_two("receive_buffers", self.receive_buffers.into(), 1, 32_768)?;
        in_range("receive_buffer_bytes", self.receive_buffer_bytes.into(), 1, 1 << 20)?;
        in_range("read_buffer_bytes", self.read_buffer_bytes.into(), 1, 16 << 20)?;
        in_range("send_bytes_max", self.send_bytes_max as u64, 1, 1 << 32)?;
        in_range("send_total_bytes_max", self.send_total_bytes_max as u64, 1, 1 << 40)?;
        in_range("send_high_bytes", self.send_high_bytes as u64, 1, self.send_bytes_max as u64)?;
        in_range("send_low_bytes", self.send_low_bytes as u64, 0, self.send_high_bytes as u64 - 1)
    }
}

/// A setting that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Too small or too large.
    #[error("{name} is {value}, allowed are {least} to {most}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// What it was.
        value: u64,
        /// Smallest allowed, inclusive.
        least: u64,
        /// Largest allowed, inclusive.
        most: u64,
    },
    /// Not a power of two.
    #[error("{name} is {value}, but must be a power of two")]
    NotPowerOfTwo {
        /// Which setting.
        name: &'static str,
        /// What it was.
        value: u64,
    },
}

fn in_range(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), SettingsError> {
    if value < least || value > most { Err(SettingsError::Range { name, value, least, most }) } else { Ok(()) }
}

fn power_of_two(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), SettingsError> {
    in_range(name, value, least, most)?;
    if value.is_power_of_two() { Ok(()) } else { Err(SettingsError::NotPowerOfTwo { name, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(TransportSettings::default().check(), Ok(()));
    }

    #[test]
    fn a_queue_that_is_no_power_of_two_is_refused_by_name() {
        let settings = TransportSettings { submission_entries: 100, ..TransportSettings::default() };
        assert_eq!(settings.check(), Err(SettingsError::NotPowerOfTwo { name: "submission_entries", value: 100 }));
    }

    #[test]
    fn the_low_mark_lies_below_the_high_one() {
        let settings = TransportSettings { send_high_bytes: 10, send_low_bytes: 10, ..TransportSettings::default() };
        assert!(matches!(settings.check(), Err(SettingsError::Range { name: "send_low_bytes", most: 9, .. })));
    }
}
