//! Bodies of requests that must keep coming, and bodies of answers that must keep going.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    bounds::Bounds,
    exchange::InFlight,
    gate::Broken,
    refusal::{Refusal, Refusals},
    streams::Progress,
};

/// An answer goes on in parts of this size in HTTP/2, so that little of it waits past the place where a stalled caller is noticed.
const PART: usize = 16 << 10;

/// The body of a request. Reading it fails where it comes too slowly or is not framed as its head says.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    timeout: Duration,
    grace: Duration,
    rate: u32,
    refusals: Refusals,
    /// When it was asked for first.
    begun: Option<Instant>,
    received: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a body was not read to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    status: StatusCode,
    message: Arc<str>,
}

impl BodyError {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn refused(refusal: Refusal) -> Self {
        Self {
            status: refusal.status().unwrap_or(StatusCode::BAD_REQUEST),
            message: refusal.message().into(),
        }
    }
}

impl From<Infallible> for BodyError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> Self {
        let mut source: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            // An error of I/O hands out what it holds, not as its source but as itself.
            let io = cause.downcast_ref::<std::io::Error>();
            let held = io.and_then(std::io::Error::get_ref);
            if let Some(Broken(refusal)) = held.and_then(|held| held.downcast_ref()) {
                return Self::refused(*refusal);
            }
            source = cause.source();
        }
        Self {
            status: StatusCode::BAD_REQUEST,
            message: format!("body: {error}").into(),
        }
    }
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, bounds: &Bounds, refusals: Refusals) -> Self {
        Self {
            incoming,
            timeout: bounds.body_timeout,
            grace: bounds.body_grace,
            rate: bounds.body_rate.max(1),
            refusals,
            begun: None,
            received: 0,
            timer: None,
        }
    }

    /// When the next byte must be there: what came at the least rate would have taken that long, and all of it has its time.
    fn deadline(&self, begun: Instant) -> Instant {
        let millis = self.received.saturating_mul(1000) / u64::from(self.rate);
        begun + self.timeout.min(self.grace + Duration::from_millis(millis))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut body.incoming).poll_frame(context) {
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                body.received += data.len() as u64;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        let Some(begun) = body.begun else {
            body.begun = Some(Instant::now());
            // hyper hands on what it has once it was asked for it: most bodies are whole when this is asked again, and need no timer.
            context.waker().wake_by_ref();
            return Poll::Pending;
        };
        let deadline = body.deadline(begun);
        let timer = body.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        body.refusals.count(Refusal::BodySlow);
        Poll::Ready(Some(Err(BodyError::refused(Refusal::BodySlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body of an answer, which says when it went on and when it ended.
#[derive(Debug)]
pub(super) struct AnswerBody<B> {
    body: B,
    /// What the body gave and HTTP/2 did not take yet.
    rest: Bytes,
    progress: Option<Arc<Progress>>,
    _in_flight: InFlight,
}

impl<B> AnswerBody<B> {
    pub(super) fn new(body: B, in_flight: InFlight) -> Self {
        let progress = Progress::of_this_stream();
        if let Some(progress) = &progress {
            progress.made();
        }
        Self {
            body,
            rest: Bytes::new(),
            progress,
            _in_flight: in_flight,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let answer = self.get_mut();
        let Some(progress) = &answer.progress else {
            return Pin::new(&mut answer.body).poll_frame(context);
        };
        progress.made();
        if answer.rest.is_empty() {
            let frame = match Pin::new(&mut answer.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => return other,
            };
            match frame.into_data() {
                Ok(data) => answer.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let part = answer.rest.split_to(answer.rest.len().min(PART));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
