package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/rollout"
)

const schemas = "../../schemas/json"

// jsonOf has the sections of docs/json.md with what a command prints. Without one it prints exit_code and error alone.
func jsonOf(command string) []string {
	switch command {
	case "in", "copy", "rollback":
		return []string{"in, copy and rollback"}
	case "out", "raw":
		return []string{"out and raw"}
	case "status":
		return []string{"status -k", "status", "status --node"}
	case "history":
		return []string{"history", "history --events"}
	case "stop", "resume":
		return []string{"stop and resume"}
	case "lock", "unlock":
		return []string{"lock and unlock"}
	case "agent":
		return []string{"agent --dry-run", "agent --check-config"}
	case "hub":
		return []string{"hub --once"}
	case "policy set", "policy show", "policy rm":
		return []string{"policy set, show and rm"}
	case "rollout history":
		return []string{"history --events"}
	case "rollout pause", "rollout resume", "rollout promote", "rollout abort":
		return []string{"rollout pause, resume, promote and abort"}
	case "demo", "kv", "kv export", "policy", "rollout", "help":
		return nil
	}
	return []string{command}
}

// schemaMaker makes JSON Schemas of the types in jsonSections, with the words of docs/json.md.
type schemaMaker struct {
	page   string
	closed bool // refuse unknown fields: a later version of kvexpress may have more
	defs   map[string]any
}

// command is the schema of the output of a command.
func (m *schemaMaker) command(name string) map[string]any {
	m.defs = map[string]any{}
	all := map[string]any{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kvexpress " + name + " --json"}
	var forms []map[string]any
	for _, heading := range jsonOf(name) {
		typ := jsonSections()[heading]
		if typ == nil {
			continue // TestJSONSchemas fails
		}
		if name == "in" || name == "copy" { // without the two fields of rollback
			typ = reflect.TypeFor[inReport]()
		}
		form := m.object(typ, heading, "")
		form["title"] = "kvexpress " + heading
		forms = append(forms, form)
	}
	if forms == nil {
		forms = []map[string]any{{"type": "object", "properties": map[string]any{}, "additionalProperties": !m.closed}}
	}
	for _, form := range forms {
		fields, _ := form["properties"].(map[string]any)
		fields["exit_code"] = map[string]any{"type": "integer", "description": "Exit code of the command."}
		fields["error"] = map[string]any{"type": "string", "description": "Why the command failed, in one line."}
		if always, ok := form["required"]; ok { // a command that failed prints what it knows
			form["anyOf"] = []any{map[string]any{"required": []string{"error"}}, map[string]any{"required": always}}
		}
		form["required"] = []string{"exit_code"}
	}
	all["anyOf"] = forms
	if len(m.defs) > 0 {
		all["$defs"] = m.defs
	}
	return all
}

// object is the schema of a struct. Fields of its parts have a prefix in the section.
func (m *schemaMaker) object(typ reflect.Type, heading, prefix string) map[string]any {
	fields, always := map[string]any{}, []string{}
	m.fields(typ, heading, prefix, fields, &always)
	s := map[string]any{"type": "object", "properties": fields}
	if len(always) > 0 {
		slices.Sort(always)
		s["required"] = always
	}
	if m.closed {
		s["additionalProperties"] = false
	}
	return s
}

func (m *schemaMaker) fields(typ reflect.Type, heading, prefix string, fields map[string]any, always *[]string) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		of := field.Type
		if field.Anonymous && name == "" {
			for of.Kind() == reflect.Pointer {
				of = of.Elem()
			}
			m.fields(of, heading, prefix, fields, always)
			continue
		} else if name == "" || name == "-" {
			continue
		}
		s := m.value(of, heading, prefix+name)
		if of.Kind() == reflect.Pointer && !strings.Contains(options, "omit") {
			s = map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
		}
		if text := m.meaning(heading, prefix+name); text != "" {
			s["description"] = text
		}
		fields[name] = s
		if !strings.Contains(options, "omit") && !slices.Contains(*always, name) {
			*always = append(*always, name)
		}
	}
}

