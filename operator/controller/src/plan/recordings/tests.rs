//! When ConfigMaps are looked at, and what is kept of a look.

use super::*;

fn place(config_map: &str, key: &str) -> TracePlace {
    TracePlace {
        config_map: ("shop".to_owned(), config_map.to_owned()),
        key: key.to_owned(),
    }
}

fn config_map(version: &str, data: &[(&str, &str)]) -> Seen {
    let owned = |&(key, text): &(&str, &str)| (key.to_owned(), text.to_owned());
    let mut found = ConfigMap {
        data: Some(data.iter().map(owned).collect()),
        ..ConfigMap::default()
    };
    found.metadata.resource_version = Some(version.to_owned());
    Seen::Read(Box::new(found))
}

/// Names of the ConfigMaps that are due, each with the version that is known.
fn due(
    recordings: &mut Recordings,
    named: &BTreeSet<TracePlace>,
    now: Instant,
) -> Vec<(String, Option<String>)> {
    let looks = recordings.due(named, now).into_iter();
    looks.map(|look| (look.config_map.1, look.version)).collect()
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn a_recording_is_looked_at_every_15_seconds_and_read_only_when_its_version_changes() {
    let start = Instant::now();
    let named = BTreeSet::from([place("may", "a"), place("may", "b")]);
    let mut recordings = Recordings::default();
    assert_eq!(due(&mut recordings, &named, start), [("may".to_owned(), None)]);
    let map = ("shop".to_owned(), "may".to_owned());
    let found = config_map("7", &[("a", "0\n1"), ("b", "0\n2")]);
    recordings.keep(map.clone(), &found, &named, start);
    assert_eq!(recordings.known[&map].read.len(), 2);
    assert_eq!(due(&mut recordings, &named, after(start, 14)), []);
    assert_eq!(
        recordings.next_look(after(start, 14)),
        Some(Duration::from_secs(1))
    );
    let again = after(start, 15);
    assert_eq!(
        due(&mut recordings, &named, again),
        [("may".to_owned(), Some("7".to_owned()))]
    );
    let before = recordings.known[&map].read.clone();
    recordings.keep(map.clone(), &Seen::Unchanged, &named, again);
    let same = |place: &TracePlace| match (&before[place], &recordings.known[&map].read[place]) {
        (Ok(before), Ok(now)) => Arc::ptr_eq(before, now),
        _ => false,
    };
    assert!(named.iter().all(same));
    assert_eq!(due(&mut recordings, &named, after(start, 29)), []);
}

#[test]
fn what_is_wrong_is_looked_at_sooner() {
    let start = Instant::now();
    let named = BTreeSet::from([place("may", "a")]);
    let map = ("shop".to_owned(), "may".to_owned());
    let mut recordings = Recordings::default();
    recordings.keep(map.clone(), &Seen::Nothing("does not exist"), &named, start);
    assert_eq!(due(&mut recordings, &named, after(start, 4)), []);
    assert_eq!(
        due(&mut recordings, &named, after(start, 5)),
        [("may".to_owned(), None)]
    );
    let broken = config_map("8", &[("a", "0\nsoon")]);
    recordings.keep(map.clone(), &broken, &named, after(start, 5));
    assert_eq!(
        due(&mut recordings, &named, after(start, 10)),
        [("may".to_owned(), Some("8".to_owned()))]
    );
    let mended = config_map("9", &[("a", "0\n1")]);
    recordings.keep(map, &mended, &named, after(start, 10));
    assert_eq!(due(&mut recordings, &named, after(start, 24)), []);
}

#[test]
fn a_key_that_is_named_anew_is_read_at_once_and_what_nobody_names_is_forgotten() {
    let start = Instant::now();
    let map = ("shop".to_owned(), "may".to_owned());
    let one = BTreeSet::from([place("may", "a")]);
    let two = BTreeSet::from([place("may", "a"), place("may", "b")]);
    let mut recordings = Recordings::default();
    let found = config_map("7", &[("a", "0\n1"), ("b", "0\n2")]);
    recordings.keep(map.clone(), &found, &one, start);
    // Without the version: its text is needed again.
    assert_eq!(due(&mut recordings, &two, start), [("may".to_owned(), None)]);
    recordings.keep(map.clone(), &found, &two, start);
    assert_eq!(due(&mut recordings, &one, start), []);
    assert_eq!(recordings.known[&map].read.len(), 1);
    assert_eq!(due(&mut recordings, &BTreeSet::new(), start), []);
    assert!(recordings.known.is_empty());
    assert_eq!(recordings.next_look(start), None);
}
