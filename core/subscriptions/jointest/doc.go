// Package jointest is the contract of subscriptions.Joiner as tests: the suite for
// everything that delivers, in this process or at the other end of a connection.
//
//	func TestOwnerIsAJoiner(t *testing.T) {
//		jointest.Run(t, func(t testing.TB) jointest.System {
//			store := core.NewStore(memory.New(), core.StoreConfig{})
//			owner, err := subscriptions.New(subscriptions.Config{Store: store})
//			// t.Cleanup closes both
//			return jointest.System{Joiner: owner, Log: store, Manager: owner}
//		})
//	}
//
// What becomes of events is core/delivery's business. This suite asks whether
// deliveries and answers arrive whole, errors with what they carry, and whether an
// answer is done no sooner than it is so.
//
// A System need not have Detached subscribers.
//
// Nothing here sleeps. That no event comes is shown by a delivery that would have come
// after it.
package jointest
