//! The deliberate defects of this store, each behind a name.
//!
//! A planted bug sits in the product's code at the line where a real one would be, and
//! measures whether the checks find it. `docs/planted-bugs.md` tells what each one does, where
//! it is, and how it showed.
//!
//! Inputs: none.
//! Outputs: [`PlantedBug`], the list, and [`Planted`], the set that configurations carry and
//! that the code asks.
//! Dependencies: `veridical-probe`, which declares lists of bugs for any system.
//!
//! Without the feature `planted-bugs` the set is always empty, and the compiler removes every
//! planted branch.

veridical_probe::planted_bugs! {
    /// A deliberate defect of the store. Each one is a mistake that real systems have shipped.
    pub enum PlantedBug {
        /// raft: a leader serves linearizable reads without confirming its leadership.
        StaleRead => "stale-read",
        /// node: a write is acknowledged before its log entry is durable.
        AckBeforeFsync => "ack-before-fsync",
        /// node: term and vote are not written before a vote is sent.
        VoteNotPersisted => "vote-not-persisted",
        /// raft: entries of earlier terms are committed by counting replicas
        /// (figure 8 of the Raft paper).
        CommitOldTerm => "commit-old-term",
        /// raft: a voter compares only the terms of the logs' last entries, not their lengths
        /// (paper section 5.4.1).
        VoteToShorterLog => "vote-to-shorter-log",
        /// raft: a follower replaces everything behind an append's first entry although it
        /// agrees: a late append removes newer, acknowledged entries (paper section 5.3).
        TruncateAgreeingLog => "truncate-agreeing-log",
        /// raft: a leader's heartbeat names its whole commit index, also to a follower whose
        /// log is not known to agree that far.
        CommitBeyondMatch => "commit-beyond-match",
        /// raft: a new leader answers reads before an entry of its own term is committed
        /// (paper section 8).
        ReadBeforeOwnCommit => "read-before-own-commit",
        /// raft: a received snapshot is installed although the log has what it covers, and
        /// more (paper section 7).
        SnapshotGoesBack => "snapshot-goes-back",
        /// raft: a leader counts itself into the majority before its own disk has the entry
        /// (thesis section 10.2.1).
        LeaderCountsUnsynced => "leader-counts-unsynced",
        /// node: a confirmed read is served before the read index is applied.
        ReadBeforeApplied => "read-before-applied",
        /// node: a command of an earlier incarnation that is applied after the restart answers
        /// a caller of this one.
        AnswersFormerIncarnation => "answers-former-incarnation",
        /// node: a member starts again under the incarnation it had, so that names of commands
        /// are used twice.
        IncarnationReused => "incarnation-reused",
        /// node: a proposal that nobody answered in time is reported as certainly not done.
        UnknownToldAsFailed => "unknown-told-as-failed",
        /// node: a snapshot holds one entry more than its header says.
        SnapshotMislabelled => "snapshot-mislabelled",
        /// node: a member that leads again goes on with the lease clock of its former term.
        LeaseClockKept => "lease-clock-kept",
        /// node: a renewal is answered with the revision that this member has reached by then.
        RenewalHeaderLate => "renewal-header-late",
        /// node: a leader renews a lease without confirming that it has applied what is
        /// committed.
        RenewalUnconfirmed => "renewal-unconfirmed",
        /// node: a leader that is asked to stop keeps leadership to its end.
        StopsWithoutHandOver => "stops-without-hand-over",
        /// node: whoever is a voter counts as one that answers when another one is removed.
        SilentVoterCounts => "silent-voter-counts",
        /// node: connections to the port of peers that never greet are kept, however many they are.
        SilentPeersKept => "silent-peers-kept",
        /// node: zeros are written ahead of the log however slow the disk is.
        ZerosUnpaced => "zeros-unpaced",
        /// node: callers that wait for reads are not counted, however many they are.
        ReadsUnbounded => "reads-unbounded",
        /// raft: a leader that no majority answers leads for eight election timeouts more.
        CutOffLeaderStays => "cut-off-leader-stays",
        /// raft: a leader commits what all voters have, instead of a majority.
        CommitNeedsAll => "commit-needs-all",
        /// raft: whoever asks before an election and is in an earlier term is not told of the later
        /// one.
        PreVoteUnanswered => "pre-vote-unanswered",
        /// node: a change of the membership is compared with the members as of before one that is
        /// committed and not applied.
        CommittedTakenForApplied => "committed-taken-for-applied",
        /// raft, node: a leader begins a change of the membership while another one is uncommitted.
        ChangesOverlap => "changes-overlap",
        /// raft: a leader changes the membership before an entry of its term is committed.
        ChangeBeforeOwnCommit => "change-before-own-commit",
        /// node: whoever asked for what nobody knows the outcome of is told nothing.
        UnknownNotTold => "unknown-not-told",
        /// node: whoever waits for a command that was dispatched is told that nobody knows when
        /// the role of the member or its leader changes.
        GivenUpWithLeader => "given-up-with-leader",
        /// node: a session ends with the first request that is refused, and with it whatever else
        /// waits on it.
        SessionEndsWithRefusal => "session-ends-with-refusal",
        /// node: what was left unfinished is removed only after the log is open, which needs room.
        LeftoversRemovedLate => "leftovers-removed-late",
        /// node: a member that goes on alone keeps the last of the others as a member.
        ForcedKeepsAMember => "forced-keeps-a-member",
        /// node: snapshots are made by the number of entries alone, however long these are.
        LogBoundedByEntries => "log-bounded-by-entries",
        /// node: a command that was handed to a second leader is answered as of unknown outcome.
        SecondLeaderUnanswered => "second-leader-unanswered",
        /// node: a command settles all before it, those included whose callers wait.
        SettlesWhatWaits => "settles-what-waits",
        /// node: that a member lives once more is written and not synchronised.
        IncarnationUnsynced => "incarnation-unsynced",
        /// node: a member that does not lead tells no term in the headers of its answers.
        HeaderWithoutTerm => "header-without-term",
        /// node: a member proposes the same number for every lease whose number is its choice.
        LeaseNumberChosenTwice => "lease-number-chosen-twice",
        /// node: the new addresses of a member are added to those that it had.
        UpdateKeepsAddresses => "update-keeps-addresses",
        /// store: the hash of a revision that is to come is that of now.
        HashOfTheFuture => "hash-of-the-future",
        /// store: the end of a range that begins with a NUL byte is taken for the end of all keys.
        NulEndTakenForAll => "nul-end-taken-for-all",
        /// client: a write whose outcome is unknown is sent again.
        UnsafeRetry => "unsafe-retry",
        /// store: a watcher that fell behind skips what happened while it caught up.
        WatchGap => "watch-gap",
        /// store: a range reads each shard at whatever revision that shard has reached.
        TornCut => "torn-cut",
        /// store: a retried proposal is applied again.
        DoubleApply => "double-apply",
        /// storage: the parent folder is not synchronised after a file is created or renamed.
        DirentLoss => "dirent-loss",
        /// store: a put that takes a key from its lease leaves it attached, and the lease's end
        /// deletes it.
        LeaseKeepsKeys => "lease-keeps-keys",
        /// store: the end of a lease deletes its keys in a revision each.
        RevokeNotAtomic => "revoke-not-atomic",
        /// store: a compaction forgets as if it had been at the next revision.
        CompactionOffByOne => "compaction-off-by-one",
        /// store: a watch whose queue is full loses the revision that did not fit.
        WatchOverflow => "watch-overflow",
        /// store: a watch that is behind goes on after a snapshot that is installed, not before.
        WatchSkipsInstalled => "watch-skips-installed",
        /// store: a watch of what is to come forgets where it was to begin when a snapshot is
        /// installed.
        WatchForgetsStart => "watch-forgets-start",
        /// store: a watch that reads history gets no previous pair with the first revision of
        /// each step.
        WatchPrevLost => "watch-prev-lost",
        /// store: a range is cut at its limit before it is sorted.
        LimitBeforeSort => "limit-before-sort",
        /// store: a progress notification does not wait for the events before it.
        ProgressAhead => "progress-ahead",
        /// store: a progress notification tells of a revision below the one that its watch
        /// begins with.
        ProgressBelowStart => "progress-below-start",
        /// node: the time until a stream's progress notifications begins anew with whatever
        /// the stream has to do, so that a quiet watch beside a busy one gets none.
        ProgressPutOff => "progress-put-off",
        /// store: a transaction that wrote nothing answers with the revision of its writes.
        TxnPhantomRevision => "txn-phantom-revision",
        /// store: the oldest unsettled proposal is forgotten like the settled ones before it.
        SessionOversettled => "session-oversettled",
        /// store: the table of applied proposals is not in snapshots.
        SnapshotWithoutSessions => "snapshot-without-sessions",
        /// store: which keys a lease has is not restored from snapshots.
        RestoreWithoutAttachments => "restore-without-attachments",
        /// store: a snapshot that is being written does not hold compactions back.
        SnapshotUnpinned => "snapshot-unpinned",
        /// store: a durable copy of the state is not told of revoked leases.
        FeedKeepsLeases => "feed-keeps-leases",
        /// storage: a snapshot gets its name before its data is synchronised.
        SnapshotUnsynced => "snapshot-unsynced",
        /// storage: the name of a snapshot that a start finds is not made durable.
        SnapshotNameTrusted => "snapshot-name-trusted",
        /// storage: one segment too many is released behind a snapshot.
        WalReleasedTooMuch => "wal-released-too-much",
        /// storage: segments are deleted before the log says durably that it needs them no more.
        WalReleaseUnsynced => "wal-release-unsynced",
        /// storage: a segment is left for the next one without a last synchronisation.
        WalRotateUnsynced => "wal-rotate-unsynced",
        /// storage: recovery cuts off a torn tail together with the batch before it.
        WalTailOvercut => "wal-tail-overcut",
        /// storage: recovery replaces one entry where the log was replaced from there on.
        WalSuffixResurrected => "wal-suffix-resurrected",
        /// storage: recovery knows of a vote that may not be durable, but does not write it anew.
        WalVoteNotCarried => "wal-vote-not-carried",
        /// storage: recovery takes for durable what it can read.
        WalTailTrusted => "wal-tail-trusted",
        /// storage: recovery does not look at the checksum of a record's payload.
        WalPayloadUnchecked => "wal-payload-unchecked",
        /// storage: recovery does not compare a segment with the chain that the next one names.
        WalChainUnchecked => "wal-chain-unchecked",
        /// storage: recovery takes a record whose checksums are right and whose content is
        /// impossible for a torn tail.
        WalImpossibleCutOff => "wal-impossible-cut-off",
        /// storage: of the records behind a bad place recovery asks only the nearest what it
        /// claims to be durable.
        WalNearestClaimTaken => "wal-nearest-claim-taken",
        /// storage: recovery accepts a hard state that takes the vote in its term back.
        WalVoteTakenBack => "wal-vote-taken-back",
        /// node: the writes of a batch are applied in the order of their keys.
        BatchSortedByKey => "batch-sorted-by-key",
        /// node: all puts of a batch are answered with the revision of the first.
        BatchFirstRevision => "batch-first-revision",
        /// node: writes of a batch whose outcome is unknown are reported as never begun.
        BatchUnknownTold => "batch-unknown-told-as-untried",
        /// client: a batch of writes is sent again when its connection breaks.
        BatchRetriedWhole => "batch-retried-whole",
        /// client: callers that gave up are left out when the answers of a batch are dealt, so
        /// that those behind them get the answers of others.
        BatchAnswersShift => "batch-answers-shift",
        /// client: an operation does not wait for earlier ones of its caller that are under way.
        BatchOvertakes => "batch-overtakes",
        /// client: the answers of a batch over shards are dealt in the order of the shards.
        ShardAnswersSwapped => "shard-answers-swapped",
        /// client: the parts of a range over shards are put one behind the other.
        ShardsNotMerged => "shards-not-merged",
        /// client: a transaction over several shards runs in the shard of its first key.
        ShardTxnUnchecked => "shard-txn-unchecked",
        /// client: whoever wants a lock does not wait for those before it in the line.
        LockWithoutTurn => "lock-without-turn",
        /// node: who waited until his time was up for a command that no leader was handed is told
        /// that nobody knows what came of it.
        KnownToldAsUnknown => "known-told-as-unknown",
        /// node: a command that was put into the own log is not handed to a later leader.
        StaysWithLostLeader => "stays-with-lost-leader",
        /// client: what the cluster says of its members is asked for and not taken.
        LearntEndpointsIgnored => "learnt-endpoints-ignored",
        /// client: a watch that was broken goes on with the revision after the one that it has to
        /// ask for.
        WatchResumesLate => "watch-resumes-late",
        /// raft: leadership is handed over to a learner, too.
        HandedOverToLearner => "handed-over-to-learner",
    }
}

/// A set of the store's planted bugs.
pub type Planted = veridical_probe::Planted<PlantedBug>;
