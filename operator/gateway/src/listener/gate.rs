//! What stands between a caller's bytes and hyper on a connection of HTTP/1.1.
//!
//! It holds a head back until it is whole and strictly read, and follows the content after it, so that it knows where the next head begins. In the place of
//! a head that is refused hyper is given a harmless one, and the service, which knows its number, answers it with the refusal: so an answer
//! never overtakes those of the requests before it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{
    bounds::Bounds,
    chunks::Chunks,
    deadline::Deadline,
    exchange::Exchange,
    head::{self, Framing},
    refusal::{Refusal, Refusals},
};

/// What hyper reads where a head is refused.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Read at a time where the bytes must be looked at.
const PART: usize = 8 << 10;
/// What a caller still sends after its refusal is read for so long and so much: closing at once would reset the connection, and the caller might
/// lose the answer (RFC 9112, section 9.6).
const LINGER: (Duration, usize) = (Duration::from_secs(1), 1 << 20);

/// A caller's stream, of which only what is well framed can be read.
#[derive(Debug)]
pub(super) struct Gate<S> {
    stream: S,
    bounds: Bounds,
    refusals: Refusals,
    exchange: Arc<Exchange>,
    /// What came, from the first byte that was not read on.
    buffer: BytesMut,
    /// How much of it may be read on.
    released: usize,
    state: State,
    wait: Option<Wait>,
    deadline: Deadline,
    /// Whether a part of an answer may not have left yet.
    unflushed: bool,
    /// Whether a head waits for that, or for the end of an answer.
    withheld: bool,
    lingers: Option<(Pin<Box<Sleep>>, usize)>,
}

#[derive(Debug)]
enum State {
    /// In a head, of which so much holds no end.
    Head { scanned: usize, blank: bool },
    /// In content with so many bytes to come.
    Length(u64),
    /// In chunked content.
    Chunked(Chunks),
    /// After the last request.
    Refused,
    /// In content that is broken.
    Broken(Refusal),
}

const NEXT: State = State::Head {
    scanned: 0,
    blank: false,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    First,
    Next,
    Rest,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    /// Of a connection that was opened at `opened`.
    pub(super) fn new(
        stream: S,
        bounds: Bounds,
        refusals: Refusals,
        exchange: Arc<Exchange>,
        opened: Instant,
    ) -> Self {
        let mut deadline = Deadline::default();
        deadline.set(opened + bounds.header_timeout);
        Self {
            stream,
            bounds,
            refusals,
            exchange,
            buffer: BytesMut::new(),
            released: 0,
            state: NEXT,
            wait: Some(Wait::First),
            deadline,
            unflushed: false,
            withheld: false,
            lingers: None,
        }
    }

    /// Whether all that was asked for is answered. hyper would begin with the next request before, and where the caller takes its answers slowly, forget it.
    fn is_free(&self) -> bool {
        self.exchange.is_idle() && !self.unflushed
    }

    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        written
    }

    /// Judges what is in the buffer. False: more must come first, or an answer must go.
    fn judge(&mut self) -> bool {
        if matches!(self.state, State::Head { .. }) && !self.is_free() {
            self.withheld = true;
            return false;
        }
        match &mut self.state {
            State::Refused | State::Broken(_) => false,
            State::Length(left) => {
                let length = self.buffer.len();
                self.released = usize::try_from(*left).map_or(length, |left| left.min(length));
                *left -= self.released as u64;
                if *left == 0 {
                    self.state = NEXT;
                }
                self.released > 0 || matches!(self.state, State::Head { .. })
            }
            State::Chunked(chunks) => {
                match chunks.read(&self.buffer) {
                    Ok(length) => self.released = length,
                    Err(refusal) => {
                        self.refusals.count(refusal);
                        self.state = State::Broken(refusal);
                        return true;
                    }
                }
                if chunks.ended() {
                    self.state = NEXT;
                }
                self.released > 0
            }
            State::Head { scanned, blank } => {
                match scan(&self.buffer, scanned, blank, &self.bounds) {
                    Scan::Blank => self.buffer.advance(2),
                    Scan::More => return false,
                    Scan::Refused(refusal) => self.refuse(refusal),
                    Scan::End(end) => match head::read(&self.buffer[..end], &self.bounds) {
                        Ok(framing) => {
                            self.exchange.begin();
                            self.forget_wait();
                            self.released = end;
                            self.state = match framing {
                                Framing::Length(0) => NEXT,
                                Framing::Length(length) => State::Length(length),
                                Framing::Chunked => State::Chunked(Chunks::new()),
                            };
                        }
                        Err(refusal) => self.refuse(refusal),
                    },
                }
                true
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusals.count(refusal);
        let number = self.exchange.begin();
        self.exchange.refuse(number, refusal);
        self.buffer.clear();
        self.buffer.extend_from_slice(SUBSTITUTE);
        self.released = SUBSTITUTE.len();
        self.state = State::Refused;
    }

    /// Whether a wait for the caller took too long. It counts only while the caller has no request whose answer it waits for.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Wait> {
        if !matches!(self.state, State::Head { .. }) || !self.is_free() {
            self.forget_wait();
            return Poll::Pending;
        }
        let wait = if self.buffer.is_empty() {
            Wait::Next
        } else {
            Wait::Rest
        };
        // The time of the first head began with the connection.
        if self.wait != Some(Wait::First) && self.wait != Some(wait) {
            let longest = match wait {
                Wait::Rest => self.bounds.header_timeout,
                _ => self.bounds.idle_timeout,
            };
            self.wait = Some(wait);
            self.deadline.set(Instant::now() + longest);
        }
        ready!(self.deadline.poll(context));
        Poll::Ready(match self.wait {
            Some(wait) if self.buffer.is_empty() => wait,
            _ => Wait::Rest,
        })
    }

    fn forget_wait(&mut self) {
        self.wait = None;
        self.deadline.clear();
    }

    /// Reads more into the buffer. False: there is no more.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut part = [0; PART];
        let mut part = ReadBuf::new(&mut part);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        self.buffer.extend_from_slice(part.filled());
        Poll::Ready(Ok(!part.filled().is_empty()))
    }

    /// Reads content of known length straight on.
    fn poll_through(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let room = out.remaining();
        match usize::try_from(left).ok().filter(|left| *left < room) {
            None => ready!(Pin::new(&mut self.stream).poll_read(context, out))?,
            Some(left) => {
                let mut part = ReadBuf::new(out.initialize_unfilled_to(left));
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
                let read = part.filled().len();
                out.advance(read);
            }
        }
        let left = left - (out.filled().len() - before) as u64;
        self.state = if left == 0 { NEXT } else { State::Length(left) };
        Poll::Ready(Ok(()))
    }
}

