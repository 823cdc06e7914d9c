//! How much, and how long.

use std::time::Duration;

/// Bounds of a listener. Times end waits for a caller, never for a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most connections at a time; further ones are closed at once.
    pub connections: usize,
    /// Most of them from one peer: one IPv4 address, or one IPv6 network of 64 bits, as a host has all of its addresses.
    pub peer_connections: usize,
    /// Longest wait for the end of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest wait for a request's whole head, from the connection's begin or the head's first byte.
    pub header_timeout: Duration,
    /// Longest time that a connection is kept between two requests.
    pub idle_timeout: Duration,
    /// Most bytes of a request's head; in HTTP/2 of its header list (RFC 9113, section 6.5.2).
    pub header_size: usize,
    /// Most fields of a request's head.
    pub header_fields: usize,
    /// Most bytes of a request's target.
    pub target_size: usize,
    /// Longest time that a body may take to come.
    pub body_timeout: Duration,
    /// Time that a body may take to begin before its rate counts.
    pub body_grace: Duration,
    /// Least bytes a second in which a body must come after that.
    pub body_rate: u32,
    /// Longest wait for a caller to take a part of its answer.
    pub write_timeout: Duration,
    /// Most requests at a time on a connection of HTTP/2.
    pub streams: u32,
    /// Bytes that a caller may send of one request of HTTP/2 before they are read.
    pub stream_window: u32,
    /// The same of all requests of a connection.
    pub connection_window: u32,
    /// Most requests of a connection of HTTP/2 that were reset before anybody looked at them; one more ends it (rapid reset, CVE-2023-44487).
    pub unseen_resets: usize,
    /// Most streams of a connection of HTTP/2 that the gateway reset for the caller's errors; one more ends it.
    pub error_resets: usize,
    /// How often a connection of HTTP/2 is asked whether its peer lives, and how long the peer may take to say so.
    pub ping: (Duration, Duration),
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 10_000,
            peer_connections: 2_500,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            // Longer than common clients keep an idle connection, so that they are the ones to close it.
            idle_timeout: Duration::from_mins(2),
            // Heads that have not come to their end are held outside of the memory for bodies: so much for each connection, and 8 KiB.
            header_size: 16 << 10,
            header_fields: 100,
            target_size: 8 << 10,
            body_timeout: Duration::from_secs(30),
            body_grace: Duration::from_secs(5),
            body_rate: 1 << 10,
            write_timeout: Duration::from_secs(30),
            streams: 256,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            unseen_resets: 20,
            error_resets: 128,
            ping: (Duration::from_secs(30), Duration::from_secs(20)),
        }
    }
}
