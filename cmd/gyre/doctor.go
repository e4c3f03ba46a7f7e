package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/runtime/secret"
)

const doctorHelp = `Check what a node needs, and whether a node answers: the configuration, the address, the data
directory, the disk's flush time, the server, and the clock. With --postgres it checks the
database instead of the disk: version, encoding, privileges, settings that endanger acknowledged
events, its clock, the time of answers and commits, poolers in between, and the store's schema.
It takes the flags of gyre serve, and changes nothing.

PASSED is fine, WARN works but could be better, FAILED does not work. The exit code is 8 if a
check fails.`

const (
	// An append waits for one fsync or more; from here on that is what a user feels.
	slowSync = 100 * time.Millisecond
	// Clocks that differ by more make times of events hard to understand.
	maxClockSkew = 5 * time.Second
	syncSamples  = 20
	syncBytes    = 4 << 10
)

func newDoctor(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the configuration, the disk or database, and the server",
		Long:  doctorHelp,
		Example: `  gyre doctor
  gyre doctor --config gyre.yaml -o json
  gyre doctor --postgres postgres://gyre@db.internal/shop`,
		Args: takes(0, 0),
	}
	f.register(cmd)
	a.talks(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.doctor(cmd, &f)
	}
	return cmd
}

// finding is the outcome of one check, as it is printed.
type finding struct {
	Check  string `json:"check"`
	Passed bool   `json:"passed"`
	// Warning says that it passed, and that something could be better.
	Warning bool   `json:"warning,omitempty"`
	Detail  string `json:"detail"`
	Fix     string `json:"fix,omitempty"`
}

func (a *app) doctor(cmd *cobra.Command, f *serveFlags) error {
	ctx := cmd.Context()
	configErr := f.settle(a, cmd)
	a.tls.ca = f.node.TLS.CA
	server, serverErr := a.askServer(ctx)
	checks := []struct {
		name string
		run  func() (string, error)
	}{
		{"config", func() (string, error) {
			if configErr != nil {
				return "", configErr
			}
			config := f.node
			config.Plugins.SecretsFile = "" // which has a check of its own
			return "understood", config.Validate(ctx)
		}},
		{"address", func() (string, error) { return checkAddress(ctx, f.node.Listen, serverErr == nil) }},
		{"data", func() (string, error) { return checkData(f.node) }},
		{"disk", func() (string, error) { return checkDisk(f.node) }},
		{"server", func() (string, error) { return server.words(), serverErr }},
		{"clock", func() (string, error) { return checkClock(server) }},
	}
	var found []finding
	for _, c := range checks {
		if needsDisk := c.name == "data" || c.name == "disk"; needsDisk && f.node.Postgres.URL != "" {
			continue
		}
		detail, err := c.run()
		found = append(found, findingOf(c.name, detail, err))
	}
	found = append(found, checkPlugins(f.node))
	if file := f.node.Plugins.SecretsFile; file != "" {
		detail, err := checkSecrets(file)
		found = append(found, findingOf("secrets", detail, err))
	}
	if found[0].Passed && f.node.Postgres.URL != "" {
		found = append(found, a.checkDatabase(ctx, f.node.Postgres)...)
	}
	if err := a.printFindings(found); err != nil {
		return err
	}
	all := len(found)
	failed := len(slices.DeleteFunc(found, func(f finding) bool { return f.Passed }))
	if failed > 0 {
		err := core.Errorf(core.CodeNotClean, "%d of %d checks failed", failed, all)
		return &advised{err, "The FAILED lines say what is wrong."}
	}
	return nil
}

// checkPlugins says whether plugins can run on this machine. A node serves without them.
func checkPlugins(c runtime.Config) finding {
	found := finding{Check: "plugins", Passed: true, Detail: "can run here"}
	if c.Plugins.Disabled {
		found.Detail = "are off (--no-plugins)"
	} else if err := wasm.Supported(); err != nil {
		found.Warning, found.Detail = true, core.AsError(err).Detail
		found.Fix = "Without them, the node takes no uploads of plugins, and serves all else."
	}
	return found
}

// checkSecrets says which secrets plugins can be granted.
func checkSecrets(file string) (string, error) {
	values, err := secret.OpenValues(file, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	names := values.Names()
	if len(names) == 0 {
		return file + " has none", nil
	}
	return fmt.Sprintf("%s has %s", file, cell(strings.Join(names, ", "), dataWidth)), nil
}

// findingOf is the outcome of a check that passed with a detail, or failed.
func findingOf(name, detail string, err error) finding {
	if err == nil {
		return finding{Check: name, Passed: true, Detail: detail}
	}
	detail = core.AsError(err).Detail
	if coded := (*core.Error)(nil); !errors.As(err, &coded) {
		detail = err.Error()
	}
	return finding{Check: name, Detail: detail}
}

func (a *app) printFindings(found []finding) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printList(a, found, nil, nil)
	}
	width := 8
	for _, f := range found {
		width = max(width, len(f.Check))
	}
	for _, f := range found {
		if _, err := fmt.Fprintf(a.stdout, "%-6s  %-*s %s\n", f.verdict(), width, f.Check, f.Detail); err != nil {
			return err
		}
		if f.Fix == "" {
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "        %-*s Try: %s\n", width, "", f.Fix); err != nil {
			return err
		}
	}
	return nil
}

