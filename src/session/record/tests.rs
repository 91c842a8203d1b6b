//! Records, encoded and sealed, of this version and of those before it.

use super::*;

fn record() -> Record {
    let principal = Principal::new("alice", Some("alice@example.test"), &["staff".to_owned()], &["admin".to_owned()]);
    let principal = Principal { password: PasswordStamp::of("$argon2id$"), ..principal };
    let tls = TlsFingerprint::of([0x1301, 0x1303], [0x001d], [0x0403]);
    let bound = Bound { tls, ..Bound::of("2001:db8::1".parse().expect("an address"), b"agent/1") };
    let mut record =
        Record::new(&Random::seeded(1), Some(Arc::new(principal)), bound, Timestamp::from_millis(1_700_000_000_000));
    record.rotation.generation = 12;
    record.longest_pause = Duration::from_millis(31_001);
    record.device = Device::of(b"Firefox/140.0 (X11)");
    record.tenant = TenantId::of("acme").expect("room");
    record.active_at = record.authenticated_at.plus(Duration::from_secs(40));
    (record.is_remembered, record.rotation.must_renew, record.is_locked) = (true, true, true);
    record.ended = Some((EndReason::Binding(Factor::UserAgent), Timestamp::from_millis(1_700_000_100_000)));
    record
}

#[test]
fn comes_back_as_it_was_encoded_and_sealed() {
    let (record, ring) = (record(), KeyRing::ephemeral(&Random::seeded(2)));
    assert_eq!(Record::decode(record.handle, &record.encode()), Ok(record.clone()));
    let sealed = record.seal(&ring, "default", &Random::seeded(3));
    assert_eq!(Record::open(record.handle, &ring, "default", &sealed), Ok(record.clone()));
    assert!(!sealed.windows(5).any(|window| window == b"alice"), "readable in the sealed form");
    let another = SessionHandle::random(&Random::seeded(9));
    assert_eq!(Record::open(another, &ring, "default", &sealed), Err(RecordError::Sealed));
    assert_eq!(Record::open(record.handle, &ring, "other", &sealed), Err(RecordError::Sealed));
}

#[test]
fn records_of_former_versions_are_read_without_what_they_do_not_know() {
    let record = record();
    let Bound { address, agent, agent_family, .. } = record.bound;
    let known = record.principal.clone().expect("a person");
    let person = Some(Arc::new(Principal { password: PasswordStamp::UNKNOWN, ..Principal::clone(&known) }));
    for ended in EndReason::ALL {
        let ended = Some((ended, Timestamp::from_millis(1_700_000_100_000)));
        let second = Encoded {
            version: record.version,
            seed: *record.seed.expose(),
            principal: Some(PrincipalV2 {
                user: &known.user,
                email: known.email.as_deref(),
                groups: &known.groups,
                roles: &known.roles,
            }),
            authenticated_at: record.authenticated_at,
            active_at: record.active_at,
            generation: record.rotation.generation,
            presented_at: record.rotation.presented_at,
            bound: record.bound,
            ended,
        };
        let encoded = postcard::to_extend(&second, vec![2]).expect("bytes");
        let rotation = Rotation { must_renew: false, ..record.rotation };
        let (principal, device, tenant) = (person.clone(), Device::default(), TenantId::DEFAULT);
        let expected = Record {
            principal,
            ended,
            device,
            tenant,
            is_remembered: false,
            is_locked: false,
            longest_pause: Duration::from_secs(40),
            rotation,
            ..record.clone()
        };
        assert_eq!(Record::decode(record.handle, &encoded), Ok(expected.clone()));
        if ended.is_some_and(|(reason, _)| reason == EndReason::Binding(Factor::Tls)) {
            continue;
        }
        let Encoded { version, seed, principal, authenticated_at, active_at, generation, presented_at, .. } = second;
        let bound = BoundV1 { address, agent, agent_family };
        let first =
            Encoded { version, seed, principal, authenticated_at, active_at, generation, presented_at, bound, ended };
        let encoded = postcard::to_extend(&first, vec![1]).expect("bytes");
        let bound = Bound { tls: TlsFingerprint::UNKNOWN, ..record.bound };
        assert_eq!(Record::decode(record.handle, &encoded), Ok(Record { bound, ..expected }));
    }
}

/// Version 4 is version 5 without its last part, and does not say how long the pauses were: all of it may have been one.
#[test]
fn records_of_version_4_are_read_with_the_longest_pause_that_there_can_have_been() {
    let record = record();
    let encoded = record.encode();
    let pauses = postcard::to_allocvec(&Pauses { longest_millis: 31_001 }).expect("bytes");
    let mut fourth = encoded.strip_suffix(&pauses[..]).expect("the last part").to_vec();
    fourth[0] = 4;
    let expected = Record { longest_pause: Duration::from_secs(40), ..record.clone() };
    assert_eq!(Record::decode(record.handle, &fourth), Ok(expected));
}

/// What version 1 wrote, to the byte: the reasons of an end keep the places that they have in it.
#[test]
fn the_places_of_the_reasons_stay() {
    let places = EndReason::ALL.map(|reason| postcard::to_allocvec(&reason).expect("bytes"));
    let expected: [&[u8]; 13] =
        [&[0], &[1], &[2], &[3], &[4], &[5, 0], &[5, 1], &[5, 2], &[6], &[7], &[8], &[9], &[10]];
    assert_eq!(places, expected);
}

#[test]
fn damaged_bytes_are_an_error_and_never_a_panic() {
    let record = record();
    let encoded = record.encode();
    for length in 0..encoded.len() {
        assert_eq!(Record::decode(record.handle, &encoded[..length]), Err(RecordError::Damaged), "{length}");
    }
    let mut longer = encoded.to_vec();
    longer.push(0);
    assert_eq!(Record::decode(record.handle, &longer), Err(RecordError::Damaged));
    longer[0] = 6;
    assert_eq!(Record::decode(record.handle, &longer), Err(RecordError::Version(6)));
    for at in 1..encoded.len() {
        let mut mutated = encoded.to_vec();
        mutated[at] = mutated[at].wrapping_add(101);
        let _ = Record::decode(record.handle, &mutated);
    }
}

#[test]
fn every_reason_has_its_own_name_and_sentence() {
    for (at, reason) in EndReason::ALL.iter().enumerate() {
        for other in &EndReason::ALL[at + 1..] {
            assert_ne!(reason.name(), other.name());
            assert_ne!(reason.sentence(), other.sentence());
        }
    }
}
