package plugins

import "time"

// Shadow asks for a version that runs in the shadow of a binding's: it handles the same batches on
// the same state, and nothing of what it does is written.
type Shadow struct {
	Version string `json:"version"`

	// Admit refuses to run the version as the binding that it would be. A nil Admit admits all.
	Admit func(was, is *Binding) error `json:"-"`
}

// MaxDifferences is how many differences of a shadow are kept, the last ones.
const MaxDifferences = 1000

// ShadowStatus is how the shadow of a binding is doing. What it counts it counts since the node runs
// the binding as it is.
type ShadowStatus struct {
	Version string    `json:"version"`
	SHA256  string    `json:"sha256"`
	Began   time.Time `json:"began"`
	// Since is the position behind which it began here; what it keeps in memory is as of then.
	Since uint64 `json:"since"`
	// Ended is why it does not run any more, if so.
	Ended string `json:"ended,omitzero"`
	// Events were compared. Dropped are those of batches that it did not handle in time, or could not.
	Events  uint64 `json:"events"`
	Dropped uint64 `json:"dropped"`
	Why     string `json:"why,omitzero"` // the last were dropped
	// CallsOut are events for which it asked for another server or a secret, which a shadow has not:
	// what it did with them is not compared.
	CallsOut uint64 `json:"callsOut"`
	// Differ are the events that it did something different for: with other outputs, other changes of
	// state, or parked or skipped by one of the two.
	Differ  uint64 `json:"differ"`
	Outputs uint64 `json:"outputs"`
	Writes  uint64 `json:"writes"`
	Fates   uint64 `json:"fates"`
	// OverlayBytes is how much of its state differs from that of the binding.
	OverlayBytes int64   `json:"overlayBytes"`
	Fuel         int64   `json:"fuel"`
	Seconds      float64 `json:"seconds"` // in handlers
}

// ShadowRequest asks for differences of a shadow, the last ones before a number.
type ShadowRequest struct {
	Before uint64 // only those with a lower Seq; 0: all
	Limit  int    // at most MaxDifferences, which 0 stands for
}

// ShadowReport is how a shadow is doing, and what it did otherwise. The differences are in the order
// of Seq.
type ShadowReport struct {
	Binding     string             `json:"binding"`
	Version     string             `json:"version"` // of the binding
	Shadow      ShadowStatus       `json:"shadow"`
	Differences []ShadowDifference `json:"differences"`
}

// ShadowDifference is a Difference of a shadow. Seq counts them from 1.
type ShadowDifference struct {
	Seq uint64 `json:"seq"`
	Difference
}
