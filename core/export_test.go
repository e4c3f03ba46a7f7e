package core

// LimitRetentions sets how many policies of retention a Store may have.
func LimitRetentions(s *Store, most int) { s.policies.most = most }
