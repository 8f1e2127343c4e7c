//! Tests for pictures.

use super::*;
use crate::term::{Term, explain, wait_for_all};

fn diamond() -> Explanation {
    let checkout = Term::success(()).label("checkout");
    let build = checkout.map(|()| ()).label("build");
    let lint = Term::<()>::failure("2 < 3 & \"x\"").label("<lint>");
    let lint = checkout.pair(&lint).unit().label("lint of a package with a very long name");
    let term = wait_for_all([("build", build), ("lint", lint)]);
    let _ = term.evaluate();
    explain(&term.node())
}

#[test]
fn nodes_are_placed_in_layers() {
    let explained = diamond();
    let graph = Graph::new("test", &explained);
    let layer = |label: &str| {
        graph.nodes.iter().find(|node| node.label.starts_with(label)).map(|node| node.layer)
    };
    assert_eq!(layer("checkout"), Some(0), "{graph:?}");
    assert_eq!((layer("build"), layer("lint"), layer("test")), (Some(1), Some(1), Some(2)));
    assert_eq!((graph.nodes.len(), graph.edges.len(), graph.layers()), (5, 5, 3));
    let mut places: Vec<_> = graph.nodes.iter().map(|node| place(&graph, node)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), graph.nodes.len(), "no two nodes have the same place");
}

#[test]
fn picture_contains_names_states_and_descriptions() {
    let svg = draw("a<b", &diamond(), &Durations::new());
    assert!(svg.contains("Pipeline of a&lt;b</title>"), "{svg}");
    assert!(svg.contains("5 steps: 2 passed, 3 failed, 0 pending"), "{svg}");
    assert!(svg.contains("&lt;lint&gt;: failure: 2 &lt; 3 &amp; &quot;x&quot;"), "{svg}");
    assert!(svg.contains(">lint of a package with a\u{2026}<"), "{svg}");
    assert!(!svg.contains("style="), "the content security policy refuses inline styles");
}

#[test]
fn large_graph_is_cut() {
    let terms = (0..1000).map(|n| Term::success(()).label(format!("step {n}")));
    let term = Term::all(terms);
    let _ = term.evaluate();
    let svg = draw("test", &explain(&term.node()), &Durations::new());
    assert!(
        svg.contains("<p class=\"note\">1851 more steps") || svg.contains("more steps are not")
    );
    assert!(svg.len() < 200_000, "{}", svg.len());
}

#[test]
fn a_build_links_to_its_log() {
    use crate::term::SavedLog;
    let saved = SavedLog {
        title: "Build".to_owned(),
        branch: "shell-of-a/b<c".to_owned(),
        commit: "0123".to_owned(),
        failed: true,
    };
    let mut explained = explain(&Term::success(()).node());
    explained.logs = Logs::Saved(std::sync::Arc::new(saved));
    let durations = [("shell-of-a/b<c".to_owned(), "1 min 15 s".to_owned())].into();
    let svg = draw("test", &explained, &durations);
    assert!(svg.contains("<a href=\"/log/saved/shell-of-a%2Fb%3Cc/0123\">"), "{svg}");
    assert!(svg.contains(">1 min 15 s<"), "{svg}");
}
