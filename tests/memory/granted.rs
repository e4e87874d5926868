//! What Xen grants, order by order and width by width.

use super::*;

#[test]
fn what_xen_grants_is_asked_order_by_order_and_costs_nothing() {
    with_guest(|xen, memory| {
        xen.limit_order(9);
        let mut rows = Vec::new();
        let granted = Granted::measure(memory, &mut |order, row| rows.push((order, *row))).unwrap();
        assert!(rows.iter().map(|(order, _)| *order).eq(Order::every()));
        let ok = rows.iter().flat_map(|(_, row)| row).filter(|answer| **answer == Answer::Granted);
        assert_eq!(granted.count(), ok.count());
        assert_eq!(rows[9].1.last(), Some(&Answer::Granted));
        assert_eq!(granted.limit(), Some(order(10)));
        assert_eq!(memory.free_pages(), GUEST);
        assert_tables_agree(xen, memory);
    });
}

#[test]
fn what_was_had_for_a_wider_mask_is_the_answer_where_it_lies_that_low() {
    with_guest(|xen, memory| {
        // One of the two blocks below 2^22 is left, and every other frame that is free lies above 2^23.
        let masks = [22, 23].map(|bits| DmaMask::from_bits(bits).unwrap());
        let held = [masks[0], masks[1], masks[1]].map(|mask| memory.acquire(order(9), mask));
        let free = xen.free_below(Mfn(2048));
        let answers = memory.try_exchanges(order(9), masks).unwrap();
        assert_eq!((free, answers), (512, Ok([Ok(()); 2])));
        held.into_iter().for_each(|region| memory.release(region.unwrap()).unwrap());
    });
}
