use super::*;

fn head(position: u64, chain: u8) -> Head {
    Head { position, chain: [chain; 32] }
}

fn wanted() -> Wanted {
    Wanted { modules: vec!["hello".into()], claims: vec!["onset".into()], ..Wanted::default() }
}

/// A library in which everything that is wanted was read.
fn read() -> Library {
    Library {
        modules: [("hello".to_owned(), Arc::default())].into(),
        claims: [("onset".to_owned(), Arc::default())].into(),
        ..Library::default()
    }
}

/// What is left to be read at an end of the store.
fn left(shelf: &Shelf, head: Head, tenant: &str) -> Wanted {
    let mut library = Library::default();
    let left = shelf.take(head, tenant, wanted(), &mut library);
    let taken = library.modules.len() + library.claims.len();
    assert_eq!(taken + left.modules.len() + left.claims.len(), 2);
    left
}

fn stocked(at: Head) -> Shelf {
    let shelf = Shelf::default();
    assert_eq!(left(&shelf, at, "acme"), wanted());
    shelf.put(at, "acme", wanted(), &read());
    shelf
}

#[test]
fn what_was_read_is_read_once_while_nothing_is_appended() {
    let shelf = stocked(head(7, 1));
    assert!(left(&shelf, head(7, 1), "acme").is_empty());
    assert_eq!(left(&shelf, head(7, 1), "umbrella"), wanted(), "another tenant's shelf is empty");
}

#[test]
fn whatever_is_appended_empties_the_shelf() {
    // By whichever replica: the end was read from the database.
    let shelf = stocked(head(7, 1));
    assert_eq!(left(&shelf, head(8, 2), "acme"), wanted());
    // The other branch of a history that was forked.
    let shelf = stocked(head(7, 1));
    assert_eq!(left(&shelf, head(7, 2), "acme"), wanted());
}

#[test]
fn what_was_read_for_an_earlier_end_is_not_kept() {
    let shelf = stocked(head(7, 1));
    assert_eq!(left(&shelf, head(8, 2), "acme"), wanted());
    // Begun before the withdrawal at 8, ended after it.
    shelf.put(head(7, 1), "acme", wanted(), &read());
    assert_eq!(left(&shelf, head(8, 2), "acme"), wanted());
    // A straggler takes nothing and empties nothing.
    shelf.put(head(8, 2), "acme", wanted(), &read());
    assert_eq!(left(&shelf, head(7, 1), "acme"), wanted());
    assert!(left(&shelf, head(8, 2), "acme").is_empty());
}

#[test]
fn asking_for_what_is_not_there_fills_no_memory() {
    let (shelf, at) = (stocked(head(7, 1)), head(7, 1));
    for number in 0..KEPT {
        let name = format!("none-{number}");
        let wanted = Wanted { modules: vec![name.clone()], ..Wanted::default() };
        let library = Library { modules: [(name, Arc::default())].into(), ..Library::default() };
        shelf.put(at, "acme", wanted, &library);
    }
    assert!(shelf.lock().kept <= KEPT);
}
