//! Groups append, order, rollback, batch, dedupe, keys, migration.

use std::sync::Arc;

use eventstore::testing::{given, same_history};
use eventstore::{
    AsOf, Clock, Error, ExecuteError, Ids, Log, Migration, Outcome, Schema, Store, Timestamp,
    values,
};
use futures::future::join_all;

use crate::on_every_pair;
use crate::rig::{
    Command, POSTGRES, Place, Places, Refusal, Rig, START, fill, meta, meta_of, open, places,
    schema, store_options,
};

on_every_pair! {
    a_command_is_durable_and_counted
    a_refusal_leaves_nothing
    a_conflict_is_decided_again
    an_expected_version_is_insisted_on
    a_repeat_is_answered_and_another_body_refused
    a_repeat_is_answered_after_the_world_moved_on
    several_streams_commit_together_or_not_at_all
    a_unit_holds_256_events_and_no_more
    a_payload_has_a_limit
    winners_losers_and_poison_share_a_batch
    a_view_that_panics_refuses_its_unit_only
    what_a_view_finds_taken_is_refused
    concurrent_writers_leave_no_hole
    pages_meet_at_every_offset
    a_page_is_bounded_in_bytes
    personal_fields_are_sealed_and_bound_to_their_place
    a_destroyed_key_erases
    a_released_shape_is_lifted_for_every_reader
    tenants_do_not_meet
    a_view_rebuilt_from_zero_is_the_same
    a_changed_byte_is_found
    reading_as_of_a_position_or_time
    events_cannot_be_changed
    an_edited_migration_is_refused
    requests_are_remembered_for_72_hours
}

async fn a_command_is_durable_and_counted(rig: Rig) {
    let open = Command::Open { language: String::new() };
    let first = rig.store.execute::<Place>("a", &meta("r1"), open).await.unwrap();
    assert_eq!((first.version, first.position), (1, 1));
    let second =
        rig.store.execute::<Place>("a", &meta("r2"), Command::Move("DE".into())).await.unwrap();
    assert_eq!((second.version, second.position), (2, 2));
    let already =
        rig.store.execute::<Place>("a", &meta("r3"), Command::Move("DE".into())).await.unwrap();
    assert_eq!((already.version, already.position), (2, 2), "already so: no event");
    let replica = rig.replica().await;
    let loaded = replica.load::<Place>("default", "a", AsOf::Now).await.unwrap();
    assert_eq!((loaded.version, loaded.state.market.as_str()), (2, "DE"));
    assert_eq!(rig.store.verify().await.unwrap().unwrap().position, 2);
}

async fn a_refusal_leaves_nothing(rig: Rig) {
    let refused = rig.store.execute::<Place>("a", &meta("r1"), Command::Move("DE".into())).await;
    assert!(matches!(refused, Err(ExecuteError::Refused(Refusal::NotOpen))));
    assert_eq!(rig.store.read_head().await.unwrap().position, 0);
    given::<Place>([]).when(Command::Close).refused(|it| *it == Refusal::NotOpen);
}

async fn a_conflict_is_decided_again(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let other = rig.replica().await;
    let stores = [&rig.store, &other];
    let moves = (0..40).map(|it| async move {
        let command = Command::Move(format!("x{it}"));
        stores[it % 2].execute::<Place>("a", &meta(&format!("c{it}")), command).await
    });
    let results = join_all(moves).await;
    let done = results.iter().filter(|it| it.is_ok()).count() as u64;
    assert!(results.iter().all(|it| matches!(it, Ok(_) | Err(ExecuteError::Conflict))));
    assert!(done > 0);
    let loaded = rig.store.load::<Place>("default", "a", AsOf::Now).await.unwrap();
    assert_eq!(loaded.version, done + 1);
    assert_eq!(rig.store.verify().await.unwrap().unwrap().position, done + 1);
}

async fn an_expected_version_is_insisted_on(rig: Rig) {
    fill(&rig.store, "a", 1).await;
    let stale =
        rig.store.execute_at::<Place>("a", &meta("s"), Some(1), Command::Move("FR".into())).await;
    assert!(matches!(stale, Err(ExecuteError::WrongVersion { actual: 2 })));
    rig.store
        .execute_at::<Place>("a", &meta("t"), Some(2), Command::Move("FR".into()))
        .await
        .unwrap();
}

