package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	repository = "../../.."
	reference  = "docs/commands.md" // is generated from the help; TestExamplesOfHelp reads its examples
)

// documents are all Markdown files of the repository, by their path in it.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".build"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(repository, path)
		all[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 30 {
		t.Errorf("only %d documents were found", len(all))
	}
	return all
}

// block is a block of code. Its mark names the test that runs it, in a comment above it: <!-- run by TestX -->.
type block struct{ kind, text, mark string }

func blocks(page string) (all []block) {
	pattern := regexp.MustCompile("(?ms)(?:^ *<!-- run by (\\w+) -->\n)?^ *```(\\w*)\n(.*?)^ *```$")
	for _, found := range pattern.FindAllStringSubmatch(page, -1) {
		all = append(all, block{kind: found[2], text: found[3], mark: found[1]})
	}
	return all
}

// marked are the blocks of a document that this test must run.
func marked(t *testing.T, file string) (texts []string) {
	t.Helper()
	for _, b := range blocks(content(t, filepath.Join(repository, file))) {
		if b.mark == t.Name() {
			texts = append(texts, b.text)
		}
	}
	return texts
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Commands are in blocks of the kind sh. A test runs each: TestDocumentedCommands, the test of the page, or the one that the mark
// names, which reads the blocks with its name. Other blocks have no commands.
func TestBlocks(t *testing.T) {
	t.Parallel()
	tests := testsOfDocuments(t)
	command := regexp.MustCompile(`(?m)^(apt|apt-get|consul|cp|curl|dnf|docker|dpkg|export|git|go|install|kvexpress|make|mkdir|rpm|sudo|systemctl) \S`)
	run := 0
	for file, page := range documents(t) {
		marks := 0
		for _, b := range blocks(page) {
			if b.mark != "" {
				marks++
			}
			switch {
			case b.mark != "" && !tests[b.mark]:
				t.Errorf("%s: there is no test %s that calls marked", file, b.mark)
			case b.kind == "sh":
				run++
			case b.kind == "text":
				if found := command.FindString(b.text); found != "" && file != reference {
					t.Errorf("%s: %q is in a block of text; make it sh, so that a test runs it", file, found)
				}
			case !strings.Contains(" hcl ini json yaml ", " "+b.kind+" "):
				t.Errorf("%s: a block is of the kind %q; choose sh, text, hcl, ini, json or yaml\n%s", file, b.kind, b.text)
			}
		}
		if all := regexp.MustCompile(`(?m)^ *<!-- .*\b(run|machine)\b`).FindAllString(page, -1); len(all) != marks {
			t.Errorf("%s has a comment that is no mark of a block: %q", file, all)
		}
	}
	t.Logf("%d blocks of commands are run", run)
	if run < 80 {
		t.Errorf("only %d blocks were found", run)
	}
}

// testsOfDocuments are the tests that read the blocks with their name.
func testsOfDocuments(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	pattern := regexp.MustCompile(`(?ms)^func (Test\w+)\(t \*testing\.T\) \{.*?^\}`)
	for _, folder := range []string{".", filepath.Join(repository, "tools/release")} {
		files, err := filepath.Glob(folder + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, test := range pattern.FindAllStringSubmatch(content(t, file), -1) {
				if strings.Contains(test[0], "marked(t, ") {
					tests[test[1]] = true
				}
			}
		}
	}
	return tests
}

// Every link within the documents leads somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	links := 0
	pages := documents(t)
	for file, page := range pages {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(page, -1) {
			path, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(path, ":") {
				continue
			}
			links++
			to := file
			if path != "" {
				to = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(filepath.Join(repository, to)); err != nil {
				t.Errorf("%s: there is no %s", file, link[1])
			} else if anchor != "" && !hasAnchor(pages[to], anchor) {
				t.Errorf("%s: there is no heading %s", file, link[1])
			}
		}
	}
	if links < 200 {
		t.Errorf("only %d links were found", links)
	}
}

// hasAnchor reports whether a heading has this anchor: in lower case, blanks are dashes,
// and other characters than letters and digits are left out.
func hasAnchor(text, anchor string) bool {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")
		if regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, "") == anchor {
			return true
		}
	}
	return false
}
