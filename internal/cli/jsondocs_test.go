package cli

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/doctor"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
)

// jsonSections has the type behind each section of docs/json.md.
func jsonSections() map[string]reflect.Type {
	return map[string]reflect.Type{
		"in, copy and rollback": reflect.TypeFor[rollbackReport](), "out and raw": reflect.TypeFor[outReport](),
		"agent --dry-run": reflect.TypeFor[planReport](), "Plan": reflect.TypeFor[planLine](),
		"status -k": reflect.TypeFor[statusReport](), "status": reflect.TypeFor[statusOfAllReport](),
		"status --node": reflect.TypeFor[nodeReport](), "Target of a node": reflect.TypeFor[fleet.TargetReport](),
		"history": reflect.TypeFor[historyReport](), "show": reflect.TypeFor[showReport](), "diff": reflect.TypeFor[diffReport](),
		"history --events": reflect.TypeFor[eventReport](), "stops": reflect.TypeFor[stopReport](),
		"locks": reflect.TypeFor[lockReport](), "agent status": reflect.TypeFor[agent.Status](),
		"Target of an agent": reflect.TypeFor[agent.TargetStatus](), "Node": reflect.TypeFor[fleet.Line](),
		"Percentiles": reflect.TypeFor[fleet.Percentiles](), "Exec": reflect.TypeFor[execReport](),
		"doctor": reflect.TypeFor[doctorReport](), "Finding": reflect.TypeFor[doctor.Finding](),
		"policy set, show and rm": reflect.TypeFor[policyReport](),
		"rollout status":          reflect.TypeFor[rolloutReport](), "rollout pause, resume, promote and abort": reflect.TypeFor[orderReport](),
		"stop and resume": reflect.TypeFor[stopAction](), "lock and unlock": reflect.TypeFor[lockAction](),
		"forget": reflect.TypeFor[forgetAction](), "retire": reflect.TypeFor[retireReport](), "clean": reflect.TypeFor[cleanAction](),
		"acl": reflect.TypeFor[policyJSON](), "agent --check-config": reflect.TypeFor[checked](),
		"kv import": reflect.TypeFor[importReport](), "hub --once": reflect.TypeFor[scraped](),
		"hub size": reflect.TypeFor[sizeReport](), "Change": reflect.TypeFor[gate.Change](), "Stop": reflect.TypeFor[hold.Stop](), "Lock": reflect.TypeFor[lockRow](),
		"version": reflect.TypeFor[versionReport](),
	}
}

// docs/json.md has the fields that commands print with --json, and no others.
func TestJSONIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	leaves := append(slices.Collect(maps.Values(jsonSections())), reflect.TypeFor[time.Time](), reflect.TypeFor[fleet.Report](),
		reflect.TypeFor[fleet.TargetReport](), reflect.TypeFor[versionInfo](), reflect.TypeFor[gate.Percent]())
	for heading, typ := range jsonSections() {
		_, section, _ := strings.Cut(string(page), "\n## "+heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		documented := map[string]bool{}
		for _, row := range regexp.MustCompile("(?m)^\\| (`.+?) \\|").FindAllStringSubmatch(section, -1) {
			for _, name := range regexp.MustCompile("`([a-z0-9_.]+)`").FindAllStringSubmatch(row[1], -1) {
				documented[name[1]] = true
			}
		}
		for _, name := range jsonFields(typ, "", leaves) {
			if !documented[name] {
				t.Errorf("docs/json.md: %s does not have %s", heading, name)
			}
			delete(documented, name)
		}
		for name := range documented {
			t.Errorf("docs/json.md: %s has %s, which is not printed", heading, name)
		}
	}
}

// jsonFields lists the fields of a struct, those of its parts with a dot. Types in leaves have no parts.
func jsonFields(typ reflect.Type, prefix string, leaves []reflect.Type) (names []string) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		of := field.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		switch {
		case field.Anonymous && name == "":
			names = append(names, jsonFields(of, prefix, leaves)...)
		case name == "" || name == "-":
		case of.Kind() == reflect.Struct && !slices.Contains(leaves, of):
			names = append(names, jsonFields(of, prefix+name+".", leaves)...)
		default:
			names = append(names, prefix+name)
		}
	}
	return names
}
