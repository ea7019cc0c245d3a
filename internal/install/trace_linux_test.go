package install_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// traced are the system calls by which a delivery changes something.
const traced = "fsync,renameat,unlinkat,mkdirat,fchown,fchmod,ftruncate,fsetxattr,fremovexattr"

// needStrace skips a test where no process can be traced, but not in CI.
func needStrace(t testing.TB) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "strace", "-f", "-qq", "-e", "trace=none", "true").CombinedOutput()
	if err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("strace must work in CI: %v: %s", err, out)
	}
	t.Skipf("SKIPPED: strace does not work here: %v: %s", err, out)
}

// strace wraps a child, with options, and returns where the trace will be.
func strace(t testing.TB, options ...string) (wrapper []string, trace string) {
	t.Helper()
	trace = filepath.Join(t.TempDir(), "trace")
	return append([]string{"strace", "-f", "-y", "-qq", "-s", "0", "-o", trace}, options...), trace
}

// call is one traced system call.
type call struct{ name, args string }

var callLine = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += `)

// calls lists the system calls of a trace that name something below dir.
func calls(t testing.TB, trace, dir string) (all []call) {
	t.Helper()
	for line := range strings.Lines(string(read(t, trace))) {
		if m := callLine.FindStringSubmatch(line); m != nil && strings.Contains(m[2], dir) {
			all = append(all, call{m[1], strings.ReplaceAll(m[2], dir, "")})
		}
	}
	if len(all) == 0 {
		t.Fatalf("nothing was traced:\n%s", read(t, trace))
	}
	return all
}

// A process that is killed at any system call that
// changes something.
func TestKilledAtEachSystemCall(t *testing.T) {
	t.Parallel()
	needStrace(t)
	kills, missed := 0, 0
	for _, s := range scenarios() {
		if s.name == "restore" {
			continue // as many calls again, and nothing new
		}
		if strings.HasSuffix(s.name, "in place") || s.name == "mend a torn overwrite" {
			s.allowed = nil // it may be torn, until the next delivery
		}
		t.Run(s.name, func(t *testing.T) {
			n := s.start(t)
			wrapper, trace := strace(t, "-e", "trace="+traced)
			n.job().run(t, wrapper...)
			count := make(map[string]int)
			for i, c := range calls(t, trace, n.base()) {
				count[c.name]++
				if i%4 != len(s.name)%4 && times(10) == 1 {
					continue // a fourth of them
				}
				n := s.start(t)
				wrapper, _ := strace(t, "-e", "trace="+traced, "-e", inject(c.name, "signal=KILL", count[c.name]))
				// strace counts the calls of each thread for itself: the one
				// that is meant may be an earlier one of its thread.
				if _, dead := n.job().perhapsKilled(t, wrapper...); !dead {
					missed++
					continue
				}
				kills++
				s.finish(n)
				if t.Failed() {
					t.Fatalf("killed at call %d, %s(%s)", i, c.name, c.args)
				}
			}
		})
	}
	if missed > kills/4 {
		t.Errorf("%d kills, %d missed", kills, missed)
	}
	t.Logf("%d kills, %d missed", kills, missed)
}

func inject(name, what string, number int) string {
	return "inject=" + name + ":" + what + ":when=" + strconv.Itoa(number)
}

// An fsync fails. A staged file that is not durable is not put in place. If the file is
// in place already, the caller gets an error.
func TestFsyncFails(t *testing.T) {
	t.Parallel()
	needStrace(t)
	s := scenarios()[0]
	n := s.start(t)
	wrapper, trace := strace(t, "-e", "trace=fsync")
	if r := n.job().run(t, wrapper...); r.Error != "" {
		t.Fatal(r.Error) // the control: without the fault there is no error
	}
	syncs := calls(t, trace, n.base())
	if len(syncs) != 2 { // of the file and of its folder
		t.Fatalf("%d fsyncs, want 2: %v", len(syncs), syncs)
	}
	for i, c := range syncs {
		t.Run(c.args, func(t *testing.T) {
			n := s.start(t)
			wrapper, _ := strace(t, "-e", "trace=fsync", "-e", inject("fsync", "error=EIO", i+1))
			r := n.job().run(t, wrapper...)
			if !strings.Contains(r.Error, "input/output error") {
				t.Errorf("error %q", r.Error)
			}
			inPlace := string(n.content()) == string(contentB())
			if last := i == len(syncs)-1; inPlace != last {
				t.Errorf("in place: %v", inPlace)
			}
			if inPlace != (r.Actions["installed"] == 1) {
				t.Errorf("it says %v", r.Actions)
			}
			for _, b := range n.left() {
				t.Error(b)
			}
			s.finish(n)
		})
	}
}

// Calls that a signal interrupts are made again.
func TestInterruptedCalls(t *testing.T) {
	t.Parallel()
	needStrace(t)
	s := scenarios()[0]
	for inPlace, names := range map[bool]string{
		false: "write,fsync,renameat,fchmod,unlinkat,flock",
		true:  "write,fsync,ftruncate",
	} {
		n := s.start(t)
		n.target.InPlace = inPlace
		wrapper, trace := strace(t, "-e", "trace="+names, "-e", "inject="+names+":error=EINTR:when=1+2")
		if r := n.job().run(t, wrapper...); r.Error != "" {
			t.Error(r.Error)
		}
		for name := range strings.SplitSeq(names, ",") {
			// A call during which another thread makes one is traced in two lines.
			if !regexp.MustCompile(name + `(\(| resumed>).*EINTR.*INJECTED`).Match(read(t, trace)) {
				t.Errorf("the control: no %s was interrupted", name)
			}
		}
		s.finish(n)
	}
}

// order finds these calls one after the other, and names the first that is missing.
func order(all, wanted []call) (found []int, missing string) {
	i := 0
	for _, want := range wanted {
		for i < len(all) && (all[i].name != want.name || !strings.Contains(all[i].args, want.args)) {
			i++
		}
		if i == len(all) {
			return nil, want.name + " of " + want.args
		}
		found = append(found, i)
	}
	return found, ""
}

// A file is durable before its rename, and the rename after it. So is the
// note of the pending exec. The negative control leaves each of the calls out.
func TestDurableInOrder(t *testing.T) {
	t.Parallel()
	needStrace(t)
	noted := []call{{"fsync", `.json.new>`}, {"renameat", `.json.new"`}, {"fsync", `/state/targets>`}}
	renamed := []call{{"fsync", `/etc/.hosts.kvexpress/hosts>`}, {"renameat", `"hosts"`}, {"fsync", `/etc>`}}
	overwritten := []call{{"fsync", `/hosts>`}, {"fsync", `/state/.staged-`}, {"ftruncate", `/etc/hosts>`}, {"fsync", `/etc/hosts>`}}
	for _, s := range scenarios() {
		wanted := slices.Concat(noted, renamed)
		switch s.name {
		case "in place":
			wanted = slices.Concat(noted, overwritten)
		case "replace": // its note may be lost: see stateFile.save
			wanted = renamed
		case "first", "back to the same bytes":
		default:
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			n := s.start(t)
			wrapper, trace := strace(t, "-e", "trace="+traced)
			n.job().run(t, wrapper...)
			all := calls(t, trace, n.base())
			for i, c := range all {
				all[i].args = strings.ReplaceAll(c.args, "/new/folders", "")
			}
			found, missing := order(all, wanted)
			if missing != "" {
				t.Fatalf("missing: %s, in\n%v", missing, all)
			}
			for _, i := range found {
				if _, missing := order(slices.Delete(slices.Clone(all), i, i+1), wanted); missing == "" {
					t.Errorf("the control: %v is not missed", all[i])
				}
			}
		})
	}
}
