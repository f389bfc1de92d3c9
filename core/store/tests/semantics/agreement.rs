//! Digests tell members apart that differ, and agree with etcd's where etcd has one.

use veridical_proto::command::{Command, command::Request};
use veridical_proto::etcdserverpb::{LeaseGrantRequest, PutRequest};
use veridical_store::{Store, StoreConfig};

use crate::{apply_ok, compact, delete, put};

/// The keys of etcd's own test of its HashKV (etcd: `mvcc/hash_test.go`), whose expected
/// hashes are repeated below.
fn etcd_test_key(number: i64) -> &'static str {
    match number {
        _ if number % 142 == 30 => "zenek",
        _ if number % 71 == 30 => "xavery",
        _ => [
            "alice",
            "bob",
            "celine",
            "dominik",
            "eve",
            "frederica",
            "gorge",
        ][(number % 7) as usize],
    }
}

fn put_all(store: &mut Store, from: i64, count: i64) {
    for number in from..=from + count {
        apply_ok(store, put(etcd_test_key(number), &number.to_string()));
    }
    store.publish();
}

/// Runs etcd's test; each expectation is the hash at a revision, asked for with the
/// compacted revision that goes before.
fn check_against_etcd(ask: impl Fn(i64, i64, i64) -> i64, expected: &[(u32, i64, i64)]) {
    let mut store = Store::new(StoreConfig::default());
    let mut from = 0;
    for (at, (hash, compacted, revision)) in expected.iter().enumerate() {
        let count = if at + 1 == expected.len() { 1210 } else { 71 };
        put_all(&mut store, from, count);
        let asked = ask(from, count, store.revision());
        assert_eq!(asked, *revision);
        assert_eq!(store.reader().hash_kv(asked), Ok((*hash, *compacted)));
        apply_ok(&mut store, compact(asked));
        store.publish();
        from += 71;
    }
}

#[test]
fn the_hash_of_a_past_revision_is_etcd_s() {
    check_against_etcd(
        |from, count, _| from + count / 2,
        &[
            (4082599214, -1, 35),
            (2279933401, 35, 106),
            (3284231217, 106, 177),
            (126286495, 177, 248),
            (900108730, 248, 319),
            (2475485232, 319, 390),
            (1226296507, 390, 461),
            (2503661030, 461, 532),
            (4155130747, 532, 603),
            (106915399, 603, 674),
            (406914006, 674, 745),
            (1882211381, 745, 816),
            (806177088, 816, 887),
            (664311366, 887, 958),
            (1496914449, 958, 1029),
            (2434525091, 1029, 1100),
            (3988652253, 1100, 1171),
            (1122462288, 1171, 1242),
            (724436716, 1242, 1883),
        ],
    );
}

#[test]
fn the_hash_of_the_last_revision_is_etcd_s() {
    check_against_etcd(
        |_, _, last| last,
        &[
            (1913897190, -1, 73),
            (224860069, 73, 145),
            (1565167519, 145, 217),
            (1566261620, 217, 289),
            (2037173024, 289, 361),
            (691659396, 361, 433),
            (2713730748, 433, 505),
            (3919322507, 505, 577),
            (769967540, 577, 649),
            (2909194793, 649, 721),
            (1576921157, 721, 793),
            (4067701532, 793, 865),
            (2226384237, 865, 937),
            (2923408134, 937, 1009),
            (2680329256, 1009, 1081),
            (1546717673, 1081, 1153),
            (2713657846, 1153, 1225),
            (1046575299, 1225, 1297),
            (2017735779, 1297, 2508),
        ],
    );
}

#[test]
fn members_that_differ_in_anything_have_different_state_hashes() {
    let grant = |id, ttl| Request::LeaseGrant(LeaseGrantRequest { id, ttl });
    let leased = |lease| {
        Request::Put(PutRequest {
            key: "leased".into(),
            lease,
            ..Default::default()
        })
    };
    // Each history ends in the same revision or in another one; no two end in the same
    // state.
    let histories: Vec<Vec<Request>> = vec![
        vec![],
        vec![put("a", "1")],
        vec![put("a", "2")],
        vec![put("b", "1")],
        vec![put("a", "1"), put("a", "1")],
        vec![put("a", "1"), put("b", "1")],
        vec![put("b", "1"), put("a", "1")],
        vec![put("a", "1"), delete("a")],
        vec![put("a", "0"), put("a", "1"), compact(3)],
        vec![put("a", "1"), put("a", "1"), compact(2)],
        vec![grant(1, 10)],
        vec![grant(2, 10)],
        vec![grant(1, 11)],
        vec![grant(1, 10), grant(2, 10), leased(1)],
        vec![grant(1, 10), grant(2, 10), leased(2)],
        vec![grant(1, 10), grant(2, 10), leased(0)],
    ];
    let mut seen = std::collections::BTreeMap::new();
    for (at, history) in histories.into_iter().enumerate() {
        let mut store = Store::new(StoreConfig::default());
        // The sessions are the same for all.
        for index in 1..=10 {
            let command = Command {
                member_id: 1,
                incarnation: 1,
                sequence: index,
                settled_below: 0,
                request: history.get(index as usize - 1).cloned(),
            };
            store.apply(index, &command);
        }
        store.publish();
        let hash = store.reader().state_hash().hash;
        assert_eq!(seen.insert(hash, at), None, "history {at}");
    }
}

#[test]
fn members_that_remember_other_proposals_have_different_state_hashes() {
    let names = [
        (1, 1, 1, 0),
        (2, 1, 1, 0),
        (1, 2, 1, 0),
        (1, 1, 2, 0),
        (1, 1, 2, 1),
    ];
    let mut hashes = std::collections::BTreeSet::new();
    for (member_id, incarnation, sequence, settled_below) in names {
        let mut store = Store::new(StoreConfig::default());
        let command = Command {
            member_id,
            incarnation,
            sequence,
            settled_below,
            request: Some(put("a", "1")),
        };
        store.apply(1, &command);
        store.publish();
        assert!(hashes.insert(store.reader().state_hash().hash));
    }
}
