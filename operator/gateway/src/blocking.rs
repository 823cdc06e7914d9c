//! Work that takes long and never waits, kept from those that do.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Tensors are read, checked and converted at about 20 to 50 ns a number, so that so many bytes take about a millisecond, which is how late timers are.
const SHORT: usize = 64 << 10;

/// Does the work, which goes through so many bytes, where the other tasks of this thread do not wait for it.
pub(crate) fn through<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_threads =
        Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > SHORT && has_threads {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn long_work_lets_others_go_on() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let worker = tokio::spawn(async move {
            let other = tokio::spawn(async move { sender.send(7) });
            let heard = through(SHORT + 1, || receiver.recv());
            (heard, other.await.is_ok())
        });
        assert_eq!(worker.await.ok(), Some((Ok(7), true)));
    }

    #[tokio::test]
    async fn there_may_be_one_thread_only() {
        assert_eq!(through(SHORT + 1, || 7), 7);
    }
}
