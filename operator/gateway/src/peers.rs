//! Several gateways, none of which splits a batch: every group is one gateway's, and the others hand its requests on to it.
//!
//! Who owns a group follows from the list of ready gateways alone, by rendezvous hashing (Thaler and Ravishankar, IEEE/ACM Transactions on Networking
//! 6(1), 1998): of all, the one whose hash with the group's name is highest. A gateway that comes or goes moves only the groups that it has or had. A
//! request is handed on at most once, over HTTP/2 to the other's second port: whoever gets it there serves it. While two gateways see different lists,
//! both may serve a group: batches are smaller for a moment, and no answer is wrong.
//!
//! A gateway that cannot be reached is left out for some seconds, until the list is without it: its groups are the next one's at once.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use harmonybatch_dispatch::Nanos;
use http::{HeaderName, HeaderValue, Request, Response, Uri, Version, header, request::Parts};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch};

use crate::{
    body::Chunks,
    config::Key,
    timer::{Timer, nanos},
};

/// Says that a request was handed on, and by whom; in an answer, that it was not taken.
pub const FORWARDED_HEADER: HeaderName = HeaderName::from_static("harmonybatch-forwarded");

/// All gateways, as they change.
pub type PeerSource = watch::Receiver<Arc<Members>>;

/// The gateways of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The second ports of those that are ready.
    ready: Vec<SocketAddr>,
    /// The addresses of all, also of those that come or go.
    all: Vec<IpAddr>,
}

impl Members {
    /// Of the second ports of those that are ready, and the addresses of all.
    pub fn new(ready: impl Iterator<Item = SocketAddr>, all: impl Iterator<Item = IpAddr>) -> Self {
        let (mut ready, mut all): (Vec<_>, Vec<_>) = (ready.collect(), all.collect());
        ready.sort_unstable();
        ready.dedup();
        all.sort_unstable();
        all.dedup();
        Self { ready, all }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a gateway is left out that could not be reached.
const LEFT_OUT: Duration = Duration::from_secs(5);
/// A peer that says nothing for so long, and then nothing to a ping, is gone.
const PING_AFTER: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that may be on the way in one stream, and in all of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Headers that speak of one connection (RFC 9110, section 7.6.1), or are written anew.
const OF_A_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::HOST,
];

/// Why a request was not answered by the gateway that owns its group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It has seen nothing of the request.
    #[error("the gateway {0} cannot be reached: {1}")]
    Unreached(SocketAddr, String),
    /// It may have begun with it.
    #[error("the gateway {0} broke off: {1}")]
    Broken(SocketAddr, String),
}

/// The other gateways, as one of them sees them.
#[derive(Debug)]
pub struct Peers {
    /// The second port of this one, as the list has it.
    own: Option<SocketAddr>,
    members: PeerSource,
    timer: Timer,
    links: Mutex<HashMap<SocketAddr, SendRequest<Chunks>>>,
    left_out: Mutex<HashMap<SocketAddr, Nanos>>,
}

impl Peers {
    /// The gateway at `own` among all of them.
    pub fn new(own: SocketAddr, members: PeerSource, timer: Timer) -> Self {
        Self {
            own: Some(own),
            members,
            timer,
            links: Mutex::default(),
            left_out: Mutex::default(),
        }
    }

    /// Whether an address is that of a gateway, and may hand requests on.
    pub fn knows(&self, caller: IpAddr) -> bool {
        self.members.borrow().all.binary_search(&caller).is_ok()
    }

    /// A gateway that owns everything.
    pub fn none(timer: Timer) -> Self {
        let (_, members) = watch::channel(Arc::default());
        Self {
            own: None,
            members,
            timer,
            links: Mutex::default(),
            left_out: Mutex::default(),
        }
    }

    /// Whether this one is alone for good.
    pub fn are_none(&self) -> bool {
        self.own.is_none()
    }

    /// The other gateway that owns a group; `None` where this one does.
    pub fn owner(&self, group: &Key) -> Option<SocketAddr> {
        let own = self.own?;
        let members = self.members.borrow().clone();
        let now = self.timer.now();
        let left_out = lock(&self.left_out);
        let reachable = members
            .ready
            .iter()
            .copied()
            .filter(|peer| *peer == own || left_out.get(peer).is_none_or(|until| *until <= now));
        rendezvous(reachable, group).filter(|owner| *owner != own)
    }

    /// Hands a request on; its answer comes as a whole.
    ///
    /// # Errors
    /// Where there is no answer: the gateway is then left out for a while.
    pub async fn forward(
        &self,
        to: SocketAddr,
        head: &Parts,
        body: Chunks,
    ) -> Result<Response<hyper::body::Incoming>, ForwardError> {
        let sent = self.send(to, head, body).await;
        if sent.is_err() {
            self.leave_out(to);
        }
        sent
    }

    /// Takes a gateway for gone, for now.
    pub fn leave_out(&self, peer: SocketAddr) {
        lock(&self.links).remove(&peer);
        let until = self.timer.now().saturating_add(nanos(LEFT_OUT));
        let mut left_out = lock(&self.left_out);
        let now = self.timer.now();
        left_out.retain(|_, until| *until > now);
        left_out.insert(peer, until);
    }

