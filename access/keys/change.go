package keys

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// firstKey marks a store as one with keys, which it must not be yet.
var firstKey = core.RecordOp{Table: table, Key: protectedKey, Expect: core.NoStream, Value: []byte("{}")}

// Create makes a key, and returns its token, which nobody can see again. The principal of
// ctx is who makes it. The errors are forbidden and invalid_key.
func (k *Keys) Create(ctx context.Context, want Key) (made Key, token string, err error) {
	if err := access.Check(ctx, access.ManageKeys, ""); err != nil {
		return made, "", err
	}
	if !k.Protected() {
		return made, "", core.Errorf(core.CodeInvalidKey, "the store has no key yet, and the first is an admin's: gyre auth init makes it")
	}
	return k.create(ctx, want, core.RecordOp{Table: table, Key: protectedKey, Expect: core.StreamExists, Action: core.CheckRecord})
}

// Init makes the first key, an admin's. The error is keys_exist if there is, or was, one.
func (k *Keys) Init(ctx context.Context, note string) (made Key, token string, err error) {
	made, token, err = k.create(ctx, Key{Role: access.Admin, Note: note}, firstKey)
	if errors.Is(err, core.CodeRecordConflict) {
		err = core.Errorf(core.CodeKeysExist, "the store has keys already")
	}
	return made, token, err
}

// Recover makes an admin's key whatever keys there are. It is for who has the store itself.
func (k *Keys) Recover(ctx context.Context, note string) (made Key, token string, err error) {
	return k.create(ctx, Key{Role: access.Admin, Note: note}, core.RecordOp{Table: table, Key: protectedKey, Expect: core.AnyVersion, Value: []byte("{}")})
}

// Accept has a store without keys take a token that was made elsewhere (NewToken) as its first
// key, an admin's. A store with keys must know it as that of an admin: else the error is
// keys_exist. Several nodes may do so at once.
func (k *Keys) Accept(ctx context.Context, token, note string) error {
	id, secret, ok := parseToken(token)
	if !ok {
		return core.Errorf(core.CodeInvalidKey, "that is not a key: it begins with gyre_ and has 59 characters")
	}
	if !k.Protected() {
		_, err := k.put(ctx, Key{ID: id, Role: access.Admin, Note: note}, secret, firstKey)
		if !errors.Is(err, core.CodeRecordConflict) {
			return err
		}
		if err := k.load(ctx); err != nil { // another node has made the first key
			return err
		}
	}
	return k.known.Load().checkAdmin(id, secret)
}

// checkAdmin returns keys_exist if a key is not that of an admin.
func (known *known) checkAdmin(id, secret string) error {
	h := known.byID[id]
	switch {
	case h == nil:
		return core.Errorf(core.CodeKeysExist, "the store has keys, and %s is none of them: it was revoked, or is of another store", id)
	case !h.isSecret(secret):
		return core.Errorf(core.CodeKeysExist, "the store has another key %s", id)
	case h.Role != access.Admin:
		return core.Errorf(core.CodeKeysExist, "the store knows %s as the key of a %s, not of an admin", id, h.Role)
	case h.principal.Check(access.Connect, "") != nil:
		return core.Errorf(core.CodeKeysExist, "the key %s has expired", id)
	}
	return nil
}

// NewToken returns a token that no store knows yet, for Accept.
func NewToken() string { return tokenOf(newSecret()) }

// IsToken reports whether a text has the form of a token.
func IsToken(text string) bool {
	_, _, ok := parseToken(text)
	return ok
}

func (k *Keys) create(ctx context.Context, want Key, mark core.RecordOp) (made Key, token string, err error) {
	id, secret := newSecret()
	want.ID = id
	made, err = k.put(ctx, want, secret, mark)
	return made, tokenOf(id, secret), err
}

