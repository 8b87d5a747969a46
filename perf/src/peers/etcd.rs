//! etcd: three members with their data on tmpfs, `Put` over gRPC to the leader.
//!
//! The client is gRPC over one HTTP/2 connection, as etcd's own clients, and not the JSON gateway, which would add a hop
//! inside the server. Each window slot is one stream.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::h2::{Event, Http2};
use crate::connection::Address;
use crate::load::{Admission, Completion, Driver, DriverError, Outcome, RequestId};
use crate::process::{Process, Program, TempFolder, await_ready, free_ports};
use crate::resp::CALL_WITHIN;
use crate::system::{KEY_BYTES, Running, Setup, write_key};

/// Starts the members, waits for a leader, and connects to it.
pub(crate) fn start(program: &Program, setup: &Setup) -> Result<Running> {
    ensure!(setup.value_bytes <= VALUE_BYTES_MAX, "values of {} bytes: at most {VALUE_BYTES_MAX}", setup.value_bytes);
    let folder = TempFolder::in_memory()?;
    let ports = free_ports(setup.nodes, 2, 2)?;
    let members: Vec<String> =
        ports.iter().enumerate().map(|(index, port)| format!("m{index}=http://127.0.0.1:{}", port + 1)).collect();
    let mut processes = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let client = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{}", port + 1);
        let program = program
            .clone()
            .words(&format!("--name m{index} --listen-client-urls {client} --advertise-client-urls {client}"))
            .words(&format!("--listen-peer-urls {peer} --initial-advertise-peer-urls {peer}"))
            .words(&format!("--initial-cluster {} --initial-cluster-state new", members.join(",")))
            .words("--initial-cluster-token quorate-perf --log-level error --quota-backend-bytes 8000000000")
            .arg("--data-dir")
            .arg(folder.path().join(format!("member-{index}")));
        processes.push(Process::start(&setup.harness, &format!("etcd-{index}"), &program, folder.path())?);
    }
    let addresses: Vec<Address> = ports.iter().map(|port| Address::Tcp(([127, 0, 0, 1], *port).into())).collect();
    let leader = await_ready("etcd", &mut processes, || find_leader(&addresses))?;
    let http = Http2::connect(leader, "/etcdserverpb.KV/Put")?;
    let driver = EtcdDriver { http, put: PutRequest::new(&setup.value()), refusal: None };
    let note = format!("{} members, data on tmpfs, gRPC to the leader over one connection", setup.nodes);
    Ok(Running::new(Box::new(driver), processes, folder, note))
}

/// Asks every member who leads and returns the leader's address when all agree.
fn find_leader(addresses: &[Address]) -> Result<&Address> {
    let mut leaders = Vec::new();
    let mut own = Vec::new();
    for address in addresses {
        let (member, leader) = status(address)?;
        ensure!(leader != 0, "no leader yet");
        own.push(member);
        leaders.push(leader);
    }
    ensure!(leaders.iter().all(|leader| *leader == leaders[0]), "members name different leaders");
    let index = own.iter().position(|member| *member == leaders[0]).context("the leader is not one of our members")?;
    Ok(&addresses[index])
}

/// Calls `Maintenance.Status` and returns the member's own id and its leader's.
fn status(address: &Address) -> Result<(u64, u64)> {
    let mut http = Http2::connect(address, "/etcdserverpb.Maintenance/Status")?;
    let mut message = Vec::new();
    ensure!(http.try_request(&[0; GRPC_PREFIX_BYTES])?.is_some(), "no room");
    let deadline = Instant::now() + CALL_WITHIN;
    while Instant::now() < deadline {
        http.poll()?;
        while let Some(event) = http.next_event()? {
            match event {
                Event::Data { bytes, .. } => message.extend_from_slice(bytes),
                Event::End { grpc_status: Some(0), .. } => {
                    let body = message.get(GRPC_PREFIX_BYTES..).context("no status message")?;
                    let header = field(body, 1).context("no header in status")?;
                    let member = header.bytes().and_then(|header| field(header, 2)).and_then(Field::number);
                    let leader = field(body, 4).and_then(Field::number).unwrap_or(0);
                    return Ok((member.context("no member id in status")?, leader));
                }
                Event::End { grpc_status, .. } => bail!("status refused, gRPC status {grpc_status:?}"),
            }
        }
        std::thread::yield_now();
    }
    bail!("no status within {CALL_WITHIN:?}")
}

