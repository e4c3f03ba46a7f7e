// Package logtest is the contract of core.Log as tests: the suite for whatever
// stands in front of an engine, in this process or at the other end of a
// connection. Code that passes it can be given any Log.
//
//	func TestStoreIsALog(t *testing.T) {
//		logtest.Run(t, func(t testing.TB) core.Log {
//			store := core.NewStore(memory.New(), core.StoreConfig{})
//			t.Cleanup(func() { store.Close() })
//			return store
//		})
//	}
//
// What an engine answers is core/enginetest's business. This suite asks whether
// answers arrive whole, errors with what they carry, and whether follows keep P8:
// each event once, in order, from catch-up into live, whatever else goes on.
//
// An error of a follow's start may come from Follow or from the first Next: behind
// a connection it is told when it is known.
//
// Nothing here sleeps. That no event comes is shown by one that is appended after
// it and comes next.
package logtest
