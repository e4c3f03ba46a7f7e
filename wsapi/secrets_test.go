package wsapi

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// TestSecretsAreKeptAsHashes: nothing in memory has the text, so that a look-up compares hashes, and
// its time says nothing of the text. A secret that is like a good one up to its end is none.
func TestSecretsAreKeptAsHashes(t *testing.T) {
	s := newTickets()
	text, _, err := s.give(&access.Principal{Name: "k", Role: access.Reader}, "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	if kept := fmt.Sprintf("%+v", s.open); strings.Contains(kept, text[:8]) || !strings.Contains(kept, "map[[") {
		t.Errorf("kept is %s", kept)
	}
	for _, like := range []string{text[:len(text)-1], text + "A", strings.ToLower(text), ""} {
		if s.take(like) != nil {
			t.Errorf("%s is taken for %s", like, text)
		}
	}
	if s.take(text) == nil || s.take(text) != nil {
		t.Error("it is not good once")
	}
}

// TestSecretsAreBounded: for each principal and for all, with the oldest given up or the new one
// refused; and what is over, by time or with its principal, makes room.
func TestSecretsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []int
		s := &secrets[int]{kind: "things", ttl: time.Minute, most: 4, mostOwn: 2, ended: func(n int) { ended = append(ended, n) }}
		texts := map[int]string{}
		give := func(n int, name string) error {
			time.Sleep(time.Second)
			text, _, err := s.give(&access.Principal{Name: name, Role: access.Reader}, n)
			texts[n] = text
			return err
		}
		if err := errors.Join(give(1, "a"), give(2, "a"), give(3, "b")); err != nil {
			t.Fatal(err)
		}
		if err := give(4, "a"); !errors.Is(err, core.CodeOverloaded) {
			t.Errorf("a third of a: %v", err)
		}
		s.displace = true
		if err := errors.Join(give(5, "a"), give(6, "c"), give(7, "d")); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(ended) != "[1 2]" || s.find(texts[3]) == nil || s.find(texts[2]) != nil {
			t.Errorf("ended are %v", ended)
		}
		time.Sleep(time.Minute)
		if s.find(texts[7]) != nil {
			t.Error("one is good after its time")
		}
		if err := give(8, "e"); err != nil || len(s.open) != 1 {
			t.Errorf("%d are kept, %v", len(s.open), err)
		}
	})
}
