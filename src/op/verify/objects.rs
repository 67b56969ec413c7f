//! The objects of a snapshot, one by one: read from the store, hashed, and compared with another side.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Against, Comparison, Context, Report};
use crate::format::pack::BlobKind;
use crate::model::content::{block_range, blocks, content_id, sha1};
use crate::model::entry::{Entry, Kind, State};
use crate::model::event::Event;
use crate::model::id::{BlobId, ContentId, ContentKind};
use crate::model::key::Key;
use crate::model::listed::{Listed, ListedHash};
use crate::model::name::RunName;
use crate::op::OpError;
use crate::op::check::{self, Finding, Hurt, Severity};
use crate::op::open::Opened;
use crate::op::snapshot::listing::{Listing, Next};
use crate::plan::compare::is_same;
use crate::repo::RepoError;
use crate::repo::blobs::BlobReader;
use crate::repo::manifest_reader::Span;
use crate::repo::names::{self, Meaning};
use crate::source::{ReadError, Source};

/// More findings than this are only counted.
const MOST: usize = 10_000;

/// Goes through all objects: reads them from the store if `stored`, and compares them with the other side if there is one.
pub(super) async fn pass(
    ctx: &Context,
    opened: &Opened,
    stored: bool,
    against: Option<&Arc<Against>>,
    spool: &Path,
    report: &mut Report,
) -> Result<Comparison, OpError> {
    let mut proof = Proof {
        ctx,
        snapshot: opened.name,
        reader: opened.blobs.clone(),
        stored,
        against: against.cloned(),
        jobs: JoinSet::new(),
        compared: Comparison::default(),
        hurt: Vec::new(),
        report,
    };
    let mut entries = opened.entries(&Span::all());
    let mut other = against.map(|a| Other::new(ctx, a, spool));
    loop {
        if ctx.cancel.is_set() {
            return Err(OpError::Interrupted);
        }
        let entry = match entries.next().await {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            // The structure's check has told of it already.
            Err(e) if e.is_damage() => continue,
            Err(e) => return Err(e.into()),
        };
        let listed = match &mut other {
            Some(other) => other.until(Some(&entry), &mut proof).await?,
            None => None,
        };
        proof.begin(entry, listed).await?;
    }
    if let Some(other) = &mut other {
        other.until(None, &mut proof).await?;
    }
    while proof.settle().await? {}
    let Proof { compared, hurt, .. } = proof;
    check::record(&ctx.repo, ctx.clock.now(), &hurt, &ctx.observer).await?;
    Ok(compared)
}

/// Reads a few objects from the store once more.
pub(super) async fn some(
    ctx: &Context,
    opened: &Opened,
    keys: &[Key],
    report: &mut Report,
) -> Result<(), OpError> {
    let mut proof = Proof {
        ctx,
        snapshot: opened.name,
        reader: opened.blobs.clone(),
        stored: true,
        against: None,
        jobs: JoinSet::new(),
        compared: Comparison::default(),
        hurt: Vec::new(),
        report,
    };
    for key in keys {
        match opened.entries(&Span::from(key.clone())).next().await {
            Ok(Some(entry)) if entry.key == *key => proof.begin(entry, None).await?,
            Ok(_) => {}
            Err(e) if e.is_damage() => {}
            Err(e) => return Err(e.into()),
        }
    }
    while proof.settle().await? {}
    let hurt = std::mem::take(&mut proof.hurt);
    check::record(&ctx.repo, ctx.clock.now(), &hurt, &ctx.observer).await
}

/// The other side's listing, stepped along with the entries.
struct Other {
    listing: Listing,
    page: std::vec::IntoIter<Listed>,
    peeked: Option<Listed>,
}

impl Other {
    fn new(ctx: &Context, against: &Against, spool: &Path) -> Self {
        let listing = Listing::sorted(Arc::clone(&against.source), spool, &ctx.observer);
        Self { listing, page: Vec::new().into_iter(), peeked: None }
    }

    async fn next(&mut self) -> Result<Option<Listed>, OpError> {
        loop {
            if let Some(listed) = self.peeked.take().or_else(|| self.page.next()) {
                return Ok(Some(listed));
            }
            match self.listing.next().await? {
                Next::Page(page) => self.page = page.into_iter(),
                Next::End => return Ok(None),
                Next::OutOfOrder => {
                    return Err(OpError::Failed("a sorted listing is out of order".into()));
                }
            }
        }
    }

