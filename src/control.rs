//! Floor 0: switches that break qbak on purpose, and named points where a process can be made to die, so that tests can be
//! seen to fail. Only a build with the feature `controls` has them; in any other build all of this is nothing, and costs nothing.
//!
//! | variable | what it does |
//! |---|---|
//! | `QBAK_CONTROL=no-fsync` | leaves out one mechanism, by its name in [`Control`] |
//! | `QBAK_KILL=pack.written:3` | SIGKILL to itself when it comes to that [`Point`] for the third time |
//! | `QBAK_STOP=pack.written:3` | the same with SIGSTOP |
//! | `QBAK_SPOIL=pack.closed:1` | one bit of what is in memory there flips, as in bad memory |
//! | `QBAK_POINTS=FILE` | a line for every point that is passed |
//!
//! A build with the feature says so in `--version` and whenever it starts: it is for no backup.

/// Makes a list of names: the enumeration, all of it, and each one's text.
macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($(#[$what:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind { $($(#[$what])* $name,)* }

        impl $kind {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in the environment and in tables.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The one of that name.
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.text() == text)
            }
        }
    };
}

names! {
    /// A mechanism that can be left out, to see which test notices. `tests/controls.txt` says which promise it serves and
    /// which test it is that must fail.
    Control {
        /// Files are not flushed before they get their name.
        NoFsync = "no-fsync",
        /// Folders are not flushed after a file got its name.
        NoDirFsync = "no-dir-fsync",
        /// The snapshot file comes before the packs and index files that it needs.
        NoOrder = "no-order",
        /// A pack is written without having been decoded again.
        NoPackProof = "no-pack-proof",
        /// Blobs are read without comparing their BLAKE3.
        NoBlake3Check = "no-blake3-check",
        /// A restored file is written under its final name at once.
        NoTempName = "no-temp-name",
        /// Downloads are not compared with the hash that was listed.
        NoEtagCheck = "no-etag-check",
        /// The rest of a block is taken though it is of another version than its beginning.
        NoVersionPin = "no-version-pin",
        /// A file that changed while it was read is taken for the one that was listed.
        NoChangeCheck = "no-change-check",
        /// A listing that breaks off counts as complete.
        NoListingEnd = "no-listing-end",
        /// Markers and prefixes of listing pages are not looked at.
        NoListingCheck = "no-listing-check",
        /// A run goes on however many downloads fail.
        NoGuard = "no-guard",
        /// No snapshot is ever suspect.
        NoBrake = "no-brake",
        /// Keys are used as paths as they are.
        NoKeyEscape = "no-key-escape",
        /// A restore goes through links that stand in its target.
        NoConfinement = "no-confinement",
        /// A restore takes any path.
        NoPathCheck = "no-path-check",
        /// Damage that was found is not recorded.
        NoDamageRecord = "no-damage-record",
        /// A pack is not compared with its name.
        NoNameCheck = "no-name-check",
        /// Records are read without comparing their check sum.
        NoRecordCheck = "no-record-check",
        /// *Newest* goes by the clock.
        NoSequence = "no-sequence",
        /// Answers may be of any length.
        NoBounds = "no-bounds",
        /// What a frame decodes to may be of any length.
        NoFrameBound = "no-frame-bound",
        /// Redirects count as answers.
        NoRedirectCheck = "no-redirect-check",
        /// A snapshot is written over a tombstone.
        NoFence = "no-fence",
        /// A run does not look for marks of open prunes.
        NoHeedMarks = "no-heed-marks",
        /// A run relies on what it read before it made its record.
        NoRecordFirst = "no-record-first",
        /// Before it decides, a prune does not look at snapshots again.
        NoSecondLook = "no-second-look",
        /// A prune follows its own decision, whatever was decided before.
        NoDecision = "no-decision",
        /// The mark goes before the packs.
        NoMarkLast = "no-mark-last",
        /// The packs go before the snapshots that need them.
        NoSnapshotFilesFirst = "no-snapshot-files-first",
        /// A prune goes on over snapshots that cannot be read.
        NoFailClosed = "no-fail-closed",
        /// Newer formats are read as if they were ours.
        NoVersionCheck = "no-version-check",
        /// The store is not asked whether it kept what it acknowledged.
        NoSizeCheck = "no-size-check",
    }
}

names! {
    /// A place that a run comes by. `tests/failpoints.rs` kills it at each of them, at every pass.
    Point {
        /// A file of the store is about to be created.
        StoreCreate = "store.create",
        /// It has been, and is durable.
        StoreCreated = "store.created",
        /// A record was replaced.
        StoreReplaced = "store.replaced",
        /// A file was deleted; its folder is not flushed yet.
        StoreDeleted = "store.deleted",
        /// A run has read what it needs to know for its record.
        RunSurveyed = "run.surveyed",
        /// A run has made its record.
        RunRecorded = "run.recorded",
        /// A prune has read everything and knows what is to go.
        PrunePlanned = "prune.planned",
        /// A prune has its number.
        PruneClaimed = "prune.claimed",
        /// It has looked at the snapshots for the second time.
        PruneLooked = "prune.looked",
        /// It has decided.
        PruneDecided = "prune.decided",
        /// What was to go is gone, but for the mark.
        PruneDeleted = "prune.deleted",
        /// A pack was closed in memory.
        PackClosed = "pack.closed",
        /// A pack is durable.
        PackWritten = "pack.written",
        /// A checkpoint is durable.
        CheckpointWritten = "checkpoint.written",
        /// An index file is durable.
        IndexWritten = "index.written",
        /// Everything that the snapshot needs is durable.
        RunSealed = "run.sealed",
        /// The snapshot file is there.
        SnapshotCreated = "snapshot.created",
        /// A restored file has its bytes, and not its name.
        FileFilled = "file.filled",
        /// A restored file has its name.
        FileNamed = "file.named",
    }
}

/// What `--version` says.
#[cfg(not(feature = "controls"))]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What `--version` says.
#[cfg(feature = "controls")]
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (built with the feature controls: for tests only, not for backups)");

#[cfg(feature = "controls")]
mod active;
#[cfg(feature = "controls")]
pub use active::{off, point, spoil, warning};

/// Whether a mechanism is left out: never.
#[inline(always)]
#[cfg(not(feature = "controls"))]
pub const fn off(_: Control) -> bool {
    false
}

/// Passes a point: nothing happens.
#[inline(always)]
#[cfg(not(feature = "controls"))]
pub const fn point(_: Point) {}

/// Flips a bit: never.
#[inline(always)]
#[cfg(not(feature = "controls"))]
pub const fn spoil(_: Point, _: &mut [u8]) {}

/// What must be said at the start of a build that can be broken: this one cannot.
#[cfg(not(feature = "controls"))]
pub const fn warning() -> Result<Option<String>, String> {
    Ok(None)
}
