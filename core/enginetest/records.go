package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// recordTests are about records: what Commits put under keys of tables.
var recordTests = []test{
	{"P6", "record_put_again_and_deleted", func(s *suite) {
		s.must(recordCommit(put("t", "k", core.NoStream, "one")))
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("one")})
		s.must(recordCommit(put("t", "k", 1, "two")))
		s.must(recordCommit(put("t", "k", core.StreamExists, "")))
		s.hasRecords("t", core.Record{Key: "k", Revision: 3})
		s.must(recordCommit(del("t", "k", 3)))
		s.hasRecords("t")
		s.must(recordCommit(put("t", "k", 0, "again")))
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("again")})
		s.head(0)
	}},
	{"P6", "record_deleted_that_is_not_there", func(s *suite) {
		s.must(recordCommit(del("t", "k", core.AnyVersion)))
		s.must(recordCommit(del("t", "k", core.NoStream)))
		s.hasRecords("t")
	}},
	{"P6", "record_expectations", func(s *suite) {
		s.must(recordCommit(put("t", "k", 0, "1"), put("t", "l", 0, "1")))
		s.must(recordCommit(put("t", "k", 1, "2")))
		for _, x := range []core.Expect{0, 1, 3, core.NoStream} {
			s.refused(s.commit(recordCommit(put("t", "k", x, "no"))), core.CodeRecordConflict, 0)
			s.refused(s.commit(recordCommit(put("t", "new", core.AnyVersion, "no"), del("t", "k", x))), core.CodeRecordConflict, 1)
		}
		for _, x := range []core.Expect{1, core.StreamExists} {
			s.refused(s.commit(recordCommit(put("t", "none", x, "no"))), core.CodeRecordConflict, 0)
		}
		s.hasRecords("t", core.Record{Key: "k", Revision: 2, Value: []byte("2")}, core.Record{Key: "l", Revision: 1, Value: []byte("1")})
	}},
	{"P6", "put_that_expects_nothing", func(s *suite) {
		last := uint64(0)
		for _, value := range []string{"1", "2", "3"} {
			s.must(recordCommit(put("t", "k", core.AnyVersion, value)))
			r := s.record("t", "k")
			if r.Revision <= last || string(r.Value) != value {
				s.Errorf("record %+v, want %s at a revision greater than %d", r, value, last)
			}
			last = r.Revision
		}
		s.refused(s.commit(recordCommit(put("t", "k", core.Expect(last-1), "no"))), core.CodeRecordConflict, 0)
		s.refused(s.commit(recordCommit(check("t", "k", core.Expect(last+1)))), core.CodeRecordConflict, 0)
		s.must(recordCommit(put("t", "k", core.Expect(last), "4"), check("t", "k", core.Expect(last))))
		s.hasRecords("t", core.Record{Key: "k", Revision: last + 1, Value: []byte("4")})
		s.must(recordCommit(del("t", "k", core.AnyVersion)))
		s.must(recordCommit(put("t", "k", core.NoStream, "5")))
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("5")})
	}},
	{"P6", "table_swept_in_pieces", func(s *suite) {
		const old, kept, each = "state/projection/1", "state/projection/2", 250
		for _, table := range []string{old, kept} {
			var ops []core.RecordOp
			for i := range each {
				ops = append(ops, put(table, fmt.Sprintf("%03d", i), core.NoStream, "v"))
			}
			s.must(recordCommit(ops...))
		}
		after, swept := "", 0
		for {
			page, err := s.engine.Records(s.ctx(), core.RecordsRequest{Table: old, After: after, Limit: 40})
			if err != nil {
				s.Fatalf("records: %v", err)
			}
			if len(page) == 0 {
				break
			}
			var ops []core.RecordOp
			for _, r := range page {
				ops = append(ops, del(old, r.Key, core.AnyVersion))
			}
			s.must(recordCommit(ops...))
			after, swept = page[len(page)-1].Key, swept+len(page)
		}
		if swept != each {
			s.Errorf("%d records were swept, want %d", swept, each)
		}
		s.hasRecords(old)
		if n := len(s.table(kept)); n != each {
			s.Errorf("%d records of the other generation are there, want %d", n, each)
		}
	}},
	{"P6", "records_together_with_events", func(s *suite) {
		c := appendsTo("a", "b")
		c.Records = []core.RecordOp{put("t", "k", 0, "1")}
		s.must(c)
		c = appendsTo("a", "b")
		c.Checks = []core.Check{{Stream: "a", Expect: 1}}
		c.Records = []core.RecordOp{put("t", "other", core.AnyVersion, "1"), put("t", "k", 0, "2")}
		s.refused(s.commit(c), core.CodeRecordConflict, 4)
		s.head(2)
		c = appendsTo("a")
		c.Appends[0].Expect = 7
		c.Records = []core.RecordOp{put("t", "k", 1, "3")}
		s.wrongVersion(s.commit(c), 0, "a", 7, 1)
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("1")})
	}},
	{"P6", "same_record_twice_in_one_commit", func(s *suite) {
		s.must(recordCommit(put("t", "k", 0, "1"), put("t", "k", 0, "2")))
		s.hasRecords("t", core.Record{Key: "k", Revision: 2, Value: []byte("2")})
		s.must(recordCommit(del("t", "k", 2), put("t", "k", 2, "3")))
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("3")})
		s.must(recordCommit(put("t", "k", 1, "4"), del("t", "k", 1)))
		s.hasRecords("t")
	}},
	{"P6", "record_checked", func(s *suite) {
		s.must(recordCommit(check("t", "k", core.NoStream)))
		s.must(recordCommit(check("t", "k", core.AnyVersion), put("t", "k", 0, "1")))
		for _, x := range []core.Expect{1, core.StreamExists, core.AnyVersion} {
			s.must(recordCommit(check("t", "k", x)))
		}
		for _, x := range []core.Expect{0, 2, core.NoStream} {
			s.refused(s.commit(recordCommit(put("t", "l", 0, "no"), check("t", "k", x))), core.CodeRecordConflict, 1)
		}
		s.refused(s.commit(recordCommit(check("t", "l", core.StreamExists))), core.CodeRecordConflict, 0)
		c := appendsTo("a")
		c.Records = []core.RecordOp{check("t", "k", 1)}
		s.must(c)
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("1")})
	}},
	{"P6", "records_in_one_group", func(s *suite) {
		step := s.group(
			recordCommit(put("t", "k", 0, "1")), recordCommit(put("t", "k", 0, "2")),
			recordCommit(put("t", "k", 1, "3")), recordCommit(put("t", "l", 1, "4")))
		s.refused(step.Outcomes[1], core.CodeRecordConflict, 0)
		s.refused(step.Outcomes[3], core.CodeRecordConflict, 0)
		s.hasRecords("t", core.Record{Key: "k", Revision: 2, Value: []byte("3")})
	}},
	{"P6", "records_behind_one_that_is_refused", func(s *suite) {
		s.must(recordCommit(put("t", "k", 0, "1")))
		first := recordCommit(put("t", "k", 1, "2"))
		first.Appends = []core.Append{{Stream: "a", Expect: 7, Events: newEvents(1)}}
		second := recordCommit(put("t", "k", 2, "3"))
		second.Appends = []core.Append{{Stream: "b", Expect: core.AnyVersion, Events: newEvents(1)}}
		step := s.group(first, second, recordCommit(put("t", "k", 3, "4"), check("t", "l", 0)))
		s.wrongVersion(step.Outcomes[0], 0, "a", 7, 0)
		s.refused(step.Outcomes[1], core.CodeRecordConflict, 1)
		s.refused(step.Outcomes[2], core.CodeRecordConflict, 0)
		s.head(0)
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("1")})
	}},
	{"P6", "records_with_checks_only", func(s *suite) {
		s.write("a", 1)
		c := recordCommit(put("t", "k", 0, "1"))
		c.Checks = []core.Check{{Stream: "a", Expect: 0}}
		s.wrongVersion(s.commit(c), 0, "a", 0, 1)
		c.Checks[0].Expect = 1
		if r := s.must(c); r.Position != 0 || len(r.Appends) != 0 {
			s.Errorf("%+v, want no position", r)
		}
		s.head(1)
	}},
	{"P6", "record_listing", recordListing},
	{"P6", "large_record", func(s *suite) {
		big := string(bytes.Repeat([]byte{0, 255}, core.MaxRecordValueBytes/2))
		s.must(recordCommit(put("t", "k", 0, big)))
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte(big)})
	}},
}

