//! The door of a cluster that verbs ask, as it is given on the command line.

use std::time::Duration;

use clap::Args;

use super::status::TIMEOUT;
use super::status::ask::{AskError, Asker};

/// Which node to ask.
#[derive(Debug, Args)]
pub struct Door {
    /// The RESP door of any node of the cluster
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    connect: String,
    /// The password, if the nodes have one
    #[arg(long, env = "QUORATE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

impl Door {
    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.connect
    }

    /// Returns the password, if one was given.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Connects, and logs in if there is a password.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn open(&self) -> Result<Asker, AskError> {
        self.open_for(TIMEOUT)
    }

    /// Connects for questions whose answers may take so long.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn open_for(&self, timeout: Duration) -> Result<Asker, AskError> {
        Asker::connect(&self.connect, self.password(), timeout)
    }
}
