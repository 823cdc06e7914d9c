//! Waiting for a condition of another process, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The pause between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Looks again and again until `look` returns something.
///
/// # Errors
/// The error of `look`, which ends the wait at once, or after `limit` one that names `what` was waited for.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        pause();
    }
}

/// The same without a thread that waits; nothing where the limit came first.
///
/// # Errors
/// The error of `look`, which ends the wait at once.
pub async fn found<T>(
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if tokio::time::Instant::now() >= end {
            return Ok(None);
        }
        // What is waited for is another process or the cluster, which may send no event: it is looked at, for `limit` at most.
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks; the look decides, and the wait has a limit"
)]
fn pause() {
    // What is waited for is another process, which sends no event: it is looked at, for the caller's limit at most.
    std::thread::sleep(BETWEEN_LOOKS);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn waits_until_something_is_there_and_says_what_never_came() {
        let mut looks = 0;
        let found = super::until("three", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.expect("found"), 3);
        let never = super::until::<()>("the moon", Duration::ZERO, || Ok(None)).expect_err("never");
        assert!(never.to_string().contains("the moon"), "{never}");
    }
}
