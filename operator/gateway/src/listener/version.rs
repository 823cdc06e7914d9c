//! Which HTTP a connection speaks: version 2 where it begins with that version's preface (RFC 9113, section 3.4), else version 1.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Reads until the version is known. What was read is read again from the stream that comes back.
pub(super) async fn detect<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Version, Rewound<S>)> {
    let mut begin = [0; PREFACE.len()];
    let mut length = 0;
    let version = loop {
        if begin[..length] != PREFACE[..length] {
            break Version::Http1;
        }
        if length == PREFACE.len() {
            break Version::Http2;
        }
        match stream.read(&mut begin[length..]).await? {
            0 => break Version::Http1,
            more => length += more,
        }
    };
    Ok((
        version,
        Rewound {
            begin,
            unread: 0..length,
            stream,
        },
    ))
}

/// A stream whose first bytes are read once more.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    begin: [u8; PREFACE.len()],
    unread: std::ops::Range<usize>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.unread.len().min(buffer.remaining());
        let start = self.unread.start;
        buffer.put_slice(&self.begin[start..start + length]);
        self.unread.start += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