func recordListing(s *suite) {
	keys := []string{"a", "a/", "a/1", "a/10", "a/2", "b", "é", "\x00", "\U0010ffff"}
	var want []core.Record
	for i, k := range keys {
		s.must(recordCommit(put("t", k, 0, fmt.Sprint(i)), put("t2", k, 0, "x"), put("s", k, 0, "y")))
		want = append(want, core.Record{Key: k, Revision: 1, Value: fmt.Append(nil, i)})
	}
	slices.SortFunc(want, func(a, b core.Record) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	s.hasRecords("t", want...)
	s.hasRecords("no such table")

	list := func(r core.RecordsRequest) []core.Record {
		s.Helper()
		r.Table = "t"
		got, err := s.engine.Records(s.ctx(), r)
		if err != nil {
			s.Fatalf("records %+v: %v", r, err)
		}
		return got
	}
	for i := range want {
		if got := list(core.RecordsRequest{After: want[i].Key, Limit: 3}); !sameRecords(got, want[i+1:min(i+4, len(want))]) {
			s.Errorf("after %q: %v", want[i].Key, got)
		}
		if got := list(core.RecordsRequest{Keys: []string{want[i].Key}, Limit: 1}); !sameRecords(got, want[i:i+1]) {
			s.Errorf("key %q: %v", want[i].Key, got)
		}
	}
	if got := list(core.RecordsRequest{Keys: []string{"a/11"}, Limit: 1}); len(got) != 0 {
		s.Errorf("a key that is not there: %v", got)
	}
	some := []string{want[6].Key, "a/11", want[1].Key, want[2].Key, want[1].Key}
	if got := list(core.RecordsRequest{Keys: some, Limit: 100}); !sameRecords(got, []core.Record{want[1], want[2], want[6]}) {
		s.Errorf("keys %q: %v", some, got)
	}
	if got := list(core.RecordsRequest{Keys: some, Limit: 2}); !sameRecords(got, want[1:3]) {
		s.Errorf("two of the keys %q: %v", some, got)
	}
	if got := list(core.RecordsRequest{Keys: []string{}, Limit: 2}); len(got) != 0 {
		s.Errorf("no keys: %v", got)
	}
	ranges := []core.KeyRange{{After: "", Before: "a"}, {After: "a", Before: "a/10"}, {After: "a/10", Before: "a/10"}, {After: "a/2", Before: "b"}, {After: "b", Before: "\U0010ffff"}}
	inRanges := []core.Record{want[0], want[2], want[3], want[7]} // \x00, a/, a/1 and é
	if got := list(core.RecordsRequest{Ranges: ranges, Limit: 100}); !sameRecords(got, inRanges) {
		s.Errorf("ranges: %v, want %v", got, inRanges)
	}
	for i := range inRanges {
		if got := list(core.RecordsRequest{Ranges: ranges, After: inRanges[i].Key, Limit: 2}); !sameRecords(got, inRanges[i+1:min(i+3, len(inRanges))]) {
			s.Errorf("ranges after %q: %v", inRanges[i].Key, got)
		}
	}
	if got := list(core.RecordsRequest{Ranges: []core.KeyRange{}, Limit: 2}); len(got) != 0 {
		s.Errorf("no ranges: %v", got)
	}
	if got := list(core.RecordsRequest{Prefix: "a/", Limit: 100}); !sameRecords(got, want[2:6]) {
		s.Errorf("prefix: %v, want %v", got, want[2:6])
	}
	if got := list(core.RecordsRequest{Prefix: "a/", After: "a/1", Limit: 1}); !sameRecords(got, want[4:5]) {
		s.Errorf("prefix after: %v, want %v", got, want[4:5])
	}
}

func put(table, key string, expect core.Expect, value string) core.RecordOp {
	return core.RecordOp{Table: table, Key: key, Expect: expect, Value: []byte(value)}
}

func del(table, key string, expect core.Expect) core.RecordOp {
	return core.RecordOp{Table: table, Key: key, Expect: expect, Action: core.DeleteRecord}
}

func check(table, key string, expect core.Expect) core.RecordOp {
	return core.RecordOp{Table: table, Key: key, Expect: expect, Action: core.CheckRecord}
}

func recordCommit(ops ...core.RecordOp) *core.Commit { return &core.Commit{Records: ops} }

// record is one that is there.
func (s *suite) record(table, key string) core.Record {
	s.Helper()
	got, err := s.engine.Records(s.ctx(), core.RecordsRequest{Table: table, Keys: []string{key}, Limit: 1})
	if err != nil || len(got) != 1 {
		s.Fatalf("record %q of %s: %v, %v", key, table, got, err)
	}
	return got[0]
}

// hasRecords checks what a table has.
// table is the records of a table.
func (s *suite) table(name string) []core.Record {
	s.Helper()
	records, err := s.engine.Records(s.ctx(), core.RecordsRequest{Table: name, Limit: core.MaxReadEvents})
	if err != nil {
		s.Fatalf("records of %q: %v", name, err)
	}
	return records
}

func (s *suite) hasRecords(table string, want ...core.Record) {
	s.Helper()
	got := s.table(table)
	if !sameRecords(got, want) {
		s.Errorf("table %q has %d records %.200v, want %d %.200v", table, len(got), got, len(want), want)
	}
}

func sameRecords(a, b []core.Record) bool {
	return slices.EqualFunc(a, b, func(a, b core.Record) bool {
		return a.Key == b.Key && a.Revision == b.Revision && bytes.Equal(a.Value, b.Value)
	})
}

func withCancel(s *suite) (context.Context, context.CancelFunc) { return context.WithCancel(s.ctx()) }

// closeTests are about the end of an engine.
var closeTests = []test{
	{"P11", "A25_calls_after_close", func(s *suite) {
		e := newEvent()
		s.must(appendTo("a", core.AnyVersion, e))
		blob := s.putBlob([]byte("a"))
		s.closed = true
		if err := s.engine.Close(); err != nil {
			s.Fatalf("close: %v", err)
		}
		ctx := s.ctx()
		step := s.engine.Commit(ctx, []*core.Commit{appendTo("a", core.AnyVersion, newEvent()), recordCommit(put("t", "k", 0, ""))})
		if len(step.Outcomes) != 2 || step.Written.Count != 0 {
			s.Fatalf("step %+v", step)
		}
		_, readErr := s.engine.Read(ctx, core.ReadRequest{Stream: "a", Limit: everything})
		_, allErr := s.engine.Read(ctx, core.ReadRequest{Stream: core.All, Limit: everything})
		_, logErr := s.engine.ReadLog(ctx, 1, everything)
		_, eventErr := s.engine.Event(ctx, e.ID)
		_, streamsErr := s.engine.Streams(ctx, core.StreamsRequest{Limit: 1})
		_, recordsErr := s.engine.Records(ctx, core.RecordsRequest{Table: "t", Limit: 1})
		answers := blobErrors(ctx, s.engine, blob)
		maps.Copy(answers, map[string]error{
			"commit": step.Outcomes[0].Err, "commit of a record": step.Outcomes[1].Err, "read": readErr, "read $all": allErr,
			"read the log": logErr, "event": eventErr, "streams": streamsErr, "records": recordsErr,
		})
		for call, err := range answers {
			if !errors.Is(err, core.CodeStoreClosed) {
				s.Errorf("%s: %v, want store_closed", call, err)
			}
		}
		s.engine.State()
	}},
	{"P11", "close_while_busy", closeWhileBusy},
}
