package wsapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// An ETag names a state of a stream in one representation:
// "<timeline>-<incarnation>-<version>", which ends in "-cloudevents" for a batch of
// CloudEvents. Each representation needs its own, because a browser looks a page up by
// its URL and ETag. If-Match takes any: it is about the state alone.
//
// A hard delete removes links to the stream's events from other streams, and events expire. Their
// versions stay, but their pages change. The tag of a page with such a gap has "-p<hash>" before that
// ending: a hash of the positions of its events, in 16 hexadecimal digits. If-Match takes such a tag,
// too.
//
// The tag of a page of selected events has a hash of the selection, and always that of its events. It
// names no state of the whole stream, so If-Match does not take it.

// suffixes are the endings of the representations that have an ETag.
var suffixes = map[string]string{typeJSON: "", typeCloudBatch: "-cloudevents"}

// etag is the tag of a version that a stream had in an incarnation, 0 for the first, when the
// log was in state. The ending is that of the representation.
func etag(state core.State, incarnation uint32, version uint64, ending string) string {
	return tagOf(state.Timeline(), max(1, incarnation), version, ending)
}

func tagOf(timeline string, incarnation uint32, version uint64, ending string) string {
	return `"` + timeline + "-" + strconv.FormatUint(uint64(incarnation), 10) + "-" + strconv.FormatUint(version, 10) + ending + `"`
}

// selectionTag is what the tag of a page has of the selection that q asks for.
func selectionTag(q url.Values) string {
	of := make(url.Values)
	if appendSelection(of, q); len(of) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(of.Encode()))
	return "-" + hex.EncodeToString(sum[:8])
}

// pageTag is what the tag of a page has of the events of the page: nothing if they are those that
// the page has as long as none of the stream's was removed. A removal moves the head of $all, which
// is in its tag; what expires with time does not.
func pageTag(r *pageRequest, page *core.Page) string {
	if r.Stream == core.All && !page.Expired || r.beyond || isWhole(r, page) {
		return ""
	}
	hash := sha256.New()
	var position [8]byte
	for p := range page.Places() {
		binary.BigEndian.PutUint64(position[:], p.Position)
		hash.Write(position[:])
	}
	return "-p" + hex.EncodeToString(hash.Sum(nil)[:pageHashBytes])
}

// pageHashBytes is the length of what the tag of a page has of the hash of its events.
const pageHashBytes = 8

// isWhole reports whether a page of a stream has all that r asks for, which is not a selection, and
// is the End only where the stream ends.
func isWhole(r *pageRequest, page *core.Page) bool {
	if r.Stream == core.All || !r.Select.IsZero() || !r.FromTime.IsZero() {
		return false
	}
	var first, last uint64
	for p := range page.Places() {
		first, last = cmp.Or(first, p.Version), p.Version
	}
	switch {
	case page.Count == 0:
		return !r.Backward && r.From > page.Version
	case r.Backward:
		from := min(cmp.Or(r.From, page.Version), page.Version)
		return first == from && first-last == uint64(page.Count)-1 && (!page.End || last == 1)
	}
	return first == max(r.From, 1) && last-first == uint64(page.Count)-1 && (!page.End || last == page.Version)
}

// isPageTag reports whether a part of a tag is what pageTag adds.
func isPageTag(part string) bool {
	digits, ok := strings.CutPrefix(part, "p")
	hash, err := hex.DecodeString(digits)
	return ok && err == nil && len(hash) == pageHashBytes && hex.EncodeToString(hash) == digits
}

