/** Durations and limits of the protocol. Each name carries its unit; "default" ones may be set by the operator or policy. */

/** One minute, hour and day, for the arithmetic of others. */
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** How long after receipt a promised change must be merged. Fixed per log, can only shrink; clients refuse more than the maximum. */
export const MERGE_DELAY_DEFAULT_MS = 60_000;
export const MERGE_DELAY_MAX_MS = 86_400_000;
/** An epoch without changes closes this long after the one before. Can only shrink. */
export const HEARTBEAT_DEFAULT_MS = 60_000;
/** An epoch with changes closes this long after the first of them. */
export const EPOCH_DELAY_DEFAULT_MS = 1_000;
/** Length of a settling interval. Fixed for the life of a log. */
export const SETTLE_DEFAULT_MS = 21_600_000;
export const SETTLE_MIN_MS = 10_000;
export const SETTLE_MAX_MS = 86_400_000;
/** Maps at settling epochs are kept this long. */
export const SETTLED_MAPS_KEPT_MS = 34_560_000_000;

/** Client policy: what is added to the merge delay before an unlogged key is spoken of. */
export const SLACK_DEFAULT_MS = 60_000;
export const SLACK_MIN_MS = 5_000;

/** A head is stale after this many heartbeats and this much more. */
export const STALE_HEARTBEATS = 3;
export const STALE_EXTRA_MS = 300_000;
/** A smaller head than a known one: told as withheld, then as rolled back. */
export const HEAD_WITHHELD_AFTER_MS = 600_000;
export const HEAD_ROLLED_BACK_AFTER_MS = 86_400_000;
/** A record or promise further ahead than this speaks of a wrong clock. */
export const CLOCK_AHEAD_MAX_MS = 60_000;
/** Largest distance between the own clock and the witnesses' before the own clock is suspected. */
export const CLOCK_OFF_WITNESSES_MAX_MS = 300_000;
/** An answer that does not verify, or an unreconciled head, becomes a warning after this. */
export const UNCHECKED_ESCALATES_AFTER_MS = 86_400_000;
/** A server that names no log any more, or one that the known log does not lead to, is told after this; before the above. */
export const LOG_MISSING_AFTER_MS = 43_200_000;
/** All keys in an older version than the newest: told after this. */
export const STORE_BEHIND_LONG_AFTER_MS = 86_400_000;
/** Unchecked, with traffic, for this long is told once. */
export const UNCHECKED_LONG_AFTER_MS = 604_800_000;
/** The settling part of an answer withheld for this long. */
export const SETTLE_OVERDUE_AFTER_MS = 600_000;
/** No head that could hold a promised change, this long after it was due. */
export const PROMISE_OVERDUE_AFTER_MS = 600_000;
/** A history of one's own at least this old is a ground for `consistent`. */
export const OWN_HISTORY_GROUND_AFTER_MS = 86_400_000;
/** An own device that no own key signed is told after this. */
export const OWN_UNSIGNED_DEVICE_AFTER_MS = 600_000;
/** An own lookup at least this often. */
export const OWN_CHECK_EVERY_MS = 3_600_000;
/** An empty answer for an enrolled user is asked again for this long before it becomes a version. */
export const EMPTY_ANSWER_RETRIED_FOR_MS = 600_000;
/** Content may be erased no earlier than this after its epoch. */
export const ERASABLE_AFTER_MS = 2_592_000_000;
/** Gossip to one contact at most this often. */
export const GOSSIP_EVERY_MS = 86_400_000;
/** Heads sent into the epochs room at most this often with changes, and without. */
export const ROOM_HEAD_EVERY_MS = 60_000;
export const ROOM_IDLE_HEAD_EVERY_MS = 600_000;

/** Versions of one user that one epoch, and one UTC day, may merge. */
export const MAX_VERSIONS_PER_EPOCH = 8;
export const MAX_VERSIONS_PER_DAY = 100;
/** Users whose histories one epoch may extend. */
export const MAX_CHANGES_PER_EPOCH = 10_000;
/** Above these a user's entry is a refusal. */
export const MAX_DEVICES = 100;
export const MAX_ENTRY_BYTES = 65_536;
/** One key object or device as served. */
export const MAX_OBJECT_BYTES = 8_192;
/** Users in one batch of lookups; versions in one page of history. */
export const MAX_LOOKUPS_PER_REQUEST = 500;
export const MAX_VERSIONS_PER_REQUEST = 50;
/** A Matrix user id, in bytes of UTF-8. */
export const MAX_USER_ID_BYTES = 255;
/** A signed note with all its signatures. Room for sixteen post-quantum cosignatures. */
export const MAX_NOTE_BYTES = 65_536;
export const MAX_NOTE_SIGNATURES = 64;
/** Nesting of any JSON from outside. */
export const MAX_JSON_DEPTH = 32;

/** Attempts at a contact code with one contact over all own devices, and the silence that ends a session. */
export const MAX_COMPARISONS_PER_HOUR = 3;
export const MAX_COMPARISONS_PER_DAY = 10;
export const COMPARISON_SILENCE_MS = 600_000;
