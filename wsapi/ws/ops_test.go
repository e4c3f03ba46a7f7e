package ws

import (
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/wsapi/wire"
)

// TestOpsHaveTheirMessages: an op whose message package wire does not decode would get
// another one's, and panic.
func TestOpsHaveTheirMessages(t *testing.T) {
	ops, err := newOps(&Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name := range ops {
		_, m, err := wire.DecodeClient(fmt.Appendf(nil, `{"op":%q,"id":1,"n":1,"sub":1}`, name))
		if _, other := m.(*wire.Other); other || m == nil {
			t.Errorf("the message of op %s is decoded as %T, %v", name, m, err)
		}
	}
}
