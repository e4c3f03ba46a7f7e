//go:build unix

package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/runtime"
)

// deployed reads a file of deploy.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// starts checks that gyre serve accepts these arguments and variables, and returns its
// configuration. The keys of the ring and of the admin are others.
func starts(t *testing.T, args []string, env map[string]string) runtime.Config {
	t.Helper()
	if len(args) == 0 || args[0] != "serve" {
		t.Fatalf("the arguments are %q", args)
	}
	var f serveFlags
	var cmd cobra.Command
	f.register(&cmd)
	if err := cmd.ParseFlags(args[1:]); err != nil {
		t.Fatal(err)
	}
	for name := range env {
		if strings.HasPrefix(name, "GYRE_") && !slices.ContainsFunc(settingNames(), func(s string) bool { return envName(s) == name }) {
			t.Errorf("gyre serve does not know %s", name)
		}
	}
	if err := f.settle(&app{getenv: func(name string) string { return env[name] }}, &cmd); err != nil {
		t.Fatal(err)
	}
	config := f.node
	config.Ring.KeyFile = filepath.Join(t.TempDir(), "ring.key")
	if err := os.WriteFile(config.Ring.KeyFile, []byte(strings.Repeat("k", 22)), 0o600); err != nil {
		t.Fatal(err)
	}
	if config.Admin.KeyFile == "" {
		t.Error("whoever reaches the node may read and write everything")
	}
	config.Admin.KeyFile = filepath.Join(t.TempDir(), "admin.key")
	if err := os.WriteFile(config.Admin.KeyFile, []byte(keys.NewToken()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	return f.node
}

// deployedNode starts a node for the probes.
func deployedNode(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--engine", "memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	return node
}

func TestDeployDockerfile(t *testing.T) {
	text := deployed(t, "Dockerfile")
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	for _, want := range []string{
		"FROM golang:" + version + " AS build\n", "FROM gcr.io/distroless/static-debian12:nonroot\n",
		"EXPOSE 4973/tcp 7946/tcp 7946/udp\n", "ENTRYPOINT [\"gyre\"]\n", "CMD [\"serve\"]\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no line %q", want)
		}
	}
	check := regexp.MustCompile(`(?m)^HEALTHCHECK .* CMD (\[.*\])$`).FindStringSubmatch(text)
	if check == nil {
		t.Fatal("there is no health check")
	}
	var command []string
	if err := yaml.Unmarshal([]byte(check[1]), &command); err != nil {
		t.Fatal(err)
	}
	ping := exec.Command(command[0], command[1:]...)
	ping.Env = append(os.Environ(), "GYRE_SERVER="+deployedNode(t).url)
	if out, err := ping.CombinedOutput(); err != nil {
		t.Errorf("%q: %v, %s", command, err, out)
	}
}

