// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operation costs does not depend on how many nodes there are.

use sim::figures::measure;

#[test]
fn operations_take_as_many_messages_on_ten_nodes_as_on_three() {
    let (three, ten) = (measure(3), measure(10));
    assert_eq!((three.call, three.lookup), (2, 4));
    assert_eq!((ten.call, ten.lookup, ten.migration), (2, 4, three.migration));
}
