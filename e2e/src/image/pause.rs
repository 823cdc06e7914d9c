//! What every pod's sandbox runs: it holds the namespaces open and waits to be killed.
//!
//! Built by `rustc` alone when images are made; no part of the harness itself.

fn main() {
    loop {
        std::thread::park();
    }
}