func TestDeployCompose(t *testing.T) {
	type service struct {
		Build          struct{ Context, Dockerfile string }
		Environment    map[string]string
		Command        []string
		Secrets, Ports []string
		DependsOn      map[string]struct{ Condition string } `yaml:"depends_on"`
		Healthcheck    struct{ Test []string }
	}
	var file struct {
		Services map[string]service
		Secrets  map[string]struct{ File string }
	}
	if err := yaml.Unmarshal([]byte(deployed(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services["postgres"].Healthcheck.Test) == 0 {
		t.Error("postgres has no health check")
	}
	for _, name := range []string{"node1", "node2", "node3"} {
		s := file.Services[name]
		config := starts(t, s.Command, s.Environment)
		if config.Node != name || config.Ring.Quorum != 2 || !config.Ring.Enabled {
			t.Errorf("%s is %+v", name, config)
		}
		if _, err := os.Stat(filepath.Join("../../deploy", s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Error(err)
		}
		for _, key := range []string{config.Ring.KeyFile, config.Admin.KeyFile} {
			secret, _ := strings.CutPrefix(key, "/run/secrets/")
			if !slices.Contains(s.Secrets, secret) || file.Secrets[secret].File == "" {
				t.Errorf("a key of %s is %s, its secrets are %q of %v", name, key, s.Secrets, file.Secrets)
			}
		}
		_, listen, _ := strings.Cut(config.Listen, ":")
		if len(s.Ports) != 1 || !strings.HasPrefix(s.Ports[0], "127.0.0.1:") || !strings.HasSuffix(s.Ports[0], ":"+listen) {
			t.Errorf("%s listens at %s and has the ports %q", name, config.Listen, s.Ports)
		}
		if s.DependsOn["postgres"].Condition != "service_healthy" {
			t.Errorf("%s does not wait for postgres", name)
		}
	}
}

// kubernetesLabels are the labels of pods, or what selects them.
type kubernetesLabels struct {
	App         string
	MatchLabels struct{ App string } `yaml:"matchLabels"`
}

// kubernetesPort is a port of a Service or of a container.
type kubernetesPort struct {
	Name, Protocol string
	Port           int
	ContainerPort  int `yaml:"containerPort"`
}

// kubernetesPod has what is checked of the containers.
type kubernetesPod struct {
	Containers []struct {
		Args           []string
		Env            []struct{ Name string }
		Ports          []kubernetesPort
		LivenessProbe  kubernetesProbe `yaml:"livenessProbe"`
		ReadinessProbe kubernetesProbe `yaml:"readinessProbe"`
		VolumeMounts   []struct {
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
}

type kubernetesProbe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// kubernetesObject has what is checked of any object.
type kubernetesObject struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector                 kubernetesLabels
		Ports                    []kubernetesPort
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		ServiceName              string `yaml:"serviceName"`
		Replicas                 int
		MaxUnavailable           int `yaml:"maxUnavailable"`
		Template                 struct {
			Metadata struct{ Labels kubernetesLabels }
			Spec     kubernetesPod
		}
	}
}

// kubernetesObjects returns the Service, the PodDisruptionBudget and the StatefulSet.
func kubernetesObjects(t *testing.T) (service, budget, set kubernetesObject) {
	t.Helper()
	documents := strings.Split(deployed(t, "kubernetes.yaml"), "\n---\n")
	objects := make([]kubernetesObject, len(documents))
	kinds := ""
	for i, document := range documents {
		if err := yaml.Unmarshal([]byte(document), &objects[i]); err != nil {
			t.Fatal(err)
		}
		kinds += " " + objects[i].Kind
	}
	if kinds != " Service PodDisruptionBudget StatefulSet" {
		t.Fatalf("the objects are%s", kinds)
	}
	return objects[0], objects[1], objects[2]
}

func TestDeployKubernetes(t *testing.T) {
	service, budget, set := kubernetesObjects(t)
	app := set.Spec.Template.Metadata.Labels.App
	if app == "" || service.Spec.Selector.App != app || budget.Spec.Selector.MatchLabels.App != app || set.Spec.Selector.MatchLabels.App != app {
		t.Errorf("pods of %q are not selected by all", app)
	}
	gyre := set.Spec.Template.Spec.Containers[0]
	args := strings.NewReplacer("$(POD)", "gyre-0", "$(POD_IP)", "10.0.0.1").Replace(strings.Join(gyre.Args, "\n"))
	config := starts(t, strings.Split(args, "\n"), map[string]string{"GYRE_POSTGRES": "postgres://gyre@db.internal/shop"})
	if !service.Spec.PublishNotReadyAddresses || config.Ring.PeersDNS != service.Metadata.Name || set.Spec.ServiceName != service.Metadata.Name {
		t.Errorf("nodes look for %q; the service is %+v", config.Ring.PeersDNS, service)
	}
	if quorum := set.Spec.Replicas/2 + 1; config.Ring.Quorum != quorum || set.Spec.Replicas-budget.Spec.MaxUnavailable < quorum {
		t.Errorf("%d nodes have a quorum of %d, and %d may be away", set.Spec.Replicas, config.Ring.Quorum, budget.Spec.MaxUnavailable)
	}
	for _, key := range []string{config.Ring.KeyFile, config.Admin.KeyFile} {
		if filepath.Dir(key) != gyre.VolumeMounts[0].MountPath {
			t.Errorf("a key is %s, the volume %+v", key, gyre.VolumeMounts)
		}
	}
	checkKubernetesPorts(t, config, service.Spec.Ports, gyre.Ports)
	node := deployedNode(t)
	for _, probe := range []kubernetesProbe{gyre.LivenessProbe, gyre.ReadinessProbe} {
		answer, err := http.Get(node.url + probe.HTTPGet.Path)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if probe.HTTPGet.Path == "" || answer.StatusCode != http.StatusOK || probe.HTTPGet.Port != "http" {
			t.Errorf("the probe %+v is answered %s", probe, answer.Status)
		}
	}
}

// checkKubernetesPorts compares the ports with those that a node listens on.
func checkKubernetesPorts(t *testing.T, config runtime.Config, service, container []kubernetesPort) {
	t.Helper()
	_, listen, _ := strings.Cut(config.Listen, ":")
	want := []string{"http  " + listen, "gossip  " + runtime.DefaultGossipPort, "gossip-udp UDP " + runtime.DefaultGossipPort}
	for _, ports := range [][]kubernetesPort{service, container} {
		var got []string
		for _, p := range ports {
			got = append(got, fmt.Sprintf("%s %s %d", p.Name, p.Protocol, p.Port+p.ContainerPort))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the ports are %q, want %q", got, want)
		}
	}
}

// TestDeployUnit has systemd check the unit, where there is one.
func TestDeployUnit(t *testing.T) {
	const program = "/usr/local/bin/gyre"
	unit := deployed(t, "gyre.service")
	command := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(unit)
	if command == nil {
		t.Fatal("the unit starts nothing")
	}
	words := strings.Fields(command[1])
	var f serveFlags
	var cmd cobra.Command
	f.register(&cmd)
	if err := cmd.ParseFlags(words[2:]); err != nil || words[0] != program || words[1] != "serve" || f.config == "" {
		t.Errorf("the unit starts %q: %v", words, err)
	}
	for _, variable := range regexp.MustCompile(`(?m)^Environment=(GYRE_\w+)=`).FindAllStringSubmatch(unit, -1) {
		if !slices.ContainsFunc(settingNames(), func(s string) bool { return envName(s) == variable[1] }) {
			t.Errorf("gyre serve does not know %s", variable[1])
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		lacks := t.Skip
		if os.Getenv("CI") == "true" {
			lacks = t.Fatal
		}
		lacks("no program systemd-analyze; on Debian: apt-get install systemd")
	}
	gyre, err := exec.LookPath("gyre")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gyre.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(unit, program, gyre)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", file).CombinedOutput(); err != nil || strings.Contains(string(out), file) {
		t.Errorf("systemd-analyze verify: %v, %s", err, out)
	}
}
