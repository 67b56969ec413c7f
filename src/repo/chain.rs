//! The chain of prunes: who may delete packs now, and which. `docs/protocol.md` has the steps; here are the files of
//! `marks/`: a claim to each number, the mark of the last one while it is open, and its decision.

use std::collections::BTreeSet;

use super::names::{self, Meaning};
use super::repository::random;
use super::{RepoError, Repository};
use crate::control::{Control, off};
use crate::format::records::{ClaimRecord, DecisionRecord, MarkRecord, MarkedGroup};
use crate::model::id::{MarkNonce, PackId};
use crate::model::name::RunName;
use crate::model::time::Timestamp;
use crate::store::StoreErrorKind;

/// What has been decided of the packs under a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Open,
    /// This, and it stays so.
    Made(DecisionRecord),
    /// It cannot be read any more. Whoever read it before may still be deleting.
    Unreadable,
}

/// A prune that has its number and has not finished.
#[derive(Debug, Clone)]
pub struct OpenPrune {
    /// Its number.
    pub number: u32,
    /// Who claimed it, and which snapshots it removes; `None` when that cannot be read.
    pub claim: Option<ClaimRecord>,
    /// The packs that are to go; `None` when that cannot be read.
    pub mark: Option<MarkRecord>,
    /// What was decided of them.
    pub decision: Decision,
    /// The files of its mark: while one is there, it is open.
    files: Vec<String>,
}

/// The chain as it stands.
#[derive(Debug)]
pub struct Chain {
    /// The highest number that was claimed; 0: none was.
    pub last: u32,
    /// The prune of that number, if it has not finished.
    pub open: Option<OpenPrune>,
    /// The snapshots that the last claim names.
    removed: Vec<RunName>,
    /// The highest name that any prune has removed; `None`: that cannot be read.
    highest: Option<Option<RunName>>,
    /// Marks of prunes that never got their number.
    stale: Vec<String>,
}

/// What came of wanting a number.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours, and so many bytes were written for it.
    Ours(Box<OpenPrune>, u64),
    /// Another prune was faster: all that was planned is stale.
    Lost,
}

/// Who prunes, and when.
#[derive(Debug, Clone)]
pub struct Pruner {
    /// The machine.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// The moment.
    pub when: Timestamp,
}

fn nonce() -> Result<MarkNonce, RepoError> {
    Ok(MarkNonce(random()?))
}

/// A record that may have gone since it was listed, or be damaged.
enum Read<T> {
    There(T),
    Damaged,
    Gone,
}

fn read<T>(result: Result<T, RepoError>) -> Result<Read<T>, RepoError> {
    match result {
        Ok(value) => Ok(Read::There(value)),
        Err(RepoError::Store(e)) if e.kind == StoreErrorKind::NotFound => Ok(Read::Gone),
        Err(e) if e.is_damage() => Ok(Read::Damaged),
        Err(e) => Err(e),
    }
}

