package sdk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
)

func addresses(t *testing.T, text string) []address {
	t.Helper()
	list, err := parseAddresses(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestOrderOfAddresses: after a break the next address is tried, after a goaway the nodes
// that it names, the known ones first. The node that was lost is tried again, too.
func TestOrderOfAddresses(t *testing.T) {
	for _, of := range []struct {
		configured, at, learned string
		left                    bool
		want                    string
	}{
		{"a:1", "a:1", "", false, "a:1"},
		{"a:1", "a:1", "", true, "a:1"},
		{"a:1,b:1,a:1, c:1", "a:1", "", false, "b:1,c:1,a:1"},
		{"a:1,b:1,c:1", "b:1", "", false, "c:1,a:1,b:1"},
		{"a:1,b:1,c:1", "b:1", "a:1,d:1", false, "c:1,a:1,b:1,d:1"},
		{"a:1,b:1,c:1", "b:1", "d:1,a:1", true, "a:1,d:1,c:1,b:1"},
		{"a:1,b:1", "d:1", "c:1", false, "a:1,b:1,c:1"}, // at was learned
		{"a:1", "a:1", "b:1", true, "b:1,a:1"},
		{"a:1", "a:1", "b:1", false, "a:1,b:1"},
	} {
		n := nodes{configured: addresses(t, of.configured), at: addresses(t, of.at)[0]}
		if of.learned != "" {
			n.learned = addresses(t, of.learned)
		}
		if got := n.next(of.left); !slices.Equal(got, addresses(t, of.want)) {
			t.Errorf("%+v: %v", of, got)
		}
	}
}

func TestNodesThatAServerNames(t *testing.T) {
	at := addresses(t, "wss://a:1/prefix")[0]
	n := nodes{at: at}
	n.learn(at, []string{"b:1", "ftp://b", "", "wss://c:1", "http://plain:1", "wss://a:1/prefix"})
	want := addresses(t, "https://b:1,https://c:1")
	if len(n.learned) != 2 || !slices.Contains(n.learned, want[0]) || !slices.Contains(n.learned, want[1]) {
		t.Errorf("learned %v, want %v", n.learned, want)
	}
	n.learn(at, nil)
	if len(n.learned) != 2 {
		t.Errorf("a node that names none left %v", n.learned)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("n%d:1", i))
	}
	if n.learn(at, many); len(n.learned) != maxLearned {
		t.Errorf("%d were learned", len(n.learned))
	}
}

// TestErrorOfSeveralAddresses: it says of each why, and is one to come back from if any is.
func TestErrorOfSeveralAddresses(t *testing.T) {
	list := addresses(t, "a:1,b:1,c:1")
	all := map[core.Code]error{
		core.CodeUnavailable:        core.Errorf(core.CodeUnavailable, "http://a:1 cannot be reached"),
		core.CodeVersionUnsupported: core.Errorf(core.CodeVersionUnsupported, "no version"),
		core.CodeStarting:           core.Errorf(core.CodeStarting, "opening the log"),
	}
	for _, of := range []struct {
		errs []core.Code
		want core.Code
		text string
	}{
		{[]core.Code{core.CodeStarting}, core.CodeStarting, "opening the log"},
		{[]core.Code{core.CodeUnavailable, core.CodeStarting}, core.CodeStarting, "http://a:1 cannot be reached; http://b:1: opening the log"},
		{[]core.Code{core.CodeUnavailable, core.CodeVersionUnsupported}, core.CodeUnavailable, "http://a:1 cannot be reached; http://b:1: no version"},
		{[]core.Code{core.CodeVersionUnsupported, core.CodeStarting}, core.CodeStarting, "http://a:1: no version; http://b:1: opening the log"},
		{[]core.Code{core.CodeVersionUnsupported, core.CodeVersionUnsupported}, core.CodeVersionUnsupported, "http://a:1: no version; http://b:1: no version"},
	} {
		var f failures
		for i, code := range of.errs {
			f.add(list[i], all[code])
		}
		if err := f.err(); !errors.Is(err, of.want) || !strings.Contains(err.Error(), of.text) {
			t.Errorf("%v: %v", of.errs, err)
		}
	}
}

// TestRequestsOverHTTPAvoidANodeThatIsGone: after goaway a request is not sent to a node that
// may close the connection without having read it.
func TestRequestsOverHTTPAvoidANodeThatIsGone(t *testing.T) {
	list := addresses(t, "a:1,b:1")
	c := idle()
	c.nodes = nodes{configured: list, at: list[0]}
	c.session = new(session)
	check := func(when string, want ...address) {
		t.Helper()
		if got := c.nodesNow(); !slices.Equal(got, want) {
			t.Errorf("%s: %v", when, got)
		}
	}
	check("connected", list[0], list[1])
	c.session.goAway(0)
	check("after goaway", list[1], list[0])
	c.session = nil
	check("disconnected", list[1], list[0])
}
