package cli

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
)

// documented has the exit codes of each command. They are a contract. A new command or code needs an
// entry here, and a script with its name, such as out_exit_6_too_short.txtar.
func documented() map[string][]int {
	return map[string][]int{
		"kvexpress":   {0, 1}, // without a command
		"in":          {0, 1, 3, 6, 7, 8, 9, 10, 11},
		"out":         {0, 1, 3, 4, 5, 6, 7, 8},
		"raw":         {0, 1, 4, 5, 6, 7, 8},
		"copy":        {0, 1, 3, 5, 6, 7, 8, 10, 11},
		"history":     {0, 1, 5, 6, 7},
		"show":        {0, 1, 5, 6, 7},
		"diff":        {0, 1, 5, 6, 7},
		"rollback":    {0, 1, 3, 5, 6, 7, 8, 9, 10, 11},
		"clean":       {0, 1, 8},
		"status":      {0, 1, 5, 6, 7, 9},
		"forget":      {0, 1, 7},
		"retire":      {0, 1, 5, 7},
		"policy":      {0, 1},
		"policy set":  {0, 1, 6, 7},
		"policy show": {0, 1, 5, 6, 7},
		"policy rm":   {0, 1, 7},

		"rollout":         {0, 1},
		"rollout status":  {0, 1, 5, 7, 11},
		"rollout history": {0, 1, 5, 7},
		"rollout pause":   {0, 1, 5, 7},
		"rollout resume":  {0, 1, 5, 7},
		"rollout promote": {0, 1, 5, 7},
		"rollout abort":   {0, 1, 5, 7},

		"stop":         {0, 1, 3, 7, 8},
		"resume":       {0, 1, 7, 8},
		"lock":         {0, 1, 7},
		"unlock":       {0, 1, 7},
		"locks":        {0, 1, 7},
		"stops":        {0, 1, 7},
		"agent":        {0, 1, 5, 6, 7},
		"agent status": {0, 1, 5, 6, 7, 8},
		"hub":          {0, 1, 7},
		"hub size":     {0, 1},
		"doctor":       {0, 1},
		"demo":         {0, 1},
		"kv":           {0, 1},
		"kv export":    {0, 1, 5, 7},
		"kv import":    {0, 1, 6, 7},
		"acl":          {0, 1},
		"version":      {0, 1},
		"help":         {0, 1},
	}
}

// ending is one command that ended with one exit code.
type ending struct {
	command string
	code    int
}

func (e ending) String() string { return fmt.Sprintf("%s exit %d", e.command, e.code) }

// sightings is what happened while the scripts ran: which were opened, and how
// the commands in them ended. Safe for concurrent use.
type sightings struct {
	mu      sync.Mutex
	scripts map[string]map[ending]bool
}

func newSightings() *sightings { return &sightings{scripts: map[string]map[ending]bool{}} }

func (s *sightings) opened(script string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[script] = map[ending]bool{}
}

func (s *sightings) ended(script string, e ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[script][e] = true
}

// checkContract compares the exit codes of all scripts with the documented ones. Each command and exit
// code needs a script with its name that shows it. Other codes are errors, and so are files that did
// not run.
func checkContract(t *testing.T, seen *sightings) {
	if f := flag.Lookup("test.run"); f != nil && strings.Contains(f.Value.String(), "/") {
		t.Skip("only some scripts were run")
	}
	files, err := os.ReadDir(scripts)
	if err != nil {
		t.Fatal(err)
	}
	covered := map[ending]bool{}
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), ".txtar")
		happened, ran := seen.scripts[name]
		switch {
		case !ok:
			t.Errorf("%s/%s is not a script", scripts, file.Name())
		case !ran:
			t.Errorf("%s/%s was not run", scripts, file.Name())
		case len(happened) == 0:
			t.Errorf("%s/%s never runs kvexpress with the exits command", scripts, file.Name())
		}
		if e, named := endingOf(name); named && !happened[e] {
			t.Errorf("%s/%s: %s does not happen in it", scripts, file.Name(), e)
		} else if named {
			covered[e] = true
		}
		for e := range happened {
			if !slices.Contains(documented()[e.command], e.code) {
				t.Errorf("%s/%s: %s happens but is not documented", scripts, file.Name(), e)
			}
		}
	}
	for command, codes := range documented() {
		for _, code := range codes {
			if e := (ending{command, code}); !covered[e] {
				t.Errorf("no script is named %s_exit_%d….txtar", strings.ReplaceAll(command, " ", "_"), code)
			}
		}
	}
}

// endingOf is the command and the exit code in a script's name.
func endingOf(name string) (ending, bool) {
	m := regexp.MustCompile(`^([a-z]+(_[a-z]+)?)_exit_([0-9]+)(_|$)`).FindStringSubmatch(name)
	if m == nil {
		return ending{}, false
	}
	code, err := strconv.Atoi(m[3])
	return ending{strings.ReplaceAll(m[1], "_", " "), code}, err == nil
}

// Commands in documented are the commands of the program.
func TestEveryCommandIsDocumented(t *testing.T) {
	want := append(commandNames(), "kvexpress")
	slices.Sort(want)
	got := slices.Sorted(maps.Keys(documented()))
	if !slices.Equal(got, want) {
		t.Errorf("exit codes are documented for %v\nthe commands are           %v", got, want)
	}
}

// commandNames has the commands as people type them, such as "in" and "agent status".
func commandNames() []string {
	var names []string
	var add func(cmd *cobra.Command)
	add = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			names = append(names, strings.TrimPrefix(sub.CommandPath(), "kvexpress "))
			add(sub)
		}
	}
	add((&App{}).newRoot())
	return names
}
