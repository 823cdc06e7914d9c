//! How many connections each peer has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections by peer; what has none is not held.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers(Arc<Mutex<HashMap<Network, usize>>>);

/// One connection of a peer, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Peers,
    network: Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u128),
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6(address.to_bits() >> 64),
        }
    }
}

impl Peers {
    /// A place, where the peer has less than `limit`.
    pub(super) fn enter(&self, address: IpAddr, limit: usize) -> Option<Place> {
        let network = Network::of(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_default();
        if *count >= limit {
            if *count == 0 {
                counts.remove(&network);
            }
            return None;
        }
        *count += 1;
        Some(Place {
            peers: self.clone(),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_no_other_peers() {
        let peers = Peers::default();
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let enter = |text| peers.enter(address(text)?, 2);
        let places = [enter("10.0.0.1"), enter("::ffff:10.0.0.1"), enter("10.0.0.1")];
        assert_eq!(places.each_ref().map(Option::is_some), [true, true, false]);
        let others = [
            enter("fd00::1"),
            enter("fd00::2"),
            enter("fd00::3"),
            enter("fd00:0:0:1::1"),
        ];
        assert_eq!(others.each_ref().map(Option::is_some), [true, true, false, true]);
        drop(places);
        assert!(enter("10.0.0.1").is_some());
        drop(others);
        assert!(peers.0.lock().is_ok_and(|counts| counts.is_empty()));
    }
}
