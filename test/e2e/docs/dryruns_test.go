package docs

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// dryGo takes the place of go: the tests that it would run must exist.
const dryGo = `
pattern=Test dir=. packages=
case $1 in
mod) exit ;;
test) shift ;;
*) echo "this test knows no go $*" >&2; exit 1 ;;
esac
while [ $# -gt 0 ]; do
	case $1 in
	-C) dir=$2; shift ;;
	-run) pattern=$2; shift ;;
	-timeout) shift ;;
	./*) packages="$packages $dir/$1" ;;
	esac
	shift
done
for package in $packages; do grep -h '^func Test' "$package"/*_test.go | grep -q "$pattern"; done
`

// Commands for developers take minutes or hours: make says what it would do, and the tests that go would run exist. CI
// and the soak run them as they are.
func TestDryRuns(t *testing.T) {
	t.Parallel()
	m := &e2e.Machine{T: t, Dir: t.TempDir()}
	m.Script("go", "set -e"+dryGo)
	dry := func(commands string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", commands)
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "MAKEFLAGS=n", "PATH="+m.Dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	scripts, err := exec.CommandContext(t.Context(), "sh", "-c", "cat "+repository+"/Makefile "+repository+"/scripts/*").Output()
	if err != nil {
		t.Fatal(err)
	}
	inline := regexp.MustCompile("`(make [^`]+)`")
	found := 0
	for file, page := range documents(t) {
		all := marked(t, file)
		for _, command := range inline.FindAllStringSubmatch(page, -1) {
			all = append(all, command[1])
		}
		for _, commands := range all {
			found++
			if out, err := dry(commands); err != nil {
				t.Errorf("%s says\n%s\nand that ends with %v\n%s", file, commands, err, out)
			}
			for _, variable := range regexp.MustCompile(` ([A-Z]+)=`).FindAllStringSubmatch(commands, -1) {
				if name := variable[1]; !strings.Contains(string(scripts), "$("+name+")") && !strings.Contains(string(scripts), "${"+name+":-") {
					t.Errorf("%s says %s, and nothing reads %s", file, commands, name)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands were found", found)
	}
	for _, wrong := range []string{"make nothing", "go test -C lab ./nothing", "go test ./internal/cli -run TestNothing"} {
		if out, err := dry(wrong); err == nil {
			t.Errorf("%s passes: %s", wrong, out)
		}
	}
}
