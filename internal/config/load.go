package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	maxFile   = 1 << 20 // bytes
	fragments = "conf.d"
	hint      = "; put the token in a file of its own and give token_file"
)

// Env replaces the process's environment.
type Env struct {
	Getenv   func(string) string
	Hostname string // of the operating system
}

// Load reads the file, and conf.d/*.yml and *.yaml beside it in the order of their names. Fragments have targets only.
// Hidden files and the backup copies of editors and package managers are ignored.
//
// Defaults of the main file: node is the host's name, prefix kvexpress, reconcile 5m, state_dir
// install.DefaultStateDir, listen /run/kvexpress/agent.sock for root, else kvexpress/agent.sock in
// $XDG_RUNTIME_DIR, else agent.sock in the state folder. Without stores, Addrs is one empty address, which
// means CONSUL_HTTP_ADDR or Consul's default. In a target min_lines is 1 and both time limits are 5m.
//
// The limits are 1 MiB a file and 4096 targets in all. The error is an *Error with all problems, or the reason why the
// main file cannot be read.
func Load(path string, env Env) (Config, error) {
	l := &loader{
		env: env, main: printable(path), file: printable(path),
		config: defaults(path), words: map[string]string{wordNode: wordNode}, files: map[string]string{},
		execs: map[string]Target{},
	}
	l.hint, l.least = l.elsewhere, "targets: []"
	b, err := readFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration %s: %w", l.main, err)
	}
	// If the main file is not a map, further problems only follow from that.
	if lines := l.readMap(b, l.mainSetters()); lines != nil {
		l.finish(lines)
		if l.targets.node != nil {
			l.readTargets(l.targets)
		}
		l.readFragments(filepath.Join(filepath.Dir(path), fragments))
	}
	if err := l.err(); err != nil {
		return Config{}, err
	}
	return l.config, nil
}

// loader is the state of Load.
type loader struct {
	env        Env
	main, file string                  // the main file and the current file, printable
	hint       func(key string) string // where an unknown key belongs; "" if the file has no place for it
	least      string                  // the smallest file that is valid
	config     Config
	problems   []problem
	words      map[string]string // for {word}
	targets    value             // of the main file: read when all words are known
	files      map[string]string // of targets, and their places
	execs      map[string]Target // the first of each ExecGroup
}

// readFragments reads the files in conf.d, if there is one.
func (l *loader) readFragments(dir string) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.file = printable(dir)
		l.add(0, "%w", bare(err))
	}
	for _, f := range files {
		ext, path := filepath.Ext(f.Name()), filepath.Join(dir, f.Name())
		if ext != ".yml" && ext != ".yaml" || strings.ContainsAny(f.Name()[:1], ".#") {
			continue
		}
		l.config.Files, l.file = append(l.config.Files, path), printable(path)
		if b, err := readFile(path); err != nil {
			l.add(0, "%w", err)
		} else {
			l.readMap(b, map[string]func(value){"targets": l.readTargets})
		}
	}
}

// elsewhere says where an unknown key belongs; "" if it is unknown everywhere.
func (l *loader) elsewhere(key string) string {
	_, ofMain := l.mainSetters()[key]
	_, ofTarget := l.targetSetters(&Target{})[key]
	switch {
	case key == "token":
		return hint
	case ofMain:
		return "; it belongs at the top of " + l.main
	case ofTarget:
		return "; it belongs to a target, below targets"
	}
	return ""
}

// readFile reads a regular file. Links are followed. The error does not name the file.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, bare(err)
	case !info.Mode().IsRegular(): // opening a FIFO waits for a writer
		return nil, errors.New("not a regular file; give a file, or a link to one")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%d bytes, at most %d are allowed; spread the targets over files in %s", info.Size(), maxFile, fragments)
	}
	b, err := os.ReadFile(path)
	return b, bare(err)
}

// bare is an error without its path, which the message has already.
func bare(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}