    /// Steps up to the entry's key; `None`: to the end. What is stepped over is not in the snapshot.
    async fn until(
        &mut self,
        entry: Option<&Entry>,
        proof: &mut Proof<'_>,
    ) -> Result<Option<Listed>, OpError> {
        while let Some(listed) = self.next().await? {
            match entry {
                Some(entry) if listed.key == entry.key => return Ok(Some(listed)),
                Some(entry) if listed.key > entry.key => {
                    self.peeked = Some(listed);
                    return Ok(None);
                }
                _ => proof.compared.new += 1,
            }
        }
        Ok(None)
    }
}

/// What one object came to.
struct Done {
    key: Key,
    blocks: u64,
    bytes: u64,
    /// What is wrong with it in the store.
    damage: Option<RepoError>,
    compared: Option<Compared>,
}

enum Compared {
    Same,
    SameByHash,
    Changed,
    Gone,
    Different(String),
    Unread(String),
}

struct Proof<'a> {
    ctx: &'a Context,
    snapshot: RunName,
    reader: BlobReader,
    /// The bytes are read from the store.
    stored: bool,
    against: Option<Arc<Against>>,
    jobs: JoinSet<Result<Done, OpError>>,
    compared: Comparison,
    /// Damage that the next run is to know of.
    hurt: Vec<Hurt>,
    report: &'a mut Report,
}

impl Proof<'_> {
    async fn begin(&mut self, entry: Entry, listed: Option<Listed>) -> Result<(), OpError> {
        // Named without contents: there is nothing to restore.
        if entry.state != State::Ok {
            return Ok(());
        }
        let at_once = std::thread::available_parallelism().map_or(2, usize::from) + 1;
        while self.jobs.len() >= at_once {
            self.settle().await?;
        }
        let reader = self.stored.then(|| self.reader.clone());
        let against = self.against.clone();
        self.jobs.spawn(async move { object(reader.as_ref(), against, entry, listed).await });
        Ok(())
    }

    /// Takes one result; false: there is none left.
    async fn settle(&mut self) -> Result<bool, OpError> {
        let Some(done) = self.jobs.join_next().await else { return Ok(false) };
        let done = done??;
        self.report.blobs += done.blocks;
        self.report.bytes += done.bytes;
        self.ctx.observer.event(Event::Advance { objects: 1, bytes: done.bytes });
        if let Some(e) = done.damage {
            let mut finding = Finding::damage(names::snapshot(self.snapshot), format!("{}: {e}", done.key));
            match &e {
                RepoError::Damaged { kind, id, pack, what } => {
                    finding.blob = Some((*kind, *id));
                    if let Meaning::Pack(group, pack) = names::meaning(pack) {
                        finding.pack = Some(pack);
                        if self.hurt.len() < MOST {
                            let (blob, what) = (Some((*kind, *id)), what.clone());
                            self.hurt.push(Hurt { group, pack, blob, what });
                        }
                    }
                }
                RepoError::Missing { kind, id } => finding.blob = Some((*kind, *id)),
                _ => {}
            }
            self.add(finding, &done.key);
        }
        let c = &mut self.compared;
        match done.compared {
            None => {}
            Some(Compared::Same) => c.same += 1,
            Some(Compared::SameByHash) => c.same_by_hash += 1,
            Some(Compared::Changed) => c.changed += 1,
            Some(Compared::Gone) => c.gone += 1,
            Some(Compared::Different(what)) => {
                c.different += 1;
                let what = format!("{}: {what}", done.key);
                self.add(Finding::damage(names::snapshot(self.snapshot), what), &done.key);
            }
            Some(Compared::Unread(what)) => {
                c.unread += 1;
                let what = format!("{}: it cannot be compared: {what}", done.key);
                self.add(Finding::notice(names::snapshot(self.snapshot), what), &done.key);
            }
        }
        Ok(true)
    }

    fn add(&mut self, finding: Finding, key: &Key) {
        if self.report.findings.len() < MOST {
            let mut finding = finding.snapshot(self.snapshot);
            finding.keys.push(key.clone());
            finding.entries = 1;
            self.report.findings.push(finding);
        } else if finding.severity == Severity::Damage {
            self.report.damaged += 1;
        }
    }
}

