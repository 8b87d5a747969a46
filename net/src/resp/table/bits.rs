//! Small sets with a published name for each member: flags, access categories, key flags.

/// Declares a set of named bits that can be built in constants.
macro_rules! named_bits {
    ($(#[$meta:meta])* $set:ident { $($(#[$bit_meta:meta])* $bit:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $set(u32);

        impl $set {
            const NAMED: &'static [(Self, &'static str)] = &[$((Self::$bit, $name)),*];

            /// No member.
            pub const NONE: Self = Self(0);

            named_bits!(@bits 0_u32; $($(#[$bit_meta])* $bit,)*);

            /// Returns the members of either.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether every member of `other` is in this set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// How many members there are.
            #[must_use]
            pub const fn len(self) -> usize {
                self.0.count_ones() as usize
            }

            /// Whether there is none.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Iterates over the published names, in the order of declaration.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMED.iter().filter(move |(bit, _)| self.contains(*bit)).map(|&(_, name)| name)
            }

            /// Finds a member by its published name, in any case of letters.
            #[must_use]
            pub fn named(name: &[u8]) -> Option<Self> {
                Self::NAMED.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|&(bit, _)| bit)
            }

            /// Iterates over all names there are.
            pub fn all_names() -> impl ExactSizeIterator<Item = &'static str> {
                Self::NAMED.iter().map(|&(_, name)| name)
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set().entries(self.names()).finish()
            }
        }
    };
    (@bits $position:expr; $(#[$meta:meta])* $bit:ident, $($rest:tt)*) => {
        $(#[$meta])*
        pub const $bit: Self = Self(1 << $position);
        named_bits!(@bits $position + 1; $($rest)*);
    };
    (@bits $position:expr;) => {};
}

named_bits! {
    /// What a command does and when it may run, by the names that `COMMAND` publishes.
    Flags {
        /// Changes data.
        WRITE = "write",
        /// Reads data and changes none.
        READONLY = "readonly",
        /// Refused when memory is full.
        DENYOOM = "denyoom",
        /// Administration.
        ADMIN = "admin",
        /// Publish and subscribe.
        PUBSUB = "pubsub",
        /// Not for scripts.
        NOSCRIPT = "noscript",
        /// May wait before it answers.
        BLOCKING = "blocking",
        /// Allowed while data is being loaded.
        LOADING = "loading",
        /// Allowed on a replica that has lost its leader.
        STALE = "stale",
        /// Constant or logarithmic time.
        FAST = "fast",
        /// Allowed before authentication.
        NO_AUTH = "no_auth",
        /// May be passed on to other nodes without being a write.
        MAY_REPLICATE = "may_replicate",
        /// Allowed while the server is busy.
        ALLOW_BUSY = "allow_busy",
        /// Keys that it touches are not among its arguments.
        TOUCHES_ARBITRARY_KEYS = "touches-arbitrary-keys",
    }
}

named_bits! {
    /// Access categories, by the names that `ACL CAT` publishes.
    Categories {
        /// Any use of the keyspace that does not depend on the type of a value.
        KEYSPACE = "keyspace",
        /// Reads.
        READ = "read",
        /// Writes.
        WRITE = "write",
        /// Strings.
        STRING = "string",
        /// Hashes.
        HASH = "hash",
        /// Publish and subscribe.
        PUBSUB = "pubsub",
        /// Administration.
        ADMIN = "admin",
        /// Constant or logarithmic time.
        FAST = "fast",
        /// Everything that is not fast.
        SLOW = "slow",
        /// May wait before it answers.
        BLOCKING = "blocking",
        /// Worth a second thought.
        DANGEROUS = "dangerous",
        /// The connection itself.
        CONNECTION = "connection",
        /// What other servers do not have.
        QUORATE = "quorate",
    }
}

named_bits! {
    /// What a command does with the keys of one [`super::KeySpec`].
    KeyFlags {
        /// Reads the value.
        RO = "RO",
        /// Reads and changes the value.
        RW = "RW",
        /// Overwrites the value.
        OW = "OW",
        /// Removes the key.
        RM = "RM",
        /// Returns or copies the value.
        ACCESS = "access",
        /// Changes a value that exists.
        UPDATE = "update",
        /// Adds to a value, never changes what is there.
        INSERT = "insert",
        /// Removes something on purpose.
        DELETE = "delete",
        /// Not a key, but routed like one.
        NOT_KEY = "not_key",
        /// Some options change what is done.
        VARIABLE_FLAGS = "variable_flags",
    }
}