async fn a_repeat_is_answered_and_another_body_refused(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let move_to = |market: &str| Command::Move(market.into());
    let first = rig.store.execute::<Place>("a", &meta("same"), move_to("DE")).await.unwrap();
    let again = rig.store.execute::<Place>("a", &meta("same"), move_to("DE")).await.unwrap();
    assert!(again.repeated);
    assert_eq!((first.state, first.position), (again.state, again.position));
    let mut other = meta("same");
    other.request_digest = b"another body".to_vec();
    let reused = rig.store.execute::<Place>("a", &other, move_to("FR")).await;
    assert!(matches!(reused, Err(ExecuteError::RequestReused)));
    let elsewhere = rig.replica().await;
    let replayed = elsewhere.execute::<Place>("a", &meta("same"), move_to("DE")).await.unwrap();
    assert_eq!(replayed.position, first.position);
    assert_eq!(rig.store.read_head().await.unwrap().position, 2);
}

async fn a_repeat_is_answered_after_the_world_moved_on(rig: Rig) {
    let open = Command::Open { language: String::new() };
    let first = rig.store.execute::<Place>("a", &meta("o"), open.clone()).await.unwrap();
    rig.store.execute::<Place>("a", &meta("m"), Command::Move("DE".into())).await.unwrap();
    // Deciding again would refuse: it is open already.
    let again = rig.store.execute::<Place>("a", &meta("o"), open).await.unwrap();
    assert_eq!((again.version, again.position), (1, 1));
    assert_eq!(again.state, first.state);
}

async fn several_streams_commit_together_or_not_at_all(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let opened = || Place::registered();
    let mut good = rig.store.unit(meta("both"));
    good.push::<Place>("b", 0, &Default::default(), opened()).await.unwrap();
    good.push::<Place>("c", 0, &Default::default(), opened()).await.unwrap();
    let outcome = rig.store.append(good.finish().unwrap()).await;
    assert!(matches!(outcome, Outcome::Committed { position: 3 }), "{outcome:?}");
    let mut bad = rig.store.unit(meta("half"));
    bad.push::<Place>("d", 0, &Default::default(), opened()).await.unwrap();
    bad.push::<Place>("a", 0, &Default::default(), opened()).await.unwrap();
    let outcome = rig.store.append(bad.finish().unwrap()).await;
    assert!(matches!(outcome, Outcome::Conflict), "{outcome:?}");
    let d = rig.store.load::<Place>("default", "d", AsOf::Now).await.unwrap();
    assert_eq!(d.version, 0);
}

impl Place {
    fn registered() -> Vec<rapport_proto::profiles::v1::party_event::Event> {
        given::<Self>([]).when(Command::Open { language: String::new() }).events()
    }
}

async fn a_unit_holds_256_events_and_no_more(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let done =
        rig.store.execute::<Place>("a", &meta("max"), Command::MoveOften(256)).await.unwrap();
    assert_eq!(done.position, 257);
    let refused = rig.store.execute::<Place>("a", &meta("more"), Command::MoveOften(257)).await;
    assert!(matches!(refused, Err(ExecuteError::Unit(_))));
    assert_eq!(rig.store.verify().await.unwrap().unwrap().position, 257);
}

async fn a_payload_has_a_limit(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let fits = Command::Move("x".repeat(255 * 1024));
    rig.store.execute::<Place>("a", &meta("fits"), fits).await.unwrap();
    let large = Command::Move("x".repeat(257 * 1024));
    let refused = rig.store.execute::<Place>("a", &meta("large"), large).await;
    assert!(matches!(refused, Err(ExecuteError::Unit(_))));
}

async fn winners_losers_and_poison_share_a_batch(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let poison = Command::Open { language: "poison".into() };
    let work = (0..60).map(|it| {
        let (store, poison) = (rig.store.clone(), poison.clone());
        async move {
            match it % 3 {
                0 => {
                    store
                        .execute::<Place>(&format!("p{it}"), &meta(&format!("p{it}")), poison)
                        .await
                }
                1 => {
                    let open = Command::Open { language: String::new() };
                    store.execute::<Place>(&format!("w{it}"), &meta(&format!("w{it}")), open).await
                }
                _ => {
                    let move_to = Command::Move(it.to_string());
                    store.execute::<Place>("nobody", &meta(&format!("l{it}")), move_to).await
                }
            }
        }
    });
    let results = join_all(work).await;
    for (index, result) in results.iter().enumerate() {
        match index % 3 {
            0 => {
                assert!(matches!(result, Err(ExecuteError::Store(Error::Corrupt(_)))), "{result:?}")
            }
            1 => assert!(result.is_ok(), "{result:?}"),
            _ => assert!(matches!(result, Err(ExecuteError::Refused(_))), "{result:?}"),
        }
    }
    assert_eq!(rig.store.verify().await.unwrap().unwrap().position, 21);
}