/// Reads one object from the store, and compares.
async fn object(
    reader: Option<&BlobReader>,
    against: Option<Arc<Against>>,
    entry: Entry,
    listed: Option<Listed>,
) -> Result<Done, OpError> {
    let mut done = Done { key: entry.key.clone(), blocks: 0, bytes: 0, damage: None, compared: None };
    if let (Some(content), Some(reader)) = (entry.content, reader) {
        match stored(reader, &entry, content, &mut done).await {
            Ok(()) => {}
            Err(e) if e.is_damage() => {
                done.damage = Some(e);
                return Ok(done);
            }
            Err(e) => return Err(e.into()),
        }
    }
    if let Some(against) = against {
        done.compared = Some(compare(&against, &entry, listed).await?);
        if reader.is_none() && matches!(done.compared, Some(Compared::Same)) && entry.content.is_some() {
            (done.blocks, done.bytes) = (blocks(entry.size), entry.size);
        }
    }
    Ok(done)
}

/// Reads all bytes of a content and hashes them into its name.
async fn stored(
    reader: &BlobReader,
    entry: &Entry,
    content: ContentId,
    done: &mut Done,
) -> Result<(), RepoError> {
    let ids = reader.blocks(content, entry.size).await?;
    for (n, id) in (0..).zip(&ids) {
        let range = block_range(n, entry.size);
        let bytes = reader.read(BlobKind::Data, id).await?;
        let (length, wanted) = (bytes.len() as u64, *id);
        let same = tokio::task::spawn_blocking(move || sha1(&bytes) == wanted).await?;
        if !same || length != range.end - range.start {
            let what = "its bytes are not those that the entry names".into();
            return Err(RepoError::Damaged { kind: BlobKind::Data, id: *id, pack: "its pack".into(), what });
        }
        done.blocks += 1;
        done.bytes += length;
    }
    if content_id(&ids) != content {
        let (ContentKind::Blob(id) | ContentKind::List(id)) = content.kind();
        let what = "its blocks do not add up to the entry's etag".into();
        return Err(RepoError::Damaged { kind: BlobKind::List, id, pack: "its pack".into(), what });
    }
    Ok(())
}

async fn compare(against: &Against, entry: &Entry, listed: Option<Listed>) -> Result<Compared, OpError> {
    let differs = |what: &str| {
        if against.live { Compared::Changed } else { Compared::Different(what.into()) }
    };
    let Some(listed) = listed else {
        return Ok(if against.live {
            Compared::Gone
        } else {
            Compared::Different("it is not in the folder".into())
        });
    };
    if let Some(why) = listed.failed.clone().or_else(|| listed.unavailable.clone()) {
        return Ok(Compared::Unread(why));
    }
    if listed.kind != entry.kind {
        return Ok(differs("it is another kind of thing there"));
    }
    if entry.kind != Kind::Object {
        return Ok(if listed.target == entry.target {
            Compared::Same
        } else {
            differs("it points elsewhere there")
        });
    }
    let untouched = is_same(&listed, entry);
    if against.source.blocking().is_none() {
        let same = match &listed.hash {
            Some(ListedHash::Etag(id)) => Some(*id) == entry.content,
            _ => untouched,
        };
        return Ok(if same { Compared::SameByHash } else { differs("the source lists another hash") });
    }
    if listed.size != entry.size {
        return Ok(differs("it has another size there"));
    }
    let source = Arc::clone(&against.source);
    let read = tokio::task::spawn_blocking(move || local_content(source.as_ref(), &listed)).await?;
    Ok(match read {
        Ok(id) if Some(id) == entry.content => Compared::Same,
        Ok(_) if untouched => Compared::Different(
            "its bytes are others at the source, though its times did not change: one of the two is damaged"
                .into(),
        ),
        Ok(_) => differs("it has other bytes there"),
        Err(ReadError::Changed | ReadError::Vanished) if against.live => Compared::Changed,
        Err(e) => Compared::Unread(e.to_string()),
    })
}

/// The content id of a local file as it stands.
fn local_content(source: &dyn Source, listed: &Listed) -> Result<ContentId, ReadError> {
    let mut ids: Vec<BlobId> = Vec::new();
    if let Some(local) = source.blocking() {
        for n in 0..blocks(listed.size) {
            ids.push(sha1(&local.read_blocking(listed, block_range(n, listed.size))?));
        }
    }
    Ok(content_id(&ids))
}
