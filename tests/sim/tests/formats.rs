// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two nodes that would not understand each other must not have a link: only there are people told.

/// The format of links, and of what goes over them: messages of servers, of the agreement on views, and views.
const FORMATS: (u8, [u8; 3]) = (5, [4, 5, 6]);

/// Who changes one of them gives links a new number too, in `net_core::limits::VERSIONS`.
#[test]
fn format_of_links_stands_for_all_that_goes_over_them() {
    let over_them =
        [runtime::node::VERSION, views_core::wire::VERSION, cluster::limits::FORMAT_VERSION];
    assert_eq!((net_core::limits::VERSIONS.newest, over_them), FORMATS);
}
