//! Whole bodies in parts: what several tensors make up is sent as it lies in memory.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body that is there as a whole, in order, with trailers where there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    parts: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Chunks {
    /// Appends a part.
    pub fn push(&mut self, part: impl Into<Bytes>) {
        let part = part.into();
        if !part.is_empty() {
            self.parts.push_back(part);
        }
    }

    /// Appends all parts of another body.
    pub fn append(&mut self, other: Self) {
        self.parts.extend(other.parts);
    }

    /// With trailers behind it.
    #[must_use]
    pub fn with_trailers(self, trailers: HeaderMap) -> Self {
        Self {
            trailers: Some(trailers),
            ..self
        }
    }

    /// Bytes of all parts.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// All parts as one piece; copies where there are several.
    pub fn into_bytes(mut self) -> Bytes {
        if self.parts.len() <= 1 {
            return self.parts.pop_front().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for part in self.parts {
            whole.extend_from_slice(&part);
        }
        whole.freeze()
    }
}

impl<T: Into<Bytes>> From<T> for Chunks {
    fn from(part: T) -> Self {
        let mut chunks = Self::default();
        chunks.push(part);
        chunks
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.parts.pop_front().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn parts_come_in_order_and_trailers_last() {
        let mut chunks = Chunks::from("ab");
        chunks.push("");
        chunks.append(Chunks::from("cd"));
        assert_eq!((chunks.len(), chunks.size_hint().exact()), (4, Some(4)));
        assert_eq!(chunks.clone().into_bytes(), "abcd");
        let trailers: HeaderMap = [(http::header::ETAG, "7".parse().unwrap())].into_iter().collect();
        let collected = chunks.with_trailers(trailers.clone()).collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "abcd");
        assert!(Chunks::from("").is_empty() && Chunks::default().is_end_stream());
    }
}
