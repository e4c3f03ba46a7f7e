// Package probe is a plugin that does everything a plugin can do. Its type of event says what. A
// test runs it in a sandbox and outside, and compares.
package probe

import (
	"strconv"
	"time"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

// Handle does what the type of the event says.
func Handle(c *plugin.Context, e *plugin.Event) error {
	switch e.Type {
	case "Append":
		return appends(c, e)
	case "State":
		return state(c, e)
	case "Reads":
		return reads(c, e)
	case "Skip":
		return plugin.Skip
	case "Retry":
		return plugin.Retry(1500*time.Millisecond, "not yet")
	case "Park":
		return plugin.Park("never " + e.JSON().Get("why").Text())
	case "Stop":
		return plugin.Stop("enough")
	case "Panic":
		return c.State().Put(e.Stream[len(e.Stream)+e.Attempt:], nil)
	}
	return echo(c, e)
}

// echo appends what the handler sees of its event.
func echo(c *plugin.Context, e *plugin.Event) error {
	var random [8]byte
	c.Random(random[:])
	return c.Append("echo-"+e.Stream, "Echo", json.NewObject().
		Text("id", e.ID.String()).Text("stream", e.Stream).Text("type", e.Type).Raw("data", e.JSON().Raw()).Raw("metadata", e.Metadata).
		Int("position", int64(e.Position)).Int("version", int64(e.Version)).Int("attempt", int64(e.Attempt)).Bool("replay", e.Replay).
		Int("micros", e.Time().UnixMicro()).Int("now", c.Now().UnixMicro()).Bool("random", random != [8]byte{}).Bytes())
}

func appends(c *plugin.Context, e *plugin.Event) error {
	if err := c.Append("a", "", nil); err == nil {
		return plugin.Park("an event without a type is taken")
	}
	err := c.AppendTo("a", plugin.NoStream,
		plugin.NewEvent{Type: "First", Data: e.Data, Metadata: []byte(`{"by":"probe"}`)},
		plugin.NewEvent{Type: "Second", Data: []byte{0, 1, 255}, Binary: true})
	if err != nil {
		return err
	}
	return c.AppendTo("ä", 7, plugin.NewEvent{Type: "Third", Data: []byte("1")})
}

func state(c *plugin.Context, e *plugin.Event) error {
	s := c.State()
	for i := range 5 {
		if _, err := s.Add("n"+strconv.Itoa(i), int64(i)-1); err != nil {
			return err
		}
	}
	long := make([]byte, 20_000)
	for i := range long {
		long[i] = byte(i)
	}
	if err := s.Put("long", long); err != nil {
		return err
	}
	if err := s.Put("json", e.Data); err != nil {
		return err
	}
	if err := s.Delete("n1"); err != nil {
		return err
	}
	got, err := s.Get("long")
	if err != nil || string(got) != string(long) {
		return plugin.Park("long is another: " + strconv.Itoa(len(got)))
	}
	value, err := s.JSON("json")
	if err != nil {
		return err
	}
	c.Log(plugin.Info, "json has "+value.Get("why").Text()+"\nand more")
	errs := ""
	for _, key := range []string{"", string(long), "absent", "long"} {
		n, err := s.Int(key)
		errs += strconv.FormatInt(n, 10) + " "
		if err != nil {
			errs += err.Error() + "; "
		}
	}
	c.Log(plugin.Warn, errs)
	return s.Scan("n", func(key string, value []byte) bool {
		c.Log(plugin.Debug, key+"="+string(value))
		return key < "n3"
	})
}

func reads(c *plugin.Context, e *plugin.Event) error {
	config := c.Config("")
	c.Log(plugin.Info, string(config.Raw())+" "+strconv.FormatInt(c.Config("limit").Int(), 10)+strconv.FormatBool(c.Config("absent").Exists()))
	secret, err := c.Secret("KEY")
	if err != nil {
		return err
	}
	_, err = c.Secret("absent")
	c.Log(plugin.Error, secret+" "+err.Error())
	events, err := c.ReadStream(e.Stream, 2, 1)
	if err != nil || len(events) != 1 {
		return plugin.Park("read " + strconv.Itoa(len(events)))
	}
	c.Log(plugin.Info, events[0].Type+" "+strconv.FormatUint(events[0].Version, 10))
	if err := c.Count("seen", 2); err != nil {
		return err
	}
	if err := c.Gauge("level", 1.5); err != nil {
		return err
	}
	return c.Observe("size", float64(len(e.Data)))
}

// Filter, Map, Partition and Validate judge an event by its type, as Handle handles it.
func Filter(p *plugin.Pure, e *plugin.Event) (bool, error) {
	p.Log(plugin.Info, e.Type)
	return e.Type != "Skip", judge(e)
}

// Map is a plugin.MapFunc.
func Map(p *plugin.Pure, e *plugin.Event) ([]byte, error) {
	return json.NewObject().Text("id", e.ID.String()).Raw("data", e.JSON().Raw()).Int("limit", p.Config("limit").Int()).Bytes(), judge(e)
}

// Partition is a plugin.PartitionFunc.
func Partition(_ *plugin.Pure, e *plugin.Event) (string, error) {
	return e.JSON().Get("why").Text(), judge(e)
}

// Validate is a plugin.ValidateFunc.
func Validate(_ *plugin.Pure, e *plugin.Event) error { return judge(e) }

func judge(e *plugin.Event) error {
	switch e.Type {
	case "Park":
		return plugin.Park("never " + e.JSON().Get("why").Text())
	case "Panic":
		return plugin.Park(e.Stream[len(e.Stream)+e.Attempt:])
	}
	return nil
}
