// Command conformance is the guest of the conformance kit: it does what the data of an event says,
// and logs the answers. See plugins/abi/conformance/README.md.
package main

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
	"github.com/gyre-events/gyre/sdk/plugin/query"
)

func init() {
	plugin.Handle(handle)
	plugin.Filter(filter)
	plugin.Map(mapData)
	plugin.Partition(partition)
	plugin.Validate(validate)
	query.Handle(ask)
}

func main() {} // it is never called

// script returns the commands of a script, as words.
func script(e *plugin.Event) (commands [][]string) {
	for line := range strings.Lines(string(e.Data)) {
		commands = append(commands, strings.Split(strings.TrimSuffix(line, "\n"), "|"))
	}
	return commands
}

func number(word string) int64 {
	n, _ := strconv.ParseInt(word, 10, 64)
	return n
}

var levels = map[string]plugin.Level{"debug": plugin.Debug, "info": plugin.Info, "warn": plugin.Warn, "error": plugin.Error}

func handle(c *plugin.Context, e *plugin.Event) error {
	for _, words := range script(e) {
		switch word(words, 0) {
		case "skip":
			return plugin.Skip
		case "retry":
			return plugin.Retry(time.Duration(number(words[1]))*time.Millisecond, words[2])
		case "park":
			return plugin.Park(words[1])
		case "stop":
			return plugin.Stop(words[1])
		case "must":
			if err := c.State().Put(words[1], []byte(words[2])); err != nil {
				return err
			}
		case "fail":
			c.Fail(int32(number(words[1])), words[2])
		case "trap":
			panic("trap")
		case "log":
			c.Log(levels[words[1]], words[2])
		default:
			for _, line := range answer(c, e, words) {
				c.Log(plugin.Info, words[0]+": "+line)
			}
		}
	}
	return nil
}

func word(words []string, at int) string {
	if at >= len(words) {
		return ""
	}
	return words[at]
}

// answer is what a command answers.
func answer(c *plugin.Context, e *plugin.Event, words []string) []string {
	switch words[0] {
	case "event":
		return []string{describe(e)}
	case "json":
		return []string{inMetadata(e, words[1:])}
	case "config":
		return []string{raw(c.Config(words[1]))}
	case "append", "bytes", "two":
		return []string{done(appendTo(c, words))}
	case "get":
		value, err := c.State().Get(words[1])
		if value == nil && err == nil {
			return []string{"none"}
		}
		return []string{valueOr(string(value), err)}
	case "put":
		return []string{done(c.State().Put(words[1], []byte(words[2])))}
	case "delete":
		return []string{done(c.State().Delete(words[1]))}
	case "add":
		sum, err := c.State().Add(words[1], number(words[2]))
		return []string{valueOr(strconv.FormatInt(sum, 10), err)}
	case "scan":
		return scan(c, words[1], int(number(words[2])))
	case "read":
		return read(c, words[1], uint64(number(words[2])), int(number(words[3])))
	case "secret":
		secret, err := c.Secret(words[1])
		return []string{valueOr(secret, err)}
	case "http":
		response, err := c.HTTP([]byte(words[1]))
		return []string{valueOr(string(response), err)}
	}
	return observe(c, words)
}

// observe does what a plugin tells about itself, and what it is told about its event.
func observe(c *plugin.Context, words []string) []string {
	switch words[0] {
	case "count":
		return []string{done(c.Count(words[1], float64(number(words[2]))))}
	case "gauge":
		return []string{done(c.Gauge(words[1], float64(number(words[2]))))}
	case "observe":
		return []string{done(c.Observe(words[1], float64(number(words[2]))))}
	case "now":
		return []string{strconv.FormatInt(c.Now().UnixMicro(), 10)}
	case "random":
		bytes := make([]byte, number(words[1]))
		c.Random(bytes)
		return []string{hex.EncodeToString(bytes)}
	}
	return []string{"no such command"}
}

func done(err error) string { return valueOr("ok", err) }

func valueOr(value string, err error) string {
	if err != nil {
		return err.Error()
	}
	return value
}

func appendTo(c *plugin.Context, words []string) error {
	stream, expected := words[1], number(words[2])
	switch words[0] {
	case "bytes":
		return c.AppendTo(stream, expected, plugin.NewEvent{Type: words[3], Data: []byte(words[4]), Binary: true})
	case "two":
		return c.AppendTo(stream, expected, plugin.NewEvent{Type: words[3], Data: []byte("1")}, plugin.NewEvent{Type: words[4], Data: []byte("1")})
	}
	return c.AppendTo(stream, expected, plugin.NewEvent{Type: words[3], Data: []byte(words[4]), Metadata: []byte(words[5])})
}

