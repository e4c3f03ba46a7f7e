package cluster

import (
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core/ring"
)

func TestOwnedKeepsTheLastUsed(t *testing.T) {
	var o owned
	all := func(int) bool { return true }
	for n := range maxOwned + 10 {
		o.note(fmt.Sprint(n), 2, 1)
		o.note("0", 3, uint64(n)) // in use all the time
	}
	o.note("0", 2, 7) // the answer to an earlier Commit comes late
	list := o.list(all)
	if len(list) != maxOwned {
		t.Fatalf("%d are listed", len(list))
	}
	if e := list[0]; e.Name != "0" || e.Epoch != 3 || e.Version != maxOwned+9 || e.Slot != ring.Slot("0") || e.Since.After(e.Used) {
		t.Errorf("the last used is %+v", e)
	}
	for _, e := range list {
		if e.Name == "1" {
			t.Error("the one that was used longest ago is listed")
		}
	}
	slot := ring.Slot("500")
	for _, e := range o.list(func(s int) bool { return s == slot }) {
		if e.Slot != slot {
			t.Errorf("%s is listed, whose slot is another node's", e.Name)
		}
	}
	if n := len(o.list(all)); n == 0 || n > maxOwned/100 {
		t.Errorf("%d are listed after the other slots were lost", n)
	}
}
