//! Settings of the members, drawn per seed.

use veridical_sim::Rng;

use crate::plan::Knobs;
use crate::swarm::pick;

pub(super) fn knobs(rng: &mut Rng) -> Knobs {
    let heartbeat_ms = pick(rng, &[50, 100, 100, 150]);
    let snapshot_entries = pick(rng, &[25, 60, 200, 1_000, 10_000]);
    Knobs {
        heartbeat_ms,
        election_timeout_ms: heartbeat_ms * rng.between(5, 12),
        max_append_bytes: pick(rng, &[64, 512, 4_096, 1_048_576]),
        max_inflight_appends: pick(rng, &[1, 2, 8, 256]),
        max_uncommitted_bytes: pick(rng, &[2_048, 65_536, 1_048_576]),
        apply_yield_commands: pick(rng, &[1, 1, 2, 64]),
        request_timeout_ms: pick(rng, &[1_500, 3_000, 5_000]),
        retry_ms: pick(rng, &[100, 250, 500, 1_000]),
        snapshot_entries,
        snapshot_keep_entries: rng.below(snapshot_entries + 1),
        snapshot_chunk_bytes: pick(rng, &[64, 512, 4_096]),
        snapshot_window_chunks: pick(rng, &[1, 2, 8]),
        wal_segment_bytes: pick(rng, &[16_384, 65_536, 262_144, 1_048_576]),
        shards: pick(rng, &[1, 2, 8, 16]),
        lease_check_ms: pick(rng, &[100, 250, 500]),
        watch_progress_ms: pick(rng, &[500, 2_000, 10_000]),
        watch_pace_ms: pick(rng, &[0, 0, 2, 40]),
        connect_timeout_ms: pick(rng, &[100, 300, 1_000]),
        reconnect_delay_ms: pick(rng, &[10, 50, 100]),
        watch_catch_up_revisions: pick(rng, &[1, 2, 16, 1_000]),
        watch_buffered_events: pick(rng, &[1, 8, 8_192]),
        max_session_requests: pick(rng, &[1, 4, 64, 1_024]),
        max_pending_reads: pick(rng, &[1, 4, 1_024, 1_024]),
        max_pending_requests: pick(rng, &[2, 8, 16_384, 16_384]),
        max_outbox_frames: pick(rng, &[4, 32, 1_024, 1_024]),
    }
}
