package core_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

func TestNewEventsKeepTheirContentInTheCodec(t *testing.T) {
	events := []core.NewEvent{
		{Type: "A", Data: []byte("1")},
		{ID: core.NewID(), Type: "Order", Data: []byte(`{"a":1}`), Metadata: []byte(`{"b":2}`)},
		{Type: "B", Format: core.Bytes, ContentType: "image/png", Data: []byte{0, 255}, Time: time.UnixMicro(-5).UTC()},
	}
	var encoded []byte
	for i := range events {
		encoded = core.EncodeNewEvent(encoded, &events[i])
	}
	for i := range events {
		var e core.NewEvent
		n, err := core.DecodeNewEvent(encoded, &e)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Metadata) == 0 {
			e.Metadata = nil
		}
		if !reflect.DeepEqual(e, events[i]) {
			t.Errorf("event %d came back as %+v", i, e)
		}
		for cut := range n {
			if _, err := core.DecodeNewEvent(encoded[:cut], &e); err == nil {
				t.Errorf("event %d cut to %d bytes was decoded", i, cut)
			}
		}
		encoded = encoded[n:]
	}
}

// A time that is zero is out of range, as its neighbors are: it does not become now.
func TestEncodedZeroTimeIsRefused(t *testing.T) {
	for _, at := range []time.Time{time.Time{}.Add(1), time.Time{}.Add(time.Microsecond), time.Time{}.Add(-time.Microsecond)} {
		var e core.NewEvent
		if _, err := core.DecodeNewEvent(core.EncodeNewEvent(nil, &core.NewEvent{Type: "A", Data: []byte("1"), Time: at}), &e); err != nil {
			t.Fatal(err)
		}
		err := (&core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{e}}}}).Validate()
		if !errors.Is(err, core.CodeInvalidEventTime) {
			t.Errorf("%v: %v", at, err)
		}
	}
}