impl Chain {
    /// Reads it.
    ///
    /// # Errors
    /// The store cannot be read, or a record is of a newer format.
    pub async fn read(repo: &Repository) -> Result<Self, RepoError> {
        let (mut last, mut marks) = (0, Vec::new());
        for file in repo.store().list_all(names::MARKS).await? {
            match names::meaning(&file.name) {
                Meaning::Claim(number) => last = last.max(number),
                Meaning::Mark(number, _) => marks.push((number, file.name)),
                _ => {}
            }
        }
        if last == 0 {
            let (removed, stale) = (Vec::new(), Vec::new());
            return Ok(Self { last, open: None, removed, highest: Some(None), stale });
        }
        let claim = match read(repo.read::<ClaimRecord>(&names::claim(last)).await)? {
            Read::There(claim) => Some(claim),
            Read::Damaged => None,
            Read::Gone => return Err(RepoError::System(format!("{} is gone", names::claim(last)))),
        };
        // Its mark was written before the claim, but one listing may show the one and not the other: it is asked for by
        // its name, now that the claim is known. Where the claim cannot be read, any mark of the number will do.
        let mut files: Vec<String> = match &claim {
            Some(claim) => vec![names::mark(last, claim.nonce)],
            None => {
                let again = repo.store().list_all(names::MARKS).await?;
                let ours = |name: &str| matches!(names::meaning(name), Meaning::Mark(n, _) if n == last);
                again.into_iter().map(|f| f.name).filter(|name| ours(name)).collect()
            }
        };
        // A mark with a higher number waits for its claim: it is none of our business yet.
        marks.retain(|(number, name)| *number <= last && !files.contains(name));
        let stale = marks.into_iter().map(|(_, name)| name).collect();
        let removed = claim.as_ref().map(|c| c.snapshots.clone()).unwrap_or_default();
        let highest = claim.as_ref().map(|c| c.highest);
        let open = match files.as_slice() {
            [] => None,
            [one] => match read(repo.read::<MarkRecord>(one).await)? {
                Read::There(mark) => Some(Some(mark)),
                Read::Damaged => Some(None),
                Read::Gone => None,
            },
            _ => Some(None),
        };
        if open.is_none() {
            files.clear();
        }
        let open = match open {
            None => None,
            Some(mark) => {
                let decision = match read(repo.read::<DecisionRecord>(&names::decision(last)).await)? {
                    Read::There(decision) => Decision::Made(decision),
                    Read::Damaged => Decision::Unreadable,
                    Read::Gone => Decision::Open,
                };
                Some(OpenPrune { number: last, claim, mark, decision, files })
            }
        };
        Ok(Self { last, open, removed, highest, stale })
    }

    /// The packs that a run must not rely on; `None`: there are none, and "unchanged" means "present".
    ///
    /// A mark that cannot be read might name any pack. It is taken back by deciding that all packs stay; where
    /// that decision comes too late to count, nothing that is here may be relied on.
    ///
    /// # Errors
    /// The store failed.
    pub async fn condemned(&self, repo: &Repository) -> Result<Option<Condemned>, RepoError> {
        let Some(open) = &self.open else { return Ok(None) };
        if off(Control::NoHeedMarks) {
            return Ok(None);
        }
        let decision = match (&open.mark, &open.decision) {
            (None, Decision::Open) => open.decide_to_keep(repo, "its mark cannot be read").await?,
            (_, decision) => decision.clone(),
        };
        let packs = open.mark.as_ref().map(|m| m.groups.iter().flat_map(|g| g.packs.iter().copied()));
        Ok(match (packs, decision) {
            (_, Decision::Made(d)) if d.keep_all => None,
            (Some(packs), Decision::Made(d)) => {
                let keep: BTreeSet<PackId> = d.keep.into_iter().collect();
                Some(Condemned::These(packs.filter(|p| !keep.contains(p)).collect()))
            }
            (Some(packs), _) => Some(Condemned::These(packs.collect())),
            (None, _) => Some(Condemned::All),
        })
    }

    /// Wants the next number, to remove these snapshots and packs. The caller has read all it knows since `self` was.
    ///
    /// # Errors
    /// The store failed, or is full. Then nothing was begun.
    pub async fn claim(
        &self,
        repo: &Repository,
        snapshots: Vec<RunName>,
        groups: Vec<MarkedGroup>,
        by: &Pruner,
    ) -> Result<Claimed, RepoError> {
        let (number, nonce) = (self.last + 1, nonce()?);
        let before = match self.highest {
            Some(highest) => highest,
            None => ever_removed(repo).await?.into_iter().max(),
        };
        let highest = snapshots.iter().copied().max().max(before);
        let mark = MarkRecord { number, nonce, snapshots: snapshots.clone(), groups };
        let claim = ClaimRecord {
            number,
            nonce,
            snapshots,
            highest,
            when: by.when,
            host: by.host.clone(),
            pid: by.pid,
        };
        let mark_file = names::mark(number, nonce);
        let mut written = repo.create(&mark_file, &mark).await?.len() as u64;
        let file = names::claim(number);
        let created = repo.create(&file, &claim).await;
        // A reply can be lost: what stands there decides.
        let stands = read(repo.read::<ClaimRecord>(&file).await);
        match (stands, created) {
            (Ok(Read::There(stands)), created) if stands == claim => {
                written += created.map_or(0, |bytes| bytes.len() as u64);
                let open = OpenPrune {
                    number,
                    claim: Some(claim),
                    mark: Some(mark),
                    decision: Decision::Open,
                    files: vec![mark_file],
                };
                Ok(Claimed::Ours(Box::new(open), written))
            }
            (Ok(Read::There(_)), _) => {
                // Should this fail, the mark is one without a claim, and the next prune tidies it up.
                let _ = repo.store().delete(&[mark_file]).await;
                Ok(Claimed::Lost)
            }
            (Ok(Read::Gone), Err(e)) => {
                let _ = repo.store().delete(&[mark_file]).await;
                Err(e)
            }
            // Whether it is ours cannot be known: the mark stays, and whoever comes next finds out.
            (Err(e), _) | (Ok(Read::Damaged), Err(e)) => Err(e),
            (Ok(_), Ok(_)) => Err(RepoError::System(format!("{file} was written and cannot be read back"))),
        }
    }

