package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// planted are secrets that a node was given, and what it has said since.
type planted struct {
	t       *testing.T
	gyre    string // the program
	dir     string
	node    *process
	secrets map[string]string // by what they are
	said    map[string][]byte // by where it was said
}

// TestSecretsAreNotSaid plants keys, tickets and cookies in all places of requests, also where they
// do not belong, has a plugin say the secret that it is granted, makes the node die with a dump of its
// goroutines, and looks for them in its log and dump, in answers, metrics, the audit, the output of
// commands, and its files.
func TestSecretsAreNotSaid(t *testing.T) {
	t.Parallel()
	gyre, dir := plainProgram(t, "gyre"), t.TempDir()
	data := filepath.Join(dir, "data")
	env := append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	log := filepath.Join(dir, "node.log")
	hidden, file := "hidden-"+rand.Text(), filepath.Join(dir, "secrets.yaml")
	if err := os.WriteFile(file, []byte("KEY: "+hidden), 0o600); err != nil {
		t.Fatal(err)
	}
	node, err := serveWith(gyre, dir, env, log, "--data", data, "--log-level", "debug", "--plugin-secrets-file", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.cmd.Process.Kill() })
	p := &planted{t: t, gyre: gyre, dir: dir, node: node, secrets: map[string]string{"a wrong key": keys.NewToken()}, said: map[string][]byte{}}
	p.makeKeys(env)
	p.makeSession()
	p.makeTicket()
	p.sendEverywhere()
	p.tell(env, hidden)
	p.ask(env)
	p.openAndDie()
	if p.said["the log with the dump"], err = os.ReadFile(log); err != nil || !bytes.Contains(p.said["the log with the dump"], []byte("SIGQUIT")) {
		t.Errorf("there is no dump of goroutines: %v", err)
	}
	p.run(env, "verify", "--data", data)
	p.files(data)
	p.look()
}

// makeKeys makes the first key, and others.
func (p *planted) makeKeys(env []string) {
	cmd := exec.Command(p.gyre, "auth", "init", "--server", p.node.url, "-o", "json")
	cmd.Env = env
	out, err := cmd.Output()
	var made struct{ Token string }
	if err != nil || json.Unmarshal(out, &made) != nil || made.Token == "" {
		p.t.Fatalf("auth init: %s, %v", out, err)
	}
	p.secrets["the admin's key"] = made.Token
	for what, body := range map[string]string{"a writer's key": `{"role":"writer","streams":["*"]}`, "a revoked key": `{"role":"admin"}`} {
		var made struct{ ID, Token string }
		p.unmarshal(p.post("/v1/keys", body), &made)
		p.secrets[what] = made.Token
		if what == "a revoked key" {
			p.do("DELETE", "/v1/keys/"+made.ID, "", "Authorization: Bearer "+p.secrets["the admin's key"])
		}
	}
	if !p.secretIn("the admin's key", out) {
		p.t.Error("the admin's key is not seen where it is shown")
	}
	// An event is found in the files: so would a key be.
	p.post("/v1/streams/control/events", `{"type":"T","data":"a control of the search"}`)
	p.secrets["the control"] = "a control of the search"
}

func (p *planted) makeSession() {
	answer := p.send("POST", "/v1/session", `{"token":"`+p.secrets["the admin's key"]+`"}`)
	var body struct{ CSRF string }
	p.unmarshal(p.body(answer), &body)
	p.secrets["a cookie"], p.secrets["a CSRF token"] = answer.Cookies()[0].Value, body.CSRF
}

func (p *planted) makeTicket() {
	var made struct{ Ticket string }
	p.unmarshal(p.post("/v1/tickets", `{"path":"/v1/events"}`), &made)
	p.secrets["a ticket"] = made.Ticket
}