func (f finding) verdict() string {
	switch {
	case !f.Passed:
		return "FAILED"
	case f.Warning:
		return "WARN"
	}
	return "PASSED"
}

// answer is what the server said.
type answer struct {
	Version string `json:"version"`
	url     string
	date    time.Time
	asked   time.Time
}

func (s answer) words() string { return fmt.Sprintf("%s runs gyre %s", s.url, s.Version) }

// askServer asks the first node that answers for its version. The error names every address.
func (a *app) askServer(ctx context.Context) (answer, error) {
	token, err := a.token(a.tokenFile, a.serverURL())
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := a.request(ctx)
	defer cancel()
	client, err := a.httpClient()
	if err != nil {
		return answer{}, err
	}
	var failed []string
	for server := range strings.SplitSeq(a.serverURL(), ",") {
		s, err := askNode(ctx, client, httpURL(strings.TrimSpace(server)), token)
		if err == nil {
			return s, nil
		}
		if token == "" && errors.Is(err, core.CodeUnauthenticated) {
			err = a.heldBack(a.serverURL(), err)
		}
		failed = append(failed, detailOf(err, core.AsError(err)))
	}
	return answer{}, errors.New(strings.Join(failed, "; "))
}

// askNode asks over plain HTTP: a node answers that also to whom it does not let in further.
func askNode(ctx context.Context, client *http.Client, url, token string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/server", nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, reached(url, err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return answer{}, core.Errorf(core.CodeUnauthenticated, "%s answers %s", url, res.Status)
	default:
		return answer{}, fmt.Errorf("%s answers %s", url, res.Status)
	}
	s := answer{url: url}
	if err := json.NewDecoder(http.MaxBytesReader(nil, res.Body, 1<<20)).Decode(&s); err != nil {
		return answer{}, fmt.Errorf("%s is not a gyre node: %w", url, err)
	}
	s.asked = time.Now()
	s.date, err = http.ParseTime(res.Header.Get("Date"))
	return s, err
}

// httpURL is the HTTP form of what --server takes.
func httpURL(server string) string {
	for ws, http := range map[string]string{"ws://": "http://", "wss://": "https://"} {
		if rest, ok := strings.CutPrefix(server, ws); ok {
			server = http + rest
		}
	}
	if strings.HasPrefix(server, ":") {
		server = "127.0.0.1" + server
	}
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	return strings.TrimSuffix(server, "/")
}

func checkAddress(ctx context.Context, listen string, serverRuns bool) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", listen)
	if err == nil {
		return listen + " is free", l.Close()
	}
	if serverRuns {
		return listen + " is in use, and a node runs", nil
	}
	return "", err
}

// dataDir is the directory of the data, or the nearest one above it that is there.
func dataDir(c runtime.Config) (dir string, there bool, err error) {
	dir, err = filepath.Abs(c.Data)
	for there = true; err == nil; there = false {
		info, statErr := os.Stat(dir)
		if statErr == nil && !info.IsDir() {
			return "", false, fmt.Errorf("%s is not a directory", dir)
		}
		if statErr == nil || !errors.Is(statErr, os.ErrNotExist) {
			return dir, there, statErr
		}
		dir = filepath.Dir(dir)
	}
	return dir, there, err
}

func checkData(c runtime.Config) (string, error) {
	if c.Engine == runtime.EngineMemory {
		return "kept in memory", nil
	}
	dir, there, err := dataDir(c)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, "doctor-*.tmp")
	if err != nil {
		return "", err
	}
	err = errors.Join(file.Close(), os.Remove(file.Name()))
	if there {
		return dir + " can be written", err
	}
	return c.Data + " is not there yet and can be made in " + dir, err
}

// checkDisk measures what an append waits for: a write that is made durable.
func checkDisk(c runtime.Config) (detail string, err error) {
	if c.Engine == runtime.EngineMemory {
		return "not used", nil
	}
	dir, _, err := dataDir(c)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, "doctor-*.tmp")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	var took []time.Duration
	block := make([]byte, syncBytes)
	for range syncSamples {
		began := time.Now()
		if _, err := file.Write(block); err != nil {
			return "", err
		}
		if err := file.Sync(); err != nil {
			return "", err
		}
		took = append(took, time.Since(began))
	}
	l := latencyOf(took)
	detail = fmt.Sprintf("fsync takes %.2f ms (p90 %.2f ms)", l.P50, l.P90)
	if l.P50 > float64(slowSync/time.Millisecond) {
		return "", fmt.Errorf("%s, which is slow: every append waits for one", detail)
	}
	return detail, nil
}

func checkClock(s answer) (string, error) {
	if s.date.IsZero() {
		return "not compared: no server", nil
	}
	// The server's date is in whole seconds.
	skew := s.asked.Sub(s.date) - time.Second/2
	if skew.Abs() > maxClockSkew {
		return "", fmt.Errorf("this clock and the server's differ by %s", skew.Round(time.Second))
	}
	return "agrees with the server's", nil
}
