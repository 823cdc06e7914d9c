//! What this process logs, the access log in it.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use serde_json::Value;

use super::soon;

/// What this process logs.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The log, from now on of everything that is said at the level debug.
    pub fn start() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(move || writer.clone())
                .init();
            log
        });
        log.clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines that are so.
    pub fn lines(&self, are: impl Fn(&Value) -> bool) -> Vec<Value> {
        let text = self.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(are).collect()
    }

    /// Waits until so many lines of the access log are of an application.
    pub async fn until_lines(&self, app: &str, count: usize) -> Vec<Value> {
        self.until(count, |line| line["target"] == "access" && line["app"] == app)
            .await
    }

    /// Waits until there are lines that are so.
    pub async fn until_some(&self, are: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.until(1, are).await
    }

    async fn until(&self, count: usize, are: impl Fn(&Value) -> bool) -> Vec<Value> {
        soon(async {
            while self.lines(&are).len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.lines(are)
    }
}