    /// Whether a prune has removed a snapshot of this name: then it is never used again, since one that slept may remove it
    /// once more.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn has_removed(&self, repo: &Repository, name: RunName) -> Result<bool, RepoError> {
        match self.highest {
            Some(highest) if highest.is_none_or(|h| h < name) => Ok(false),
            _ => Ok(self.removed.contains(&name) || ever_removed(repo).await?.contains(&name)),
        }
    }

    /// Deletes the marks that no claim belongs to.
    ///
    /// # Errors
    /// The store failed.
    pub async fn tidy(&self, repo: &Repository) -> Result<(), RepoError> {
        if self.stale.is_empty() { Ok(()) } else { Ok(repo.store().delete(&self.stale).await?) }
    }
}

/// Packs that may go at any moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condemned {
    /// These.
    These(BTreeSet<PackId>),
    /// Any of those that were there before.
    All,
}

impl Condemned {
    /// Whether this pack may go.
    pub fn holds(&self, pack: &PackId) -> bool {
        match self {
            Self::These(packs) => packs.contains(pack),
            Self::All => true,
        }
    }
}

impl OpenPrune {
    /// The snapshots that it removes.
    pub fn snapshots(&self) -> &[RunName] {
        match (&self.claim, &self.mark) {
            (Some(claim), _) => &claim.snapshots,
            (None, Some(mark)) => &mark.snapshots,
            (None, None) => &[],
        }
    }

    /// Records what becomes of the packs, unless that is decided; returns what stands.
    ///
    /// # Errors
    /// The store failed; nothing is decided then, or it is not known what.
    pub async fn decide(
        &self,
        repo: &Repository,
        keep: Vec<PackId>,
        keep_all: bool,
        reason: &str,
    ) -> Result<Decision, RepoError> {
        let ours =
            DecisionRecord { number: self.number, keep, keep_all, reason: reason.into(), nonce: nonce()? };
        let file = names::decision(self.number);
        let created = repo.create(&file, &ours).await;
        match (read(repo.read::<DecisionRecord>(&file).await)?, created) {
            (Read::There(_), _) if off(Control::NoDecision) => Ok(Decision::Made(ours)),
            (Read::There(stands), _) => Ok(Decision::Made(stands)),
            (Read::Damaged, _) => Ok(Decision::Unreadable),
            (Read::Gone, Err(e)) => Err(e),
            (Read::Gone, Ok(_)) => Err(RepoError::System(format!("{file} was written and is not there"))),
        }
    }

    /// Decides that every pack stays, unless something else is decided; returns what stands.
    ///
    /// # Errors
    /// As [`OpenPrune::decide`].
    pub async fn decide_to_keep(&self, repo: &Repository, reason: &str) -> Result<Decision, RepoError> {
        self.decide(repo, Vec::new(), true, reason).await
    }

    /// What is to go, now that it is decided: nothing when that is not known for sure.
    pub fn doomed(&self, decision: &Decision) -> Vec<MarkedGroup> {
        let (Some(mark), Decision::Made(d)) = (&self.mark, decision) else { return Vec::new() };
        if d.keep_all {
            return Vec::new();
        }
        let keep: BTreeSet<PackId> = d.keep.iter().copied().collect();
        let mut groups = mark.groups.clone();
        for group in &mut groups {
            let before = group.packs.len();
            group.packs.retain(|p| !keep.contains(p));
            if group.packs.len() < before {
                group.indexes.clear();
            }
        }
        groups
    }

