//! The native client of quorate as a driver: the polling shape of the library that users link.
//!
//! What is measured is the client as it is, with its bookkeeping and its retries after an overload: a request that was
//! retried has the latency of all its attempts. A request whose outcome the client calls unknown counts as an error.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use quorate::client::polling::Client;
use quorate::client::{ClientOptions, Outcome as Ending, SubmitError, Ticket};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op};

use crate::connection::Address;
use crate::load::{Admission, Completion, Driver, DriverError, Outcome, RequestId};
use crate::system::{KEY_BYTES, write_key};

/// Sends SETs through one native connection.
#[derive(Debug)]
pub struct NativeDriver {
    client: Client,
    value: Vec<u8>,
    /// Requests in flight in the order in which they were submitted, which is nearly the one in which they end.
    in_flight: VecDeque<(Ticket, RequestId)>,
    refusal: Option<String>,
}

impl NativeDriver {
    /// Connects to a native door, with room for `window` requests in flight.
    ///
    /// # Errors
    /// There is no connection within the client's own timeout.
    pub fn connect(address: &Address, cluster: &str, window: u32, value: Vec<u8>) -> Result<Self> {
        let window = usize::try_from(window).context("a window fits into memory")?;
        let options = ClientOptions {
            addresses: vec![address.to_string()],
            cluster: cluster.to_owned(),
            window,
            ..ClientOptions::default()
        };
        let client = Client::connect(options)?;
        Ok(Self { client, value, in_flight: VecDeque::with_capacity(window), refusal: None })
    }
}

impl Driver for NativeDriver {
    fn try_send(&mut self, request: RequestId) -> Result<Admission, DriverError> {
        let mut key = [0; KEY_BYTES];
        write_key(&mut key, request);
        match self.client.submit(&Command { value: &self.value, ..Command::new(Op::Set, &key) }) {
            Ok(ticket) => {
                self.in_flight.push_back((ticket, request));
                Ok(Admission::Accepted)
            }
            Err(SubmitError::Full { .. }) => Ok(Admission::Full),
            Err(_) => Err(DriverError::Malformed { protocol: "native", what: "request, which the client never takes" }),
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<(), DriverError> {
        let (in_flight, refusal) = (&mut self.in_flight, &mut self.refusal);
        let mut is_known = true;
        self.client.poll(|completion| {
            let place = in_flight.iter().position(|(ticket, _)| *ticket == completion.ticket);
            let Some((_, request)) = place.and_then(|place| in_flight.remove(place)) else {
                is_known = false;
                return;
            };
            let is_done = matches!(completion.outcome, Ending::Done { answer: Answer::Ok, .. });
            if !is_done && refusal.is_none() {
                *refusal = Some(describe(&completion.outcome));
            }
            let outcome = if is_done { Outcome::Done } else { Outcome::Refused };
            completions.push(Completion { request, outcome });
        });
        if is_known { Ok(()) } else { Err(DriverError::Malformed { protocol: "native", what: "end of no request" }) }
    }

    fn first_refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

fn describe(ending: &Ending<'_>) -> String {
    match ending {
        Ending::Refused(by) => format!("{:?}: {}", by.code, by.text),
        Ending::Unknown(cause) => cause.to_string(),
        Ending::Done { answer, .. } => format!("answer {answer:?}"),
        Ending::Accepted { .. } => "accepted, which is less than was asked for".to_owned(),
        Ending::Status { .. } => "a status, which nobody asked for".to_owned(),
    }
}
