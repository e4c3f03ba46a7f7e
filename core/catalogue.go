package core

import "slices"

// Code names one kind of error. It is stable: clients branch on it.
type Code string

// Error makes a Code a target of errors.Is.
func (c Code) Error() string { return string(c) }

// Info is the catalogue's entry. An unknown code gets that of internal.
func (c Code) Info() CodeInfo {
	if i, ok := catalogue[c]; ok {
		i.Code = c
		return i
	}
	i := catalogue[CodeInternal]
	i.Code = c
	return i
}

// Known reports whether the catalogue has c.
func (c Code) Known() bool { _, ok := catalogue[c]; return ok }

// Codes lists the catalogue in alphabetical order.
func Codes() []Code {
	codes := make([]Code, 0, len(catalogue))
	for c := range catalogue {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	return codes
}

// Class groups codes by what a caller can do. It decides the CLI's exit code.
type Class uint8

// The classes.
const (
	ClassOther Class = iota
	ClassUsage
	ClassNotFound
	ClassConflict
	ClassDenied
	ClassUnavailable
	ClassTimeout
	ClassNotClean
	ClassInterrupted
)

// CodeInfo is the catalogue's entry of a code.
type CodeInfo struct {
	Code      Code
	Class     Class
	Status    int    // of HTTP
	Retryable bool   // the same request may succeed later, unchanged
	Title     string // what it means, in one line
	Fix       string // what to do
}

// The codes.
const (
	CodeWrongExpectedVersion Code = "wrong_expected_version"
	CodeDuplicateEvent       Code = "duplicate_event"
	CodeRecordConflict       Code = "record_conflict"
	CodeProgressConflict     Code = "progress_conflict"
	CodeSnapshotOlder        Code = "snapshot_older"
	CodeSnapshotAhead        Code = "snapshot_ahead"
	CodeUnknownOutcome       Code = "unknown_outcome"
	CodeAppendRefused        Code = "append_refused"
	CodeValidatorFailed      Code = "validator_failed"
	CodeValidatorUnavailable Code = "validator_unavailable"

	CodeStreamNotFound   Code = "stream_not_found"
	CodeStreamDeleted    Code = "stream_deleted"
	CodeStreamNotDeleted Code = "stream_not_deleted"
	CodeStreamTombstoned Code = "stream_tombstoned"
	CodeHardDeletesOff   Code = "hard_deletes_off"
	CodeEventNotFound    Code = "event_not_found"
	CodeBlobNotFound     Code = "blob_not_found"
	CodeSnapshotNotFound Code = "snapshot_not_found"
	CodeNotFound         Code = "not_found"

	CodeEmptyAppend            Code = "empty_append"
	CodeInvalidStreamName      Code = "invalid_stream_name"
	CodeReservedStreamName     Code = "reserved_stream_name"
	CodeInvalidEventType       Code = "invalid_event_type"
	CodeInvalidEventID         Code = "invalid_event_id"
	CodeInvalidEventTime       Code = "invalid_event_time"
	CodeInvalidContentType     Code = "invalid_content_type"
	CodeInvalidData            Code = "invalid_data"
	CodeInvalidMetadata        Code = "invalid_metadata"
	CodeDataTooComplex         Code = "data_too_complex"
	CodeInvalidExpectedVersion Code = "invalid_expected_version"
	CodeInvalidCursor          Code = "invalid_cursor"
	CodeLogChanged             Code = "log_changed"
	CodeLogMismatch            Code = "log_mismatch"
	CodeInvalidFilter          Code = "invalid_filter"
	CodeInvalidProgress        Code = "invalid_progress"
	CodeInvalidSnapshot        Code = "invalid_snapshot"
	CodeInvalidRetention       Code = "invalid_retention"
	CodeInvalidRequest         Code = "invalid_request"
	CodeEventTooLarge          Code = "event_too_large"
	CodeCommitTooLarge         Code = "commit_too_large"
	CodeBodyTooLarge           Code = "body_too_large"
	CodeBlobTooLarge           Code = "blob_too_large"
	CodeSnapshotTooLarge       Code = "snapshot_too_large"
	CodeFrameTooLarge          Code = "frame_too_large"

	CodeUnknownOp            Code = "unknown_op"
	CodeNotSupported         Code = "not_supported"
	CodeHelloRequired        Code = "hello_required"
	CodeHelloTimeout         Code = "hello_timeout"
	CodeDuplicateRequest     Code = "duplicate_request"
	CodeDuplicateSub         Code = "duplicate_sub"
	CodeTooManySubs          Code = "too_many_subs"
	CodeTooManyRequests      Code = "too_many_requests"
	CodeTooManyWrongKeys     Code = "too_many_wrong_keys"
	CodeTooManyConnections   Code = "too_many_connections"
	CodeVersionUnsupported   Code = "version_unsupported"
	CodeProtocolError        Code = "protocol_error"
	CodeSlowWriter           Code = "slow_writer"
	CodePingTimeout          Code = "ping_timeout"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeNotAcceptable        Code = "not_acceptable"
	CodeUnsupportedMediaType Code = "unsupported_media_type"

	CodeSubscriptionOptionsDiffer Code = "subscription_options_differ"
	CodeSubscriptionInUse         Code = "subscription_in_use"
	CodeTooManySubscribers        Code = "too_many_subscribers"
	CodeTooManySubscriptions      Code = "too_many_subscriptions"
	CodeTooManyRetentions         Code = "too_many_retentions"
	CodeLeaseLost                 Code = "lease_lost"
	CodeUnexpectedAck             Code = "unexpected_ack"
	CodeSubscriptionNotFound      Code = "subscription_not_found"
	CodeSubscriptionBound         Code = "subscription_bound"
	CodeSubscriptionInterrupted   Code = "subscription_interrupted"
	CodeSubscriptionStopped       Code = "subscription_stopped"
	CodeInvalidExpression         Code = "invalid_expression"

	CodeInvalidManifest Code = "invalid_manifest"

	CodePluginNotFound      Code = "plugin_not_found"
	CodeVersionNotFound     Code = "version_not_found"
	CodeBindingNotFound     Code = "binding_not_found"
	CodeStateNotFound       Code = "state_not_found"
	CodeEventNotParked      Code = "event_not_parked"
	CodeVersionExists       Code = "version_exists"
	CodePluginInUse         Code = "plugin_in_use"
	CodeInvalidModule       Code = "invalid_module"
	CodePluginFailed        Code = "plugin_failed"
	CodePluginLimit         Code = "plugin_limit"
	CodeNoQuery             Code = "no_query"
	CodeInvalidPluginConfig Code = "invalid_plugin_config"
	CodeInvalidDryRunRange  Code = "invalid_dry_run_range"
	CodeTooManyDryRuns      Code = "too_many_dry_runs"
	CodeDryRunTooLarge      Code = "dry_run_too_large"
	CodeStateBusy           Code = "state_busy"
	CodeShadowNotFound      Code = "shadow_not_found"
	CodeShadowDiffers       Code = "shadow_differs"
	CodeTooManyWatches      Code = "too_many_watches"
	CodeGrantRequired       Code = "grant_required"
	CodeSecretMissing       Code = "secret_missing"
	CodeToolchainMissing    Code = "toolchain_missing"

	CodeRebuildUnderWay   Code = "rebuild_under_way"
	CodeNoRebuild         Code = "no_rebuild"
	CodeRebuildBehind     Code = "rebuild_behind"
	CodeNothingBefore     Code = "nothing_before"
	CodePluginBuildFailed Code = "plugin_build_failed"

	CodeHostNotAllowed   Code = "host_not_allowed"
	CodeOriginNotAllowed Code = "origin_not_allowed"
	CodeInsecureListen   Code = "insecure_listen"
	CodeInvalidConfig    Code = "invalid_config"

	CodeScavengeRunning Code = "scavenge_running"

	CodeStoreReadOnly Code = "store_read_only"
	CodeStoreFull     Code = "store_full"
	CodeStoreLocked   Code = "store_locked"
	CodeStoreCorrupt  Code = "store_corrupt"
	CodeStoreNewer    Code = "store_newer"
	CodeStoreClosed   Code = "store_closed"
	CodeNotClean      Code = "not_clean"

	CodeBackupChanged       Code = "backup_changed"
	CodeBackupDamaged       Code = "backup_damaged"
	CodeBackupNotFound      Code = "backup_not_found"
	CodeFolderNotEmpty      Code = "folder_not_empty"
	CodeInvalidRestorePoint Code = "invalid_restore_point"
	CodeRestoreUnfinished   Code = "restore_unfinished"

	CodeStoreUnavailable Code = "store_unavailable"
	CodeStoreDenied      Code = "store_denied"
	CodeSchemaOutdated   Code = "schema_outdated"
	CodeNodesOutdated    Code = "nodes_outdated"
	CodeStaleEpoch       Code = "stale_epoch"
	CodeStoreInUse       Code = "store_in_use"

	CodeNoNodeAvailable Code = "no_node_available"
	CodeNotOwner        Code = "not_owner"
	CodeNotServing      Code = "not_serving"
	CodeNotMember       Code = "not_member"
	CodeNodeSuperseded  Code = "node_superseded"
	CodeClusterMismatch Code = "cluster_mismatch"
	CodePeerDenied      Code = "peer_denied"

	CodeUnauthenticated Code = "unauthenticated"
	CodeForbidden       Code = "forbidden"
	CodeInvalidKey      Code = "invalid_key"
	CodeKeyNotFound     Code = "key_not_found"
	CodeKeysExist       Code = "keys_exist"
	CodeLastAdminKey    Code = "last_admin_key"

	CodeSyncNodesMissing Code = "sync_nodes_missing"

	CodeStarting     Code = "starting"
	CodeOverloaded   Code = "overloaded"
	CodeShuttingDown Code = "shutting_down"
	CodeUnavailable  Code = "unavailable"
	CodeTlsFailed    Code = "tls_failed"
	CodeTimeout      Code = "timeout"
	CodeCanceled     Code = "canceled"
	CodeInternal     Code = "internal"
)

// catalogue lists every error. Titles and fixes are for a person at a terminal.
var catalogue = map[Code]CodeInfo{
	CodeWrongExpectedVersion: {Class: ClassConflict, Status: 409,
		Title: "The stream is at another version",
		Fix:   "Read the events after the version you know, decide again, and append with the new version as expect."},
	CodeDuplicateEvent: {Class: ClassConflict, Status: 409,
		Title: "The log has an event with this id, in another place or order",
		Fix:   "Give new events new ids. To retry an append, send the same events with the same ids in the same order to the same streams. To append what is new, leave out the events that known has."},
	CodeRecordConflict: {Class: ClassConflict, Status: 409,
		Title: "The record is at another revision",
		Fix:   "Read the record again and decide on its new value."},
	CodeProgressConflict: {Class: ClassConflict, Status: 409,
		Title: "The progress is at another place",
		Fix:   "Another worker of this name has moved it. Drop what was derived since the place you expected, and follow again at the actual one."},
	CodeSnapshotOlder: {Class: ClassConflict, Status: 409,
		Title: "A snapshot of a greater version is recorded",
		Fix:   "Keep the recorded one: whoever loads it reads fewer events. To replace it all the same, ask for that with overwrite."},
	CodeSnapshotAhead: {Class: ClassConflict, Status: 409,
		Title: "The stream has not reached the version of the snapshot",
		Fix:   "A snapshot's version is that of the last event that it was made of. Append the events first, or in the same transaction, and check that the stream is the right one."},
	CodeUnknownOutcome: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "It is not known whether the change was made",
		Fix:   "Send the same events with the same ids again: they are written once, and you get the result. For any other change, check whether it was made before you repeat it."},
	CodeAppendRefused: {Class: ClassUsage, Status: 422,
		Title: "A validator refuses the append",
		Fix:   "Nothing was written. The detail has the validator, the event and what the validator says. Correct the events and append them again; gyre plugin info VALIDATOR shows what it is."},
	CodeValidatorFailed: {Class: ClassOther, Status: 422,
		Title: "A validator failed on the append, which is not written then",
		Fix:   "The detail has the validator and how it failed; gyre plugin logs VALIDATOR has the rest. Deploy a version that works or go back to the one before, or pause the validator: then nothing is judged."},
	CodeValidatorUnavailable: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "A validator cannot run here at the moment",
		Fix:   "Nothing was written. Try again after a moment. If it stays so, gyre plugin info VALIDATOR says why; gyre plugin pause VALIDATOR, or rm, appends without it."},

	CodeStreamNotFound: {Class: ClassNotFound, Status: 404,
		Title: "The stream has no events",
		Fix:   "Check the name (gyre streams ls --prefix …); names are case-sensitive. A follow waits for a stream that has no events yet."},
	CodeStreamDeleted: {Class: ClassNotFound, Status: 404,
		Title: "The stream is deleted",
		Fix:   "Bring it back with its events: gyre streams undelete NAME. Until then it can be neither read nor appended to, and not removed either."},
	CodeStreamNotDeleted: {Class: ClassConflict, Status: 409,
		Title: "The stream is not deleted",
		Fix:   "There is nothing to undo. Only a stream that was deleted, and not removed, can be brought back."},
	CodeStreamTombstoned: {Class: ClassNotFound, Status: 410,
		Title: "The stream is removed for good",
		Fix:   "Its events are gone and no more can be appended. Use another stream name."},
	CodeHardDeletesOff: {Class: ClassDenied, Status: 403,
		Title: "This node removes no events",
		Fix:   "A delete without hard or tombstone can be undone, and is always possible. To allow the others, start the node with --hard-deletes (GYRE_HARD_DELETES=true)."},
	CodeEventNotFound: {Class: ClassNotFound, Status: 404,
		Title: "No event has this id",
		Fix:   "Check the id: it is the event's id, not its correlation id. An event must be in the log before it can be linked."},
	CodeBlobNotFound: {Class: ClassNotFound, Status: 404,
		Title: "The store has no content with this SHA-256",
		Fix:   "Check the id, or upload the content again. Content that nothing names is removed after a while."},
	CodeSnapshotNotFound: {Class: ClassNotFound, Status: 404,
		Title: "The stream has no snapshot of this kind",
		Fix:   "Check the stream and the kind; gyre snapshot ls STREAM lists those that it has. To load a state, read the events with the snapshot: without one they begin with the first."},
	CodeNotFound: {Class: ClassNotFound, Status: 404,
		Title: "What the request names does not exist",
		Fix:   "Check the name or the path in the detail. /openapi.json lists the paths of the API; write a '/' inside a stream name as %2F."},

	CodeEmptyAppend: {Class: ClassUsage, Status: 400,
		Title: "The append has no events",
		Fix:   "Send at least one event, or a progress to move. To test a stream's version without writing to it, use a check beside another append."},
	CodeInvalidStreamName: {Class: ClassUsage, Status: 400,
		Title: "The stream name is not valid",
		Fix:   "Use 1 to 512 bytes of valid UTF-8 without control characters. The names . and .. are not allowed, because no URL can carry them."},
	CodeReservedStreamName: {Class: ClassUsage, Status: 400,
		Title: "The server reserves names that begin with '$'",
		Fix:   "Choose a name that does not begin with '$'. Such streams are written by the node; they and $all can be read."},
	CodeInvalidEventType: {Class: ClassUsage, Status: 400,
		Title: "The event type is not valid",
		Fix:   "Every event needs a type of 1 to 256 bytes of valid UTF-8 without control characters."},
	CodeInvalidEventID: {Class: ClassUsage, Status: 400,
		Title: "The event id is not valid",
		Fix:   "Send a UUID such as 0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11, or no id to have the server make one."},
	CodeInvalidEventTime: {Class: ClassUsage, Status: 400,
		Title: "The log cannot store this time",
		Fix:   "Use RFC 3339, for example 2026-11-23T10:00:00Z, from 1677-09-21T00:12:43.145225Z to 2262-04-11T23:47:16.854775Z."},
	CodeInvalidContentType: {Class: ClassUsage, Status: 400,
		Title: "The content type is not valid",
		Fix:   "Use a media type of at most 256 bytes, such as application/octet-stream."},
	CodeInvalidData: {Class: ClassUsage, Status: 400,
		Title: "The event's data does not match its content type",
		Fix:   "Send one valid JSON value as data, or bytes as dataBase64 with a contentType."},
	CodeInvalidMetadata: {Class: ClassUsage, Status: 400,
		Title: "The event's metadata is not a JSON object",
		Fix:   "Send an object. Its correlation_id and causation_id are strings of at most 128 bytes."},
	CodeDataTooComplex: {Class: ClassUsage, Status: 400,
		Title: "Data or metadata is nested too deeply, or has a number that is too long",
		Fix:   "Nest lists and objects at most 512 deep, and send numbers of more than 1,000 digits as strings: many JSON parsers refuse more."},
	CodeInvalidExpectedVersion: {Class: ClassUsage, Status: 400,
		Title: "The expected version is not valid",
		Fix:   `Use a whole number from 0 (0 = the stream is empty or absent), "any", "no_stream" or "stream_exists".`},
	CodeInvalidCursor: {Class: ClassUsage, Status: 400,
		Title: "The cursor or starting place is not valid in this log",
		Fix:   "Use a cursor exactly as the server sent it, or start, end, a position, a version or a time."},
	CodeLogChanged: {Class: ClassConflict, Status: 409,
		Title: "The cursor or ETag belongs to another log, or to a part of this one that is lost",
		Fix:   "The log was restored or replaced. Read or follow it again from the start or from a time, and discard what you derived from the old log. Delete a progress of it, and begin another."},
	CodeLogMismatch: {Class: ClassConflict, Status: 409,
		Title: "The target of the copy or backup has other events than the source",
		Fix:   "Copy to an empty log, or to the target of an earlier copy of the same source; nothing else may write to it. Back up into a new folder, or one with a backup of the same log."},
	CodeInvalidFilter: {Class: ClassUsage, Status: 400,
		Title: "The filter is not valid",
		Fix:   "Give at most 64 patterns of streams and 64 of types; '*' matches any characters. A category is what names have before their first '-'; since is before until, both in RFC 3339."},
	CodeInvalidProgress: {Class: ClassUsage, Status: 400,
		Title: "The progress is not valid in this log",
		Fix:   "The detail says what is wrong. A name has 1 to 256 bytes and does not begin with '$'. A move goes from the stored position, 0 if there is none, to a greater one that the log has reached; gyre progress show NAME prints it."},
	CodeInvalidSnapshot: {Class: ClassUsage, Status: 400,
		Title: "The snapshot is not valid",
		Fix:   "The detail says what is wrong. A snapshot has a version from 1 on; its kind has 1 to 64 bytes and does not begin with '$'; its type has at most 256 bytes."},
	CodeInvalidRetention: {Class: ClassUsage, Status: 400,
		Title: "The retention is not valid",
		Fix:   "Nothing was changed. The detail says what is wrong. A maximum age is between a second and 100 years; a stream is truncated before a version that it has reached, or the next one, and never before a lower one than it is; a category has no version to truncate before."},
	CodeInvalidRequest: {Class: ClassUsage, Status: 400,
		Title: "The request is not well formed",
		Fix:   "The detail names the field. /openapi.json and /asyncapi.json describe the requests."},
	CodeEventTooLarge: {Class: ClassUsage, Status: 413,
		Title: "An event is larger than 1 MiB",
		Fix:   "Put large content in an object store and its address in the event."},
	CodeCommitTooLarge: {Class: ClassUsage, Status: 413,
		Title: "An append is larger than 10,000 events or 4 MiB",
		Fix:   "Split it. Events that must be written together must fit one append."},
	CodeBodyTooLarge: {Class: ClassUsage, Status: 413,
		Title: "The request's body is too large",
		Fix:   "Send less in one request; GET /v1/server lists the limits."},
	CodeSnapshotTooLarge: {Class: ClassUsage, Status: 413,
		Title: "The snapshot is larger than 1,046,528 bytes",
		Fix:   "Keep less in the state, or split it into snapshots of several kinds. Data and metadata count together."},
	CodeBlobTooLarge: {Class: ClassUsage, Status: 413,
		Title: "The uploaded content is larger than it may be",
		Fix:   "Upload less: the detail has the limit."},
	CodeFrameTooLarge: {Class: ClassUsage, Status: 413,
		Title: "A WebSocket message is too large",
		Fix:   "Send smaller messages; the welcome message and GET /v1/server list the limits."},

	CodeUnknownOp: {Class: ClassUsage, Status: 400,
		Title: "The server does not know this op",
		Fix:   "Compare welcome.features with what the client needs; /asyncapi.json lists the ops."},
	CodeNotSupported: {Class: ClassUsage, Status: 501,
		Title: "This server cannot do that yet",
		Fix:   "The detail says what is missing. welcome.features, or features of GET /v1/server, list what the server can do."},
	CodeHelloRequired: {Class: ClassUsage, Status: 400,
		Title: "The first message must be hello",
		Fix:   `Send {"op":"hello","id":1} first.`},
	CodeHelloTimeout: {Class: ClassTimeout, Status: 408,
		Title: "The client sent no hello in time",
		Fix:   "Send hello within 5 seconds of connecting."},
	CodeDuplicateRequest: {Class: ClassUsage, Status: 400,
		Title: "The request id is still in use on this connection",
		Fix:   "Count ids up; an id is free again after its answer."},
	CodeDuplicateSub: {Class: ClassUsage, Status: 400,
		Title: "The sub number is in use on this connection",
		Fix:   "Choose another number, or unsubscribe the first."},
	CodeTooManySubs: {Class: ClassUnavailable, Status: 429,
		Title: "The connection has too many subscriptions",
		Fix:   "Unsubscribe some, or open another connection; welcome.limits.subs is the limit."},
	CodeTooManyRequests: {Class: ClassUnavailable, Status: 429, Retryable: true,
		Title: "Too many requests are in flight",
		Fix:   "Wait for answers before sending more; welcome.limits.inflight is the limit."},
	CodeTooManyWrongKeys: {Class: ClassUnavailable, Status: 429, Retryable: true,
		Title: "Too many wrong keys or tickets came from the address",
		Fix:   "Check the key: this one is wrong, too. A right key works at once. Another wrong one is looked at no sooner than the answer says."},
	CodeTooManyConnections: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The node has no room for another connection, or your address has too many",
		Fix:   "Close unused connections. Behind a proxy, which has one address for all, raise --max-connections-per-address."},
	CodeVersionUnsupported: {Class: ClassUsage, Status: 400,
		Title: "Client and server have no protocol version in common",
		Fix:   "Use version 13 of WebSocket, and offer gyre.v1.json or gyre.v1.bin as its subprotocol."},
	CodeProtocolError: {Class: ClassUsage, Status: 400,
		Title: "The peer broke the protocol",
		Fix:   "The detail says where; /asyncapi.json has the rules."},
	CodeSlowWriter: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The client does not read its socket",
		Fix:   "Read continuously, and use credit to bound what is sent."},
	CodePingTimeout: {Class: ClassTimeout, Status: 408, Retryable: true,
		Title: "The client did not answer a ping",
		Fix:   "Answer ping with pong; reconnect and resume from the last cursor."},
	CodeMethodNotAllowed: {Class: ClassUsage, Status: 405,
		Title: "This path does not take this method",
		Fix:   "The Allow header and /openapi.json list the methods."},
	CodeNotAcceptable: {Class: ClassUsage, Status: 406,
		Title: "None of the accepted media types can be served",
		Fix:   "Accept application/json, application/x-ndjson, text/event-stream or application/cloudevents-batch+json."},
	CodeUnsupportedMediaType: {Class: ClassUsage, Status: 415,
		Title: "The body's media type or encoding is not supported",
		Fix:   "Send application/json, application/x-ndjson or a CloudEvent, not compressed."},

	CodeSubscriptionNotFound: {Class: ClassNotFound, Status: 404,
		Title: "The subscription does not exist",
		Fix:   "Check the name, or whether somebody deleted it. gyre subscriptions create and PUT /v1/subscriptions/{name} create a subscription, and so does a subscribe or a fetch with options."},
	CodeSubscriptionBound: {Class: ClassConflict, Status: 409,
		Title: "The subscription belongs to a plugin binding",
		Fix:   "Only its binding changes it. The detail names the gyre plugin command to use."},
	CodeSubscriptionInterrupted: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The subscription was reset, or moved to another owner",
		Fix:   "Subscribe again. Events that were not acked are delivered again."},
	CodeSubscriptionStopped: {Class: ClassOther, Status: 409,
		Title: "A transient subscription has stopped itself and ended",
		Fix:   "The detail names the event that failed, and why. Correct the cause and subscribe again, or subscribe after that event."},
	CodeInvalidExpression: {Class: ClassUsage, Status: 400,
		Title: "The expression is not valid here",
		Fix:   "The detail says where. Expressions are CEL over stream, type, version, position, id, time, recorded, data and metadata. A filter returns a bool. Patterns of matches and time zones are literals. Protocol buffer messages cannot be built."},
	CodeSubscriptionOptionsDiffer: {Class: ClassConflict, Status: 409,
		Title: "The subscription exists with other options",
		Fix:   "Leave the options out to join it as it is, or change them with PUT /v1/subscriptions/{name} or gyre subscriptions update."},
	CodeSubscriptionInUse: {Class: ClassConflict, Status: 409, Retryable: true,
		Title: "The subscription already has its one subscriber",
		Fix:   "Wait until it leaves, or raise the subscription's concurrencyLimit. That of a plugin binding takes no other subscriber: gyre plugin info NAME shows the binding, gyre plugin rm NAME deletes both."},
	CodeTooManySubscribers: {Class: ClassConflict, Status: 409, Retryable: true,
		Title: "The subscription has as many subscribers as it allows",
		Fix:   "Wait until one leaves, or raise the subscription's concurrencyLimit."},
	CodeTooManySubscriptions: {Class: ClassConflict, Status: 409,
		Title: "The store has as many named subscriptions as it may",
		Fix:   "Delete those that nobody uses (gyre subscriptions ls, gyre subscriptions rm), or use transient ones."},
	CodeTooManyRetentions: {Class: ClassConflict, Status: 409,
		Title: "The store has as many policies of retention as it may",
		Fix:   "Set the policy of a category in place of those of its streams, and clear what nobody needs (gyre streams retention --list, gyre streams retention NAME --clear)."},
	CodeLeaseLost: {Class: ClassConflict, Status: 409,
		Title: "The subscriber's lease has ended",
		Fix:   "Subscribe again. Events that were not acked are delivered again, to you or to another subscriber."},
	CodeUnexpectedAck: {Class: ClassConflict, Status: 409,
		Title: "The event is not in flight to this subscriber",
		Fix:   "It was acked before, or its ack timeout ran out and it is delivered again. The other events of the request were accepted; do not send them again."},

	CodeInvalidManifest: {Class: ClassUsage, Status: 400,
		Title: "The plugin's manifest is not valid",
		Fix:   "Change the member that the detail names in gyre.plugin.json, build again with gyre plugin build, and check with gyre plugin test."},

	CodePluginNotFound: {Class: ClassNotFound, Status: 404,
		Title: "No version of the plugin was uploaded",
		Fix:   "Check the name (gyre plugin ls). gyre plugin deploy uploads a plugin and puts it to work."},
	CodeVersionNotFound: {Class: ClassNotFound, Status: 404,
		Title: "The plugin has no such version",
		Fix:   "List those that were uploaded with gyre plugin versions NAME."},
	CodeBindingNotFound: {Class: ClassNotFound, Status: 404,
		Title: "No plugin is deployed under this name",
		Fix:   "Check the name (gyre plugin ls), or deploy a plugin under it with gyre plugin deploy."},
	CodeStateNotFound: {Class: ClassNotFound, Status: 404,
		Title: "The binding's state has no such key",
		Fix:   "List the keys with gyre plugin state NAME --prefix ''. With several lanes, each has keys of its own."},
	CodeEventNotParked: {Class: ClassNotFound, Status: 404,
		Title: "The binding has not parked the event at this position",
		Fix:   "List what is parked with gyre plugin poison ls NAME. An event leaves the list when it was handled or dropped."},
	CodeVersionExists: {Class: ClassConflict, Status: 409,
		Title: "This version was uploaded before, with other content",
		Fix:   "Versions do not change: raise the version in gyre.plugin.json and build again."},
	CodePluginInUse: {Class: ClassConflict, Status: 409,
		Title: "A binding runs this version, or can be rolled back to it, or a subscription names it",
		Fix:   "Deploy other versions to the bindings that the detail names, or delete them with gyre plugin rm. Give the subscriptions another version with gyre subscriptions update."},
	CodeScavengeRunning: {Class: ClassConflict, Status: 409,
		Title: "A scavenge of the store is running",
		Fix:   "Nothing was started. Watch the one that runs with gyre scavenge status, or end it with gyre scavenge stop."},

	CodeRebuildUnderWay: {Class: ClassConflict, Status: 409,
		Title: "A rebuild of the binding is under way",
		Fix:   "Wait until it is switched to (gyre plugin info), switch with gyre plugin switch, or end it with gyre plugin cancel-rebuild."},
	CodeNoRebuild: {Class: ClassConflict, Status: 409,
		Title: "No rebuild of the binding is under way",
		Fix:   "Begin one with gyre plugin rebuild, or a shadow with gyre plugin shadow, which a switch deploys. gyre plugin info shows the live generation, and what there is beside it."},
	CodeRebuildBehind: {Class: ClassConflict, Status: 409,
		Title: "The rebuild has not caught up with the live generation",
		Fix:   "Try again when gyre plugin info shows that it has. The detail says how far it is behind, or why it does not go on."},
	CodeNothingBefore: {Class: ClassConflict, Status: 409,
		Title: "The binding has nothing to go back to",
		Fix:   "A rollback goes to the version before, or to the generation before, which is kept until the next rebuild begins. Deploy the version that you want."},
	CodeInvalidModule: {Class: ClassUsage, Status: 400,
		Title: "The module cannot be run",
		Fix:   "The detail says what is wrong with it. Build it with gyre plugin build; GET /v1/plugins/abi lists what a module may import and has to export."},
	CodePluginFailed: {Class: ClassOther, Status: 422,
		Title: "The plugin failed: it trapped, or ended itself with an error",
		Fix:   "The detail has what it said, and gyre plugin logs more. None of its effects were kept. Correct it, and deploy a new version."},
	CodePluginLimit: {Class: ClassOther, Status: 422,
		Title: "The plugin used more fuel, time or memory than its binding allows",
		Fix:   "The detail names the limit. None of its effects were kept. Raise the limit of the binding, or let it handle fewer events in a batch."},
	CodeNoQuery: {Class: ClassUsage, Status: 400,
		Title: "The plugin answers no queries",
		Fix:   "Read its state with gyre plugin state, or deploy a version that exports gyre_query: gyre plugin new makes a projection that does, in each language."},
	CodeInvalidPluginConfig: {Class: ClassUsage, Status: 400,
		Title: "The config does not fit what the plugin expects",
		Fix:   "The detail names the field. gyre plugin info NAME@VERSION shows the schema of the config."},
	CodeInvalidDryRunRange: {Class: ClassUsage, Status: 400,
		Title: "The range of the dry run has no events of the log",
		Fix:   "The detail names the range that there is. Leave out from, to and count for all of it."},
	CodeTooManyDryRuns: {Class: ClassUnavailable, Status: 429, Retryable: true,
		Title: "The node has as many dry runs as it may",
		Fix:   "Nothing was done. Try again when one has ended: a dry run ends when its client goes."},
	CodeDryRunTooLarge: {Class: ClassUsage, Status: 422,
		Title: "The state of the dry run is larger than what a dry run keeps in memory",
		Fix:   "The detail has the bound. Run over fewer events, or begin with empty state."},
	CodeShadowNotFound: {Class: ClassNotFound, Status: 404,
		Title: "No version runs in the shadow of the binding's",
		Fix:   "Start one with gyre plugin shadow NAME --version VERSION."},
	CodeShadowDiffers: {Class: ClassConflict, Status: 409,
		Title: "The version cannot run in the shadow of the binding's: it is of another kind, or wants other lanes or another input",
		Fix:   "The detail says what differs. Try the version with gyre plugin dry-run, or deploy it under another name."},
	CodeTooManyWatches: {Class: ClassUnavailable, Status: 429, Retryable: true,
		Title: "The binding, or its node, has as many watches as it may",
		Fix:   "The detail has the bound. End a watch that nobody needs, or read the state now and then with atLeast."},
	CodeStateBusy: {Class: ClassUnavailable, Status: 409, Retryable: true,
		Title: "The binding changes its state faster than it can be copied",
		Fix:   "Pause the binding meanwhile with gyre plugin pause, try again, or have the dry run compute the state: --state before."},
	CodeToolchainMissing: {Class: ClassOther, Status: 500,
		Title: "The toolchain that builds the plugin is not installed",
		Fix:   "Install what the detail names, and put it on the PATH: Go is at https://go.dev/dl, Rust at https://rustup.rs. A node needs no toolchain, and a module can be built elsewhere."},
	CodePluginBuildFailed: {Class: ClassOther, Status: 500,
		Title: "The plugin could not be built, or its tests failed",
		Fix:   "The detail has what the toolchain printed. Mend the source, and try again."},
	CodeGrantRequired: {Class: ClassDenied, Status: 403,
		Title: "The plugin asks for a capability that has to be granted by name",
		Fix:   "If you trust the plugin with it, deploy again with --grant and the capability."},
	CodeSecretMissing: {Class: ClassConflict, Status: 409,
		Title: "The node that runs the binding does not have a secret that it is granted",
		Fix:   "Add the secret to the file of that node's --plugin-secrets-file, which is read again by itself. gyre plugin deploy --allow-missing-secrets deploys without it: reads of it are answered with not found."},

	CodeUnauthenticated: {Class: ClassDenied, Status: 401,
		Title: "The node does not know who asks",
		Fix:   "Give a key that is not revoked or expired: --token-file or GYRE_TOKEN for gyre, Authorization: Bearer for HTTP, the option token of a client. An admin makes one with gyre auth key create; gyre auth init makes the first, or a new one for an admin who has lost theirs."},
	CodeForbidden: {Class: ClassDenied, Status: 403,
		Title: "The key may not do that",
		Fix:   "The detail names what, and what the key is granted. Use another key, or have an admin make one with gyre auth key create; gyre auth can-i says what a key may do."},
	CodeInvalidKey: {Class: ClassUsage, Status: 400,
		Title: "The description of a key is not valid",
		Fix:   "The detail names the field. A key has a role, and patterns of streams for every role but admin."},
	CodeKeyNotFound: {Class: ClassNotFound, Status: 404,
		Title: "There is no key with this id",
		Fix:   "List the keys with gyre auth key ls; a revoked one is gone."},
	CodeKeysExist: {Class: ClassConflict, Status: 409,
		Title: "The store has keys already",
		Fix:   "Make further keys with gyre auth key create and an admin key. If no admin key is left, stop the node, and run gyre auth init --lost with --data or --postgres on the machine that has the store."},
	CodeLastAdminKey: {Class: ClassConflict, Status: 409,
		Title: "Without this key nobody could make another",
		Fix:   "Make another admin key that does not expire, with gyre auth key create --role admin, and then revoke this one."},

	CodeHostNotAllowed: {Class: ClassDenied, Status: 403,
		Title: "The node does not serve the host that the request names",
		Fix:   "Call the node by the address it listens on, or add the name with --allow-host."},
	CodeOriginNotAllowed: {Class: ClassDenied, Status: 403,
		Title: "Web pages of this origin may not call this node",
		Fix:   "Add the page's origin with --allow-origin, if you trust it."},
	CodeInsecureListen: {Class: ClassUsage, Status: 400,
		Title: "Other machines can reach the address, and the node is not protected",
		Fix:   "Listen on 127.0.0.1. Or serve TLS, with --tls-cert and --tls-key (gyre tls dev-cert makes some to try with), and give the store its first key: --admin-key-file FILE, which gyre auth key new --out FILE makes, or gyre auth init with --data or --postgres while no node has the store open. Where a proxy or the network encrypts, --insecure-plaintext goes without TLS. On a network that you trust, --insecure goes without keys and TLS: every machine that reaches the address may read and write everything."},
	CodeInvalidConfig: {Class: ClassUsage, Status: 400,
		Title: "The configuration is not valid",
		Fix:   "The detail names the key; gyre serve --help lists the keys."},

	CodeStoreReadOnly: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The store cannot write at the moment",
		Fix:   "No acknowledged event is lost, and reads go on. /readyz has the cause; the node tries again by itself."},
	CodeStoreFull: {Class: ClassUnavailable, Status: 507, Retryable: true,
		Title: "The disk is full",
		Fix:   "Free space on the disk of --data. No acknowledged event is lost; the node writes again by itself once there is room."},
	CodeStoreLocked: {Class: ClassUnavailable, Status: 503,
		Title: "Another process uses this data directory",
		Fix:   "Stop the other node first, or choose another --data."},
	CodeStoreCorrupt: {Class: ClassNotClean, Status: 500,
		Title: "The data on disk is damaged",
		Fix:   "Run gyre verify --data DIR for a full report. Restore the named file from a backup; --rebuild repairs everything but the log itself."},
	CodeBackupChanged: {Class: ClassConflict, Status: 409, Retryable: true,
		Title: "The log has another file by now than the backup began with",
		Fix:   "List the files of the log again and copy what is new. gyre backup does so by itself; run it again."},
	CodeBackupDamaged: {Class: ClassNotClean, Status: 500,
		Title: "A file of the backup is missing or damaged",
		Fix:   "Use another backup. gyre verify --backup DIR names all damaged files; gyre backup DIR copies the missing ones again while the node has them."},
	CodeBackupNotFound: {Class: ClassNotFound, Status: 404,
		Title: "The folder has no backup",
		Fix:   "Check the path. A backup has a file named manifest; a backup that was interrupted has none until gyre backup has run again."},
	CodeFolderNotEmpty: {Class: ClassConflict, Status: 409,
		Title: "The folder has other files, is a file, or is inside a backup or a data directory",
		Fix:   "Choose a folder that is empty or does not exist. Nothing is written over a store."},
	CodeInvalidRestorePoint: {Class: ClassUsage, Status: 400,
		Title: "The backup cannot be restored to this place",
		Fix:   "The detail names the nearest places. gyre verify --backup DIR shows the first and the last place of a backup; an older backup may have an earlier one."},
	CodeRestoreUnfinished: {Class: ClassNotClean, Status: 500,
		Title: "A restore into the data directory has not ended",
		Fix:   "Run gyre restore again with the same directory, or remove the directory."},
	CodeStoreNewer: {Class: ClassOther, Status: 500,
		Title: "The data was written by a newer gyre",
		Fix:   "Run the newer version again; it knows this format."},
	CodeStoreClosed: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The store is closed",
		Fix:   "The node is stopping. Send the request to another node, or again when this one is back."},
	CodeStoreUnavailable: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The database cannot be reached",
		Fix:   "Check that PostgreSQL runs and that --postgres names its host, port and database. If it has no connection left, raise max_connections or lower --postgres-conns. A running node reconnects by itself."},
	CodeStoreDenied: {Class: ClassDenied, Status: 503,
		Title: "The database refuses the node's user",
		Fix:   "Check user and password of --postgres. The user needs CREATE on the database, or all rights on the store's schema and its objects."},
	CodeSchemaOutdated: {Class: ClassOther, Status: 500,
		Title: "The store's schema is older than this gyre",
		Fix:   "Run gyre migrate up, or start the node without --migrate=false."},
	CodeNodesOutdated: {Class: ClassConflict, Status: 409, Retryable: true,
		Title: "Older nodes have the store open and could not work after the migration, or with links",
		Fix:   "Stop them, or upgrade them to the version in between, and try again. gyre migrate status lists them; a killed node leaves the list after 15 seconds."},
	CodeStaleEpoch: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The node's view of the cluster is out of date",
		Fix:   "Nothing was written. Send the request again; the node learns the new view first."},
	CodeStoreInUse: {Class: ClassUnavailable, Status: 503,
		Title: "The store belongs to another node, or to a ring",
		Fix:   "Stop that node first; gyre serve waits for it as long as --postgres-wait says. Several nodes on one store form a ring: start each with --cluster."},

	CodeNoNodeAvailable: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The ring has no quorum, or this node is not part of it",
		Fix:   "Nothing was written. Send the request again, to this node or to another one; gyre cluster status says what is missing."},
	CodeNotOwner: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "Another node owns the stream or subscription",
		Fix:   "Nothing was done. Send the request again; the node learns the new owner first."},
	CodeNotServing: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The owner does not serve at the moment",
		Fix:   "Nothing was done. Send the request again."},
	CodeNotMember: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The node may not change the view of the ring",
		Fix:   "The node tries again by itself once it is a member, or once all members are gone."},
	CodeNodeSuperseded: {Class: ClassConflict, Status: 409,
		Title: "Another process with this node id has joined the ring",
		Fix:   "Give every node an id of its own with --node. The newer process goes on; this one has ended."},
	CodeClusterMismatch: {Class: ClassUsage, Status: 409,
		Title: "The ring has another name, speaks another protocol, or uses TLS where the node does not",
		Fix:   "Give every node of a ring the same --cluster-name, versions of gyre that can roll, and TLS (--tls-cert, --tls-key) or none; the detail names both."},
	CodeSyncNodesMissing: {Class: ClassUnavailable, Status: 503,
		Title: "Mandatory nodes did not come up in time",
		Fix:   "Start the nodes that the detail names, each with the id that --sync-nodes-mandatory has; or raise --sync-nodes-timeout, or name them in --sync-nodes-optional."},
	CodePeerDenied: {Class: ClassDenied, Status: 403,
		Title: "The caller has not proved that it is a node of the ring",
		Fix:   "Only nodes call this. A node proves itself with what the store has of its session; check that both use one store."},
	CodeNotClean: {Class: ClassNotClean, Status: 500,
		Title: "The check found problems",
		Fix:   "The report lists them; gyre verify --rebuild repairs everything that is derived from the log."},

	CodeStarting: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The node is not ready yet",
		Fix:   "Try again in a moment; /readyz reports when it is ready, and the node's log shows the progress."},
	CodeOverloaded: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The node is overloaded",
		Fix:   "Nothing was done. Try again after a moment, no sooner than the answer says, and later each time; send fewer requests at once. The limits are under Limits in docs/security.md."},
	CodeShuttingDown: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The node is shutting down",
		Fix:   "Send the request to another node, or again when this one is back."},
	CodeTlsFailed: {Class: ClassUnavailable, Status: 502, Retryable: true,
		Title: "There is no TLS connection to the node",
		Fix:   "The detail says why. If the authority is unknown, give the certificate of the CA: --tls-ca or GYRE_TLS_CA for gyre, the TLS options of a client. Call the node by a host that its certificate names, by https:// if it serves TLS and http:// if not, and renew a certificate that has expired."},
	CodeUnavailable: {Class: ClassUnavailable, Status: 503, Retryable: true,
		Title: "The node cannot be reached",
		Fix:   "Check that it runs (gyre serve) and that --server names its address."},
	CodeTimeout: {Class: ClassTimeout, Status: 504, Retryable: true,
		Title: "The request timed out",
		Fix:   "Try again, with a longer timeout if necessary. Nothing was changed, and nothing will be."},
	CodeCanceled: {Class: ClassInterrupted, Status: 499, Retryable: true,
		Title: "The caller canceled the request",
		Fix:   "Nothing was changed, and nothing will be: a change that may have been made is unknown_outcome. Send the request again if it is still wanted."},
	CodeInternal: {Class: ClassOther, Status: 500,
		Title: "The node has met an unexpected error",
		Fix:   "Look in the node's log, and report the error with the steps that led to it."},
}
