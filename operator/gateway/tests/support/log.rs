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

    /// The lines of the access log of a namespace's application.
    pub fn of_app(&self, app: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["target"] == "access" && line["app"] == app)
            .collect()
    }

    /// Waits until an application has so many lines.
    pub async fn until_lines(&self, app: &str, count: usize) -> Vec<Value> {
        soon(async {
            while self.of_app(app).len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.of_app(app)
    }
}
