package plugins_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// FuzzWatchCursor: a cursor that is read says what the one says that is made of it; any other is
// invalid_cursor.
func FuzzWatchCursor(f *testing.F) {
	r := plugins.WatchRequest{Lane: 1, Prefix: "service/"}
	f.Add((&plugins.WatchPlace{Generation: 3, Revisions: []uint64{1, 1 << 40}}).Cursor(&r))
	f.Add("AAAAAA")
	f.Add("!")
	f.Fuzz(func(t *testing.T, cursor string) {
		r.Cursor = cursor
		place, err := r.Place()
		if err != nil {
			if !errors.Is(err, core.CodeInvalidCursor) {
				t.Errorf("%q: %v", cursor, err)
			}
			return
		}
		r.Cursor = place.Cursor(&r)
		again, err := r.Place()
		if err != nil || again.Generation != place.Generation || !slices.Equal(again.Revisions, place.Revisions) {
			t.Errorf("%q is %+v, and then %+v, %v", cursor, place, again, err)
		}
	})
}