struct EtcdDriver {
    http: Http2,
    put: PutRequest,
    refusal: Option<String>,
}

impl Driver for EtcdDriver {
    fn try_send(&mut self, request: RequestId) -> Result<Admission, DriverError> {
        let body = self.put.with_key_of(request);
        let Some(stream) = self.http.try_request(body)? else { return Ok(Admission::Full) };
        assert_eq!(stream, request.0, "one stream for each request, in order");
        Ok(Admission::Accepted)
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<(), DriverError> {
        self.http.poll()?;
        while let Some(event) = self.http.next_event()? {
            let Event::End { stream, grpc_status } = event else { continue };
            let outcome = if grpc_status == Some(0) { Outcome::Done } else { Outcome::Refused };
            if outcome == Outcome::Refused && self.refusal.is_none() {
                self.refusal = Some(format!("gRPC status {grpc_status:?}"));
            }
            completions.push(Completion { request: RequestId(stream), outcome });
        }
        Ok(())
    }

    fn first_refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// An encoded `PutRequest { key = 1, value = 2 }` behind gRPC's prefix, whose key is written in place.
struct PutRequest {
    bytes: Vec<u8>,
    key_at: usize,
}

impl PutRequest {
    fn new(value: &[u8]) -> Self {
        let mut bytes = vec![0; GRPC_PREFIX_BYTES];
        bytes.push(1 << 3 | LENGTH_DELIMITED);
        push_varint(&mut bytes, KEY_BYTES);
        let key_at = bytes.len();
        bytes.extend_from_slice(&[0; KEY_BYTES]);
        bytes.push(2 << 3 | LENGTH_DELIMITED);
        push_varint(&mut bytes, value.len());
        bytes.extend_from_slice(value);
        let len = u32::try_from(bytes.len() - GRPC_PREFIX_BYTES).expect("values are at most VALUE_BYTES_MAX");
        // The first byte says: not compressed.
        bytes[1..GRPC_PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
        Self { bytes, key_at }
    }

    fn with_key_of(&mut self, request: RequestId) -> &[u8] {
        let key = self.bytes[self.key_at..].first_chunk_mut().expect("the key lies inside the request");
        write_key(key, request);
        &self.bytes
    }
}

/// A value of a protobuf message, of the two kinds that are read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(self) -> Option<u64> {
        if let Self::Number(value) = self { Some(value) } else { None }
    }

    fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(value) = self { Some(value) } else { None }
    }
}

/// Returns field `wanted` of a protobuf message, if the message can be read up to it.
fn field(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    loop {
        let tag = take_varint(&mut message)?;
        let value = match tag & 7 {
            0 => Field::Number(take_varint(&mut message)?),
            2 => {
                let len = usize::try_from(take_varint(&mut message)?).ok()?;
                Field::Bytes(message.split_off(..len)?)
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(value);
        }
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

const GRPC_PREFIX_BYTES: usize = 5;
const LENGTH_DELIMITED: u8 = 2;
/// A request fits into the 64 KiB that HTTP/2 lets every new stream send at once.
const VALUE_BYTES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_request_reads_back() {
        let value = vec![7; 300];
        let mut put = PutRequest::new(&value);
        let bytes = put.with_key_of(RequestId(12));
        let (prefix, message) = bytes.split_at(GRPC_PREFIX_BYTES);
        assert_eq!(prefix[0], 0);
        assert_eq!(u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize, message.len());
        assert_eq!(field(message, 1).unwrap().bytes(), Some(&b"key:000000000012"[..]));
        assert_eq!(field(message, 2).unwrap().bytes(), Some(&value[..]));
        assert_eq!(field(message, 3), None);
    }

    #[test]
    fn truncated_message_has_no_field() {
        let message = [8, 0xAC, 2, 0x12, 2, 1, 2];
        assert_eq!(field(&message, 1), Some(Field::Number(300)));
        assert_eq!(field(&message, 2), Some(Field::Bytes(&[1, 2])));
        for len in 0..message.len() {
            assert_eq!(field(&message[..len], 2), None);
        }
    }
}
