//! Which live objects may have the bytes of what was lost: first those of the same keys, then, for what is left, one pass over the
//! whole listing, which finds what was renamed since.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::Pending;
use crate::model::id::ContentId;
use crate::model::key::Key;
use crate::model::listed::Listed;
use crate::plan::heal::{Fit, fit};
use crate::source::{ErrorKind, Source, SourceError};

/// A live object that is worth reading, and which of its blocks.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub fit: Fit,
    pub listed: Arc<Listed>,
    pub number: u64,
}

/// So many objects are tried for a blob.
const MOST: usize = 4;
/// Up to so many keys are asked for one by one; above, listing everything is cheaper.
pub(super) const MOST_KEYS: usize = 1_000;
/// Keys asked for at a time.
const AT_ONCE: usize = 8;

/// For each blob, the candidates.
pub(super) type Candidates = Vec<Vec<Candidate>>;

/// The keys that what is pending stood under; none if they are too many.
pub(super) fn keys(pending: &[Pending]) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for used in pending.iter().flat_map(|p| &p.need.uses) {
        keys.insert(used.key.clone());
        if keys.len() > MOST_KEYS {
            return BTreeSet::new();
        }
    }
    keys
}

/// Asks for the keys themselves.
///
/// # Errors
/// The source cannot be reached.
pub(super) async fn by_key(
    source: &Arc<dyn Source>,
    keys: BTreeSet<Key>,
    pending: &[Pending],
) -> Result<Candidates, SourceError> {
    let wanted = Wanted::new(pending);
    let mut found = vec![Vec::new(); pending.len()];
    let mut answers =
        stream::iter(keys).map(|key| async move { source.stat(&key).await }).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Some(listed)) => wanted.offer(pending, &listed, &mut found),
            Ok(None) => {}
            Err(e) if is_final(e.kind) => return Err(e),
            // This one key cannot be asked for; the listing may show it.
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Whether there is no use in asking for anything else.
pub(super) fn is_final(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Other | ErrorKind::Protocol)
}

/// Looks through the whole listing.
///
/// # Errors
/// The listing failed.
pub(super) async fn by_listing(
    source: &Arc<dyn Source>,
    pending: &[Pending],
) -> Result<Candidates, SourceError> {
    let wanted = Wanted::new(pending);
    let mut found = vec![Vec::new(); pending.len()];
    let mut pages = source.list();
    while let Some(page) = pages.next().await {
        for listed in page? {
            wanted.offer(pending, &listed, &mut found);
        }
    }
    Ok(found)
}

/// What is pending, by everything that an object can be recognised by.
struct Wanted<'a> {
    contents: HashMap<ContentId, Vec<usize>>,
    keys: HashMap<&'a Key, Vec<usize>>,
    sizes: HashMap<u64, Vec<usize>>,
}

impl<'a> Wanted<'a> {
    fn new(pending: &'a [Pending]) -> Self {
        let mut wanted = Self { contents: HashMap::new(), keys: HashMap::new(), sizes: HashMap::new() };
        for (n, used) in pending.iter().enumerate().flat_map(|(n, p)| p.need.uses.iter().map(move |u| (n, u)))
        {
            wanted.contents.entry(used.content).or_default().push(n);
            wanted.keys.entry(&used.key).or_default().push(n);
            wanted.sizes.entry(used.size).or_default().push(n);
        }
        wanted
    }

    fn offer(&self, pending: &[Pending], listed: &Listed, found: &mut Candidates) {
        use crate::model::listed::ListedHash;
        let mut places: Vec<usize> = self.keys.get(&listed.key).into_iter().flatten().copied().collect();
        match &listed.hash {
            Some(ListedHash::Etag(id)) => places.extend(self.contents.get(id).into_iter().flatten()),
            _ => places.extend(self.sizes.get(&listed.size).into_iter().flatten()),
        }
        places.sort_unstable();
        places.dedup();
        let mut shared: Option<Arc<Listed>> = None;
        for n in places {
            let (Some(p), Some(list)) = (pending.get(n), found.get_mut(n)) else { continue };
            for used in &p.need.uses {
                let Some(fit) = fit(p.need.kind, p.need.length, used, listed) else { continue };
                let same = |c: &Candidate| c.listed.key == listed.key && c.number == used.number;
                if list.iter().any(same) || (list.len() >= MOST && list.last().is_some_and(|c| c.fit <= fit))
                {
                    continue;
                }
                let listed = shared.get_or_insert_with(|| Arc::new(listed.clone()));
                list.push(Candidate { fit, listed: Arc::clone(listed), number: used.number });
                list.sort_by_key(|c| c.fit);
                list.truncate(MOST);
            }
        }
    }
}
