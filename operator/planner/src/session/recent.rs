//! A map that forgets what was not asked for in a long time.

use std::collections::HashMap;
use std::hash::Hash;

/// Two halves: when the newer one is full it becomes the older one, and what was in that is forgotten. What is asked for moves to the newer half.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
    /// The most entries of a half.
    most: usize,
}

impl<K, V> Recent<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            newer: HashMap::new(),
            older: HashMap::new(),
            most,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(known) = self.newer.get(key) {
            return Some(known.clone());
        }
        let known = self.older.remove(key)?;
        self.insert(*key, known.clone());
        Some(known)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.newer.len() >= self.most {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut recent = Recent::new(10);
        recent.insert(0, "asked for");
        for key in 1..1000 {
            recent.insert(key, "never asked for");
            assert_eq!(recent.get(&0), Some("asked for"));
        }
        assert_eq!(recent.get(&1), None);
        assert!(recent.newer.len() + recent.older.len() <= 20);
    }
}