enum Scan {
    /// An empty line before the request line, which is left out (RFC 9112, section 2.2).
    Blank,
    More,
    End(usize),
    Refused(Refusal),
}

/// Looks for the end of a head.
fn scan(buffer: &[u8], scanned: &mut usize, blank: &mut bool, bounds: &Bounds) -> Scan {
    if !*blank && buffer.starts_with(b"\r\n") {
        *blank = true;
        *scanned = 0;
        return Scan::Blank;
    }
    while let Some(line) = buffer[*scanned..].iter().position(|byte| *byte == b'\n') {
        let end = *scanned + line;
        let begin = buffer[..end]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        if end == begin || buffer[end - 1] != b'\r' {
            return Scan::Refused(Refusal::LineEnd);
        }
        *scanned = end + 1;
        if end == begin + 1 {
            return if *scanned > bounds.header_size {
                Scan::Refused(Refusal::HeadSize)
            } else {
                Scan::End(*scanned)
            };
        }
    }
    // No method, version and spaces fill half a kilobyte.
    if *scanned == 0 && buffer.len() > bounds.target_size + 512 {
        return Scan::Refused(Refusal::TargetSize);
    }
    if buffer.len() > bounds.header_size {
        return Scan::Refused(Refusal::HeadSize);
    }
    Scan::More
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            if gate.released > 0 {
                gate.exchange.set_coming(false);
                let length = gate.released.min(out.remaining());
                out.put_slice(&gate.buffer[..length]);
                gate.buffer.advance(length);
                gate.released -= length;
                return Poll::Ready(Ok(()));
            }
            match &gate.state {
                // hyper closes after the answer.
                State::Refused => return Poll::Pending,
                State::Broken(refusal) => return Poll::Ready(Err(broken(*refusal))),
                State::Length(left) if gate.buffer.is_empty() => {
                    let left = *left;
                    return gate.poll_through(context, out, left);
                }
                _ => {}
            }
            if !gate.buffer.is_empty() && gate.judge() {
                continue;
            }
            let in_head = matches!(gate.state, State::Head { .. });
            gate.exchange.set_coming(in_head && !gate.buffer.is_empty());
            if let Poll::Ready(wait) = gate.poll_timer(context) {
                match wait {
                    Wait::Rest => {
                        gate.refuse(Refusal::HeadSlow);
                        continue;
                    }
                    Wait::First => gate.refusals.count(Refusal::Silent),
                    Wait::Next => {}
                }
                return Poll::Ready(Ok(()));
            }
            if gate.withheld && gate.buffer.len() >= gate.bounds.header_size {
                return Poll::Pending;
            }
            if !ready!(gate.poll_fill(context))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// What hyper is told, and tells the reader of the body.
fn broken(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Broken(refusal))
}

/// Why content cannot be read on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub(super) struct Broken(pub(super) Refusal);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.unflushed &= flushed.is_pending();
        if self.withheld && self.is_free() {
            self.withheld = false;
            context.waker().wake_by_ref();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if gate.lingers.is_none() {
            ready!(Pin::new(&mut gate.stream).poll_shutdown(context))?;
            if gate.buffer.is_empty() && matches!(gate.state, State::Head { .. }) {
                return Poll::Ready(Ok(()));
            }
        }
        let (timer, left) = gate
            .lingers
            .get_or_insert_with(|| (Box::pin(sleep(LINGER.0)), LINGER.1));
        let mut part = [0; PART];
        while *left > 0 && timer.as_mut().poll(context).is_pending() {
            let mut part = ReadBuf::new(&mut part);
            let read = ready!(Pin::new(&mut gate.stream).poll_read(context, &mut part));
            if read.is_err() || part.filled().is_empty() {
                break;
            }
            *left = left.saturating_sub(part.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}