    async fn send(
        &self,
        to: SocketAddr,
        head: &Parts,
        body: Chunks,
    ) -> Result<Response<hyper::body::Incoming>, ForwardError> {
        let unreached = |error: &dyn std::error::Error| ForwardError::Unreached(to, error.to_string());
        let mut request = handed_on(head, self.own, body).map_err(|error| unreached(&error))?;
        // A kept connection may have been closed just now: then nothing was seen, and a fresh one is tried.
        for is_last in [false, true] {
            let mut link = self.link(to).await?;
            if link.ready().await.is_err() {
                lock(&self.links).remove(&to);
                continue;
            }
            match link.try_send_request(request).await {
                // It does not take this one for a gateway, as its list is older, or addresses are rewritten between the two.
                Ok(response) if response.headers().contains_key(FORWARDED_HEADER) => {
                    let reason = "it takes nothing from this gateway";
                    return Err(ForwardError::Unreached(to, reason.to_owned()));
                }
                Ok(response) => return Ok(response),
                Err(mut error) => {
                    lock(&self.links).remove(&to);
                    let reason = error.error().to_string();
                    match error.take_message() {
                        Some(unsent) if !is_last => request = unsent,
                        Some(_) => return Err(ForwardError::Unreached(to, reason)),
                        None => return Err(ForwardError::Broken(to, reason)),
                    }
                }
            }
        }
        Err(ForwardError::Unreached(
            to,
            "it closes every connection".to_owned(),
        ))
    }

    async fn link(&self, to: SocketAddr) -> Result<SendRequest<Chunks>, ForwardError> {
        if let Some(link) = lock(&self.links).get(&to).filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        let unreached = |reason: String| ForwardError::Unreached(to, reason);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(to))
            .await
            .map_err(|_| unreached(format!("no connection within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| unreached(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| unreached(error.to_string()))?;
        let (link, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreached(error.to_string()))?;
        // Ends with the last sender, or with the peer.
        tokio::spawn(connection);
        lock(&self.links).insert(to, link.clone());
        Ok(link)
    }
}

/// The request as it is handed on: the caller's, by its own name of the application.
fn handed_on(head: &Parts, own: Option<SocketAddr>, body: Chunks) -> Result<Request<Chunks>, http::Error> {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str).or(host);
    let path = head
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority.unwrap_or("gateway"))
        .path_and_query(path)
        .build()?;
    let mut request = Request::builder()
        .method(head.method.clone())
        .uri(uri)
        .version(Version::HTTP_2)
        .body(body)?;
    *request.headers_mut() = head.headers.clone();
    for name in OF_A_CONNECTION {
        request.headers_mut().remove(name);
    }
    let own = own.map_or_else(String::new, |own| own.to_string());
    request
        .headers_mut()
        .insert(FORWARDED_HEADER, HeaderValue::try_from(own)?);
    Ok(request)
}

/// Of the gateways, the one whose hash with the group is highest.
fn rendezvous(peers: impl Iterator<Item = SocketAddr>, group: &Key) -> Option<SocketAddr> {
    peers.max_by_key(|peer| (weight(*peer, group), *peer))
}

/// The same in every build: FNV-1a over both names, mixed by the end of SplitMix64, as FNV's last bytes hardly reach the high bits.
fn weight(peer: SocketAddr, group: &Key) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let names = [peer.to_string(), group.to_string()];
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0]));
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 9090))
    }

    fn groups() -> impl Iterator<Item = Key> {
        (0..1000).map(|number| Key::new("shop", &format!("vgg19-{number:05}")))
    }

    fn seen_by(own: u8, ready: &[u8]) -> Peers {
        let ready: Vec<SocketAddr> = ready.iter().copied().map(peer).collect();
        let members = Members::new(ready.iter().copied(), ready.iter().map(SocketAddr::ip));
        let (_, source) = watch::channel(Arc::new(members));
        Peers::new(peer(own), source, Timer::new())
    }

    #[tokio::test]
    async fn all_gateways_agree_on_every_owner_and_share_the_groups() {
        let gateways: Vec<Peers> = (1..=4).map(|own| seen_by(own, &[1, 2, 3, 4])).collect();
        let mut owned = [0_u32; 4];
        for group in groups() {
            let owners: Vec<SocketAddr> = (1..)
                .zip(&gateways)
                .map(|(own, gateway)| gateway.owner(&group).unwrap_or(peer(own)))
                .collect();
            assert!(owners.iter().all(|owner| *owner == owners[0]), "{owners:?}");
            let index = (1..=4).position(|number| peer(number) == owners[0]);
            owned[index.unwrap_or_default()] += 1;
        }
        // A quarter each: 250, by four standard deviations of a binomial law.
        assert!(owned.iter().all(|count| (195..=305).contains(count)), "{owned:?}");
    }

    #[tokio::test]
    async fn a_gateway_that_goes_moves_only_its_own_groups() {
        let (all, fewer) = (seen_by(1, &[1, 2, 3]), seen_by(1, &[1, 2]));
        for group in groups() {
            match all.owner(&group) {
                Some(owner) if owner == peer(3) => {}
                before => assert_eq!(fewer.owner(&group), before),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_reached_is_left_out_for_a_while() {
        let gateway = seen_by(1, &[1, 2]);
        let others = groups().find(|group| gateway.owner(group).is_some());
        let Some(group) = others else { unreachable!() };
        gateway.leave_out(peer(2));
        assert_eq!(gateway.owner(&group), None);
        tokio::time::sleep(LEFT_OUT).await;
        assert_eq!(gateway.owner(&group), Some(peer(2)));
    }

    #[tokio::test]
    async fn whoever_is_not_in_the_list_owns_nothing_unless_nobody_is() {
        let leaving = seen_by(3, &[1, 2]);
        assert!(groups().all(|group| leaving.owner(&group).is_some()));
        assert!(groups().all(|group| seen_by(3, &[]).owner(&group).is_none()));
        assert!(groups().all(|group| Peers::none(Timer::new()).owner(&group).is_none()));
    }
}
