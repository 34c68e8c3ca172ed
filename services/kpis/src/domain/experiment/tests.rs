use eventstore::testing::given;

use super::*;

fn document() -> proto::Experiment {
    proto::Experiment { experiment: "winback".into(), window: "30d".into(), ..Default::default() }
}

fn started() -> Event {
    Event::Started(proto::ExperimentStarted { experiment: Some(document()) })
}

fn close(reason: &str) -> Command {
    let positions = BTreeMap::from([("profiles".to_owned(), 7)]);
    Command::Close { reason: reason.into(), positions, as_of: Timestamp(5) }
}

#[test]
fn an_analysis_is_defined_once() {
    given::<Experiment>([]).when(Command::Start(Box::new(document()))).then([started()]);
    given::<Experiment>([started()]).when(Command::Start(Box::new(document()))).then([]);
    let other = proto::Experiment { window: "7d".into(), ..document() };
    given::<Experiment>([started()])
        .when(Command::Start(Box::new(other)))
        .refused(|it| *it == Refusal::Exists);
}

#[test]
fn it_is_closed_once_and_keeps_where() {
    given::<Experiment>([]).when(close("over")).refused(|it| *it == Refusal::Unknown);
    let state = given::<Experiment>([started()]).when(close("over")).state();
    let closed = state.closed.expect("closed");
    assert_eq!((closed.reason.as_str(), closed.positions["profiles"]), ("over", 7));
    let events = given::<Experiment>([started()]).when(close("over")).events();
    let again = [started()].into_iter().chain(events);
    given::<Experiment>(again).when(close("once more")).then([]);
}
