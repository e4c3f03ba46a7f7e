// Package keys stores the keys of a log, and knows whose a token is (access.Authenticator).
//
// A key is a record. Its token is shown once, when it is made; the record has a hash of the
// secret in it. A key does not change: who needs other grants gets another key. Each change
// is one Commit of the record and of an event in the stream $audit (audit.go).
//
// Every node keeps all keys in memory, and follows $audit to see when they have changed. So
// a token costs no look at the storage, and the keys that are known work while that is away;
// a revoked key ends on every node as fast as an event reaches it. A key that a node does not know
// is looked up once before it is refused, a few times a second at most.
//
// A store without a key is open: everybody is access.Anyone. The first key, an admin's,
// protects it, for good: a mark beside the keys stays when the last of them is revoked or
// expires. An admin who has lost their key gets one from the store itself (Config.Recover).
//
// # Where things are
//
//	key.go    Key, its token, and its record
//	keys.go   Keys: what is in memory, and how it follows the store
//	change.go making and revoking keys
//	copy.go   the keys of one store for another
//	audit.go  the stream $audit
package keys
