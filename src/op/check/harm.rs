//! Whom damage harms: for each lost pack and each damaged or missing blob, the keys and snapshots that need it.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use super::finding::{Finding, Findings, MOST_KEYS};
use super::groups::file_of;
use crate::format::pack::BlobKind;
use crate::format::records::{BlobKindName, DamageRecord};
use crate::model::id::{BlobId, PackId};
use crate::model::key::Key;
use crate::model::name::RunName;
use crate::op::OpError;
use crate::repo::blobs::Groups;
use crate::repo::group::Located;

/// Damage that was met and that no record names yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurt {
    /// The group.
    pub group: RunName,
    /// The pack.
    pub pack: PackId,
    /// The blob; none: the pack's own structure.
    pub blob: Option<(BlobKind, BlobId)>,
    /// In words.
    pub what: String,
}

/// What harms: kept apart so that a lost pack is one finding, not one for each of its blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The pack as a whole is lost or its structure hurt.
    Pack(RunName, PackId),
    /// One blob in a pack.
    Blob(RunName, PackId, BlobKind, BlobId),
    /// A blob that no pack of its group has.
    Gone(RunName, BlobKind, BlobId),
}

/// Who is harmed.
#[derive(Debug, Default)]
struct Harm {
    keys: BTreeSet<Key>,
    entries: u64,
    snapshots: BTreeSet<RunName>,
    /// Blobs that were asked for, and those of them that another group holds undamaged.
    asked: u64,
    elsewhere: u64,
    groups: BTreeSet<RunName>,
    what: Option<String>,
}

/// All harm; bounded.
#[derive(Debug, Default)]
pub(super) struct Harms {
    all: BTreeMap<Subject, Harm>,
    more: u64,
    pub(super) others: Vec<Finding>,
    pub(super) hurt: Vec<Hurt>,
}

/// So many subjects are told apart.
const MOST: usize = 10_000;

/// Who needs a blob that is not there.
pub(super) struct Needed<'a> {
    pub home: RunName,
    pub snapshot: RunName,
    pub kind: BlobKind,
    pub id: &'a BlobId,
    /// The entry's key, or the first and last of a piece of a manifest.
    pub keys: &'a [&'a Key],
    pub entries: u64,
}

impl Harms {
    /// Notes that a blob has no sound copy where it should. `copies` are all there are, anywhere.
    pub(super) fn note(
        &mut self,
        needed: &Needed<'_>,
        copies: &[Located],
        at_home: impl Fn(&Located) -> bool,
        groups: &Groups,
        what: Option<String>,
    ) {
        let own = copies.iter().find(|l| at_home(l));
        let subject = match own {
            None => Subject::Gone(needed.home, needed.kind, *needed.id),
            Some(l) if what.is_some() || groups.damage().get(&l.pack).is_some_and(|d| names_blob(d, l)) => {
                Subject::Blob(l.group, l.pack, needed.kind, *needed.id)
            }
            Some(l) => Subject::Pack(l.group, l.pack),
        };
        if self.all.len() >= MOST && !self.all.contains_key(&subject) {
            self.more += 1;
            return;
        }
        let harm = self.all.entry(subject).or_default();
        for key in needed.keys {
            if harm.keys.len() < MOST_KEYS {
                harm.keys.insert((*key).clone());
            }
        }
        harm.entries += needed.entries;
        harm.snapshots.insert(needed.snapshot);
        harm.asked += 1;
        if let Some(other) = copies.iter().find(|l| l.sound && !at_home(l)) {
            harm.elsewhere += 1;
            harm.groups.insert(other.group);
        }
        harm.what = harm.what.take().or(what);
    }

    /// Turns it into findings, together with lost packs and recorded damage that harm nobody.
    pub(super) async fn report(
        self,
        groups: &Groups,
        options: &Options,
        findings: &mut Findings,
    ) -> Result<(), OpError> {
        self.others.into_iter().for_each(|f| findings.push(f));
        self.hurt.into_iter().for_each(|h| findings.hurt(h));
        findings.count(self.more);
        if options.only.is_none() {
            for name in groups.names() {
                for (pack, state) in groups.get(name).await?.packs() {
                    let hurts = |s: &Subject| match s {
                        Subject::Pack(_, p) | Subject::Blob(_, p, ..) => *p == pack,
                        Subject::Gone(..) => false,
                    };
                    let recorded = groups.damage().get(&pack).map(|d| d.what.clone());
                    let Some(what) = state.lost.filter(|_| state.indexed).or(recorded) else { continue };
                    if state.indexed && !self.all.keys().any(hurts) {
                        let what = format!(
                            "{what}; every blob that a snapshot needs of it is stored elsewhere in its group"
                        );
                        findings.push(Finding::notice(file_of(name, pack), what).pack(pack));
                    }
                }
            }
        }
        for (subject, harm) in self.all {
            findings.push(finding(subject, harm, groups).await?);
        }
        Ok(())
    }
}

async fn finding(subject: Subject, harm: Harm, groups: &Groups) -> Result<Finding, OpError> {
    let known = |pack: &PackId| groups.damage().get(pack).map(|d| d.what.clone());
    let mut finding = match subject {
        Subject::Pack(group, pack) => {
            let lost = groups.get(group).await?.packs().remove(&pack).and_then(|s| s.lost);
            let what = lost.or_else(|| known(&pack)).or(harm.what).unwrap_or_else(|| "it is damaged".into());
            Finding::damage(file_of(group, pack), what).pack(pack)
        }
        Subject::Blob(group, pack, kind, id) => {
            let what =
                harm.what.or_else(|| known(&pack)).unwrap_or_else(|| "other bytes than were stored".into());
            let mut f = Finding::damage(file_of(group, pack), about(kind, &id, &what)).pack(pack);
            f.blob = Some((kind, id));
            f
        }
        Subject::Gone(group, kind, id) => {
            let what = harm.what.unwrap_or_else(|| "no pack of the group has it".into());
            let mut f = Finding::damage(names_group(group), about(kind, &id, &what));
            f.blob = Some((kind, id));
            f
        }
    };
    if harm.elsewhere > 0 {
        let groups: Vec<String> = harm.groups.iter().map(ToString::to_string).collect();
        let some = if harm.elsewhere == harm.asked { "an undamaged copy" } else { "some of it undamaged" };
        finding.what = format!("{}; there is {some} in group {}", finding.what, groups.join(", "));
    }
    finding.keys = harm.keys.into_iter().collect();
    finding.entries = harm.entries;
    finding.snapshots = harm.snapshots.into_iter().collect();
    Ok(finding)
}

/// Whether a record of damage is about this blob, not about the pack as a whole.
fn names_blob(damage: &DamageRecord, copy: &Located) -> bool {
    let same = |(kind, id): &(BlobKindName, BlobId)| {
        BlobKind::from(*kind) == copy.record.kind && *id == copy.record.id
    };
    !damage.whole && damage.blobs.iter().any(same)
}

/// What is wrong with a blob; some reasons name it themselves.
pub(super) fn about(kind: BlobKind, id: &BlobId, what: &str) -> String {
    let name = format!("{kind} blob {id}");
    if what.starts_with(&name) { what.to_owned() } else { format!("{name}: {what}") }
}

fn names_group(group: RunName) -> String {
    crate::repo::names::group(group)
}
