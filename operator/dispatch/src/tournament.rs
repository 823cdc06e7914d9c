//! A tournament tree: the smallest of a fixed set of keys, at one comparison a level for each change.

use crate::Nanos;

/// The key of a place that holds nothing. Real keys stay below it.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// One match: the smaller key of the two below it, and the place that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Winner {
    key: Nanos,
    place: u32,
}

/// Keys at places `0..capacity`, a power of two; on equal keys the lower place wins.
#[derive(Debug)]
pub(crate) struct Tournament {
    /// Heap order: node 1 is the final, node `capacity + place` the entry of a place.
    nodes: Vec<Winner>,
    capacity: usize,
}

impl Tournament {
    /// All places empty.
    pub(crate) fn new(places: usize) -> Self {
        let capacity = places.max(1).next_power_of_two();
        let mut tree = Self {
            nodes: Vec::new(),
            capacity: 0,
        };
        tree.resize(capacity);
        tree
    }

    /// Makes room for at least `places`, keeping what is there. Only this allocates.
    pub(crate) fn grow(&mut self, places: usize) {
        if places > self.capacity {
            self.resize(places.next_power_of_two());
        }
    }

    fn resize(&mut self, capacity: usize) {
        let keys: Vec<Nanos> = self
            .nodes
            .iter()
            .skip(self.capacity)
            .map(|winner| winner.key)
            .collect();
        self.capacity = capacity;
        self.nodes = vec![Winner { key: NEVER, place: 0 }; 2 * capacity];
        for (place, node) in (0_u32..).zip(&mut self.nodes[capacity..]) {
            node.place = place;
        }
        for (node, key) in self.nodes[capacity..].iter_mut().zip(keys) {
            node.key = key;
        }
        for node in (1..capacity).rev() {
            self.nodes[node] = self.play(node);
        }
    }

    fn play(&self, node: usize) -> Winner {
        let (left, right) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
        if right.key < left.key { right } else { left }
    }

    /// Sets the key of a place, `NEVER` to empty it.
    pub(crate) fn set(&mut self, place: u32, key: Nanos) {
        let mut node = self.capacity + place as usize;
        if self.nodes[node].key == key {
            return;
        }
        self.nodes[node].key = key;
        while node > 1 {
            node /= 2;
            let winner = self.play(node);
            if self.nodes[node] == winner {
                return;
            }
            self.nodes[node] = winner;
        }
    }

    /// Sets the key of a place to one that is not larger: most of the time a look or two, since the place does not win.
    pub(crate) fn lower(&mut self, place: u32, key: Nanos) {
        let mut node = self.capacity + place as usize;
        debug_assert!(key <= self.nodes[node].key);
        self.nodes[node].key = key;
        while node > 1 {
            node /= 2;
            let winner = &mut self.nodes[node];
            if (winner.key, winner.place) < (key, place) {
                return;
            }
            *winner = Winner { key, place };
        }
    }

    /// The smallest key and its place, unless every place is empty.
    pub(crate) fn min(&self) -> Option<(Nanos, u32)> {
        let winner = self.nodes[1];
        (winner.key != NEVER).then_some((winner.key, winner.place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_key_wins_and_ties_go_to_the_lower_place() {
        let mut tree = Tournament::new(3);
        assert_eq!(tree.min(), None);
        tree.set(2, 5);
        tree.set(1, 5);
        tree.set(0, 9);
        assert_eq!(tree.min(), Some((5, 1)));
        tree.set(1, NEVER);
        assert_eq!(tree.min(), Some((5, 2)));
        tree.set(2, 10);
        assert_eq!(tree.min(), Some((9, 0)));
    }

    #[test]
    fn a_lowered_key_wins_as_a_set_one_does() {
        let (mut lowered, mut set) = (Tournament::new(6), Tournament::new(6));
        for (place, key) in [
            (4, 90),
            (2, 70),
            (5, 70),
            (4, 70),
            (0, 100),
            (5, 69),
            (2, 69),
            (0, 69),
            (3, 80),
        ] {
            lowered.lower(place, key);
            set.set(place, key);
            assert_eq!(lowered.nodes, set.nodes, "{place} {key}");
        }
    }

    #[test]
    fn growing_keeps_the_keys() {
        let mut tree = Tournament::new(1);
        tree.set(0, 7);
        tree.grow(5);
        assert_eq!(tree.min(), Some((7, 0)));
        tree.set(4, 3);
        assert_eq!(tree.min(), Some((3, 4)));
    }
}
