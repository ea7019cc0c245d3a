package config

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"kvexpress/internal/rollout"
)

// schema is a file of the folder schemas, or a part of it.
func schema(t *testing.T, name, part string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../../schemas/" + name + part)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refusal is why a schema refuses a file; nil if it accepts it.
func refusal(s *jsonschema.Schema, text string) error {
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return err
	}
	return s.Validate(doc)
}

// Each schema has the keys of its parser, and no others.
func TestSchemaKeys(t *testing.T) {
	agent, hub := schema(t, "agent.schema.json", ""), schema(t, "hub.schema.json", "")
	targets, policy := schema(t, "agent.schema.json", "#/$defs/targets"), schema(t, "policy.schema.json", "")
	for name, tt := range map[string]struct {
		schema  *jsonschema.Schema
		setters map[string]func(value)
	}{
		"agent.yml": {agent, (&loader{}).mainSetters()}, "hub.yml": {hub, hubFileSetters(&Hub{Store: Store{Addrs: []string{""}}})},
		"a target": {targets.Items2020, (&loader{}).targetSetters(&Target{})}, "policy.yml": {policy, (&loader{}).policySetters(&rollout.Policy{})},
		"a stage": {schema(t, "policy.schema.json", "#/$defs/stage"), stageSetters(&rollout.Stage{})},
		"content": {policy.Properties["content"], contentSetters(&rollout.Content{})},
		"history": {policy.Properties["history"], historySetters(&rollout.History{})},
	} {
		got, want := slices.Sorted(maps.Keys(tt.schema.Properties)), slices.Sorted(maps.Keys(tt.setters))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %q, the parser %q", name, got, want)
		}
		for key, property := range tt.schema.Properties {
			if len(property.Description) < 15 {
				t.Errorf("%s: %s has no description", name, key)
			}
		}
	}
}

// unexpressed are values that the parser refuses and the schema does not: it knows no order of numbers with units, no users of
// this machine, and no difference between two ways to write a value in YAML.
func unexpressed() map[string][]string {
	return map[string][]string{
		"*":      {"!!str x", "&a x"},
		"stores": {`"a\u202eb"`}, "listen": {"a:65536"}, "hubs": {"localhost:65536"},
		"reconcile": {"9s", "25h", "2d"}, "spread": {"24h1s"},
		"check_timeout": {"99ms", "24h1s"}, "exec_timeout": {"99ms", "24h1s"}, "probe_timeout": {"99ms", "24h1s"},
		"key":  {"x{dir}", "x{rol}", "x{other}", "x{datacenter}"},
		"file": {"/a/..", "/etc/{x}", "/etc/taken", "/" + strings.Repeat("{dir}{big}", 16)},
		"mode": {"420", "0x1a4", "6_44", "644.0"}, "min_lines": {"0x10"},
		"owner": {"no-such-user", "root:-1"}, "group": {"no-such-group"},
	}
}

// The schema accepts what the parser accepts, and refuses what the parser refuses, but for unexpressed.
func TestSchemaOfAgent(t *testing.T) {
	s, left := schema(t, "agent.schema.json", ""), unexpressed()
	for _, part := range []struct {
		tests []keyTest
		file  func(key, value string) string
	}{{mainTests(), mainFile}, {targetTests(), targetFile}} {
		for _, test := range part.tests {
			for value := range test.good {
				if err := refusal(s, part.file(test.key, value)); err != nil {
					t.Errorf("%s: %.80s is refused: %v", test.key, value, err)
				}
			}
			for _, bad := range []words{test.bad, refusedByAll(test.kinds)} {
				for value := range bad {
					err := refusal(s, part.file(test.key, value))
					if known := slices.Contains(left[test.key], value); (err == nil) != known && !slices.Contains(left["*"], value) {
						t.Errorf("%s: %.80q: known as not expressed: %t, but: %v", test.key, value, known, err)
					}
				}
			}
		}
	}
}

