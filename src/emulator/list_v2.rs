//! `/v2/list`: the listing as a stream of lines, each with the marker that goes on after it.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;

use super::list::{Ask, EMPTY_RECORD, Entry, huge};
use super::reply::{Payload, Reply};
use super::request::Request;
use super::rules::{Action, NextMarker};
use super::state::{State, blocking};

/// How many lines are made at a time.
const CHUNK: usize = 1000;

fn line(marker: &str, item: &str, dir: &str) -> String {
    format!("{{\"marker\":{},\"item\":{item},\"dir\":{}}}\n", json!(marker), json!(dir))
}

/// Where the stream is.
struct Progress {
    state: Arc<State>,
    ask: Ask,
    /// Lines that may still come.
    left: usize,
    done: bool,
    first: bool,
    actions: Arc<[Action]>,
}

impl Progress {
    /// The next lines; none at the end.
    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        if self.done {
            return None;
        }
        let mut ask = self.ask.clone();
        ask.limit = self.left.min(CHUNK);
        let (state, first) = (Arc::clone(&self.state), self.first);
        let page = blocking(move || {
            if first && ask.marker.is_empty() {
                state.catalog.refresh(&ask.prefix)?;
            }
            Ok(ask.page(&state)?)
        })
        .await;
        let Ok(page) = page else {
            self.done = true;
            return Some((Err(std::io::Error::other("the listing failed")), self));
        };
        let (now, prefixed) = (self.state.now(), self.state.config.meta_prefix);
        let mut text = String::new();
        for (entry, marker) in &page.entries {
            text += &match entry {
                Entry::Object(key, object) => {
                    line(marker, &object.item(key, now, self.ask.parts, prefixed), "")
                }
                Entry::Prefix(prefix) => line(marker, "null", prefix),
            };
        }
        self.left -= page.entries.len().min(self.left);
        match self.ask.at(&self.state, &page.marker) {
            Some(ask) if self.left > 0 && !page.entries.is_empty() => self.ask = ask,
            _ => self.done = true,
        }
        if self.first {
            text = self.distort(text);
            self.first = false;
        }
        if text.is_empty() {
            // Nothing to list: one line says so.
            text = line("", "null", "");
        }
        Some((Ok(text.into()), self))
    }

    /// What rules do to the first lines.
    fn distort(&mut self, text: String) -> String {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let actions = Arc::clone(&self.actions);
        for action in actions.iter() {
            match action {
                Action::EmptyPage => {
                    lines = vec![line(&self.ask.resume_here(), "null", "")];
                    self.done = true;
                }
                Action::NullItems => lines.insert(0, line(&self.ask.resume_here(), "null", "")),
                Action::EmptyRecords(n) => {
                    let empty = line(&self.ask.resume_here(), EMPTY_RECORD, "");
                    lines.splice(0..0, std::iter::repeat_n(empty, *n));
                }
                Action::Extra(extra) => {
                    let marker = self.ask.resume_here();
                    lines.splice(0..0, extra.iter().map(|item| line(&marker, &item.to_string(), "")));
                }
                Action::DuplicatePage => lines.extend(lines.clone()),
                Action::Reverse => lines.reverse(),
                Action::Marker(wrong) => {
                    let marker = match wrong {
                        NextMarker::Asked | NextMarker::Before => self.ask.marker.clone(),
                        NextMarker::Here => self.ask.resume_here(),
                        NextMarker::Text(text) => text.clone(),
                    };
                    lines.push(line(&marker, "null", ""));
                    self.done = true;
                }
                Action::BreakStream(n) => {
                    lines.truncate(*n);
                    self.done = true;
                }
                Action::Pad(n) => lines.insert(0, format!("{}\n", " ".repeat(*n))),
                _ => {}
            }
        }
        lines.concat()
    }
}

/// `/v2/list`.
pub(super) async fn serve(state: &Arc<State>, request: &Request, actions: &[Action]) -> Result<Reply, Reply> {
    let ask = Ask::parse(state, request, None)?;
    let left = huge(actions).unwrap_or(ask.limit);
    let start =
        Progress { state: Arc::clone(state), ask, left, done: false, first: true, actions: actions.into() };
    let stream = futures::stream::unfold(start, Progress::next).boxed();
    let mut reply = Reply::of(200, Payload::Stream(stream));
    reply.set(http::header::CONTENT_TYPE, "application/json");
    Ok(reply)
}