// sendEverywhere puts each secret into each place of a request.
func (p *planted) sendEverywhere() {
	for what, secret := range p.secrets {
		if what == "the control" {
			continue
		}
		encoded := base64.RawURLEncoding.EncodeToString([]byte(secret))
		for _, header := range []string{
			"Authorization: Bearer " + secret, "Authorization: bearer  " + secret, "Authorization: " + secret, "Authorization: Basic " + encoded,
			"Proxy-Authorization: Bearer " + secret, "X-Api-Key: " + secret, "Cookie: gyre_session=" + secret, "Cookie: other=" + secret,
			"Gyre-CSRF: " + secret, "Sec-WebSocket-Protocol: gyre.v1.json, gyre.bearer." + encoded, "Sec-WebSocket-Protocol: gyre.bearer." + secret,
			"User-Agent: " + secret, "Last-Event-ID: " + secret, "Referer: http://localhost/?token=" + secret, "Gyre-Peer: " + secret,
		} {
			for _, at := range []string{"GET /v1/streams", "GET /v1/ws", "POST /v1/streams/s/events", "DELETE /v1/session", "GET /v1/principal", "GET /v1/cluster/link", "GET /none"} {
				method, path, _ := strings.Cut(at, " ")
				p.answer(header+" at "+at, p.do(method, path, "", header))
			}
		}
		for _, name := range []string{"token", "access_token", "ticket", "api_key", "from", "cursor", "prefix", "x"} {
			p.answer("?"+name, p.do("GET", "/v1/events?"+name+"="+secret, ""))
		}
		for _, path := range []string{"/v1/session", "/v1/keys", "/v1/tickets", "/v1/keys/first"} {
			for _, body := range []string{`{"token":"` + secret + `"}`, `{"toke":"` + secret + `"}`, `{"token":"` + secret, `"` + secret + `"`, `{"path":"/` + secret + `"}`, secret} {
				switch {
				case path == "/v1/session" && strings.HasSuffix(what, "key") && strings.HasPrefix(body, `{"token"`): // logs in
				case path == "/v1/tickets" && !strings.HasSuffix(what, "key"): // quotes the path; of what looks like nothing, too
				default:
					p.answer("in a body to "+path, p.do("POST", path, body, "Authorization: Bearer "+p.secrets["the admin's key"]))
				}
			}
		}
		if client, err := sdk.Dial(p.t.Context(), p.node.url, sdk.Options{Token: secret}); err != nil {
			p.said["an error of the client"] = append(p.said["an error of the client"], err.Error()...)
		} else {
			_ = client.Close()
		}
	}
}

// answer keeps what a request was answered. It is for who has sent the secret: a text of its own
// would be no leak, and yet ends in logs of clients.
func (p *planted) answer(where string, text []byte) {
	where = "the answer to " + p.without(where)
	p.said[where] = append(append(p.said[where], text...), '\n')
}

// ask asks for what operators and admins see.
func (p *planted) ask(env []string) {
	admin := "Authorization: Bearer " + p.secrets["the admin's key"]
	for _, path := range []string{
		"/metrics", "/v1/server", "/v1/keys", "/v1/principal", "/v1/streams/$audit/events?limit=1000", "/v1/streams?system=true", "/v1/subscriptions",
		"/", "/readyz?verbose", "/openapi.json", "/v1/plugins", "/v1/cluster/status",
	} {
		p.said[path] = p.do("GET", path, "", admin)
	}
	server := []string{"--server", p.node.url}
	p.run(env, append([]string{"doctor"}, server...)...)
	p.run(env, append([]string{"auth", "key", "ls", "-o", "json"}, server...)...)
	p.run(env, append([]string{"auth", "whoami"}, server...)...)
	p.run(env, append([]string{"read", "$audit", "-o", "ndjson"}, server...)...)
	p.run(append(env, "GYRE_TOKEN="+p.secrets["a wrong key"]), append([]string{"read", "s", "--verbose"}, server...)...)
	p.run(append(env, "GYRE_TOKEN="+p.secrets["a revoked key"]), append([]string{"doctor"}, server...)...)
	p.run(env, append([]string{"auth", "key", "revoke", p.secrets["a wrong key"]}, server...)...)
	p.run(append(env, "GYRE_TOKEN="+p.secrets["a cookie"]), append([]string{"read", "s"}, server...)...)
}