// expectedByTag is the version and the incarnation that If-Match expects of a stream. A tag of
// another log, or of a tail that the log has lost, is log_changed. Any other that this server
// cannot have sent, a weak one too, is wrong_expected_version: the stream is not in the state that
// it names.
func (a *API) expectedByTag(w http.ResponseWriter, r *http.Request, tag, stream string) (x expectation, err error) {
	x.precondition = true
	opaque, isTag := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), `"`)
	opaque, closed := strings.CutSuffix(opaque, `"`)
	if !isTag || !closed || strings.Contains(opaque, `"`) {
		return x, core.Errorf(core.CodeInvalidRequest, "If-Match %q is not one ETag", core.Clip(tag))
	}
	state := a.config.Store.State()
	for _, suffix := range suffixes {
		rest, ok := strings.CutSuffix(opaque, suffix)
		parts := strings.Split(rest, "-")
		ending := suffix
		if len(parts) == 4 && isPageTag(parts[3]) {
			ending, parts = "-"+parts[3]+suffix, parts[:3]
		}
		if !ok || len(parts) != 3 {
			continue
		}
		end, known := state.End(parts[0])
		if !known {
			return x, core.Errorf(core.CodeLogChanged, "If-Match %q is of another log", core.Clip(tag))
		}
		incarnation, notNumber := strconv.ParseUint(parts[1], 10, 32)
		version, err := strconv.ParseUint(parts[2], 10, 64)
		if notNumber != nil || err != nil || incarnation == 0 || version > core.MaxNumber || tag != tagOf(parts[0], uint32(incarnation), version, ending) {
			continue
		}
		x.version, x.incarnation = core.Expect(version), uint32(incarnation)
		if parts[0] == state.Timeline() {
			return x, nil
		}
		return x, a.checkKept(w, r, tag, stream, version, end)
	}
	e := core.Errorf(core.CodeWrongExpectedVersion, "If-Match %q names no state of stream %q", core.Clip(tag), core.Clip(stream))
	e.Stream = stream
	return x, e
}

// checkKept checks a tag of an earlier timeline, which ended at position end. A version that the
// stream has not reached, or has reached only later, was lost with the tail. The rest is left to
// the append.
func (a *API) checkKept(w http.ResponseWriter, r *http.Request, tag, stream string, version, end uint64) error {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	last, err := reading(w, func() (core.Page, error) {
		return a.config.Store.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1, Bytes: 1}})
	})
	switch {
	case errors.Is(err, core.CodeStreamDeleted), errors.Is(err, core.CodeStreamTombstoned):
		return nil
	case err != nil && !errors.Is(err, core.CodeStreamNotFound):
		return err
	case version > last.Version || version == last.Version && last.Last > end:
		return core.Errorf(core.CodeLogChanged, "If-Match %q is of a tail that the log has lost", core.Clip(tag))
	}
	return nil
}

// matches reports whether an If-None-Match names the tag.
func matches(values []string, tag string) bool {
	for _, v := range strings.Split(strings.Join(values, ","), ",") {
		v = strings.TrimPrefix(strings.TrimSpace(v), "W/")
		if v == tag || v == "*" {
			return true
		}
	}
	return false
}

// expectation is what a request expects of a stream.
type expectation struct {
	version     core.Expect
	incarnation uint32 // 0 = any
	// precondition reports that a header says so: its failure is 412, that of the query's expect
	// 409.
	precondition bool
}

// expected is what the request expects of the stream.
func (a *API) expected(w http.ResponseWriter, r *http.Request, stream string) (x expectation, err error) {
	match, none := r.Header.Values("If-Match"), r.Header.Values("If-None-Match")
	query := r.URL.Query()["expect"]
	if len(match)+len(none)+len(query) > 1 {
		return x, core.Errorf(core.CodeInvalidRequest, "a request has at most one of expect, If-Match and If-None-Match")
	}
	switch {
	case len(query) == 1:
		x.version, err = core.ParseExpect(query[0])
		return x, err
	case len(none) == 1:
		if none[0] != "*" {
			return x, core.Errorf(core.CodeInvalidRequest, "If-None-Match of an append can only be *")
		}
		return expectation{version: core.NoStream, precondition: true}, nil
	case len(match) == 1 && match[0] == "*":
		return expectation{version: core.StreamExists, precondition: true}, nil
	case len(match) == 1:
		return a.expectedByTag(w, r, match[0], stream)
	}
	return expectation{version: core.AnyVersion}, nil
}

// refuseAppend responds to a failed append: with 412 if a precondition did not hold.
func (a *API) refuseAppend(w http.ResponseWriter, r *http.Request, x expectation, err error) error {
	switch core.AsError(err).Code {
	case core.CodeWrongExpectedVersion, core.CodeLogChanged:
		if x.precondition {
			a.problemWith(w, r, err, http.StatusPreconditionFailed)
			return nil
		}
	}
	return err
}
