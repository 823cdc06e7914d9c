//! The way to a collector, on which is seen how many of the spans it takes it rejects: the exporter takes an answer with status 200 for a success.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

/// How many spans were rejected since it was asked last. Clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejected(Arc<AtomicU64>);

impl Rejected {
    pub(super) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A client that reads answers before the exporter does.
#[derive(Debug)]
pub(super) struct Heeding<C> {
    client: C,
    rejected: Rejected,
}

impl<C> Heeding<C> {
    pub(super) fn new(client: C, rejected: Rejected) -> Self {
        Self { client, rejected }
    }
}

impl<C: HttpClient> HttpClient for Heeding<C> {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let response = self.client.send_bytes(request).await?;
            if response.status().is_success() {
                self.rejected
                    .0
                    .fetch_add(rejected_by(response.body()), Ordering::Relaxed);
            }
            Ok(response)
        })
    }
}

/// What an answer says of spans that were not taken (OTLP, "Partial Success"); nothing where it is none.
fn rejected_by(answer: &Bytes) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer.clone()).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_many_spans_were_rejected() {
        // By the wire format of protobuf: field 1 of 6 bytes, in it field 1 = 300 and field 2 = "x".
        let partial = [0x0a, 0x06, 0x08, 0xac, 0x02, 0x12, 0x01, b'x'];
        assert_eq!(rejected_by(&Bytes::copy_from_slice(&partial)), 300);
        assert_eq!(rejected_by(&Bytes::new()), 0);
        // Less than none, and what is no message.
        let negative = [
            0x0a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ];
        assert_eq!(rejected_by(&Bytes::copy_from_slice(&negative)), 0);
        assert_eq!(rejected_by(&Bytes::from_static(b"<html>")), 0);
    }
}
