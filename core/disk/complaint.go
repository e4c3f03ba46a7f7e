package disk

import "time"

// complainEvery is how often a goroutine warns of one and the same error, as of a full disk.
const complainEvery = time.Minute

// complaint is the last warning of a goroutine that tries again and again.
type complaint struct {
	text string
	at   time.Time
}

// due reports whether an error is to be logged: one that is new, or that has lasted. With nil the
// trouble is over, and nothing is.
func (c *complaint) due(err error) bool {
	if err == nil {
		*c = complaint{}
		return false
	}
	now := time.Now()
	if c.text == err.Error() && now.Sub(c.at) < complainEvery {
		return false
	}
	*c = complaint{err.Error(), now}
	return true
}
