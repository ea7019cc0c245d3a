package agentfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvexpress/internal/kv"
)

// Limits of all files together.
const (
	maxTotal     = 8 << 20    // bytes
	maxFragments = maxTargets // files, besides the main one
	maxProblems  = 1000       // then no more fragments are looked at
	fragments    = "conf.d"   // the folder
)

// Env is what a configuration takes from around it.
type Env struct {
	Getenv   func(string) string
	Hostname string // of the operating system
}

// Load reads the file, and beside it conf.d/*.yml and *.yaml in the order of their
// names, which may hold nothing but targets. Hidden files are left out.
//
// What the main file does not say has these defaults: node is the host's name,
// prefix kvexpress, reconcile 5m, state_dir deliver.DefaultStateDir, listen
// /run/kvexpress/agent.sock for root, else kvexpress/agent.sock in
// $XDG_RUNTIME_DIR, else agent.sock in the state folder. Without stores, Addrs is
// one empty address: Consul's environment, or its default. In a target min_lines
// is 1 and both time limits are 5m.
//
// Files are read up to 1 MiB each and 8 MiB in all, with up to 4096 targets. The
// error is an *Error with all that is wrong, or, if the main file cannot be read,
// the cause.
func Load(path string, env Env) (Config, error) {
	l := &loader{env: env, main: source{name: printable(path)}, files: map[string]string{}, targetFields: targetFields()}
	l.marks = marks{values: map[string]string{}, bad: map[string]bool{}, main: l.main.name}
	b, err := readFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration %s: %w", l.main.name, err)
	}
	l.total = len(b)
	l.config.Files = []string{path}
	if l.readMain(b) {
		l.readFragments(filepath.Join(filepath.Dir(path), fragments))
	}
	if err := l.err(); err != nil {
		return Config{}, err
	}
	return l.config, nil
}

// loader is what is known while the files are read.
type loader struct {
	problems
	env    Env
	main   source
	config Config
	marks  marks
	files  map[string]string // of targets: where they were given
	total  int               // bytes read

	targets      value // of the main file; without a name if it has none
	targetFields []field[draft]
	targetsRead  int
}

// readMain is false if the file is not YAML: what follows from it would be noise.
func (l *loader) readMain(b []byte) bool {
	root, ok := l.parse(l.main, b, "give at least targets: []")
	if !ok {
		return false
	}
	l.config.Store.Addrs = []string{""}
	l.config.Reconcile, l.config.Receipts = defaultReconcile, true
	l.config.Layout, _ = kv.NewLayout(defaultPrefix)
	given, ok := read(root, "a map with stores, targets and others", mainFields(), l, l.misplaced)
	if !ok {
		return false
	}
	l.finish(given)
	if l.targets.name != "" {
		l.readTargets(l.targets)
	}
	l.targets = value{}
	return true
}

// misplaced says more of keys that belong elsewhere.
func (l *loader) misplaced(key string) string {
	if slices.Contains(names(l.targetFields), key) {
		return "it belongs to a target"
	}
	if key == "token" {
		return "put the token in a file of its own and give token_file"
	}
	return ""
}

func (l *loader) readTargets(v value) {
	list, _ := v.items("a list, or [] for none")
	for _, one := range list {
		one.name = "a target"
		l.readTarget(one)
	}
}

// parse is the outermost value of a file; ok is false if there is none.
func (l *loader) parse(s source, b []byte, remedy string) (root value, ok bool) {
	node, line, err := parse(b)
	switch {
	case err != nil:
		l.add(place{s, line}, "%w", err)
		return value{}, false
	case node == nil:
		l.add(place{s, 1}, "the file is empty; %s", remedy)
		return value{}, false
	}
	v := value{name: "the file", node: node, at: place{s, 1}, problems: &l.problems}
	v.at = v.lineOf(node.GetToken())
	return v, true
}

// readFragments reads what is in conf.d, which need not exist.
func (l *loader) readFragments(dir string) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.add(place{source: source{name: printable(dir), order: 1}}, "%w", bare(err))
		return
	}
	for i, f := range files {
		if len(l.list) > maxProblems {
			return
		}
		if isFragment(f.Name()) {
			if len(l.config.Files) > maxFragments {
				l.add(place{source: source{name: printable(dir), order: i + 1}}, "there are more than %d files; put several targets into one", maxFragments)
				return
			}
			path := filepath.Join(dir, f.Name())
			l.config.Files = append(l.config.Files, path)
			l.readFragment(path, source{name: printable(path), order: i + 1})
		}
	}
}

// isFragment leaves out hidden files, and with them what editors and package
// managers put beside a file; their others have a longer name.
func isFragment(name string) bool {
	ext := filepath.Ext(name)
	return (ext == ".yml" || ext == ".yaml") && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "#")
}

func (l *loader) readFragment(path string, s source) {
	b, err := readFile(path)
	if err != nil {
		l.add(place{source: s}, "%w", err)
		return
	}
	if l.total += len(b); l.total > maxTotal {
		if l.total-len(b) <= maxTotal {
			l.add(place{source: s}, "with this file there are more than %d bytes of configuration; remove some", maxTotal)
		}
		return
	}
	root, ok := l.parse(s, b, "remove it, or give targets: []")
	if !ok {
		return
	}
	table := []field[value]{{"targets", func(to *value, v value) { *to = v }}}
	var targets value
	read(root, "a map with targets", table, &targets, l.notInFragment)
	if targets.name != "" {
		l.readTargets(targets)
	}
}

// notInFragment says where a key belongs that a fragment may not have.
func (l *loader) notInFragment(key string) string {
	if slices.Contains(names(mainFields()), key) {
		return "a fragment holds targets alone, so put it into " + l.main.name
	}
	if slices.Contains(names(l.targetFields), key) {
		return "it belongs to a target, below targets"
	}
	return ""
}
