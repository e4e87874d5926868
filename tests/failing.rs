//! Failing on purpose, as a whole run has it: its state is the program's, so this is a program of its own.

use pvbounce::xen::failing::{self, Operation};

#[test]
fn the_operation_at_the_wanted_site_fails_once_and_is_told_once() {
    const OPERATION: Operation = Operation::StoreWatch;
    assert_eq!(failing::reached(), None, "nobody counts");
    assert!(!failing::strikes(OPERATION));
    assert_eq!(failing::check(OPERATION), Ok(()));
    assert!(failing::news().is_none());

    failing::arm(2);
    let outcomes = ["first", "first", "second", "second", "third"].map(|place| {
        failing::enter(place);
        failing::check(OPERATION)
    });
    // The same place again is no other site.
    assert_eq!(outcomes, [Ok(()), Ok(()), Err(OPERATION.error()), Ok(()), Ok(())]);
    assert_eq!(failing::reached(), Some(3));
    let failed = failing::news().unwrap();
    assert_eq!((failed.site, failed.operation, failed.place), (2, OPERATION, "second"));
    assert!(failing::news().is_none(), "told already");
}
