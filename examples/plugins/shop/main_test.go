package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

// monday is when each test begins.
var monday = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// shop is the plugin with its usual config. did is what it has appended, as STREAM TYPE.
type shop struct {
	*testing.T
	*plugintest.Test
	did []string
}

func newShop(t *testing.T) *shop {
	s := &shop{T: t, Test: plugintest.New(handle)}
	s.SetConfig(`{"remindAfterHours":24,"cancelAfterHours":72}`)
	return s
}

// at hands over an event that was recorded some hours after monday. It returns what became of it.
func (s *shop) at(hours int, stream, typ, data string) plugintest.Result {
	done := s.Test.Handle(plugintest.Event{Stream: stream, Type: typ, Data: data, Time: monday.Add(time.Duration(hours) * time.Hour)})
	for _, a := range done.Appended {
		s.did = append(s.did, a.Stream+" "+a.Type)
	}
	return done.Results[0]
}

func (s *shop) want(did ...string) {
	s.Helper()
	if !slices.Equal(s.did, did) {
		s.Errorf("the shop did %q, want %q", s.did, did)
	}
	s.did = nil
}

func (s *shop) parks(r plugintest.Result, reason string) {
	s.Helper()
	if r.Action != "park" || !strings.Contains(r.Reason, reason) {
		s.Errorf("the result is %+v, want one that is parked: %s", r, reason)
	}
}

func TestAnOrderIsPaid(t *testing.T) {
	s := newShop(t)
	s.at(0, "order-1", "OrderPlaced", `{"customer":"ann","total":30}`)
	s.at(1, "payment-a", "PaymentReceived", `{"order":"1","amount":10}`)
	s.want()
	s.at(2, "payment-b", "PaymentReceived", `{"order":"1","amount":20}`)
	s.want("order-1 OrderPaid")
	s.at(100, "clock", "Tick", `{}`)
	s.want()
}

func TestAPaymentComesBeforeItsOrder(t *testing.T) {
	s := newShop(t)
	s.at(0, "payment-a", "PaymentReceived", `{"order":"1","amount":30}`)
	s.want()
	s.at(1, "order-1", "OrderPlaced", `{"customer":"ann","total":30}`)
	s.want("order-1 OrderPaid")
}

func TestAnOrderRunsOutOfTime(t *testing.T) {
	s := newShop(t)
	s.at(0, "order-1", "OrderPlaced", `{"customer":"ann","total":30}`)
	s.at(23, "clock", "Tick", `{}`)
	s.want()
	s.at(24, "clock", "Tick", `{}`)
	s.want("order-1 ReminderSent")
	s.at(71, "order-2", "OrderPlaced", `{"customer":"bob","total":1}`) // any event moves the time
	s.want()
	s.at(72, "order-3", "OrderPlaced", `{"customer":"eve","total":1}`)
	s.want("order-1 OrderCancelled")
	s.parks(s.at(73, "payment-a", "PaymentReceived", `{"order":"1","amount":30}`), "order 1 is cancelled: give 30 back")
}

// A reminded order that is paid is not cancelled.
func TestAReminderHelps(t *testing.T) {
	s := newShop(t)
	s.at(0, "order-1", "OrderPlaced", `{"customer":"ann","total":30}`)
	s.at(25, "clock", "Tick", `{}`)
	s.at(26, "payment-a", "PaymentReceived", `{"order":"1","amount":30}`)
	s.want("order-1 ReminderSent", "order-1 OrderPaid")
	s.at(100, "clock", "Tick", `{}`)
	s.want()
	s.parks(s.at(101, "payment-b", "PaymentReceived", `{"order":"1","amount":30}`), "order 1 is paid")
}

// The time of a Tick is its now, and goes on only.
func TestTheTimeIsThatOfEvents(t *testing.T) {
	s := newShop(t)
	s.at(0, "order-1", "OrderPlaced", `{"customer":"ann","total":30}`)
	s.at(0, "clock", "Tick", fmt.Sprintf(`{"now":%q}`, monday.Add(30*time.Hour).Format(time.RFC3339)))
	s.want("order-1 ReminderSent")
	s.at(1, "order-2", "OrderPlaced", `{"customer":"bob","total":1}`) // at 30 hours
	s.at(53, "clock", "Tick", `{}`)
	s.want()
	s.at(54, "clock", "Tick", `{}`)
	s.want("order-2 ReminderSent")
	s.parks(s.at(55, "clock", "Tick", `{"now":"noon"}`), "now is no time")
}

// An event that is parked has no effect: what ran out of time then does so at the next one.
func TestABadEventHasNoEffect(t *testing.T) {
	s := newShop(t)
	s.at(0, "order-1", "OrderPlaced", `{"customer":"ann","total":30}`)
	s.parks(s.at(30, "payment-a", "PaymentReceived", `{"amount":30}`), "names an order")
	s.parks(s.at(30, "payment-a", "PaymentReceived", `{"order":"1","amount":-1}`), "above 0")
	s.parks(s.at(30, "order-2", "OrderPlaced", `{}`), "total above 0")
	s.want()
	s.at(30, "clock", "Tick", `{}`)
	s.want("order-1 ReminderSent")
	if r := s.at(31, "order-1", "OrderPlaced", `{"total":99}`); r.Action != "skip" {
		t.Errorf("an order that is placed twice: %+v", r)
	}
}

// However many orders are due at once, no batch is too large: the others follow.
func TestManyOrdersAtOnce(t *testing.T) {
	s := newShop(t)
	const orders = 2*mostAtOnce + 1
	for n := range orders {
		s.at(0, fmt.Sprintf("order-%d/x", n), "OrderPlaced", `{"total":1}`)
	}
	for _, want := range []int{mostAtOnce, mostAtOnce, 1, 0} {
		if s.at(24, "clock", "Tick", `{}`); len(s.did) != want {
			t.Errorf("%d orders were reminded of, want %d", len(s.did), want)
		}
		s.did = nil
	}
}

func TestEventsOfTheExample(t *testing.T) {
	s := newShop(t)
	done := s.Test.Handle(plugintest.Load(t, "testdata/events.ndjson")...)
	for _, a := range done.Appended {
		s.did = append(s.did, a.Stream+" "+a.Type)
	}
	s.want("order-1 OrderPaid", "order-2 ReminderSent", "order-2 OrderCancelled")
	s.parks(done.Results[len(done.Results)-1], "order 2 is cancelled")
}