// put stores a key, and waits until this node knows it.
func (k *Keys) put(ctx context.Context, key Key, secret string, mark core.RecordOp) (Key, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if err := key.validate(now); err != nil {
		return key, err
	}
	expired, err := k.known.Load().room(now)
	if err != nil && mark.Expect != core.AnyVersion { // who recovers the store has no other way in
		return key, err
	}
	key.Created, key.By, key.Expires = now, access.Of(ctx).Name, key.Expires.UTC()
	value, err := json.Marshal(record{key, hashOf(secret)})
	if err != nil {
		return key, core.Errorf(core.CodeInternal, "a key cannot be encoded: %w", err)
	}
	records := []core.RecordOp{mark, {Table: table, Key: key.ID, Expect: core.NoStream, Value: value}}
	for _, id := range expired {
		records = append(records, core.RecordOp{Table: table, Key: id, Expect: core.AnyVersion, Action: core.DeleteRecord})
	}
	return key, k.commit(ctx, keyCreated, Act{Target: key.ID, Detail: key}, records...)
}

// room returns the expired keys that make room for another key, if there are MaxKeys: those
// that have been expired for longest. Expired ones are listed until then. The error is
// invalid_key if all of them are good.
func (known *known) room(now time.Time) (expired []string, err error) {
	over := len(known.byID) + 1 - MaxKeys
	if over <= 0 {
		return nil, nil
	}
	for id, h := range known.byID {
		if !h.Expires.IsZero() && !h.Expires.After(now) {
			expired = append(expired, id)
		}
	}
	if len(expired) < over {
		e := core.Errorf(core.CodeInvalidKey, "the store has %d keys: revoke those that nobody uses", MaxKeys)
		e.Limit = MaxKeys
		return nil, e
	}
	slices.SortFunc(expired, func(a, b string) int { return known.byID[a].Expires.Compare(known.byID[b].Expires) })
	return expired[:over], nil
}

// Revoke ends a key. The errors are forbidden, key_not_found, and last_admin_key if nobody
// could make another.
func (k *Keys) Revoke(ctx context.Context, id string) error {
	if err := access.Check(ctx, access.ManageKeys, ""); err != nil {
		return err
	}
	h := k.known.Load().byID[id]
	if h == nil {
		return core.Errorf(core.CodeKeyNotFound, "there is no key %.40q", id)
	}
	revoke := []core.RecordOp{{Table: table, Key: id, Expect: core.StreamExists, Action: core.DeleteRecord}}
	if h.lasting() {
		list := k.List()
		other := slices.IndexFunc(list, func(other Key) bool { return other.ID != id && other.lasting() })
		if other < 0 {
			return core.Errorf(core.CodeLastAdminKey, "%s is the last key of an admin that does not expire", id)
		}
		// Nobody may revoke that one at the same time.
		revoke = append(revoke, core.RecordOp{Table: table, Key: list[other].ID, Expect: core.StreamExists, Action: core.CheckRecord})
	}
	err := k.commit(ctx, keyRevoked, Act{Target: id, Detail: h.Key}, revoke...)
	if errors.Is(err, core.CodeRecordConflict) {
		if err := k.load(ctx); err != nil {
			return err
		}
		return core.Errorf(core.CodeKeyNotFound, "the key %.40q, or that of another admin, was revoked meanwhile", id)
	}
	return err
}

// lasting reports whether a key is one of an admin that does not expire.
func (k *Key) lasting() bool { return k.Role == access.Admin && k.Expires.IsZero() }

// commit makes a change and its entry in the audit, and takes it into use here. Other nodes
// hear of it.
func (k *Keys) commit(ctx context.Context, kind string, a Act, records ...core.RecordOp) error {
	a.fill(ctx, k.config.Node)
	e, err := entry(kind, &a)
	if err != nil {
		return err
	}
	if _, err := k.config.Commits.Append(ctx, core.Commit{System: true, Appends: []core.Append{e}, Records: records}); err != nil {
		return err
	}
	// It is done, whatever becomes of the caller: the first key ends the principal that asked.
	by := time.Now().Add(auditTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(by) {
		by = d
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), by)
	defer cancel()
	if err := k.load(ctx); err != nil {
		k.config.Logger.Warn("a change of keys is not in use here yet", "error", err)
	}
	return nil
}

// List returns the keys, expired ones too, in the order in which they were made.
func (k *Keys) List() []Key {
	var list []Key
	for _, h := range k.known.Load().byID {
		list = append(list, h.Key)
	}
	slices.SortFunc(list, func(a, b Key) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}
