package sdk

import (
	"slices"

	"github.com/gyre-events/gyre/core"
)

// feature is a part of the protocol, as a welcome lists it. A server that lacks it passes over
// its fields in a message, so a request with them is not sent there.
type feature string

// The features of which a request may have fields.
const (
	hasDeletes    feature = "deletes"
	hasProgress   feature = "progress"
	hasSelections feature = "selections"
	hasSnapshots  feature = "snapshots"
)

// lacking says what a server without a feature does.
var lacking = map[feature]string{
	hasDeletes:    "deletes no streams",
	hasProgress:   "keeps no progress",
	hasSelections: "does not select events in a read, nor begin one at a time",
	hasSnapshots:  "has no snapshots",
}

// missing returns the error of a call that needs what the newest server lacks, or nil. c.mu is held.
func (c *Client) missing(k *call) *core.Error {
	for _, f := range k.needs {
		if !slices.Contains(c.can, string(f)) {
			return core.Errorf(core.CodeNotSupported, "the server %s; it is older than this client", lacking[f])
		}
	}
	return nil
}

// refuse ends the calls that need what the newest server lacks. One that was sent to another may
// have been done there. c.mu is held; the function that is returned ends them, without it.
func (c *Client) refuse() func() {
	refused := map[*call]*core.Error{}
	for id, k := range c.calls {
		if e := c.missing(k); e != nil {
			if k.tries > 0 {
				e = k.lost(e)
			}
			refused[k] = e
			delete(c.calls, id)
		}
	}
	return func() {
		for k, e := range refused {
			k.finish(c, answer{err: e})
		}
	}
}
