// Package logtest is the contract of core.Log as tests, for a Store or anything else in
// front of one, in this process or at the other end of a connection.
//
//	func TestStoreIsALog(t *testing.T) {
//		logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
//			store := core.NewStore(memory.New(), core.StoreConfig{})
//			t.Cleanup(func() { store.Close() })
//			return store, store
//		})
//	}
//
// core/enginetest tests engines. This suite tests that results and errors arrive with all
// their fields, and that follows keep P8: each event once, in order, from catch-up into
// live, whatever else happens.
//
// An error of a follow's start may come from Follow or from the first Next, since a
// remote Log learns of it late.
//
// Tests do not sleep. To show that an event does not come, they append another one and
// check that it comes next.
package logtest
