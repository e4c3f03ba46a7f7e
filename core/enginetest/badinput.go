package enginetest

import (
	"fmt"
	"math"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// inputTests are about bad input from clients. Whichever the engine, the Store returns a
// usage error and changes nothing.
var inputTests = []test{{"P12", "bad_input", badInput}}

func badInput(s *suite) {
	store := core.NewStore(s.engine, core.StoreConfig{})
	s.closed = true // with the Store
	defer func() {
		if err := store.Close(); err != nil {
			s.Error(err)
		}
	}()
	for _, bad := range []string{"\x00", "a\x00b", "a\n", "\u0085", "\xff", "a\xc3", strings.Repeat("x", 2*core.MaxRecordKeyBytes)} {
		for name, err := range answersTo(s, store, bad) {
			s.refusedAsInput(fmt.Sprintf("%s %.20q", name, bad), err)
		}
	}
	for name, err := range answersToNumbers(s, store) {
		s.refusedAsInput(name, err)
	}
	s.head(0)
	s.hasRecords("t")
}

func (s *suite) refusedAsInput(call string, err error) {
	s.Helper()
	if err == nil {
		s.Errorf("%s is not refused", call)
	} else if e := core.AsError(err); e.Info().Class != core.ClassUsage || e.Info().Status/100 != 4 {
		s.Errorf("%s: %v, want an error of the caller", call, err)
	}
}

// answersTo returns the answers to requests that each have a bad text in one place.
func answersTo(s *suite, store *core.Store, bad string) map[string]error {
	answers := make(map[string]error)
	do := func(name string, c *core.Commit) { _, answers[name] = store.Append(s.ctx(), *c) }
	do("append to", appendTo(bad, core.AnyVersion, newEvent()))
	c := appendTo("a", core.AnyVersion, newEvent())
	c.Appends[0].Events[0].Type = bad
	do("type", c)
	c = appendTo("a", core.AnyVersion, newEvent())
	c.Appends[0].Events[0].Format, c.Appends[0].Events[0].ContentType = core.Bytes, bad
	do("content type", c)
	c = appendTo("a", core.AnyVersion, newEvent())
	c.Checks = []core.Check{{Stream: bad, Expect: core.AnyVersion}}
	do("check", c)
	do("record in table", recordCommit(put(bad, "k", core.AnyVersion, "v")))

	_, answers["read"] = store.Read(s.ctx(), core.ReadRequest{Stream: bad})
	_, answers["streams with prefix"] = store.Streams(s.ctx(), core.StreamsRequest{Prefix: bad})
	_, answers["streams after"] = store.Streams(s.ctx(), core.StreamsRequest{After: bad})
	_, answers["records of table"] = store.Records(s.ctx(), core.RecordsRequest{Table: bad})
	for name, f := range map[string]core.FollowRequest{
		"follow":           {Stream: bad},
		"filter of stream": {Stream: core.All, Filter: core.Filter{Streams: []string{bad}}},
		"filter of type":   {Stream: core.All, Filter: core.Filter{Types: []string{"T", bad}}},
	} {
		answers[name] = followError(s, store, f)
	}
	if !strings.ContainsAny(bad, "\x00\n\u0085") { // which a key may have
		do("record", recordCommit(put("t", bad, core.AnyVersion, "v")))
		_, answers["records with prefix"] = store.Records(s.ctx(), core.RecordsRequest{Table: "t", Prefix: bad})
		_, answers["records after"] = store.Records(s.ctx(), core.RecordsRequest{Table: "t", After: bad})
		_, answers["records with key"] = store.Records(s.ctx(), core.RecordsRequest{Table: "t", Keys: []string{"k", bad}})
	}
	return answers
}

func answersToNumbers(s *suite, store *core.Store) map[string]error {
	answers := make(map[string]error)
	_, answers["read from"] = store.Read(s.ctx(), core.ReadRequest{Stream: core.All, From: math.MaxUint64})
	_, answers["read limit"] = store.Read(s.ctx(), core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: -1}})
	for name, bad := range map[string]core.RecordsRequest{
		"too many ranges":    {Ranges: make([]core.KeyRange, core.MaxCommitRecords+1)},
		"keys and ranges":    {Ranges: []core.KeyRange{{After: "a", Before: "b"}}, Keys: []string{"a"}},
		"prefix and ranges":  {Ranges: []core.KeyRange{{After: "a", Before: "b"}}, Prefix: "a"},
		"a range backwards":  {Ranges: []core.KeyRange{{After: "b", Before: "a"}}},
		"overlapping ranges": {Ranges: []core.KeyRange{{After: "a", Before: "c"}, {After: "b", Before: "d"}}},
	} {
		bad.Table = "t"
		_, answers[name] = store.Records(s.ctx(), bad)
	}
	_, answers["records without a table"] = store.Records(s.ctx(), core.RecordsRequest{})
	_, answers["too many keys"] = store.Records(s.ctx(), core.RecordsRequest{Table: "t", Keys: make([]string, core.MaxCommitRecords+1)})
	for name, from := range map[string]core.From{
		"position": {Kind: core.AfterPosition, N: math.MaxUint64},
		"version":  {Kind: core.AfterVersion, N: math.MaxUint64},
		"cursor":   {Kind: core.AfterPosition, N: 1 << 40},
		"kind":     {Kind: 99},
	} {
		answers["follow from "+name] = followError(s, store, core.FollowRequest{Stream: core.All, From: from})
	}
	for name, expect := range map[string]core.Expect{"below": -4, "above": core.MaxNumber + 1} {
		_, answers["expect "+name] = store.Append(s.ctx(), *appendTo("a", expect, newEvent()))
		_, answers["expect of record "+name] = store.Append(s.ctx(), *recordCommit(put("t", "k", expect, "v")))
	}
	return answers
}

func followError(s *suite, store *core.Store, r core.FollowRequest) error {
	f, err := store.Follow(s.ctx(), r)
	if err == nil {
		_ = f.Close()
	}
	return err
}
