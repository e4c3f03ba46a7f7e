package subscriptions_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// TestStoredSubscriptionsAreBounded: however they are created; what is deleted makes room, and what
// is transient needs none.
func TestStoredSubscriptionsAreBounded(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	owner, err := subscriptions.New(subscriptions.Config{Store: store, MaxStored: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(owner.Close(t.Context()), store.Close()); err != nil {
			t.Error(err)
		}
	}()
	d := subscriptions.DefaultDefinition()
	for i := range 100 {
		if _, _, err := owner.Put(t.Context(), fmt.Sprint("s", i), &d); err != nil {
			t.Fatal(i, err)
		}
	}
	put := func(name string) error {
		_, _, err := owner.Put(t.Context(), name, &d)
		return err
	}
	join := func(name string) error {
		_, err := owner.Join(t.Context(), subscriptions.JoinRequest{Name: name, Definition: &d})
		return err
	}
	for name, create := range map[string]func(string) error{"put": put, "join": join} {
		if err := create("more"); !errors.Is(err, core.CodeTooManySubscriptions) || core.AsError(err).Limit != 100 {
			t.Errorf("%s: %v", name, err)
		}
		if err := create("s1"); err != nil {
			t.Errorf("%s of one that is there: %v", name, err)
		}
	}
	s, err := owner.Join(t.Context(), subscriptions.JoinRequest{Name: "more", Transient: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Leave(true)
	if err := owner.Delete(t.Context(), "s1"); err != nil {
		t.Fatal(err)
	}
	again, err := subscriptions.New(subscriptions.Config{Store: store, MaxStored: 100}) // which has not found it full
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := again.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, _, err := again.Put(t.Context(), "more", &d); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
}
