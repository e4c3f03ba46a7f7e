package sdk_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// TestAnOlderServerIsNotAskedForWhatItPassesOver: it would answer a selected read with every
// event.
func TestAnOlderServerIsNotAskedForWhatItPassesOver(t *testing.T) {
	c := dial(t, scriptedWith(t, func(int) []string { return []string{"follow"} }, (*scriptedConn).left), sdk.Options{})
	now := time.Now()
	for name, r := range map[string]core.ReadRequest{
		"category":    {Select: core.Selection{Category: "order"}},
		"types":       {Select: core.Selection{Filter: core.Filter{Types: []string{"A"}}}},
		"streams":     {Select: core.Selection{Filter: core.Filter{Streams: []string{"a-*"}}}},
		"since":       {Select: core.Selection{Since: now}},
		"until":       {Select: core.Selection{Until: now}},
		"correlation": {Select: core.Selection{Correlation: "c"}},
		"from":        {FromTime: now},
	} {
		r.Stream = core.All
		if _, err := c.Read(t.Context(), r); !errors.Is(err, core.CodeNotSupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Load(t.Context(), core.LoadRequest{Stream: "a"}); !errors.Is(err, core.CodeNotSupported) {
		t.Error("load:", err)
	}
	commit := one("a", core.AnyVersion, "1")
	commit.Progress = &core.Progress{Name: "p", To: 1}
	if _, err := c.Append(t.Context(), commit); !errors.Is(err, core.CodeNotSupported) {
		t.Error("append with a progress:", err)
	}
	if err := c.DeleteStream(t.Context(), "a", core.AnyVersion); !errors.Is(err, core.CodeNotSupported) {
		t.Error("delete:", err)
	}
	c.Close()
}

// TestARequestIsNotSentAgainToAnOlderServer: a client that reconnects to an older server refuses
// what waits for an answer and has fields that the server would pass over.
func TestARequestIsNotSentAgainToAnOlderServer(t *testing.T) {
	read := func(c *scriptedConn) {
		if _, _, err := c.socket.ReadMessage(); err != nil { // and the connection breaks
			t.Error(err)
		}
	}
	features := func(connection int) []string {
		if connection%2 == 0 {
			return nil
		}
		return []string{"progress", "selections"}
	}
	c := dial(t, scriptedWith(t, features, read, (*scriptedConn).left), sdk.Options{})
	if _, err := c.Read(t.Context(), core.ReadRequest{Stream: core.All, Select: core.Selection{Category: "a"}}); !errors.Is(err, core.CodeNotSupported) {
		t.Error("read:", err)
	}
	c.Close()
	c = dial(t, scriptedWith(t, features, read, (*scriptedConn).left), sdk.Options{})
	commit := one("a", core.AnyVersion, "1")
	commit.Progress = &core.Progress{Name: "p", To: 1}
	if _, err := c.Append(t.Context(), commit); !errors.Is(err, core.CodeUnknownOutcome) || !errors.Is(err, core.CodeNotSupported) {
		t.Error("append:", err)
	}
	c.Close()
}