// tell has a plugin say its secret, and asks for what it has said.
func (p *planted) tell(env []string, secret string) {
	p.secrets["the secret of a plugin"] = secret
	module := filepath.Join(p.dir, "teller.wasm")
	goBuild(p.t, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "-buildmode=c-shared", "-ldflags=-s -w", "-o", module, "./testdata/teller")
	manifest, err := filepath.Abs("testdata/teller/gyre.plugin.json")
	if err != nil {
		p.t.Fatal(err)
	}
	server := []string{"--server", p.node.url}
	p.mustRun(env, append([]string{"plugin", "deploy", module, "--manifest", manifest, "--grant", "secret:KEY", "--max-attempts", "1"}, server...)...)
	const events = 5
	for _, typ := range []string{"Tell", "Park", "Fail", "Panic", "Exit"} {
		p.post("/v1/streams/tell/events", `{"type":"`+typ+`","data":1}`)
	}
	admin := "Authorization: Bearer " + p.secrets["the admin's key"]
	err = until(time.Minute, func() error {
		var page struct{ Poison []struct{ Position int } }
		p.unmarshal(p.do("GET", "/v1/plugins/teller/poison", "", admin), &page)
		if len(page.Poison) < events-1 {
			return fmt.Errorf("%d events are parked", len(page.Poison))
		}
		for _, parked := range page.Poison {
			path := fmt.Sprintf("/v1/plugins/teller/poison/%d", parked.Position)
			p.said[path] = p.do("GET", path, "", admin)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	const logs = "/v1/plugins/teller/logs"
	err = until(time.Minute, func() error { // they are stored every now and then
		p.said[logs] = p.do("GET", logs, "", admin)
		if n := bytes.Count(p.said[logs], []byte("it is •••, so to say")); n < events {
			return fmt.Errorf("the plugin has logged %d lines: %s", n, p.said[logs])
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, path := range []string{"/v1/plugins/teller", "/v1/plugins/teller/poison", "/v1/subscriptions/teller/parked"} {
		p.said[path] = p.do("GET", path, "", admin)
	}
	p.mustRun(env, append([]string{"plugin", "info", "teller", "-o", "json"}, server...)...)
	p.mustRun(env, append([]string{"plugin", "logs", "teller"}, server...)...)
	p.mustRun(env, append([]string{"plugin", "poison", "ls", "teller"}, server...)...)
	p.mustRun(env, append([]string{"plugin", "dry-run", "teller", "-o", "json"}, server...)...)
}

// run runs gyre for what it says, whatever it exits with.
func (p *planted) run(env []string, args ...string) { _, _ = p.exits(env, args...) }

// mustRun is run of a command that has to succeed.
func (p *planted) mustRun(env []string, args ...string) {
	p.t.Helper()
	if out, err := p.exits(env, args...); err != nil {
		p.t.Fatalf("gyre %s: %v: %s", p.without(strings.Join(args, " ")), err, p.without(string(out)))
	}
}

// exits runs gyre, keeps what it says, and returns that and how it exits.
func (p *planted) exits(env []string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.gyre, args...)
	cmd.Env, cmd.Dir = env, p.dir
	out, err := cmd.CombinedOutput()
	if len(out) == 0 {
		p.t.Errorf("gyre %v says nothing, %v", args, err)
	}
	p.said["gyre "+strings.Join(args, " ")+" "+cmd.Env[len(cmd.Env)-1][:5]] = out
	return out, err
}

// openAndDie leaves requests open that have secrets, and has the node dump its goroutines.
func (p *planted) openAndDie() {
	client, err := sdk.Dial(p.t.Context(), p.node.url, sdk.Options{Token: p.secrets["a writer's key"]})
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = client.Close() }() // its node is gone
	follower, err := client.Follow(p.t.Context(), core.FollowRequest{Stream: "s"})
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = follower.Close() }()
	for _, text := range []string{
		"GET /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nCookie: gyre_session=" + p.secrets["a cookie"] + "\r\n\r\n",
		"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"token\":\"" + p.secrets["a writer's key"],
		"GET /v1/streams HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + p.secrets["the admin's key"],
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.node.url, "http://"))
		if err != nil {
			p.t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			p.t.Fatal(err)
		}
	}
	p.do("GET", "/v1/server", "", "Authorization: Bearer "+p.secrets["the admin's key"]) // the others are under way
	if _, err := p.node.end(syscall.SIGQUIT); err != nil {
		p.t.Log(err) // it did not stop by itself
	}
}

// files are those of the store.
func (p *planted) files(data string) {
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		p.said["the file "+path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		p.t.Error(err)
	}
}

// look looks for the secrets in what was said.
func (p *planted) look() {
	controls := 0
	for where, text := range p.said {
		for what := range p.secrets {
			switch found := p.secretIn(what, text); {
			case what == "the control":
				if found {
					controls++
				}
			case found:
				p.t.Errorf("%s is in %s", what, p.without(where))
			}
		}
	}
	if controls == 0 {
		p.t.Error("the control is in nothing that was said: the search finds nothing")
	}
	p.t.Logf("looked for %d secrets in %d texts", len(p.secrets), len(p.said))
}

// secretIn reports whether a text has a secret, or more than a hint of one: of a key, what is behind
// its id.
func (p *planted) secretIn(what string, text []byte) bool {
	secret := p.secrets[what]
	if id, rest, ok := strings.Cut(strings.TrimPrefix(secret, "gyre_"), "_"); ok && len(id) == 10 {
		secret = rest
	}
	const hint = 12
	return bytes.Contains(text, []byte(secret[:min(hint, len(secret))])) ||
		bytes.Contains(text, []byte(base64.RawURLEncoding.EncodeToString([]byte(p.secrets[what]))))
}

// without is a text without the secrets.
func (p *planted) without(text string) string {
	for what, secret := range p.secrets {
		text = strings.ReplaceAll(text, secret, "<"+what+">")
	}
	return text
}

func (p *planted) post(path, body string) []byte {
	return p.do("POST", path, body, "Authorization: Bearer "+p.secrets["the admin's key"])
}

func (p *planted) do(method, path, body string, headers ...string) []byte {
	return p.body(p.send(method, path, body, headers...))
}

func (p *planted) send(method, path, body string, headers ...string) *http.Response {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	p.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, p.node.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, p.without(path), err)
	}
	return answer
}

func (p *planted) body(answer *http.Response) []byte {
	p.t.Helper()
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p *planted) unmarshal(text []byte, v any) {
	p.t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}