func scan(c *plugin.Context, prefix string, most int) (lines []string) {
	err := c.State().Scan(prefix, func(key string, value []byte) bool {
		lines = append(lines, key+"="+string(value))
		return len(lines) < most
	})
	return append(lines, done(err))
}

func read(c *plugin.Context, stream string, from uint64, limit int) (lines []string) {
	events, err := c.ReadStream(stream, from, limit)
	for i := range events {
		lines = append(lines, describe(&events[i]))
	}
	return append(lines, done(err))
}

func describe(e *plugin.Event) string {
	return strings.Join([]string{
		strconv.FormatUint(e.Position, 10), strconv.FormatUint(e.Version, 10), e.ID.String(), e.Stream, e.Type,
		strconv.Itoa(e.Attempt), strconv.FormatBool(e.Replay), strconv.FormatBool(e.JSON().Exists()),
		strconv.FormatInt(e.Time().UnixMicro(), 10), strconv.Itoa(len(e.Data)), string(e.Metadata),
	}, " ")
}

func raw(v json.Value) string {
	if !v.Exists() {
		return "none"
	}
	return string(v.Raw())
}

// inMetadata is a value in the metadata, in all its forms.
func inMetadata(e *plugin.Event, path []string) string {
	v := json.Trusted(e.Metadata)
	for _, name := range path {
		v = v.Get(name)
	}
	text, n, b := "none", "none", "none"
	switch v.Kind() {
	case json.String:
		text = v.Text()
	case json.Number:
		if f := v.Float(); f == float64(int64(f)) && f > -1e18 && f < 1e18 {
			n = strconv.FormatInt(v.Int(), 10)
		}
	case json.Bool:
		b = strconv.FormatBool(v.Bool())
	}
	return raw(v) + " " + text + " " + n + " " + b
}

// unjudged is the error of a script that parks or refuses its event.
type unjudged string

func (u unjudged) Error() string { return string(u) }

// judge returns what the script of a judge answers last: a word, and its argument.
func judge(p *plugin.Pure, e *plugin.Event) (answer, argument string, err error) {
	for _, words := range script(e) {
		answer, argument = words[0], word(words, 1)
		switch answer {
		case "event":
			p.Log(plugin.Info, "event: "+describe(e))
		case "json":
			p.Log(plugin.Info, "json: "+inMetadata(e, words[1:]))
		case "config":
			p.Log(plugin.Info, "config: "+raw(p.Config(argument)))
		case "log":
			p.Log(levels[argument], words[2])
		case "park", "refuse":
			return "", "", unjudged(argument)
		case "trap":
			panic("trap")
		default:
			return answer, argument, nil
		}
	}
	return "", "", nil
}

func filter(p *plugin.Pure, e *plugin.Event) (keep bool, err error) {
	answer, _, err := judge(p, e)
	return answer != "drop", err
}

func mapData(p *plugin.Pure, e *plugin.Event) ([]byte, error) {
	_, argument, err := judge(p, e)
	return []byte(argument), err
}

func partition(p *plugin.Pure, e *plugin.Event) (string, error) {
	_, argument, err := judge(p, e)
	return argument, err
}

func validate(p *plugin.Pure, e *plugin.Event) error {
	_, _, err := judge(p, e)
	return err
}

// ask does what a query says, and answers what it says last.
func ask(v *plugin.View, text []byte) ([]byte, error) {
	for _, words := range script(&plugin.Event{Data: text}) {
		answer := "no such command"
		switch words[0] {
		case "answer":
			return []byte(words[1]), nil
		case "park":
			return nil, unjudged(words[1])
		case "trap":
			panic("trap")
		case "get":
			value, err := v.State().Get(words[1])
			answer = valueOr(string(value), err)
			if value == nil && err == nil {
				answer = "none"
			}
		case "put":
			answer = done(v.State().Put(words[1], []byte(words[2])))
		case "config":
			answer = raw(v.Config(words[1]))
		case "scan":
			answer = done(v.State().Scan(words[1], func(key string, value []byte) bool {
				v.Log(plugin.Info, "scan: "+key+"="+string(value))
				return true
			}))
		}
		v.Log(plugin.Info, words[0]+": "+answer)
	}
	return nil, nil
}