// Whole files: of documents, and with keys that depend on each other.
func TestSchemaOfWholeFiles(t *testing.T) {
	agent, hub := schema(t, "agent.schema.json", ""), schema(t, "hub.schema.json", "")
	fragment := schema(t, "agent.schema.json", "#/$defs/fragment")
	page, err := os.ReadFile("../../docs/agent-yml.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)<<'YML'\n(.*?)\nYML").FindSubmatch(page)
	if shown == nil {
		t.Fatal("docs/agent-yml.md shows no file")
	}
	for text, s := range map[string]*jsonschema.Schema{
		example: agent, string(shown[1]): agent, "targets: [{key: a, file: /a}]": fragment,
	} {
		if err := refusal(s, text); err != nil {
			t.Errorf("%s\nis refused: %v", text, err)
		}
	}
	for text, s := range map[string]*jsonschema.Schema{
		"moed: 1": agent, "token: x": agent, "prefix: x": fragment, "targets: [{key: a}]": agent, "targets: [{file: /a}]": agent,
		"[]": agent, "targets: [{key: a, file: /a, target: b}]": fragment, "stores: a:1": hub,
		"targets: [{key: a, file: /a, exec_every: 5s}]":                                    agent,
		"targets: [{key: a, file: /a, exec: x, exec_every: 5s, restore_on_failure: true}]": agent,
	} {
		if refusal(s, text) == nil {
			t.Errorf("%s\nis accepted", text)
		}
	}
}

// hub.yml, by the parser and by the schema.
func TestSchemaOfHub(t *testing.T) {
	s := schema(t, "hub.schema.json", "")
	for text, good := range map[string]bool{
		"store: 127.0.0.1:8500\nlisten: 0.0.0.0:8610\ntoken_file: /etc/kvexpress/hub.token\nper_node: true": true,
		"listen: /run/hub.sock\nmax_conns_per_client: 300\nread_every: 30s\nexpire_after: 1d12h":            true,
		"peers: [b.example:8610, c.example:8610]\nhub_ca: /ca.pem\nany_agent: false":                        true,
		"data_dir: /var/lib/store\ntokens: /t.hcl\ntls_cert: /c\ntls_key: /k\ntls_client_ca: /ca":           true,
		"prefix: a/b\nnamespace: x\npartition: y\ndatacenter: dc1\npeers: localhost:1":                      true,
		"store: [a:1, b:1]": false, "store: ''": false, "listen: 8610": false, "peers: b.example:8610": false, "peers: []": false,
		"read_every: 30": false, "expire_after: soon": false, "per_node: maybe": false, "data_dir: here": false, "hubs: a:1": false,
		"max_conns_per_client: many": false, "client_cert: /c": false, "hub_client_key: /k\npeers: localhost:1": false,
		"node_from: certificate": true, "node_from: name": false, "tokens: [a]": false,
		"gates: {dns-canary: {run: [check-dns, now], timeout: 10s}, b: {run: check}}": true, "gates: {a: {timeout: 5s}}": false,
		"gates: {a: check}": false, "gates: {'a b': {run: x}}": false, "gates: {a: {run: x, shell: true}}": false, "gates: [a]": false,
		"notify: {url: 'https://chat.example/hook', token_file: /t}": true, "notify: {url: 'http://127.0.0.1:9/x'}": true,
		"notify: {token_file: /t}": false, "notify: 'https://a/b'": false, "notify: {url: 'ftp://a/b'}": false, "notify: {url: /hook}": false,
		"prefix: ''": false, "dev: true": false, "token: x": false,
	} {
		path := filepath.Join(folder(t, map[string]string{"hub.yml": text}), "hub.yml")
		_, err := LoadHub(path, Hub{Store: Store{Addrs: []string{""}}}, func(string) bool { return false })
		if (err == nil) != good {
			t.Errorf("the parser: %s\nis good: %t, but %v", text, good, err)
		}
		if err := refusal(s, text); (err == nil) != good {
			t.Errorf("the schema: %s\nis good: %t, but %v", strings.TrimSpace(text), good, err)
		}
	}
}
