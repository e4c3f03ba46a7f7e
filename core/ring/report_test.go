package ring

import "testing"

// TestStateOf: of several states the first that matters to an operator.
func TestStateOf(t *testing.T) {
	for want, s := range map[SessionState]Seen{
		SessionDead:    {GossipState: GossipDead, Draining: true},
		SessionSilent:  {GossipState: GossipAlive, Draining: true},
		SessionSyncing: {GossipState: GossipAlive, Beats: true, Syncing: true},
		SessionEntry:   {GossipState: GossipAlive, Beats: true, Filtered: true},
		SessionDrained: {GossipState: GossipAlive, Beats: true, Draining: true},
		SessionJoining: {GossipState: GossipUnknown, Beats: true},
		SessionUnmet:   {GossipState: GossipUnknown, Beats: true, InView: true},
		SessionMember:  {GossipState: GossipAlive, Beats: true, InView: true},
	} {
		if got := StateOf(s); got != want {
			t.Errorf("%+v is %s, want %s", s, got, want)
		}
	}
}
