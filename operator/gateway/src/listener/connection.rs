//! One connection, from its first byte to its last.

use std::{
    convert::Infallible, error::Error, future::poll_fn, io, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version as HttpVersion};
use http_body_util::Either;
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::body::Chunks;

use super::{
    body::{AnswerBody, RequestBody},
    bounds::Bounds,
    deadline::Endless,
    exchange::{Exchange, InFlight},
    gate::Gate,
    patient::Patient,
    refusal::{Refusal, Refusals, closing},
    screen, stopped,
    streams::Streams,
    version::{self, Version},
};

/// How long a connection of HTTP/2 may still be open after its peer was told that it ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves one stream to its end.
///
/// # Errors
/// Where the stream fails, or hyper cannot read on.
pub async fn serve_stream<S, A, F, B>(
    stream: S,
    bounds: Bounds,
    refusals: Refusals,
    mut stop: watch::Receiver<bool>,
    answer: Arc<A>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<RequestBody>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let opened = Instant::now();
    let patient = Patient::new(stream, bounds.write_timeout, refusals.clone());
    let (version, stream) = tokio::select! {
        biased;
        detected = timeout(bounds.header_timeout, version::detect(patient)) => {
            let Ok(detected) = detected else {
                refusals.count(Refusal::Silent);
                return Ok(());
            };
            detected?
        }
        () = stopped(&mut stop) => return Ok(()),
    };
    let exchange = Exchange::new();
    let desk = Arc::new(Desk {
        bounds,
        refusals: refusals.clone(),
        exchange: exchange.clone(),
        answer,
    });
    match version {
        Version::Http1 => {
            let numbers = std::sync::atomic::AtomicU64::new(0);
            let service = service_fn(move |request| {
                let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let (desk, in_flight) = (desk.clone(), desk.exchange.in_flight());
                async move { Ok::<_, Infallible>(desk.answer(request, Some(number), in_flight).await) }
            });
            let coming = exchange.clone();
            let gate = Gate::new(stream, bounds, refusals, exchange, opened);
            let connection = http1(&bounds).serve_connection(TokioIo::new(gate), service);
            // On the heap, so that connections that say nothing are small.
            Box::pin(drive(connection, stop, &coming, std::future::pending())).await
        }
        Version::Http2 => {
            let service = service_fn(move |request| {
                desk.exchange.begin();
                let (desk, in_flight) = (desk.clone(), desk.exchange.in_flight());
                async move { Ok::<_, Infallible>(desk.answer(request, None, in_flight).await) }
            });
            let streams = Streams {
                patience: bounds.write_timeout,
                refusals: refusals.clone(),
            };
            let connection = http2(&bounds, streams).serve_connection(TokioIo::new(stream), service);
            let ended = Box::pin(drive(connection, stop, &exchange, idle(&exchange, bounds))).await;
            if let Err(error) = &ended
                && is_breach(error)
            {
                refusals.count(Refusal::Http2);
            }
            ended
        }
    }
}

fn http1(bounds: &Bounds) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The gate holds the time and the bounds of heads. Without a time of its own, hyper would not read again after an answer until more came, and
        // the gate could not see that nothing does.
        .timer(Endless)
        .header_read_timeout(bounds.header_timeout)
        .max_headers(bounds.header_fields + 1)
        .max_buf_size(bounds.header_size.max(64 << 10));
    builder
}

fn http2(bounds: &Bounds, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(u32::try_from(bounds.header_size).unwrap_or(u32::MAX))
        .header_table_size(4 << 10)
        .max_frame_size(16 << 10)
        .max_send_buf_size(64 << 10)
        .initial_stream_window_size(bounds.stream_window)
        .initial_connection_window_size(bounds.connection_window)
        .max_pending_accept_reset_streams(bounds.unseen_resets)
        .max_local_error_reset_streams(bounds.error_resets)
        .keep_alive_interval(bounds.ping.0)
        .keep_alive_timeout(bounds.ping.1);
    builder
}

/// Serves a connection to its end, which comes as soon as its requests are answered where `stop` becomes true or it was `idle` for too long.
async fn drive<C>(
    connection: C,
    mut stop: watch::Receiver<bool>,
    exchange: &Exchange,
    idle: impl Future<Output = ()>,
) -> io::Result<()>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    let was_idle = tokio::select! {
        biased;
        result = connection.as_mut() => return result.map_err(io::Error::other),
        () = stopped(&mut stop) => false,
        () = idle => true,
    };
    // hyper knows nothing of a head that the gate still holds, and would close.
    let whole = poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if exchange.is_coming() => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    });
    if let Some(ended) = whole.await {
        return ended.map_err(io::Error::other);
    }
    connection.as_mut().graceful_shutdown();
    if !was_idle {
        return connection.await.map_err(io::Error::other);
    }
    loop {
        match timeout(FAREWELL, connection.as_mut()).await {
            Ok(ended) => return ended.map_err(io::Error::other),
            // A peer that never takes leave would keep it open.
            Err(_) if exchange.is_idle() => return Ok(()),
            Err(_) => {}
        }
    }
}

/// Until no request was in flight for too long.
async fn idle(exchange: &Exchange, bounds: Bounds) {
    loop {
        let longest = if exchange.has_begun() {
            bounds.idle_timeout
        } else {
            bounds.header_timeout
        };
        let since = exchange.idle_since();
        sleep_until(since.max(Instant::now() - longest) + longest).await;
        if exchange.is_idle() && exchange.idle_since().elapsed() >= longest {
            return;
        }
        if !exchange.is_idle() {
            tokio::time::sleep(longest).await;
        }
    }
}

/// Whether the gateway ended a connection of HTTP/2 for what its peer did.
fn is_breach(error: &io::Error) -> bool {
    let mut source: Option<&(dyn Error + 'static)> =
        error.get_ref().map(|error| error as &(dyn Error + 'static));
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            return error.is_library();
        }
        source = cause.source();
    }
    false
}

/// Where requests of one connection are judged and answered.
struct Desk<A> {
    bounds: Bounds,
    refusals: Refusals,
    exchange: Arc<Exchange>,
    answer: Arc<A>,
}

impl<A> Desk<A> {
    /// `number` is the request's place in a connection of HTTP/1.1.
    async fn answer<F, B>(
        &self,
        request: Request<Incoming>,
        number: Option<u64>,
        in_flight: InFlight,
    ) -> Response<AnswerBody<Either<B, Chunks>>>
    where
        A: Fn(Request<RequestBody>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin,
    {
        let version = request.version();
        let refused = number.and_then(|number| self.exchange.refusal_of(number));
        let refusal = refused.or_else(|| {
            let refusal = screen::check(&request, &self.bounds).err()?;
            self.refusals.count(refusal);
            Some(refusal)
        });
        let response = if let Some(refusal) = refusal {
            let response = refusal.response();
            self.refusals.tell(refusal, version, &response);
            let response = response.map(Either::Right);
            if version < HttpVersion::HTTP_2 {
                closing(response)
            } else {
                response
            }
        } else {
            let request = request.map(|body| RequestBody::new(body, &self.bounds, self.refusals.clone()));
            let response = (self.answer)(request).await.map(Either::Left);
            if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
                self.refusals.count(Refusal::BodySize);
            }
            response
        };
        response.map(|body| AnswerBody::new(body, in_flight))
    }
}