// value is the schema of a field.
func (m *schemaMaker) value(typ reflect.Type, heading, name string) map[string]any {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch typ {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[gate.Percent](), reflect.TypeFor[rollout.Duration]():
		return map[string]any{"type": "string"}
	case reflect.TypeFor[fleet.Millis](), reflect.TypeFor[fleet.Offset]():
		return map[string]any{"type": "number"}
	}
	switch typ.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": m.value(typ.Elem(), heading, name)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": m.value(typ.Elem(), heading, name)}
	case reflect.Struct:
		for other, of := range jsonSections() {
			if of == typ {
				if m.defs[other] == nil {
					m.defs[other] = true // it may have itself as a part
					m.defs[other] = m.object(typ, other, "")
				}
				return map[string]any{"$ref": "#/$defs/" + strings.ReplaceAll(other, " ", "%20")}
			}
		}
		if typ == reflect.TypeFor[fleet.Report]() {
			return m.object(typ, "status -k", "")
		} else if typ == reflect.TypeFor[versionInfo]() {
			return m.object(typ, "show", "")
		}
		return m.object(typ, heading, name+".")
	case reflect.Interface:
		return map[string]any{}
	}
	return map[string]any{"type": "integer"}
}

// meaning is the text about a field in docs/json.md.
func (m *schemaMaker) meaning(heading, name string) string {
	_, section, _ := strings.Cut(m.page, "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \| (.*?) \| (.+) \|$`).FindAllStringSubmatch(section, -1) {
		names := strings.Split(row[1], ", ")
		at := slices.Index(names, "`"+name+"`")
		if at < 0 {
			continue
		}
		text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(row[3], "$1")
		if parts := strings.Split(text, "; "); len(parts) == len(names) { // a part for each name
			text = parts[at]
		}
		return strings.ReplaceAll(text, "`", "")
	}
	return ""
}

func newSchemaMaker() (*schemaMaker, error) {
	page, err := os.ReadFile("../../docs/json.md")
	return &schemaMaker{page: string(page)}, err
}

// The files of schemas/json are those of the types behind --json. KVEXPRESS_UPDATE=1 writes them anew.
func TestJSONSchemas(t *testing.T) {
	m, err := newSchemaMaker()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	for _, command := range commandNames() {
		if jsonOf(command) == nil {
			continue
		}
		for _, heading := range jsonOf(command) {
			if jsonSections()[heading] == nil {
				t.Fatalf("%s --json: add what it prints to jsonSections and to docs/json.md, as %q", command, heading)
			}
		}
		b, err := json.MarshalIndent(m.command(command), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want[strings.ReplaceAll(command, " ", "-")+".schema.json"] = append(b, '\n')
	}
	if os.Getenv("KVEXPRESS_UPDATE") != "" {
		for name, b := range want {
			if err := os.WriteFile(filepath.Join(schemas, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := os.ReadDir(schemas)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		got, err := os.ReadFile(filepath.Join(schemas, file.Name()))
		if err != nil || !bytes.Equal(got, want[file.Name()]) {
			t.Errorf("%s is stale (%v); KVEXPRESS_UPDATE=1 go test ./internal/cli -run TestJSONSchemas writes it", file.Name(), err)
		}
		delete(want, file.Name())
	}
	for name := range want {
		t.Errorf("%s is missing; KVEXPRESS_UPDATE=1 go test ./internal/cli -run TestJSONSchemas writes it", name)
	}
}

// closedSchema is the schema of a command that refuses unknown fields.
var closedSchema = func() func(command string) (*jsonschema.Schema, error) {
	var mu sync.Mutex
	made := map[string]*jsonschema.Schema{}
	return func(command string) (*jsonschema.Schema, error) {
		mu.Lock()
		defer mu.Unlock()
		if made[command] != nil {
			return made[command], nil
		}
		m, err := newSchemaMaker()
		if err != nil {
			return nil, err
		}
		m.closed = true
		text, err := json.Marshal(m.command(command))
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("command.json", doc); err != nil {
			return nil, err
		}
		made[command], err = c.Compile("command.json")
		return made[command], err
	}
}()

// checkJSON wants the output of a command with --json to have its schema.
func checkJSON(ts *testscript.TestScript, args []string, stdout string) {
	command := commandOf(args)
	if !slices.Contains(args, "--json") || command == "kv export" || slices.Contains(args, "--help") {
		return
	}
	ts.Check(fitsSchema(command, stdout))
}

func fitsSchema(command, output string) error {
	s, err := closedSchema(command)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(output))
	if err == nil {
		err = s.Validate(doc)
	}
	if err != nil {
		return fmt.Errorf("%s --json: %w\n%s", command, err, output)
	}
	return nil
}