async fn a_view_that_panics_refuses_its_unit_only(rig: Rig) {
    let open = |language: &str| Command::Open { language: language.into() };
    let work = ["fine", "panic", "good"].map(|language| {
        let store = rig.store.clone();
        async move { store.execute::<Place>(language, &meta(language), open(language)).await }
    });
    let results = join_all(work).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(ExecuteError::Store(Error::Corrupt(_)))), "{results:?}");
    let after = rig.store.execute::<Place>("later", &meta("later"), open("later")).await;
    assert_eq!(after.unwrap().position, 3, "the committer goes on");
}

async fn what_a_view_finds_taken_is_refused(rig: Rig) {
    let open = |language: &str| Command::Open { language: language.into() };
    let other = rig.replica().await;
    let mut health = rig.store.health();
    health.mark_unchanged();
    let race = (0..20).map(|it| {
        let store = if it % 2 == 0 { rig.store.clone() } else { other.clone() };
        async move {
            store.execute::<Place>(&format!("p{it}"), &meta(&format!("t{it}")), open("one")).await
        }
    });
    let results = join_all(race).await;
    assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 1);
    let taken = |it: &&Result<_, _>| matches!(it, Err(ExecuteError::Taken(reason)) if reason == "LANGUAGE_TAKEN");
    assert_eq!(results.iter().filter(taken).count(), 19);
    assert!(!health.has_changed().unwrap(), "a refusal says nothing about the database");
}