    /// Deletes the mark: the prune is finished. Returns how many bytes that freed.
    ///
    /// # Errors
    /// The store failed; the prune is open still.
    pub async fn close(&self, repo: &Repository) -> Result<u64, RepoError> {
        let mut freed = 0;
        for file in &self.files {
            freed += repo.store().size(file).await?.unwrap_or(0);
        }
        repo.store().delete(&self.files).await?;
        Ok(freed)
    }
}

/// Every snapshot that any prune has removed. A claim that cannot be read is left out.
async fn ever_removed(repo: &Repository) -> Result<BTreeSet<RunName>, RepoError> {
    let mut removed = BTreeSet::new();
    for file in repo.store().list_all(names::MARKS).await? {
        if let Meaning::Claim(_) = names::meaning(&file.name)
            && let Read::There(claim) = read(repo.read::<ClaimRecord>(&file.name).await)?
        {
            removed.extend(claim.snapshots);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    async fn repo() -> Repository {
        Repository::init(Store::memory(), Timestamp::from_seconds(1), "test").await.unwrap()
    }

    fn me() -> Pruner {
        Pruner { host: "h".into(), pid: 1, when: Timestamp::from_seconds(5) }
    }

    fn some(n: u8) -> Vec<MarkedGroup> {
        let group = RunName::at(Timestamp::from_seconds(9));
        vec![MarkedGroup { group, packs: vec![PackId([n; 32]), PackId([n + 1; 32])], indexes: vec![] }]
    }

    #[tokio::test]
    async fn a_number_is_claimed_once() {
        let repo = repo().await;
        let chain = Chain::read(&repo).await.unwrap();
        assert!(chain.last == 0 && chain.open.is_none());
        let gone = RunName::at(Timestamp::from_seconds(3));
        let Claimed::Ours(open, _) = chain.claim(&repo, vec![gone], some(1), &me()).await.unwrap() else {
            panic!("nobody else wants it")
        };
        assert!(matches!(chain.claim(&repo, vec![], some(3), &me()).await.unwrap(), Claimed::Lost));
        let now = Chain::read(&repo).await.unwrap();
        assert!(now.last == 1 && now.has_removed(&repo, gone).await.unwrap());
        assert!(!now.has_removed(&repo, gone.next()).await.unwrap());
        let Some(Condemned::These(packs)) = now.condemned(&repo).await.unwrap() else { panic!("it is open") };
        assert_eq!(packs, [PackId([1; 32]), PackId([2; 32])].into());
        let first = open.decide(&repo, vec![PackId([2; 32])], false, "needed").await.unwrap();
        assert_eq!(open.decide_to_keep(&repo, "late").await.unwrap(), first, "the first decision counts");
        assert_eq!(open.doomed(&first)[0].packs, [PackId([1; 32])]);
        let now = Chain::read(&repo).await.unwrap();
        assert_eq!(now.condemned(&repo).await.unwrap(), Some(Condemned::These([PackId([1; 32])].into())));
        open.close(&repo).await.unwrap();
        let now = Chain::read(&repo).await.unwrap();
        assert!(now.last == 1 && now.open.is_none());
        assert_eq!(ever_removed(&repo).await.unwrap(), [gone].into());
        assert!(matches!(now.claim(&repo, vec![], some(3), &me()).await.unwrap(), Claimed::Ours(..)));
    }

    #[tokio::test]
    async fn a_mark_that_cannot_be_read_is_taken_back() {
        let repo = repo().await;
        let chain = Chain::read(&repo).await.unwrap();
        let Claimed::Ours(open, _) = chain.claim(&repo, vec![], some(1), &me()).await.unwrap() else {
            panic!("nobody else wants it")
        };
        repo.store().replace(&open.files[0], "spoilt").await.unwrap();
        let now = Chain::read(&repo).await.unwrap();
        assert_eq!(now.condemned(&repo).await.unwrap(), None);
        let Decision::Made(d) = open.decide(&repo, vec![], false, "").await.unwrap() else {
            panic!("decided")
        };
        assert!(d.keep_all && open.doomed(&Decision::Made(d)).is_empty());
    }
}
