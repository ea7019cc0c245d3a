package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// allowed are the licences of modules that kvexpress may contain. Each asks that its text comes with the program; the MPL in
// addition that changed files are published, and we change none.
const allowed = "Apache-2.0 BSD-2-Clause BSD-3-Clause ISC MIT MPL-2.0"

// assets is the folder of the repository with the files of others that the program embeds.
const assets = "../../internal/hub/web/assets"

// module is a module whose code is in the program: a module of Go, or a script of the page, which is a package of npm.
type module struct {
	Path, Version, Sum string
	npm                bool
	licences           []string // SPDX identifiers of the files at its top
	texts              []text
}

// text is a file with a licence or a notice.
type text struct{ name, content string }

var licenceFile = regexp.MustCompile(`^(?i)(licen[sc]e|copying|notice)([.-].*)?$`)

// modules reads from a program which modules it contains, sorted by path, and reads their licences. After them come Go's
// standard library and the script of the page. A module without a licence that is allowed is an error.
func modules(program string) (all []module, err error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	args := []string{"mod", "download", "-json"}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			return nil, fmt.Errorf("%s is replaced by %s: its licence is unknown", dep.Path, dep.Replace.Path)
		}
		all = append(all, module{Path: dep.Path, Version: dep.Version, Sum: dep.Sum})
		args = append(args, dep.Path+"@"+dep.Version)
	}
	dirs := map[string]string{}
	out, err := goCommand(args...)
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Dir string }
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		dirs[m.Path] = m.Dir
	}
	if out, err = goCommand("env", "GOROOT"); err != nil {
		return nil, err
	}
	all = append(all, module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")})
	dirs["std"] = strings.TrimSpace(string(out))
	for i := range all {
		if err := all[i].readLicences(dirs[all[i].Path]); err != nil {
			return nil, fmt.Errorf("%s %s: %w", all[i].Path, all[i].Version, err)
		}
	}
	script, err := embedded(program, "uplot")
	return append(all, script), err
}

var scriptVersion = regexp.MustCompile(`^/\*!.* \(v([0-9.]+)\) \*/`)

// embedded describes a script that the program embeds. Its first line has its version.
func embedded(program, name string) (m module, err error) {
	script, err := os.ReadFile(filepath.Join(assets, name+".js"))
	if err != nil {
		return m, err
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return m, err
	}
	version := scriptVersion.FindSubmatch(script)
	if version == nil || !bytes.Contains(code, script) {
		return m, fmt.Errorf("%s does not embed %s.js of this clone, or its first line has no version", program, name)
	}
	m = module{Path: name, Version: string(version[1]), npm: true}
	licence, err := os.ReadFile(filepath.Join(assets, name+"-LICENSE.txt"))
	if err != nil {
		return m, err
	}
	m.texts, m.licences = []text{{"LICENSE", string(licence)}}, licencesOf(licence)
	return m, m.allowed()
}

func goCommand(args ...string) ([]byte, error) {
	out, err := exec.Command("go", args...).Output() //nolint:noctx // it ends
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}

// readLicences reads all licences in the folder of a module: packages in it can have their own.
func (m *module) readLicences(dir string) error {
	files := os.DirFS(dir)
	err := fs.WalkDir(files, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			// Go's own tree has programs that are not linked in.
			if slices.Contains([]string{"testdata", "vendor"}, e.Name()) || m.Path == "std" && name != "." {
				return fs.SkipDir
			}
			return nil
		}
		if !licenceFile.MatchString(e.Name()) {
			return nil
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		m.texts = append(m.texts, text{name, string(b)})
		if name == e.Name() {
			m.licences = append(m.licences, licencesOf(b)...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(m.licences)
	m.licences = slices.Compact(m.licences)
	return m.allowed()
}

// allowed returns an error unless the module has licences, and all are allowed.
func (m *module) allowed() error {
	if len(m.licences) == 0 {
		return errors.New("no licence that is known; look at its files, and leave the module out if there is none")
	}
	for _, id := range m.licences {
		if !slices.Contains(strings.Fields(allowed), id) {
			return fmt.Errorf("its licence is %s; licences.go allows %s", id, allowed)
		}
	}
	return nil
}

// licencesOf are the SPDX identifiers of the licences in a text.
func licencesOf(b []byte) (ids []string) {
	for _, match := range licensecheck.Scan(b).Match {
		if !match.IsURL {
			ids = append(ids, match.ID)
		}
	}
	return ids
}

// thirdParty is the name of the file with the licences of all modules.
const thirdParty = "THIRD_PARTY_LICENCES"

// writeLicences writes the list of all modules, and the full texts of their licences.
func writeLicences(w io.Writer, all []module) error {
	var b strings.Builder
	b.WriteString("kvexpress contains code of these modules. The texts of their licences follow.\n\n")
	for _, m := range all {
		fmt.Fprintf(&b, "%s %s: %s\n", m.Path, m.Version, strings.Join(m.licences, ", "))
	}
	for _, m := range all {
		for _, t := range m.texts {
			fmt.Fprintf(&b, "\n%s\n%s %s: %s\n\n%s\n", strings.Repeat("=", 80), m.Path, m.Version, t.name, strings.TrimSpace(t.content))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
