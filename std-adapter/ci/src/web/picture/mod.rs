//! Draws a job's pipeline as an SVG image.

mod graph;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write;

use super::html::escape;
use super::urls;
use crate::term::{Explanation, Logs, State};
use graph::{Graph, GraphNode};

const WIDTH: usize = 212;
const HEIGHT: usize = 46;
const GAP_X: usize = 46;
const GAP_Y: usize = 14;
const MARGIN: usize = 6;

/// The maximum number of label characters that fit in a box.
const LABEL_MAX: usize = 25;

/// The durations of builds, keyed by log branch.
pub(super) type Durations = HashMap<String, String>;

/// Draws the graph of a job from left to right. Each node shows its name, its state (as a color, a
/// symbol and a word), and its duration. A node that has a log links to the log.
pub(super) fn draw(test: &str, explained: &Explanation, durations: &Durations) -> String {
    let graph = Graph::new(test, explained);
    let width = graph.layers() * (WIDTH + GAP_X) - GAP_X.min(graph.layers() * GAP_X) + 2 * MARGIN;
    let height = graph.rows() * (HEIGHT + GAP_Y) + 2 * MARGIN;
    let mut svg = format!(
        "<svg class=\"pipeline\" xmlns=\"http://www.w3.org/2000/svg\" role=\"group\" \
         aria-labelledby=\"pipeline-title pipeline-desc\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\"><title id=\"pipeline-title\">Pipeline of {}</title>\
         <desc id=\"pipeline-desc\">{}</desc>",
        escape(test),
        escape(&describe(&graph)),
    );
    for (from, to) in &graph.edges {
        if let (Some(from), Some(to)) = (graph.nodes.get(*from), graph.nodes.get(*to)) {
            draw_edge(&mut svg, place(&graph, from), place(&graph, to));
        }
    }
    for node in &graph.nodes {
        draw_node(&mut svg, node, place(&graph, node), durations);
    }
    svg.push_str("</svg>");
    if graph.left_out > 0 {
        // Writing to a string never fails.
        let _ = write!(svg, "<p class=\"note\">{} more steps are not shown.</p>", graph.left_out);
    }
    svg
}

fn describe(graph: &Graph) -> String {
    let count = |name: &str| graph.nodes.iter().filter(|node| node.state.name() == name).count();
    format!(
        "{} steps: {} passed, {} failed, {} pending",
        graph.nodes.len(),
        count("success"),
        count("failure"),
        count("pending") + count("not-evaluated"),
    )
}

/// Returns the upper left corner of a node. Short columns are centred.
fn place(graph: &Graph, node: &GraphNode) -> (usize, usize) {
    let unused = graph.rows().saturating_sub(graph.rows_of(node.layer));
    let x = MARGIN + node.layer * (WIDTH + GAP_X);
    let y = MARGIN + node.row * (HEIGHT + GAP_Y) + unused * (HEIGHT + GAP_Y) / 2 + GAP_Y / 2;
    (x, y)
}

fn draw_edge(svg: &mut String, from: (usize, usize), to: (usize, usize)) {
    let (x1, y1) = (from.0 + WIDTH, from.1 + HEIGHT / 2);
    let (x2, y2) = (to.0, to.1 + HEIGHT / 2);
    let middle = x1.midpoint(x2);
    let _ = write!(
        svg,
        "<path class=\"edge\" d=\"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}\"/>"
    );
}

fn draw_node(svg: &mut String, node: &GraphNode, (x, y): (usize, usize), durations: &Durations) {
    let link = link(&node.logs);
    if let Some((_, url)) = &link {
        let _ = write!(svg, "<a href=\"{}\">", escape(url));
    }
    let (class, state) = match node.state {
        State::Success => ("success", "\u{2713} passed"),
        State::Failure(_) => ("failure", "\u{2717} failed"),
        State::Pending(_) => ("pending", "\u{2026} pending"),
        State::NotEvaluated => ("idle", "\u{2013} not started"),
    };
    let duration = link.as_ref().and_then(|(branch, _)| durations.get(branch));
    let duration = duration.map(|duration| escape(duration)).unwrap_or_default();
    let _ = write!(
        svg,
        "<g class=\"node {class}\"><title>{}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"5\"/>\
         <rect class=\"bar\" x=\"{x}\" y=\"{y}\" width=\"6\" height=\"{HEIGHT}\" rx=\"3\"/>\
         <text x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"state\" x=\"{}\" y=\"{}\">{state}</text>\
         <text class=\"duration\" x=\"{}\" y=\"{}\">{duration}</text></g>",
        escape(&format!("{}: {}", node.label, node.state)),
        x + 14,
        y + 19,
        escape(&shorten(&node.label)),
        x + 14,
        y + 37,
        x + WIDTH - 8,
        y + 37,
    );
    if link.is_some() {
        svg.push_str("</a>");
    }
}

/// Returns the branch and the URL of the first log.
fn link(logs: &Logs) -> Option<(String, String)> {
    match logs.leaves().first()? {
        Logs::Live { branch } => Some((branch.to_string(), urls::live_log(branch))),
        Logs::Saved(log) => Some((log.branch.clone(), urls::saved_log(&log.branch, &log.commit))),
        _ => None,
    }
}

fn shorten(label: &str) -> String {
    if label.chars().count() <= LABEL_MAX {
        return label.to_owned();
    }
    let mut short: String = label.chars().take(LABEL_MAX - 1).collect();
    short.push('\u{2026}');
    short
}
