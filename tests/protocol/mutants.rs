//! The parts of the protocol that can be left out, one bit each, and the table of `docs/protocol.md` that says what is then lost.

/// A set of parts that are left out.
pub(crate) type Rules = u32;

macro_rules! rules {
    ($($bit:literal $rule:ident,)*) => { $(pub(crate) const $rule: Rules = 1 << $bit;)* };
}

rules! {
    0 CREATE_ONLY,
    1 LIST_RUNS,
    2 HEED_MARKS,
    3 MARKS_BEFORE_PACKS,
    4 RECORD_BEFORE_PARENT,
    5 FILES_FIRST,
    6 NO_SHORT_CUT,
    7 SECOND_LOOK,
    8 ONE_DECISION,
    9 MARK_LAST,
    10 ONE_AT_A_TIME,
    11 FINISH_CLAIMED,
    12 RECORD_BEFORE_MARKS,
    13 CHECKPOINTS_LOOKED_UP,
    14 COPIES_STAY,
    15 COMMIT_ONCE,
    16 NAMES_ONCE,
    17 PACK_NAMES_ONCE,
    18 MARK_BEFORE_CLAIM,
    19 CLAIM_THEN_MARK,
    20 CLAIMS_STAY,
    21 TOMBSTONES_STAY,
    22 KEEP_ONE_COPY,
    23 BEGIN_ANEW,
    24 LIST_AFTER_CLAIM,
    25 LOOK_AFTER_FENCES,
    26 FILES_BEFORE_PACKS,
    27 CLAIMS_AFTER_RECORD,
}

/// Two parts each of which is enough without the other: only without both is something lost.
pub(crate) const EITHER: [Rules; 2] = [FILES_FIRST, NO_SHORT_CUT];

/// What is left out, in the words of the table (a row may have several mutants), and a set-up that shows the loss, by the
/// beginning of its name.
pub(crate) const ROWS: &[(Rules, &str, &str)] = &[
    (CREATE_ONLY, "create-only commit, read back (run 6)", "A1"),
    (COMMIT_ONCE, "one try to commit (run 6)", "L"),
    (LIST_RUNS, "the list of runs after the claim (7)", "A1"),
    (LIST_AFTER_CLAIM, "the list of runs after the claim (7)", "A1"),
    (HEED_MARKS, "heeding marks (run 2, 4)", "A1"),
    (MARKS_BEFORE_PACKS, "marks before packs (run 2 before 4)", "A1"),
    (RECORD_BEFORE_MARKS, "the record before the marks (run 1 before 2)", "A1"),
    (RECORD_BEFORE_PARENT, "the record before the parent (run 1 before 3)", "P"),
    (NAMES_ONCE, "a name once, and looked for after the record (run 1)", "N"),
    (CLAIMS_AFTER_RECORD, "a name once, and looked for after the record (run 1)", "N"),
    (PACK_NAMES_ONCE, "a random part in every pack's name (run 5)", "A1"),
    (CHECKPOINTS_LOOKED_UP, "looking up what a checkpoint names (run 4)", "S"),
    (
        FILES_FIRST | NO_SHORT_CUT,
        "snapshot files first (6 before 7), and no short cut while a mark is open (run 4)",
        "P",
    ),
    (FILES_BEFORE_PACKS, "snapshot files before packs (6 before 10)", "P"),
    (SECOND_LOOK, "the second look (8)", "A1"),
    (LOOK_AFTER_FENCES, "the second look after the fences (8 after 7)", "A1"),
    (KEEP_ONE_COPY, "keeping one of several condemned copies (8)", "D1"),
    (TOMBSTONES_STAY, "tombstones for ever (7)", "A1"),
    (ONE_DECISION, "one decision (9)", "A1"),
    (MARK_LAST, "the mark last (11 after 10)", "A1"),
    (ONE_AT_A_TIME, "one prune at a time (5)", "B"),
    (ONE_AT_A_TIME, "one prune at a time (5)", "Q"),
    (CLAIM_THEN_MARK, "the claim, then the look for its mark (1)", "B"),
    (MARK_BEFORE_CLAIM, "the mark before the claim (4 before 5)", "B"),
    (BEGIN_ANEW, "beginning anew when the number is taken (5)", "B"),
    (CLAIMS_STAY, "claims and decisions for ever (11)", "A1"),
    (COPIES_STAY, "copies that stay (3)", "R"),
    (FINISH_CLAIMED, "finishing what was claimed (1, 6)", "Q"),
];