async fn concurrent_writers_leave_no_hole(rig: Rig) {
    let other = rig.replica().await;
    let reader = rig.replica().await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watching = tokio::spawn({
        let stop = stop.clone();
        async move {
            let (mut after, mut polls) = (0, 0_u64);
            loop {
                let done = stop.load(std::sync::atomic::Ordering::SeqCst);
                for event in reader.read(after, 100).await.unwrap() {
                    assert_eq!(event.position, after + 1, "a reader saw n + 1 without n");
                    after = event.position;
                }
                polls += 1;
                if done {
                    return (after, polls);
                }
            }
        }
    });
    let writers = (0..32).map(|writer| {
        let store = if writer % 2 == 0 { rig.store.clone() } else { other.clone() };
        tokio::spawn(async move {
            fill(&store, &format!("w{writer}"), 12).await;
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let (seen, polls) = watching.await.unwrap();
    let head = rig.store.verify().await.unwrap().unwrap();
    assert_eq!(head.position, 32 * 13);
    assert!(seen > 0 && polls > 1);
}

async fn pages_meet_at_every_offset(rig: Rig) {
    fill(&rig.store, "a", 20).await;
    let whole = rig.store.read(0, 100).await.unwrap();
    assert_eq!(whole.len(), 21);
    for offset in 0..=21 {
        let (left, right) = whole.split_at(offset);
        assert_eq!(rig.store.read(0, offset).await.unwrap(), left);
        assert_eq!(rig.store.read(offset as u64, 100).await.unwrap(), right);
    }
}

async fn a_page_is_bounded_in_bytes(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    for number in 0..20 {
        let large = Command::Move(format!("{}", number % 10).repeat(250_000));
        rig.store.execute::<Place>("a", &meta(&format!("l{number}")), large).await.unwrap();
    }
    let first = rig.store.read(0, 1_000).await.unwrap();
    let bytes =
        |page: &[eventstore::Stored]| page.iter().map(|it| it.envelope.len()).sum::<usize>();
    assert!(first.len() < 21 && bytes(&first[..first.len() - 1]) < 4 * 1024 * 1024);
    let small = rig.store.read(0, 3).await.unwrap();
    assert_eq!(small, first[..3]);
    let mut all = first;
    while let Some(last) = all.last().map(|it| it.position).filter(|it| *it < 21) {
        all.extend(rig.store.read(last, 1_000).await.unwrap());
    }
    assert_eq!(all.len(), 21);
}

async fn personal_fields_are_sealed_and_bound_to_their_place(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let canary = "canary-4711@example.org";
    rig.store.execute::<Place>("a", &meta("h"), Command::Hide(canary.into())).await.unwrap();
    let loaded = rig.store.load::<Place>("default", "a", AsOf::Now).await.unwrap();
    assert_eq!(loaded.state.secret, canary);
    let stored = rig.store.read(1, 1).await.unwrap();
    let bytes = &stored[0].envelope;
    assert!(!bytes.windows(canary.len()).any(|it| it == canary.as_bytes()));
    assert!(!stored[0].envelope().unwrap().subject_key_id.is_empty());
    // A second secret of the same party is sealed with the same key.
    rig.store.execute::<Place>("a", &meta("i"), Command::Hide("b".into())).await.unwrap();
    let second = rig.store.read(2, 1).await.unwrap();
    assert_eq!(
        second[0].envelope().unwrap().subject_key_id,
        stored[0].envelope().unwrap().subject_key_id
    );
    // Moved to another event id the ciphertext does not open.
    let mut forged = rig.store.recorded(stored).await.unwrap().remove(0);
    forged.envelope.id = "00000000-0000-7000-8000-000000000000".into();
    let opened = forged.decode::<rapport_proto::profiles::v1::party_event::Event>();
    assert!(matches!(opened, Err(Error::Corrupt(_))));
}

async fn a_destroyed_key_erases(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    rig.store.execute::<Place>("a", &meta("h"), Command::Hide("secret".into())).await.unwrap();
    assert!(rig.store.keys().destroy("default", "a", "test", START).await.unwrap());
    assert!(!rig.store.keys().destroy("default", "a", "test", START).await.unwrap());
    let loaded = rig.store.load::<Place>("default", "a", AsOf::Now).await.unwrap();
    assert_eq!(loaded.state.secret, "(unreadable)");
    assert_eq!(rig.store.verify().await.unwrap().unwrap().position, 2, "proofs cover ciphertext");
    let more = rig.store.execute::<Place>("a", &meta("i"), Command::Hide("x".into())).await;
    assert!(matches!(more, Err(ExecuteError::Store(Error::Refused(_)))));
}

async fn a_released_shape_is_lifted_for_every_reader(rig: Rig) {
    use prost::Message as _;
    use rapport_proto::profiles::v1::{PartyContactPointAdded, Verification, party_event::Event};
    // Field 4, `verified`, alone: how the first shape said it.
    let payload = vec![4 << 3, 1];
    let step = rapport_proto::UPCASTERS[0];
    let envelope = rapport_proto::types::Envelope {
        r#type: step.type_name.into(),
        schema: step.from.into(),
        payload,
        ..Default::default()
    };
    let stored = eventstore::Stored {
        position: 1,
        chain: eventstore::ORIGIN,
        envelope: envelope.encode_to_vec().into(),
        hop: String::new(),
    };
    let reader = rig.neighbour("reader").await;
    let read = reader.recorded(vec![stored]).await.unwrap().remove(0);
    let added = PartyContactPointAdded {
        verification: Verification::Verified.into(),
        ..Default::default()
    };
    assert_eq!(read.decode::<Event>().unwrap(), Some(Event::ContactPointAdded(added)));
    assert_eq!(read.envelope.schema, step.to);
}

async fn tenants_do_not_meet(rig: Rig) {
    fill(&rig.store, "a", 1).await;
    let open = Command::Open { language: String::new() };
    let theirs = rig.store.execute::<Place>("a", &meta_of("other", "a-open"), open).await.unwrap();
    assert_eq!((theirs.version, theirs.repeated), (1, false));
    let ours = rig.store.load::<Place>("default", "a", AsOf::Now).await.unwrap();
    assert_eq!(ours.version, 2);
    assert!(rig.store.read_party("nobody", "a", 0, 10).await.unwrap().is_empty());
    assert_eq!(rig.store.read_party("other", "a", 0, 10).await.unwrap().len(), 1);
}

async fn a_view_rebuilt_from_zero_is_the_same(rig: Rig) {
    fill(&rig.store, "a", 7).await;
    fill(&rig.store, "b", 3).await;
    let before = places(&rig.store).await;
    assert_eq!(before.len(), 2);
    let rebuilt = rig.store.rebuild(&Places).await.unwrap();
    assert_eq!(rebuilt.events, 12);
    assert_eq!(places(&rig.store).await, before);
}

async fn a_changed_byte_is_found(rig: Rig) {
    fill(&rig.store, "a", 5).await;
    let mut tx = rig.store.database().begin().await.unwrap();
    // A person with the database's password takes the guard away first.
    if rig.store.database().is_postgres() {
        tx.exec("ALTER TABLE event DISABLE TRIGGER event_is_a_fact", vec![]).await.unwrap();
    } else {
        tx.exec("DROP TRIGGER event_is_not_updated", vec![]).await.unwrap();
    }
    let mut bytes = rig.store.read(2, 1).await.unwrap()[0].envelope.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    tx.exec("UPDATE event SET envelope = $1 WHERE position = 3", values![bytes]).await.unwrap();
    tx.commit().await.unwrap();
    let fault = rig.store.verify().await.unwrap().unwrap_err();
    assert_eq!(fault.position, 3, "{fault:?}");
}

async fn reading_as_of_a_position_or_time(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    for (number, hours) in (1..=3).enumerate() {
        let mut meta = meta(&format!("m{number}"));
        meta.at = Timestamp(START.0 + hours * 3_600_000_000);
        rig.store.execute::<Place>("a", &meta, Command::Move(format!("m{hours}"))).await.unwrap();
    }
    let market =
        async |as_of| rig.store.load::<Place>("default", "a", as_of).await.unwrap().state.market;
    assert_eq!(market(AsOf::Position(2)).await, "m1");
    assert_eq!(market(AsOf::Time(Timestamp(START.0 + 2 * 3_600_000_000))).await, "m2");
    assert_eq!(market(AsOf::Version(1)).await, "");
    assert_eq!(market(AsOf::Now).await, "m3");
}

async fn events_cannot_be_changed(rig: Rig) {
    fill(&rig.store, "a", 1).await;
    for sql in ["UPDATE event SET version = 9", "DELETE FROM event"] {
        let error = rig.store.database().exec(sql, vec![]).await.unwrap_err();
        assert!(error.chain().contains("events are facts"), "{}", error.chain());
    }
}

async fn an_edited_migration_is_refused(rig: Rig) {
    let edited = Schema {
        migrations: vec![Migration::portable("test/0001", "CREATE TABLE place (id TEXT)")],
        ..schema()
    };
    let options = store_options("profiles", &rig.database, Log::local(), &rig.clock);
    let error = Store::open(options, edited).await.err().expect("it must not start");
    assert!(error.to_string().contains("edited after it was applied"), "{error}");
    let mut pending = schema();
    pending.migrations.push(Migration::portable("test/0002", "CREATE TABLE more (id TEXT)"));
    let mut options = store_options("profiles", &rig.database, Log::local(), &rig.clock);
    options.migrate = false;
    let error = Store::open(options, pending).await.err().expect("it must not start");
    assert!(error.to_string().contains("rapport migrate"), "{error}");
}

/// The same seeded workload gives the same bytes on both databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_store_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}", folder.path().join("seeded.db").display());
    let clock = Clock::manual(START);
    let mut stores = Vec::new();
    for database in [sqlite, POSTGRES.database()] {
        stores.push(open(&database, Log::local(), &clock, Ids::seeded(42)).await.unwrap());
    }
    let history = same_history(&stores, |store| async move {
        for party in 0..5 {
            let id = format!("p{party}");
            fill(&store, &id, 4).await;
            let hide = Command::Hide(format!("secret {party}"));
            store.execute::<Place>(&id, &meta(&format!("h{party}")), hide).await.unwrap();
        }
    })
    .await;
    assert_eq!(history.len(), 30);
}

async fn requests_are_remembered_for_72_hours(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    let hours = |count: i64| Timestamp(Timestamp::real().0 - count * 3_600_000_000);
    for (id, age) in [("old", 73), ("young", 71)] {
        let move_to = Command::Move(id.into());
        rig.store.execute::<Place>("a", &meta(id), move_to).await.unwrap();
        rig.store
            .database()
            .exec(
                "UPDATE request SET recorded_at = $1 WHERE request_id = $2",
                values![hours(age), id],
            )
            .await
            .unwrap();
    }
    assert_eq!(rig.store.forget_requests().await.unwrap(), 1);
    assert!(rig.store.find_request(&meta("old")).await.unwrap().is_none());
    assert!(rig.store.find_request(&meta("young")).await.unwrap().is_some());
}
