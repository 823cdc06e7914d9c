//! Options of the callers' port.

use std::path::PathBuf;

use clap::Args;
use harmonybatch_api::quantity::{Duration, Memory};
use harmonybatch_gateway::{
    Options,
    listener::{Bounds, TlsFiles},
};

/// What a caller may ask of the port: beyond it, connections are closed or requests refused, and counted in
/// harmonybatch_gateway_refusals_total.
#[derive(Debug, Args)]
#[group(id = "listener")]
#[command(next_help_heading = "Callers' port")]
pub(crate) struct Arguments {
    /// Certificate and those that lead to its authority, in PEM. With it the port speaks TLS. The file is looked at every 10 s
    #[arg(
        long,
        env = "HARMONYBATCH_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(
        long,
        env = "HARMONYBATCH_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// Authorities of callers, in PEM. With it every caller needs a certificate of one of them
    #[arg(
        long,
        env = "HARMONYBATCH_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_client_ca: Option<PathBuf>,
    /// Connections at a time
    #[arg(
        long,
        env = "HARMONYBATCH_MAX_CONNECTIONS",
        default_value = "10000",
        value_name = "NUMBER"
    )]
    max_connections: usize,
    /// Connections at a time of one IPv4 address or IPv6 network of 64 bits
    #[arg(
        long,
        env = "HARMONYBATCH_MAX_PEER_CONNECTIONS",
        default_value = "2500",
        value_name = "NUMBER"
    )]
    max_peer_connections: usize,
    /// Requests at a time on one connection of HTTP/2
    #[arg(
        long,
        env = "HARMONYBATCH_MAX_STREAMS",
        default_value = "256",
        value_name = "NUMBER"
    )]
    max_streams: u32,
    /// Time for a TLS handshake
    #[arg(
        long,
        env = "HARMONYBATCH_HANDSHAKE_TIMEOUT",
        default_value = "10s",
        value_name = "DURATION"
    )]
    handshake_timeout: Duration,
    /// Time for a request's whole head
    #[arg(
        long,
        env = "HARMONYBATCH_HEAD_TIMEOUT",
        default_value = "10s",
        value_name = "DURATION"
    )]
    head_timeout: Duration,
    /// Time for which a connection is kept between two requests
    #[arg(
        long,
        env = "HARMONYBATCH_IDLE_TIMEOUT",
        default_value = "120s",
        value_name = "DURATION"
    )]
    idle_timeout: Duration,
    /// Size of a request's head
    #[arg(
        long,
        env = "HARMONYBATCH_MAX_HEAD",
        default_value = "16Ki",
        value_name = "MEMORY"
    )]
    max_head: Memory,
    /// Fields of a request's head
    #[arg(
        long,
        env = "HARMONYBATCH_MAX_HEAD_FIELDS",
        default_value = "100",
        value_name = "NUMBER"
    )]
    max_head_fields: usize,
    /// Size of a request's target
    #[arg(
        long,
        env = "HARMONYBATCH_MAX_TARGET",
        default_value = "8Ki",
        value_name = "MEMORY"
    )]
    max_target: Memory,
    /// Size of a request's body
    #[arg(
        long,
        env = "HARMONYBATCH_MAX_BODY",
        default_value = "16Mi",
        value_name = "MEMORY"
    )]
    max_body: Memory,
    /// Time for a request's whole body
    #[arg(
        long,
        env = "HARMONYBATCH_BODY_TIMEOUT",
        default_value = "30s",
        value_name = "DURATION"
    )]
    body_timeout: Duration,
    /// Time after which a body must have come at its least rate
    #[arg(
        long,
        env = "HARMONYBATCH_BODY_GRACE",
        default_value = "5s",
        value_name = "DURATION"
    )]
    body_grace: Duration,
    /// Least size of a body that comes in a second
    #[arg(
        long,
        env = "HARMONYBATCH_MIN_BODY_RATE",
        default_value = "1Ki",
        value_name = "MEMORY"
    )]
    min_body_rate: Memory,
    /// Time for a caller to take a part of its answer
    #[arg(
        long,
        env = "HARMONYBATCH_WRITE_TIMEOUT",
        default_value = "30s",
        value_name = "DURATION"
    )]
    write_timeout: Duration,
}

impl Arguments {
    /// The gateway's options, with those of the port set.
    pub(crate) fn set(self, options: &mut Options) {
        let size = |memory: Memory| usize::try_from(memory.bytes()).unwrap_or(usize::MAX);
        options.tls = self
            .tls_cert
            .zip(self.tls_key)
            .map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_ca: self.tls_client_ca,
            });
        options.body_limit = size(self.max_body);
        options.bounds = Bounds {
            connections: self.max_connections,
            peer_connections: self.max_peer_connections,
            handshake_timeout: self.handshake_timeout.into(),
            header_timeout: self.head_timeout.into(),
            idle_timeout: self.idle_timeout.into(),
            header_size: size(self.max_head),
            header_fields: self.max_head_fields,
            target_size: size(self.max_target),
            body_timeout: self.body_timeout.into(),
            body_grace: self.body_grace.into(),
            body_rate: u32::try_from(self.min_body_rate.bytes()).unwrap_or(u32::MAX),
            write_timeout: self.write_timeout.into(),
            streams: self.max_streams,
            ..Bounds::default()
        };
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Port {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let arguments = ["gateway"].iter().chain(arguments);
        let matches = Port::command().try_get_matches_from(arguments)?;
        let mut options = Options::default();
        Port::from_arg_matches(&matches)?.arguments.set(&mut options);
        Ok(options)
    }

    #[test]
    fn what_the_help_says_is_what_holds() {
        let (set, default) = (parse(&[]).unwrap(), Options::default());
        assert_eq!((set.bounds, set.tls), (default.bounds, None));
        assert_eq!(set.body_limit, default.body_limit);
    }

    #[test]
    fn tls_needs_a_certificate_and_its_key() {
        let (cert, key, ca) = ("--tls-cert=c", "--tls-key=k", "--tls-client-ca=a");
        for incomplete in [&[cert] as &[&str], &[key], &[ca], &[cert, ca]] {
            assert!(parse(incomplete).is_err(), "{incomplete:?}");
        }
        let tls = parse(&[cert, key, ca]).unwrap().tls.unwrap();
        assert_eq!(tls.client_ca, Some("a".into()));
        assert_eq!(parse(&[cert, key]).unwrap().tls.unwrap().client_ca, None);
    }
}
